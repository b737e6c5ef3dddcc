//! The course of a run: one event queue for three brokers, the network, the controller, the clients
//! and the faults. [`super::ending`] ends it.

use std::time::Duration;

use rustmq_engine_core::replication::{
    Assignment, BatchesRead, BrokerEpoch, Change, ChangeFailure, Message, PartitionEpoch, ProduceRefusal, Proposal,
    ProposalRefusal,
};
use rustmq_model::TransactionEnd;
use rustmq_model::{BrokerId, Instant, LeaderEpoch, Offset};

use super::Report;
use super::batches::Batch;
use super::broker::{Broker, Clock, index_of, message_fields};
use super::consumers::Consumer;
use super::controller::Controller;
use super::ending::Phase;
use super::events::{Events, Named};
use super::network::{CONTROLLER, Network};
use super::oracle::{Oracle, Standing};
use super::producers::{Names, Producer, Request};
use super::replica_log::ReplicaLog;
use super::setting::{BROKERS, Setting};
use crate::{Chance, Rng, Schedule, Trace};

/// The most events of a run. A run that makes progress has fewer.
const EVENTS_MAX: u64 = 1_000_000;
/// Without faults, clients are slower by this factor: those phases last long, so that everything
/// can be checked.
const CALM_PACE: u32 = 3;
/// The probability that a read for a push returns nothing.
const READ_FAILED: Chance = Chance::percent(1);
/// The probability that a cut of a log fails.
const CUT_FAILED: Chance = Chance::percent(10);
/// The probability that a client's answer is lost.
const ANSWER_LOST: Chance = Chance::percent(3);
/// The probability that a client sends a request to any broker, not to the leader.
const MISROUTED: Chance = Chance::percent(20);

/// The directions of a link that are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directions {
    There,
    Back,
    Both,
}

/// A broker's request to the controller.
#[derive(Clone, Copy, Debug)]
pub enum ControllerRequest {
    Register { number: u32 },
    Heartbeat { broker_epoch: BrokerEpoch, sent_at: Instant },
    Propose(Proposal),
}

/// The controller's message to a broker.
#[derive(Clone, Debug)]
pub enum ControllerUpdate {
    Registered { number: u32, broker_epoch: BrokerEpoch },
    Lease { broker_epoch: BrokerEpoch, sent_at: Instant, assignment: Assignment },
    Assignment(Assignment),
    Refused { proposal: Proposal, refusal: ProposalRefusal },
}

impl ControllerUpdate {
    /// The message's name in the trace, and two of its numbers.
    fn fields(&self) -> (&'static str, u64, u64) {
        let of = |assignment: &Assignment| {
            (assignment.leader_epoch.0.unsigned_abs().into(), assignment.partition_epoch.0.into())
        };
        match self {
            Self::Registered { number, broker_epoch } => ("run received", (*number).into(), broker_epoch.0),
            Self::Lease { assignment, .. } => ("lease received", of(assignment).0, of(assignment).1),
            Self::Assignment(assignment) => ("assignment received", of(assignment).0, of(assignment).1),
            Self::Refused { proposal, refusal } => {
                ("refusal received", proposal.partition_epoch.0.into(), *refusal as u64)
            }
        }
    }
}

#[derive(Clone, Debug)]
pub enum Event {
    Message { from: usize, to: usize, message: Message, batches: Vec<Batch> },
    ControllerRequest { from: usize, request: ControllerRequest },
    ControllerUpdate { to: usize, update: ControllerUpdate },
    Timer { broker: usize, life: u32, at: Instant },
    Synced { broker: usize, life: u32, until: usize },
    Dropped { broker: usize, life: u32, start: Offset },
    CutFailed { broker: usize, life: u32, failure: ChangeFailure },
    Read { broker: usize, life: u32, read: BatchesRead, batches: Vec<Batch> },
    Heartbeat { broker: usize, life: u32 },
    ControllerTick,
    Producer(usize),
    Answer { producer: usize, number: u32, is_success: bool },
    Consumer(usize),
    Housekeeping,
    Fault,
    Restart(usize),
    Heal { from: usize, to: usize },
    NextPhase,
}

/// Everything that a broker acts on, besides its own state.
#[derive(Debug)]
pub struct Environment {
    pub setting: Setting,
    pub schedule: Schedule<Event>,
    pub controller: Controller,
    pub oracle: Oracle,
    pub events: Events,
    pub rng: Rng,
    pub network: Network,
    trace: Trace,
}

impl Environment {
    pub const fn now(&self) -> Instant {
        self.schedule.now()
    }

