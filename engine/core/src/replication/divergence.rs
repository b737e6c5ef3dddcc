//! Where the logs of a follower and its leader diverge (KIP-101, KIP-279), found from their epoch
//! histories. An epoch and an offset identify a record's bytes, since one process of one broker
//! wrote an epoch. So the logs are equal up to the end of the largest epoch that both have; if the
//! epoch's ends differ, up to the lower one.

use rustmq_model::{LeaderEpoch, Offset};

use super::limits::HISTORY_PAGE_MAX;
use super::log_view::LogView;
use super::message::{Hello, HistoryPage, Verdict};
use crate::log::{EpochStart, end_before, is_rising};

impl HistoryPage {
    /// The page of `log`'s history that skips the `newer` newest entries and has at most
    /// `count_max` entries. `None` if there is none.
    pub(super) fn of(log: &LogView<'_>, newer: usize, count_max: usize) -> Option<Self> {
        let until = log.epochs.len().checked_sub(newer)?;
        let from = until.saturating_sub(count_max);
        let end = end_before(log.epochs, until, log.end);
        Some(Self { starts: log.epochs[from..until].to_vec(), end, newer, has_older: from > 0 })
    }

    /// How many newest entries the page after the one of [`Self::of`] skips. `None` if that was the
    /// last page.
    pub(super) fn older(log: &LogView<'_>, newer: usize, count_max: usize) -> Option<usize> {
        let next = newer.checked_add(count_max)?;
        (next < log.epochs.len()).then_some(next)
    }

    /// Whether a log that ends at `end`, in `epoch` or an earlier one, can have this page.
    fn is_sound(&self, epoch: LeaderEpoch, end: Offset) -> bool {
        let ends_within = if self.newer == 0 { self.end == end } else { self.end <= end };
        let is_bounded = self.starts.len() <= HISTORY_PAGE_MAX && u32::try_from(self.newer).is_ok();
        let fits = |last: &EpochStart| last.epoch <= epoch && last.start <= self.end;
        is_bounded
            && ends_within
            && is_rising(&self.starts)
            && self.starts.first().is_none_or(|first| first.epoch.0 >= 0 && first.start.0 >= 0)
            && self.starts.last().is_none_or(fits)
            && !(self.starts.is_empty() && self.has_older)
    }
}

impl Hello {
    /// Whether a follower's description of its log can be true, if its leader's log ends at
    /// `leader_end`.
    pub(super) fn is_sound(&self, leader_end: Offset) -> bool {
        let Self { conversation, local_start, end, high_watermark, history, cannot_be_cut: _ } = self;
        (0 <= local_start.0 && local_start <= high_watermark && high_watermark <= end && end.0 < i64::MAX)
            // The controller sets a local start no higher than the committed end, which a leader's
            // log reaches.
            && *local_start <= leader_end
            && history.is_sound(conversation.epoch, *end)
    }
}

/// Whether a follower may be told to drop its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resets {
    Allowed,
    /// It may be a member of the ISR, and could be elected during the reset.
    Withheld,
}

/// The instruction that makes a follower's log a prefix of `log`. The hello must be sound.
pub(super) fn judge(log: &LogView<'_>, hello: &Hello) -> Verdict {
    let reset = Verdict::Reset { start: log.local_start };
    if hello.cannot_be_cut {
        return reset;
    }
    let found = hello.history.starts.iter().enumerate().rev().find_map(|(index, theirs)| {
        let at = log.epochs.binary_search_by_key(&theirs.epoch, |ours| ours.epoch).ok()?;
        let our_end = end_before(log.epochs, at + 1, log.end);
        let their_end = end_before(&hello.history.starts, index + 1, hello.history.end);
        Some(our_end.min(their_end))
    });
    let to = match found {
        Some(to) => to,
        None if hello.history.has_older => {
            return Verdict::OlderPage { newer: hello.history.newer + hello.history.starts.len() };
        }
        // The logs have no epoch in common, but they start at the same offset, so they agree up to
        // there.
        None if hello.local_start == log.local_start => log.local_start,
        None => return reset,
    };
    // The leader cannot compare records below its own start, and no clean election makes a cut of
    // committed records necessary.
    let floor = log.local_start.max(hello.local_start).max(hello.high_watermark);
    if to < floor { reset } else { Verdict::Cut { to } }
}

#[cfg(test)]
mod tests {
    use rustmq_model::{LeaderEpoch, Offset};

    use super::{EpochStart, HISTORY_PAGE_MAX, Hello, HistoryPage, LogView, Verdict, judge};
    use crate::replication::assignment::Starts;
    use crate::replication::message::{Conversation, Handshake};

