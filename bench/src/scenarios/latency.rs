//! The latency of acknowledgements at a fixed rate: with one partition, many partitions, many
//! producers.

use crate::bar::{Bar, Limit};
use crate::client::{Order, Producing};
use crate::contender::Contender::{self, Floor, Kafka, KafkaFlush, Rustmq};
use crate::figure::{Figure, Unit};
use crate::flood::{self, Flood};
use crate::pace::{self, Pace, Spread};
use crate::scenario::{Overrides, Run, Scenario};
use anyhow::{Context, Result};

pub struct Latency {
    name: &'static str,
    pace: Pace,
    rule: Rule,
}

/// The rate, and the bars that hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The pace's own rate, against Kafka's tail.
    Tail,
    /// 30% of the most that Kafka takes, against Kafka's tail.
    ShareOfKafka,
    /// The pace's own rate; Kafka does not keep up.
    Scattered,
    /// The pace's own rate, against the whole of Kafka's distribution.
    Crowd,
    /// For comparison with another scenario: no bars.
    Reference,
}

const KAFKA_SHARE: f64 = 0.3;
const ONE: Pace = Pace {
    rate: 2_000,
    producers: 1,
    partitions: 1,
    spread: Spread::Everywhere,
    record_bytes: 1024,
    producing: Producing::PROMPT,
};
/// Batches of one record, whatever has gathered.
const SINGLE: Producing = Producing { batch_records: 1, ..Producing::PROMPT };

pub const ALL: [Latency; 7] = [
    Latency { name: "latency-2k", pace: ONE, rule: Rule::Tail },
    Latency { name: "latency-10k", pace: Pace { rate: 10_000, ..ONE }, rule: Rule::Tail },
    Latency {
        name: "latency-10k-idempotent",
        pace: Pace { rate: 10_000, producing: Producing { order: Order::Idempotent, ..Producing::PROMPT }, ..ONE },
        rule: Rule::Reference,
    },
    Latency {
        name: "latency-30pct",
        pace: Pace { rate: 0, partitions: 12, producing: Producing::PACED, ..ONE },
        rule: Rule::ShareOfKafka,
    },
    Latency {
        name: "latency-20k-single",
        pace: Pace { rate: 20_000, producers: 4, record_bytes: 100, producing: SINGLE, ..ONE },
        rule: Rule::Reference,
    },
    Latency {
        name: "latency-1000p",
        pace: Pace {
            rate: 20_000,
            producers: 4,
            partitions: 1000,
            spread: Spread::OwnShare,
            record_bytes: 100,
            producing: SINGLE,
        },
        rule: Rule::Scattered,
    },
    Latency {
        name: "latency-180p",
        pace: Pace { rate: 30 * 83, producers: 30, partitions: 180, ..ONE },
        rule: Rule::Crowd,
    },
];

impl Latency {
    fn rate(&self, run: &Run<'_>) -> Result<u32> {
        if let Some(rate) = run.overrides.rate {
            return Ok(rate);
        }
        if self.rule != Rule::ShareOfKafka {
            return Ok(self.pace.rate);
        }
        if run.kafka_records_max.get().is_none() {
            let kafka = Run { contender: Kafka, watch: None, ..*run };
            let flood = Flood { partitions: 1, record_bytes: 1024, producing: Producing::BULK };
            let flooded = flood::run(&kafka.start().context("measuring Kafka's most")?, "flood", flood, run.timing)?;
            run.kafka_records_max.set(Some(flooded.records_per_second()));
        }
        let most = run.kafka_records_max.get().context("Kafka's most was just measured")?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of records fits")]
        let rate = (most * KAFKA_SHARE) as u32;
        Ok(rate.max(1))
    }
}

impl Scenario for Latency {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, overrides: &Overrides) -> String {
        let Pace { rate, producers, partitions, spread, record_bytes, producing } = self.pace;
        let rate = match (overrides.rate, self.rule) {
            (Some(rate), _) => format!("{rate}/s"),
            (None, Rule::ShareOfKafka) => "30% of Kafka's most on one partition".to_owned(),
            (None, _) => format!("{rate}/s"),
        };
        let producing = overrides.apply(producing).words();
        let whose = match spread {
            Spread::Everywhere => "",
            Spread::OwnShare => ", each producer to its own share",
        };
        format!(
            "{rate} over {producers} producers, records of {record_bytes} B to {partitions} partitions in turn{whose}; {producing}"
        )
    }

    fn contenders(&self) -> &'static [Contender] {
        match self.rule {
            Rule::Tail => &[Rustmq, Kafka, KafkaFlush, Floor],
            _ => &[Rustmq, Kafka, Floor],
        }
    }

    fn bars(&self) -> Vec<Bar> {
        match self.rule {
            Rule::Tail | Rule::ShareOfKafka => vec![
                Bar::new("p99", Limit::AtMostOrNearFloor(0.5, Kafka, 1.3)),
                Bar::new("p99.9", Limit::AtMostOrNearFloor(0.25, Kafka, 1.3)),
            ],
            Rule::Scattered => vec![Bar::new("p99", Limit::Below(15.0))],
            Rule::Crowd => {
                vec![Bar::new("p50", Limit::AtMost(0.2, Kafka)), Bar::new("p99", Limit::AtMost(0.2, Kafka))]
            }
            Rule::Reference => Vec::new(),
        }
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let producing = run.overrides.apply(self.pace.producing);
        let pace = Pace { rate: self.rate(run)?, producing, ..self.pace };
        let paced = pace::run_alone(&run.start()?, pace, run.timing)?;
        let mut figures = paced.figures();
        figures.push(Figure::aside("due", Unit::RecordsPerSecond, f64::from(pace.rate)));
        figures.push(Figure::more_is_good("acknowledged in time", Unit::Percent, paced.kept_up() * 100.0));
        Ok(figures)
    }
}
