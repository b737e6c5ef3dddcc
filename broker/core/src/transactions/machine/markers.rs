//! Drives prepared transactions to their end: the markers go out in tasks of a bounded number of
//! partitions, until each partition has settled its own. Then the transaction is completed.
//!
//! Nothing but an outcome of the partition itself settles it, and only in the result of the task
//! that is running for it: a result of an earlier task is ignored.

use std::collections::BTreeMap;

use rustmq_model::{Instant, TopicPartition, TransactionMarker, TransactionalId};

use super::append::Reason;
use super::{Entry, Transactions};
use crate::coordinator::{Now, Outbox, TaskId};
use crate::transactions::state::TransactionState;
use crate::transactions::task::{MARKER_PARTITIONS_MAX, MarkerOutcome, TransactionTask};

/// The markers of one prepared transaction. Each partition is in one of the two, until it is
/// settled.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// Partitions whose markers are to be sent.
    pub(super) unsent: Vec<TopicPartition>,
    pub(super) running: BTreeMap<TaskId, RunningTask>,
}

#[derive(Debug)]
pub(super) struct RunningTask {
    pub(super) partitions: Vec<TopicPartition>,
    /// When the task is taken for lost.
    pub(super) lost_at: Instant,
}

/// The marker tasks whose results count, with the ids that they are for.
#[derive(Debug)]
pub(super) struct MarkerTasks(BTreeMap<TaskId, TransactionalId>);

impl MarkerTasks {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TaskId, &TransactionalId)> {
        self.0.iter()
    }
}

impl Entry {
    /// The next time at which something is due for the id, unless an input comes before.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let own = if self.is_pending { None } else { self.own_timeout() };
        self.deadline().into_iter().chain(own).min()
    }

    fn own_timeout(&self) -> Option<Instant> {
        let state = self.state()?;
        if state == TransactionState::Ongoing {
            return self.timeout_at.max(self.retry_at);
        }
        state.prepared_end()?;
        let lost_at = self.markers.running.values().map(|task| task.lost_at);
        lost_at.chain(self.retry_at).min()
    }
}

impl Transactions {
    /// Prepares the work of the state that an id has entered.
    pub(super) fn enter_state(&mut self, now: Now, id: &TransactionalId) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        (entry.timeout_at, entry.markers) = (None, Markers::default());
        let Some(transaction) = entry.stored.as_ref().map(|stored| &stored.transaction) else { return };
        if transaction.state == TransactionState::Ongoing {
            let timeout = i64::from(transaction.timeout_ms.max(0));
            let end = transaction.started_at.0.saturating_add(timeout);
            let left = u64::try_from(end.saturating_sub(now.wall.0)).unwrap_or(0);
            entry.timeout_at =
                Some(now.instant.plus(std::time::Duration::from_millis(left.min(timeout.unsigned_abs()))));
        } else if transaction.state.prepared_end().is_some() {
            entry.markers.unsent = transaction.partitions.iter().cloned().collect();
        }
    }

    /// Sends the markers that are due, or completes the transaction.
    pub(super) fn advance_markers(&mut self, now: Now, id: &TransactionalId, outbox: &mut Outbox<Self>) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.is_pending) else { return };
        let Some(transaction) = entry.stored.as_ref().map(|stored| &stored.transaction) else { return };
        let Some(end) = transaction.state.prepared_end() else { return };
        let is_lost = |_: &TaskId, task: &mut RunningTask| task.lost_at <= now.instant;
        for (task, lost) in entry.markers.running.extract_if(.., is_lost) {
            self.marker_tasks.0.remove(&task);
            entry.markers.unsent.extend(lost.partitions);
        }
        if entry.retry_at.is_some_and(|at| at > now.instant) {
            return;
        }
        entry.retry_at = None;
        if entry.markers.unsent.is_empty() {
            if entry.markers.running.is_empty() {
                let completed = transaction.completed(end, now.wall);
                self.append(id, completed, Reason::Completion, outbox);
            }
            return;
        }
        let marker = TransactionMarker {
            producer: transaction.producer,
            end,
            coordinator_epoch: self.leader_epoch.0,
            version: transaction.client_version,
        };
        let lost_at = now.instant.plus(self.config.task_timeout);
        for partitions in std::mem::take(&mut entry.markers.unsent).chunks(MARKER_PARTITIONS_MAX) {
            let partitions = partitions.to_vec();
            let task = outbox.start_task(TransactionTask::WriteMarkers { marker, partitions: partitions.clone() });
            self.marker_tasks.0.insert(task, id.clone());
            entry.markers.running.insert(task, RunningTask { partitions, lost_at });
        }
    }

    /// A marker task has ended. The partitions that it has not settled get their markers again
    /// after a pause.
    pub(super) fn on_markers(
        &mut self,
        now: Now,
        task: TaskId,
        outcomes: &[(TopicPartition, MarkerOutcome)],
        outbox: &mut Outbox<Self>,
    ) {
        let Some(id) = self.marker_tasks.0.remove(&task) else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(RunningTask { partitions, .. }) = entry.markers.running.remove(&task) else { return };
        let outcomes: BTreeMap<_, _> = outcomes.iter().map(|(partition, outcome)| (partition, *outcome)).collect();
        let is_open = |partition: &TopicPartition| !outcomes.get(partition).is_some_and(|it| it.is_settled());
        let open: Vec<_> = partitions.into_iter().filter(is_open).collect();
        if !open.is_empty() {
            entry.markers.unsent.extend(open);
            let pause = entry.next_pause(&self.config);
            let is_fenced = outcomes.values().any(|outcome| *outcome == MarkerOutcome::CoordinatorFenced);
            // A coordinator that another one has followed learns of it from its log.
            let pause = if is_fenced { self.config.retry_pause_max } else { pause };
            entry.retry_at = Some(now.instant.plus(pause));
        }
        self.settle(now, &id, outbox);
    }
}
