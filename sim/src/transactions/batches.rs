//! The batches of the simulated logs: those that producers make are headers alone, which is all
//! that a log reads; those of coordinators have their bytes, which a load reads again.

use bytes::Bytes;
use rustmq_broker_core::coordinator::CoordinatorRecord;
use rustmq_broker_core::groups::records::decode_offset_commit_value;
use rustmq_engine_core::log::EndMarker;
use rustmq_model::batch::{Attributes, BatchHeader, Codec, assign};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerKey, Sequence, Timestamp, TransactionMarker,
};

/// A transaction as its producer sees it. Later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(pub u64);

#[derive(Clone, Debug)]
pub struct Batch {
    pub header: BatchHeader,
    /// The marker of a control batch.
    pub marker: Option<EndMarker>,
    /// Empty for a producer's batch.
    pub bytes: Bytes,
    /// The transaction that it belongs to.
    pub attempt: Option<Attempt>,
    /// Unique among the batches of producers.
    pub name: u64,
}

impl Batch {
    /// A producer's batch, which no log has placed yet.
    pub fn of_producer(producer: ProducerKey, sequence: Sequence, records: i32, attempt: Attempt, name: u64) -> Self {
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            size: 100,
            leader_epoch: LeaderEpoch::NONE,
            crc: 0,
            attributes: Attributes::default().with_transactional(),
            last_offset_delta: records - 1,
            base_timestamp: Timestamp(1),
            max_timestamp: Timestamp(1),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: sequence,
            record_count: records,
        };
        Self { header, marker: None, bytes: Bytes::new(), attempt: Some(attempt), name }
    }

    /// A batch of a coordinator's records; with a producer, a transactional one.
    pub fn of_records(records: &[CoordinatorRecord], producer: Option<ProducerKey>, now: Timestamp) -> Self {
        let mut builder = BatchBuilder::new(Codec::None);
        if let Some(ProducerKey { id, epoch }) = producer {
            let attributes = Attributes::default().with_transactional();
            builder = builder.producer(id, epoch, Sequence::NONE).attributes(attributes);
        }
        for record in records {
            builder.push(now, Some(&record.key), record.value.as_deref(), &[]);
        }
        let attempt = producer.and_then(|_| attempt_of_records(records));
        Self::of_bytes(builder.build(), None, attempt)
    }

    pub fn of_marker(marker: &TransactionMarker, now: Timestamp) -> Self {
        Self::of_bytes(marker.encode(now), Some(marker.into()), None)
    }

    fn of_bytes(bytes: Bytes, marker: Option<EndMarker>, attempt: Option<Attempt>) -> Self {
        let header = BatchHeader::parse(&bytes).expect("the batch was built just now");
        Self { header, marker, bytes, attempt, name: 0 }
    }

    /// The batch as the log places it.
    pub fn placed(mut self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        (self.header.base_offset, self.header.leader_epoch) = (base_offset, leader_epoch);
        if !self.bytes.is_empty() {
            let mut bytes = self.bytes.to_vec();
            assign(&mut bytes, base_offset, leader_epoch);
            self.bytes = bytes.into();
        }
        self
    }

    pub const fn producer(&self) -> ProducerKey {
        let (id, epoch): (ProducerId, ProducerEpoch) = (self.header.producer_id, self.header.producer_epoch);
        ProducerKey { id, epoch }
    }

    pub const fn first(&self) -> Offset {
        self.header.base_offset
    }

    pub const fn end(&self) -> Offset {
        self.header.next_offset()
    }
}

/// The transaction of a commit of offsets: the offset is its number.
fn attempt_of_records(records: &[CoordinatorRecord]) -> Option<Attempt> {
    let value = records.first()?.value.as_ref()?;
    let offset = decode_offset_commit_value(value).expect("the machine encoded it").offset;
    Some(Attempt(u64::try_from(offset.0).expect("offsets name transactions")))
}
