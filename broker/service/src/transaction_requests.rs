//! Transaction requests of front ends and other brokers: finds the coordinator of a transactional
//! id, and checks that partitions exist. The coordinator decides about transactions.
//!
//! A function that is not `async` takes effect in the call and returns a future that only waits.

use std::time::Duration;

use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::pattern::{InvalidPattern, Pattern};
use rustmq_broker_core::transactions::machine::{TransactionDescription, TransactionFilter, TransactionListing};
use rustmq_broker_core::transactions::request::{
    AddPartitionsRequest, EndTxnRequest, InitProducerIdRequest, VerifyPartitionsRequest,
};
use rustmq_broker_core::transactions::{TransactionError, TransactionOutcome, TransactionRequest, TransactionState};
use rustmq_engine_api::ProducerState;
use rustmq_model::{
    BrokerId, PartitionId, ProducerId, ProducerKey, TopicName, TopicNameError, TopicPartition, TransactionVersion,
    TransactionalId,
};

use crate::coordination::TransactionWait;
use crate::group_requests::FindCoordinatorError;
use crate::session::Session;
use crate::storage::StorageError;
use crate::view::{LocateError, TRANSACTIONS_TOPIC, TopicRef, UnknownPartition, UnknownTopic, is_internal};

/// Partitions for the transaction of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionPartitions {
    pub id: TransactionalId,
    pub producer: ProducerKey,
    pub partitions: Vec<(String, PartitionId)>,
    pub purpose: PartitionsPurpose,
}

/// The purpose of [`TransactionPartitions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionsPurpose {
    /// Add them, for a client of this protocol.
    Add(TransactionVersion),
    /// Only say whether the transaction has them.
    Verify,
}

/// Why a partition is not in a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionPartitionError {
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    #[error(transparent)]
    UnknownPartition(#[from] UnknownPartition),
    #[error("Topic '{topic}' belongs to the broker itself: clients cannot change what is in it.")]
    InternalTopic { topic: String },
    /// Another partition of the request has an error, so that none was added.
    #[error("The partition was not added, since another one of the request cannot be.")]
    NotAttempted,
    /// The coordinator has refused it. The inner error has the reason.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl TransactionPartitionError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownTopic(error) => error.kind(),
            Self::UnknownPartition(error) => error.kind(),
            Self::InternalTopic { .. } | Self::NotAttempted => ErrorKind::Invalid,
            Self::Transaction(error) => error.kind(),
        }
    }
}

/// The choice of transactional ids for a list: those that meet every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionQuery {
    /// `None`: all states.
    pub states: Option<Vec<TransactionState>>,
    /// Empty: all producers.
    pub producer_ids: Vec<ProducerId>,
    /// More than this has passed since the last transaction began.
    pub running_longer_than: Option<Duration>,
    /// A pattern in RE2's syntax that matches the whole id (KIP-1152).
    pub pattern: Option<String>,
}

/// Why transactional ids are not listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListTransactionsError {
    #[error("The pattern of transactional ids is not a regular expression: {reason}.")]
    InvalidPattern { reason: String },
    #[error(transparent)]
    Transaction(#[from] TransactionError),
}

impl ListTransactionsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidPattern { .. } => ErrorKind::Invalid,
            Self::Transaction(error) => error.kind(),
        }
    }
}

/// Why the producers of a partition are not described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescribeProducersError {
    #[error(transparent)]
    InvalidTopicName(#[from] TopicNameError),
    #[error(transparent)]
    Locate(#[from] LocateError),
}

impl DescribeProducersError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidTopicName(_) => ErrorKind::Invalid,
            Self::Locate(error) => error.kind(),
        }
    }
}

impl Session {
    /// Finds the broker that coordinates a transactional id. The first call creates the topic of
    /// transactional ids.
    ///
    /// # Errors
    /// [`FindCoordinatorError`] if the topic cannot be created, or if no coordinator serves the id
    /// now. Both may be temporary.
    pub async fn find_transaction_coordinator(&self, id: &TransactionalId) -> Result<BrokerId, FindCoordinatorError> {
        self.ensure_coordinator_topic(TRANSACTIONS_TOPIC).await?;
        if self.broker.transactions.coordinates(id) {
            Ok(self.broker.id)
        } else {
            Err(FindCoordinatorError::NotAvailable)
        }
    }

    /// Makes the caller the only producer of a transactional id.
    ///
    /// # Errors
    /// [`TransactionError`] if the id is not coordinated here, or if its coordinator refuses.
    pub fn init_transactions(&self, request: InitProducerIdRequest) -> TransactionWait<ProducerKey> {
        self.broker.transactions.request(TransactionRequest::InitProducerId(request), |outcome| match outcome {
            TransactionOutcome::InitProducerId(answer) => Some(answer),
            _ => None,
        })
    }

