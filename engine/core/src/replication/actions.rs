//! The machine's requests to its driver, and its reasons to ignore an input.

use rustmq_model::{BrokerId, LeaderEpoch, Offset};

use super::assignment::{Proposal, Starts};
use super::message::{Handshake, Message};

/// The driver executes actions in order, before the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Send {
        to: BrokerId,
        message: Message,
    },
    /// Read whole batches from `first` on, up to `bytes_max` bytes, or one batch that is larger.
    /// Ends with [`super::Replica::on_batches_read`].
    ReadBatches {
        follower: BrokerId,
        handshake: Handshake,
        first: Offset,
        bytes_max: usize,
    },
    /// This replica leads: the log records where the epoch begins, before anything is appended.
    BeginEpoch {
        epoch: LeaderEpoch,
    },
    /// Cut the log. Ends with [`super::Replica::on_log_changed`] once the cut is durable; if `to`
    /// lies within a batch, the log ends below it. If the cut fails, the log is unchanged, and this
    /// ends with [`super::Replica::on_change_failed`].
    Truncate {
        to: Offset,
    },
    /// Drop the log and start it at `start`, with the producers' state and the epoch history as of
    /// there. The driver first notes the intent durably, so that a start after an interrupted reset
    /// finds it ([`super::Replica::open`]). Ends with [`super::Replica::on_log_changed`], or with
    /// [`super::Replica::on_change_failed`]. A failed reset is requested again, and continues where
    /// it failed.
    Reset {
        start: Offset,
    },
    /// The controller has moved the starts: drop the whole batches below, and raise the high
    /// watermark to the local start if it is lower. Idempotent. Ends, before the next input, with
    /// [`super::Replica::on_starts_moved`].
    MoveStarts(Starts),
    RaiseHighWatermark {
        to: Offset,
    },
    Propose(Proposal),
    /// Fail waiting appends: none of them may be answered with success any more.
    RefuseWaits(WaitRefusal),
}

/// Which waits fail, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitRefusal {
    /// All waits: the leadership is over.
    NotLeader,
    /// Waits with acks=all: the ISR has become too small after the append.
    NotEnoughReplicasAfterAppend,
}

/// Whether a change of the log that failed may succeed when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeFailure {
    /// The disk was full, or could not be read.
    Transient,
    /// The state of the log at the cut can never be rebuilt, or the cut would end below the high
    /// watermark.
    Permanent,
}

/// Why an input changed nothing. None of these is an error of this replica: the network or a
/// restart of the peer explains it, or the peer is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Ignored {
    #[error("an assignment that is not newer than the known one")]
    StaleAssignment,
    #[error("the sender is not a replica, or not the leader")]
    WrongSender,
    #[error("this replica does not have the role that the message is for")]
    WrongRole,
    #[error("a leader epoch that is over")]
    StaleEpoch,
    #[error("a leader epoch that the controller has not announced")]
    FutureEpoch,
    #[error("an earlier handshake")]
    StaleHandshake,
    #[error("a handshake that was never begun")]
    UnknownHandshake,
    #[error("the handshake is in another state")]
    WrongState,
    #[error("the batches begin above the log's end")]
    Gap,
    #[error("the log differs before the batches")]
    PreviousDiffers,
    #[error("an end beyond the pushed batches")]
    BeyondPushed,
    #[error("an end below the acknowledged one")]
    BelowAcknowledged,
    #[error("a member of the ISR does not drop its log")]
    InSync,
    #[error("the message contradicts itself")]
    Malformed,
    #[error("a completion of another request")]
    WrongCompletion,
    #[error("an assignment that removes a replica within its leader epoch")]
    ReplicaRemoved,
}