    pub fn trace(&mut self, what: &str, fields: &[(&str, u64)]) {
        self.trace.step(self.schedule.now(), what, fields);
    }

    pub fn send(&mut self, from: usize, to: BrokerId, message: &Message, batches: &[Batch]) {
        let to = index_of(to);
        for at in self.network.deliveries(self.schedule.now(), &self.setting, from, to) {
            let (message, batches) = (message.clone(), batches.to_vec());
            self.schedule.at(at, Event::Message { from, to, message, batches });
        }
    }

    pub fn send_to_controller(&mut self, from: usize, request: ControllerRequest) {
        for at in self.network.deliveries(self.schedule.now(), &self.setting, from, CONTROLLER) {
            self.schedule.at(at, Event::ControllerRequest { from, request });
        }
    }

    fn tell(&mut self, to: usize, update: &ControllerUpdate) {
        for at in self.network.deliveries(self.schedule.now(), &self.setting, CONTROLLER, to) {
            self.schedule.at(at, Event::ControllerUpdate { to, update: update.clone() });
        }
    }

    /// Gives the broker the batches that it reads, after a delay if the read goes to disk.
    pub fn read_later(&mut self, broker: usize, life: u32, read: BatchesRead, batches: Vec<Batch>) {
        let is_cold = self.rng.below(8) == 0;
        let delay = if is_cold { self.rng.delay(self.setting.sync) } else { Duration::ZERO };
        self.schedule.after(delay, Event::Read { broker, life, read, batches });
    }

    /// Draws whether a leader's read of its log returns nothing.
    pub fn fails_to_read(&mut self) -> bool {
        let fails = !self.network.is_calm() && self.rng.happens(READ_FAILED);
        if fails {
            self.events.note(Named::ReadFailed);
        }
        fails
    }

    /// Draws whether a cut of a log fails, and how.
    pub fn fails_to_cut(&mut self) -> Option<ChangeFailure> {
        if self.network.is_calm() || !self.rng.happens(CUT_FAILED) {
            return None;
        }
        self.events.note(Named::CutFailed);
        Some(if self.rng.coin() { ChangeFailure::Transient } else { ChangeFailure::Permanent })
    }

    /// Draws the time that dropping a log takes.
    pub fn draw_drop(&mut self, is_empty: bool) -> Duration {
        if is_empty { Duration::ZERO } else { self.rng.delay(self.setting.drop) }
    }

    pub fn answer(&mut self, request: &Request, is_success: bool) {
        if self.rng.happens(ANSWER_LOST) {
            return;
        }
        let delay = self.rng.delay(self.setting.delay);
        let (producer, number) = (request.producer, request.number);
        self.schedule.after(delay, Event::Answer { producer, number, is_success });
    }

    fn draw_directions(&mut self) -> Directions {
        [Directions::There, Directions::Back, Directions::Both][self.rng.below(3)]
    }

    /// Cuts the link between two nodes for a while.
    fn cut(&mut self, node: usize, peer: usize, directions: Directions, lasts: Duration) {
        self.events.note(Named::LinkCut);
        self.trace("cut", &[("one", node as u64), ("other", peer as u64), ("directions", directions as u64)]);
        for (from, to, kept) in [(node, peer, Directions::Back), (peer, node, Directions::There)] {
            if directions != kept {
                self.network.cut(from, to);
                self.schedule.after(lasts, Event::Heal { from, to });
            }
        }
    }

    pub fn note_refusal(&mut self, refusal: ProduceRefusal) {
        match refusal {
            ProduceRefusal::NotLeader | ProduceRefusal::TooFewReplicas { .. } => {}
            ProduceRefusal::LeaseExpired => self.events.note(Named::LeaseExpired),
            ProduceRefusal::NotEnoughReplicas { .. } => self.events.note(Named::TooFewInSync),
        }
    }

    pub fn check_answer(&self, broker: usize, epoch: LeaderEpoch, log: &ReplicaLog, request: &Request, end: Offset) {
        let current = self.controller.partition().leader_epoch;
        let is_current = epoch == current || self.controller.was_moved(epoch);
        assert!(is_current, "the leader of epoch {epoch} answers after its lease has ended: epoch {current} has begun");
        let leader = standing(&self.controller, self.setting.in_sync_min, epoch);
        self.oracle.on_answer(broker, log, request, leader, end);
    }

    /// Checks that the leader of `epoch`, which has this log, may commit the records below `to`.
    pub fn check_commit(&mut self, epoch: LeaderEpoch, log: &ReplicaLog, to: Offset) {
        let leader = standing(&self.controller, self.setting.in_sync_min, epoch);
        self.oracle.on_committed(epoch, log, to, leader);
    }

