//! DeleteRecords: moves up the log starts of partitions.

use rustmq_broker_core::ErrorKind;
use rustmq_engine_api::{TrimError, TrimTo};
use rustmq_model::{Offset, PartitionId, TopicName};

use crate::session::Session;
use crate::storage::{OffsetOutOfRange, StorageError};
use crate::view::{LocateError, TopicRef, is_internal};

#[derive(Clone, Debug)]
pub struct RecordDeletion {
    pub topic: TopicRef,
    pub partition: PartitionId,
    pub before: DeleteBefore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteBefore {
    Offset(Offset),
    HighWatermark,
}

/// Why a partition's log start does not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteRecordsError {
    #[error(transparent)]
    Locate(#[from] LocateError),
    #[error("Topic '{topic}' belongs to the broker itself: clients cannot change what is in it.")]
    InternalTopic { topic: TopicName },
    #[error("Records of '{topic}' cannot be deleted: its cleanup.policy does not contain 'delete'.")]
    NotDeletable { topic: TopicName },
    #[error(transparent)]
    OffsetOutOfRange(#[from] OffsetOutOfRange),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl DeleteRecordsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Locate(error) => error.kind(),
            Self::InternalTopic { .. } | Self::NotDeletable { .. } | Self::OffsetOutOfRange(_) => ErrorKind::Invalid,
            Self::Storage(error) => error.kind(),
        }
    }
}

impl Session {
    /// Deletes the records below an offset. Returns the new log starts once they are synced, in the
    /// order of the request. There is no timeout: Kafka's bounds the wait for the followers' log
    /// starts, and a deletion that has begun takes effect in any case.
    pub async fn delete_records(&self, deletions: Vec<RecordDeletion>) -> Vec<Result<Offset, DeleteRecordsError>> {
        let each = deletions.iter().map(|deletion| self.delete_before(deletion));
        futures_util::future::join_all(each).await
    }

    async fn delete_before(&self, deletion: &RecordDeletion) -> Result<Offset, DeleteRecordsError> {
        let located = self.broker.locate(&deletion.topic, deletion.partition, None)?;
        let name = &located.entry.topic.name;
        if is_internal(name.as_str()) {
            return Err(DeleteRecordsError::InternalTopic { topic: name.clone() });
        }
        if !located.entry.config.cleanup_policy.delete {
            return Err(DeleteRecordsError::NotDeletable { topic: name.clone() });
        }
        let to = match deletion.before {
            DeleteBefore::HighWatermark => TrimTo::HighWatermark,
            DeleteBefore::Offset(offset) if offset < Offset::ZERO => {
                return Err(OffsetOutOfRange::new(offset, located.reader.frontiers()).into());
            }
            DeleteBefore::Offset(offset) => TrimTo::Offset(offset),
        };
        self.broker.engine.trim(located.id, to).await.map_err(|error| refusal(error, || located.gone()))
    }
}

fn refusal(error: TrimError, gone: impl FnOnce() -> LocateError) -> DeleteRecordsError {
    match error {
        TrimError::UnknownPartition => gone().into(),
        TrimError::AboveHighWatermark { requested, high_watermark } => {
            OffsetOutOfRange { requested, log_start: Offset::ZERO, end: high_watermark, high_watermark }.into()
        }
        TrimError::Full => StorageError::Full.into(),
        TrimError::Storage(failure) => StorageError::Failed(failure).into(),
        TrimError::Stopped => StorageError::Stopping.into(),
    }
}

#[cfg(test)]
mod tests {
    use rustmq_engine_api::{TrimError, WalFailure};
    use rustmq_model::Offset;

    use super::{DeleteRecordsError, refusal};
    use crate::storage::{OffsetOutOfRange, StorageError};
    use crate::view::{LocateError, UnknownTopic};

    #[test]
    fn what_the_engine_refuses_keeps_its_facts() {
        // An error that differs from all others.
        let gone = || LocateError::from(UnknownTopic::Name("orders".to_owned()));
        let check = |error: TrimError, expected: DeleteRecordsError| assert_eq!(refusal(error, gone), expected);
        check(TrimError::UnknownPartition, gone().into());
        let (requested, high_watermark) = (Offset(9), Offset(6));
        let above = OffsetOutOfRange { requested, log_start: Offset::ZERO, end: high_watermark, high_watermark };
        check(TrimError::AboveHighWatermark { requested, high_watermark }, above.into());
        check(TrimError::Full, StorageError::Full.into());
        let failure = WalFailure::PreparationLost;
        check(TrimError::Storage(failure.clone()), StorageError::Failed(failure).into());
        check(TrimError::Stopped, StorageError::Stopping.into());
    }
}