    /// Adds partitions to the producer's transaction, all of them or none, or verifies that it has
    /// them. The results have the order of the request.
    pub async fn partitions_of_transaction(
        &self,
        request: TransactionPartitions,
    ) -> Vec<Result<(), TransactionPartitionError>> {
        let TransactionPartitions { id, producer, partitions, purpose } = request;
        let count = partitions.len();
        let judged: Vec<_> = partitions.into_iter().map(|(topic, partition)| self.usable(topic, partition)).collect();
        if judged.iter().any(Result::is_err) {
            let refused = judged.into_iter().map(|judged| match judged {
                Ok(_) => Err(TransactionPartitionError::NotAttempted),
                Err(error) => Err(error),
            });
            return refused.collect();
        }
        let partitions = judged.into_iter().flatten().collect();
        let all = match purpose {
            PartitionsPurpose::Add(version) => {
                let added = self.add_to_transaction(id, producer, partitions, version, None).await;
                added.map(|()| vec![Ok(()); count])
            }
            PartitionsPurpose::Verify => self.verify_partitions(id, producer, partitions, None).await,
        };
        let all = all.unwrap_or_else(|error| vec![Err(error); count]);
        all.into_iter().map(|result| result.map_err(TransactionPartitionError::from)).collect()
    }

    fn usable(&self, topic: String, partition: PartitionId) -> Result<TopicPartition, TransactionPartitionError> {
        if is_internal(&topic) {
            return Err(TransactionPartitionError::InternalTopic { topic });
        }
        let view = self.broker.view.read();
        let topic = &view.find(&TopicRef::Name(topic))?.topic;
        let unknown = || UnknownPartition { topic: topic.name.clone(), partition };
        topic.partition(partition).ok_or_else(unknown)?;
        Ok(TopicPartition { topic: topic.name.clone(), partition })
    }

    pub(crate) fn add_to_transaction(
        &self,
        id: TransactionalId,
        producer: ProducerKey,
        partitions: Vec<TopicPartition>,
        version: TransactionVersion,
        wait_max: Option<Duration>,
    ) -> TransactionWait<()> {
        let request = AddPartitionsRequest { id, producer, partitions, version, wait_max };
        self.broker.transactions.request(TransactionRequest::AddPartitions(request), |outcome| match outcome {
            TransactionOutcome::AddPartitions(answer) => Some(answer),
            _ => None,
        })
    }

    /// Whether the producer's transaction has each of the partitions, in their order.
    pub(crate) fn verify_partitions(
        &self,
        id: TransactionalId,
        producer: ProducerKey,
        partitions: Vec<TopicPartition>,
        wait_max: Option<Duration>,
    ) -> TransactionWait<Vec<Result<(), TransactionError>>> {
        let request = VerifyPartitionsRequest { id, producer, partitions, wait_max };
        self.broker.transactions.request(TransactionRequest::VerifyPartitions(request), |outcome| match outcome {
            TransactionOutcome::VerifyPartitions(answer) => Some(answer),
            _ => None,
        })
    }

    /// Commits or aborts the producer's transaction. The answer says which id and epoch the
    /// producer uses from now on; the markers follow.
    ///
    /// # Errors
    /// [`TransactionError`] if the id is not coordinated here, or if its coordinator refuses.
    pub fn end_transaction(&self, request: EndTxnRequest) -> TransactionWait<ProducerKey> {
        self.broker.transactions.request(TransactionRequest::EndTxn(request), |outcome| match outcome {
            TransactionOutcome::EndTxn(answer) => Some(answer),
            _ => None,
        })
    }

    /// The last transaction of an id.
    ///
    /// # Errors
    /// [`TransactionError`] if the id is not coordinated here, if its coordinator is loading, or if
    /// the id is not known.
    pub fn describe_transaction(&self, id: &TransactionalId) -> Result<TransactionDescription, TransactionError> {
        self.broker.transactions.describe(id)
    }

    /// The transactional ids that are coordinated here, as far as the query accepts them.
    ///
    /// # Errors
    /// [`ListTransactionsError`] if the pattern is malformed or too costly, and while one of the
    /// coordinators is loading.
    pub fn list_transactions(
        &self,
        query: &TransactionQuery,
    ) -> Result<Vec<TransactionListing>, ListTransactionsError> {
        let pattern = query.pattern.as_deref().map(Pattern::compile).transpose();
        let pattern = pattern.map_err(|InvalidPattern { reason }| ListTransactionsError::InvalidPattern { reason })?;
        let states = match query.states.as_deref() {
            Some([]) => return Ok(Vec::new()),
            Some(states) => states,
            None => &[],
        };
        let is_wanted = |id: &TransactionalId| pattern.as_ref().is_none_or(|pattern| pattern.matches(id.as_str()));
        let TransactionQuery { producer_ids, running_longer_than, .. } = query;
        let running_longer_than = *running_longer_than;
        let filter = TransactionFilter { states, producer_ids, running_longer_than, is_wanted: &is_wanted };
        Ok(self.broker.transactions.list(&filter)?)
    }

    /// The producers that a partition remembers (KIP-664).
    ///
    /// # Errors
    /// [`DescribeProducersError`] if the partition is not found, or not led here.
    pub async fn describe_producers(
        &self,
        topic: &str,
        partition: PartitionId,
    ) -> Result<Vec<ProducerState>, DescribeProducersError> {
        TopicName::new(topic)?;
        let located = self.broker.locate(&TopicRef::Name(topic.to_owned()), partition, None)?;
        let described = self.broker.engine.describe_producers(located.id).await;
        let described = described.map_err(|_| LocateError::NotOpened(StorageError::Stopping))?;
        Ok(described.ok_or_else(|| located.gone())?)
    }
}
