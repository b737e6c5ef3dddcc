//! The course of a run: one queue of events for three brokers, the network, the controller, the
//! clients, and the troubles, which end at last: [`super::ending`].

use std::time::Duration;

use rustmq_engine_core::log::TransactionEnd;
use rustmq_engine_core::replication::{
    Assignment, BatchesRead, Change, ChangeFailure, Message, PartitionEpoch, ProduceRefusal, Proposal, Refusal, Run,
};
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
use crate::{Chance, Dice, Schedule, Trace};

/// No run that does something useful has more events.
const EVENTS_MAX: u64 = 1_000_000;
/// How much slower clients are when there is no trouble: it lasts long, so that all can be judged.
const CALM_PACE: u32 = 3;
/// Of reads for a push.
const READ_FAILED: Chance = Chance::percent(1);
/// Of cuts of a log.
const CUT_FAILED: Chance = Chance::percent(10);
/// Of client requests: an answer is lost.
const ANSWER_LOST: Chance = Chance::percent(3);
/// Of client requests: it is sent to any broker, and not to the one that is said to lead.
const ASTRAY: Chance = Chance::percent(20);

/// Which directions of a link are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    There,
    Back,
    Both,
}

/// A broker's request to the controller.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Register { number: u32 },
    Heartbeat { run: Run, sent_at: Instant },
    Propose(Proposal),
}

/// The controller's message to a broker.
#[derive(Clone, Debug)]
pub enum News {
    Registered { number: u32, run: Run },
    Lease { run: Run, sent_at: Instant, assignment: Assignment },
    Assignment(Assignment),
    Refused { proposal: Proposal, refusal: Refusal },
}

impl News {
    /// For the trace.
    fn fields(&self) -> (&'static str, u64, u64) {
        let of = |assignment: &Assignment| {
            (assignment.leader_epoch.0.unsigned_abs().into(), assignment.partition_epoch.0.into())
        };
        match self {
            Self::Registered { number, run } => ("told of its run", (*number).into(), run.0),
            Self::Lease { assignment, .. } => ("told of its lease", of(assignment).0, of(assignment).1),
            Self::Assignment(assignment) => ("told of an assignment", of(assignment).0, of(assignment).1),
            Self::Refused { proposal, refusal } => {
                ("told of a refusal", proposal.partition_epoch.0.into(), *refusal as u64)
            }
        }
    }
}

#[derive(Clone, Debug)]
pub enum Event {
    Message { from: usize, to: usize, message: Message, batches: Vec<Batch> },
    Ask { from: usize, ask: Ask },
    News { to: usize, news: News },
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
    Trouble,
    Restart(usize),
    Mend { from: usize, to: usize },
    NextPhase,
}

/// The surroundings in which brokers act.
#[derive(Debug)]
pub struct Surroundings {
    pub setting: Setting,
    pub schedule: Schedule<Event>,
    pub controller: Controller,
    pub oracle: Oracle,
    pub events: Events,
    pub dice: Dice,
    pub network: Network,
    trace: Trace,
}

impl Surroundings {
    pub const fn now(&self) -> Instant {
        self.schedule.now()
    }

    pub fn trace(&mut self, what: &str, fields: &[(&str, u64)]) {
        self.trace.step(self.schedule.now(), what, fields);
    }

    pub fn send(&mut self, from: usize, to: BrokerId, message: &Message, batches: &[Batch]) {
        let to = index_of(to);
        for at in self.network.fates(self.schedule.now(), &self.setting, from, to) {
            let (message, batches) = (message.clone(), batches.to_vec());
            self.schedule.at(at, Event::Message { from, to, message, batches });
        }
    }

    pub fn ask(&mut self, from: usize, ask: Ask) {
        for at in self.network.fates(self.schedule.now(), &self.setting, from, CONTROLLER) {
            self.schedule.at(at, Event::Ask { from, ask });
        }
    }

    fn tell(&mut self, to: usize, news: &News) {
        for at in self.network.fates(self.schedule.now(), &self.setting, CONTROLLER, to) {
            self.schedule.at(at, Event::News { to, news: news.clone() });
        }
    }

