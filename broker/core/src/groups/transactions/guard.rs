//! The guard of a commit in a transaction (KIP-890). The broker asks the transaction coordinator
//! whether the transaction has the group, and then makes the commit. A marker that comes between
//! the two ends the transaction that was confirmed, and the commit would begin one that nobody
//! ends.
//!
//! From version 2 on a marker raises the producer's epoch, so that the log refuses the late commit.
//! The guard is for the markers of older versions.

use rustmq_model::{Instant, ProducerId, TransactionMarker};

/// Producers share the counts, which bounds their memory. A marker of another producer may void a
/// guard: the client then tries again.
const COUNTS: u8 = u8::MAX;

/// The proof that no marker has ended the producer's transaction since the guard was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitGuard(u64);

/// The number of markers of versions below 2, by producer.
#[derive(Debug)]
pub(in crate::groups) struct MarkerCounts([u64; COUNTS as usize]);

impl Default for MarkerCounts {
    fn default() -> Self {
        Self([0; COUNTS as usize])
    }
}

impl MarkerCounts {
    /// Starts the counts where no earlier coordinator of this partition can have got to: its guards
    /// are void. Markers take longer than a nanosecond.
    pub(in crate::groups) const fn start(&mut self, now: Instant) {
        self.0 = [now.as_nanos(); COUNTS as usize];
    }

    pub(in crate::groups) fn on_marker(&mut self, marker: &TransactionMarker) {
        if !marker.version.bumps_epochs() {
            self.0[place(marker.producer.id)] += 1;
        }
    }

    pub(in crate::groups) fn guard(&self, producer: ProducerId) -> CommitGuard {
        CommitGuard(self.0[place(producer)])
    }
}

/// Ids are given out in sequence, and so spread over the counts.
fn place(producer: ProducerId) -> usize {
    let place = producer.0.rem_euclid(i64::from(COUNTS));
    usize::try_from(place).expect("a place is below the number of counts")
}
