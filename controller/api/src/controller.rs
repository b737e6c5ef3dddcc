//! The handle that brokers hold. It does not say how a controller is opened, fails or ends: these
//! concern its opener, who knows the implementation.

use std::pin::Pin;
use std::time::Duration;

use rustmq_controller_core::{Command, Outcome, Rejection};
use serde::{Deserialize, Serialize};

use crate::subscription::{ClusterSnapshot, Subscription};

/// The cluster's metadata: ordered commands in, the state and its changes out.
///
/// Rules for implementations, which the conformance suite checks:
/// - Commands take effect one after the other, as `ClusterState::apply` decides. The index of each
///   is higher than that of the one before.
/// - Before [`Self::submit`] returns, [`Self::snapshot`] has reached the answered index, and the
///   change stands in the stream of every subscription.
/// - A rejected command is an answer. It changes nothing and is not shown to subscribers.
pub trait Controller: Send + Sync {
    /// Puts a command into the metadata log, and returns when it is kept for good and applied.
    ///
    /// The command has no effect unless its turn comes within `start_within`; none at all if that
    /// is zero. `None` waits for the turn as long as it takes. Once its turn has come the answer
    /// is waited for as long as it takes, because only the answer tells whether the command has
    /// taken effect. Dropping the future then withdraws nothing.
    ///
    /// # Errors
    /// [`SubmitError`] says whether the command may have taken effect.
    fn submit(&self, command: Command, start_within: Option<Duration>) -> Submission<'_>;

    /// The current state. It does not change while it is held; holding it costs the controller a
    /// copy at its next change.
    fn snapshot(&self) -> ClusterSnapshot;

    /// The current state, and every change that follows it.
    fn subscribe(&self) -> (ClusterSnapshot, Subscription);
}

/// The pending answer to a command.
pub type Submission<'a> = Pin<Box<dyn Future<Output = Result<Applied, SubmitError>> + Send + 'a>>;

/// A command that is in the metadata log for good, and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The command's place in the log: a subscriber that has seen this index has seen its deltas.
    pub index: u64,
    pub result: Result<Outcome, Rejection>,
}

/// A command that was not answered. It may have taken effect all the same, unless the variant says
/// otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It has no effect: another node leads.
    #[error("this controller does not lead the metadata log")]
    NotLeader,
    /// It has no effect: its turn did not come in time.
    #[error("the metadata log had too many commands before this one")]
    Late,
    /// The log takes nothing more until the process starts again.
    #[error("the metadata log has stopped: {reason}")]
    Stopped { reason: String },
}
