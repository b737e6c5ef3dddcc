//! A kind of coordinator: its machine, and what the runtime must know besides.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use rustmq_broker_core::coordinator::CoordinatorMachine;
use rustmq_model::{LeaderEpoch, TopicId, TopicName};

/// The event of a kind's machine.
pub(crate) type EventOf<K> = <<K as CoordinatorKind>::Machine as CoordinatorMachine>::Event;
/// Work outside of the log that a kind's machine wants.
pub(crate) type TaskOf<K> = <<K as CoordinatorKind>::Machine as CoordinatorMachine>::Task;
/// The result of that work.
pub(crate) type TaskResultOf<K> = <<K as CoordinatorKind>::Machine as CoordinatorMachine>::TaskResult;

/// One kind of coordinator.
///
/// The partitions of its topic are coordinators' logs: they lie wholly on their replicas, and are
/// never moved to the object tier.
pub(crate) trait CoordinatorKind: Sized + Send + Sync + 'static {
    type Machine: CoordinatorMachine<
            Request: Send,
            Outcome: Send,
            Event: Send,
            Key: Send,
            Timer: Send,
            Effect: Send,
            Task: Send,
            TaskResult: Send,
            ReplayError: Send,
        > + Send
        + 'static;

    /// The name of the kind in log lines.
    const NAME: &'static str;

    /// The state of a partition before its log is replayed. All of the coordinator's appends carry
    /// the leader epoch. `batch_bytes_max` is the topic's
    /// `max.message.bytes` when the load begins: the runtime applies later changes to appends, but
    /// does not report them to the machine.
    fn machine(&self, leader_epoch: LeaderEpoch, batch_bytes_max: usize) -> Self::Machine;

    /// The topics that the state refers to, with their ids; zero for an unknown id.
    fn topics(machine: &Self::Machine) -> BTreeSet<(TopicName, TopicId)>;

    /// The event that tells an active coordinator all topics of the cluster, for kinds that need
    /// them.
    fn all_topics(&self) -> Option<EventOf<Self>> {
        None
    }

    /// The event for topics that no longer exist; none if the machine knows no topics.
    fn topics_missing(topics: BTreeSet<(TopicName, TopicId)>) -> Option<EventOf<Self>>;

    /// Carries out a task of the machine. The future is dropped when the coordinator resigns. A
    /// task that may wait for long holds up no other one: all tasks of a coordinator run at the
    /// same time.
    fn run_task(&self, work: TaskOf<Self>) -> BoxFuture<'static, TaskResultOf<Self>>;
}
