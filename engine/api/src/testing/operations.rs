//! The operations of tests: partitions of one topic, batches with a value a record, and reads of
//! everything.

use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_core::shard::error::{AppendError, ReadError};
use rustmq_engine_core::shard::request::{Append, AppendSource, Appended, LogConfig, OpenPartition};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::{self, BatchBuilder};
use rustmq_model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicIdPartition,
};

use crate::AppendFrontier;
use crate::engine::Engine;
use crate::read::{Isolation, ReadRequest};
use crate::reader::PartitionReader;

/// The time of the records, unless a test says another.
pub const TIME: Timestamp = Timestamp(1_000);

#[must_use]
pub fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(7 << 64 | 9), partition: PartitionId(partition) }
}

/// Opens a partition that keeps everything, in leader epoch 0.
pub async fn open(engine: &Engine, partition: i32) -> PartitionReader {
    open_with(engine, partition, LogConfig::unlimited()).await
}

pub async fn open_with(engine: &Engine, partition: i32, config: LogConfig) -> PartitionReader {
    let open = OpenPartition { id: id(partition), leader_epoch: LeaderEpoch(0), config };
    engine.open(vec![open]).await.remove(0).expect("the partition is opened")
}

/// A batch with one record for each value.
#[must_use]
pub fn batch(values: &[&[u8]]) -> Bytes {
    batch_at(TIME, values)
}

#[must_use]
pub fn batch_at(timestamp: Timestamp, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    values.iter().for_each(|value| builder.push(timestamp, None, Some(value), &[]));
    builder.build()
}

#[must_use]
pub fn producer_batch(producer: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> Bytes {
    let builder = BatchBuilder::new(Codec::None);
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(epoch), Sequence(sequence));
    values.iter().for_each(|value| builder.push(TIME, None, Some(value), &[]));
    builder.build()
}

/// An append that is answered when it is durable.
#[must_use]
pub fn to_append(partition: i32, batch: Bytes) -> Append {
    let header = BatchHeader::parse(&batch).expect("the batch is sound");
    Append {
        id: id(partition),
        leader_epoch: None,
        batch,
        header,
        source: AppendSource::Client(None),
        until: AppendFrontier::DurableEnd,
    }
}

/// # Errors
/// As the engine refuses the batch.
pub async fn append(engine: &Engine, partition: i32, batch: Bytes) -> Result<Appended, AppendError> {
    engine.append(vec![to_append(partition, batch)]).await.wait().await.remove(0)
}

/// # Errors
/// As the engine refuses the batch.
pub async fn append_value(engine: &Engine, partition: i32, value: &[u8]) -> Result<Offset, AppendError> {
    append(engine, partition, batch(&[value])).await.map(|appended| appended.base_offset)
}

/// Reads all records from `from` to the high watermark: their offsets and values. Panics if a batch
/// is not sound, or if there is a gap or a repeat.
///
/// # Errors
/// As the engine refuses a read.
pub async fn read_all(reader: &PartitionReader, from: i64) -> Result<Vec<(i64, Bytes)>, ReadError> {
    let mut next = Offset(from);
    let mut records = Vec::new();
    while next < reader.frontiers().high_watermark {
        let read = reader.read(read_from(next, 256 << 10)).await?;
        assert!(!read.batches.is_empty(), "at least one batch from {next:?} of {:?}", reader.frontiers());
        for batch in read.batches {
            let header = BatchHeader::parse(&batch).expect("the batch is sound");
            header.validate(&batch).expect("the batch is sound");
            assert!(header.base_offset <= next && header.next_offset() > next, "no gap and no repeat at {next:?}");
            next = header.next_offset();
            let read = record::read(&batch, 64 << 20).expect("the records are sound");
            // Copies, because the batches hold memory that the next read may need.
            let value = |value: Option<Bytes>| Bytes::copy_from_slice(&value.expect("the record has a value"));
            records.extend(read.into_iter().map(|record| (record.offset.0, value(record.value))));
        }
    }
    records.retain(|(offset, _)| *offset >= from);
    Ok(records)
}

/// The values of all records. Panics if they cannot be read.
pub async fn values(reader: &PartitionReader) -> Vec<Bytes> {
    let from = reader.frontiers().log_start.0;
    let records = read_all(reader, from).await.expect("the log can be read");
    records.into_iter().map(|(_, value)| value).collect()
}

/// A read of at least one batch.
#[must_use]
pub const fn read_from(from: Offset, max_bytes: usize) -> ReadRequest {
    ReadRequest { from, max_bytes, at_least_one: true, isolation: Isolation::ReadUncommitted }
}

/// Waits up to ten seconds for a condition that nothing announces. Panics if it does not come
/// about.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let mut interval = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..1_000 {
        if condition().await {
            return;
        }
        interval.tick().await;
    }
    panic!("{what} does not come about in ten seconds");
}
