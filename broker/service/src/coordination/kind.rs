//! A kind of coordinator: its machine, and what the runtime must know besides.

use std::collections::BTreeSet;

use rustmq_broker_core::coordinator::CoordinatorMachine;
use rustmq_model::{TopicId, TopicName};

/// One kind of coordinator.
///
/// The partitions of its topic are coordinators' logs: they lie wholly on their replicas, and are
/// never moved to the object tier.
pub(crate) trait CoordinatorKind: Send + Sync + 'static {
    type Machine: CoordinatorMachine<
            Request: Send,
            Outcome: Send,
            Event: Send,
            Key: Send,
            Timer: Send,
            Effect: Send,
            ReplayError: Send,
        > + Send
        + 'static;

    /// The name of the kind in log lines.
    const NAME: &'static str;

    /// The state of a partition before its log is replayed. `batch_bytes_max` is the topic's
    /// `max.message.bytes` when the load begins: the runtime applies later changes to appends, but
    /// does not report them to the machine.
    fn machine(&self, batch_bytes_max: usize) -> Self::Machine;

    /// The topics that the state refers to, with their ids; zero for an unknown id.
    fn topics(machine: &Self::Machine) -> BTreeSet<(TopicName, TopicId)>;

    /// The event for topics that no longer exist.
    fn topics_missing(topics: BTreeSet<(TopicName, TopicId)>) -> <Self::Machine as CoordinatorMachine>::Event;
}
