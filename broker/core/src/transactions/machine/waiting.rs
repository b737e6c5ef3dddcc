//! The requests that wait for an earlier change of their id, for markers, or for a producer id.

use rustmq_model::{Instant, TransactionalId};

use super::{Entry, Transactions};
use crate::coordinator::{Now, Outbox, ReplyToken};
use crate::transactions::decision::{Circumstances, Decision, decide};
use crate::transactions::error::TransactionError;
use crate::transactions::request::{TransactionOutcome, TransactionRequest};

/// The bytes of an entry without its id and partitions: the maps' nodes, the timer, the fields.
const ENTRY_BYTES: usize = 512;
/// The bytes of a partition in memory, without its topic's name, which all of them share.
const PARTITION_BYTES: usize = 48;
const REQUEST_BYTES: usize = 256;

/// A request that cannot be decided yet.
#[derive(Debug)]
pub(super) struct WaitingRequest {
    pub(super) token: ReplyToken,
    pub(super) request: TransactionRequest,
    deadline: Instant,
}

impl Entry {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    /// The bytes that count against the bound on memory. A prepared transaction has its partitions
    /// a second time, for its markers.
    pub(super) fn bytes_in_memory(&self, id: &TransactionalId) -> usize {
        let partitions = self.transaction().map_or(0, |transaction| transaction.partitions.len());
        let waiting: usize = self.waiting.iter().map(|waiting| request_bytes(&waiting.request)).sum();
        ENTRY_BYTES + 2 * id.as_str().len() + (2 * partitions + self.pending_partitions) * PARTITION_BYTES + waiting
    }
}

fn request_bytes(request: &TransactionRequest) -> usize {
    let partitions = match request {
        TransactionRequest::AddPartitions(request) => request.partitions.len(),
        TransactionRequest::VerifyPartitions(request) => request.partitions.len(),
        TransactionRequest::InitProducerId(_) | TransactionRequest::EndTxn(_) => 0,
    };
    REQUEST_BYTES + partitions * PARTITION_BYTES
}

impl Transactions {
    /// Checks what the client states, and the room for it. A transaction can always be ended, and a
    /// known id be set up again, however full the memory is.
    pub(super) fn check_request(&self, request: &TransactionRequest) -> Result<(), TransactionError> {
        let entry = self.entries.get(request.id());
        let needed = match request {
            TransactionRequest::InitProducerId(request) => {
                let (timeout_ms, max_ms) = (request.timeout_ms, millis(self.config.timeout_max));
                if u64::try_from(timeout_ms).is_ok_and(|timeout| (1..=max_ms).contains(&timeout)) {
                    if entry.is_some() { 0 } else { Entry::default().bytes_in_memory(&request.id) + REQUEST_BYTES }
                } else {
                    return Err(TransactionError::InvalidTransactionTimeout { timeout_ms, max_ms });
                }
            }
            TransactionRequest::EndTxn(_) => 0,
            // The partitions of an addition become those of the transaction and of its markers.
            TransactionRequest::AddPartitions(_) => 2 * request_bytes(request),
            TransactionRequest::VerifyPartitions(_) => request_bytes(request),
        };
        let has_room = needed == 0 || self.memory_bytes.saturating_add(needed) <= self.config.memory_bytes_max;
        if has_room { Ok(()) } else { Err(TransactionError::CoordinatorNotAvailable) }
    }

    /// The answer to a request that need not wait behind others of its id: one that changes
    /// nothing. While a change is pending, this is only a verification of partitions that are in
    /// the open transaction: the shard's guard notices a marker that comes between.
    pub(super) fn answer_at_once(&self, now: Now, request: &TransactionRequest) -> Option<TransactionOutcome> {
        let entry = self.entries.get(request.id())?;
        let mut circumstances = Circumstances { now: now.wall, producer_ids: &mut Vec::new() };
        match decide(entry.transaction(), request, &mut circumstances) {
            Decision::Answer(outcome) if !entry.is_pending || outcome.is_verified() => Some(outcome),
            _ => None,
        }
    }

    /// Lets a request wait for its decision, which may come at once.
    pub(super) fn enqueue(&mut self, now: Now, token: ReplyToken, request: TransactionRequest) {
        let wait_max = match &request {
            TransactionRequest::AddPartitions(request) => request.wait_max,
            TransactionRequest::VerifyPartitions(request) => request.wait_max,
            TransactionRequest::InitProducerId(_) | TransactionRequest::EndTxn(_) => None,
        };
        let deadline = now.instant.plus(wait_max.unwrap_or(self.config.request_wait_max));
        let entry = self.entries.entry(request.id().clone()).or_default();
        entry.waiting.push_back(WaitingRequest { token, request, deadline });
    }

    /// The next request of an id that can be looked at: none while a change is pending.
    pub(super) fn take_waiting(&mut self, id: &TransactionalId) -> Option<WaitingRequest> {
        self.entries.get_mut(id).filter(|entry| !entry.is_pending)?.waiting.pop_front()
    }

    pub(super) fn put_back(&mut self, id: &TransactionalId, waiting: WaitingRequest) {
        self.entries.entry(id.clone()).or_default().waiting.push_front(waiting);
    }

    /// Refuses the requests of an id that have waited for as long as they may.
    pub(super) fn refuse_overdue(&mut self, now: Now, id: &TransactionalId, outbox: &mut Outbox<Self>) {
        let lacks_producer_id = self.producer_ids.is_wanted_by(id);
        let Some(entry) = self.entries.get_mut(id) else { return };
        let error = if lacks_producer_id {
            TransactionError::CoordinatorNotAvailable
        } else {
            TransactionError::ConcurrentTransactions
        };
        for _ in 0..entry.waiting.len() {
            let Some(waiting) = entry.waiting.pop_front() else { break };
            if waiting.deadline <= now.instant {
                outbox.reply(waiting.token, waiting.request.refused(error));
            } else {
                entry.waiting.push_back(waiting);
            }
        }
    }
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
