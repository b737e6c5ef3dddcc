//! The coordinators of one internal partition, over the real contract: the present one, and those
//! that do not know yet that their leadership has ended.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;

use rustmq_broker_core::coordinator::{
    Action, AppendFailure, AppendId, Committed, Coordinator, CoordinatorLimits, CoordinatorMachine, CoordinatorRecord,
    CoordinatorState, Loader, LogRange, Now, ReplyToken, TaskId, TrimFailed,
};
use rustmq_broker_core::groups::config::ConsumerGroupConfig;
use rustmq_broker_core::groups::{GroupConfig, Groups};
use rustmq_broker_core::transactions::Transactions;
use rustmq_model::{Instant, LeaderEpoch, Offset, ProducerKey, TransactionMarker};

use super::batches::Batch;
use super::consumers::{SESSION_TIMEOUT, topics};
use super::environment::Caller;
use super::partition::{Leader, Term};
use super::setting::Setting;

/// The kind of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Transactions,
    Groups,
}

/// One coordinator of one kind. A later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId {
    pub kind: Kind,
    pub number: u32,
}

/// A machine that the simulation can host.
pub trait Hosted: CoordinatorMachine {
    const KIND: Kind;

    fn new(setting: &Setting, epoch: LeaderEpoch) -> Self;
}

impl Hosted for Transactions {
    const KIND: Kind = Kind::Transactions;

    fn new(setting: &Setting, epoch: LeaderEpoch) -> Self {
        Self::new(setting.coordinator.clone(), epoch)
    }
}

impl Hosted for Groups {
    const KIND: Kind = Kind::Groups;

    fn new(_setting: &Setting, _epoch: LeaderEpoch) -> Self {
        let timing = ConsumerGroupConfig { session_timeout: SESSION_TIMEOUT, ..ConsumerGroupConfig::default() };
        Self::with_topics(GroupConfig { consumer: timing, ..GroupConfig::default() }, topics())
    }
}

/// A change that a coordinator wants in its log.
#[derive(Debug)]
pub enum LogWork {
    Append { append: AppendId, records: Vec<CoordinatorRecord>, producer: Option<ProducerKey> },
    Marker { append: AppendId, marker: TransactionMarker },
    Trim { below: Offset },
}

/// The output of a coordinator.
#[derive(Debug)]
pub enum Output<M: CoordinatorMachine> {
    Answer(Caller, M::Outcome),
    Log(LogWork),
    Task(TaskId, M::Task),
}

/// One coordinator.
#[derive(Debug)]
pub struct Host<M: CoordinatorMachine> {
    pub id: HostId,
    pub term: Term,
    coordinator: Coordinator<M>,
    callers: BTreeMap<ReplyToken, Caller>,
    next_token: u64,
    /// The time of the next call of [`Self::on_timer`] that is scheduled.
    timer_at: Option<Instant>,
    /// Where its log ended when its leadership began.
    log_end: Offset,
}

impl<M: Hosted> Host<M> {
    fn new(id: HostId, leader: &Leader, limits: CoordinatorLimits) -> Self {
        let term = leader.term;
        let coordinator = Coordinator::new(term.epoch, limits);
        let callers = BTreeMap::new();
        Self { id, term, coordinator, callers, next_token: 0, timer_at: None, log_end: leader.end() }
    }

    /// Loads the log, if all of it is committed.
    pub fn load(&mut self, leader: &Leader, setting: &Setting, now: Now) -> bool {
        if leader.core().frontiers().high_watermark < self.log_end {
            return false;
        }
        self.coordinator.activate(now, replay(leader, self.log_end, setting));
        true
    }

    pub fn machine(&self) -> Option<&M> {
        self.coordinator.machine().ok()
    }

    pub fn request(&mut self, now: Now, caller: Caller, request: M::Request) {
        self.next_token += 1;
        let token = ReplyToken(self.next_token);
        self.callers.insert(token, caller);
        self.coordinator.handle_request(now, token, request);
    }

    pub fn on_timer(&mut self, now: Now, at: Instant) {
        if self.timer_at == Some(at) {
            self.timer_at = None;
            self.coordinator.handle_timeout(now);
        }
    }

