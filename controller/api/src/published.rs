//! The state that readers see, and the streams of its changes. It makes no decisions about
//! metadata.

use std::sync::Arc;

use parking_lot::RwLock;
use rustmq_controller_core::{ClusterState, Delta};
use tokio::sync::broadcast;

use crate::subscription::{ClusterSnapshot, DeltaBatch, Subscription};

/// The published state of a controller. Only the implementation changes it.
///
/// The state and the streams change under one lock: a subscriber's snapshot and the batches that
/// follow it have neither a gap nor an overlap.
#[derive(Debug)]
pub struct Published {
    content: RwLock<Content>,
    batches_max: usize,
}

#[derive(Debug)]
struct Content {
    current: ClusterSnapshot,
    /// `None` once closed.
    batches: Option<broadcast::Sender<DeltaBatch>>,
}

impl Published {
    /// Publishes the first state. A subscriber may lag `batches_max` batches behind, at least one.
    #[must_use]
    pub fn new(current: ClusterSnapshot, batches_max: usize) -> Arc<Self> {
        let batches_max = batches_max.max(1);
        let content = Content { current, batches: Some(broadcast::Sender::new(batches_max)) };
        Arc::new(Self { content: RwLock::new(content), batches_max })
    }

    #[must_use]
    pub fn snapshot(&self) -> ClusterSnapshot {
        self.content.read().current.clone()
    }

    /// The current state, and a stream of every change that follows it. The stream ends at once if
    /// this is closed.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>) -> (ClusterSnapshot, Subscription) {
        let content = self.content.read();
        let closed = || broadcast::channel(1).1;
        let batches = content.batches.as_ref().map_or_else(closed, broadcast::Sender::subscribe);
        (content.current.clone(), Subscription::new(Arc::clone(self), batches))
    }

    /// The current state, and the stream of the batches that follow it. `None` if this is closed.
    pub(crate) fn follow(&self) -> Option<(ClusterSnapshot, broadcast::Receiver<DeltaBatch>)> {
        let content = self.content.read();
        content.batches.as_ref().map(|batches| (content.current.clone(), batches.subscribe()))
    }

    /// Applies the entry `index` of the metadata log, and sends its deltas to subscribers. Copies
    /// the state first if a reader holds it.
    ///
    /// # Panics
    /// If the index falls: subscribers would mistake an older state for a newer one.
    pub fn change<T>(&self, index: u64, change: impl FnOnce(&mut ClusterState) -> (T, Vec<Delta>)) -> T {
        let mut content = self.content.write();
        let Content { current, batches } = &mut *content;
        assert!(index >= current.index, "the metadata log goes from entry {} back to {index}", current.index);
        let (result, deltas) = change(Arc::make_mut(&mut current.state));
        current.index = index;
        if let Some(batches) = batches
            && !deltas.is_empty()
        {
            // Fails if there are no subscribers.
            let _ = batches.send(DeltaBatch { index, deltas: deltas.into() });
        }
        result
    }

    /// Replaces the state. Every subscriber resynchronizes.
    ///
    /// # Panics
    /// If the index falls.
    pub fn replace(&self, snapshot: ClusterSnapshot) {
        let mut content = self.content.write();
        let (from, to) = (content.current.index, snapshot.index);
        assert!(to >= from, "the metadata log goes from entry {from} back to {to}");
        content.current = snapshot;
        // The end of the old stream makes its subscribers call `follow`.
        content.batches = content.batches.take().map(|_| broadcast::Sender::new(self.batches_max));
    }

    /// Ends every subscription. A subscription that has missed no batches ends after the batches in
    /// its queue; one that has missed some ends at its next update, without them. The state stays
    /// readable.
    pub fn close(&self) {
        self.content.write().batches = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use rustmq_controller_core::{ClusterState, Command, Configs, Delta};

    use super::Published;
    use crate::subscription::{ClusterSnapshot, Update};

    fn published() -> Arc<Published> {
        Published::new(ClusterSnapshot { index: 3, state: Arc::default() }, 4)
    }

    fn bootstrap(state: &mut ClusterState, cluster_id: &str) -> ((), Vec<Delta>) {
        let (cluster_id, broker_defaults) = (cluster_id.to_owned(), Configs::new());
        ((), state.apply(Command::Bootstrap { cluster_id, features: BTreeMap::new(), broker_defaults }).1)
    }

    #[tokio::test]
    async fn a_state_from_elsewhere_resynchronizes_every_subscriber_and_changes_follow_it() {
        let published = published();
        let (_, mut idle) = published.subscribe();
        let (_, mut behind) = published.subscribe();
        published.change(4, |state| bootstrap(state, "one"));
        assert!(matches!(idle.next().await, Some(Update::Changed(_))));
        published.replace(ClusterSnapshot { index: 9, state: Arc::default() });
        published.change(10, |state| bootstrap(state, "two"));
        assert!(matches!(behind.next().await, Some(Update::Changed(batch)) if batch.index == 4));
        for subscription in [&mut idle, &mut behind] {
            let Some(Update::Resynchronized(snapshot)) = subscription.next().await else { panic!("a new state") };
            assert_eq!((snapshot.index, snapshot.state.cluster_id()), (10, Some("two")));
        }
        published.change(11, |_| ((), vec![Delta::ProducerIdsAllocated { next: 0 }]));
        assert!(matches!(idle.next().await, Some(Update::Changed(batch)) if batch.index == 11));
        published.close();
        assert!(matches!(behind.next().await, Some(Update::Changed(batch)) if batch.index == 11));
        assert!(behind.next().await.is_none() && idle.next().await.is_none());
    }

    #[tokio::test]
    async fn a_state_that_comes_after_the_end_is_shown_and_begins_no_stream() {
        let published = published();
        published.close();
        published.replace(ClusterSnapshot { index: 4, state: Arc::default() });
        let (snapshot, mut subscription) = published.subscribe();
        assert_eq!(snapshot.index, 4);
        assert!(subscription.next().await.is_none());
    }

    #[tokio::test]
    async fn a_subscriber_that_has_missed_batches_ends_at_once_when_the_stream_is_closed() {
        let published = published();
        let (_, mut subscription) = published.subscribe();
        for index in 4..9 {
            published.change(index, |_| ((), vec![Delta::ProducerIdsAllocated { next: 0 }]));
        }
        published.close();
        assert!(subscription.next().await.is_none(), "it holds four of the five");
    }

    #[test]
    #[should_panic(expected = "from entry 3 back to 2")]
    fn a_change_cannot_go_back() {
        published().change(2, |state| bootstrap(state, "one"));
    }

    #[test]
    #[should_panic(expected = "from entry 3 back to 2")]
    fn a_state_from_elsewhere_cannot_be_an_older_one() {
        published().replace(ClusterSnapshot { index: 2, state: Arc::default() });
    }
}
