//! All transactional ids of one partition of `__transaction_state`: the machine of the transaction
//! coordinator.
//!
//! The contract ([`crate::coordinator`]) loads and shortens the log, and keeps appends and timers.
//! `decision` decides about one request. This module keeps one change of an id pending at most,
//! lets other requests wait for it, drives prepared transactions to their end, and lets
//! transactions and ids expire.

mod append;
mod catalogue;
mod expiry;
mod invariants;
mod markers;
mod producer_ids;
mod waiting;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use rustmq_model::{Instant, LeaderEpoch, TransactionalId};

pub use self::append::Effect;
use self::append::Reason;
pub use self::catalogue::{TransactionDescription, TransactionFilter, TransactionListing};
use self::markers::{MarkerTasks, Markers};
use self::producer_ids::ProducerIdStock;
use self::waiting::WaitingRequest;
use super::config::TransactionConfig;
use super::decision::{Circumstances, Decision, decide};
use super::records::{TransactionRecordError, decode_key, decode_value, encode_key, encode_value};
use super::request::{TransactionOutcome, TransactionRequest};
use super::state::TransactionState;
use super::task::{TransactionTask, TransactionTaskResult};
use super::transaction::Transaction;
use crate::coordinator::{
    AppendFailure, AppendId, Coordinator, CoordinatorError, CoordinatorMachine, CoordinatorRecord, LiveRecords, Now,
    Outbox, ReplayedRecord, ReplyToken, RewritePoint, TaskId,
};

/// The coordinator of the transactional ids of one partition.
pub type TransactionCoordinator = Coordinator<Transactions>;

/// The timers of a transaction coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionTimer {
    /// The next of these for one id: a request has waited for long enough, the transaction times
    /// out, or its markers are sent again.
    Transaction(TransactionalId),
    /// The controller is asked again for producer ids.
    ProducerIds,
    /// The next search for ids that have expired.
    Expiry,
}

/// The transaction of an id, as the log holds it.
#[derive(Debug)]
struct StoredTransaction {
    transaction: Transaction,
    /// The append that wrote the record; none if it was loaded.
    stored_by: Option<AppendId>,
}

/// One transactional id.
#[derive(Debug, Default)]
struct Entry {
    /// None until the first record of the id is committed.
    stored: Option<StoredTransaction>,
    /// An append of the id has no result yet: nothing is decided meanwhile.
    is_pending: bool,
    /// The partitions of the transaction that is appended.
    pending_partitions: usize,
    /// The requests that cannot be decided yet, in the order of their arrival.
    waiting: VecDeque<WaitingRequest>,
    /// The end of an open transaction's time.
    timeout_at: Option<Instant>,
    /// The markers of a prepared transaction.
    markers: Markers,
    /// The pause after the last failure of an append that the coordinator itself has decided on, or
    /// of markers.
    pause: Option<Duration>,
    /// The earliest time of the next such append.
    retry_at: Option<Instant>,
    /// The bytes that count against the bound on memory.
    bytes: usize,
}

impl Entry {
    fn transaction(&self) -> Option<&Transaction> {
        self.stored.as_ref().map(|stored| &stored.transaction)
    }

    fn state(&self) -> Option<TransactionState> {
        self.transaction().map(|transaction| transaction.state)
    }

    /// The pause after one more failure.
    fn next_pause(&mut self, config: &TransactionConfig) -> Duration {
        let pause = self.pause.map_or(config.retry_pause_min, |pause| pause.saturating_mul(2));
        let pause = pause.min(config.retry_pause_max);
        self.pause = Some(pause);
        pause
    }
}

/// The transactional ids of one partition.
#[derive(Debug)]
pub struct Transactions {
    config: TransactionConfig,
    /// The leader epoch, by which partitions fence the markers of earlier coordinators.
    leader_epoch: LeaderEpoch,
    entries: BTreeMap<TransactionalId, Entry>,
    /// The sum over the entries.
    memory_bytes: usize,
    marker_tasks: MarkerTasks,
    producer_ids: ProducerIdStock,
    /// The last id that the current search for expired ids has visited.
    expiry_position: Option<TransactionalId>,
}

impl Transactions {
    #[must_use]
    pub const fn new(config: TransactionConfig, leader_epoch: LeaderEpoch) -> Self {
        Self {
            config,
            leader_epoch,
            entries: BTreeMap::new(),
            memory_bytes: 0,
            marker_tasks: MarkerTasks::new(),
            producer_ids: ProducerIdStock::new(),
            expiry_position: None,
        }
    }

    /// Carries out all that is due for an id, and sets its timer. Must be called after every input
    /// that changes the id.
    fn settle(&mut self, now: Now, id: &TransactionalId, outbox: &mut Outbox<Self>) {
        self.decide_waiting(now, id, outbox);
        self.advance_markers(now, id, outbox);
        let Some(entry) = self.entries.get_mut(id) else { return };
        let bytes = entry.bytes_in_memory(id);
        self.memory_bytes = self.memory_bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        outbox.set_timer(TransactionTimer::Transaction(id.clone()), entry.timeout());
        if entry.stored.is_none() && !entry.is_pending && entry.waiting.is_empty() {
            self.memory_bytes -= bytes;
            self.entries.remove(id);
            self.producer_ids.forget(id);
        }
    }

