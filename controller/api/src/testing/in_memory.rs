//! A controller without a log: the real state machine decides, and the state is lost with the
//! process.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustmq_controller_core::Command;

use crate::controller::{Applied, Controller, Submission};
use crate::published::Published;
use crate::subscription::{ClusterSnapshot, Subscription};
use crate::testing::Bounds;
use crate::turns::Turns;

/// Applies each command when its turn comes, and answers it one step of the caller's task later.
#[derive(Debug)]
pub struct InMemoryController {
    published: Arc<Published>,
    turns: Turns,
    /// The index of the last command. Locked while a command is applied.
    index: Mutex<u64>,
}

impl InMemoryController {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let Bounds { commands_max, batches_max } = bounds;
        let published = Published::new(ClusterSnapshot { index: 0, state: Arc::default() }, batches_max);
        Self { published, turns: Turns::new(commands_max), index: Mutex::new(0) }
    }

    /// The turns. A test that holds all of them keeps every command from starting.
    #[must_use]
    pub const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Ends the subscriptions, and refuses commands from now on.
    pub fn close(&self) {
        self.turns.close();
        self.published.close();
    }

    fn apply(&self, command: Command) -> Applied {
        let mut index = self.index.lock();
        *index += 1;
        let result = self.published.change(*index, |state| state.apply(command));
        Applied { index: *index, result }
    }
}

impl Default for InMemoryController {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Controller for InMemoryController {
    fn submit(&self, command: Command, start_within: Option<Duration>) -> Submission<'_> {
        Box::pin(async move {
            let _turn = self.turns.take(start_within).await?;
            let applied = self.apply(command);
            // A real log syncs before it answers, and other tasks see the change before the caller.
            tokio::task::yield_now().await;
            Ok(applied)
        })
    }

    fn snapshot(&self) -> ClusterSnapshot {
        self.published.snapshot()
    }

    fn subscribe(&self) -> (ClusterSnapshot, Subscription) {
        self.published.subscribe()
    }
}
