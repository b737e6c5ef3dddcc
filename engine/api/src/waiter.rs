//! A long poll's end of the notification: one waiter, registered with any number of partitions, woken by the first that has news.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

/// Waits for news of partitions. Register it first ([`crate::PartitionReader::watch`]), read, and only then wait: what is
/// published between the reading and the waiting wakes it.
#[derive(Debug, Default)]
pub struct FetchWaiter {
    notify: Notify,
}

impl FetchWaiter {
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Returns once a watched partition has published something since it was registered. A wake-up is used up by one wait.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }

    /// Wakes the waiter, or its next [`Self::wait`]. The engine calls it; a connection may, to end a long poll.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

/// The waiters of one partition. Dropped ones are swept when the list has doubled, so it stays within twice the live ones.
#[derive(Debug, Default)]
pub(crate) struct WaiterList {
    waiters: Vec<Weak<FetchWaiter>>,
    sweep_at: usize,
}

impl WaiterList {
    const SWEEP_MIN: usize = 16;

    pub(crate) fn register(&mut self, waiter: &Arc<FetchWaiter>) {
        if self.waiters.len() >= self.sweep_at.max(Self::SWEEP_MIN) {
            self.waiters.retain(|waiter| waiter.strong_count() > 0);
            self.sweep_at = self.waiters.len() * 2;
        }
        self.waiters.push(Arc::downgrade(waiter));
    }

    pub(crate) fn wake_all(&mut self) {
        for waiter in self.waiters.drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                waiter.wake();
            }
        }
        self.sweep_at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{FetchWaiter, WaiterList};

    #[test]
    fn dropped_waiters_do_not_pile_up() {
        let mut list = WaiterList::default();
        let kept = FetchWaiter::new();
        list.register(&kept);
        for _ in 0..10_000 {
            list.register(&FetchWaiter::new());
        }
        assert!(list.waiters.len() <= 2 * WaiterList::SWEEP_MIN, "{}", list.waiters.len());
        assert!(list.waiters.iter().any(|waiter| waiter.strong_count() > 0));
        list.wake_all();
        assert!(list.waiters.is_empty());
    }
}
