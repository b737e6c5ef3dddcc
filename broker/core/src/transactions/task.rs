//! The work outside of the log that a transaction coordinator hands to the runtime: markers in the
//! partitions of a transaction, and producer ids.
//!
//! A task ends with one result, or with none if it is lost. The coordinator starts it again after a
//! while, under a new id, and ignores late results of the lost one.

use rustmq_model::{ProducerId, TopicPartition, TransactionMarker};

/// The most partitions of one [`TransactionTask::WriteMarkers`].
pub const MARKER_PARTITIONS_MAX: usize = 256;
/// The most ids of one [`TransactionTask::AllocateProducerIds`].
pub const PRODUCER_IDS_MAX: usize = 64;

/// A task of the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionTask {
    /// Write a marker to the leader of each of these partitions. Answered by
    /// [`TransactionTaskResult::Markers`].
    ///
    /// The partitions are at most [`MARKER_PARTITIONS_MAX`], each once. A port must never write a
    /// marker of an older task after one of a newer task of the same coordinator to the same
    /// partition: below transaction version 2 the producer keeps its epoch, so that a marker that
    /// comes late would end its next transaction.
    WriteMarkers { marker: TransactionMarker, partitions: Vec<TopicPartition> },
    /// Get this many producer ids that were never given before. Answered by
    /// [`TransactionTaskResult::ProducerIds`].
    AllocateProducerIds { count: usize },
}

/// The result of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionTaskResult {
    /// The outcomes of the markers. A partition that is missing here counts as
    /// [`MarkerOutcome::Unavailable`].
    Markers(Vec<(TopicPartition, MarkerOutcome)>),
    /// As many ids as there are: fewer than wanted, or none, if the controller does not answer.
    ProducerIds(Vec<ProducerId>),
}

/// The outcome of one marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkerOutcome {
    /// The marker is committed, or the partition had it before.
    Written,
    /// The partition has a higher epoch of this producer, or the marker's epoch with an open
    /// transaction: the transaction of the marker is ended there.
    Superseded,
    /// The partition's topic is deleted: nothing is left to end.
    PartitionDeleted,
    /// The partition's leader is not known now. The coordinator waits for one.
    LeaderUnknown,
    /// The leader did not write the marker, or did not answer. The coordinator tries again.
    Unavailable,
    /// The partition has seen a marker of a later coordinator. This coordinator neither skips the
    /// partition nor ends the transaction: that is the later coordinator's business.
    CoordinatorFenced,
}

impl MarkerOutcome {
    /// Whether the transaction is ended in this partition.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Written | Self::Superseded | Self::PartitionDeleted => true,
            Self::LeaderUnknown | Self::Unavailable | Self::CoordinatorFenced => false,
        }
    }
}