    /// Reading takes its time when it is from disk.
    pub fn read_later(&mut self, broker: usize, life: u32, read: BatchesRead, batches: Vec<Batch>) {
        let is_cold = self.dice.below(8) == 0;
        let delay = if is_cold { self.dice.delay(self.setting.sync) } else { Duration::ZERO };
        self.schedule.after(delay, Event::Read { broker, life, read, batches });
    }

    /// Whether a leader's read of its log gives nothing.
    pub fn fails_to_read(&mut self) -> bool {
        let fails = !self.network.is_calm() && self.dice.happens(READ_FAILED);
        if fails {
            self.events.note(Named::ReadFailed);
        }
        fails
    }

    /// Whether a cut fails, and for good.
    pub fn fails_to_cut(&mut self) -> Option<ChangeFailure> {
        if self.network.is_calm() || !self.dice.happens(CUT_FAILED) {
            return None;
        }
        self.events.note(Named::CutFailed);
        Some(if self.dice.coin() { ChangeFailure::Transient } else { ChangeFailure::Permanent })
    }

    /// How long it takes to drop a log.
    pub fn draw_drop(&mut self, is_empty: bool) -> Duration {
        if is_empty { Duration::ZERO } else { self.dice.delay(self.setting.drop) }
    }

    pub fn answer(&mut self, request: &Request, is_success: bool) {
        if self.dice.happens(ANSWER_LOST) {
            return;
        }
        let delay = self.dice.delay(self.setting.delay);
        let (producer, number) = (request.producer, request.number);
        self.schedule.after(delay, Event::Answer { producer, number, is_success });
    }

    fn draw_ways(&mut self) -> Ways {
        [Ways::There, Ways::Back, Ways::Both][self.dice.below(3)]
    }

    /// The link between two nodes carries nothing for a while.
    fn cut(&mut self, node: usize, peer: usize, ways: Ways, lasts: Duration) {
        self.events.note(Named::LinkCut);
        self.trace("cut", &[("one", node as u64), ("other", peer as u64), ("ways", ways as u64)]);
        for (from, to, kept) in [(node, peer, Ways::Back), (peer, node, Ways::There)] {
            if ways != kept {
                self.network.cut(from, to);
                self.schedule.after(lasts, Event::Mend { from, to });
            }
        }
    }

    pub fn note_refusal(&mut self, refusal: ProduceRefusal) {
        match refusal {
            ProduceRefusal::NotLeader | ProduceRefusal::NotSoManyReplicas { .. } => {}
            ProduceRefusal::LeaseExpired => self.events.note(Named::LeaseExpired),
            ProduceRefusal::NotEnoughReplicas { .. } => self.events.note(Named::TooFewInSync),
        }
    }

    pub fn judge_answer(&self, broker: usize, epoch: LeaderEpoch, log: &ReplicaLog, request: &Request, end: Offset) {
        let current = self.controller.partition().leader_epoch;
        let is_current = epoch == current || self.controller.was_moved(epoch);
        assert!(is_current, "a leader of epoch {epoch} answers, and its lease is over: {current} has begun");
        let leader = standing(&self.controller, self.setting.in_sync_min, epoch);
        self.oracle.on_answer(broker, log, request, leader, end);
    }

    /// The leader of `epoch`, whose log this is, counts the records below `to` as committed.
    pub fn judge_commit(&mut self, epoch: LeaderEpoch, log: &ReplicaLog, to: Offset) {
        let leader = standing(&self.controller, self.setting.in_sync_min, epoch);
        self.oracle.on_committed(log, to, leader);
    }

    pub fn judge_start(&self, log: &ReplicaLog) {
        let (start, most) = (log.local_start(), self.controller.partition().starts.local());
        assert!(start <= most, "a log starts at {start}, and the controller has it start at {most}");
    }

    /// A start that a leader with this log may want to move.
    pub fn draw_start(&mut self, log: &ReplicaLog) -> Option<Change> {
        let (starts, high_watermark) = (log.starts(), log.high_watermark());
        let most = high_watermark.max(starts.local());
        let drawn = |dice: &mut Dice, from: Offset| {
            let (from, most) = (from.0.unsigned_abs(), most.0.unsigned_abs());
            let to = if dice.below(4) == 0 { most } else { dice.between(from, most) };
            Offset(i64::try_from(to).expect("it was an offset"))
        };
        if self.dice.below(3) == 0 {
            return Some(Change::LogStart(drawn(&mut self.dice, starts.log_start)));
        }
        // An object ends where a batch ends.
        let wanted = drawn(&mut self.dice, starts.local());
        let to = log.between(starts.local(), wanted).last().map(Batch::end).filter(|end| *end <= high_watermark)?;
        Some(Change::TierEnd { from: starts.local(), to })
    }
}

