//! Batch headers for tests: the log reads nothing else of a batch.

use super::super::{EpochStart, PartitionLog, RejectedEpoch};
use rustmq_model::batch::{Attributes, BatchHeader};
use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

pub const TRANSACTIONAL: Attributes = Attributes(0x10);
pub const MARKER: Attributes = Attributes(0x30);

/// A batch of a producer without an id.
pub fn plain(count: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset::ZERO,
        size: 100,
        leader_epoch: LeaderEpoch(-1),
        crc: 0,
        attributes: Attributes(0),
        last_offset_delta: count - 1,
        base_timestamp: Timestamp(1_000),
        max_timestamp: Timestamp(1_000),
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: Sequence::NONE,
        record_count: count,
    }
}

pub fn idempotent(id: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    BatchHeader {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        ..plain(count)
    }
}

pub fn transactional(id: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    BatchHeader { attributes: TRANSACTIONAL, ..idempotent(id, epoch, sequence, count) }
}

pub fn marker(id: i64, epoch: i16) -> BatchHeader {
    BatchHeader { attributes: MARKER, ..idempotent(id, epoch, -1, 1) }
}

/// Leads the log in `epoch` from here on, if that is a new one.
pub fn lead(log: &mut PartitionLog, epoch: i32) -> Result<Option<EpochStart>, RejectedEpoch> {
    let begun = log.prepare_lead(LeaderEpoch(epoch))?;
    begun.into_iter().for_each(|begun| log.lead(begun));
    Ok(begun)
}

pub fn at(header: BatchHeader, base: i64, leader_epoch: i32) -> BatchHeader {
    BatchHeader { base_offset: Offset(base), leader_epoch: LeaderEpoch(leader_epoch), ..header }
}