    pub fn check_start(&self, log: &ReplicaLog) {
        let (start, most) = (log.local_start(), self.controller.partition().starts.local());
        assert!(start <= most, "a log starts at {start}, above the controller's start {most}");
    }

    /// Draws a start that a leader with this log may propose.
    pub fn draw_start(&mut self, log: &ReplicaLog) -> Option<Change> {
        let (starts, high_watermark) = (log.starts(), log.high_watermark());
        let most = high_watermark.max(starts.local());
        let drawn = |rng: &mut Rng, from: Offset| {
            let (from, most) = (from.0.unsigned_abs(), most.0.unsigned_abs());
            let to = if rng.below(4) == 0 { most } else { rng.between(from, most) };
            Offset(i64::try_from(to).expect("it was an offset"))
        };
        if self.rng.below(3) == 0 {
            return Some(Change::LogStart(drawn(&mut self.rng, starts.log_start)));
        }
        // An object in the tier ends where a batch ends.
        let wanted = drawn(&mut self.rng, starts.local());
        let to = log.between(starts.local(), wanted).last().map(Batch::end).filter(|end| *end <= high_watermark)?;
        Some(Change::TierEnd { from: starts.local(), to })
    }
}

/// The position of the leader of `epoch`.
fn standing(controller: &Controller, in_sync_min: usize, epoch: LeaderEpoch) -> Standing<'_> {
    let partition = controller.partition();
    let in_sync = (partition.leader_epoch == epoch).then_some(partition.in_sync.as_slice());
    Standing { in_sync, in_sync_min: in_sync_min.min(BROKERS) }
}

