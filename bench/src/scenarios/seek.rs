//! Reads one partition out of a thousand after a restart: its records lie scattered among all
//! others.

use crate::bar::Bar;
use crate::client::WAIT_CATCH_UP_MS;
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::figure::{Figure, Unit, count};
use crate::fill;
use crate::relay::{beginning, reader};
use crate::scenario::{Overrides, Run, Scenario};
use anyhow::{Result, ensure};
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use std::time::{Duration, Instant};

pub struct Seek;

const TOPIC: &str = "seek";
const PARTITIONS: i32 = 1000;
const BYTES: u64 = 2 << 30;
const WITHIN: Duration = Duration::from_secs(60);

impl Scenario for Seek {
    fn name(&self) -> &'static str {
        "consume-one-of-1000"
    }

    fn load(&self, _: &Overrides) -> String {
        "2 GiB in records of 1 KiB over 1000 partitions in turn, a restart, then one consumer reads one of them"
            .to_owned()
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka]
    }

    fn bars(&self) -> Vec<Bar> {
        Vec::new()
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let mut broker = run.start()?;
        let records = fill::fill(&broker, TOPIC, PARTITIONS, BYTES)?;
        broker.stop()?;
        broker.start_again()?;
        ensure!(fill::end(&broker, TOPIC, PARTITIONS)? == records, "records are missing after the restart");
        // The first partitions got the remainder.
        let expected = records.div_ceil(u64::try_from(PARTITIONS)?);
        let consumer = reader(&broker.bootstrap(), TOPIC, WAIT_CATCH_UP_MS)?;
        let begun = Instant::now();
        consumer.assign(&beginning(TOPIC, 1)?)?;
        let (mut seen, mut bytes) = (0, 0);
        while seen < expected {
            ensure!(begun.elapsed() < WITHIN, "{seen} of {expected} records after {WITHIN:?}");
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                bytes += message?.payload().map_or(0, <[u8]>::len) as u64;
                seen += 1;
            }
        }
        let taken = begun.elapsed();
        Ok(vec![
            Figure::seconds("all of it", taken),
            Figure::aside("read", Unit::MegabytesPerSecond, count(bytes) / 1e6 / taken.as_secs_f64()),
        ])
    }
}
