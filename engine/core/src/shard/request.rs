//! The requests to a shard and its answers, in types that its handle, the shard and a simulation
//! share. Does not define how requests and answers travel.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, Timestamp, TopicIdPartition};

use crate::log::AppendFrontier;

/// Retention of one partition's log. Reloadable. Does not know where the values come from (topic or
/// broker settings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How long records are kept, by their timestamps; `None` keeps them for ever.
    pub retention_time: Option<Duration>,
    /// Retention removes the oldest batches as long as at least this many bytes of newer ones
    /// remain. `None` sets no limit.
    pub retention_bytes: Option<u64>,
    /// How long an idle idempotent producer is remembered (`producer.id.expiration.ms`).
    pub producer_expiry: Duration,
}

impl LogConfig {
    /// Keeps everything: the configuration of a recovered partition until its owner configures it.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { retention_time: None, retention_bytes: None, producer_expiry: Duration::MAX }
    }
}

impl Default for LogConfig {
    /// Kafka's defaults: seven days, no limit on bytes, producers remembered for a day.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { retention_time: Some(7 * DAY), retention_bytes: None, producer_expiry: DAY }
    }
}

/// A partition to create, or to lead in this leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPartition {
    pub id: TopicIdPartition,
    pub leader_epoch: LeaderEpoch,
    pub config: LogConfig,
}

/// A validated batch to append; `header` was parsed from `batch`. The log assigns its base offset
/// and leader epoch.
#[derive(Clone, Debug)]
pub struct Append {
    pub id: TopicIdPartition,
    /// The append is refused unless this is the log's epoch; `None` skips the check.
    pub leader_epoch: Option<LeaderEpoch>,
    pub batch: Bytes,
    pub header: BatchHeader,
    /// The frontier that must pass the batch before the answer.
    pub until: AppendFrontier,
}

/// A batch that its requested frontier has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    /// The log start at the time of the answer.
    pub log_start: Offset,
    /// The largest timestamp of the original, if the batch repeats one of its producer.
    /// `base_offset` is the original's, and nothing was appended.
    pub duplicate_of: Option<Timestamp>,
}

/// A cut of a log that diverges from the log of the leader in this epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutLog {
    pub id: TopicIdPartition,
    pub leader_epoch: LeaderEpoch,
    pub to: CutTo,
}

/// The remaining log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutTo {
    /// It ends there, or earlier if the offset lies inside a batch. Not below the high watermark.
    End(Offset),
    /// The log is dropped and starts again there, empty.
    EmptyAt(Offset),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    Offset(Offset),
    HighWatermark,
}

/// A read of batches that have left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdRead {
    pub id: TopicIdPartition,
    pub from: Offset,
    /// Reads only batches that end at or below this.
    pub until: Offset,
    pub max_bytes: usize,
    /// The first batch is returned even if it is larger than `max_bytes`, and the read waits for
    /// its memory.
    pub at_least_one: bool,
}

impl fmt::Display for ColdRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.id, self.from.0)
    }
}
