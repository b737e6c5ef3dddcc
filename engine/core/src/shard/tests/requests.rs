//! The tests' requests to a shard.

use bytes::Bytes;
use rustmq_model::batch::{Attributes, BatchHeader, Codec, restate};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicIdPartition,
};

use super::driver::Driver;
use super::host::Reply;
use crate::log::EpochStart;
use crate::shard::PartitionKey;
use crate::shard::error::{AppendError, CutError, DeleteError, OpenError, TrimError};
use crate::shard::request::{Append, AppendSource, Appended, CutLog, CutTo, LogConfig, OpenPartition, TrimTo};

pub type Answers<T, E> = Reply<Vec<Result<T, E>>>;

pub fn id(number: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(number) }
}

/// An entry of an epoch history.
pub fn begun(epoch: i32, start: i64) -> EpochStart {
    EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) }
}

/// A batch with one record of `size` bytes.
pub fn batch(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_000), None, Some(&vec![b'v'; size]), &[]);
    builder.build()
}

/// A batch with this many records.
pub fn batch_with(records: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    (0..records).for_each(|_| builder.push(Timestamp(1_000), None, Some(b"v"), &[]));
    builder.build()
}

/// The first batch of a producer.
pub fn batch_of(producer: i64) -> Bytes {
    let builder = BatchBuilder::new(Codec::None);
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(0));
    builder.push(Timestamp(1_000), None, Some(b"v"), &[]);
    builder.build()
}

/// The first batch of a producer in a transaction, which stays open.
pub fn transactional_batch_of(producer: i64) -> Bytes {
    let bytes = batch_of(producer);
    let header = BatchHeader::parse(&bytes).unwrap();
    restate(&bytes, Attributes(header.attributes.0 | 0x10), header.max_timestamp)
}

impl Driver {
    pub fn reply<T>(&mut self) -> Reply<T> {
        self.requests += 1;
        Reply::new(self.requests - 1)
    }

    pub fn open(&mut self, numbers: &[i32], epoch: i32) -> Answers<PartitionKey, OpenError> {
        self.open_with(numbers, epoch, LogConfig::unlimited())
    }

    pub fn open_with(&mut self, numbers: &[i32], epoch: i32, config: LogConfig) -> Answers<PartitionKey, OpenError> {
        let leader_epoch = LeaderEpoch(epoch);
        let open = |number: &i32| OpenPartition { id: id(*number), leader_epoch, config };
        let reply = self.reply();
        self.shard.handle_open(numbers.iter().map(open).collect(), reply.clone());
        reply
    }

    /// Appends a batch of each size.
    pub fn append(&mut self, number: i32, sizes: &[usize]) -> Answers<Appended, AppendError> {
        self.append_all(number, sizes.iter().map(|size| batch(*size)).collect())
    }

    pub fn append_all(&mut self, number: i32, batches: Vec<Bytes>) -> Answers<Appended, AppendError> {
        let until = self.setting.until;
        let append = |batch: Bytes| {
            let header = BatchHeader::parse(&batch).unwrap();
            Append { id: id(number), leader_epoch: None, batch, header, source: AppendSource::Coordinator, until }
        };
        let reply = self.reply();
        self.shard.handle_append(batches.into_iter().map(append).collect(), reply.clone());
        reply
    }

    pub fn trim(&mut self, number: i32, to: TrimTo) -> Reply<Result<Offset, TrimError>> {
        let reply = self.reply();
        self.shard.handle_trim(id(number), to, reply.clone());
        reply
    }

    pub fn cut(&mut self, number: i32, to: CutTo) -> Reply<Result<Offset, CutError>> {
        self.cut_in(number, 0, to)
    }

    pub fn cut_in(&mut self, number: i32, epoch: i32, to: CutTo) -> Reply<Result<Offset, CutError>> {
        let reply = self.reply();
        let cut = CutLog { id: id(number), leader_epoch: LeaderEpoch(epoch), to };
        self.shard.handle_cut(cut, reply.clone());
        self.execute();
        self.shard.check_invariants();
        reply
    }

    /// Reports that the other replicas have acknowledged the log up to `end`.
    pub fn acknowledge(&mut self, number: i32, end: i64) {
        self.shard.handle_watermark(id(number), Offset(end));
        self.execute();
        self.shard.check_invariants();
    }

    pub fn delete(&mut self, numbers: &[i32]) -> Answers<(), DeleteError> {
        let reply = self.reply();
        self.shard.handle_delete(numbers.iter().map(|number| id(*number)).collect(), reply.clone());
        reply
    }

    pub fn configure(&mut self, number: i32, config: LogConfig) -> Reply<()> {
        let reply = self.reply();
        self.shard.handle_configure(id(number), config, reply.clone());
        reply
    }

    pub fn close(&mut self) -> Reply<()> {
        let reply = self.reply();
        self.shard.handle_close(reply.clone());
        reply
    }
}
