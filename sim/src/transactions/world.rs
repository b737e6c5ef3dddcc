//! The course of a run: one event queue for the partitions, their coordinators, the network, the
//! producers and the faults. [`super::ending`] ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_broker_core::coordinator::{AppendFailure, AppendId, Committed, Now, TaskId, TrimFailed};
use rustmq_broker_core::groups::{GroupId, Groups};
use rustmq_broker_core::transactions::{MarkerOutcome, TransactionTaskResult, Transactions};
use rustmq_engine_core::log::{Admission, AppendDecision, AppendRejection};
use rustmq_model::{
    Instant, Offset, PartitionId, Timestamp, TopicName, TopicPartition, TransactionEnd, TransactionMarker,
    TransactionVersion, TransactionalId, record,
};

use super::Report;
use super::batches::Batch;
use super::calls::{Call, CallId, Confirmation};
use super::coordinators::{Host, HostId, Hosted, Hosts, Kind, LogWork, Output};
use super::ending::Phase;
use super::events::{Events, Named};
use super::markers::{Delivery, Port};
use super::oracle::{Decision, Oracle};
use super::partition::{Partition, Term};
use super::producers::{Answer, Numbers, Producer, Refusal, Request};
use super::readers::Reader;
use super::setting::Setting;
use crate::{Chance, Rng, Schedule, Trace};

/// The most events of a run. A run that makes progress has fewer.
const EVENTS_MAX: u64 = 1_000_000;
/// The partition of `__transaction_state`, by its index.
pub const TRANSACTIONS: usize = 0;
/// The partition of `__consumer_offsets`.
pub const OFFSETS: usize = 1;
/// The first partition that producers write to.
pub const FIRST_DATA: usize = 2;
/// The wall clock at the beginning of a run, in milliseconds.
const EPOCH_MILLIS: i64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub enum Event {
    /// A producer looks at what is due.
    Producer(usize),
    Request(Box<Request>),
    Answer {
        producer: usize,
        number: u64,
        answer: Answer,
    },
    /// A broker asks the transaction coordinator for a call.
    Confirm {
        call: CallId,
        confirmation: Confirmation,
    },
    Confirmed {
        call: CallId,
        refusal: Option<Refusal>,
    },
    Marker(Delivery),
    MarkerWritten {
        delivery: Delivery,
        outcome: MarkerOutcome,
    },
    PortTimeout {
        host: HostId,
        task: TaskId,
    },
    TaskDone {
        host: HostId,
        task: TaskId,
        result: TransactionTaskResult,
    },
    Timer {
        host: HostId,
        at: Instant,
    },
    Load {
        host: HostId,
    },
    Appended {
        host: HostId,
        append: AppendId,
        result: Result<Committed, AppendFailure>,
    },
    Trimmed {
        host: HostId,
        result: Result<(), TrimFailed>,
    },
    Resign {
        host: HostId,
    },
    Synced {
        partition: usize,
        term: Term,
        until: usize,
    },
    Elect {
        partition: usize,
        incarnation: u32,
    },
    MakeAgain {
        partition: usize,
    },
    Reader(usize),
    OffsetReader,
    Replacement {
        id: TransactionalId,
    },
    Fault,
    NextPhase,
}

/// The one that gets a coordinator's answer.
#[derive(Clone, Debug)]
pub enum Caller {
    /// `takes_over` says that the request fences every earlier producer of its id.
    Producer {
        producer: usize,
        number: u64,
        takes_over: bool,
    },
    Call(CallId),
    Port(Delivery),
}

/// The one that waits for a part of a log to be committed.
#[derive(Clone, Debug)]
pub enum Waiter {
    Producer { producer: usize, number: u64, answer: Answer },
    Coordinator { host: HostId, append: AppendId, committed: Committed },
    Port(Delivery),
}

/// Everything but the coordinators, the calls and the clients.
#[derive(Debug)]
pub struct Environment {
    pub setting: Setting,
    pub schedule: Schedule<Event>,
    pub rng: Rng,
    pub events: Events,
    pub oracle: Oracle,
    pub partitions: Vec<Partition>,
    pub phase: Phase,
    pub next_producer_id: i64,
    trace: Trace,
}

impl Environment {
    pub fn now(&self) -> Now {
        let instant = self.schedule.now();
        let millis = i64::try_from(instant.as_nanos() / 1_000_000).expect("a run is short");
        Now { instant, wall: Timestamp(EPOCH_MILLIS + millis) }
    }

