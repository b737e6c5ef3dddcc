//! The names of transactions (KIP-98, KIP-890), and the marker that ends one in a partition. What
//! the log and the coordinator decide about them is theirs.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::batch::{Attributes, Codec};
use crate::record::BatchBuilder;
use crate::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The name under which a producer finds its unfinished transaction again after a restart (KIP-98).
/// It is not empty, and fits a string of Kafka's protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionalId(Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionalIdError {
    #[error("a transactional id must not be empty")]
    Empty,
    #[error("a transactional id has at most {max} bytes, this one has {length}", max = TransactionalId::BYTES_MAX)]
    TooLong { length: usize },
}

impl TransactionalId {
    /// The longest string of Kafka's protocol, in bytes of UTF-8.
    pub const BYTES_MAX: usize = 32_767;

    /// # Errors
    /// [`TransactionalIdError`] if the id is empty or longer than [`Self::BYTES_MAX`].
    pub fn new(id: &str) -> Result<Self, TransactionalIdError> {
        match id.len() {
            0 => Err(TransactionalIdError::Empty),
            1..=Self::BYTES_MAX => Ok(Self(id.into())),
            length => Err(TransactionalIdError::TooLong { length }),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TransactionalId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TransactionalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A producer at one of its epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProducerKey {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

impl fmt::Display for ProducerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, epoch } = self;
        write!(f, "{id}@{epoch}")
    }
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionEnd {
    Commit,
    Abort,
}

/// The protocol of a transaction: a value of the feature `transaction.version`, of a client's
/// request, or of a marker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionVersion {
    /// KIP-98.
    #[default]
    V0,
    /// Like `V0`; coordinators may write flexible records.
    V1,
    /// KIP-890: the producer epoch rises with each end of a transaction.
    V2,
}

impl TransactionVersion {
    /// The version's number in records and on the wire.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// `None` for a number that stands for no version.
    #[must_use]
    pub const fn from_number(number: i16) -> Option<Self> {
        match number {
            0 => Some(Self::V0),
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }

    /// Whether the producer epoch rises with each end of a transaction (KIP-890).
    #[must_use]
    pub const fn bumps_epochs(self) -> bool {
        matches!(self, Self::V2)
    }
}

/// The end of a producer's transaction in one partition, as its coordinator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionMarker {
    /// The producer at the epoch of the marker. From version 2 on this is one above the epoch of
    /// the records.
    pub producer: ProducerKey,
    pub end: TransactionEnd,
    /// The leader epoch in which the coordinator leads its partition of `__transaction_state`: a
    /// log refuses the markers of earlier coordinators.
    pub coordinator_epoch: i32,
    /// By which rule the log compares epochs. It is not part of the batch.
    pub version: TransactionVersion,
}

impl TransactionMarker {
    /// The types of a control record, in its key.
    pub const ABORT_TYPE: i16 = 0;
    pub const COMMIT_TYPE: i16 = 1;
    const KEY_VERSION: i16 = 0;
    const VALUE_VERSION: i16 = 0;

    /// The control batch of the marker (`EndTransactionMarker` in Kafka): one record, without a
    /// sequence. The log assigns the base offset and the leader epoch.
    #[must_use]
    pub fn encode(&self, timestamp: Timestamp) -> Bytes {
        let Self { producer, end, coordinator_epoch, version: _ } = *self;
        let mut key = BytesMut::with_capacity(4);
        key.put_i16(Self::KEY_VERSION);
        key.put_i16(match end {
            TransactionEnd::Abort => Self::ABORT_TYPE,
            TransactionEnd::Commit => Self::COMMIT_TYPE,
        });
        let mut value = BytesMut::with_capacity(6);
        value.put_i16(Self::VALUE_VERSION);
        value.put_i32(coordinator_epoch);
        let mut batch = BatchBuilder::new(Codec::None)
            .producer(producer.id, producer.epoch, Sequence::NONE)
            .attributes(Attributes::default().with_transactional().with_control());
        batch.push(timestamp, Some(&key), Some(&value), &[]);
        batch.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchHeader;
    use crate::record;

    #[test]
    fn a_transactional_id_is_not_empty_and_fits_a_string_of_the_protocol() {
        assert_eq!(TransactionalId::new(""), Err(TransactionalIdError::Empty));
        assert_eq!(TransactionalId::new(&"x".repeat(32_767)).map(|id| id.as_str().len()), Ok(32_767));
        assert_eq!(TransactionalId::new(&"x".repeat(32_768)), Err(TransactionalIdError::TooLong { length: 32_768 }));
    }

    #[test]
    fn a_version_has_the_number_that_stands_for_it() {
        for number in -1..=3_i16 {
            let version = TransactionVersion::from_number(number);
            assert_eq!(version.is_some(), (0..=2).contains(&number), "{number}");
            assert!(version.is_none_or(|version| i16::from(version.number()) == number), "{number}");
        }
    }

    #[test]
    fn a_marker_is_a_control_batch_of_one_record() -> Result<(), record::RecordError> {
        for (end, kind) in [(TransactionEnd::Abort, 0_u8), (TransactionEnd::Commit, 1)] {
            let producer = ProducerKey { id: ProducerId(7), epoch: ProducerEpoch(3) };
            let marker =
                TransactionMarker { producer, end, coordinator_epoch: 0x0102_0304, version: TransactionVersion::V2 };
            let batch = marker.encode(Timestamp(1_000));
            let header = BatchHeader::parse(&batch)?;
            header.validate(&batch)?;
            assert!(header.attributes.is_control() && header.attributes.is_transactional());
            assert_eq!((header.producer_id, header.producer_epoch), (producer.id, producer.epoch));
            assert_eq!(header.base_sequence, Sequence::NONE);
            let records = record::read(&batch, 1 << 10)?;
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].key.as_deref(), Some(&[0, 0, 0, kind][..]));
            assert_eq!(records[0].value.as_deref(), Some(&[0, 0, 1, 2, 3, 4][..]));
            assert_eq!(records[0].timestamp, Timestamp(1_000));
        }
        Ok(())
    }
}
