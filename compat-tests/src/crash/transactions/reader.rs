//! Reads committed records, from given offsets to the last stable offset. Reports their content
//! without judging it.

use super::audit::Visible;
use super::payload::Piece;
use crate::crash::writer::quick_client;
use anyhow::{Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A consumer that gets nothing for this long hangs.
const SILENCE: Duration = Duration::from_secs(15);

/// Reads every partition of the topic. `from` has the offset where each continues, and is moved
/// behind the last record that was read.
pub fn read_committed(bootstrap: &str, topic: &str, from: &mut [i64]) -> Result<Vec<Visible>> {
    let mut assigned = TopicPartitionList::new();
    let mut due = BTreeSet::new();
    for (partition, offset) in (0..).zip(from.iter()) {
        assigned.add_partition_offset(topic, partition, Offset::Offset(*offset))?;
        due.insert(partition);
    }
    let mut config = quick_client(bootstrap);
    config.set("group.id", "audit").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true").set("check.crcs", "true");
    config.set("fetch.wait.max.ms", "20").set("fetch.error.backoff.ms", "20");
    let consumer: BaseConsumer = config.create()?;
    consumer.assign(&assigned)?;
    let mut visible = Vec::new();
    let mut heard = Instant::now();
    while !due.is_empty() {
        ensure!(heard.elapsed() < SILENCE, "a consumer got nothing for {SILENCE:?}; at {from:?}, due {due:?}");
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                let (partition, offset) = (message.partition(), message.offset());
                from[usize::try_from(partition)?] = offset + 1;
                visible.push(Visible { partition, offset, piece: message.payload().and_then(Piece::parse) });
            }
            // The end, for such a reader, is the last stable offset.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                heard = Instant::now();
                due.remove(&partition);
            }
            // The client retries what has failed.
            Some(Err(_)) | None => {}
        }
    }
    Ok(visible)
}