    pub fn trace(&mut self, what: &str, fields: &[(&str, u64)]) {
        self.trace.step(self.schedule.now(), what, fields);
    }

    /// Draws whether a fault of this probability happens: none does after the faults.
    pub fn fails(&mut self, chance: Chance) -> bool {
        self.phase.has_faults() && self.rng.happens(chance)
    }

    /// The time that a message takes.
    pub fn travel(&mut self) -> Duration {
        self.rng.delay(self.setting.delay)
    }

    /// Sends a message, which may be lost, late or doubled.
    pub fn send(&mut self, event: Event) {
        if self.fails(self.setting.lost) {
            return;
        }
        if self.fails(self.setting.doubled) {
            let delay = self.rng.delay(self.setting.late_delay);
            self.schedule.after(delay, event.clone());
        }
        let is_late = self.fails(self.setting.late);
        let delay = if is_late { self.rng.delay(self.setting.late_delay) } else { self.travel() };
        self.schedule.after(delay, event);
    }

    /// A result within one process: it is never lost.
    pub fn report(&mut self, event: Event) {
        let delay = self.travel();
        self.schedule.after(delay, event);
    }

    pub fn answer(&mut self, producer: usize, number: u64, answer: Answer) {
        self.send(Event::Answer { producer, number, answer });
    }

    /// Appends a batch, or finds it repeated. Returns the offset up to which the log must be
    /// committed first.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the log refuses it.
    pub fn append(&mut self, index: usize, batch: Batch, admission: Admission) -> Result<Offset, AppendRejection> {
        let now = self.now().wall;
        let partition = &mut self.partitions[index];
        let leader = partition.leader().expect("the caller has found it");
        if let AppendDecision::Duplicate { must_wait_for, .. } = leader.decide(&batch, admission)? {
            self.events.note(Named::Duplicate);
            return Ok(must_wait_for);
        }
        self.oracle.on_append(&batch, &partition.name);
        if let Some(attempt) = batch.attempt {
            let producer = batch.producer();
            let (id, epoch) = (producer.id.0.unsigned_abs(), producer.epoch.0.unsigned_abs());
            let fields = [("attempt", attempt.0), ("producer", id), ("epoch", epoch.into())];
            self.trace.step(self.schedule.now(), "append", &fields);
        }
        partition.append(batch, None, now);
        Ok(self.on_appended(index))
    }

    /// As [`Self::append`], for a marker.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the log refuses it.
    pub fn append_marker(&mut self, index: usize, marker: &TransactionMarker) -> Result<Offset, AppendRejection> {
        let now = self.now().wall;
        let batch = Batch::of_marker(marker, now);
        let partition = &mut self.partitions[index];
        let leader = partition.leader().expect("the caller has found it");
        if let AppendDecision::Duplicate { must_wait_for, .. } = leader.decide_marker(&batch, marker)? {
            self.events.note(Named::MarkerRepeated);
            return Ok(must_wait_for);
        }
        self.oracle.on_ended(leader.open_batches(marker.producer), marker.end);
        partition.append(batch, Some(marker), now);
        Ok(self.on_appended(index))
    }

    fn on_appended(&mut self, index: usize) -> Offset {
        let partition = &self.partitions[index];
        let end = partition.leader().expect("it has appended").end();
        self.trace("appended", &[("partition", index as u64), ("end", end.0.unsigned_abs())]);
        self.sync(index);
        end
    }

    /// Begins a sync, if one is needed and none is under way.
    pub fn sync(&mut self, index: usize) {
        let delay = self.rng.delay(self.setting.sync);
        let partition = &mut self.partitions[index];
        if let Some(until) = partition.begin_sync() {
            let term = partition.leader().expect("a leader syncs").term;
            self.schedule.after(delay, Event::Synced { partition: index, term, until });
        }
    }

    /// Lets someone wait until the log is committed up to this offset.
    pub fn wait(&mut self, index: usize, until: Offset, waiter: Waiter) {
        self.partitions[index].leader_mut().expect("the caller has found it").wait(until, waiter);
        self.wake(index);
    }

    fn wake(&mut self, index: usize) {
        for waiter in self.partitions[index].take_woken() {
            match waiter {
                Waiter::Producer { producer, number, answer } => self.answer(producer, number, answer),
                Waiter::Coordinator { host, append, committed } => {
                    self.report(Event::Appended { host, append, result: Ok(committed) });
                }
                Waiter::Port(delivery) => self.report_marker(delivery, MarkerOutcome::Written),
            }
        }
    }

