//! Fills a topic with a given amount of records, for scenarios that read it or start on it. Not
//! measured.

use crate::broker::Broker;
use crate::client::Producing;
use crate::payload::Payloads;
use anyhow::{Result, bail, ensure};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rustmq_compat_tests::crash::audit::TopicPartition;
use std::time::Duration;

const RECORD_BYTES: u64 = 1024;
const FLUSH_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(1);

/// Creates `topic` and fills its partitions evenly with `bytes` in records of 1 KiB. Returns the
/// number of records.
pub fn fill(broker: &Broker, topic: &str, partitions: i32, bytes: u64) -> Result<u64> {
    broker.create_topic(topic, partitions)?;
    let records = bytes / RECORD_BYTES;
    put(broker, topic, partitions, records)?;
    Ok(records)
}

/// Adds records of 1 KiB to the partitions of an existing topic, in turn.
pub fn put(broker: &Broker, topic: &str, partitions: i32, records: u64) -> Result<()> {
    let before = end(broker, topic, partitions)?;
    let payloads = Payloads::of_size(usize::try_from(RECORD_BYTES)?);
    let producer: BaseProducer = Producing::BULK.config(&broker.bootstrap()).create()?;
    let mut turn = (0..partitions).cycle();
    for number in 0..records {
        let (index, partition) = (usize::try_from(number)?, turn.next().unwrap_or(0));
        let record = || BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(payloads.pick(index));
        while let Err((error, _)) = producer.send(record()) {
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => producer.poll(POLL),
                other => bail!("sending: {other}"),
            }
        }
    }
    producer.flush(FLUSH_WITHIN)?;
    let found = end(broker, topic, partitions)? - before;
    ensure!(found == records, "{found} records in {topic}, of {records} that were sent");
    Ok(())
}

/// The number of records in the topic's partitions. Waits until a broker that has just started
/// leads them.
pub fn end(broker: &Broker, topic: &str, partitions: i32) -> Result<u64> {
    let places: Vec<TopicPartition> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
    let ends = broker.admin()?.ends(&places)?;
    Ok(u64::try_from(ends.values().sum::<i64>())?)
}
