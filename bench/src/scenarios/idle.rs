//! A broker without topics or clients: its memory, and the processor time that it still takes.

use crate::bar::{Bar, Limit};
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::figure::{Figure, Unit};
use crate::scenario::{Overrides, Run, Scenario};
use crate::usage::{self, Sample};
use anyhow::{Context, Result};
use std::thread;
use std::time::Duration;

/// A JVM compiles for a while after its start.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// Processor time is counted in steps of 10 ms, which is 0.05% of this.
const WATCHED_FOR: Duration = Duration::from_secs(20);

pub struct Idle;

impl Scenario for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn load(&self, _: &Overrides) -> String {
        format!("none, from {SETTLED_AFTER:?} after the first answer, for {WATCHED_FOR:?}")
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka]
    }

    fn bars(&self) -> Vec<Bar> {
        vec![Bar::new("memory", Limit::Below(64.0)), Bar::new("broker CPU", Limit::Below(0.5))]
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let broker = run.start()?;
        let pid = broker.pid().context("a broker without a process")?;
        // The sleep is the measured time itself; it waits for no event.
        thread::sleep(SETTLED_AFTER);
        let before = Sample::take(Some(pid))?;
        thread::sleep(WATCHED_FOR);
        let spent = Sample::take(Some(pid))? - before;
        Ok(vec![
            Figure::mebibytes("memory", usage::memory(pid)?.resident),
            Figure::new("broker CPU", Unit::PercentOfCore, spent.cores(spent.broker) * 100.0),
        ])
    }
}
