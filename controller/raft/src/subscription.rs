//! How brokers follow the metadata: a snapshot first, then batches of deltas; nothing polls.

use std::sync::{Arc, PoisonError, RwLock};

use rustmq_controller_core::{ClusterState, Delta};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// The state as it is after the entry `index` of the metadata log.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    pub index: u64,
    pub state: Arc<ClusterState>,
}

/// What the entry `index` of the metadata log changed. Never empty.
#[derive(Clone, Debug)]
pub struct DeltaBatch {
    pub index: u64,
    pub deltas: Arc<[Delta]>,
}

/// The next thing that a subscriber learns.
#[derive(Clone, Debug)]
pub enum Update {
    Changed(DeltaBatch),
    /// The subscriber was too slow and missed changes: this state replaces all that it knows. Later
    /// changes follow it.
    Resynchronized(ClusterSnapshot),
}

/// A stream of updates. It holds at most a configured number of batches, and resynchronizes when
/// they were not enough.
#[derive(Debug)]
pub struct Subscription {
    published: Arc<Published>,
    batches: broadcast::Receiver<DeltaBatch>,
    /// What the subscriber has seen.
    index: u64,
}

impl Subscription {
    /// Waits for the next update. None once the controller is shut down. Safe to drop and call
    /// again.
    pub async fn next(&mut self) -> Option<Update> {
        loop {
            match self.batches.recv().await {
                // In the snapshot already.
                Ok(batch) if batch.index <= self.index => {}
                Ok(batch) => {
                    self.index = batch.index;
                    return Some(Update::Changed(batch));
                }
                Err(RecvError::Lagged(_)) => {
                    // What is still queued is in the snapshot. In this order, so that nothing falls
                    // between the two.
                    self.batches = self.batches.resubscribe();
                    let snapshot = self.published.snapshot();
                    self.index = snapshot.index;
                    return Some(Update::Resynchronized(snapshot));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// The state that readers see. Written by the state machine alone.
#[derive(Debug)]
pub(crate) struct Published {
    current: RwLock<ClusterSnapshot>,
    /// None once closed.
    batches: RwLock<Option<broadcast::Sender<DeltaBatch>>>,
    batches_max: usize,
}

impl Published {
    pub(crate) fn new(current: ClusterSnapshot, batches_max: usize) -> Self {
        let (batches, _) = broadcast::channel(batches_max.max(1));
        Self { current: RwLock::new(current), batches: RwLock::new(Some(batches)), batches_max: batches_max.max(1) }
    }

    pub(crate) fn snapshot(&self) -> ClusterSnapshot {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state at `index` and tells the subscribers. The state is copied first if a
    /// reader holds it.
    pub(crate) fn change<T>(&self, index: u64, change: impl FnOnce(&mut ClusterState) -> (T, Vec<Delta>)) -> T {
        let (result, deltas) = {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            let changed = change(Arc::make_mut(&mut current.state));
            current.index = index;
            changed
        };
        if !deltas.is_empty()
            && let Some(batches) = &*self.batches.read().unwrap_or_else(PoisonError::into_inner)
        {
            // An error says that nobody listens, which is well.
            let _ = batches.send(DeltaBatch { index, deltas: deltas.into() });
        }
        result
    }

    /// Puts another state in place. Every subscriber resynchronizes: its stream is cut as if it had
    /// lagged.
    pub(crate) fn replace(&self, snapshot: ClusterSnapshot) {
        let index = snapshot.index;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        if let Some(batches) = &*self.batches.read().unwrap_or_else(PoisonError::into_inner) {
            // Overflowing the ring is what makes each receiver report that it lagged.
            for _ in 0..=self.batches_max.next_power_of_two() {
                let _ = batches.send(DeltaBatch { index, deltas: Arc::from([]) });
            }
        }
    }

    pub(crate) fn subscribe(self: &Arc<Self>) -> (ClusterSnapshot, Subscription) {
        let batches = match &*self.batches.read().unwrap_or_else(PoisonError::into_inner) {
            Some(batches) => batches.subscribe(),
            // A closed channel: the subscription ends at once.
            None => broadcast::channel(1).1,
        };
        // In this order: a change in between is in the snapshot and in the stream, where its index
        // tells.
        let snapshot = self.snapshot();
        let subscription = Subscription { published: Arc::clone(self), batches, index: snapshot.index };
        (snapshot, subscription)
    }

    /// Ends every subscription.
    pub(crate) fn close(&self) {
        *self.batches.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
