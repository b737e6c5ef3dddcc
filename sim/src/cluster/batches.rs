//! The batches that clients make. The log reads only headers, so a batch is its header, and the
//! checksum identifies it.

use rustmq_engine_core::log::EndMarker;
use rustmq_model::TransactionEnd;
use rustmq_model::batch::{Attributes, BatchHeader};
use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub header: BatchHeader,
    /// The marker of a control batch.
    pub marker: Option<EndMarker>,
}

/// The producer fields of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub sequence: Sequence,
}

const TRANSACTIONAL: u16 = 0x10;
const CONTROL: u16 = 0x20;

impl Batch {
    /// Creates a batch that no log has placed yet. No other batch has this `name`.
    pub fn plain(name: u32, records: i32, size: usize) -> Self {
        let header = BatchHeader {
            base_offset: Offset::ZERO,
            size,
            leader_epoch: LeaderEpoch(-1),
            crc: name,
            attributes: Attributes(0),
            last_offset_delta: records - 1,
            base_timestamp: Timestamp(1),
            max_timestamp: Timestamp(1),
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            record_count: records,
        };
        Self { header, marker: None }
    }

    pub fn of(self, author: Author) -> Self {
        let Author { id, epoch, sequence } = author;
        let header = BatchHeader { producer_id: id, producer_epoch: epoch, base_sequence: sequence, ..self.header };
        Self { header, ..self }
    }

    pub fn in_transaction(self) -> Self {
        let attributes = Attributes(self.header.attributes.0 | TRANSACTIONAL);
        Self { header: BatchHeader { attributes, ..self.header }, ..self }
    }

    /// Turns the batch into the control batch that ends a transaction.
    pub fn ending(self, end: TransactionEnd) -> Self {
        let attributes = Attributes(TRANSACTIONAL | CONTROL);
        let header = BatchHeader { attributes, base_sequence: Sequence::NONE, ..self.header };
        Self { header, marker: Some(EndMarker { end, coordinator_epoch: 0 }) }
    }

    /// Returns the batch as the log placed it.
    pub fn placed(self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        Self { header: BatchHeader { base_offset, leader_epoch, ..self.header }, ..self }
    }

    pub const fn name(&self) -> u32 {
        self.header.crc
    }

    pub const fn first(&self) -> Offset {
        self.header.base_offset
    }

    pub const fn end(&self) -> Offset {
        self.header.next_offset()
    }
}
