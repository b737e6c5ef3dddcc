//! Verifications (KIP-890): a client's batch that begins a transaction in a partition is appended
//! only after the transaction coordinator has confirmed that the transaction has this partition.
//! Otherwise a batch that comes late, after the marker, would begin a transaction that nobody ends.
//!
//! The leader begins a verification, asks the coordinator, and appends with the guard that the
//! verification gave. A marker that comes in between makes the guard void. Guards live in memory
//! alone: after a restart or a new leadership, clients send their batches again.

use std::collections::BTreeMap;

use rustmq_model::{ProducerId, ProducerKey, TransactionMarker};

/// The most producers of a partition that are being verified. Beyond it the oldest guard is void,
/// and its client sends the batch again.
const GUARDS_MAX: usize = 10_000;

/// Shows that a verification began, and that no marker has come since. Batches of one producer
/// that are verified at the same time have the same guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard {
    producer: ProducerKey,
    number: u64,
}

/// The verifications that are under way in one partition.
#[derive(Clone, Debug, Default)]
pub struct Verifications {
    by_producer: BTreeMap<ProducerId, VerificationGuard>,
    /// The oldest has the lowest number.
    by_number: BTreeMap<u64, ProducerId>,
    next: u64,
}

impl Verifications {
    /// Begins a verification, or joins the one that is under way for the same producer and epoch.
    pub fn begin(&mut self, producer: ProducerKey) -> VerificationGuard {
        let under_way = self.by_producer.get(&producer.id).copied();
        if let Some(guard) = under_way.filter(|guard| guard.producer == producer) {
            return guard;
        }
        let guard = VerificationGuard { producer, number: self.next };
        self.next += 1;
        if under_way.is_some_and(|guard| guard.producer.epoch > producer.epoch) {
            // The later epoch goes on; this guard was void from the beginning.
            return guard;
        }
        self.end(producer.id);
        if self.by_producer.len() >= GUARDS_MAX
            && let Some((_, oldest)) = self.by_number.pop_first()
        {
            self.by_producer.remove(&oldest);
        }
        self.by_producer.insert(producer.id, guard);
        self.by_number.insert(guard.number, producer.id);
        guard
    }

    /// Whether the guard was given to this producer, and is not void.
    #[must_use]
    pub fn admits(&self, guard: VerificationGuard, producer: ProducerKey) -> bool {
        guard.producer == producer && self.by_producer.get(&producer.id) == Some(&guard)
    }

    /// The producer's transaction has begun: its next batches need no guard.
    pub fn on_begun(&mut self, producer: ProducerId) {
        self.end(producer);
    }

    /// A marker makes the guards of its producer void. In version 2 the marker has the epoch of the
    /// producer's next transaction, and ends one of an earlier epoch: the guard of the next one
    /// stays.
    pub fn on_marker(&mut self, marker: &TransactionMarker) {
        let is_next =
            |guard: &VerificationGuard| marker.version.bumps_epochs() && guard.producer.epoch >= marker.producer.epoch;
        if !self.by_producer.get(&marker.producer.id).is_some_and(is_next) {
            self.end(marker.producer.id);
        }
    }

    /// The log has another leadership, or was cut.
    pub(crate) fn clear(&mut self) {
        self.by_producer.clear();
        self.by_number.clear();
    }

    fn end(&mut self, producer: ProducerId) {
        if let Some(guard) = self.by_producer.remove(&producer) {
            self.by_number.remove(&guard.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::{ProducerEpoch, TransactionEnd, TransactionVersion};

    use super::*;

    const fn producer(id: i64, epoch: i16) -> ProducerKey {
        ProducerKey { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
    }

    const fn marker(producer: ProducerKey, version: TransactionVersion) -> TransactionMarker {
        TransactionMarker { producer, end: TransactionEnd::Abort, coordinator_epoch: 0, version }
    }

    #[test]
    fn a_guard_admits_its_own_producer_and_epoch() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(producer(7, 1));
        assert!(verifications.admits(guard, producer(7, 1)));
        assert!(!verifications.admits(guard, producer(7, 2)));
        assert!(!verifications.admits(guard, producer(8, 1)));
        assert_eq!(verifications.begin(producer(7, 1)), guard, "batches of one producer share a guard");
    }

    #[test]
    fn a_later_epoch_replaces_the_guard_of_an_earlier_one() {
        let mut verifications = Verifications::default();
        let earlier = verifications.begin(producer(7, 1));
        let later = verifications.begin(producer(7, 2));
        assert!(!verifications.admits(earlier, producer(7, 1)));
        let late = verifications.begin(producer(7, 1));
        assert!(!verifications.admits(late, producer(7, 1)));
        assert!(verifications.admits(later, producer(7, 2)));
    }

    #[test]
    fn a_marker_makes_guards_void_but_that_of_the_next_epoch() {
        use TransactionVersion::{V0, V1, V2};
        let check = |guard_epoch, marker_epoch, version, stays| {
            let mut verifications = Verifications::default();
            let guard = verifications.begin(producer(7, guard_epoch));
            verifications.on_marker(&marker(producer(8, marker_epoch), version));
            assert!(verifications.admits(guard, producer(7, guard_epoch)), "it is another producer's marker");
            verifications.on_marker(&marker(producer(7, marker_epoch), version));
            assert_eq!(verifications.admits(guard, producer(7, guard_epoch)), stays, "{guard_epoch} {version:?}");
        };
        check(3, 3, V0, false);
        check(3, 3, V1, false);
        check(3, 3, V2, true);
        check(2, 3, V2, false);
        check(4, 3, V0, false);
    }

    #[test]
    fn a_guard_is_void_once_the_transaction_has_begun_or_the_leadership_has_ended() {
        let mut verifications = Verifications::default();
        let guard = verifications.begin(producer(7, 1));
        verifications.on_begun(ProducerId(7));
        assert!(!verifications.admits(guard, producer(7, 1)));
        let guard = verifications.begin(producer(7, 1));
        verifications.clear();
        assert!(!verifications.admits(guard, producer(7, 1)));
        assert_ne!(verifications.begin(producer(7, 1)), guard);
    }

    #[test]
    fn the_oldest_guard_makes_room_for_a_new_one() {
        let mut verifications = Verifications::default();
        let count = i64::try_from(GUARDS_MAX).expect("the bound is small");
        let guards: Vec<_> = (0..=count).map(|id| verifications.begin(producer(id, 0))).collect();
        assert!(!verifications.admits(guards[0], producer(0, 0)));
        assert!(verifications.admits(guards[1], producer(1, 0)));
        assert!(verifications.admits(guards[GUARDS_MAX], producer(count, 0)));
        assert_eq!((verifications.by_producer.len(), verifications.by_number.len()), (GUARDS_MAX, GUARDS_MAX));
    }
}
