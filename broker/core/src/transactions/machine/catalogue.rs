//! Reads of all ids: for `DescribeTransactions`, `ListTransactions` and metrics. They show
//! committed state.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rustmq_model::{ProducerId, ProducerKey, Timestamp, TopicPartition, TransactionalId};

use super::{Entry, StoredTransaction, Transactions};
use crate::transactions::error::TransactionError;
use crate::transactions::state::TransactionState;
use crate::transactions::transaction::Transaction;

/// An id as `DescribeTransactions` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    pub producer: ProducerKey,
    pub state: TransactionState,
    pub timeout_ms: i32,
    /// [`Timestamp::NONE`] before the first transaction of a producer.
    pub started_at: Timestamp,
    /// In the order of topic and number; none after the end of the transaction.
    pub partitions: Vec<TopicPartition>,
}

/// An id as `ListTransactions` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionListing {
    pub id: TransactionalId,
    pub producer_id: ProducerId,
    pub state: TransactionState,
}

/// The choice of ids in a list. An id is listed if it meets every condition that is set.
pub struct TransactionFilter<'a> {
    /// Empty: all states.
    pub states: &'a [TransactionState],
    /// Empty: all producers.
    pub producer_ids: &'a [ProducerId],
    /// More than this has passed since the last transaction began. As on Kafka, an id without a
    /// begin meets every such condition.
    pub running_longer_than: Option<Duration>,
    /// The pattern of the id, which the caller has compiled.
    pub is_wanted: &'a dyn Fn(&TransactionalId) -> bool,
}

impl fmt::Debug for TransactionFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, producer_ids, running_longer_than, is_wanted: _ } = self;
        let mut shown = f.debug_struct("TransactionFilter");
        shown.field("states", states).field("producer_ids", producer_ids);
        shown.field("running_longer_than", running_longer_than).finish_non_exhaustive()
    }
}

impl TransactionFilter<'_> {
    fn accepts(&self, now: Timestamp, id: &TransactionalId, transaction: &Transaction) -> bool {
        let running = u128::try_from(now.0.saturating_sub(transaction.started_at.0)).unwrap_or(0);
        (self.states.is_empty() || self.states.contains(&transaction.state))
            && (self.producer_ids.is_empty() || self.producer_ids.contains(&transaction.producer.id))
            && self.running_longer_than.is_none_or(|least| running > least.as_millis())
            && (self.is_wanted)(id)
    }
}

impl Transactions {
    /// # Errors
    /// [`TransactionError::TransactionalIdNotFound`].
    pub fn describe(&self, id: &TransactionalId) -> Result<TransactionDescription, TransactionError> {
        let transaction = self.entries.get(id).and_then(Entry::transaction);
        let transaction = transaction.ok_or(TransactionError::TransactionalIdNotFound)?;
        Ok(TransactionDescription {
            producer: transaction.producer,
            state: transaction.state,
            timeout_ms: transaction.timeout_ms,
            started_at: transaction.started_at,
            partitions: transaction.partitions.iter().cloned().collect(),
        })
    }

    /// The ids that the filter accepts at this time, in their order.
    #[must_use]
    pub fn list(&self, now: Timestamp, filter: &TransactionFilter<'_>) -> Vec<TransactionListing> {
        let accepted = self.transactions().filter(|(id, transaction)| filter.accepts(now, id, transaction));
        let listing = |(id, transaction): (&TransactionalId, &Transaction)| TransactionListing {
            id: id.clone(),
            producer_id: transaction.producer.id,
            state: transaction.state,
        };
        accepted.map(listing).collect()
    }

    /// The number of ids in each state that has some.
    #[must_use]
    pub fn state_counts(&self) -> BTreeMap<TransactionState, usize> {
        let mut counts = BTreeMap::new();
        for (_, transaction) in self.transactions() {
            *counts.entry(transaction.state).or_default() += 1;
        }
        counts
    }

    /// When the oldest decision was made whose markers are not all written.
    #[must_use]
    pub fn oldest_prepared(&self) -> Option<Timestamp> {
        let prepared = self.transactions().filter(|(_, transaction)| transaction.state.prepared_end().is_some());
        prepared.map(|(_, transaction)| transaction.updated_at).min()
    }

    /// Whether the producer id belongs to the transactional id.
    #[must_use]
    pub fn owns(&self, id: &TransactionalId, producer: ProducerId) -> bool {
        self.entries.get(id).and_then(Entry::transaction).is_some_and(|current| current.producer.id == producer)
    }

    fn transactions(&self) -> impl Iterator<Item = (&TransactionalId, &Transaction)> {
        self.entries.iter().filter_map(|(id, entry)| Some((id, entry.transaction()?)))
    }

    /// Replays a record: the newest one of an id counts.
    pub(super) fn replay_transaction(&mut self, id: TransactionalId, stored: Option<StoredTransaction>) {
        if let Some(before) = self.entries.remove(&id) {
            self.memory_bytes -= before.bytes;
        }
        if let Some(stored) = stored {
            let mut entry = Entry { stored: Some(stored), ..Entry::default() };
            entry.bytes = entry.bytes_in_memory(&id);
            self.memory_bytes += entry.bytes;
            self.entries.insert(id, entry);
        }
    }
}
