//! Consumers that read old records that fit in memory, over and over.

use crate::bar::{Bar, Limit};
use crate::client::WAIT_CATCH_UP_MS;
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::figure::{Figure, Unit, count};
use crate::fill;
use crate::relay::{beginning, finish, reader};
use crate::scenario::{Overrides, Run, Scenario};
use crate::timeline::Timeline;
use crate::usage::Sample;
use anyhow::Result;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

pub struct CatchUp {
    name: &'static str,
    consumers: usize,
    bytes: u64,
}

pub const ALL: [CatchUp; 2] = [
    CatchUp { name: "consume-memory", consumers: 1, bytes: 64 << 20 },
    CatchUp { name: "consume-memory-8", consumers: 8, bytes: 64 << 20 },
];

const TOPIC: &str = "catch-up";
const THROUGHPUT: &str = "read";
const PROCESSOR: &str = "broker CPU out";
const POLL: Duration = Duration::from_millis(100);

impl Scenario for CatchUp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, _: &Overrides) -> String {
        let (consumers, mebibytes) = (self.consumers, self.bytes >> 20);
        format!("{consumers} consumers read one partition of {mebibytes} MiB in records of 1 KiB, over and over")
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka]
    }

    fn bars(&self) -> Vec<Bar> {
        vec![Bar::new(THROUGHPUT, Limit::AtLeast(1.0, Kafka)), Bar::new(PROCESSOR, Limit::AtMost(0.6, Kafka))]
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let broker = run.start()?;
        let records = fill::fill(&broker, TOPIC, 1, self.bytes)?;
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut readers = Vec::new();
        for _ in 0..self.consumers {
            let consumer = reader(&broker.bootstrap(), TOPIC, WAIT_CATCH_UP_MS)?;
            consumer.assign(&beginning(TOPIC, 1)?)?;
            let (stop, bytes) = (Arc::clone(&stop), Arc::clone(&bytes));
            readers.push(thread::spawn(move || read_over_and_over(&consumer, records, &stop, &bytes)));
        }
        let timeline = Timeline::begin(run.timing);
        timeline.wait_until(timeline.window().start);
        let (before, first) = (broker.open_window()?, bytes.load(Ordering::Relaxed));
        timeline.wait_until(timeline.window().end);
        let (spent, last) = (Sample::take(broker.pid())? - before, bytes.load(Ordering::Relaxed));
        finish(readers, &stop)?;
        let megabytes = count(last - first) / 1e6;
        Ok(vec![
            Figure::new(THROUGHPUT, Unit::MegabytesPerSecond, megabytes / spent.wall.as_secs_f64()),
            Figure::new(PROCESSOR, Unit::SecondsPerGigabyte, spent.broker.as_secs_f64() / (megabytes / 1e3)),
            Figure::aside("generator CPU", Unit::Cores, spent.cores(spent.generator)),
            Figure::aside("others' CPU", Unit::Cores, spent.cores(spent.others)),
        ])
    }
}

fn read_over_and_over(consumer: &BaseConsumer, records: u64, stop: &AtomicBool, bytes: &AtomicU64) -> Result<()> {
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(POLL) else { continue };
        bytes.fetch_add(message?.payload().map_or(0, <[u8]>::len) as u64, Ordering::Relaxed);
        seen += 1;
        if seen == records {
            seen = 0;
            consumer.assign(&beginning(TOPIC, 1)?)?;
        }
    }
    Ok(())
}
