//! The cluster's metadata as a pure state machine, and the catalogue of Kafka's configs.
//!
//! [`ClusterState::apply`] takes a [`Command`] and returns an [`Outcome`] or a [`Rejection`], with
//! the [`Delta`]s that it has made. There is no I/O, clock or randomness: the proposer puts the
//! time and new ids into the command, so that every replica makes the same decision.
//!
//! ```
//! use rustmq_controller_core::{ClusterState, Command, Configs, Outcome};
//!
//! let (mut leader, mut copy) = (ClusterState::default(), ClusterState::default());
//! let bootstrap = Command::Bootstrap {
//!     cluster_id: "a-cluster".to_owned(),
//!     features: Default::default(),
//!     broker_defaults: Configs::new(),
//! };
//! let (result, deltas) = leader.apply(bootstrap);
//! assert!(matches!(result, Ok(Outcome::Bootstrapped { .. })));
//!
//! // A copy of the state follows by the deltas alone.
//! deltas.iter().for_each(|delta| copy.replay(delta));
//! assert_eq!(copy, leader);
//! ```

mod alteration;
mod broker;
mod command;
pub mod configs;
mod creation;
mod delta;
mod features;
mod image;
mod outcome;
mod placement;
mod state;
#[cfg(test)]
mod tests;
mod topic;

pub use broker::{Broker, BrokerRegistration, IncarnationId};
pub use command::{
    Command, ConfigAlteration, ConfigChange, ConfigEdit, ConfigResource, EditOperation, FeatureDirection,
    FeatureUpdate, GroupConfigLimits, NewPartitions, NewTopic, PartitionLimits, Placement, TopicSelector,
};
pub use delta::{BrokerConfigScope, Delta};
pub use outcome::{
    CreatedTopic, DeletedTopic, ExtendedTopic, InvalidUpdateReason, Outcome, ProducerIdBlock, Rejection,
};
pub use state::ClusterState;
pub use topic::{Partition, Topic};

/// Explicitly set configs of one resource, by name.
pub type Configs = std::collections::BTreeMap<String, String>;
