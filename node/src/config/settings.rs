//! The settings of the process itself: its folder, its HTTP port, its end, its log lines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustmq_settings::{SettingValue, settings};
use tracing_subscriber::filter::{LevelFilter, Targets};

settings! {
    /// The operator's settings of the process.
    pub struct ProcessSettings {
        /// The folder that holds everything the process stores. Made if it is not there.
        #[setting("data_dir", Text { what: "a path", bytes_max: 4096 }, default "./rustmq-data", on restart)]
        pub data_dir: PathBuf,
        /// Where /health, /ready and /metrics answer (HTTP), whatever Kafka's clients do: to 256
        /// connections at a time, 64 of which are for /metrics. One more takes the place of one
        /// that is slow, or is closed at once.
        #[setting("network.http_listen", Address, default "0.0.0.0:9642", on restart)]
        pub http_listen: SocketAddr,
        /// Whether SIGHUP makes the process read its configuration file again. Admin clients change
        /// Kafka's settings in any case.
        #[setting("operations.allow_runtime_config_updates", Flag, default "true", on restart)]
        pub allow_reload: bool,
        /// How long a shutdown waits for requests in flight; and then, but at least 10 s each, for
        /// the last writes of the broker, the log and the metadata.
        #[setting(
            "operations.graceful_shutdown_timeout_ms",
            Milliseconds { min: 0, max: 3_600_000 },
            default "30000",
            on reload
        )]
        pub shutdown_timeout: Duration,
        /// Whether the process ends by itself, with exit status 1, after a failure that only a
        /// restart mends: a write or sync of the log that failed, metadata that cannot be stored, a
        /// panic of a thread or task that others depend on. Requests in flight are answered first.
        /// `false`: it goes on, serves what can still be read, and says so in /ready, /health and
        /// the metric `rustmq_failed`; a later shutdown then ends with status 1.
        #[setting("operations.exit_on_failure", Flag, default "false", on reload)]
        pub exit_on_failure: bool,
    }
}

settings! {
    /// The operator's settings of the log lines.
    pub struct LogSettings {
        /// What is logged: error, warn, info, debug, trace, off, or a filter by crate.
        #[setting(
            "log.level",
            Text { what: "a level or a filter such as \"info,rustmq_kafka_gateway=debug\"", bytes_max: 4096 },
            default "info",
            on reload
        )]
        pub filter: LogFilter,
        /// How log lines are written, on standard error.
        #[setting("log.format", Choice(&["text", "json"]), default "text", on restart)]
        pub format: LogFormat,
    }
}

/// The filter of log lines.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFilter(pub Targets);

impl SettingValue for LogFilter {
    /// The library of the metadata log logs each of its steps: only its warnings are written,
    /// unless the filter names it. A word that is no level is refused: it would count as the name
    /// of a crate, and only the lines of that crate would be written.
    fn parse(canonical: &str) -> Option<Self> {
        let is_clear = |part: &str| part.contains('=') || !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        let is_filter = canonical.split(',').all(is_clear);
        is_filter.then(|| format!("openraft=warn,{canonical}").parse().ok().map(Self)).flatten()
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl SettingValue for LogFormat {
    fn parse(canonical: &str) -> Option<Self> {
        match canonical {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustmq_settings::SettingValue;
    use tracing::Level;
    use tracing_subscriber::filter::{LevelFilter, Targets};

    use super::LogFilter;

    fn filter(text: &str) -> Option<Targets> {
        LogFilter::parse(text).map(|LogFilter(targets)| targets)
    }

    #[test]
    fn a_filter_is_a_level_or_levels_by_crate() {
        let lets = |filter: &Targets, target: &str, level| filter.would_enable(target, &level);
        let info = filter("info").unwrap();
        assert!(lets(&info, "rustmq", Level::INFO) && !lets(&info, "rustmq", Level::DEBUG));
        assert!(!lets(&info, "openraft::core", Level::INFO));
        let debug = filter("warn,rustmq_kafka_gateway=debug,openraft=info").unwrap();
        assert!(lets(&debug, "rustmq_kafka_gateway::frame", Level::DEBUG));
        assert!(!lets(&debug, "rustmq", Level::INFO));
        assert!(lets(&debug, "openraft::core", Level::INFO));
        assert_eq!(filter("off").unwrap().default_level(), Some(LevelFilter::OFF));
        for refused in ["rustmq=loud", "loud", "info,rustmq", "info,"] {
            assert_eq!(filter(refused), None, "{refused}");
        }
    }
}