#[derive(Debug)]
pub struct World {
    pub(super) env: Environment,
    pub(super) brokers: Vec<Broker>,
    pub(super) producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    names: Names,
    operations: u64,
    pub(super) phase: Phase,
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let setting = Setting::draw(&mut rng);
        let mut schedule = Schedule::new(rng.fork());
        let controller = Controller::new(BROKERS, setting.in_sync_min, setting.lease, rng.fork());
        let network = Network::new(rng.fork());
        let brokers = (0..BROKERS).map(|index| {
            let thousandths = 1_000 - setting.drift + rng.between(0, 2 * setting.drift);
            Broker::new(index, Clock { thousandths })
        });
        let brokers = brokers.collect();
        let producers = (0..setting.producers).map(|index| Producer::new(index, rng.fork())).collect();
        let consumers = (0..setting.consumers).map(Consumer::new).collect();
        (0..BROKERS).for_each(|broker| schedule.after(rng.delay(setting.delay), Event::Restart(broker)));
        (0..setting.producers).for_each(|index| schedule.after(setting.pace.most, Event::Producer(index)));
        (0..setting.consumers).for_each(|index| schedule.after(setting.pace.most, Event::Consumer(index)));
        for event in [Event::ControllerTick, Event::Housekeeping, Event::Fault] {
            schedule.after(setting.lease / 4, event);
        }
        let (oracle, events) = (Oracle::default(), Events::default());
        let env = Environment { setting, schedule, controller, oracle, events, rng, network, trace };
        let (names, operations, phase) = (Names::default(), 0, Phase::Faults);
        Self { env, brokers, producers, consumers, names, operations, phase }
    }

    pub fn run(mut self) -> Report {
        let mut events = 0;
        while self.phase != Phase::Rest
            && let Some(event) = self.env.schedule.advance()
        {
            events += 1;
            assert!(events < EVENTS_MAX, "the run does not end");
            self.step(event);
        }
        let Self { env, operations, .. } = self;
        Report { setting: env.setting, operations, events: env.events, trace: env.trace }
    }

    fn step(&mut self, event: Event) {
        let env = &mut self.env;
        let lives = |brokers: &[Broker], broker: usize, life: u32| brokers[broker].life() == life;
        match event {
            Event::Message { from, to, message, batches } => {
                let (what, [first, second]) = message_fields(&message);
                let fields = [("from", from as u64), ("to", to as u64), ("first", first), ("second", second)];
                env.trace(what, &fields);
                self.brokers[to].on_message(env, from, &message, &batches);
            }
            Event::ControllerRequest { from, request } => self.on_controller_request(from, request),
            Event::ControllerUpdate { to, update } => {
                let (what, first, second) = update.fields();
                env.trace(what, &[("to", to as u64), ("first", first), ("second", second)]);
                self.brokers[to].on_update(env, update);
            }
            Event::Timer { broker, life, at } if lives(&self.brokers, broker, life) => {
                env.trace("timer", &[("broker", broker as u64)]);
                self.brokers[broker].on_timer(env, at);
            }
            Event::Synced { broker, life, until } if lives(&self.brokers, broker, life) => {
                env.trace("synced", &[("broker", broker as u64), ("until", until as u64)]);
                self.brokers[broker].on_synced(env, until);
            }
            Event::Dropped { broker, life, start } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].on_dropped(env, start);
            }
            Event::CutFailed { broker, life, failure } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].on_cut_failed(env, failure);
            }
            Event::Read { broker, life, read, batches } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].on_batches_read(env, read, &batches);
            }
            Event::Heartbeat { broker, life } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].heartbeat(env);
            }
            Event::ControllerTick => {
                let now = env.now();
                let before = env.controller.partition().partition_epoch;
                env.controller.tick(now, &mut env.events);
                self.publish(before);
                self.env.schedule.after(self.env.setting.lease / 10, Event::ControllerTick);
            }
            Event::Producer(index) => self.produce(index),
            Event::Answer { producer, number, is_success } => {
                let now = env.now();
                let fields =
                    [("producer", producer as u64), ("number", number.into()), ("is success", is_success.into())];
                env.trace("answer", &fields);
                match self.producers[producer].on_answer(now, number, is_success) {
                    Some(TransactionEnd::Commit) => env.events.note(Named::Commit),
                    Some(TransactionEnd::Abort) => env.events.note(Named::Abort),
                    None => {}
                }
            }
            Event::Consumer(index) => self.consume(index),
            Event::Housekeeping => self.run_housekeeping(),
            Event::Fault => self.inject_fault(),
            Event::Restart(broker) => self.restart(broker),
            Event::Heal { from, to } => env.network.heal(from, to),
            Event::NextPhase => self.end_phase(),
            // Events of a process that has ended.
            Event::Timer { .. }
            | Event::Synced { .. }
            | Event::Dropped { .. }
            | Event::CutFailed { .. }
            | Event::Read { .. }
            | Event::Heartbeat { .. } => {}
        }
    }

    /// Handles a broker's request to the controller.
    fn on_controller_request(&mut self, from: usize, request: ControllerRequest) {
        let env = &mut self.env;
        let now = env.now();
        let before = env.controller.partition().partition_epoch;
        match request {
            ControllerRequest::Register { number } => {
                if let Some(broker_epoch) = env.controller.register(now, from, number, &mut env.events) {
                    env.trace("registered", &[("broker", from as u64), ("run", broker_epoch.0)]);
                    env.tell(from, &ControllerUpdate::Registered { number, broker_epoch });
                }
            }
            ControllerRequest::Heartbeat { broker_epoch, sent_at } => {
                if env.controller.heartbeat(now, from, broker_epoch, &mut env.events) {
                    let assignment = env.controller.partition().clone();
                    env.tell(from, &ControllerUpdate::Lease { broker_epoch, sent_at, assignment });
                }
            }
            ControllerRequest::Propose(proposal) => {
                let outcome = env.controller.propose(&proposal, &mut env.events);
                env.trace("proposal", &[("from", from as u64), ("is granted", u64::from(outcome.is_ok()))]);
                if let Err(refusal) = outcome {
                    env.tell(from, &ControllerUpdate::Refused { proposal, refusal });
                }
            }
        }
        self.publish(before);
    }

    /// Sends the partition to the brokers, if it has changed.
    fn publish(&mut self, before: PartitionEpoch) {
        let env = &mut self.env;
        let partition = env.controller.partition().clone();
        if partition.partition_epoch == before {
            return;
        }
        let leader = partition.leader.map_or(u64::MAX, |leader| leader.broker.0.unsigned_abs().into());
        let epoch = partition.leader_epoch.0.unsigned_abs().into();
        env.trace("partition", &[("leader", leader), ("epoch", epoch), ("in sync", partition.in_sync.len() as u64)]);
        for broker in 0..BROKERS {
            // Some brokers hear of it only with their next heartbeat.
            if !self.phase.has_faults() || env.rng.happens(env.setting.notified) {
                env.tell(broker, &ControllerUpdate::Assignment(partition.clone()));
            }
        }
    }

    /// Draws the broker of a client's next request.
    fn choose_broker(&mut self) -> usize {
        let leader = self.env.controller.partition().leader;
        match leader {
            Some(leader) if !self.env.rng.happens(MISROUTED) => index_of(leader.broker),
            _ => self.env.rng.below(BROKERS),
        }
    }

    fn produce(&mut self, index: usize) {
        let pace = self.draw_pace();
        self.env.schedule.after(pace, Event::Producer(index));
        let now = self.env.now();
        let Some(request) = self.producers[index].step(now, &mut self.names, self.phase.finishes()) else { return };
        self.count_operation();
        let broker = self.choose_broker();
        let name = u64::from(request.batch.name());
        self.env.trace("append", &[("broker", broker as u64), ("batch", name)]);
        if self.brokers[broker].produce(&mut self.env, request).is_err() {
            self.env.answer(&request, false);
        }
    }

    fn consume(&mut self, index: usize) {
        let pace = self.draw_pace();
        self.env.schedule.after(pace, Event::Consumer(index));
        self.count_operation();
        let broker = self.choose_broker();
        let env = &mut self.env;
        let Some((replica, log)) = self.brokers[broker].replica() else { return };
        let consumer = &mut self.consumers[index];
        consumer.fetch(replica, log, env.controller.partition(), &env.oracle, &mut env.events);
        let position = consumer.position().0.unsigned_abs();
        env.trace("fetched", &[("consumer", index as u64), ("broker", broker as u64), ("position", position)]);
    }

    /// Draws the time between two requests of one client.
    fn draw_pace(&mut self) -> Duration {
        let pace = self.env.rng.delay(self.env.setting.pace);
        if self.phase.has_faults() { pace } else { pace * CALM_PACE }
    }

    fn count_operation(&mut self) {
        if !self.phase.has_faults() {
            return;
        }
        self.operations += 1;
        if self.operations == self.env.setting.requests {
            self.env.schedule.after(Duration::ZERO, Event::NextPhase);
        }
    }

    fn run_housekeeping(&mut self) {
        if self.phase.finishes() {
            return;
        }
        let is_calm = !self.phase.has_faults();
        let least = if is_calm { self.env.setting.restarted_within() } else { Duration::ZERO };
        let delay = self.env.rng.delay(self.env.setting.housekeeping) + least;
        self.env.schedule.after(delay, Event::Housekeeping);
        self.count_operation();
        let broker = self.choose_broker();
        self.brokers[broker].propose_start(&mut self.env);
    }

    fn inject_fault(&mut self) {
        if !self.phase.has_faults() {
            return;
        }
        let env = &mut self.env;
        let delay = env.rng.delay(env.setting.fault_interval);
        env.schedule.after(delay, Event::Fault);
        let mut node = env.rng.below(BROKERS);
        if env.rng.coin() {
            // Resets are rare, and more faults should hit them.
            let drops = |broker: &Broker| broker.replica().is_some_and(|(_, log)| log.reset_noted().is_some());
            node = self.brokers.iter().position(drops).unwrap_or(node);
        }
        match env.rng.below(9) {
            0..3 if self.brokers[node].is_up() => {
                env.trace("crash", &[("broker", node as u64)]);
                self.brokers[node].crash(env);
                let down = env.rng.delay(env.setting.down);
                env.schedule.after(down, Event::Restart(node));
            }
            3..6 => self.cut_links(node),
            6..8 => {
                env.events.note(Named::LeaderMoved);
                let before = env.controller.partition().partition_epoch;
                env.controller.move_leader(&mut env.events);
                self.publish(before);
            }
            8 => {
                let is_fenced = |broker: &&mut Broker| broker.is_up() && env.controller.is_fenced(broker.index());
                if let Some(broker) = self.brokers.iter_mut().find(is_fenced) {
                    broker.register_anew();
                }
            }
            _ => {}
        }
    }

    /// Cuts one link of a node, all its links to other brokers, or all its links.
    fn cut_links(&mut self, node: usize) {
        let env = &mut self.env;
        let other = if env.rng.coin() { CONTROLLER } else { env.rng.below(BROKERS) };
        let (peers, directions) = match env.rng.below(4) {
            0 => (0..CONTROLLER + 1, Directions::Both),
            1 => (0..CONTROLLER, Directions::Both),
            _ => (other..other + 1, env.draw_directions()),
        };
        let lasts = env.rng.delay(env.setting.cut);
        peers.filter(|peer| *peer != node).for_each(|peer| env.cut(node, peer, directions, lasts));
    }

    pub(super) fn restart(&mut self, broker: usize) {
        if self.brokers[broker].is_up() {
            return;
        }
        let env = &mut self.env;
        let is_restart = self.brokers[broker].life() > 0;
        if is_restart && env.controller.may_lose_its_disk(broker) && env.rng.happens(env.setting.replaced) {
            env.events.note(Named::DiskReplaced);
            self.brokers[broker].replace_disk(env);
        }
        env.trace("start", &[("broker", broker as u64)]);
        self.brokers[broker].start(env);
    }
}
