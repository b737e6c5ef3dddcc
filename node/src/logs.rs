//! Where log lines go: standard error, as text or JSON, filtered.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

pub fn start(config: &Config) -> Result<()> {
    // The metadata log's library tells of each of its steps; a filter that names it hears them.
    let filter = EnvFilter::try_new(format!("openraft=warn,{}", config.log_filter)).with_context(|| {
        format!("log.level = {:?} is not a filter; write info, or info,rustmq_kafka_gateway=debug", config.log_filter)
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))
}
