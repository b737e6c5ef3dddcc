//! The machine's requests to its driver, and its reasons to ignore an input.

use rustmq_model::{BrokerId, LeaderEpoch, Offset};

use super::assignment::{Proposal, Starts};
use super::message::{Handshake, Message};

/// Executed in the order in which they come, before the next input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Send {
        to: BrokerId,
        message: Message,
    },
    /// Whole batches from `first` on, `bytes_max` or one batch. Ends with
    /// [`super::Replica::on_batches_read`].
    ReadBatches {
        follower: BrokerId,
        handshake: Handshake,
        first: Offset,
        bytes_max: usize,
    },
    /// This replica leads: the log notes where the epoch begins, before anything is appended.
    BeginEpoch {
        epoch: LeaderEpoch,
    },
    /// Cut the log. Ends with [`super::Replica::on_log_changed`] once the cut is durable; the log
    /// ends lower than `to` where that lies within a batch. Or it ends with
    /// [`super::Replica::on_change_failed`], and the log is as it was.
    Truncate {
        to: Offset,
    },
    /// Drop the log and start at `start`, with the producers' state and the epoch history of there.
    /// The intent is noted
    /// durably before any of it is dropped, so that a start in the midst of it finds the note
    /// ([`super::Replica::open`]). Ends with [`super::Replica::on_log_changed`], or with
    /// [`super::Replica::on_change_failed`]; then it is asked for again, and goes on from there.
    Reset {
        start: Offset,
    },
    /// The controller has moved the starts: whole batches below go, and the high watermark is no
    /// lower. Idempotent. Ends, before the next input, with [`super::Replica::on_starts_moved`].
    MoveStarts(Starts),
    RaiseHighWatermark {
        to: Offset,
    },
    Propose(Proposal),
    /// Appends that wait are not answered with success any more.
    RefuseWaits(WaitRefusal),
}

/// Which waits end, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitRefusal {
    /// All of them: the leadership is over.
    NotLeader,
    /// Those with acks=all: the ISR has become too small after the append.
    NotEnoughReplicasAfterAppend,
}

/// Whether a change of the log that failed may succeed when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeFailure {
    /// There was no room, or the disk could not be read.
    Transient,
    /// The state of the log at the cut can never be rebuilt, or the cut would end below the high
    /// watermark.
    Permanent,
}

/// Why an input changed nothing. Nothing of this is an error of this replica: the network or a
/// peer's run explains it, or the peer is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Ignored {
    #[error("an assignment that is not newer than the known one")]
    StaleAssignment,
    #[error("the sender is not a replica, or not the leader")]
    WrongSender,
    #[error("this replica does not play the part that the message is for")]
    WrongRole,
    #[error("a leader epoch that is over")]
    StaleEpoch,
    #[error("a leader epoch that the controller has not told of")]
    FutureEpoch,
    #[error("an earlier handshake")]
    StaleHandshake,
    #[error("a handshake that nobody began")]
    UnknownHandshake,
    #[error("the handshake is not as far, or further")]
    WrongState,
    #[error("the batches do not follow what the log holds")]
    Gap,
    #[error("the record before the batches is another one")]
    PreviousDiffers,
    #[error("an end beyond what was pushed")]
    BeyondPushed,
    #[error("an end below one that was acknowledged")]
    BelowAcknowledged,
    #[error("a member of the ISR does not drop its log")]
    InSync,
    #[error("what the message says contradicts itself")]
    Malformed,
    #[error("a completion of something else")]
    WrongCompletion,
    #[error("an assignment that takes a replica away within its leader epoch")]
    ReplicaRemoved,
}
