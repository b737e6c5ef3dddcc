//! Wakes long polls: one waiter registers with any number of partitions, and the first partition
//! that meets its condition wakes it.

use std::sync::{Arc, Weak};

use rustmq_engine_core::log::{Frontiers, ReadFrontier};
use rustmq_model::Offset;
use tokio::sync::Notify;

/// The condition under which one partition wakes a waiter. A change of leadership and the
/// partition's end wake it in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The offset that the reader reads from: a log start above it meets the condition.
    pub from: Offset,
    pub frontier: ReadFrontier,
    /// The frontier as the reader saw it: a higher one meets the condition.
    pub above: Offset,
}

impl Awaited {
    fn is_met_by(&self, frontiers: &Frontiers) -> bool {
        self.frontier.of(frontiers) > self.above || frontiers.log_start > self.from
    }
}

/// Waits for publications of partitions. Register the waiter first
/// ([`crate::PartitionReader::watch`]), then read, and only then wait: a publication between the
/// read and the wait wakes it.
#[derive(Debug, Default)]
pub struct FetchWaiter {
    notify: Notify,
}

impl FetchWaiter {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns when a watched partition has met the condition since it was registered. One wait
    /// uses up the wake-up.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }

    /// Wakes the current [`Self::wait`], or else the next one. The engine calls it; a connection
    /// may, to end a long poll.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

/// The waiters of one partition. Dropped waiters are removed when the list has doubled, so its
/// length stays within twice the live waiters.
#[derive(Debug, Default)]
pub(crate) struct WaiterList {
    waiters: Vec<(Weak<FetchWaiter>, Awaited)>,
    sweep_at: usize,
}

impl WaiterList {
    const SWEEP_MIN: usize = 16;

    pub(crate) fn register(&mut self, waiter: &Arc<FetchWaiter>, awaited: Awaited) {
        if self.waiters.len() >= self.sweep_at.max(Self::SWEEP_MIN) {
            self.waiters.retain(|(waiter, _)| waiter.strong_count() > 0);
            self.sweep_at = self.waiters.len() * 2;
        }
        self.waiters.push((Arc::downgrade(waiter), awaited));
    }

    /// Wakes the waiters whose condition the frontiers meet, each once.
    pub(crate) fn wake_met_by(&mut self, frontiers: &Frontiers) {
        self.wake(|awaited| awaited.is_met_by(frontiers));
    }

    pub(crate) fn wake_all(&mut self) {
        self.wake(|_| true);
    }

    fn wake(&mut self, is_met: impl Fn(&Awaited) -> bool) {
        let met = self.waiters.extract_if(.., |(_, awaited)| is_met(awaited));
        met.filter_map(|(waiter, _)| waiter.upgrade()).for_each(|waiter| waiter.wake());
        // After many wake-ups the doubling is counted from the remaining waiters.
        self.sweep_at = self.sweep_at.min(self.waiters.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use rustmq_engine_core::log::{Frontiers, ReadFrontier};
    use rustmq_model::Offset;

    use super::{Awaited, FetchWaiter, WaiterList};

    const NEXT: Awaited = Awaited { from: Offset(0), frontier: ReadFrontier::HighWatermark, above: Offset(0) };

    fn is_woken(waiter: &FetchWaiter) -> bool {
        pin!(waiter.wait()).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn a_waiter_is_woken_once_by_its_condition() {
        let at = |log_start, last_stable, high_watermark| Frontiers {
            log_start: Offset(log_start),
            local_start: Offset(log_start),
            last_stable: Offset(last_stable),
            high_watermark: Offset(high_watermark),
            durable_end: Offset(high_watermark),
            log_end: Offset(high_watermark),
        };
        let mut list = WaiterList::default();
        let awaiting = |frontier, above| Awaited { from: Offset(5), frontier, above: Offset(above) };
        let mut register = |awaited| {
            let waiter = FetchWaiter::new();
            list.register(&waiter, awaited);
            waiter
        };
        let uncommitted = register(awaiting(ReadFrontier::HighWatermark, 10));
        let committed = register(awaiting(ReadFrontier::LastStable, 7));
        let mut check = |frontiers: Frontiers, expected: [bool; 2]| {
            list.wake_met_by(&frontiers);
            let woken = [&uncommitted, &committed].map(|waiter: &Arc<FetchWaiter>| is_woken(waiter));
            assert_eq!(woken, expected, "{frontiers:?}");
        };
        check(at(4, 7, 10), [false, false]);
        check(at(5, 7, 11), [true, false]);
        check(at(5, 7, 12), [false, false]);
        check(at(6, 7, 12), [false, true]);
        check(at(6, 12, 12), [false, false]);
        list.register(&uncommitted, awaiting(ReadFrontier::HighWatermark, 99));
        list.wake_all();
        assert!(is_woken(&uncommitted) && list.waiters.is_empty());
    }

    #[test]
    fn dropped_waiters_do_not_pile_up() {
        let mut list = WaiterList::default();
        let live = FetchWaiter::new();
        list.register(&live, NEXT);
        for _ in 0..10_000 {
            list.register(&FetchWaiter::new(), NEXT);
        }
        assert!(list.waiters.len() <= 2 * WaiterList::SWEEP_MIN, "{}", list.waiters.len());
        assert!(list.waiters.iter().any(|(waiter, _)| waiter.strong_count() > 0));
        list.wake_all();
        assert!(list.waiters.is_empty());
    }

    #[test]
    fn a_list_of_living_waiters_is_looked_through_when_it_has_doubled() {
        let mut list = WaiterList::default();
        let living: Vec<_> = std::iter::repeat_with(FetchWaiter::new).take(1_000).collect();
        let mut sweeps = 0;
        for waiter in &living {
            let before = list.sweep_at;
            list.register(waiter, NEXT);
            sweeps += usize::from(list.sweep_at != before);
            assert!(list.waiters.len() <= list.sweep_at.max(WaiterList::SWEEP_MIN));
        }
        assert_eq!(sweeps, 6, "at 16, 32, 64, 128, 256 and 512");
    }

    #[test]
    fn dropped_waiters_do_not_pile_up_where_many_have_waited_before() {
        let mut list = WaiterList::default();
        let later = FetchWaiter::new();
        list.register(&later, Awaited { above: Offset(9), ..NEXT });
        let many: Vec<_> = std::iter::repeat_with(FetchWaiter::new).take(10_000).collect();
        many.iter().for_each(|waiter| list.register(waiter, NEXT));
        list.wake_met_by(&Frontiers { high_watermark: Offset(1), ..Frontiers::default() });
        assert_eq!(list.waiters.len(), 1);
        for _ in 0..10_000 {
            list.register(&FetchWaiter::new(), NEXT);
        }
        assert!(list.waiters.len() <= 2 * WaiterList::SWEEP_MIN, "{}", list.waiters.len());
    }
}
