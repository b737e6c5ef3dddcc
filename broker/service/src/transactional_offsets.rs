//! Offsets in transactions (KIP-98, KIP-447): adds a group's partition of `__consumer_offsets` to a
//! producer's transaction, and commits offsets there once the transaction coordinator has confirmed
//! that the transaction has the partition. The group coordinator keeps the offsets pending until
//! the marker (`docs/adr/0030-offsets-in-transactions.md`).

use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::groups::request::{OffsetCommit, OffsetCommitRequest, TransactionalCommitRequest};
use rustmq_broker_core::groups::{GroupError, GroupId, GroupRequest, ReplyOutcome};
use rustmq_broker_core::transactions::TransactionError;
use rustmq_model::{ProducerKey, TopicName, TopicPartition, TransactionVersion, TransactionalId};

use crate::group_requests::{CommitEntry, GroupCommit, GroupOffsetError, of_each};
use crate::refusals::Refusals;
use crate::session::Session;
use crate::verification::ProduceTransaction;
use crate::view::OFFSETS_TOPIC;

/// Offsets to commit for a group as part of a producer's transaction.
#[derive(Clone, Debug)]
pub struct TransactionalCommit {
    pub id: TransactionalId,
    pub producer: ProducerKey,
    /// The protocol that the client speaks. From version 2 on the broker adds the group's partition
    /// to the transaction; older clients have added it with a request of their own.
    pub version: TransactionVersion,
    pub commit: GroupCommit,
}

/// Why the offset of one partition is not stored as part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionalOffsetError {
    #[error(transparent)]
    Offset(#[from] GroupOffsetError),
    /// The transaction coordinator has refused it. The inner error has the reason.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl From<GroupError> for TransactionalOffsetError {
    fn from(error: GroupError) -> Self {
        Self::Offset(error.into())
    }
}

impl TransactionalOffsetError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Offset(error) => error.kind(),
            Self::Transaction(error) => error.kind(),
        }
    }
}

impl Session {
    /// Adds the partition of a group's offsets to the producer's transaction. The first call
    /// creates the topic of committed offsets: a producer may name its group before any consumer
    /// does.
    ///
    /// # Errors
    /// [`TransactionError`] if the id is not coordinated here, or if its coordinator refuses.
    pub async fn add_offsets_to_transaction(
        &self,
        id: TransactionalId,
        producer: ProducerKey,
        group: &GroupId,
    ) -> Result<(), TransactionError> {
        let ensured = self.ensure_coordinator_topic(OFFSETS_TOPIC).await;
        ensured.map_err(|_| TransactionError::CoordinatorNotAvailable)?;
        let partition = self.partition_of_group(group).ok_or(TransactionError::CoordinatorNotAvailable)?;
        self.add_to_transaction(id, producer, vec![partition], TransactionVersion::V0, None).await
    }

    /// Commits offsets that become visible when the producer's transaction commits. Resolves once
    /// they are stored, with an outcome for each entry in the order of the request. Each partition
    /// that does not exist has an error of its own.
    pub async fn commit_offsets_in_transaction(
        &self,
        request: TransactionalCommit,
    ) -> Vec<Result<(), TransactionalOffsetError>> {
        let TransactionalCommit { id, producer, version, commit } = request;
        let GroupCommit { group, member, instance, generation, supports_member_epochs, retention, offsets } = commit;
        let judge = |entry: CommitEntry| -> Result<OffsetCommit, TransactionalOffsetError> {
            let (partition, topic_id) = self.existing(&entry.topic, entry.partition)?;
            let CommitEntry { offset, leader_epoch, metadata, .. } = entry;
            Ok(OffsetCommit { partition, topic_id, offset, leader_epoch, metadata })
        };
        let (offsets, refusals) = Refusals::split(offsets.into_iter().map(judge));
        if offsets.is_empty() {
            return refusals.join(Ok([]));
        }
        let commit =
            OffsetCommitRequest { group, member, instance, generation, supports_member_epochs, retention, offsets };
        let transaction = ProduceTransaction { id, version };
        let outcomes = self.commit_verified(&transaction, producer, commit).await;
        refusals.join(outcomes)
    }

    /// Verifies the transaction, and then commits. What refuses the commit without a look at the
    /// transaction comes first, so that such a commit does not begin one.
    async fn commit_verified(
        &self,
        transaction: &ProduceTransaction,
        producer: ProducerKey,
        commit: OffsetCommitRequest,
    ) -> Result<Vec<Result<(), TransactionalOffsetError>>, TransactionalOffsetError> {
        let group = commit.group.clone();
        let coordinator = self.broker.coordinators.of_group(&group)?;
        let guard = coordinator.read(|groups| groups.commit_guard(producer.id)).map_err(GroupError::from)?;
        let request = GroupRequest::CommitTransactionalOffsets(TransactionalCommitRequest { producer, guard, commit });
        request.check_group_id()?;
        let partition = self.partition_of_group(&group).ok_or(GroupError::NotCoordinator)?;
        let confirmed = self.confirm(transaction, producer, vec![partition], None).await;
        confirmed.into_iter().collect::<Result<(), _>>()?;
        let outcomes = self.broker.coordinators.request(&group, request, |outcome| match outcome {
            ReplyOutcome::OffsetCommit(answer) => Some(answer),
            _ => None,
        });
        let outcomes = of_each(outcomes.await?);
        Ok(outcomes.map(|outcome| outcome.map_err(TransactionalOffsetError::from)).collect())
    }

    /// None while the topic of committed offsets is not known here.
    fn partition_of_group(&self, group: &GroupId) -> Option<TopicPartition> {
        let partition = self.broker.coordinators.partition_of(group.as_str()).ok()?;
        let topic = TopicName::new(OFFSETS_TOPIC).ok()?;
        Some(TopicPartition { topic, partition })
    }
}
