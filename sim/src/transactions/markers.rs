//! The marker port: brings markers to the leaders of partitions, over a network that loses, delays
//! and repeats them, and their outcomes back to the coordinator.
//!
//! It keeps the port's one promise: below version 2 it writes no marker of an older task after that
//! of a newer one, and none twice. Markers of version 2 may come at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustmq_broker_core::coordinator::TaskId;
use rustmq_broker_core::groups::{GroupError, GroupRequest};
use rustmq_broker_core::transactions::{MarkerOutcome, TransactionTask, TransactionTaskResult};
use rustmq_engine_core::log::{AppendRejection, TransactionRejection};
use rustmq_model::{ProducerId, TopicPartition, TransactionMarker};

use super::coordinators::HostId;
use super::environment::{Caller, Environment, Event, OFFSETS, Waiter};
use super::events::Named;
use super::world::World;
use crate::Chance;

/// The longest wait of the port for the outcomes of one task.
const WAIT_MAX: Duration = Duration::from_millis(150);
/// The probability that a leader refuses a marker for no reason.
const REFUSED: Chance = Chance::percent(3);
/// The probability that a task has no result.
const TASK_LOST: Chance = Chance::percent(1);
/// The probability that a result comes twice.
const REPEATED: Chance = Chance::percent(5);
/// The probability that the controller has no producer ids.
const NO_IDS: Chance = Chance::percent(10);

/// One marker on its way to one partition.
#[derive(Clone, Debug)]
pub struct Delivery {
    host: HostId,
    task: TaskId,
    marker: TransactionMarker,
    partition: usize,
}

/// A task that has no result yet.
#[derive(Debug)]
struct Running {
    left: BTreeSet<usize>,
    outcomes: Vec<(TopicPartition, MarkerOutcome)>,
}

#[derive(Debug, Default)]
pub struct Port {
    running: BTreeMap<(HostId, TaskId), Running>,
    /// The newest task of a coordinator whose marker of a producer has reached a partition.
    newest: BTreeMap<(usize, ProducerId, HostId), Option<TaskId>>,
}

impl Environment {
    /// The outcome of a marker goes back to the port.
    pub fn report_marker(&mut self, delivery: Delivery, outcome: MarkerOutcome) {
        self.send(Event::MarkerWritten { delivery, outcome });
    }
}

impl World {
    pub(super) fn start_task(&mut self, host: HostId, task: TaskId, work: TransactionTask) {
        let env = &mut self.env;
        if env.fails(TASK_LOST) {
            return env.events.note(Named::TaskLost);
        }
        match work {
            TransactionTask::AllocateProducerIds { count } => {
                let count = if env.fails(NO_IDS) { 0 } else { i64::try_from(count).expect("a task wants few ids") };
                let first = env.next_producer_id;
                env.next_producer_id += count;
                let ids = (first..first + count).map(ProducerId).collect();
                self.finish_task(host, task, TransactionTaskResult::ProducerIds(ids));
            }
            TransactionTask::WriteMarkers { marker, partitions } => {
                let index = |name: &TopicPartition| {
                    let found = env.partitions.iter().position(|partition| partition.name == *name);
                    found.expect("the transaction has partitions that were there")
                };
                let left: BTreeSet<_> = partitions.iter().map(index).collect();
                for partition in &left {
                    env.send(Event::Marker(Delivery { host, task, marker, partition: *partition }));
                }
                self.port.running.insert((host, task), Running { left, outcomes: Vec::new() });
                env.schedule.after(WAIT_MAX, Event::PortTimeout { host, task });
            }
        }
    }

    fn finish_task(&mut self, host: HostId, task: TaskId, result: TransactionTaskResult) {
        let env = &mut self.env;
        if env.fails(REPEATED) {
            env.events.note(Named::ResultRepeated);
            let delay = env.rng.delay(env.setting.late_delay);
            env.schedule.after(delay, Event::TaskDone { host, task, result: result.clone() });
        }
        env.report(Event::TaskDone { host, task, result });
    }

