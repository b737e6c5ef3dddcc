//! From the producer's application to the consumers' applications: one live consumer, and eight of
//! the same partition.

use crate::bar::{Bar, Limit};
use crate::client::Producing;
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::figure::{Figure, Unit, count, quantiles};
use crate::pace::{Pace, Spread};
use crate::relay;
use crate::scenario::{Overrides, Run, Scenario};
use anyhow::{Result, ensure};

pub struct Relay {
    name: &'static str,
    pace: Pace,
    consumers: u64,
}

const ONE: Pace = Pace {
    rate: 1_000,
    producers: 1,
    partitions: 1,
    spread: Spread::Everywhere,
    record_bytes: 1024,
    producing: Producing::PROMPT,
};

pub const ALL: [Relay; 2] = [
    Relay { name: "end-to-end", pace: ONE, consumers: 1 },
    Relay { name: "fan-out", pace: Pace { rate: 10_000, producing: Producing::PACED, ..ONE }, consumers: 8 },
];

const PROCESSOR: &str = "broker CPU out";

impl Scenario for Relay {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, overrides: &Overrides) -> String {
        let Pace { rate, record_bytes, producing, .. } = self.pace;
        let (rate, producing) = (overrides.rate.unwrap_or(rate), overrides.apply(producing).words());
        let consumers = self.consumers;
        format!("{rate}/s, records of {record_bytes} B to 1 partition, read by {consumers} live consumers; {producing}")
    }

    fn contenders(&self) -> &'static [Contender] {
        // The fake broker does not wake a waiting fetch when a record comes, so it shows no floor.
        &[Rustmq, Kafka]
    }

    fn bars(&self) -> Vec<Bar> {
        if self.consumers == 1 {
            vec![Bar::new("p99", Limit::AtMost(0.5, Kafka))]
        } else {
            vec![Bar::new(PROCESSOR, Limit::AtMost(0.25, Kafka))]
        }
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let producing = run.overrides.apply(self.pace.producing);
        let pace = Pace { rate: run.overrides.rate.unwrap_or(self.pace.rate), producing, ..self.pace };
        let relayed = relay::run(&run.start()?, pace, self.consumers, run.timing)?;
        ensure!(relayed.missing == 0, "{} records did not arrive", relayed.missing);
        let mut figures = quantiles(&relayed.latency);
        let spent = relayed.paced.spent;
        if self.consumers > 1 {
            let gigabytes = count(relayed.bytes_out) / 1e9;
            let processor = spent.broker.as_secs_f64() / gigabytes;
            figures.push(Figure::new(PROCESSOR, Unit::SecondsPerGigabyte, processor));
        }
        figures.push(Figure::new("broker CPU", Unit::Cores, spent.cores(spent.broker)));
        Ok(figures)
    }
}
