//! DeleteRecords: moves the start of partitions' logs up.

use rustmq_engine_api::{TrimError, TrimTo};
use rustmq_model::{Offset, PartitionId};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::view::{TopicRef, is_internal};

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

impl Broker {
    /// Deletes the records below an offset. Answers the new log starts once they are synced, in the
    /// order of the request. There is no timeout: a request's is about the followers' log starts,
    /// and a deletion that is begun takes effect whether or not it is waited for.
    pub async fn delete_records(&self, deletions: Vec<RecordDeletion>) -> Vec<Result<Offset, BrokerError>> {
        let each = deletions.iter().map(|deletion| self.delete_before(deletion));
        futures_util::future::join_all(each).await
    }

    async fn delete_before(&self, deletion: &RecordDeletion) -> Result<Offset, BrokerError> {
        let located = self.locate(&deletion.topic, deletion.partition, None)?;
        let name = &located.entry.topic.name;
        if is_internal(name.as_str()) {
            return Err(BrokerError::InternalTopic { topic: name.clone() });
        }
        if !located.entry.config.cleanup_policy.delete {
            let reason =
                format!("Records of '{name}' cannot be deleted: its cleanup.policy does not contain 'delete'.");
            return Err(BrokerError::PolicyViolation { reason });
        }
        let to = match deletion.before {
            DeleteBefore::HighWatermark => TrimTo::HighWatermark,
            DeleteBefore::Offset(offset) if offset < Offset::ZERO => {
                return Err(BrokerError::out_of_range(offset, located.reader.frontiers()));
            }
            DeleteBefore::Offset(offset) => TrimTo::Offset(offset),
        };
        self.engine.trim(located.id, to).await.map_err(|error| match error {
            TrimError::UnknownPartition => located.gone(),
            other => other.into(),
        })
    }
}