    /// A marker reaches its partition.
    pub(super) fn on_marker(&mut self, delivery: Delivery) {
        let Delivery { host, task, marker, partition: index } = delivery;
        let env = &mut self.env;
        let (producer, epoch) = (marker.producer.id.0.unsigned_abs(), marker.producer.epoch.0.unsigned_abs());
        let (version, end) = (marker.version as u64, marker.end as u64);
        let fields = [
            ("partition", index as u64),
            ("producer", producer),
            ("epoch", epoch.into()),
            ("version", version),
            ("end", end),
            ("host", host.number.into()),
            ("task", task.0),
        ];
        env.trace("marker", &fields);
        if !marker.version.bumps_epochs() {
            let newest = self.port.newest.entry((index, marker.producer.id, host)).or_default();
            if newest.is_some_and(|newest| newest >= task) {
                return;
            }
            *newest = Some(task);
        }
        if !env.partitions[index].exists() {
            env.events.note(Named::PartitionDeleted);
            return env.report_marker(delivery, MarkerOutcome::PartitionDeleted);
        }
        if env.partitions[index].leader().is_none() {
            env.events.note(Named::LeaderUnknown);
            return env.report_marker(delivery, MarkerOutcome::LeaderUnknown);
        }
        if env.fails(REFUSED) {
            return env.report_marker(delivery, MarkerOutcome::Unavailable);
        }
        if index == OFFSETS {
            return self.write_group_marker(delivery);
        }
        match env.append_marker(index, &marker) {
            Ok(until) => env.wait(index, until, Waiter::Port(delivery)),
            Err(rejection) => {
                let outcome = match rejection {
                    AppendRejection::InvalidProducerEpoch { .. } => MarkerOutcome::Superseded,
                    AppendRejection::Transaction(TransactionRejection::FencedCoordinator { .. }) => {
                        MarkerOutcome::CoordinatorFenced
                    }
                    _ => MarkerOutcome::Unavailable,
                };
                env.note_outcome(outcome);
                env.report_marker(delivery, outcome);
            }
        }
    }

    fn write_group_marker(&mut self, delivery: Delivery) {
        let now = self.env.now();
        let term = self.env.partitions[OFFSETS].leader().map(|leader| leader.term);
        let host = term.and_then(|term| self.groups.of_term(term)).and_then(|host| self.groups.find(host));
        match host {
            Some(host) => {
                let marker = delivery.marker;
                host.request(now, Caller::Port(delivery), GroupRequest::WriteMarker(marker));
            }
            None => self.env.report_marker(delivery, MarkerOutcome::LeaderUnknown),
        }
    }

    pub(super) fn on_group_marker(&mut self, delivery: Delivery, result: &Result<(), GroupError>) {
        let outcome = match result {
            Ok(()) => MarkerOutcome::Written,
            Err(GroupError::InvalidProducerEpoch) => MarkerOutcome::Superseded,
            Err(GroupError::NotCoordinator) => MarkerOutcome::LeaderUnknown,
            Err(_) => MarkerOutcome::Unavailable,
        };
        self.env.note_outcome(outcome);
        self.env.report_marker(delivery, outcome);
    }

    pub(super) fn on_marker_written(&mut self, delivery: &Delivery, outcome: MarkerOutcome) {
        let key = (delivery.host, delivery.task);
        let Some(running) = self.port.running.get_mut(&key) else { return };
        if !running.left.remove(&delivery.partition) {
            return;
        }
        running.outcomes.push((self.env.partitions[delivery.partition].name.clone(), outcome));
        if running.left.is_empty() {
            self.end_task(key);
        }
    }

    pub(super) fn on_port_timeout(&mut self, host: HostId, task: TaskId) {
        if self.port.running.contains_key(&(host, task)) {
            self.env.events.note(Named::MarkerLost);
            self.end_task((host, task));
        }
    }

    fn end_task(&mut self, (host, task): (HostId, TaskId)) {
        let running = self.port.running.remove(&(host, task)).expect("the caller has found it");
        self.finish_task(host, task, TransactionTaskResult::Markers(running.outcomes));
    }
}

impl Environment {
    fn note_outcome(&mut self, outcome: MarkerOutcome) {
        match outcome {
            MarkerOutcome::Superseded => self.events.note(Named::MarkerSuperseded),
            MarkerOutcome::CoordinatorFenced => self.events.note(Named::CoordinatorFenced),
            _ => {}
        }
    }
}
