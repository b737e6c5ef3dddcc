//! Bounds the commands in flight: each has one permit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::unconstrained;

use crate::controller::SubmitError;

/// The turns of a controller's commands. Commands wait for a free turn in the order in which they
/// asked. A command without a turn has no effect.
#[derive(Debug)]
pub struct Turns(Arc<Semaphore>);

/// The right to have one command in flight. Dropping it ends the turn. An implementation keeps it
/// until the command is applied, also if its caller no longer waits for the answer.
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped"]
pub struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Turns {
    /// Allows `commands_max` commands at a time, at least one.
    #[must_use]
    pub fn new(commands_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(commands_max.max(1))))
    }

    /// Waits for a turn: at most for `start_within`, not at all if that is zero, and without a
    /// limit for `None`. The first poll asks for the turn, whatever the task has left of tokio's
    /// budget, so that commands keep the order of their first polls.
    ///
    /// # Errors
    /// [`SubmitError::Late`] if the turn did not come in time, [`SubmitError::Stopped`] after
    /// [`Self::close`].
    pub async fn take(&self, start_within: Option<Duration>) -> Result<Turn, SubmitError> {
        let acquire = unconstrained(Arc::clone(&self.0).acquire_owned());
        let permit = match start_within {
            Some(Duration::ZERO) => return Err(SubmitError::Late),
            Some(limit) => tokio::time::timeout(limit, acquire).await.map_err(|_| SubmitError::Late)?,
            None => acquire.await,
        };
        permit.map(Turn).map_err(|_| SubmitError::Stopped { reason: "it was shut down".to_owned() })
    }

    /// Gives no more turns. Commands that wait for one are refused; turns that were given before
    /// stay valid.
    pub fn close(&self) {
        self.0.close();
    }
}
