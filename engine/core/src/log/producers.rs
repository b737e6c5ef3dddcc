//! The idempotent producers that one partition remembers (KIP-98). Their epochs and the last five
//! batches of each show which batches are duplicates, leave a gap, or come from a fenced producer.
//! The rules are those of Kafka 4: an unknown producer may start at any sequence, because its
//! history may have expired; a new epoch starts at 0.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TransactionMarker};

use super::end_marker::EndMarker;
use super::limits::LogLimits;
use super::rejection::{AppendRejection, BatchRejection, TransactionRejection};

/// The batches remembered per producer: as many as a client has in flight.
pub const BATCHES_MAX: usize = 5;
/// The last offset of a producer that has written nothing that is still in the log, or, in a
/// checkpoint of version 1, nothing but markers.
pub(super) const NO_LAST_OFFSET: Offset = Offset(-1);

/// One batch that a producer appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub base_sequence: Sequence,
    pub last_sequence: Sequence,
    pub base_offset: Offset,
    pub last_offset: Offset,
    pub timestamp: Timestamp,
}

/// The last batches of a producer, oldest first, stored inline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecentBatches {
    batches: [Option<ProducerBatch>; BATCHES_MAX],
}

impl RecentBatches {
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &ProducerBatch> {
        self.batches.iter().flatten()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches[0].is_none()
    }

    #[must_use]
    pub fn last(&self) -> Option<&ProducerBatch> {
        self.iter().next_back()
    }

    /// The last offset of the newest batch.
    pub(super) fn last_offset(&self) -> Offset {
        self.last().map_or(NO_LAST_OFFSET, |last| last.last_offset)
    }

    pub(super) fn is_ordered(&self) -> bool {
        let mut next = Offset(i64::MIN);
        self.iter().all(|batch| {
            let follows = batch.base_offset >= next && batch.last_offset >= batch.base_offset;
            next = batch.last_offset.plus(1);
            follows
        })
    }

    pub(super) fn push(&mut self, batch: ProducerBatch) {
        match self.batches.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(batch),
            None => {
                self.batches.rotate_left(1);
                self.batches[BATCHES_MAX - 1] = Some(batch);
            }
        }
    }
}

/// The state of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub epoch: ProducerEpoch,
    /// The epoch of the transaction coordinator that last ended a transaction of this producer
    /// here; -1 if none did.
    pub coordinator_epoch: i32,
    /// When its last batch or marker was appended, by the broker's clock; expiry depends on it.
    /// Timestamps in records do not count: a producer may state any time, such as that of records
    /// that it copies, and one that is forgotten too early can get a repeated batch stored twice.
    pub last_timestamp: Timestamp,
    /// The last offset of that batch or marker. It may be too low after a truncation, and from a
    /// checkpoint of version 1.
    pub last_offset: Offset,
    /// The first offset of the transaction that is open here.
    pub open_transaction: Option<Offset>,
    pub batches: RecentBatches,
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Self {
        let (coordinator_epoch, last_timestamp, last_offset) = (-1, Timestamp::NONE, NO_LAST_OFFSET);
        let (open_transaction, batches) = (None, RecentBatches::default());
        Self { epoch, coordinator_epoch, last_timestamp, last_offset, open_transaction, batches }
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = RecentBatches::default();
        }
    }
}

/// The place of a batch among the batches and transactions of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchPlace {
    /// The batch is in no transaction, or goes on in the one that is open.
    Next,
    /// A transaction begins in this partition with the batch.
    Begins,
    /// The same, but the producer's transaction of an earlier epoch is still open here.
    BeginsAfterOpen,
    Duplicate(ProducerBatch),
}

/// The effect of a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkerEffect {
    Ends,
    /// The log has the marker already.
    Repeated,
}

/// Whether the batches of a producer need sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    Required,
    /// A coordinator writes on behalf of a producer, which numbers other batches.
    Optional,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: BTreeMap<ProducerId, Producer>,
}

impl Producers {
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// In the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    #[must_use]
    pub fn find(&self, id: ProducerId) -> Option<&Producer> {
        self.by_id.get(&id)
    }

    pub(super) fn insert(&mut self, id: ProducerId, producer: Producer) -> Option<Producer> {
        self.by_id.insert(id, producer)
    }

    /// Checks a data batch of an idempotent producer.
    pub(super) fn check_batch(
        &self,
        header: &BatchHeader,
        numbering: Numbering,
        limits: LogLimits,
    ) -> Result<BatchPlace, AppendRejection> {
        let (producer_id, epoch, sequence) = (header.producer_id, header.producer_epoch, header.base_sequence);
        let is_unnumbered = numbering == Numbering::Optional && sequence == Sequence::NONE;
        if epoch.0 < 0 || (sequence.0 < 0 && !is_unnumbered) {
            return Err(BatchRejection::InvalidSequence { producer_id, producer_epoch: epoch, sequence }.into());
        }
        let Some(producer) = self.by_id.get(&producer_id) else {
            self.check_producer_limit(limits)?;
            return Ok(if header.attributes.is_transactional() { BatchPlace::Begins } else { BatchPlace::Next });
        };
        let out_of_order = |expected| Err(AppendRejection::OutOfOrderSequence { producer_id, expected, got: sequence });
        if epoch < producer.epoch {
            return Err(AppendRejection::InvalidProducerEpoch { producer_id, current: producer.epoch, got: epoch });
        }
        if is_unnumbered {
            // The coordinator that writes it keeps the order of its own appends.
        } else if epoch == producer.epoch {
            let last_sequence = header.last_sequence();
            let same = |batch: &&ProducerBatch| batch.base_sequence == sequence && batch.last_sequence == last_sequence;
            if let Some(batch) = producer.batches.iter().find(same) {
                return Ok(BatchPlace::Duplicate(*batch));
            }
            let expected = producer.batches.last().map_or(Sequence(0), |last| last.last_sequence.plus(1));
            if sequence != expected {
                return out_of_order(expected);
            }
        } else if sequence.0 != 0 {
            return out_of_order(Sequence(0));
        }
        match (producer.open_transaction.is_some(), header.attributes.is_transactional()) {
            (false, false) => Ok(BatchPlace::Next),
            (false, true) => Ok(BatchPlace::Begins),
            (true, false) => Err(TransactionRejection::OutsideTransaction { producer_id }.into()),
            (true, true) if epoch == producer.epoch => Ok(BatchPlace::Next),
            (true, true) => Ok(BatchPlace::BeginsAfterOpen),
        }
    }

