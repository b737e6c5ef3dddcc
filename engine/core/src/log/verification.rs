//! Verifications (KIP-890): a client's batch that begins a transaction in a partition is appended
//! only after the transaction coordinator has confirmed that the transaction has this partition.
//! Otherwise a batch that comes late, after the marker, would begin a transaction that nobody ends.
//!
//! The leader takes a guard, asks the coordinator, and appends with the guard. A marker that comes
//! in between makes it void, and the client sends the batch again. From version 2 on a marker
//! raises the producer's epoch, so that the log refuses the late batch, and the guard of the next
//! epoch holds. A guard is a count of markers and takes no memory: whoever asks for guards that the
//! coordinator does not confirm disturbs nobody.

use rustmq_model::{ProducerId, ProducerKey, TransactionMarker};

/// Producers share the counts, which bounds their memory. A marker of another producer may void a
/// guard.
const COUNTS: usize = 256;

/// Shows that no marker has come since it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationGuard {
    producer: ProducerKey,
    leadership: u64,
    markers: u64,
}

/// The markers that make guards void, in one partition.
#[derive(Clone, Debug, Default)]
pub struct Verifications {
    /// Counts the times at which all guards became void.
    leadership: u64,
    /// None before the first marker that counts.
    markers: Option<Box<[u64; COUNTS]>>,
}

impl Verifications {
    /// Those of a leadership. Guards of other leaderships are void.
    #[must_use]
    pub const fn of_leadership(leadership: u64) -> Self {
        Self { leadership, markers: None }
    }

    #[must_use]
    pub fn guard(&self, producer: ProducerKey) -> VerificationGuard {
        let markers = self.markers.as_ref().map_or(0, |markers| markers[place(producer.id)]);
        VerificationGuard { producer, leadership: self.leadership, markers }
    }

    /// Whether the guard was given to this producer, and is not void.
    #[must_use]
    pub fn admits(&self, guard: VerificationGuard, producer: ProducerKey) -> bool {
        guard == self.guard(producer)
    }

    pub fn on_marker(&mut self, marker: &TransactionMarker) {
        if !marker.version.bumps_epochs() {
            self.markers.get_or_insert_with(|| Box::new([0; COUNTS]))[place(marker.producer.id)] += 1;
        }
    }

    /// The log has another leadership, was cut, or does not remember the epoch of a marker.
    pub(crate) const fn clear(&mut self) {
        self.leadership += 1;
    }
}

/// Ids are given out in sequence, and so spread over the counts.
fn place(producer: ProducerId) -> usize {
    usize::try_from(producer.0.rem_euclid(COUNTS as i64)).expect("a place is below the number of counts")
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
        let verifications = Verifications::default();
        let guard = verifications.guard(producer(7, 1));
        assert!(verifications.admits(guard, producer(7, 1)));
        assert!(!verifications.admits(guard, producer(7, 2)));
        assert!(!verifications.admits(guard, producer(8, 1)));
    }

    #[test]
    fn a_marker_makes_guards_void_unless_it_raises_the_epoch() {
        use TransactionVersion::{V0, V1, V2};
        for (version, stays) in [(V0, false), (V1, false), (V2, true)] {
            let mut verifications = Verifications::default();
            let guard = verifications.guard(producer(7, 3));
            verifications.on_marker(&marker(producer(8, 3), version));
            assert!(verifications.admits(guard, producer(7, 3)), "it is another producer's marker");
            verifications.on_marker(&marker(producer(7, 3), version));
            assert_eq!(verifications.admits(guard, producer(7, 3)), stays, "{version:?}");
            assert!(verifications.admits(verifications.guard(producer(7, 3)), producer(7, 3)));
        }
    }

    #[test]
    fn another_leadership_makes_all_guards_void() {
        let mut verifications = Verifications::default();
        let guard = verifications.guard(producer(7, 1));
        verifications.clear();
        assert!(!verifications.admits(guard, producer(7, 1)));
        assert!(verifications.admits(verifications.guard(producer(7, 1)), producer(7, 1)));
    }
}
