//! The cluster's metadata as a pure state machine, and the catalogue of Kafka's configs.
//!
//! [`ClusterState::apply`] takes a [`Command`] and gives an [`Outcome`] or a [`Rejection`], and the
//! [`Delta`]s it made. No I/O, clock or randomness: the proposer puts time and new ids into the
//! command, so every replica decides alike.

mod alteration;
mod broker;
mod command;
pub mod configs;
mod creation;
mod delta;
mod image;
mod outcome;
mod placement;
mod state;
#[cfg(test)]
mod tests;
mod topic;

pub use broker::{Broker, BrokerRegistration, IncarnationId};
pub use command::{
    Command, ConfigAlteration, ConfigChange, ConfigEdit, ConfigResource, EditOperation, NewPartitions, NewTopic,
    PartitionLimits, Placement, TopicSelector,
};
pub use delta::{BrokerConfigScope, Delta};
pub use outcome::{CreatedTopic, DeletedTopic, ExtendedTopic, Outcome, ProducerIdBlock, Rejection};
pub use state::ClusterState;
pub use topic::{Partition, Topic};

/// Explicitly set configs of one resource, by name.
pub type Configs = std::collections::BTreeMap<String, String>;
