//! The subscription to metadata: a snapshot first, then batches of deltas. Nothing polls.

use std::sync::Arc;

use rustmq_controller_core::{ClusterState, Delta};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::published::Published;

/// The state after the entry `index` of the metadata log.
#[derive(Clone, Debug)]
pub struct ClusterSnapshot {
    pub index: u64,
    pub state: Arc<ClusterState>,
}

/// The changes of the entry `index` of the metadata log. Never empty.
#[derive(Clone, Debug)]
pub struct DeltaBatch {
    pub index: u64,
    pub deltas: Arc<[Delta]>,
}

#[derive(Clone, Debug)]
pub enum Update {
    Changed(DeltaBatch),
    /// The subscriber was too slow and has missed changes, or the controller has installed a
    /// snapshot from another node. This snapshot replaces the subscriber's state, and later changes
    /// follow it.
    Resynchronized(ClusterSnapshot),
}

/// A stream of updates. Its queue holds the number of batches that the controller is configured
/// with, rounded up to a power of two. A subscriber that falls further behind resynchronizes.
#[derive(Debug)]
pub struct Subscription {
    published: Arc<Published>,
    batches: broadcast::Receiver<DeltaBatch>,
}

impl Subscription {
    pub(crate) const fn new(published: Arc<Published>, batches: broadcast::Receiver<DeltaBatch>) -> Self {
        Self { published, batches }
    }

    /// Waits for the next update. `None` once the controller is shut down. The future may be
    /// dropped, and the call repeated.
    pub async fn next(&mut self) -> Option<Update> {
        match self.batches.recv().await {
            Ok(batch) => Some(Update::Changed(batch)),
            Err(RecvError::Lagged(_) | RecvError::Closed) => {
                let (snapshot, batches) = self.published.follow()?;
                self.batches = batches;
                Some(Update::Resynchronized(snapshot))
            }
        }
    }
}
