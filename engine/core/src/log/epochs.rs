//! The leader epochs of a log and the offset where each began. Diverged logs find their common end
//! from them (KIP-101, KIP-279, KIP-320).

use rustmq_model::{LeaderEpoch, Offset};

/// The most epochs in a history. Beyond it the oldest is dropped, and a question about it is
/// answered like one about an epoch before the log.
pub const EPOCHS_MAX: usize = 10_000;

/// A leader epoch and the offset of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// Where an epoch ended in this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of this log that is not above the requested one; the requested one itself
    /// if the log knows only later epochs.
    pub epoch: LeaderEpoch,
    pub end_offset: Offset,
}

/// Oldest first; epochs and starts both rise strictly. An epoch without records is replaced by the
/// next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory {
    starts: Vec<EpochStart>,
}

impl EpochHistory {
    /// `None` unless epochs and starts both rise, within [`EPOCHS_MAX`].
    pub(super) fn from_starts(starts: Vec<EpochStart>) -> Option<Self> {
        let history = Self { starts };
        history.is_ordered().then_some(history)
    }

    #[must_use]
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    #[must_use]
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|last| last.epoch)
    }

    /// Records that `epoch` begins at `start`. An epoch that is not newer than the latest changes
    /// nothing, and neither does [`LeaderEpoch::NONE`].
    pub(super) fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.latest().unwrap_or(LeaderEpoch::NONE) >= epoch {
            return;
        }
        self.truncate(start);
        if self.starts.len() == EPOCHS_MAX {
            self.starts.remove(0);
        }
        self.starts.push(EpochStart { epoch, start });
    }

    /// Removes the epochs that begin at or above `end`.
    pub(super) fn truncate(&mut self, end: Offset) {
        let below = self.starts.partition_point(|entry| entry.start < end);
        self.starts.truncate(below);
    }

    /// Removes the epochs that ended at or below `log_start`. The epoch that contains it begins
    /// there now.
    pub(super) fn trim(&mut self, log_start: Offset) {
        let below = self.starts.partition_point(|entry| entry.start <= log_start);
        if let Some(holder) = below.checked_sub(1) {
            self.starts[holder].start = log_start;
            self.starts.drain(..holder);
        }
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.starts.len() <= EPOCHS_MAX && is_rising(&self.starts)
    }
}

/// Whether epochs and starts both rise strictly, as they do in every history.
pub(crate) fn is_rising(starts: &[EpochStart]) -> bool {
    starts.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start < pair[1].start)
}

/// Where the epochs before the `index`-th of a history end: where that one begins, or, past the
/// history's last, where the log ends.
pub(crate) fn end_before(starts: &[EpochStart], index: usize, log_end: Offset) -> Offset {
    starts.get(index).map_or(log_end, |next| next.start)
}

/// Where `epoch` ended in a log with this history that ends at `log_end`. `None` for an epoch above
/// the latest, which the log does not know.
#[must_use]
pub fn end_offset_for(starts: &[EpochStart], epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
    let next = starts.partition_point(|entry| entry.epoch <= epoch);
    let floor = next.checked_sub(1).map(|floor| starts[floor].epoch);
    let is_known = next < starts.len() || floor == Some(epoch);
    let end_offset = end_before(starts, next, log_end);
    is_known.then_some(EpochEnd { epoch: floor.unwrap_or(epoch), end_offset })
}

#[cfg(test)]
mod tests {
    use super::{EpochEnd, EpochHistory, EpochStart, end_offset_for};
    use rustmq_model::{LeaderEpoch, Offset};

    fn history(starts: &[(i32, i64)]) -> EpochHistory {
        let mut history = EpochHistory::default();
        starts.iter().for_each(|&(epoch, start)| history.begin(LeaderEpoch(epoch), Offset(start)));
        history
    }

    fn check(history: &EpochHistory, expected: &[(i32, i64)]) {
        let entry = |&(epoch, start): &(i32, i64)| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) };
        assert_eq!(history.starts(), expected.iter().map(entry).collect::<Vec<_>>());
        assert!(history.is_ordered());
    }

    #[test]
    fn an_epoch_without_records_is_replaced_by_the_next() {
        check(&history(&[(1, 0), (2, 10), (3, 10), (5, 20)]), &[(1, 0), (3, 10), (5, 20)]);
        check(&history(&[(4, 0), (3, 10), (4, 12)]), &[(4, 0)]);
        check(&history(&[(-1, 0)]), &[]);
        // Two leaderships without records.
        check(&history(&[(0, 7), (2, 7)]), &[(2, 7)]);
    }

    #[test]
    fn ends_are_answered_as_kafka_does() {
        let history = history(&[(2, 10), (4, 20), (7, 30)]);
        let check = |epoch, expected: Option<(i32, i64)>| {
            let expected = expected.map(|(epoch, end)| EpochEnd { epoch: LeaderEpoch(epoch), end_offset: Offset(end) });
            let end = end_offset_for(history.starts(), LeaderEpoch(epoch), Offset(44));
            assert_eq!(end, expected, "epoch {epoch}");
        };
        check(7, Some((7, 44)));
        check(8, None);
        check(5, Some((4, 30)));
        check(4, Some((4, 30)));
        check(2, Some((2, 20)));
        check(1, Some((1, 10)));
        assert_eq!(end_offset_for(&[], LeaderEpoch(0), Offset(0)), None, "an empty history knows no epoch");
    }

    #[test]
    fn trims_and_truncations_cut_both_sides() {
        let all = [(2, 10), (4, 20), (7, 30)];
        let trimmed = |to| {
            let mut history = history(&all);
            history.trim(Offset(to));
            history
        };
        check(&trimmed(5), &all);
        check(&trimmed(15), &[(2, 15), (4, 20), (7, 30)]);
        check(&trimmed(20), &[(4, 20), (7, 30)]);
        check(&trimmed(99), &[(7, 99)]);
        let mut history = history(&all);
        history.truncate(Offset(20));
        check(&history, &[(2, 10)]);
        history.truncate(Offset(10));
        check(&history, &[]);
    }
}
