//! The part that all coordinators over an internal log have in common: loading, requests and their
//! answers, pending appends, timers, shortening of the log, resigning
//! (`docs/adr/0020-one-coordinator-contract.md`).
//!
//! [`Coordinator`] is the machine for this common part. Its type parameter is the state of one kind
//! of coordinator, a [`CoordinatorMachine`], which knows neither the log nor the life cycle.
//! Neither of them does I/O.
//!
//! ```text
//!   Loading ---- activate ----> Active ---- resign, or an append finds another leader --> Resigned
//!      '------------------------------- resign -------------------------------------------^
//! ```
//!
//! A driver runs a coordinator for one leader epoch of one partition:
//! 1. It replays the log into a [`Loader`], from the log start to the log end at the moment when
//!    the leadership begins. It reads only below the high watermark: it waits until records that an
//!    earlier leader left uncommitted are committed. It passes over records that the log has lost.
//!    Then it calls [`Coordinator::activate`].
//! 2. After each input it calls [`Coordinator::poll_action`] until there is no more action. It
//!    executes appends in their order, each as one batch under the leader epoch, and reports each
//!    result to [`Coordinator::on_append_completed`], in any order.
//! 3. It starts tasks, which are work outside of the log, and reports each result to
//!    [`Coordinator::on_task_done`]. It drops the tasks of a coordinator that has resigned.
//! 4. It calls [`Coordinator::handle_timeout`] at the time of [`Coordinator::poll_timeout`].
//! 5. It calls [`Coordinator::resign`] when the leadership ends. Then it answers the callers that
//!    still wait: the coordinator has forgotten them.
//!
//! The token of each request comes back in exactly one reply, unless the coordinator resigns first.
//!
//! A coordinator's log is local: all of it lies on the partition's replicas, and none of it ever
//! moves to the object tier, so that coordinators load and run without an object store.
//! [`Loader::new`] refuses any other log. Shortening bounds the log's size.

mod action;
mod limits;
mod loader;
mod machine;
mod outbox;
mod partition;
mod pending;
mod shortening;
#[cfg(test)]
mod tests;
mod timers;
#[cfg(any(test, feature = "fuzzing"))]
mod trimmed_list;

use rustmq_model::{Instant, LeaderEpoch};

pub use self::action::{Action, AppendFailure, AppendId, Committed, CoordinatorRecord, Reply, TaskId, TrimFailed};
pub use self::limits::CoordinatorLimits;
pub use self::loader::{Loader, LogNotLocal, LogRange, ReplayFault};
pub use self::machine::{
    CoordinatorError, CoordinatorMachine, LiveRecords, Now, ReplayedMarker, ReplayedRecord, ReplyToken, RewritePoint,
};
pub use self::outbox::Outbox;
pub use self::partition::coordinator_partition;
use self::pending::Purpose;
use self::shortening::Shortening;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::trimmed_list::end_trim;

/// The most timers that fire in one step: a driver can serve requests between two steps.
const TIMERS_PER_STEP: usize = 1024;

/// The phase of a coordinator's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorState {
    /// Its log is being replayed.
    Loading,
    Active,
    /// Its leadership has ended, or its log has another leader.
    Resigned,
}

/// The coordinator of one partition in one leader epoch. The module describes how to drive it.
#[derive(Debug)]
pub struct Coordinator<M: CoordinatorMachine> {
    leader_epoch: LeaderEpoch,
    limits: CoordinatorLimits,
    phase: Phase<M>,
    outbox: Outbox<M>,
    shortening: Shortening<M::Key>,
}

#[derive(Debug)]
enum Phase<M> {
    Loading,
    Active(M),
    Resigned,
}

impl<M: CoordinatorMachine> Coordinator<M> {
    /// A coordinator that is loading.
    #[must_use]
    pub fn new(leader_epoch: LeaderEpoch, limits: CoordinatorLimits) -> Self {
        Self { leader_epoch, limits, phase: Phase::Loading, outbox: Outbox::new(), shortening: Shortening::new() }
    }

    /// The leader epoch of every append.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Replaces the limits. They hold from the next input on.
    pub const fn set_limits(&mut self, limits: CoordinatorLimits) {
        self.limits = limits;
    }

    /// The number of requests without an answer.
    #[must_use]
    pub const fn waiting_count(&self) -> usize {
        self.outbox.waiting_count()
    }

    #[must_use]
    pub const fn state(&self) -> CoordinatorState {
        match self.phase {
            Phase::Loading => CoordinatorState::Loading,
            Phase::Active(_) => CoordinatorState::Active,
            Phase::Resigned => CoordinatorState::Resigned,
        }
    }

    /// The machine, for reads of committed state.
    ///
    /// # Errors
    /// [`CoordinatorError::Loading`] and [`CoordinatorError::Resigned`]: there is no machine.
    pub const fn machine(&self) -> Result<&M, CoordinatorError> {
        match &self.phase {
            Phase::Loading => Err(CoordinatorError::Loading),
            Phase::Active(machine) => Ok(machine),
            Phase::Resigned => Err(CoordinatorError::Resigned),
        }
    }

    /// Ends the load: timers start, and requests are served from now on. Does nothing if the
    /// coordinator has resigned meanwhile.
    ///
    /// # Panics
    /// If the loader has not replayed all of the log.
    pub fn activate(&mut self, now: Now, loader: Loader<M>) {
        if !matches!(self.phase, Phase::Loading) {
            return;
        }
        let (mut machine, log) = loader.finish();
        self.outbox.log_end = log.end;
        machine.activate(now, &mut self.outbox);
        self.phase = Phase::Active(machine);
        self.shortening.on_loaded(log);
        self.shorten();
    }

