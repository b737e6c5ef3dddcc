//! The output of a machine: answers, appends, tasks and timers.

use std::collections::VecDeque;

use rustmq_model::{Instant, Offset, ProducerKey, TransactionMarker};

use super::action::{Action, AppendId, CoordinatorRecord, Reply, TaskId};
use super::machine::{CoordinatorMachine, ReplyToken};
use super::pending::{PendingAppends, Purpose};
use super::timers::Timers;

/// An upper bound on the bytes of a marker's batch.
const MARKER_BYTES: usize = 128;

/// The output of a [`CoordinatorMachine`], which gets it with each input.
#[derive(Debug)]
pub struct Outbox<M: CoordinatorMachine> {
    actions: VecDeque<Action<M::Outcome, M::Task>>,
    pub(super) pending: PendingAppends<M::Effect>,
    pub(super) timers: Timers<M::Timer>,
    /// The number of requests without an answer.
    waiting: usize,
    next_task: TaskId,
    /// The offset after the last append that has taken effect.
    pub(super) log_end: Offset,
}

impl<M: CoordinatorMachine> Outbox<M> {
    pub(super) fn new() -> Self {
        Self {
            actions: VecDeque::new(),
            pending: PendingAppends::new(),
            timers: Timers::new(),
            waiting: 0,
            next_task: TaskId(0),
            log_end: Offset::ZERO,
        }
    }

    /// Answers a request. A request has one answer.
    ///
    /// # Panics
    /// If more replies are given than requests came.
    pub fn reply(&mut self, token: ReplyToken, outcome: M::Outcome) {
        self.waiting = self.waiting.checked_sub(1).expect("a reply answers a request that waits");
        self.actions.push_back(Action::Reply(Reply { token, outcome }));
    }

    /// Appends records as one batch. The effect comes back in
    /// [`CoordinatorMachine::on_committed`] or [`CoordinatorMachine::on_failed`].
    ///
    /// # Panics
    /// If there are no records.
    pub fn append(&mut self, records: Vec<CoordinatorRecord>, effect: M::Effect) -> AppendId {
        self.append_for(Purpose::Decision(effect), records, None, false)
    }

    /// Appends records to which the topic's limit on batches does not apply: they end work that
    /// began when a batch of their size was allowed. The effect comes back as that of
    /// [`Self::append`].
    ///
    /// # Panics
    /// If there are no records.
    pub fn append_exempt(&mut self, records: Vec<CoordinatorRecord>, effect: M::Effect) -> AppendId {
        self.append_for(Purpose::Decision(effect), records, None, true)
    }

    /// Appends records of a producer's transaction. The effect comes back as that of
    /// [`Self::append`].
    ///
    /// # Panics
    /// If there are no records.
    pub fn append_transactional(
        &mut self,
        producer: ProducerKey,
        records: Vec<CoordinatorRecord>,
        effect: M::Effect,
    ) -> AppendId {
        self.append_for(Purpose::Decision(effect), records, Some(producer), false)
    }

    /// Appends the marker that ends a producer's transaction. The effect comes back as that of
    /// [`Self::append`].
    pub fn append_marker(&mut self, marker: TransactionMarker, effect: M::Effect) -> AppendId {
        let append = self.pending.begin(Purpose::Decision(effect), MARKER_BYTES);
        self.actions.push_back(Action::AppendMarker { append, marker });
        append
    }

    /// The log held these records before.
    pub(super) fn append_again(&mut self, records: Vec<CoordinatorRecord>) -> AppendId {
        self.append_for(Purpose::Rewrite, records, None, true)
    }

    fn append_for(
        &mut self,
        purpose: Purpose<M::Effect>,
        records: Vec<CoordinatorRecord>,
        producer: Option<ProducerKey>,
        is_exempt: bool,
    ) -> AppendId {
        assert!(!records.is_empty(), "an append has records");
        let bytes = records.iter().map(CoordinatorRecord::size).sum();
        let append = self.pending.begin(purpose, bytes);
        self.actions.push_back(Action::Append { append, records, producer, is_exempt });
        append
    }

    /// The offset after the last append that has taken effect. In
    /// [`CoordinatorMachine::on_committed`], the offset after the records of that append.
    #[must_use]
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    pub(super) fn trim_log(&mut self, below: Offset) {
        self.actions.push_back(Action::TrimLog { below });
    }

    /// Hands work outside of the log to the driver. Its result comes back under the id in
    /// [`CoordinatorMachine::on_task_done`], or never.
    pub fn start_task(&mut self, work: M::Task) -> TaskId {
        let task = self.next_task;
        self.next_task = TaskId(task.0 + 1);
        self.actions.push_back(Action::Start { task, work });
        task
    }

    /// Sets a timer to a new time; None clears it.
    pub fn set_timer(&mut self, timer: M::Timer, at: Option<Instant>) {
        self.timers.set(timer, at);
    }

    /// The time at which a timer fires, if it is set.
    #[must_use]
    pub fn timer(&self, timer: &M::Timer) -> Option<Instant> {
        self.timers.get(timer)
    }

    /// The number of timers that are set.
    #[must_use]
    pub fn timer_count(&self) -> usize {
        self.timers.len()
    }

    /// The effects of the pending appends, oldest first.
    pub fn pending_effects(&self) -> impl Iterator<Item = &M::Effect> {
        self.pending.effects()
    }

    /// The number of requests without an answer. A machine holds the token of each of them.
    #[must_use]
    pub const fn waiting_count(&self) -> usize {
        self.waiting
    }

    pub(super) const fn expect_reply(&mut self) {
        self.waiting += 1;
    }

    pub(super) fn poll_action(&mut self) -> Option<Action<M::Outcome, M::Task>> {
        self.actions.pop_front()
    }

    /// Forgets everything but the answers that are not handed out yet.
    pub(super) fn resign(&mut self) {
        self.actions.retain(|action| matches!(action, Action::Reply(_)));
        self.pending.clear();
        self.timers = Timers::new();
        self.waiting = 0;
    }

    /// Nothing is left of an active coordinator: no timer, no append, no request that waits, and no
    /// work for the driver. While a coordinator loads, each request is refused at once; a
    /// resignation forgets the rest. Only replies may still be handed out.
    pub(super) fn check_is_idle(&self) {
        assert!(self.timers.is_empty(), "no clock runs unless the coordinator is active");
        assert!(self.pending.is_empty(), "nothing is pending unless the coordinator is active");
        assert_eq!(self.waiting, 0, "no request waits unless the coordinator is active");
        let has_work = self.actions.iter().any(|action| !matches!(action, Action::Reply(_)));
        assert!(!has_work, "the log is left alone, and no task starts, unless the coordinator is active");
    }
}
