//! A coordinator over an internal log, whatever it coordinates: loading, requests and their
//! answers, appends in flight, timers, shortening of the log, resigning
//! (`docs/adr/0020-one-coordinator-contract.md`).
//!
//! [`Coordinator`] is the contract's machine. Its parameter is the state of one kind of
//! coordinator, a [`CoordinatorMachine`], which knows neither the log nor this life cycle. Neither
//! does I/O.
//!
//! ```text
//!   Loading ---- activate ----> Active ---- resign, or an append finds another leader --> Resigned
//!      '------------------------------- resign -------------------------------------------^
//! ```
//!
//! How a driver runs one, for one leader epoch of one partition:
//! 1. It replays the partition into a [`Loader`], from its log start to the end that it has when
//!    the leadership begins, as far as the high watermark allows: records that an earlier leader
//!    left uncommitted are waited for, and records that the log has lost are passed over. Then
//!    [`Coordinator::activate`].
//! 2. After each input: [`Coordinator::poll_action`] until it gives nothing. Appends are executed
//!    in the order in which they come, each as one batch under the leader epoch; each result goes
//!    into [`Coordinator::on_append_completed`], in any order.
//! 3. [`Coordinator::handle_timeout`] at [`Coordinator::poll_timeout`].
//! 4. [`Coordinator::resign`] when the leadership ends. It then answers the callers that are left:
//!    the coordinator has forgotten them.
//!
//! Every token that goes in comes out in exactly one reply, unless the coordinator resigns before.
//!
//! A coordinator's log is local: all of it lies on the partition's replicas, and none of it ever
//! moves to the object tier, so that coordinators load and go on without an object store.
//! [`Loader::new`] refuses another one. Shortening bounds the log's size.

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

use rustmq_model::{Instant, LeaderEpoch};

pub use self::action::{Action, AppendFailure, AppendId, Committed, CoordinatorRecord, Reply, TrimFailed};
pub use self::limits::CoordinatorLimits;
pub use self::loader::{Loader, LogNotLocal, LogRange, ReplayFault};
pub use self::machine::{CoordinatorMachine, LiveRecords, Now, Refusal, ReplayedRecord, ReplyToken, RewritePoint};
pub use self::outbox::Outbox;
pub use self::partition::coordinator_partition;
use self::pending::Purpose;
use self::shortening::Shortening;

/// Timers that fire in one step, so that a driver can let requests in between.
const TIMERS_PER_STEP: usize = 1024;

/// Where a coordinator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorState {
    /// Its log is being replayed.
    Loading,
    Active,
    /// The leadership that it belonged to has ended.
    Resigned,
}

/// The coordinator of one partition in one leader epoch. See the module.
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

    /// The leadership that every append is made under.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    #[must_use]
    pub const fn state(&self) -> CoordinatorState {
        match self.phase {
            Phase::Loading => CoordinatorState::Loading,
            Phase::Active(_) => CoordinatorState::Active,
            Phase::Resigned => CoordinatorState::Resigned,
        }
    }

    /// The machine, to look at what is committed.
    ///
    /// # Errors
    /// [`Refusal`] says why nothing can be looked at.
    pub const fn machine(&self) -> Result<&M, Refusal> {
        match &self.phase {
            Phase::Loading => Err(Refusal::Loading),
            Phase::Active(machine) => Ok(machine),
            Phase::Resigned => Err(Refusal::Resigned),
        }
    }

    /// The log is replayed: clocks start, and requests are served. Does nothing if the coordinator
    /// has resigned meanwhile.
    ///
    /// # Panics
    /// If the loader has not replayed all of the log.
    pub fn activate(&mut self, now: Now, loader: Loader<M>) {
        if !matches!(self.phase, Phase::Loading) {
            return;
        }
        let (mut machine, log) = loader.finish();
        machine.activate(now, &mut self.outbox);
        self.phase = Phase::Active(machine);
        self.shortening.on_loaded(log);
        self.shorten();
    }

    /// A request. It is answered under its token, at once or when what it changes is committed.
    pub fn handle_request(&mut self, now: Now, token: ReplyToken, request: M::Request) {
        let is_overloaded = self.outbox.waiting() >= self.limits.waiting_max
            || self.outbox.pending.bytes() >= self.limits.pending_bytes_max;
        self.outbox.expect_reply();
        let refusal = match &mut self.phase {
            Phase::Loading => Refusal::Loading,
            Phase::Resigned => Refusal::Resigned,
            Phase::Active(_) if is_overloaded && M::may_wait(&request) => Refusal::Overloaded,
            Phase::Active(machine) => {
                machine.handle_request(now, token, request, &mut self.outbox);
                return;
            }
        };
        self.outbox.reply(token, M::refuse(&request, refusal));
    }

    /// A fact from outside of the log. It is lost on a coordinator that is not active: a driver
    /// finds out after [`Self::activate`] what the machine has missed.
    pub fn on_event(&mut self, now: Now, event: M::Event) {
        if let Phase::Active(machine) = &mut self.phase {
            machine.on_event(now, event, &mut self.outbox);
        }
    }

    /// The result of an append. Results may come in any order; each takes effect after those of the
    /// appends before it. After a resignation they name nothing any more. An append that finds
    /// another leader makes the coordinator resign: the driver looks at [`Self::state`] after it.
    ///
    /// # Panics
    /// If the append is unknown or has had its result.
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

    /// The result of [`Action::TrimLog`].
    pub fn on_trimmed(&mut self, result: Result<(), TrimFailed>) {
        if matches!(self.phase, Phase::Active(_)) {
            self.shortening.on_trimmed(result);
        }
    }

    /// The leadership has ended. Forgets the state, pending appends and waiting requests.
    pub fn resign(&mut self) {
        self.phase = Phase::Resigned;
        self.outbox.resign();
        self.shortening = Shortening::new();
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action<M::Outcome>> {
        self.outbox.poll_action()
    }

    /// When [`Self::handle_timeout`] wants to be called; a time in the past means at once. Each
    /// input may change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.shortening.is_interrupted() {
            return Some(Instant::from_nanos(0));
        }
        self.outbox.timers.first()
    }

    /// Fires the timers that are due, as many as one step may have.
    pub fn handle_timeout(&mut self, now: Now) {
        for _ in 0..TIMERS_PER_STEP {
            let Phase::Active(machine) = &mut self.phase else { return };
            let Some(timer) = self.outbox.timers.pop_due(now.instant) else { break };
            machine.on_timer(now, timer, &mut self.outbox);
        }
        self.shorten();
    }

    /// # Panics
    /// If the coordinator or its machine contradicts itself.
    pub fn check_invariants(&self) {
        match &self.phase {
            Phase::Active(machine) => machine.check_invariants(&self.outbox),
            Phase::Loading | Phase::Resigned => {
                assert!(self.outbox.timers.is_empty(), "no clock runs unless the coordinator is active");
                assert!(self.outbox.pending.is_empty(), "nothing is pending unless the coordinator is active");
            }
        }
    }

    fn shorten(&mut self) {
        if let Phase::Active(machine) = &self.phase {
            self.shortening.advance(machine, &mut self.outbox, &self.limits);
        }
    }
}