    pub fn on_appended(&mut self, now: Now, append: AppendId, result: Result<Committed, AppendFailure>) {
        self.coordinator.on_append_completed(now, append, result);
    }

    pub fn on_trimmed(&mut self, result: Result<(), TrimFailed>) {
        self.coordinator.on_trimmed(result);
    }

    pub fn on_task_done(&mut self, now: Now, task: TaskId, result: M::TaskResult) {
        self.coordinator.on_task_done(now, task, result);
    }

    pub fn resign(&mut self) {
        self.coordinator.resign();
    }

    pub fn has_resigned(&self) -> bool {
        self.coordinator.state() == CoordinatorState::Resigned
    }

    /// The callers without an answer: a coordinator that has resigned has forgotten them.
    pub fn take_callers(&mut self) -> Vec<Caller> {
        std::mem::take(&mut self.callers).into_values().collect()
    }

    /// The next timer to schedule, if it is another one than before.
    pub fn next_timer(&mut self, now: Instant) -> Option<Instant> {
        let at = self.coordinator.poll_timeout()?.max(now);
        if self.timer_at.is_some_and(|set| set <= at) {
            return None;
        }
        self.timer_at = Some(at);
        self.timer_at
    }

    pub fn take_outputs(&mut self) -> VecDeque<Output<M>> {
        let mut outputs = VecDeque::new();
        while let Some(action) = self.coordinator.poll_action() {
            outputs.push_back(match action {
                Action::Reply(reply) => {
                    let caller = self.callers.remove(&reply.token).expect("a request is answered once");
                    Output::Answer(caller, reply.outcome)
                }
                Action::Start { task, work } => Output::Task(task, work),
                Action::Append { append, records, producer, .. } => {
                    Output::Log(LogWork::Append { append, records, producer })
                }
                Action::AppendMarker { append, marker } => Output::Log(LogWork::Marker { append, marker }),
                Action::TrimLog { below } => Output::Log(LogWork::Trim { below }),
            });
        }
        self.coordinator.check_invariants();
        outputs
    }
}

/// A loader that has replayed the committed part of a log.
pub fn replay<M: Hosted>(leader: &Leader, log_end: Offset, setting: &Setting) -> Loader<M> {
    let log_start = leader.core().frontiers().log_start;
    let range = LogRange { log_start, local_start: log_start, log_end };
    let mut loader = Loader::new(M::new(setting, leader.term.epoch), range, 0).expect("the log is local");
    let batches: Vec<_> = leader.between(log_start, log_end).map(|batch: &Batch| batch.bytes.clone()).collect();
    let replayed = loader.replay(&batches, |fault| panic!("the machine encoded it: {fault:?}"));
    replayed.expect("the log has whole batches");
    loader
}

/// The coordinators of one kind.
#[derive(Debug)]
pub struct Hosts<M: CoordinatorMachine> {
    hosts: BTreeMap<HostId, Host<M>>,
    next: u32,
}

impl<M: Hosted> Hosts<M> {
    pub const fn new() -> Self {
        Self { hosts: BTreeMap::new(), next: 0 }
    }

    /// A leadership has begun.
    pub fn begin(&mut self, leader: &Leader, limits: CoordinatorLimits) -> HostId {
        self.next += 1;
        let id = HostId { kind: M::KIND, number: self.next };
        self.hosts.insert(id, Host::new(id, leader, limits));
        id
    }

    pub fn find(&mut self, id: HostId) -> Option<&mut Host<M>> {
        self.hosts.get_mut(&id)
    }

    pub fn remove(&mut self, id: HostId) {
        self.hosts.remove(&id);
    }

    /// Ends the coordinators of this term, as a crash does.
    pub fn crash(&mut self, term: Term) {
        self.hosts.retain(|_, host| host.term != term);
    }

    pub fn of_term(&self, term: Term) -> Option<HostId> {
        self.hosts.values().find(|host| host.term == term).map(|host| host.id)
    }

    /// Every coordinator, oldest first.
    pub fn ids(&self) -> Vec<HostId> {
        self.hosts.keys().copied().collect()
    }
}
