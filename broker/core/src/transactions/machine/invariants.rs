//! The invariants of all ids together with the outbox, between any two inputs.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::{TopicPartition, TransactionalId};

use super::{Entry, TransactionTimer, Transactions};
use crate::coordinator::{Outbox, TaskId};
use crate::transactions::state::TransactionState;

impl Transactions {
    /// Each id has the timer that its state needs, and no other timer is set: without its timer, a
    /// transaction would hang.
    pub(super) fn check_entries(&self, outbox: &Outbox<Self>) {
        let mut timers = [TransactionTimer::Expiry, TransactionTimer::ProducerIds]
            .iter()
            .filter(|timer| outbox.timer(timer).is_some())
            .count();
        for (id, entry) in &self.entries {
            let timer = outbox.timer(&TransactionTimer::Transaction(id.clone()));
            assert_eq!(timer, entry.timeout(), "an id's timer is set to its next timeout");
            timers += usize::from(timer.is_some());
            assert!(entry.stored.is_some() || entry.is_pending || !entry.waiting.is_empty(), "no blank id is kept");
            let is_ongoing = entry.state() == Some(TransactionState::Ongoing);
            assert_eq!(entry.timeout_at.is_some(), is_ongoing, "an open transaction has a clock, no other has one");
            Self::check_markers(entry);
        }
        assert_eq!(outbox.timer_count(), timers, "no timer is left behind");
        assert!(outbox.timer(&TransactionTimer::Expiry).is_some(), "ids expire");
    }

    /// The markers that are not settled are those of the prepared transaction, each once. A
    /// prepared transaction has work under way, or a time for the next try.
    fn check_markers(entry: &Entry) {
        let running = entry.markers.running.values().flat_map(|task| &task.partitions);
        let open: Vec<&TopicPartition> = entry.markers.unsent.iter().chain(running).collect();
        let distinct: BTreeSet<_> = open.iter().collect();
        assert_eq!(open.len(), distinct.len(), "a partition waits for one marker");
        let Some(transaction) = entry.transaction().filter(|current| current.state.prepared_end().is_some()) else {
            assert!(open.is_empty(), "only a prepared transaction has markers");
            return;
        };
        assert!(
            open.iter().all(|partition| transaction.partitions.contains(*partition)),
            "a marker goes to a partition of the transaction"
        );
        assert!(entry.is_pending || entry.timeout().is_some(), "a prepared transaction goes on");
        assert!(!entry.is_pending || open.is_empty(), "a transaction is completed when all its markers are settled");
    }

    /// An id has one append at a time, and knows of it.
    pub(super) fn check_appends(&self, outbox: &Outbox<Self>) {
        let mut pending: BTreeSet<&TransactionalId> = BTreeSet::new();
        for effect in outbox.pending_effects() {
            assert!(pending.insert(effect.id()), "one change of an id is pending at most");
        }
        let known = self.entries.iter().filter(|(_, entry)| entry.is_pending).map(|(id, _)| id);
        assert_eq!(pending, known.collect(), "an id knows of its append");
    }

    /// Each request that waits is held once, and for a reason that passes: a pending append,
    /// markers on their way, or a producer id that was asked for.
    pub(super) fn check_waiting(&self, outbox: &Outbox<Self>) {
        let of_entries: usize = self.entries.values().map(|entry| entry.waiting.len()).sum();
        let of_appends = outbox.pending_effects().filter(|effect| effect.answers_a_request()).count();
        assert_eq!(outbox.waiting_count(), of_entries + of_appends, "each request that waits is held once");
        for (id, entry) in self.entries.iter().filter(|(_, entry)| !entry.waiting.is_empty()) {
            let is_prepared = entry.state().is_some_and(|state| state.prepared_end().is_some());
            let has_reason = entry.is_pending || is_prepared || self.producer_ids.is_wanted_by(id);
            assert!(has_reason, "a request waits for something");
        }
        let wanted_by = self.producer_ids.wanted_by();
        assert!(
            wanted_by.iter().all(|id| self.entries.get(id).is_some_and(|entry| !entry.waiting.is_empty())),
            "a producer id is wanted by a request"
        );
        let is_asked_for = outbox.timer(&TransactionTimer::ProducerIds).is_some();
        assert!(wanted_by.is_empty() || is_asked_for, "a producer id that is wanted is asked for");
    }

    /// The tasks whose results count are those of the ids.
    pub(super) fn check_tasks(&self) {
        let of_entry = |(id, entry): (&'_ TransactionalId, &'_ Entry)| {
            entry.markers.running.keys().map(|task| (*task, id.clone())).collect::<Vec<_>>()
        };
        let of_entries: BTreeMap<TaskId, TransactionalId> = self.entries.iter().flat_map(of_entry).collect();
        let known = self.marker_tasks.iter().map(|(task, id)| (*task, id.clone()));
        assert_eq!(of_entries, known.collect(), "a task belongs to the id that waits for it");
    }

    /// The count of bytes is the sum over the ids, so that the bound on memory holds.
    pub(super) fn check_memory(&self) {
        let mut sum = 0;
        for (id, entry) in &self.entries {
            assert_eq!(entry.bytes, entry.bytes_in_memory(id), "an id knows its bytes");
            sum += entry.bytes;
        }
        assert_eq!(self.memory_bytes, sum, "the bytes of all ids are counted");
    }
}
