//! The transaction of one id as the log holds it, and the values that it changes to. It decides
//! nothing: `decision` does.

use std::collections::BTreeSet;

use rustmq_model::{
    ProducerEpoch, ProducerId, ProducerKey, Timestamp, TopicPartition, TransactionEnd, TransactionVersion,
};

use super::state::TransactionState;

/// The highest epoch that a producer gets. The one above it is for markers alone, so that a
/// producer can always be fenced.
pub const PRODUCER_EPOCH_MAX: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

/// The state of a transactional id: one value of `__transaction_state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The producer of the transaction. While the transaction is prepared, its epoch is that of the
    /// markers.
    pub producer: ProducerKey,
    /// The id before the last change. Together with `last_epoch` it is the key of the producer that
    /// may repeat its last request.
    pub previous_id: ProducerId,
    /// The id that the producer gets when the markers are written, with epoch 0: its epochs are
    /// used up. [`ProducerId::NONE`] if it keeps its id.
    pub next_id: ProducerId,
    /// The epoch before the last change, if the producer with that epoch may repeat the request
    /// that made the change; else [`ProducerEpoch::NONE`].
    pub last_epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub state: TransactionState,
    pub partitions: BTreeSet<TopicPartition>,
    pub updated_at: Timestamp,
    /// The begin of the current or last transaction; [`Timestamp::NONE`] after `InitProducerId`.
    pub started_at: Timestamp,
    /// The protocol of the request that ended the transaction: the version of its markers.
    pub client_version: TransactionVersion,
}

/// The request that sets a producer up, for [`Transaction::initialized`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Initialization {
    pub(super) timeout_ms: i32,
    /// The epoch that the producer says it has.
    pub(super) expected: Option<ProducerEpoch>,
    pub(super) now: Timestamp,
}

impl Transaction {
    /// The first state of an id.
    pub(super) const fn first(id: ProducerId, initialization: Initialization) -> Self {
        Self {
            producer: ProducerKey { id, epoch: ProducerEpoch(0) },
            previous_id: ProducerId::NONE,
            next_id: ProducerId::NONE,
            last_epoch: ProducerEpoch::NONE,
            timeout_ms: initialization.timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            updated_at: initialization.now,
            started_at: Timestamp::NONE,
            client_version: TransactionVersion::V0,
        }
    }

    /// Whether the producer has no epoch left to rise to.
    pub(super) fn is_exhausted(&self) -> bool {
        self.producer.epoch >= PRODUCER_EPOCH_MAX
    }

    /// Whether this producer repeats the request that made the last change.
    pub(super) fn is_repeated_by(&self, producer: ProducerKey) -> bool {
        producer == ProducerKey { id: self.previous_id, epoch: self.last_epoch }
            && self.last_epoch != ProducerEpoch::NONE
    }

    /// The key that the producer has when the markers of a prepared transaction are written.
    pub(super) fn successor(&self) -> ProducerKey {
        if self.next_id == ProducerId::NONE {
            self.producer
        } else {
            ProducerKey { id: self.next_id, epoch: ProducerEpoch(0) }
        }
    }

    /// The producer begins anew, with the next epoch, or with a new id and epoch 0.
    pub(super) fn initialized(&self, new_id: Option<ProducerId>, initialization: Initialization) -> Self {
        Self {
            producer: self.risen(new_id),
            previous_id: self.producer.id,
            last_epoch: initialization.expected.unwrap_or(ProducerEpoch::NONE),
            client_version: self.client_version,
            ..Self::first(self.producer.id, initialization)
        }
    }

    /// The partitions join the transaction, which begins if none is open.
    pub(super) fn with_partitions(&self, added: &[TopicPartition], now: Timestamp) -> Self {
        let started_at = if self.state == TransactionState::Ongoing { self.started_at } else { now };
        Self {
            previous_id: self.producer.id,
            last_epoch: ProducerEpoch::NONE,
            state: TransactionState::Ongoing,
            partitions: self.partitions.iter().chain(added).cloned().collect(),
            updated_at: now,
            started_at,
            ..self.clone()
        }
    }

    /// The end is decided. Markers of version 2 have the next epoch; those of older clients have
    /// the epoch that the producer keeps. `next_id` is for a producer whose epochs are used up.
    pub(super) fn prepared(&self, end: TransactionEnd, version: TransactionVersion, now: Timestamp) -> Self {
        let (epoch, last_epoch) = if version >= TransactionVersion::V2 {
            (self.marker_epoch(), self.producer.epoch)
        } else {
            (self.producer.epoch, ProducerEpoch::NONE)
        };
        Self {
            producer: ProducerKey { epoch, ..self.producer },
            previous_id: self.producer.id,
            last_epoch,
            state: TransactionState::prepared(end),
            updated_at: now,
            client_version: version,
            ..self.clone()
        }
    }

    /// All markers of the decision are written.
    pub(super) fn completed(&self, end: TransactionEnd, now: Timestamp) -> Self {
        Self {
            producer: self.successor(),
            previous_id: self.producer.id,
            next_id: ProducerId::NONE,
            state: TransactionState::completed(end),
            partitions: BTreeSet::new(),
            updated_at: now,
            ..self.clone()
        }
    }

    /// A transaction without partitions is aborted: the epoch rises, and there are no markers.
    pub(super) fn aborted_empty(&self, new_id: Option<ProducerId>, now: Timestamp) -> Self {
        Self {
            producer: self.risen(new_id),
            previous_id: self.producer.id,
            last_epoch: self.producer.epoch,
            state: TransactionState::CompleteAbort,
            updated_at: now,
            started_at: now,
            client_version: TransactionVersion::V2,
            ..self.clone()
        }
    }

    /// The transaction timed out with the last epoch, and the producer gets its new id now.
    pub(super) fn rotated(&self, new_id: ProducerId, now: Timestamp) -> Self {
        Self {
            producer: ProducerKey { id: new_id, epoch: ProducerEpoch(0) },
            previous_id: self.producer.id,
            updated_at: now,
            ..self.clone()
        }
    }

    fn risen(&self, new_id: Option<ProducerId>) -> ProducerKey {
        match new_id {
            Some(id) => ProducerKey { id, epoch: ProducerEpoch(0) },
            None => ProducerKey { epoch: self.marker_epoch(), ..self.producer },
        }
    }

    /// The next epoch. It stays at the highest one, which the log takes for a marker of an open
    /// transaction (KAFKA-20090).
    fn marker_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.producer.epoch.0.saturating_add(1))
    }
}
