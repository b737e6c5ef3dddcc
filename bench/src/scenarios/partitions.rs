//! Ten thousand partitions: the time of their creation, and the memory that they hold.

use crate::bar::{Bar, Limit};
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::figure::{Figure, Unit};
use crate::fill;
use crate::scenario::{Overrides, Run, Scenario};
use crate::usage::{self, Sample};
use anyhow::{Context, Result};
use std::thread;
use std::time::{Duration, Instant};

const TOPICS: u32 = 10;
const PARTITIONS_EACH: i32 = 1000;
const SETTLED_AFTER: Duration = Duration::from_secs(5);
const WATCHED_FOR: Duration = Duration::from_secs(10);

pub struct Partitions;

impl Scenario for Partitions {
    fn name(&self) -> &'static str {
        "partitions-10k"
    }

    fn load(&self, _: &Overrides) -> String {
        format!(
            "{TOPICS} topics of {PARTITIONS_EACH} partitions, created one after another until all are led; then none"
        )
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka]
    }

    fn bars(&self) -> Vec<Bar> {
        vec![
            Bar::new("creation", Limit::Below(5.0)),
            Bar::new("memory", Limit::Below(256.0)),
            Bar::new("memory with a record in each", Limit::Below(256.0)),
        ]
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let broker = run.start()?;
        let pid = broker.pid().context("a broker without a process")?;
        let begun = Instant::now();
        let topics: Vec<String> = (0..TOPICS).map(|number| format!("wide-{number}")).collect();
        for topic in &topics {
            broker.create_topic(topic, PARTITIONS_EACH)?;
            fill::end(&broker, topic, PARTITIONS_EACH)?;
        }
        let creation = begun.elapsed();
        // The sleep is the measured time itself; it waits for no event.
        thread::sleep(SETTLED_AFTER);
        let before = Sample::take(Some(pid))?;
        thread::sleep(WATCHED_FOR);
        let spent = Sample::take(Some(pid))? - before;
        let memory = usage::memory(pid)?.resident;
        for topic in &topics {
            fill::put(&broker, topic, PARTITIONS_EACH, PARTITIONS_EACH.unsigned_abs().into())?;
        }
        Ok(vec![
            Figure::seconds("creation", creation),
            Figure::mebibytes("memory", memory),
            Figure::mebibytes("memory with a record in each", usage::memory(pid)?.resident),
            Figure::new("idle broker CPU", Unit::PercentOfCore, spent.cores(spent.broker) * 100.0),
        ])
    }
}
