//! The requests to a shard and its answers, in types that its handle, the shard and a simulation
//! share. Does not define how requests and answers travel.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicIdPartition, TransactionMarker,
};

use crate::log::{AppendFrontier, VerificationGuard};

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
    pub source: AppendSource,
    /// The frontier that must pass the batch before the answer.
    pub until: AppendFrontier,
}

impl Append {
    /// The control batch of a marker, written at this time. It is answered as any batch; if the log
    /// has the marker already, nothing is appended.
    ///
    /// # Panics
    /// Never: an encoded marker is a batch.
    #[must_use]
    pub fn marker(
        id: TopicIdPartition,
        leader_epoch: Option<LeaderEpoch>,
        marker: TransactionMarker,
        now: Timestamp,
    ) -> Self {
        let batch = marker.encode(now);
        let header = BatchHeader::parse(&batch).expect("an encoded marker is a batch");
        let (source, until) = (AppendSource::Marker(marker), AppendFrontier::HighWatermark);
        Self { id, leader_epoch, batch, header, source, until }
    }
}

/// The writer of a batch, on whose word it may begin or end a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendSource {
    /// A client. If the batch begins a transaction in the partition, it needs the guard of a
    /// [`Verify`] that the transaction coordinator has confirmed.
    Client(Option<VerificationGuard>),
    /// A coordinator of this broker that writes records into its own log, and has checked their
    /// transaction itself.
    Coordinator,
    /// The transaction coordinator ends a transaction: the batch is the encoded marker.
    Marker(TransactionMarker),
}

/// A client's batch, of which the log says whether the transaction coordinator must confirm its
/// transaction before the append (KIP-890).
#[derive(Clone, Copy, Debug)]
pub struct Verify {
    pub id: TopicIdPartition,
    /// As in [`Append`].
    pub leader_epoch: Option<LeaderEpoch>,
    pub header: BatchHeader,
}

/// The answer to [`Verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The batch begins no transaction in the partition.
    NotNeeded,
    /// Append the batch with this guard once the coordinator has confirmed.
    Needed(VerificationGuard),
}

/// What a partition remembers of a producer (`DescribeProducers`, KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// The last sequence in this epoch, or [`Sequence::NONE`].
    pub last_sequence: Sequence,
    /// When the producer last wrote, by the broker's clock.
    pub last_timestamp: Timestamp,
    /// The epoch of the coordinator that last wrote a marker, or -1.
    pub coordinator_epoch: i32,
    /// The first offset of the open transaction.
    pub transaction_start: Option<Offset>,
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
