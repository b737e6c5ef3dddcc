//! The load of the crash proof: writers that live through every crash, as real producers do, and note what was acknowledged.
//! librdkafka in this process; a program's client beside it, whose library retries by rules of its own.

use crate::audit::{Mark, Promises};
use crate::client::{Client, ClientKind, Produce, open};
use crate::record::Draft;
use anyhow::{Context, Result};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Message};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub const TOPIC: &str = "crash";
pub const PARTITIONS: i32 = 24;
/// Longer than any restart.
const PATIENCE_MS: &str = "300000";

/// What was promised so far, by all writers.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Promises>>);

impl Ledger {
    pub fn acknowledge(&self, mark: Mark, offset: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.push((mark, offset));
    }

    pub fn refuse(&self, mark: Mark) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused.insert(mark);
    }

    pub fn snapshot(&self) -> Promises {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn acknowledged(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).acknowledged.len()
    }
}

impl ClientContext for Ledger {}

impl ProducerContext for Ledger {
    type DeliveryOpaque = Box<Mark>;

    fn delivery(&self, result: &DeliveryResult<'_>, mark: Box<Mark>) {
        match result {
            Ok(message) => self.acknowledge(*mark, message.offset()),
            Err(_) => self.refuse(*mark),
        }
    }
}

/// Writes by librdkafka until `stop`, round robin over the partitions, as fast as its bounded queue takes it.
pub fn write_natively(writer: u32, bootstrap: &str, ledger: &Ledger, stop: &AtomicBool) -> Result<()> {
    let producer: ThreadedProducer<Ledger> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "2")
        .set("queue.buffering.max.messages", "300")
        .set("reconnect.backoff.max.ms", "200")
        .set("compression.type", if writer.is_multiple_of(2) { "none" } else { "lz4" })
        .set("message.timeout.ms", PATIENCE_MS)
        .create_with_context(ledger.clone())?;
    let mut numbers: BTreeMap<i32, u64> = BTreeMap::new();
    'writing: while !stop.load(Ordering::SeqCst) {
        for partition in 0..PARTITIONS {
            let number = numbers.entry(partition).or_insert(0);
            let mark = Mark { writer, partition, number: *number };
            let body = mark.body();
            let mut record: BaseRecord<'_, [u8], [u8], Box<Mark>> =
                BaseRecord::with_opaque_to(TOPIC, Box::new(mark)).partition(partition).payload(&body);
            while let Err((error, refused)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error).context("producing");
                }
                if stop.load(Ordering::SeqCst) {
                    break 'writing;
                }
                record = refused;
                std::thread::sleep(Duration::from_millis(2));
            }
            *number += 1;
        }
    }
    producer.flush(Duration::from_secs(60)).context("waiting for the last acknowledgements")
}

/// Writes by a client program, a small request at a time.
pub fn write_by(kind: ClientKind, writer: u32, bootstrap: &str, ledger: &Ledger, stop: &AtomicBool) -> Result<()> {
    let mut client = open(kind, bootstrap)?;
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let marks: Vec<Mark> = (0..PARTITIONS).map(|partition| Mark { writer, partition, number }).collect();
        let drafts: Vec<Draft> = marks
            .iter()
            .map(|mark| Draft { partition: Some(mark.partition), value: Some(mark.body()), ..Draft::default() })
            .collect();
        let acks = (client.as_mut() as &mut dyn Client).produce(Produce::to(TOPIC).idempotent(), &drafts)?;
        for (mark, ack) in marks.into_iter().zip(acks) {
            if ack.error == 0 {
                ledger.acknowledge(mark, ack.offset);
            } else {
                ledger.refuse(mark);
            }
        }
        number += 1;
    }
    Ok(())
}
