//! Log lines: filtered, and written to standard error as text or JSON. The filter may change while
//! the process runs.

use std::io::IsTerminal;

use anyhow::Result;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{LogFormat, LogSettings};

/// Changes the filter of log lines.
#[derive(Clone, Debug)]
pub struct LogLines(reload::Handle<Targets, Registry>);

/// Starts logging.
///
/// # Errors
/// If logging was started before.
pub fn start(settings: &LogSettings) -> Result<LogLines> {
    let (filter, handle) = reload::Layer::new(settings.filter.0.clone());
    let lines = fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => tracing_subscriber::registry().with(filter).with(lines.with_target(false)).try_init(),
        LogFormat::Json => {
            tracing_subscriber::registry().with(filter).with(lines.json().flatten_event(true)).try_init()
        }
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    Ok(LogLines(handle))
}

impl LogLines {
    /// Applies the filter of the settings.
    pub fn reload(&self, settings: &LogSettings) {
        self.0.reload(settings.filter.0.clone()).expect("the lines are written as long as the process lives");
    }
}
