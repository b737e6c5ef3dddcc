//! The throughput of one producer: 1 KiB records on one and on twelve partitions, small records,
//! compressed records.

use crate::bar::{Bar, Limit};
use crate::client::{Order, Producing};
use crate::contender::Contender::{self, Floor, Kafka, KafkaFlush, Rustmq, RustmqEpoll};
use crate::figure::{Figure, Unit};
use crate::flood::{self, Flood};
use crate::scenario::{Overrides, Run, Scenario};
use anyhow::Result;
use std::time::Duration;

pub struct Produce {
    name: &'static str,
    flood: Flood,
    kind: Kind,
}

/// The bars that hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Where the client is the limit, the brokers differ in their processor time.
    ClientBound,
    /// On a disk with slow syncs, against a Kafka that syncs.
    SlowSync,
}

/// The duration of a sync on a disk without a volatile cache, or on a disk over a network.
const SYNC_DELAY: Duration = Duration::from_millis(2);

pub const ALL: [Produce; 8] = [
    Produce {
        name: "produce-1p",
        flood: Flood { partitions: 1, record_bytes: 1024, producing: Producing::BULK },
        kind: Kind::Plain,
    },
    Produce {
        name: "produce-12p",
        flood: Flood { partitions: 12, record_bytes: 1024, producing: Producing::BULK },
        kind: Kind::Plain,
    },
    Produce {
        name: "produce-1p-slow-sync",
        flood: Flood { partitions: 1, record_bytes: 1024, producing: Producing::BULK },
        kind: Kind::SlowSync,
    },
    // librdkafka's idempotent producer has one request of a partition in flight (ADR 18); this one
    // has many.
    Produce {
        name: "produce-1p-slow-sync-pipelined",
        flood: Flood {
            partitions: 1,
            record_bytes: 1024,
            producing: Producing { order: Order::None, ..Producing::BULK },
        },
        kind: Kind::SlowSync,
    },
    Produce {
        name: "produce-12p-slow-sync",
        flood: Flood { partitions: 12, record_bytes: 1024, producing: Producing::BULK },
        kind: Kind::SlowSync,
    },
    Produce {
        name: "produce-16k-batches",
        flood: Flood {
            partitions: 12,
            record_bytes: 1024,
            producing: Producing { batch_bytes: 16_384, ..Producing::BULK },
        },
        kind: Kind::Plain,
    },
    Produce {
        name: "produce-small",
        flood: Flood { partitions: 1, record_bytes: 100, producing: Producing::BULK },
        kind: Kind::ClientBound,
    },
    Produce {
        name: "produce-lz4",
        flood: Flood { partitions: 1, record_bytes: 1024, producing: Producing { codec: "lz4", ..Producing::BULK } },
        kind: Kind::ClientBound,
    },
];

const THROUGHPUT: &str = "acknowledged";
const PROCESSOR: &str = "broker CPU in";
pub const FAULTS: &str = "page faults";
/// The tail memory of RustMQ in scenarios that measure writes with full memory: a warm-up fills it.
pub const TAIL_MEMORY: u64 = 128 << 20;
/// With a full tail memory: nearly every page was used before.
pub const FAULTS_MAX: f64 = 5_000.0;

impl Scenario for Produce {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, overrides: &Overrides) -> String {
        let Flood { partitions, record_bytes, producing } = self.flood;
        let producing = overrides.apply(producing).words();
        let slow =
            if self.kind == Kind::SlowSync { format!("; {SYNC_DELAY:?} added to each sync") } else { String::new() };
        format!(
            "one producer, as fast as it can, records of {record_bytes} B to {partitions} partitions in turn; {producing}{slow}; RustMQ's tail memory is {} MiB",
            TAIL_MEMORY >> 20
        )
    }

    fn contenders(&self) -> &'static [Contender] {
        if self.kind == Kind::SlowSync {
            &[RustmqEpoll, KafkaFlush]
        } else {
            &[Rustmq, Kafka, KafkaFlush, RustmqEpoll, Floor]
        }
    }

    fn bars(&self) -> Vec<Bar> {
        if self.kind == Kind::SlowSync {
            return vec![Bar { figure: THROUGHPUT, subject: RustmqEpoll, limit: Limit::AtLeast(2.5, KafkaFlush) }];
        }
        let least = if self.kind == Kind::Plain { 1.5 } else { 1.1 };
        vec![
            Bar::new(THROUGHPUT, Limit::AtLeast(least, Kafka)),
            Bar::new(THROUGHPUT, Limit::AtLeast(2.5, KafkaFlush)),
            Bar { figure: THROUGHPUT, subject: RustmqEpoll, limit: Limit::AtLeast(1.0 / 1.2, Rustmq) },
            Bar::new(PROCESSOR, Limit::AtMost(0.35, Kafka)),
            Bar::new(FAULTS, Limit::Below(FAULTS_MAX)),
        ]
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let flood = Flood { producing: run.overrides.apply(self.flood.producing), ..self.flood };
        let mut broker = run.prepare()?;
        broker.bound_tail_memory(TAIL_MEMORY);
        if self.kind == Kind::SlowSync {
            broker.delay_syncs(SYNC_DELAY)?;
        }
        broker.start_again()?;
        let flooded = flood::run(&broker, "flood", flood, run.timing)?;
        if run.contender == Kafka && self.name == "produce-1p" {
            let most = run.kafka_records_max.get().unwrap_or(0.0).max(flooded.records_per_second());
            run.kafka_records_max.set(Some(most));
        }
        let spent = flooded.spent;
        let mut figures = vec![Figure::new(THROUGHPUT, Unit::MegabytesPerSecond, flooded.megabytes_per_second())];
        if run.contender != Floor {
            figures.push(Figure::new(PROCESSOR, Unit::SecondsPerGigabyte, flooded.broker_seconds_per_gigabyte()));
            figures.push(Figure::new(FAULTS, Unit::FaultsPerGigabyte, flooded.faults_per_gigabyte()));
            figures.push(Figure::mebibytes("peak memory", flooded.memory.peak));
        }
        figures.push(Figure::aside("generator CPU", Unit::Cores, spent.cores(spent.generator)));
        figures.push(Figure::aside("others' CPU", Unit::Cores, spent.cores(spent.others)));
        Ok(figures)
    }
}