    fn on_synced(&mut self, index: usize, until: usize) {
        self.partitions[index].on_synced(until);
        self.on_committed(index);
        self.wake(index);
        self.sync(index);
    }

    /// Shows new committed records of the transaction coordinator to the oracle.
    pub fn on_committed(&mut self, index: usize) {
        let committed = self.partitions[index].take_committed();
        if index != TRANSACTIONS {
            return;
        }
        for batch in committed {
            let body = record::body(&batch.bytes, &batch.header, 0).expect("it is not compressed");
            for view in record::views(&body, &batch.header) {
                let view = view.expect("the machine's batches are whole");
                let decided = self.oracle.on_record(view.key.expect("each record has a key"), view.value);
                if let Some(Decision { end, is_asked_for }) = decided {
                    self.trace("decided", &[("end", end as u64)]);
                    if end == TransactionEnd::Abort && !is_asked_for {
                        self.events.note(Named::AbortedOtherwise);
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
pub struct World {
    pub(super) env: Environment,
    pub(super) transactions: Hosts<Transactions>,
    pub(super) groups: Hosts<Groups>,
    pub(super) calls: BTreeMap<CallId, Call>,
    pub(super) next_call: u64,
    pub(super) port: Port,
    pub(super) producers: Vec<Producer>,
    pub(super) numbers: Numbers,
    pub(super) data: Vec<usize>,
    pub(super) readers: Vec<Reader>,
    operations: u64,
}

pub fn group() -> GroupId {
    GroupId::new("g")
}

/// The transactional id of this number.
pub fn id_of(number: usize) -> TransactionalId {
    TransactionalId::new(&format!("t{number}")).expect("it is not empty")
}

/// The partition whose offset the transactions of this id commit.
pub fn input_of(id: &TransactionalId) -> TopicPartition {
    let topic = TopicName::new(&format!("input-{id}")).expect("it is a legal name");
    TopicPartition { topic, partition: PartitionId(0) }
}

fn partitions_of(setting: &Setting) -> Vec<Partition> {
    let named = |topic: &str, partition: usize| {
        let topic = TopicName::new(topic).expect("it is a legal name");
        let partition = PartitionId(i32::try_from(partition).expect("there are few"));
        Partition::new(TopicPartition { topic, partition })
    };
    let mut partitions = vec![named("__transaction_state", 0), named("__consumer_offsets", 0)];
    partitions.extend((1..setting.partitions).map(|index| named("orders", index - 1)));
    partitions.push(named("temporary", 0));
    partitions
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let setting = Setting::draw(&mut rng);
        let mut schedule = Schedule::new(rng.fork());
        let partitions = partitions_of(&setting);
        let data: Vec<_> = (FIRST_DATA..partitions.len()).collect();
        for partition in 0..partitions.len() {
            schedule.after(rng.delay(setting.delay), Event::Elect { partition, incarnation: 0 });
        }
        for number in 0..setting.ids {
            schedule.after(rng.delay(setting.delay), Event::Replacement { id: id_of(number) });
        }
        data.iter().for_each(|index| schedule.after(setting.pace.most, Event::Reader(*index)));
        schedule.after(setting.pace.most, Event::OffsetReader);
        schedule.after(setting.fault_interval.most, Event::Fault);
        let readers = partitions.iter().map(|_| Reader::default()).collect();
        let (events, oracle, phase) = (Events::default(), Oracle::default(), Phase::Faults);
        let env =
            Environment { setting, schedule, rng, events, oracle, partitions, phase, next_producer_id: 1_000, trace };
        let mut world = Self {
            env,
            transactions: Hosts::new(),
            groups: Hosts::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            port: Port::default(),
            producers: Vec::new(),
            numbers: Numbers::default(),
            data,
            readers,
            operations: 0,
        };
        world.store_first_ids();
        world
    }

    pub fn run(mut self) -> Report {
        let mut events = 0;
        while self.env.phase != Phase::Rest
            && let Some(event) = self.env.schedule.advance()
        {
            events += 1;
            assert!(events < EVENTS_MAX, "the run does not end");
            self.step(event);
            self.settle();
        }
        let Self { env, operations, .. } = self;
        Report { setting: env.setting, operations, events: env.events, trace: env.trace }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Producer(producer) => self.wake_producer(producer),
            Event::Request(request) => self.on_request(&request),
            Event::Answer { producer, number, answer } => {
                let now = self.env.schedule.now();
                self.env.trace("answer", &[("producer", producer as u64), ("number", number)]);
                let Environment { oracle, events, .. } = &mut self.env;
                self.producers[producer].on_answer(now, number, answer, oracle, events);
            }
            Event::Confirm { call, confirmation } => self.on_confirm(call, confirmation),
            Event::Confirmed { call, refusal } => self.on_confirmed(call, refusal),
            Event::Marker(delivery) => self.on_marker(delivery),
            Event::MarkerWritten { delivery, outcome } => self.on_marker_written(&delivery, outcome),
            Event::PortTimeout { host, task } => self.on_port_timeout(host, task),
            Event::TaskDone { host, task, result } => {
                let now = self.env.now();
                if let Some(host) = self.transactions.find(host) {
                    host.on_task_done(now, task, result);
                }
            }
            Event::Synced { partition, term, until } => {
                if self.env.partitions[partition].leader_of(term).is_some() {
                    self.env.on_synced(partition, until);
                }
            }
            Event::Elect { partition, incarnation } => self.elect(partition, incarnation),
            Event::MakeAgain { partition } => self.make_again(partition),
            Event::Reader(partition) => self.read(partition),
            Event::OffsetReader => self.read_offsets(),
            Event::Replacement { id } => self.replace(id),
            Event::Fault => self.inject_fault(),
            Event::NextPhase => self.end_phase(),
            Event::Timer { host, .. }
            | Event::Load { host }
            | Event::Appended { host, .. }
            | Event::Trimmed { host, .. }
            | Event::Resign { host } => {
                let Self { env, transactions, groups, .. } = self;
                match host.kind {
                    Kind::Transactions => step_host(env, transactions, TRANSACTIONS, host, event),
                    Kind::Groups => step_host(env, groups, OFFSETS, host, event),
                }
            }
        }
    }

    /// Counts a request. The faults end after the last one.
    pub(super) fn count_operation(&mut self) {
        if self.env.phase.has_faults() {
            self.operations += 1;
            if self.operations == self.env.setting.requests {
                self.env.schedule.after(Duration::ZERO, Event::NextPhase);
            }
        }
    }

    /// Executes what the coordinators want, until they want nothing more.
    fn settle(&mut self) {
        loop {
            let of_transactions = outputs_of(&mut self.env, &mut self.transactions, TRANSACTIONS);
            let of_groups = outputs_of(&mut self.env, &mut self.groups, OFFSETS);
            if of_transactions.is_empty() && of_groups.is_empty() {
                return;
            }
            for (host, output) in of_transactions {
                match output {
                    Output::Answer(caller, outcome) => self.on_transaction_outcome(&caller, &outcome),
                    Output::Task(task, work) => self.start_task(host, task, work),
                    Output::Log(_) => unreachable!("it is carried out"),
                }
            }
            for (_, output) in of_groups {
                match output {
                    Output::Answer(caller, outcome) => self.on_group_outcome(caller, &outcome),
                    Output::Task(_, work) => match work {},
                    Output::Log(_) => unreachable!("it is carried out"),
                }
            }
        }
    }
}

/// One of the events of a coordinator.
fn step_host<M: Hosted>(env: &mut Environment, hosts: &mut Hosts<M>, partition: usize, id: HostId, event: Event) {
    let now = env.now();
    let Some(host) = hosts.find(id) else { return };
    match event {
        Event::Timer { at, .. } => host.on_timer(now, at),
        Event::Appended { append, result, .. } => host.on_appended(now, append, result),
        Event::Trimmed { result, .. } => host.on_trimmed(result),
        Event::Resign { .. } => host.resign(),
        Event::Load { .. } => {
            let Some(leader) = env.partitions[partition].leader_of(host.term) else { return };
            if !host.load(leader, &env.setting, now) {
                env.events.note(Named::LoadWaited);
                env.schedule.after(Duration::from_millis(1), event);
                return;
            }
            env.trace("loaded", &[("partition", partition as u64), ("host", id.number.into())]);
        }
        _ => unreachable!("it is none of a coordinator"),
    }
}

/// Carries out what coordinators want of their log. Returns the rest of their outputs.
fn outputs_of<M: Hosted>(env: &mut Environment, hosts: &mut Hosts<M>, partition: usize) -> Vec<(HostId, Output<M>)> {
    let mut rest = Vec::new();
    for id in hosts.ids() {
        let host = hosts.find(id).expect("it was listed just now");
        let term = host.term;
        for output in host.take_outputs() {
            match output {
                Output::Log(work) => write(env, id, term, partition, work),
                output => rest.push((id, output)),
            }
        }
        forget(env, hosts, id);
        if let Some(host) = hosts.find(id) {
            schedule_timer(env, host);
        }
    }
    rest
}

fn schedule_timer<M: Hosted>(env: &mut Environment, host: &mut Host<M>) {
    let id = host.id;
    if let Some(at) = host.next_timer(env.schedule.now()) {
        env.schedule.at(at, Event::Timer { host: id, at });
    }
}

/// Refuses the callers of a coordinator that has resigned, and drops it.
fn forget<M: Hosted>(env: &mut Environment, hosts: &mut Hosts<M>, id: HostId) {
    let Some(host) = hosts.find(id) else { return };
    if !host.has_resigned() {
        return;
    }
    for caller in host.take_callers() {
        match caller {
            Caller::Producer { producer, number, .. } => {
                env.answer(producer, number, Answer::Refused(Refusal::Retry));
            }
            Caller::Call(call) => env.report(Event::Confirmed { call, refusal: Some(Refusal::Retry) }),
            Caller::Port(delivery) => env.report_marker(delivery, MarkerOutcome::LeaderUnknown),
        }
    }
    hosts.remove(id);
}

/// Writes to the log of a coordinator.
fn write(env: &mut Environment, host: HostId, term: Term, partition: usize, work: LogWork) {
    let is_led = env.partitions[partition].leader_of(term).is_some();
    let now = env.now().wall;
    let (append, batch, result) = match work {
        LogWork::Trim { below } => {
            let is_done = is_led && !env.fails(env.setting.refused);
            if is_done && env.partitions[partition].trim(below) {
                env.events.note(Named::Shortened);
                env.sync(partition);
            }
            let result = if is_done { Ok(()) } else { Err(TrimFailed) };
            env.report(Event::Trimmed { host, result });
            return;
        }
        LogWork::Append { append, .. } | LogWork::Marker { append, .. } if !is_led => {
            env.report(Event::Appended { host, append, result: Err(AppendFailure::NotLeader) });
            return;
        }
        LogWork::Append { append, .. } | LogWork::Marker { append, .. } if env.fails(env.setting.refused) => {
            env.events.note(Named::AppendRefused);
            env.report(Event::Appended { host, append, result: Err(AppendFailure::Unavailable) });
            return;
        }
        LogWork::Append { append, records, producer } => {
            let batch = Batch::of_records(&records, producer, now);
            (append, batch.clone(), env.append(partition, batch, Admission::Coordinator))
        }
        LogWork::Marker { append, marker } => {
            (append, Batch::of_marker(&marker, now), env.append_marker(partition, &marker))
        }
    };
    match result {
        Ok(until) => {
            let committed = Committed { next_offset: until, bytes: batch.bytes.len() as u64 };
            env.wait(partition, until, Waiter::Coordinator { host, append, committed });
        }
        Err(rejection) => {
            let failure = match rejection {
                AppendRejection::InvalidProducerEpoch { .. } => AppendFailure::InvalidProducerEpoch,
                _ => AppendFailure::Unavailable,
            };
            env.report(Event::Appended { host, append, result: Err(failure) });
        }
    }
}

/// The coordinator that a request of this version reaches: the present one, or one that has been
/// followed. Below version 2 it is always the present one: see the fault model.
pub fn route<'a, M: Hosted>(
    env: &mut Environment,
    hosts: &'a mut Hosts<M>,
    partition: usize,
    version: TransactionVersion,
) -> Option<&'a mut Host<M>> {
    let term = env.partitions[partition].leader().map(|leader| leader.term);
    let current = term.and_then(|term| hosts.of_term(term));
    let ids = hosts.ids();
    let stale = ids.first().copied().filter(|first| Some(*first) != current);
    let is_stale = stale.is_some() && version.bumps_epochs() && env.rng.coin();
    let id = if is_stale { stale } else { current }?;
    if is_stale {
        env.events.note(Named::Unaware);
    }
    hosts.find(id)
}