    /// Checks the marker that ends a transaction.
    ///
    /// Up to version 1 it has the epoch of its transaction's records. From version 2 on (KIP-890)
    /// its epoch is higher: an equal one is a marker that comes again, and must not end the
    /// producer's next transaction. The last epoch cannot be raised any more, and ends its own
    /// transaction (KAFKA-20090).
    pub(super) fn check_marker(&self, marker: &TransactionMarker) -> Result<MarkerEffect, AppendRejection> {
        let (producer_id, got) = (marker.producer.id, marker.producer.epoch);
        let Some(producer) = self.by_id.get(&producer_id) else { return Ok(MarkerEffect::Ends) };
        let is_repeated = marker.version.bumps_epochs() && got == producer.epoch;
        let has_open = producer.open_transaction.is_some();
        if got < producer.epoch || (is_repeated && has_open && got != ProducerEpoch::MAX) {
            return Err(AppendRejection::InvalidProducerEpoch { producer_id, current: producer.epoch, got });
        }
        let (current, got) = (producer.coordinator_epoch, marker.coordinator_epoch);
        if got < current {
            return Err(TransactionRejection::FencedCoordinator { producer_id, current, got }.into());
        }
        Ok(if is_repeated && !has_open { MarkerEffect::Repeated } else { MarkerEffect::Ends })
    }

    fn check_producer_limit(&self, limits: LogLimits) -> Result<(), AppendRejection> {
        let limit = limits.producers_max;
        if self.by_id.len() < limit { Ok(()) } else { Err(AppendRejection::ProducerLimit { limit }) }
    }

    /// Whether the producer is known, or the limit leaves room for it.
    pub(super) fn has_room_for(&self, id: ProducerId, limits: LogLimits) -> bool {
        self.by_id.len() < limits.producers_max || self.by_id.contains_key(&id)
    }

    /// Remembers a data batch with its final offsets. Returns the first offset of the transaction
    /// that begins with it, if one does.
    pub(super) fn append(&mut self, header: &BatchHeader, now: Timestamp) -> Option<Offset> {
        let producer = self.by_id.entry(header.producer_id).or_insert_with(|| Producer::new(header.producer_epoch));
        producer.enter_epoch(header.producer_epoch);
        (producer.last_timestamp, producer.last_offset) = (now, header.last_offset());
        // A coordinator writes on behalf of a producer without sequences.
        if header.base_sequence.0 >= 0 {
            producer.batches.push(ProducerBatch {
                base_sequence: header.base_sequence,
                last_sequence: header.last_sequence(),
                base_offset: header.base_offset,
                last_offset: header.last_offset(),
                timestamp: header.max_timestamp,
            });
        }
        if !header.attributes.is_transactional() || producer.open_transaction.is_some() {
            return None;
        }
        producer.open_transaction = Some(header.base_offset);
        producer.open_transaction
    }

    /// Remembers a marker. Returns the first offset of the transaction that it ends, if one was
    /// open.
    pub(super) fn append_marker(&mut self, header: &BatchHeader, marker: EndMarker, now: Timestamp) -> Option<Offset> {
        let producer = self.by_id.entry(header.producer_id).or_insert_with(|| Producer::new(header.producer_epoch));
        producer.enter_epoch(header.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        (producer.last_timestamp, producer.last_offset) = (now, header.last_offset());
        producer.open_transaction.take()
    }

    /// The log does not store when a batch was appended. Producers that wrote after the checkpoint
    /// count as having written at the restart, so that none is forgotten early. So do producers
    /// with a time in the future, which are left when the clock was set back.
    pub(super) fn finish_replay(&mut self, now: Timestamp) {
        let producers = self.by_id.values_mut();
        producers.filter(|producer| !(Timestamp(0)..=now).contains(&producer.last_timestamp)).for_each(|producer| {
            producer.last_timestamp = now;
        });
    }

    /// The producers that wrote nothing for `expiry` before `now` and have no transaction open. At
    /// most `count_max`: the rest are forgotten later.
    #[must_use]
    pub fn expired(&self, now: Timestamp, expiry: Duration, count_max: usize) -> Vec<ProducerId> {
        let old =
            |producer: &Producer| producer.open_transaction.is_none() && now.is_past(producer.last_timestamp, expiry);
        let ids = self.by_id.iter().filter(|(_, producer)| old(producer)).map(|(id, _)| *id);
        ids.take(count_max).collect()
    }

    /// Forgets the producer, unless it has written at or above `decided_at`. Returns the first
    /// offset of its open transaction; it has one only if the decision was not made by
    /// [`Self::expired`].
    pub(super) fn forget(&mut self, id: ProducerId, decided_at: Offset) -> Option<Offset> {
        self.by_id.get(&id).filter(|producer| producer.last_offset < decided_at)?;
        self.by_id.remove(&id).and_then(|producer| producer.open_transaction)
    }
}