    /// Takes a request. Its reply carries the token, and comes at once or when the request's change
    /// is committed.
    pub fn handle_request(&mut self, now: Now, token: ReplyToken, request: M::Request) {
        let is_overloaded = self.outbox.waiting_count() >= self.limits.waiting_max
            || self.outbox.pending.bytes() >= self.limits.pending_bytes_max;
        self.outbox.expect_reply();
        let error = match &mut self.phase {
            Phase::Loading => CoordinatorError::Loading,
            Phase::Resigned => CoordinatorError::Resigned,
            Phase::Active(_) if is_overloaded && M::may_wait(&request) => CoordinatorError::Overloaded,
            Phase::Active(machine) => {
                machine.handle_request(now, token, request, &mut self.outbox);
                return;
            }
        };
        self.outbox.reply(token, M::refuse(&request, error));
    }

    /// Takes a fact from outside of the log. A coordinator that is not active ignores it: after
    /// [`Self::activate`] the driver must report the facts that the machine has missed.
    pub fn on_event(&mut self, now: Now, event: M::Event) {
        if let Phase::Active(machine) = &mut self.phase {
            machine.on_event(now, event, &mut self.outbox);
        }
    }

    /// Takes the result of an append. Results may come in any order; each takes effect after the
    /// results of all earlier appends. Results that come after a resignation are ignored.
    /// [`AppendFailure::NotLeader`] makes the coordinator resign: the driver checks [`Self::state`]
    /// afterwards.
    ///
    /// # Panics
    /// If the append is unknown, or its result was reported before.
    pub fn on_append_completed(&mut self, now: Now, append: AppendId, result: Result<Committed, AppendFailure>) {
        let Phase::Active(machine) = &mut self.phase else { return };
        if result == Err(AppendFailure::NotLeader) {
            self.resign();
            return;
        }
        self.outbox.pending.complete(append, result);
        while let Some((append, purpose, result)) = self.outbox.pending.pop_completed() {
            if let Ok(committed) = result {
                self.shortening.on_log_grown(committed);
                self.outbox.log_end = self.outbox.log_end.max(committed.next_offset);
            }
            match (purpose, result) {
                (Purpose::Decision(effect), Ok(_)) => machine.on_committed(now, append, effect, &mut self.outbox),
                (Purpose::Decision(effect), Err(failure)) => {
                    machine.on_failed(now, effect, failure, &mut self.outbox);
                }
                (Purpose::Rewrite, result) => self.shortening.on_rewritten(result),
            }
        }
        self.shorten();
    }

    /// Takes the result of a task. A coordinator that is not active ignores it.
    pub fn on_task_done(&mut self, now: Now, task: TaskId, result: M::TaskResult) {
        if let Phase::Active(machine) = &mut self.phase {
            machine.on_task_done(now, task, result, &mut self.outbox);
        }
    }

    /// Takes the result of [`Action::TrimLog`].
    pub fn on_trimmed(&mut self, result: Result<(), TrimFailed>) {
        if matches!(self.phase, Phase::Active(_)) {
            self.shortening.on_trimmed(result);
        }
    }

    /// Ends the leadership: forgets the state, pending appends and waiting requests.
    pub fn resign(&mut self) {
        self.phase = Phase::Resigned;
        self.outbox.resign();
        self.shortening = Shortening::new();
    }

    /// The next action for the driver, in order.
    pub fn poll_action(&mut self) -> Option<Action<M::Outcome, M::Task>> {
        self.outbox.poll_action()
    }

    /// The time of the next call of [`Self::handle_timeout`]; a time in the past means at once.
    /// Each input may change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.shortening.is_interrupted() {
            return Some(Instant::from_nanos(0));
        }
        self.outbox.timers.first()
    }

    /// Fires timers that are due, up to the most of one step.
    pub fn handle_timeout(&mut self, now: Now) {
        for _ in 0..TIMERS_PER_STEP {
            let Phase::Active(machine) = &mut self.phase else { return };
            let Some(timer) = self.outbox.timers.pop_due(now.instant) else { break };
            machine.on_timer(now, timer, &mut self.outbox);
        }
        self.shorten();
    }

    /// Checks the invariants between two inputs: those of the contract's own state, and those of
    /// the machine. The checks take time in proportion to the state, and are for tests and fuzzing.
    ///
    /// # Panics
    /// If the coordinator or its machine contradicts itself.
    pub fn check_invariants(&self) {
        let Self { outbox, shortening, .. } = self;
        outbox.timers.check_maps_agree();
        outbox.pending.check_bytes();
        outbox.pending.check_oldest_has_no_result();
        shortening.check_rewrites_are_counted(outbox.pending.rewrite_count());
        shortening.check_bytes();
        shortening.check_cut(outbox.pending.oldest());
        shortening.check_rewrite_goes_on(!outbox.pending.is_empty());
        match &self.phase {
            Phase::Active(machine) => machine.check_invariants(outbox),
            Phase::Loading | Phase::Resigned => outbox.check_is_idle(),
        }
    }

    fn shorten(&mut self) {
        if let Phase::Active(machine) = &self.phase {
            self.shortening.advance(machine, &mut self.outbox, &self.limits);
        }
    }
}
