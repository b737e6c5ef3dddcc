//! The actions of a coordinator with the records that they carry, and their results.

use bytes::Bytes;
use rustmq_model::Offset;

use super::machine::ReplyToken;

/// Names an append, in the order in which they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// One record for the coordinator's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    /// None is a tombstone.
    pub value: Option<Bytes>,
}

impl CoordinatorRecord {
    /// More than a record takes in a batch beyond its key and value.
    const OVERHEAD: usize = 32;

    /// An upper bound of what the record takes in a batch.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + Self::OVERHEAD
    }
}

/// The answer to the request that came with this token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<O> {
    pub token: ReplyToken,
    pub outcome: O,
}

/// An action for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<O> {
    Reply(Reply<O>),
    /// Append these as one batch, after every append before it, and report the result under its id
    /// once the batch is committed.
    Append {
        append: AppendId,
        records: Vec<CoordinatorRecord>,
        /// The log has had these records before. A topic's limit on batches, which may have been
        /// lowered since, does not hold for them: only the engine may refuse them.
        is_rewrite: bool,
    },
    /// The log is no longer needed below this offset.
    TrimLog {
        below: Offset,
    },
}

/// An append that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset after its last record.
    pub next_offset: Offset,
    /// Bytes of its batch.
    pub bytes: u64,
}

/// Why an append is not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendFailure {
    /// The log takes nothing now. The same may work later.
    #[error("the log does not take appends now")]
    Unavailable,
    #[error("the batch is too large for the log")]
    TooLarge,
    /// The leadership has ended, or the broker stops: the coordinator resigns.
    #[error("the log is led in another epoch, or elsewhere")]
    NotLeader,
}

/// The log was not trimmed. It stays longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log was not trimmed")]
pub struct TrimFailed;
