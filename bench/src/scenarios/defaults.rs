//! Clients with their default settings, which most users have. Our other settings are for bulk or
//! for promptness; here the clients' authors decide.

use anyhow::{Context, Result};

use crate::bar::{Bar, Limit};
use crate::contender::Contender::{self, Kafka, KafkaFlush, Rustmq};
use crate::figure::{Figure, Unit, count};
use crate::generator::{Generator, Workload};
use crate::scenario::{Overrides, Run, Scenario};
use crate::scenarios::produce::{FAULTS, FAULTS_MAX, TAIL_MEMORY};
use crate::usage::{self, Sample};

pub struct Defaults {
    name: &'static str,
    generator: Generator,
    partitions: i32,
    rate: Option<u32>,
}

pub const ALL: [Defaults; 4] = [
    Defaults { name: "default-rdkafka", generator: Generator::RdkafkaPerformance, partitions: 1, rate: None },
    Defaults { name: "default-rdkafka-12p", generator: Generator::RdkafkaPerformance, partitions: 12, rate: None },
    Defaults { name: "default-franz", generator: Generator::Franz, partitions: 1, rate: None },
    Defaults {
        name: "default-java-latency",
        generator: Generator::ProducerPerformance,
        partitions: 1,
        rate: Some(2_000),
    },
];

const TOPIC: &str = "defaults";
const RECORD_BYTES: usize = 1024;
/// Generators without a rate take a number of records: as many as Kafka takes in about a second.
const RECORDS_PER_SECOND: u32 = 250_000;
const PROCESSOR: &str = "broker CPU in";

impl Scenario for Defaults {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, _: &Overrides) -> String {
        let (generator, partitions) = (self.generator.title(), self.partitions);
        let rate = match self.rate {
            Some(rate) => format!("{rate}/s"),
            None => format!(
                "{RECORDS_PER_SECOND} for each second of warm-up and, measured, of the window, as fast as it can"
            ),
        };
        let tail = TAIL_MEMORY >> 20;
        format!(
            "{generator} at its defaults, {rate}, records of {RECORD_BYTES} B to {partitions} partitions; RustMQ's tail memory is {tail} MiB"
        )
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka, KafkaFlush]
    }

    fn bars(&self) -> Vec<Bar> {
        if self.rate.is_some() {
            return vec![Bar::new("p99", Limit::AtMost(1.0, Kafka))];
        }
        vec![Bar::new(PROCESSOR, Limit::AtMost(0.35, Kafka)), Bar::new(FAULTS, Limit::Below(FAULTS_MAX))]
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let mut broker = run.prepare()?;
        broker.bound_tail_memory(TAIL_MEMORY);
        broker.start_again()?;
        broker.create_topic(TOPIC, self.partitions)?;
        let bootstrap = broker.bootstrap();
        let generate = |seconds: u64| {
            let records = seconds * u64::from(self.rate.unwrap_or(RECORDS_PER_SECOND));
            let workload = Workload {
                bootstrap: &bootstrap,
                topic: TOPIC,
                records,
                record_bytes: RECORD_BYTES,
                producing: None,
                rate: self.rate,
            };
            let report = self.generator.run(&workload).with_context(|| broker.log_tail())?;
            anyhow::Ok((report, count(records * RECORD_BYTES as u64) / 1e9))
        };
        if !run.timing.warmup.is_zero() {
            generate(run.timing.warmup.as_secs())?;
        }
        let (before, clients) = (Sample::take(broker.pid())?, usage::children()?);
        let (report, gigabytes) = generate(run.timing.window.as_secs())?;
        let (spent, client) = (Sample::take(broker.pid())? - before, usage::children()?.saturating_sub(clients));
        let per_gigabyte = |time: std::time::Duration| time.as_secs_f64() / gigabytes;
        let mut figures = vec![Figure::new("acknowledged", Unit::MegabytesPerSecond, report.megabytes_per_second)];
        if let Some((p50, p99)) = report.latency.filter(|_| self.rate.is_some()) {
            figures.push(Figure::new("p50", Unit::Milliseconds, p50));
            figures.push(Figure::new("p99", Unit::Milliseconds, p99));
        }
        figures.extend([
            Figure::new(PROCESSOR, Unit::SecondsPerGigabyte, per_gigabyte(spent.broker)),
            Figure::new(FAULTS, Unit::FaultsPerGigabyte, count(spent.broker_faults) / gigabytes),
            Figure::aside("client's CPU", Unit::SecondsPerGigabyte, per_gigabyte(client)),
            Figure::mebibytes("peak memory", broker.pid().map(usage::memory).transpose()?.unwrap_or_default().peak),
        ]);
        Ok(figures)
    }
}