    fn history(starts: &[(i32, i64)]) -> Vec<EpochStart> {
        starts.iter().map(|&(epoch, start)| EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) }).collect()
    }

    fn view(epochs: &[EpochStart], local_start: i64, end: i64) -> LogView<'_> {
        let (local_start, end) = (Offset(local_start), Offset(end));
        LogView { starts: Starts::default(), local_start, durable_end: end, end, epochs }
    }

    fn hello(log: &LogView<'_>, high_watermark: i64, newer: usize, count_max: usize) -> Hello {
        let conversation = Conversation { epoch: LeaderEpoch(9), handshake: Handshake::default() };
        let history = HistoryPage::of(log, newer, count_max).unwrap();
        let high_watermark = Offset(high_watermark);
        let (local_start, end, cannot_be_cut) = (log.local_start, log.end, false);
        Hello { conversation, local_start, end, high_watermark, history, cannot_be_cut }
    }

    /// Checks that the verdict is the same for every page size. A log is given by its epochs, its
    /// local start and its end; the follower's also by its high watermark.
    fn check(leader: (&[(i32, i64)], i64, i64), follower: (&[(i32, i64)], i64, i64, i64), expected: Verdict) {
        let (ours, theirs) = (history(leader.0), history(follower.0));
        let (ours, theirs) = (view(&ours, leader.1, leader.2), view(&theirs, follower.1, follower.2));
        for count_max in 1..=5 {
            let mut newer = 0;
            let verdict = loop {
                let hello = hello(&theirs, follower.3, newer, count_max);
                assert!(hello.is_sound(ours.end));
                match judge(&ours, &hello) {
                    Verdict::OlderPage { newer: next } => newer = next,
                    verdict => break verdict,
                }
            };
            assert_eq!(verdict, expected, "{leader:?} {follower:?}, pages of {count_max}");
        }
    }

    #[test]
    fn logs_diverge_at_the_end_of_the_last_epoch_that_both_have() {
        let cut = |to| Verdict::Cut { to: Offset(to) };
        // A follower that is behind, one that is ahead within an epoch, and one that wrote an epoch
        // which no other replica has.
        check((&[(1, 0), (4, 10)], 0, 20), (&[(1, 0)], 0, 7, 0), cut(7));
        check((&[(1, 0), (4, 10)], 0, 20), (&[(1, 0)], 0, 14, 0), cut(10));
        check((&[(1, 0), (4, 10)], 0, 20), (&[(1, 0), (3, 8)], 0, 15, 5), cut(8));
        // KIP-279: two leaders in a row lost their records.
        check((&[(1, 0), (5, 6)], 0, 9), (&[(1, 0), (2, 6), (3, 7), (4, 8)], 0, 12, 6), cut(6));
        check((&[(1, 0), (3, 6), (5, 9)], 0, 12), (&[(1, 0), (2, 4), (4, 8)], 0, 12, 4), cut(4));
        // Within the leader's own epoch, after a new handshake.
        check((&[(1, 0), (9, 10)], 0, 30), (&[(1, 0), (9, 10)], 0, 25, 20), cut(25));
        check((&[(9, 0)], 0, 5), (&[(0, 0)], 0, 0, 0), cut(0));
    }

    #[test]
    fn a_log_without_a_usable_prefix_is_reset() {
        let reset = |start| Verdict::Reset { start: Offset(start) };
        // The logs diverge below the leader's start, in an epoch that both know and in none.
        check((&[(1, 0), (4, 10)], 15, 20), (&[(1, 0)], 0, 7, 0), reset(15));
        check((&[(4, 15)], 15, 20), (&[(1, 0), (2, 9)], 0, 17, 0), reset(15));
        check((&[(4, 15)], 15, 20), (&[(1, 16)], 16, 17, 16), reset(15));
        // The cut would take committed records.
        check((&[(1, 0), (4, 10)], 0, 20), (&[(1, 0), (3, 8)], 0, 15, 9), reset(0));
        // The logs have a common prefix, but the follower cannot rebuild the state of its log at
        // the cut.
        let (ours, theirs) = (history(&[(1, 0), (4, 10)]), history(&[(1, 0), (3, 8)]));
        let sound = hello(&view(&theirs, 0, 15), 5, 0, 2);
        assert_eq!(judge(&view(&ours, 0, 20), &Hello { cannot_be_cut: true, ..sound }), reset(0));
    }

    #[test]
    fn a_hello_that_contradicts_itself_is_not_judged() {
        let epochs = history(&[(1, 0), (3, 8)]);
        let sound = hello(&view(&epochs, 0, 15), 9, 0, 2);
        assert!(sound.is_sound(Offset(0)));
        let check = |change: &dyn Fn(&mut Hello)| {
            let mut broken = sound.clone();
            change(&mut broken);
            assert!(!broken.is_sound(Offset(0)), "{broken:?}");
        };
        check(&|hello| hello.local_start = Offset(-1));
        check(&|hello| hello.high_watermark = Offset(16));
        check(&|hello| hello.local_start = Offset(10));
        check(&|hello| (hello.local_start, hello.high_watermark) = (Offset(1), Offset(9)));
        check(&|hello| hello.end = Offset(i64::MAX));
        check(&|hello| hello.history.end = Offset(16));
        check(&|hello| hello.history.end = Offset(7));
        check(&|hello| hello.history.starts[1].epoch = LeaderEpoch(10));
        check(&|hello| hello.history.starts[1].epoch = LeaderEpoch(1));
        check(&|hello| hello.history.starts[1].start = Offset(0));
        check(&|hello| hello.history.starts[0].start = Offset(-1));
        check(&|hello| hello.history.end = Offset(14));
        check(&|hello| hello.history.newer = usize::MAX);
        check(&|hello| (hello.history.starts, hello.history.has_older) = (Vec::new(), true));
    }

    #[test]
    fn a_page_that_is_longer_than_the_limit_is_unsound() {
        let starts: Vec<_> = (0..400).map(|number| (number, i64::from(number))).collect();
        let epochs = history(&starts);
        let is_sound = |count_max| {
            let mut hello = hello(&view(&epochs, 0, 400), 0, 0, count_max);
            hello.conversation.epoch = LeaderEpoch(400);
            hello.is_sound(Offset(400))
        };
        assert_eq!([1, HISTORY_PAGE_MAX, HISTORY_PAGE_MAX + 1].map(is_sound), [true, true, false]);
    }
}
