//! A producer under load: librdkafka with acks=all and idempotence, in bursts of mixed sizes to all
//! partitions. One producer lasts through many crashes of the broker, so that it sends the batches
//! in flight again after the restart. At times it is abandoned with its batches in flight, and
//! another one replaces it.

use super::audit::{Entry, TopicPartition};
use super::ledger::{Ledger, Report};
use super::payload;
use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// The most unacknowledged records of a producer.
const IN_FLIGHT_MAX: i32 = 2_000;

/// The state that all threads of the load share.
#[derive(Debug, Default)]
pub struct Load {
    pub ledger: Ledger,
    /// The partitions that are written to now.
    targets: Mutex<Vec<TopicPartition>>,
    stopped: AtomicBool,
    paused: AtomicBool,
}

impl Load {
    pub fn write_to(&self, targets: Vec<TopicPartition>) {
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    fn target(&self, random: &mut StdRng) -> Option<TopicPartition> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        (!targets.is_empty()).then(|| targets[random.random_range(0..targets.len())].clone())
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Asks the writers to finish their requests, and to begin no new ones.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }
}

struct Sent {
    place: TopicPartition,
    entry: Entry,
}

/// Turns deliveries into reports.
struct Deliveries {
    load: Arc<Load>,
    /// Set once nobody waits for the requests in flight.
    abandoned: Arc<AtomicBool>,
}

impl ClientContext for Deliveries {
    /// Lost connections are expected.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.load.ledger.report(Report::Failure(format!("a producer ended: {error}: {reason}")));
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Sent>) {
        match result {
            Ok(message) => {
                let (place, entry, offset) = (sent.place, sent.entry, message.offset());
                self.load.ledger.report(Report::Record { place, offset, entry });
            }
            Err(_) if self.abandoned.load(Ordering::SeqCst) => {}
            Err((error, _)) => {
                // The broker always returns before the producer gives up, so no record may fail.
                let failure = format!("{}: {} was refused: {error}", sent.place, sent.entry);
                self.load.ledger.report(Report::Failure(failure));
            }
        }
    }
}

/// One of the load's producers, and its replacements.
pub struct Writer {
    bootstrap: String,
    load: Arc<Load>,
    random: StdRng,
    /// Names the producer in its records. No two producers have the same number.
    number: u32,
    producer: ThreadedProducer<Deliveries>,
    abandoned: Arc<AtomicBool>,
    sequences: BTreeMap<TopicPartition, u64>,
}

impl Writer {
    /// `number` leaves room for a million replacements.
    pub fn new(bootstrap: &str, load: &Arc<Load>, number: u32, seed: u64) -> Result<Writer> {
        let mut random = StdRng::seed_from_u64(seed);
        let (producer, abandoned) = connect(bootstrap, load, &mut random)?;
        Ok(Writer {
            bootstrap: bootstrap.into(),
            load: Arc::clone(load),
            random,
            number: number * 1_000_000,
            producer,
            abandoned,
            sequences: BTreeMap::new(),
        })
    }

    /// Writes until the load is stopped. While paused, waits until nothing is in flight, then
    /// reports that in `idle`.
    pub fn run(mut self, idle: &AtomicBool) -> Result<()> {
        while !self.load.is_stopped() {
            if self.load.is_paused() {
                idle.store(self.producer.in_flight_count() == 0, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            idle.store(false, Ordering::SeqCst);
            if self.random.random_bool(0.0005) {
                self.replace()?;
            }
            self.burst();
            // Paces the load; waits for no event.
            thread::sleep(Duration::from_micros(self.random.random_range(1_000..8_000)));
        }
        self.abandon();
        Ok(())
    }

    fn burst(&mut self) {
        let Some(place) = self.load.target(&mut self.random) else { return };
        let records = self.random.random_range(1..16);
        let largest = [40, 400, 4_000, 40_000][self.random.random_range(0..4) * self.random.random_range(0..4) / 3];
        for _ in 0..records {
            let length = self.random.random_range(0..largest);
            self.write(&place, length);
        }
    }

    /// Sends one record. The tests of the audit call this, too.
    pub fn write(&mut self, place: &TopicPartition, length: usize) {
        if self.producer.in_flight_count() >= IN_FLIGHT_MAX {
            return;
        }
        let sequence = self.sequences.entry(place.clone()).or_default();
        let (value, entry) = payload::make(&mut self.random, self.number, *sequence, length);
        let sent = Box::new(Sent { place: place.clone(), entry });
        let record = BaseRecord::<'_, [u8], [u8], _>::with_opaque_to(&place.topic, sent)
            .partition(place.partition)
            .payload(&value[..]);
        match self.producer.send(record) {
            Ok(()) => *sequence += 1,
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {}
            Err((error, _)) => {
                self.load.ledger.report(Report::Failure(format!("{place}: a record was not taken: {error}")));
            }
        }
    }

    /// Waits until every record is acknowledged or refused.
    pub fn flush(&self) -> Result<()> {
        Ok(self.producer.flush(Duration::from_secs(30))?)
    }

    fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        self.producer.purge(rdkafka::producer::PurgeConfig::default().queue().inflight());
    }

    fn replace(&mut self) -> Result<()> {
        self.abandon();
        let (producer, abandoned) = connect(&self.bootstrap, &self.load, &mut self.random)?;
        (self.producer, self.abandoned) = (producer, abandoned);
        self.number += 1;
        self.sequences.clear();
        Ok(())
    }
}

fn connect(
    bootstrap: &str,
    load: &Arc<Load>,
    random: &mut StdRng,
) -> Result<(ThreadedProducer<Deliveries>, Arc<AtomicBool>)> {
    let abandoned = Arc::new(AtomicBool::new(false));
    let mut config = quick_client(bootstrap);
    config.set("acks", "all").set("enable.idempotence", "true").set("message.timeout.ms", "120000");
    config.set("compression.type", CODECS[random.random_range(0..CODECS.len())]);
    config.set("linger.ms", random.random_range(0..15_u32).to_string());
    config.set("batch.num.messages", [1, 10, 1_000][random.random_range(0..3)].to_string());
    config.set("retry.backoff.ms", "20").set("retry.backoff.max.ms", "100");
    let context = Deliveries { load: Arc::clone(load), abandoned: Arc::clone(&abandoned) };
    Ok((config.create_with_context(context)?, abandoned))
}

/// A client that reconnects soon after the broker is back.
pub fn quick_client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("log_level", "0");
    config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "50");
    config.set("topic.metadata.refresh.fast.interval.ms", "20");
    config
}