/// Of the leader of `epoch`.
fn standing(controller: &Controller, in_sync_min: usize, epoch: LeaderEpoch) -> Standing<'_> {
    let partition = controller.partition();
    let in_sync = (partition.leader_epoch == epoch).then_some(partition.in_sync.as_slice());
    Standing { in_sync, in_sync_min: in_sync_min.min(BROKERS) }
}

#[derive(Debug)]
pub struct World {
    pub(super) around: Surroundings,
    pub(super) brokers: Vec<Broker>,
    pub(super) producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    names: Names,
    operations: u64,
    pub(super) phase: Phase,
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut dice = Dice::new(seed);
        let setting = Setting::draw(&mut dice);
        let mut schedule = Schedule::new(dice.fork());
        let controller = Controller::new(BROKERS, setting.in_sync_min, setting.lease, dice.fork());
        let network = Network::new(dice.fork());
        let brokers = (0..BROKERS).map(|index| {
            let thousandths = 1_000 - setting.drift + dice.between(0, 2 * setting.drift);
            Broker::new(index, Clock { thousandths })
        });
        let brokers = brokers.collect();
        let producers = (0..setting.producers).map(|index| Producer::new(index, dice.fork())).collect();
        let consumers = (0..setting.consumers).map(Consumer::new).collect();
        (0..BROKERS).for_each(|broker| schedule.after(dice.delay(setting.delay), Event::Restart(broker)));
        (0..setting.producers).for_each(|index| schedule.after(setting.pace.most, Event::Producer(index)));
        (0..setting.consumers).for_each(|index| schedule.after(setting.pace.most, Event::Consumer(index)));
        for event in [Event::ControllerTick, Event::Housekeeping, Event::Trouble] {
            schedule.after(setting.lease / 4, event);
        }
        let (oracle, events) = (Oracle::default(), Events::default());
        let around = Surroundings { setting, schedule, controller, oracle, events, dice, network, trace };
        let (names, operations, phase) = (Names::default(), 0, Phase::Trouble);
        Self { around, brokers, producers, consumers, names, operations, phase }
    }

    pub fn run(mut self) -> Report {
        let mut events = 0;
        while self.phase != Phase::Rest
            && let Some(event) = self.around.schedule.advance()
        {
            events += 1;
            assert!(events < EVENTS_MAX, "brokers keep each other busy for ever");
            self.step(event);
        }
        let Self { around, operations, .. } = self;
        Report { setting: around.setting, operations, events: around.events, trace: around.trace }
    }

    fn step(&mut self, event: Event) {
        let around = &mut self.around;
        let lives = |brokers: &[Broker], broker: usize, life: u32| brokers[broker].life() == life;
        match event {
            Event::Message { from, to, message, batches } => {
                let (what, [first, second]) = message_fields(&message);
                let fields = [("from", from as u64), ("to", to as u64), ("first", first), ("second", second)];
                around.trace(what, &fields);
                self.brokers[to].on_message(around, from, &message, &batches);
            }
            Event::Ask { from, ask } => self.on_ask(from, ask),
            Event::News { to, news } => {
                let (what, first, second) = news.fields();
                around.trace(what, &[("to", to as u64), ("first", first), ("second", second)]);
                self.brokers[to].on_news(around, news);
            }
            Event::Timer { broker, life, at } if lives(&self.brokers, broker, life) => {
                around.trace("timer", &[("broker", broker as u64)]);
                self.brokers[broker].on_timer(around, at);
            }
            Event::Synced { broker, life, until } if lives(&self.brokers, broker, life) => {
                around.trace("synced", &[("broker", broker as u64), ("until", until as u64)]);
                self.brokers[broker].on_synced(around, until);
            }
            Event::Dropped { broker, life, start } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].on_dropped(around, start);
            }
            Event::CutFailed { broker, life, failure } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].on_cut_failed(around, failure);
            }
            Event::Read { broker, life, read, batches } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].on_batches_read(around, read, &batches);
            }
            Event::Heartbeat { broker, life } if lives(&self.brokers, broker, life) => {
                self.brokers[broker].heartbeat(around);
            }
            Event::ControllerTick => {
                let now = around.now();
                let before = around.controller.partition().partition_epoch;
                around.controller.tick(now, &mut around.events);
                self.publish(before);
                self.around.schedule.after(self.around.setting.lease / 10, Event::ControllerTick);
            }
            Event::Producer(index) => self.produce(index),
            Event::Answer { producer, number, is_success } => {
                let now = around.now();
                let fields =
                    [("producer", producer as u64), ("number", number.into()), ("is success", is_success.into())];
                around.trace("answer", &fields);
                match self.producers[producer].on_answer(now, number, is_success) {
                    Some(TransactionEnd::Commit) => around.events.note(Named::Commit),
                    Some(TransactionEnd::Abort) => around.events.note(Named::Abort),
                    None => {}
                }
            }
            Event::Consumer(index) => self.consume(index),
            Event::Housekeeping => self.keep_house(),
            Event::Trouble => self.make_trouble(),
            Event::Restart(broker) => self.restart(broker),
            Event::Mend { from, to } => around.network.mend(from, to),
            Event::NextPhase => self.end_phase(),
            // Of a process that has ended.
            Event::Timer { .. }
            | Event::Synced { .. }
            | Event::Dropped { .. }
            | Event::CutFailed { .. }
            | Event::Read { .. }
            | Event::Heartbeat { .. } => {}
        }
    }

    /// The controller's turn.
    fn on_ask(&mut self, from: usize, ask: Ask) {
        let around = &mut self.around;
        let now = around.now();
        let before = around.controller.partition().partition_epoch;
        match ask {
            Ask::Register { number } => {
                if let Some(run) = around.controller.register(now, from, number, &mut around.events) {
                    around.trace("registered", &[("broker", from as u64), ("run", run.0)]);
                    around.tell(from, &News::Registered { number, run });
                }
            }
            Ask::Heartbeat { run, sent_at } => {
                if around.controller.heartbeat(now, from, run, &mut around.events) {
                    let assignment = around.controller.partition().clone();
                    around.tell(from, &News::Lease { run, sent_at, assignment });
                }
            }
            Ask::Propose(proposal) => {
                let outcome = around.controller.propose(&proposal, &mut around.events);
                around.trace("proposal", &[("from", from as u64), ("is granted", u64::from(outcome.is_ok()))]);
                if let Err(refusal) = outcome {
                    around.tell(from, &News::Refused { proposal, refusal });
                }
            }
        }
        self.publish(before);
    }

    /// Tells everybody, if the partition has changed.
    fn publish(&mut self, before: PartitionEpoch) {
        let around = &mut self.around;
        let partition = around.controller.partition().clone();
        if partition.partition_epoch == before {
            return;
        }
        let leader = partition.leader.map_or(u64::MAX, |leader| leader.broker.0.unsigned_abs().into());
        let epoch = partition.leader_epoch.0.unsigned_abs().into();
        around.trace("partition", &[("leader", leader), ("epoch", epoch), ("in sync", partition.in_sync.len() as u64)]);
        for broker in 0..BROKERS {
            // Some hear of it with their next heartbeat only.
            if !self.phase.has_trouble() || around.dice.happens(around.setting.told) {
                around.tell(broker, &News::Assignment(partition.clone()));
            }
        }
    }

    /// The broker that a client turns to.
    fn choose_broker(&mut self) -> usize {
        let leader = self.around.controller.partition().leader;
        match leader {
            Some(leader) if !self.around.dice.happens(ASTRAY) => index_of(leader.broker),
            _ => self.around.dice.below(BROKERS),
        }
    }

    fn produce(&mut self, index: usize) {
        let pace = self.draw_pace();
        self.around.schedule.after(pace, Event::Producer(index));
        let now = self.around.now();
        let Some(request) = self.producers[index].step(now, &mut self.names, self.phase.finishes()) else { return };
        self.count_operation();
        let broker = self.choose_broker();
        let name = u64::from(request.batch.name());
        self.around.trace("append", &[("broker", broker as u64), ("batch", name)]);
        if self.brokers[broker].produce(&mut self.around, request).is_err() {
            self.around.answer(&request, false);
        }
    }

    fn consume(&mut self, index: usize) {
        let pace = self.draw_pace();
        self.around.schedule.after(pace, Event::Consumer(index));
        self.count_operation();
        let broker = self.choose_broker();
        let around = &mut self.around;
        let Some((replica, log)) = self.brokers[broker].replica() else { return };
        let consumer = &mut self.consumers[index];
        consumer.fetch(replica, log, around.controller.partition(), &around.oracle, &mut around.events);
        let position = consumer.position().0.unsigned_abs();
        around.trace("fetched", &[("consumer", index as u64), ("broker", broker as u64), ("position", position)]);
    }

    /// Between two requests of one client.
    fn draw_pace(&mut self) -> Duration {
        let pace = self.around.dice.delay(self.around.setting.pace);
        if self.phase.has_trouble() { pace } else { pace * CALM_PACE }
    }

    fn count_operation(&mut self) {
        if !self.phase.has_trouble() {
            return;
        }
        self.operations += 1;
        if self.operations == self.around.setting.requests {
            self.around.schedule.after(Duration::ZERO, Event::NextPhase);
        }
    }

    fn keep_house(&mut self) {
        if self.phase.finishes() {
            return;
        }
        let is_calm = !self.phase.has_trouble();
        let least = if is_calm { self.around.setting.restarted_within() } else { Duration::ZERO };
        let delay = self.around.dice.delay(self.around.setting.housekeeping) + least;
        self.around.schedule.after(delay, Event::Housekeeping);
        self.count_operation();
        let broker = self.choose_broker();
        self.brokers[broker].keep_house(&mut self.around);
    }

    fn make_trouble(&mut self) {
        if !self.phase.has_trouble() {
            return;
        }
        let around = &mut self.around;
        let delay = around.dice.delay(around.setting.trouble);
        around.schedule.after(delay, Event::Trouble);
        let mut node = around.dice.below(BROKERS);
        if around.dice.coin() {
            // Rare, and more is to go wrong in the midst of it.
            let drops = |broker: &Broker| broker.replica().is_some_and(|(_, log)| log.reset_noted().is_some());
            node = self.brokers.iter().position(drops).unwrap_or(node);
        }
        match around.dice.below(9) {
            0..3 if self.brokers[node].is_up() => {
                around.trace("crash", &[("broker", node as u64)]);
                self.brokers[node].crash(around);
                let down = around.dice.delay(around.setting.down);
                around.schedule.after(down, Event::Restart(node));
            }
            3..6 => self.cut_links(node),
            6..8 => {
                around.events.note(Named::LeaderMoved);
                let before = around.controller.partition().partition_epoch;
                around.controller.move_leader(&mut around.events);
                self.publish(before);
            }
            8 => {
                let is_fenced = |broker: &&mut Broker| broker.is_up() && around.controller.is_fenced(broker.index());
                if let Some(broker) = self.brokers.iter_mut().find(is_fenced) {
                    broker.register_anew();
                }
            }
            _ => {}
        }
    }

    /// Of one link of a node, of all those to other brokers, or of all.
    fn cut_links(&mut self, node: usize) {
        let around = &mut self.around;
        let other = if around.dice.coin() { CONTROLLER } else { around.dice.below(BROKERS) };
        let (peers, ways) = match around.dice.below(4) {
            0 => (0..CONTROLLER + 1, Ways::Both),
            1 => (0..CONTROLLER, Ways::Both),
            _ => (other..other + 1, around.draw_ways()),
        };
        let lasts = around.dice.delay(around.setting.cut);
        peers.filter(|peer| *peer != node).for_each(|peer| around.cut(node, peer, ways, lasts));
    }

    pub(super) fn restart(&mut self, broker: usize) {
        if self.brokers[broker].is_up() {
            return;
        }
        let around = &mut self.around;
        let is_restart = self.brokers[broker].life() > 0;
        if is_restart && around.controller.may_lose_its_disk(broker) && around.dice.happens(around.setting.replaced) {
            around.events.note(Named::DiskReplaced);
            self.brokers[broker].replace_disk(around);
        }
        around.trace("start", &[("broker", broker as u64)]);
        self.brokers[broker].start(around);
    }
}