    /// Decides about the requests of an id in their order, up to the first that has to wait.
    fn decide_waiting(&mut self, now: Now, id: &TransactionalId, outbox: &mut Outbox<Self>) {
        self.producer_ids.forget(id);
        while let Some(waiting) = self.take_waiting(id) {
            let current = self.entries.get(id).and_then(Entry::transaction);
            let mut circumstances = Circumstances { now: now.wall, producer_ids: self.producer_ids.stock() };
            match decide(current, &waiting.request, &mut circumstances) {
                Decision::Answer(outcome) => outbox.reply(waiting.token, outcome),
                Decision::Append(next, outcome) => match self.check_record_size(id, &next) {
                    Ok(()) => self.append(id, next, Reason::Request { token: waiting.token, outcome }, outbox),
                    Err(error) => outbox.reply(waiting.token, waiting.request.refused(error)),
                },
                Decision::Fence(next) => {
                    self.put_back(id, waiting);
                    self.append(id, next, Reason::Fence, outbox);
                }
                Decision::AwaitMarkers => return self.put_back(id, waiting),
                Decision::AwaitProducerId => {
                    self.put_back(id, waiting);
                    return self.want_producer_id(now, id, outbox);
                }
            }
        }
    }
}

impl CoordinatorMachine for Transactions {
    type Request = TransactionRequest;
    type Outcome = TransactionOutcome;
    type Event = Infallible;
    type Key = TransactionalId;
    type Timer = TransactionTimer;
    type Effect = Effect;
    type Task = TransactionTask;
    type TaskResult = TransactionTaskResult;
    type ReplayError = TransactionRecordError;

    fn replay(&mut self, record: ReplayedRecord<'_>) -> Result<(), TransactionRecordError> {
        let id = decode_key(record.key)?;
        let stored = match record.value {
            Some(value) => Some(StoredTransaction { transaction: decode_value(value)?, stored_by: None }),
            None => None,
        };
        self.replay_transaction(id, stored);
        Ok(())
    }

    /// Sends the markers of prepared transactions, and starts the clocks of open ones: the time of
    /// a transaction goes on while it has no coordinator.
    fn activate(&mut self, now: Now, outbox: &mut Outbox<Self>) {
        outbox.set_timer(TransactionTimer::Expiry, Some(now.instant.plus(self.config.id_expiration_check_interval)));
        let is_active = |entry: &Entry| entry.state().is_some_and(|state| !state.is_idle());
        let active: Vec<_> =
            self.entries.iter().filter(|(_, entry)| is_active(entry)).map(|(id, _)| id.clone()).collect();
        for id in active {
            self.enter_state(now, &id);
            self.settle(now, &id, outbox);
        }
    }

    fn refuse(request: &TransactionRequest, error: CoordinatorError) -> TransactionOutcome {
        request.refused(error.into())
    }

    fn may_wait(_request: &TransactionRequest) -> bool {
        true
    }

    fn handle_request(&mut self, now: Now, token: ReplyToken, request: TransactionRequest, outbox: &mut Outbox<Self>) {
        if let Err(error) = self.check_request(&request) {
            return outbox.reply(token, request.refused(error));
        }
        if let Some(outcome) = self.answer_at_once(now, &request) {
            return outbox.reply(token, outcome);
        }
        let id = request.id().clone();
        self.enqueue(now, token, request);
        self.settle(now, &id, outbox);
    }

    fn on_event(&mut self, _now: Now, event: Infallible, _outbox: &mut Outbox<Self>) {
        match event {}
    }

    fn on_task_done(&mut self, now: Now, task: TaskId, result: TransactionTaskResult, outbox: &mut Outbox<Self>) {
        match result {
            TransactionTaskResult::Markers(outcomes) => self.on_markers(now, task, &outcomes, outbox),
            TransactionTaskResult::ProducerIds(ids) => self.on_producer_ids(now, task, ids, outbox),
        }
    }

    fn on_timer(&mut self, now: Now, timer: TransactionTimer, outbox: &mut Outbox<Self>) {
        match timer {
            TransactionTimer::Transaction(id) => {
                self.refuse_overdue(now, &id, outbox);
                self.abort_overdue(now, &id, outbox);
                self.settle(now, &id, outbox);
            }
            TransactionTimer::ProducerIds => self.allocate_again(now, outbox),
            TransactionTimer::Expiry => self.expire_ids(now, outbox),
        }
    }

    fn on_committed(&mut self, now: Now, append: AppendId, effect: Effect, outbox: &mut Outbox<Self>) {
        let id = effect.id().clone();
        self.apply(now, append, effect, outbox);
        self.settle(now, &id, outbox);
    }

    fn on_failed(&mut self, now: Now, effect: Effect, failure: AppendFailure, outbox: &mut Outbox<Self>) {
        let id = effect.id().clone();
        self.undo(now, effect, failure.into(), outbox);
        self.settle(now, &id, outbox);
    }

    fn keys(&self) -> Vec<TransactionalId> {
        self.entries.iter().filter(|(_, entry)| entry.stored.is_some()).map(|(id, _)| id.clone()).collect()
    }

    fn live_records(&self, id: &TransactionalId, point: RewritePoint) -> LiveRecords {
        let Some(Entry { stored: Some(stored), is_pending, .. }) = self.entries.get(id) else {
            return LiveRecords::Nothing;
        };
        if point.keeps(stored.stored_by) {
            return LiveRecords::Nothing;
        }
        if *is_pending {
            return LiveRecords::Pending;
        }
        LiveRecords::Records(vec![record_of(id, &stored.transaction)])
    }

    fn check_invariants(&self, outbox: &Outbox<Self>) {
        self.check_entries(outbox);
        self.check_appends(outbox);
        self.check_waiting(outbox);
        self.check_tasks();
        self.check_memory();
    }
}

/// The record of an id.
fn record_of(id: &TransactionalId, transaction: &Transaction) -> CoordinatorRecord {
    CoordinatorRecord { key: encode_key(id), value: Some(encode_value(transaction)) }
}

#[cfg(test)]
mod tests;
