//! The appends of transactional ids: the change that each one makes when it is committed, and the
//! request that it answers. An id has one of them at a time.

use rustmq_model::TransactionalId;

use super::{Entry, StoredTransaction, Transactions, record_of};
use crate::coordinator::{AppendId, CoordinatorRecord, Now, Outbox, ReplyToken};
use crate::transactions::error::TransactionError;
use crate::transactions::records::{encode_key, value_size_max};
use crate::transactions::request::{TransactionOutcome, TransactionRequest};
use crate::transactions::state::TransactionState;
use crate::transactions::transaction::Transaction;

const ENTRY_OUTLIVES_APPEND: &str = "an id outlives its append";
/// An upper bound on the bytes of a batch without its records.
const BATCH_OVERHEAD: usize = 64;

/// The change that an append makes when it is committed.
#[derive(Debug)]
pub enum Effect {
    Transition {
        id: TransactionalId,
        next: Box<Transaction>,
        reason: Reason,
    },
    /// The id has expired.
    Removal {
        id: TransactionalId,
    },
}

/// Why a transaction changes.
#[derive(Debug)]
pub enum Reason {
    /// A request, which gets this answer.
    Request { token: ReplyToken, outcome: TransactionOutcome },
    /// The first request that waits, an `InitProducerId`, fences the producer of an open
    /// transaction.
    Fence,
    /// The transaction took longer than its producer allowed.
    Timeout,
    /// All markers are written.
    Completion,
}

impl Effect {
    pub(super) const fn id(&self) -> &TransactionalId {
        match self {
            Self::Transition { id, .. } | Self::Removal { id } => id,
        }
    }

    /// Whether the append holds the token of a request.
    pub(super) const fn answers_a_request(&self) -> bool {
        matches!(self, Self::Transition { reason: Reason::Request { .. }, .. })
    }
}

impl Transactions {
    /// The topic's limit on batches holds for records by which an id or a transaction grows. All
    /// others end something that the log has taken before, and must not be refused because the
    /// limit was lowered.
    pub(super) fn append(
        &mut self,
        id: &TransactionalId,
        next: Transaction,
        reason: Reason,
        outbox: &mut Outbox<Self>,
    ) {
        let entry = self.entry_of_append(id);
        let grows = entry.stored.is_none() || next.state == TransactionState::Ongoing;
        entry.is_pending = true;
        entry.pending_partitions = next.partitions.len();
        let record = record_of(id, &next);
        let effect = Effect::Transition { id: id.clone(), next: Box::new(next), reason };
        if grows {
            outbox.append(vec![record], effect);
        } else {
            outbox.append_exempt(vec![record], effect);
        }
    }

    /// Removes an id that has expired.
    pub(super) fn append_removal(&mut self, id: &TransactionalId, outbox: &mut Outbox<Self>) {
        self.entry_of_append(id).is_pending = true;
        let record = CoordinatorRecord { key: encode_key(id), value: None };
        outbox.append_exempt(vec![record], Effect::Removal { id: id.clone() });
    }

    /// Checks, before anything is decided, that the record of a transaction fits into a batch in
    /// every state that can follow.
    pub(super) fn check_record_size(&self, id: &TransactionalId, next: &Transaction) -> Result<(), TransactionError> {
        let grows = self.entries.get(id).is_none_or(|entry| entry.stored.is_none());
        if !grows && next.state != TransactionState::Ongoing {
            return Ok(());
        }
        let key = CoordinatorRecord { key: encode_key(id), value: None };
        let size = key.size() + value_size_max(next) + BATCH_OVERHEAD;
        if size > self.config.record_bytes_max { Err(TransactionError::TooManyPartitions) } else { Ok(()) }
    }

    fn entry_of_append(&mut self, id: &TransactionalId) -> &mut Entry {
        self.entries.get_mut(id).expect(ENTRY_OUTLIVES_APPEND)
    }

    fn end_append(&mut self, id: &TransactionalId) -> &mut Entry {
        let entry = self.entry_of_append(id);
        entry.is_pending = false;
        entry.pending_partitions = 0;
        entry
    }

    pub(super) fn apply(&mut self, now: Now, append: AppendId, effect: Effect, outbox: &mut Outbox<Self>) {
        match effect {
            Effect::Transition { id, next, reason } => {
                let entry = self.end_append(&id);
                let has_begun = next.state == TransactionState::Ongoing && entry.state() == Some(next.state);
                entry.stored = Some(StoredTransaction { transaction: *next, stored_by: Some(append) });
                (entry.pause, entry.retry_at) = (None, None);
                if !has_begun {
                    self.enter_state(now, &id);
                }
                if let Reason::Request { token, outcome } = reason {
                    outbox.reply(token, outcome);
                }
            }
            Effect::Removal { id } => self.end_append(&id).stored = None,
        }
    }

    pub(super) fn undo(&mut self, now: Now, effect: Effect, error: TransactionError, outbox: &mut Outbox<Self>) {
        match effect {
            Effect::Transition { id, reason, .. } => {
                let entry = self.end_append(&id);
                match reason {
                    Reason::Request { token, outcome } => outbox.reply(token, outcome.refused(error)),
                    // The request may be gone, if it has waited for long enough.
                    Reason::Fence => {
                        let is_waiting =
                            |request: &TransactionRequest| matches!(request, TransactionRequest::InitProducerId(_));
                        if let Some(front) = entry.waiting.pop_front_if(|front| is_waiting(&front.request)) {
                            outbox.reply(front.token, front.request.refused(error));
                        }
                    }
                    Reason::Timeout | Reason::Completion => self.pause(now, &id),
                }
            }
            Effect::Removal { id } => {
                self.end_append(&id);
            }
        }
    }

    fn pause(&mut self, now: Now, id: &TransactionalId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.retry_at = Some(now.instant.plus(entry.next_pause(&self.config)));
    }
}
