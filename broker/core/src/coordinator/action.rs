//! The actions of a coordinator with the records that they carry, and their results.

use bytes::Bytes;
use rustmq_model::{Offset, ProducerKey, TransactionMarker};

use super::machine::ReplyToken;

/// Names an append. A later append has a higher id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// Names a task. A coordinator gives each id once, so that the result of a task that the machine
/// has given up is not taken for that of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// One record for the coordinator's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    /// None is a tombstone.
    pub value: Option<Bytes>,
}

impl CoordinatorRecord {
    /// An upper bound on the bytes of a record in a batch, without its key and value.
    const OVERHEAD: usize = 32;

    /// An upper bound on the bytes of the record in a batch.
    #[must_use]
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + Self::OVERHEAD
    }
}

/// The answer to the request with this token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<O> {
    pub token: ReplyToken,
    pub outcome: O,
}

/// An action for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<O, T> {
    Reply(Reply<O>),
    /// Carry out work outside of the log. Report its result under the id. Tasks run beside each
    /// other and beside the appends, in any order. The machine bounds their number.
    Start {
        task: TaskId,
        work: T,
    },
    /// Append the records as one batch, after all earlier appends. Report the result under the id:
    /// success once the batch is committed.
    Append {
        append: AppendId,
        records: Vec<CoordinatorRecord>,
        /// The producer whose transaction the batch belongs to: it is then transactional, and has
        /// no sequence. None is a batch outside of transactions.
        producer: Option<ProducerKey>,
        /// The topic's limit on batches does not hold for these records: only the engine may refuse
        /// them. The log held them before, or they end work that began under an earlier limit.
        is_exempt: bool,
    },
    /// Append the marker's control batch, in the order of the other appends and with a result like
    /// theirs.
    AppendMarker {
        append: AppendId,
        marker: TransactionMarker,
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
    /// The log takes no appends now. The same append may succeed later.
    #[error("the log does not take appends now")]
    Unavailable,
    #[error("the batch is too large for the log")]
    TooLarge,
    /// The log knows the producer at a newer epoch.
    #[error("the epoch of the batch's producer is fenced")]
    InvalidProducerEpoch,
    /// The leadership has ended, or the broker stops: the coordinator resigns.
    #[error("the log is led in another epoch, or elsewhere")]
    NotLeader,
}

/// The log was not trimmed. It stays longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log was not trimmed")]
pub struct TrimFailed;
