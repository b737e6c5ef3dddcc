//! The configuration in force: defaults, then the file, the environment and the flags, each over
//! the one before.
//!
//! [`settings`] is the one list of names, with their meaning, default and bounds; [`sources`]
//! gathers values and remembers where each came from; [`Config`] is what the rest of the process
//! reads. Kafka's broker-wide settings stay under their own dotted names in `[kafka]` and are
//! checked by the controller's catalogue.

mod reference;
mod settings;
mod sources;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustmq_broker_service::CompressedRecords;
use rustmq_controller_core::configs::{self, Effect};
use rustmq_model::ByteSize;

pub use reference::{effective, reference_page};
use sources::Origin;
pub use sources::{Flags, Sources};
pub use value::ConfigError;

/// Which disk driver the shards use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverChoice {
    /// `io_uring` where the kernel allows it, else a helper thread with epoll.
    Auto,
    IoUring,
    Epoll,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Everything that `rustmq` can be told, resolved and within bounds.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub broker_name: String,
    pub rack: Option<String>,
    pub kafka_listen: SocketAddr,
    pub kafka_advertised: Option<String>,
    pub http_listen: SocketAddr,
    pub connections_max: usize,
    pub wal_dir: PathBuf,
    /// `None`: half of what is free on the disk at the first start.
    pub wal_capacity: Option<ByteSize>,
    pub wal_segment_size: ByteSize,
    pub wal_fsync: bool,
    /// `None`: an eighth of memory, and less while others need it.
    pub tail_memory: Option<ByteSize>,
    /// `None`: half the processors, at least one.
    pub shards: Option<usize>,
    pub driver: DriverChoice,
    pub read_threads: usize,
    pub shutdown_timeout: Duration,
    pub exit_on_failure: bool,
    pub log_filter: String,
    pub log_format: LogFormat,
    pub compressed_records: CompressedRecords,
    /// Kafka's own settings by their dotted names, as the catalogue keeps their values.
    pub kafka: BTreeMap<String, String>,
    /// The names of our own settings that were given: the others have their defaults.
    pub given: BTreeSet<&'static str>,
}

impl Config {
    /// Resolves the gathered values. Reports the first that is not of its form or outside its
    /// bounds, with its origin.
    pub fn resolve(sources: &Sources) -> Result<Self, ConfigError> {
        let data_dir = PathBuf::from(sources.text("data_dir")?);
        let wal_dir = sources.optional_text("wal.path")?.map_or_else(|| data_dir.join("wal"), PathBuf::from);
        Ok(Self {
            broker_name: sources.text("broker.id")?,
            rack: sources.optional_text("broker.rack_id")?,
            kafka_listen: sources.address("network.kafka_listen")?,
            kafka_advertised: sources.optional_host_port("network.kafka_advertised")?,
            http_listen: sources.address("network.http_listen")?,
            connections_max: sources.count("network.max_connections")?,
            wal_capacity: sources.optional_size("wal.capacity_bytes")?,
            wal_segment_size: sources.size("wal.segment_size_bytes")?,
            wal_fsync: sources.flag("wal.fsync_on_write")?,
            tail_memory: sources.optional_size("cache.write_cache_size_bytes")?,
            shards: sources.optional_count("engine.shards")?,
            driver: match sources.choice("engine.driver")? {
                "io_uring" => DriverChoice::IoUring,
                "epoll" => DriverChoice::Epoll,
                _ => DriverChoice::Auto,
            },
            read_threads: sources.count("engine.read_threads")?,
            shutdown_timeout: sources.duration("operations.graceful_shutdown_timeout_ms")?,
            exit_on_failure: sources.flag("operations.exit_on_failure")?,
            log_filter: sources.text("log.level")?,
            log_format: if sources.choice("log.format")? == "json" { LogFormat::Json } else { LogFormat::Text },
            compressed_records: if sources.flag("produce.check_compressed_records")? {
                CompressedRecords::Checked
            } else {
                CompressedRecords::Trusted
            },
            kafka: kafka_settings(sources)?,
            given: sources.given(),
            data_dir,
            wal_dir,
        })
    }

    /// Kafka's settings that were given and that do nothing here.
    pub fn without_effect(&self) -> impl Iterator<Item = &str> {
        let does_nothing =
            |name: &&str| configs::broker_config(name).is_some_and(|entry| entry.effect == Effect::KeptOnly);
        self.kafka.keys().map(String::as_str).filter(does_nothing)
    }
}

/// What is set in `[kafka]`, judged by the catalogue that also judges what admin clients set.
fn kafka_settings(sources: &Sources) -> Result<BTreeMap<String, String>, ConfigError> {
    let refused = |(name, text, origin): (&str, &str, &Origin), reason: &str| {
        let (origin, name) = (origin.clone(), format!("kafka.{name}"));
        let expected = reason.trim_start_matches("it must be ").to_owned();
        ConfigError::Value { origin, name, value: text.to_owned(), expected }
    };
    let parse = |given: (&str, &str, &Origin)| {
        let kept =
            configs::parse_static_broker_config(given.0, given.1).map_err(|error| refused(given, &error.reason))?;
        Ok((given.0.to_owned(), kept))
    };
    let kept = sources.kafka_origins().map(parse).collect::<Result<_, _>>()?;
    configs::check_broker_configs_together(&kept).map_err(|error| {
        let given = sources.kafka_origins().find(|(name, ..)| *name == error.name);
        refused(given.expect("what is refused was given"), &error.reason)
    })?;
    Ok(kept)
}

#[cfg(test)]
mod tests;
