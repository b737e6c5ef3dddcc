//! The load of `produce-1p` by load generators of other projects: do they measure the same?

use anyhow::{Context, Result};

use crate::bar::Bar;
use crate::client::Producing;
use crate::contender::Contender::{self, Kafka, KafkaFlush, Rustmq};
use crate::figure::{Figure, Unit, count};
use crate::generator::{Generator, Workload};
use crate::scenario::{Overrides, Run, Scenario};
use crate::usage::{self, Sample};

pub struct CrossCheck {
    name: &'static str,
    generator: Generator,
}

pub const ALL: [CrossCheck; 2] = [
    CrossCheck { name: "check-producer-performance", generator: Generator::ProducerPerformance },
    CrossCheck { name: "check-rdkafka-performance", generator: Generator::RdkafkaPerformance },
];

const TOPIC: &str = "check";
const RECORD_BYTES: usize = 1024;
/// They take a number of records, not a duration: the number that Kafka takes in about as long.
const RECORDS_PER_SECOND: u64 = 250_000;

impl Scenario for CrossCheck {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, overrides: &Overrides) -> String {
        let producing = overrides.apply(Producing::BULK).words();
        let generator = self.generator.title();
        format!(
            "{generator}, as fast as it can, records of {RECORD_BYTES} B to one partition, {RECORDS_PER_SECOND} for each second of warm-up \
             and again, measured, of the window; {producing}"
        )
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka, KafkaFlush]
    }

    fn bars(&self) -> Vec<Bar> {
        Vec::new()
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let broker = run.start()?;
        broker.create_topic(TOPIC, 1)?;
        let bootstrap = broker.bootstrap();
        let workload = |seconds: u64| Workload {
            bootstrap: &bootstrap,
            topic: TOPIC,
            records: seconds * RECORDS_PER_SECOND,
            record_bytes: RECORD_BYTES,
            producing: Some(run.overrides.apply(Producing::BULK)),
            rate: None,
        };
        let generate = |seconds| self.generator.run(&workload(seconds)).with_context(|| broker.log_tail());
        if !run.timing.warmup.is_zero() {
            generate(run.timing.warmup.as_secs())?;
        }
        let before = Sample::take(broker.pid())?;
        let seconds = run.timing.window.as_secs();
        let acknowledged = generate(seconds)?.megabytes_per_second;
        let spent = Sample::take(broker.pid())? - before;
        let gigabytes = count(workload(seconds).records * RECORD_BYTES as u64) / 1e9;
        let memory = broker.pid().map(usage::memory).transpose()?.unwrap_or_default();
        Ok(vec![
            Figure::new("acknowledged", Unit::MegabytesPerSecond, acknowledged),
            Figure::new("broker CPU in", Unit::SecondsPerGigabyte, spent.broker.as_secs_f64() / gigabytes),
            Figure::mebibytes("peak memory", memory.peak),
        ])
    }
}
