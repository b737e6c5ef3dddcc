//! The course of a run: one event queue for the partitions, their coordinators, the network, the
//! producers and the faults. [`super::ending`] ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_broker_core::groups::{GroupId, Groups};
use rustmq_broker_core::transactions::Transactions;
use rustmq_model::{PartitionId, TopicName, TopicPartition, TransactionalId};

use super::Report;
use super::calls::{Call, CallId};
use super::consumers::Consumer;
use super::coordinators::{Hosts, Kind, Output};
use super::ending::Phase;
use super::environment::{Environment, Event, FIRST_DATA, OFFSETS, TRANSACTIONS};
use super::events::Events;
use super::hosting::{outputs_of, step_host};
use super::markers::Port;
use super::oracle::Oracle;
use super::partition::Partition;
use super::producers::{Numbers, Producer};
use super::readers::Reader;
use super::setting::Setting;
use crate::{Rng, Schedule, Trace};

/// The most events of a run. A run that makes progress has fewer.
const EVENTS_MAX: u64 = 1_000_000;
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
    pub(super) consumers: Vec<Consumer>,
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
        let consumers: Vec<_> = (0..setting.consumers).map(Consumer::new).collect();
        (0..consumers.len()).for_each(|index| schedule.after(setting.pace.most, Event::Consumer(index)));
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
            consumers,
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
            Event::Consumer(index) => self.wake_consumer(index),
            Event::Heartbeat { consumer, number, heartbeat } => self.on_heartbeat(consumer, number, *heartbeat),
            Event::HeartbeatAnswer { consumer, number, result } => self.on_heartbeat_answer(consumer, number, result),
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
            for (host, output) in of_groups {
                match output {
                    Output::Answer(caller, outcome) => self.on_group_outcome(caller, outcome),
                    // Targets are computed at once: the rig of the groups has late and lost ones.
                    Output::Task(task, work) => {
                        let now = self.env.now();
                        if let Some(host) = self.groups.find(host) {
                            host.on_task_done(now, task, work.run());
                        }
                    }
                    Output::Log(_) => unreachable!("it is carried out"),
                }
            }
        }
    }
}
