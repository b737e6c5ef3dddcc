//! What is asked of a shard, and what it answers, in words that its handle, the shard and a simulation share. How a request comes to a shard, and how
//! its answer goes back, is not said here.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, Timestamp, TopicIdPartition};

use crate::log::AppendFrontier;

/// Retention of one partition's log. Where the values come from (topic and broker settings) is not known here. Reloadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How long records are kept, by their timestamps; `None` keeps them for ever.
    pub retention_time: Option<Duration>,
    /// Bytes of batches that are kept at least, as long as they are there; older ones go. `None` sets no limit.
    pub retention_bytes: Option<u64>,
    /// How long an idempotent producer that writes nothing is remembered (`producer.id.expiration.ms`).
    pub producer_expiry: Duration,
}

impl LogConfig {
    /// Keeps everything: what a recovered partition has until its owner configures it.
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

/// A partition to create, or to take up under a leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenPartition {
    pub id: TopicIdPartition,
    pub leader_epoch: LeaderEpoch,
    pub config: LogConfig,
}

/// A batch to append: validated, and the one that `header` was read from. Its base offset and leader epoch are assigned by the log.
#[derive(Clone, Debug)]
pub struct Append {
    pub id: TopicIdPartition,
    /// Refused unless it is the log's own; `None` does not ask.
    pub leader_epoch: Option<LeaderEpoch>,
    pub batch: Bytes,
    pub header: BatchHeader,
    /// What must have passed the batch before it is answered.
    pub until: AppendFrontier,
}

/// A batch that is as durable as was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: Offset,
    /// The log start when it became that.
    pub log_start: Offset,
    /// It repeats a batch of its producer: the offset is the original's, and nothing was appended. The original's largest timestamp.
    pub duplicate_of: Option<Timestamp>,
}

/// A log that goes another way than its leader's from somewhere on, as the leader of this epoch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutLog {
    pub id: TopicIdPartition,
    pub leader_epoch: LeaderEpoch,
    pub to: CutTo,
}

/// What is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutTo {
    /// It ends there; earlier, if that lies inside of a batch. Not below its high watermark.
    End(Offset),
    /// Nothing: it starts again there.
    EmptyAt(Offset),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    Offset(Offset),
    HighWatermark,
}

/// A read of what has left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColdRead {
    pub id: TopicIdPartition,
    pub from: Offset,
    /// Only batches that end at or below this.
    pub until: Offset,
    pub max_bytes: usize,
    /// The first batch is answered even if it is larger than `max_bytes`, and memory for it is waited for.
    pub at_least_one: bool,
}

impl fmt::Display for ColdRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.id, self.from.0)
    }
}
