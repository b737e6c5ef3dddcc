//! The stock of producer ids, which the controller hands out: for new transactional ids, and for
//! producers whose epochs are used up.
//!
//! Ids are asked for when a request needs one, as many as are needed. Nothing but that request
//! waits for them, and not for ever: a timeout of a transaction does not need an id.

use std::collections::BTreeSet;

use rustmq_model::{ProducerId, TransactionalId};

use super::{TransactionTimer, Transactions};
use crate::coordinator::{Now, Outbox, TaskId};
use crate::transactions::task::{PRODUCER_IDS_MAX, TransactionTask};

#[derive(Debug)]
pub(super) struct ProducerIdStock {
    ids: Vec<ProducerId>,
    /// The transactional ids whose next request needs one.
    wanted_by: BTreeSet<TransactionalId>,
    /// The task that gets the next ones.
    allocation: Option<TaskId>,
}

impl ProducerIdStock {
    pub(super) const fn new() -> Self {
        Self { ids: Vec::new(), wanted_by: BTreeSet::new(), allocation: None }
    }

    pub(super) const fn stock(&mut self) -> &mut Vec<ProducerId> {
        &mut self.ids
    }

    pub(super) fn is_wanted_by(&self, id: &TransactionalId) -> bool {
        self.wanted_by.contains(id)
    }

    pub(super) fn wanted_by(&self) -> &BTreeSet<TransactionalId> {
        &self.wanted_by
    }

    /// The id's next request needs no producer id, or is about to be looked at again.
    pub(super) fn forget(&mut self, id: &TransactionalId) {
        self.wanted_by.remove(id);
    }
}

impl Transactions {
    pub(super) fn want_producer_id(&mut self, now: Now, id: &TransactionalId, outbox: &mut Outbox<Self>) {
        self.producer_ids.wanted_by.insert(id.clone());
        self.allocate_if_wanted(now, outbox);
    }

    /// Asks for ids, unless a task is under way or a pause after a failure is not over: the timer
    /// is set in both cases.
    fn allocate_if_wanted(&mut self, now: Now, outbox: &mut Outbox<Self>) {
        if self.producer_ids.wanted_by.is_empty() || outbox.timer(&TransactionTimer::ProducerIds).is_some() {
            return;
        }
        let count = self.producer_ids.wanted_by.len().clamp(1, PRODUCER_IDS_MAX);
        self.producer_ids.allocation = Some(outbox.start_task(TransactionTask::AllocateProducerIds { count }));
        let lost_at = now.instant.plus(self.config.task_timeout);
        outbox.set_timer(TransactionTimer::ProducerIds, Some(lost_at));
    }

    /// The pause after a failure is over, or the task is taken for lost.
    pub(super) fn allocate_again(&mut self, now: Now, outbox: &mut Outbox<Self>) {
        self.producer_ids.allocation = None;
        self.allocate_if_wanted(now, outbox);
    }

    /// A repeated or late result is ignored: its ids may be in use.
    pub(super) fn on_producer_ids(&mut self, now: Now, task: TaskId, ids: Vec<ProducerId>, outbox: &mut Outbox<Self>) {
        if self.producer_ids.allocation != Some(task) {
            return;
        }
        self.producer_ids.allocation = None;
        let has_failed = ids.is_empty();
        self.producer_ids.ids.extend(ids.into_iter().filter(|id| *id > ProducerId::NONE));
        let wanted_by: Vec<_> = self.producer_ids.wanted_by.iter().take(self.producer_ids.ids.len()).cloned().collect();
        let pause = has_failed.then(|| now.instant.plus(self.config.producer_id_pause));
        outbox.set_timer(TransactionTimer::ProducerIds, pause);
        for id in wanted_by {
            self.settle(now, &id, outbox);
        }
        self.allocate_if_wanted(now, outbox);
    }
}
