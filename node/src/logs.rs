//! Where log lines go: standard error, as text or JSON, filtered.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::{Config, LogFormat};

pub fn start(config: &Config) -> Result<()> {
    let filter = filter(&config.log_filter)?;
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => tracing_subscriber::registry().with(filter).with(lines.with_target(false)).try_init(),
        LogFormat::Json => {
            tracing_subscriber::registry().with(filter).with(lines.json().flatten_event(true)).try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}

/// The metadata log's library tells of each of its steps: only a filter that names it hears more
/// than its warnings.
fn filter(configured: &str) -> Result<Targets> {
    format!("openraft=warn,{configured}").parse().with_context(|| {
        format!("log.level = {configured:?} is not a filter; write info, or info,rustmq_kafka_gateway=debug")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::filter::Targets;

    use super::filter;

    #[test]
    fn a_filter_is_a_level_or_levels_by_crate() {
        let lets = |filter: &Targets, target: &str, level| filter.would_enable(target, &level);
        let info = filter("info").unwrap();
        assert!(lets(&info, "rustmq", tracing::Level::INFO) && !lets(&info, "rustmq", tracing::Level::DEBUG));
        assert!(!lets(&info, "openraft::core", tracing::Level::INFO));
        let debug = filter("warn,rustmq_kafka_gateway=debug,openraft=info").unwrap();
        assert!(lets(&debug, "rustmq_kafka_gateway::frame", tracing::Level::DEBUG));
        assert!(!lets(&debug, "rustmq", tracing::Level::INFO));
        assert!(lets(&debug, "openraft::core", tracing::Level::INFO));
        assert_eq!(filter("off").unwrap().default_level(), Some(LevelFilter::OFF));
        assert!(filter("rustmq=loud").is_err());
    }
}
