//! Do readers of old records delay producers? Writes many small commits, restarts, and lets
//! consumers read them over and over while one-record produces continue. The same produces without
//! readers come first, in the same run.

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rdkafka::ClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};
use rustix::process::setpriority_process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::bar::{Bar, Limit};
use crate::broker::Broker;
use crate::client::{Producing, WAIT_CATCH_UP_MS};
use crate::contender::Contender::{self, Kafka, Rustmq};
use crate::figure::{Figure, Unit, count};
use crate::payload::Payloads;
use crate::relay::{beginning, finish, reader};
use crate::scenario::{Overrides, Run, Scenario};
use crate::timeline::nanos;

pub struct OldReaders;

const OLD: &str = "old";
const NEW: &str = "new";
const COMMITS: u64 = 20_000;
const CONSUMERS: usize = 8;
const RECORD_BYTES: usize = 1024;
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// The nice value of the readers. They stand for clients on other machines, so the broker and the
/// producer have priority.
const READERS_NICE: i32 = 19;
const READ_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const RATIO: &str = "p99 beside readers, of alone";

impl Scenario for OldReaders {
    fn name(&self) -> &'static str {
        "readers-of-old"
    }

    fn load(&self, overrides: &Overrides) -> String {
        let producing = overrides.apply(Producing::PROMPT).words();
        format!(
            "{COMMITS} records of {RECORD_BYTES} B, each acknowledged before the next, a restart; then one record after another to another topic, \
             alone for a window, and for another beside {CONSUMERS} consumers (nice {READERS_NICE}) that read the old ones over and over; {producing}"
        )
    }

    fn contenders(&self) -> &'static [Contender] {
        &[Rustmq, Kafka]
    }

    fn bars(&self) -> Vec<Bar> {
        vec![Bar::new(RATIO, Limit::Below(2.0))]
    }

    fn is_watched(&self) -> bool {
        false
    }

    fn measure(&self, run: &Run<'_>) -> Result<Vec<Figure>> {
        let mut broker = run.start()?;
        let producing = run.overrides.apply(Producing::PROMPT);
        for topic in [OLD, NEW] {
            broker.create_topic(topic, 1)?;
        }
        let mut singles = Singles::connect(&broker, producing)?;
        for _ in 0..COMMITS {
            singles.send(OLD)?;
        }
        drop(singles);
        broker.stop()?;
        broker.start_again()?;
        ensure!(crate::fill::end(&broker, OLD, 1)? == COMMITS, "records are missing after the restart");

        let mut singles = Singles::connect(&broker, producing)?;
        singles.send_for(NEW, run.timing.warmup)?;
        let alone = singles.send_for(NEW, run.timing.window)?;
        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reading = Arc::new(AtomicUsize::new(0));
        let mut readers: Vec<JoinHandle<Result<()>>> = Vec::new();
        for _ in 0..CONSUMERS {
            let (bootstrap, stop) = (broker.bootstrap(), Arc::clone(&stop));
            let (read, reading) = (Arc::clone(&read), Arc::clone(&reading));
            readers.push(thread::spawn(move || {
                // Sets the value of this thread alone; the client's threads inherit it.
                setpriority_process(None, READERS_NICE)?;
                let consumer = reader(&bootstrap, OLD, WAIT_CATCH_UP_MS)?;
                let mut seen = COMMITS;
                let mut has_begun = false;
                while !stop.load(Ordering::Relaxed) {
                    if seen == COMMITS {
                        seen = 0;
                        consumer.assign(&beginning(OLD, 1)?)?;
                    }
                    if consumer.poll(POLL).transpose()?.is_some() {
                        seen += 1;
                        if !std::mem::replace(&mut has_begun, true) {
                            reading.fetch_add(1, Ordering::Relaxed);
                        }
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            }));
        }
        let begun = Instant::now();
        while reading.load(Ordering::Relaxed) < CONSUMERS {
            ensure!(begun.elapsed() < READ_WITHIN, "the readers have not begun within {READ_WITHIN:?}");
            thread::sleep(POLL);
        }
        read.store(0, Ordering::Relaxed);
        let beside = singles.send_for(NEW, run.timing.window)?;
        let read = read.load(Ordering::Relaxed);
        finish(readers, &stop)?;
        ensure!(read > COMMITS, "the readers have read {read} records alone");
        let milliseconds = |latency: &Histogram<u64>, quantile| count(latency.value_at_quantile(quantile)) / 1e6;
        let [p99_alone, p99_beside] = [&alone, &beside].map(|latency| milliseconds(latency, 0.99));
        Ok(vec![
            Figure::new("median alone", Unit::Milliseconds, milliseconds(&alone, 0.5)),
            Figure::new("median beside readers", Unit::Milliseconds, milliseconds(&beside, 0.5)),
            Figure::new("p99 alone", Unit::Milliseconds, p99_alone),
            Figure::new("p99 beside readers", Unit::Milliseconds, p99_beside),
            Figure::aside(RATIO, Unit::Times, p99_beside / p99_alone),
            Figure::new("worst beside readers", Unit::Milliseconds, milliseconds(&beside, 1.0)),
            Figure::new("read meanwhile", Unit::RecordsPerSecond, count(read) / run.timing.window.as_secs_f64()),
        ])
    }
}

/// Reports each record as soon as it is acknowledged: a caller that polls or flushes learns of it
/// up to a tenth of a second later.
struct Deliveries(mpsc::Sender<Result<(), KafkaError>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // Nobody listens once the scenario has failed.
        let _ = self.0.send(result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}

/// A producer with one record in flight at a time.
struct Singles {
    producer: ThreadedProducer<Deliveries>,
    acknowledged: mpsc::Receiver<Result<(), KafkaError>>,
    payloads: Payloads,
    sent: usize,
}

impl Singles {
    fn connect(broker: &Broker, producing: Producing) -> Result<Singles> {
        let (sender, acknowledged) = mpsc::channel();
        let producer = producing.config(&broker.bootstrap()).create_with_context(Deliveries(sender))?;
        Ok(Singles { producer, acknowledged, payloads: Payloads::of_size(RECORD_BYTES), sent: 0 })
    }

    /// Returns when the record is acknowledged.
    fn send(&mut self, topic: &str) -> Result<()> {
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(self.payloads.pick(self.sent));
        self.sent += 1;
        self.producer.send(record).map_err(|(error, _)| error).context("sending")?;
        let delivered =
            self.acknowledged.recv_timeout(ACKNOWLEDGED_WITHIN).context("waiting for an acknowledgement")?;
        Ok(delivered?)
    }

    /// The latency of each record, in nanoseconds.
    fn send_for(&mut self, topic: &str, time: Duration) -> Result<Histogram<u64>> {
        let mut latency = Histogram::new_with_max(60_000_000_000, 3)?;
        let begun = Instant::now();
        while begun.elapsed() < time {
            let at = Instant::now();
            self.send(topic)?;
            latency.saturating_record(nanos(at.elapsed()));
        }
        Ok(latency)
    }
}
