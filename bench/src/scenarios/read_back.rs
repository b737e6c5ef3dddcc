//! librdkafka's own consumer, with its defaults, reads 2 GB that its own producer wrote: *cold*,
//! when nothing of it is in memory, and *warm*, right after it was written.

use anyhow::{Context, Result, ensure};

use crate::bar::{Bar, Limit};
use crate::broker::Broker;
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::disk;
use crate::figure::{Figure, Unit, count};
use crate::generator::{self, Generator, Reading, Workload};
use crate::page_cache;
use crate::scenario::{Overrides, Run, Scenario};
use crate::usage::{self, Sample};

pub struct ReadBack {
    name: &'static str,
    partitions: u32,
    temperature: Temperature,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Temperature {
    /// Restarts the broker, with a tail memory that holds a small part if it is RustMQ, and drops
    /// the page cache.
    Cold,
    /// Does nothing between writing and reading.
    Warm,
}

use Temperature::{Cold, Warm};

pub const ALL: [ReadBack; 4] = [
    ReadBack { name: "consume-disk", partitions: 1, temperature: Cold },
    ReadBack { name: "consume-disk-12p", partitions: 12, temperature: Cold },
    ReadBack { name: "consume-warm", partitions: 1, temperature: Warm },
    ReadBack { name: "consume-warm-12p", partitions: 12, temperature: Warm },
];

const TOPIC: &str = "read-back";
const RECORD_BYTES: usize = 1024;
const RECORDS: u64 = 2_000_000;
const COLD_TAIL_MEMORY: u64 = 128 << 20;
const THROUGHPUT: &str = "read";
const PROCESSOR: &str = "broker CPU out";
const OF_PLAIN: &str = "read, of a plain read";

impl Scenario for ReadBack {
    fn name(&self) -> &'static str {
        self.name
    }

    fn load(&self, _: &Overrides) -> String {
        let how = match self.temperature {
            Cold => format!(
                "a restart (RustMQ with {} MiB of tail memory) and an empty page cache, then",
                COLD_TAIL_MEMORY >> 20
            ),
            Warm => "then at once".to_owned(),
        };
        format!(
            "rdkafka_performance at its defaults writes {RECORDS} records of {RECORD_BYTES} B to {} partitions; {how} another reads them from the \
             beginning, at its defaults; a plain read is of the log's files, with O_DIRECT, 1 MiB after another",
            self.partitions
        )
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka]
    }

    fn bars(&self) -> Vec<Bar> {
        let mut bars = vec![Bar::new(THROUGHPUT, Limit::AtLeast(1.0, Kafka))];
        if self.temperature == Cold {
            bars.push(Bar::new(OF_PLAIN, Limit::Above(0.7)));
            bars.push(Bar::new(PROCESSOR, Limit::AtMost(1.5, Kafka)));
        }
        bars
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let mut broker = run.prepare()?;
        if self.temperature == Cold {
            broker.bound_tail_memory(COLD_TAIL_MEMORY);
        }
        broker.start_again()?;
        broker.create_topic(TOPIC, i32::try_from(self.partitions)?)?;
        write(&broker)?;
        if self.temperature == Cold {
            broker.stop()?;
            broker.start_again()?;
            let found = crate::fill::end(&broker, TOPIC, i32::try_from(self.partitions)?)?;
            ensure!(found == RECORDS, "{found} of {RECORDS} records after the restart");
            page_cache::drop_all()?;
        }
        let before = Sample::take(broker.pid())?;
        let bootstrap = broker.bootstrap();
        let reading = Reading { bootstrap: &bootstrap, topic: TOPIC, partitions: self.partitions, records: RECORDS };
        let read = generator::consume(&reading).with_context(|| broker.log_tail())?;
        let spent = Sample::take(broker.pid())? - before;
        let gigabytes = count(RECORDS * RECORD_BYTES as u64) / 1e9;
        let files = broker.log_files()?;
        let resident = broker.pid().map(usage::memory).transpose()?.unwrap_or_default().resident;
        let mut figures = vec![
            Figure::new(THROUGHPUT, Unit::MegabytesPerSecond, read),
            Figure::new(PROCESSOR, Unit::SecondsPerGigabyte, spent.broker.as_secs_f64() / gigabytes),
            Figure::mebibytes("memory", resident),
            Figure::mebibytes("memory and page cache of its log", resident + page_cache::resident(&files)?),
        ];
        if self.temperature == Cold {
            let plain = disk::read_plainly(&files)?;
            figures.push(Figure::aside("plain read", Unit::MegabytesPerSecond, plain));
            figures.push(Figure::aside(OF_PLAIN, Unit::Times, read / plain));
        }
        Ok(figures)
    }
}

fn write(broker: &Broker) -> Result<()> {
    let bootstrap = broker.bootstrap();
    let workload = Workload {
        bootstrap: &bootstrap,
        topic: TOPIC,
        records: RECORDS,
        record_bytes: RECORD_BYTES,
        producing: None,
        rate: None,
    };
    Generator::RdkafkaPerformance.run(&workload).with_context(|| broker.log_tail())?;
    Ok(())
}
