//! The handle that brokers hold. Opening, failure and shutdown of a controller are not part of it:
//! they concern the code that opens an implementation.

use std::pin::Pin;
use std::time::Duration;

use rustmq_controller_core::{Command, Outcome, Rejection};
use serde::{Deserialize, Serialize};

use crate::subscription::{ClusterSnapshot, Subscription};

/// The cluster's metadata: takes ordered commands, and shows the state and its changes.
///
/// Rules for implementations, which the conformance suite checks:
/// - Commands take effect one after the other, as `ClusterState::apply` decides. Each command has a
///   higher index than the one before. Commands that get their turns at the first poll take effect
///   in the order of these polls.
/// - Before [`Self::submit`] returns an index, [`Self::snapshot`] has reached it, and every
///   subscription's stream contains the change.
/// - The rejection of a command is a successful answer. The command changes nothing, and
///   subscribers do not see it.
pub trait Controller: Send + Sync {
    /// Puts a command into the metadata log, and returns when it is committed and applied.
    ///
    /// The command has no effect unless its turn comes within `start_within`, and never has one if
    /// that is zero; `None` waits for the turn without a limit. Once the turn has come, the answer
    /// is waited for without a limit, because only the answer shows whether the command has taken
    /// effect. Dropping the future after that does not withdraw the command, which keeps its turn
    /// until it is applied: so callers that give up cannot put more commands into the log than
    /// there are turns.
    ///
    /// # Errors
    /// [`SubmitError`] says whether the command may have taken effect.
    fn submit(&self, command: Command, start_within: Option<Duration>) -> Submission<'_>;

    /// The current state. A snapshot does not change. While a caller holds one, the controller's
    /// next change has to copy the state.
    fn snapshot(&self) -> ClusterSnapshot;

    /// The current state, and every change that follows it.
    fn subscribe(&self) -> (ClusterSnapshot, Subscription);
}

/// The pending answer to a command.
pub type Submission<'a> = Pin<Box<dyn Future<Output = Result<Applied, SubmitError>> + Send + 'a>>;

/// The result of a command that is committed in the metadata log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The command's index in the log: a subscriber that has seen this index has seen the command's
    /// deltas.
    pub index: u64,
    pub result: Result<Outcome, Rejection>,
}

/// A command without an answer. It may have taken effect, unless the variant excludes that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The command has no effect: another node leads.
    #[error("this controller does not lead the metadata log")]
    NotLeader,
    /// The command has no effect: its turn did not come in time.
    #[error("the metadata log had too many commands before this one")]
    Late,
    /// The log accepts no more commands until the process starts again.
    #[error("the metadata log has stopped: {reason}")]
    Stopped { reason: String },
}
