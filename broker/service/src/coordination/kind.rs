//! A kind of coordinator as the runtime knows it: the machine, and the facts beyond it.

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

    /// Whose state it is, for log lines.
    const NAME: &'static str;

    /// The state of a partition before its log is replayed. A batch of the log holds at most so
    /// many bytes.
    fn machine(&self, batch_bytes_max: usize) -> Self::Machine;

    /// The topics that the state refers to, with the ids that it knows them by; zero where it knows
    /// none.
    fn topics(machine: &Self::Machine) -> BTreeSet<(TopicName, TopicId)>;

    /// Some of these are not there any more.
    fn topics_missing(topics: BTreeSet<(TopicName, TopicId)>) -> <Self::Machine as CoordinatorMachine>::Event;
}
