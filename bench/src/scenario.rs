//! The definition of a scenario: its name, its load, its contenders, and the bars for its figures.
//! The scenarios are in `scenarios`, one file each; `rounds` runs them.

use crate::bar::Bar;
use crate::broker::{Broker, Watch};
use crate::client::Producing;
use crate::contender::Contender;
use crate::figure::Figure;
use crate::timeline::Timing;
use anyhow::Result;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

/// The inputs of a scenario for one run on one contender.
pub struct Run<'a> {
    pub contender: Contender,
    /// The program of every contender that is RustMQ.
    pub rustmq: &'a Path,
    pub timing: Timing,
    /// The folder for the brokers' data.
    pub root: &'a Path,
    pub overrides: Overrides,
    /// The most records of 1 KiB a second that Kafka took in this run of the bench, once that is
    /// known.
    pub kafka_records_max: &'a Cell<Option<f64>>,
    /// The observer of the broker during the measured window.
    pub watch: Option<Rc<dyn Watch>>,
}

/// Client settings from the command line, which replace the scenario's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    pub linger_ms: Option<u32>,
    pub batch_bytes: Option<u32>,
    pub rate: Option<u32>,
}

impl Overrides {
    pub fn apply(&self, producing: Producing) -> Producing {
        Producing {
            linger_ms: self.linger_ms.unwrap_or(producing.linger_ms),
            batch_bytes: self.batch_bytes.unwrap_or(producing.batch_bytes),
            ..producing
        }
    }
}

impl Run<'_> {
    /// The contender with an empty folder, not running yet.
    pub fn prepare(&self) -> Result<Broker> {
        let broker = Broker::prepare(self.contender, self.rustmq.to_owned(), self.root)?;
        Ok(broker.watched_by(self.watch.clone()))
    }

    /// The contender on an empty folder, ready.
    pub fn start(&self) -> Result<Broker> {
        let mut broker = self.prepare()?;
        broker.start_again()?;
        Ok(broker)
    }
}

pub trait Scenario {
    fn name(&self) -> &'static str;

    /// The load in words, with the client settings.
    fn load(&self, overrides: &Overrides) -> String;

    fn contenders(&self) -> &'static [Contender];

    fn bars(&self) -> Vec<Bar>;

    /// Whether a run has a measured window, whose beginning a watch is told.
    fn is_watched(&self) -> bool {
        true
    }

    /// Runs once, on an empty folder.
    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>>;
}
