//! The batches that were pushed to one follower and are not acknowledged. They are bounded in bytes
//! and in pushes, so that a slow follower costs its leader neither memory nor reads far ahead of
//! the acknowledgements.

use std::collections::VecDeque;

use rustmq_model::{Instant, Offset};

use super::limits::ReplicationLimits;

#[derive(Clone, Copy, Debug)]
struct Pushed {
    end: Offset,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Window {
    /// In the order of their ends.
    pushed: VecDeque<Pushed>,
    bytes: usize,
    /// Where the next push begins.
    next: Offset,
    /// The furthest end that was ever pushed, or that the handshake found at the follower. No
    /// acknowledgement exceeds it.
    furthest: Offset,
    /// When the resend timer was last started: by a push into an empty window, an acknowledged
    /// push, or a rewind.
    progress_at: Instant,
}

impl Window {
    /// A handshake is complete: the follower has everything below `agreed`.
    pub(super) const fn new(now: Instant, agreed: Offset) -> Self {
        Self { pushed: VecDeque::new(), bytes: 0, next: agreed, furthest: agreed, progress_at: now }
    }

    pub(super) const fn next(&self) -> Offset {
        self.next
    }

    pub(super) const fn furthest(&self) -> Offset {
        self.furthest
    }

    /// How many bytes the next push may have. `None` while the window is full.
    pub(super) fn room(&self, limits: &ReplicationLimits) -> Option<usize> {
        let is_full = self.bytes >= limits.window_bytes || self.pushed.len() >= limits.pushes_max;
        (!is_full).then(|| limits.push_bytes.min(limits.window_bytes - self.bytes))
    }

    /// Batches from [`Self::next`] to `end` are in flight now.
    pub(super) fn on_pushed(&mut self, now: Instant, end: Offset, bytes: usize) {
        if self.pushed.is_empty() {
            self.progress_at = now;
        }
        self.pushed.push_back(Pushed { end, bytes });
        self.bytes += bytes;
        self.next = end;
        self.furthest = self.furthest.max(end);
    }

    pub(super) fn on_ack(&mut self, now: Instant, acked: Offset) {
        while let Some(pushed) = self.pushed.pop_front_if(|pushed| pushed.end <= acked) {
            self.bytes -= pushed.bytes;
            self.progress_at = now;
        }
        // The acknowledgement may cover batches that a rewind would push again.
        self.next = self.next.max(acked);
    }

    /// When unacknowledged batches count as lost.
    pub(super) fn resend_at(&self, limits: &ReplicationLimits) -> Option<Instant> {
        (!self.pushed.is_empty()).then(|| self.progress_at.plus(limits.resend_after))
    }

    /// Pushes everything from `acked` on again.
    pub(super) fn rewind(&mut self, now: Instant, acked: Offset) {
        (self.next, self.bytes, self.progress_at) = (acked, 0, now);
        self.pushed.clear();
    }

    pub(super) fn check_invariants(&self, limits: &ReplicationLimits) {
        assert_eq!(self.bytes, self.pushed.iter().map(|pushed| pushed.bytes).sum::<usize>());
        assert!(self.pushed.len() <= limits.pushes_max && self.next <= self.furthest);
        assert!(self.pushed.iter().zip(self.pushed.iter().skip(1)).all(|(one, next)| one.end < next.end));
        assert!(self.pushed.back().is_none_or(|last| last.end == self.next));
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::{Instant, Offset};

    use super::{ReplicationLimits, Window};

    const LIMITS: fn() -> ReplicationLimits =
        || ReplicationLimits { window_bytes: 100, push_bytes: 60, pushes_max: 3, ..ReplicationLimits::default() };

    #[test]
    fn a_window_is_filled_and_emptied() {
        let (limits, now) = (LIMITS(), Instant::from_nanos(0));
        let mut window = Window::new(now, Offset(10));
        assert_eq!((window.room(&limits), window.resend_at(&limits)), (Some(60), None));
        window.on_pushed(now, Offset(12), 60);
        assert_eq!(window.room(&limits), Some(40));
        window.on_pushed(now, Offset(20), 70);
        assert_eq!((window.room(&limits), window.next()), (None, Offset(20)));
        window.on_ack(now, Offset(11));
        assert_eq!(window.room(&limits), None);
        window.on_ack(now, Offset(12));
        assert_eq!(window.room(&limits), Some(30));
        window.check_invariants(&limits);
        window.rewind(now, Offset(12));
        assert_eq!((window.next(), window.furthest(), window.room(&limits)), (Offset(12), Offset(20), Some(60)));
        window.on_ack(now, Offset(20));
        assert_eq!(window.next(), Offset(20));
        window.check_invariants(&limits);
    }

    #[test]
    fn small_pushes_are_bounded_by_their_number() {
        let (limits, now) = (LIMITS(), Instant::from_nanos(0));
        let mut window = Window::new(now, Offset(0));
        (1..=3).for_each(|end| window.on_pushed(now, Offset(end), 1));
        assert_eq!(window.room(&limits), None);
        window.on_ack(now, Offset(2));
        assert_eq!(window.room(&limits), Some(60));
        assert_eq!(window.resend_at(&limits), Some(now.plus(limits.resend_after)));
    }
}
