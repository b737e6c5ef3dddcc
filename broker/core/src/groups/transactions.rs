//! Offsets that a transaction commits (KIP-98, KIP-447): they are pending until the marker of their
//! producer, whose end makes them visible or drops them
//! (`docs/adr/0030-offsets-in-transactions.md`).
//!
//! [`OpenTransactions`] knows the open transactions of one partition of `__consumer_offsets`, and
//! `offsets` the pending offsets of one group. Neither of them writes records: `machine` does.

pub mod guard;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod log_entry;
pub(super) mod offsets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::{Offset, ProducerEpoch, ProducerId, ProducerKey, TransactionMarker};

use self::guard::{CommitGuard, MarkerCounts};
use self::offsets::PendingOffset;
use super::error::GroupError;
use super::identity::GroupId;

/// A producer that has pending offsets here.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    /// The newest epoch of its records.
    epoch: ProducerEpoch,
    /// The first record that must stay in the log: the first of the transaction, or an older
    /// committed offset that one of its offsets overtakes.
    fixed_from: Offset,
    /// The groups with pending offsets of this producer.
    pub(super) groups: BTreeSet<GroupId>,
    /// The memory of its pending offsets.
    bytes: usize,
}

/// The open transactions of one partition, by producer.
#[derive(Debug, Default)]
pub(super) struct OpenTransactions {
    open: BTreeMap<ProducerId, OpenTransaction>,
    /// The `fixed_from` of each of them, in order.
    fixed: BTreeSet<(Offset, ProducerId)>,
    bytes: usize,
    pub(super) markers: MarkerCounts,
}

impl OpenTransactions {
    /// The memory of all pending offsets.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first record that a shortening must leave in the log.
    pub(super) fn first_fixed(&self) -> Option<Offset> {
        self.fixed.first().map(|(offset, _)| *offset)
    }

    /// A producer of an older epoch than that of its open transaction is fenced. The log compares
    /// with the last epoch of every other producer.
    ///
    /// # Errors
    /// [`GroupError::InvalidProducerEpoch`], and [`GroupError::CoordinatorNotAvailable`] if the
    /// guard is void: the transaction has to be confirmed again.
    pub(super) fn check_commit(&self, producer: ProducerKey, guard: CommitGuard) -> Result<(), GroupError> {
        if self.markers.guard(producer.id) != guard {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        match self.open.get(&producer.id) {
            Some(open) if producer.epoch < open.epoch => Err(GroupError::InvalidProducerEpoch),
            _ => Ok(()),
        }
    }

    /// Whether a marker may end the open transaction of its producer, by the rule of the log: from
    /// version 2 on its epoch is above that of the records, except for the last epoch of all.
    /// Where no transaction is open, a marker changes nothing, and the log checks its epoch.
    ///
    /// # Errors
    /// [`GroupError::InvalidProducerEpoch`]
    pub(super) fn check_marker(&self, marker: &TransactionMarker) -> Result<(), GroupError> {
        let Some(open) = self.open.get(&marker.producer.id) else { return Ok(()) };
        let epoch = marker.producer.epoch;
        let may_equal = !marker.version.bumps_epochs() || epoch.0 == i16::MAX;
        if epoch > open.epoch || (may_equal && epoch == open.epoch) {
            Ok(())
        } else {
            Err(GroupError::InvalidProducerEpoch)
        }
    }

    /// Counts a pending offset. `replaced` is the earlier one of the same producer and partition,
    /// and `overtakes` the position of the committed offset that the pending one may replace.
    pub(super) fn add(
        &mut self,
        producer: ProducerKey,
        group: &GroupId,
        pending: Offset,
        bytes: usize,
        replaced: Option<&PendingOffset>,
        overtakes: Option<Offset>,
    ) {
        let fixed_from = overtakes.map_or(pending, |committed| committed.min(pending));
        let open = self.open.entry(producer.id).or_insert_with(|| OpenTransaction {
            epoch: producer.epoch,
            fixed_from,
            groups: BTreeSet::new(),
            bytes: 0,
        });
        self.fixed.remove(&(open.fixed_from, producer.id));
        open.fixed_from = open.fixed_from.min(fixed_from);
        self.fixed.insert((open.fixed_from, producer.id));
        open.epoch = open.epoch.max(producer.epoch);
        if !open.groups.contains(group) {
            open.groups.insert(group.clone());
        }
        let replaced = replaced.map_or(0, |replaced| replaced.bytes).min(open.bytes);
        open.bytes = open.bytes - replaced + bytes;
        self.bytes = self.bytes - replaced + bytes;
    }

    /// Leaves the record of a committed offset in the log for the open transaction of a producer,
    /// whose pending offset may replace it.
    pub(super) fn keep_from(&mut self, producer: ProducerId, committed: Offset) {
        let Some(open) = self.open.get_mut(&producer) else { return };
        self.fixed.remove(&(open.fixed_from, producer));
        open.fixed_from = open.fixed_from.min(committed);
        self.fixed.insert((open.fixed_from, producer));
    }

    /// Ends the open transaction of a producer. None if none is open, or if the open one is of a
    /// newer epoch than the marker.
    pub(super) fn end(&mut self, producer: ProducerKey) -> Option<OpenTransaction> {
        self.open.get(&producer.id).filter(|open| open.epoch <= producer.epoch)?;
        let open = self.open.remove(&producer.id)?;
        self.fixed.remove(&(open.fixed_from, producer.id));
        self.bytes -= open.bytes;
        Some(open)
    }

    /// The producers with pending offsets in a group.
    pub(super) fn of_group<'a>(&'a self, group: &'a GroupId) -> impl Iterator<Item = ProducerId> + 'a {
        self.open.iter().filter(|(_, open)| open.groups.contains(group)).map(|(producer, _)| *producer)
    }

    /// # Panics
    /// If the index of fixed records or the count of bytes contradicts the transactions.
    pub(super) fn check_invariants(&self) {
        let fixed: BTreeSet<_> = self.open.iter().map(|(producer, open)| (open.fixed_from, *producer)).collect();
        assert_eq!(self.fixed, fixed, "the first record of each open transaction stays in the log");
        let bytes = self.open.values().map(|open| open.bytes).sum::<usize>();
        assert_eq!(self.bytes, bytes, "the memory of pending offsets is counted");
    }
}
