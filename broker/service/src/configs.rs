//! Configs of topics, brokers and groups: described with their sources, altered through the
//! controller.
//!
//! The controller's catalogue has the names, defaults, bounds and documentation. A description
//! shows the values in force.

use rustmq_broker_core::ErrorKind;
use rustmq_controller_core::configs::DescribedConfig;
use rustmq_controller_core::{
    Command, ConfigAlteration, ConfigChange, ConfigResource, CreatedTopic, GroupConfigLimits, Outcome,
};
use rustmq_model::{BrokerId, TopicName, TopicNameError};

use crate::command::{CommandError, each};
use crate::refusals::Refusals;
use crate::session::Session;
use crate::topics::Mode;
use crate::view::UnknownTopic;

/// The most bytes in the id of a group with configs.
const GROUP_ID_BYTES_MAX: usize = 1_024;

/// The resource of a config request, as the client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceName {
    Topic(String),
    /// A broker's id in digits; empty for the defaults of all brokers.
    Broker(String),
    Group(String),
}

#[derive(Clone, Debug)]
pub struct ConfigQuery {
    pub resource: ResourceName,
    /// `None` asks for all.
    pub names: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
pub struct ResourceAlteration {
    pub resource: ResourceName,
    pub change: ConfigChange,
}

/// Kinds of resources that have configs of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    Topic,
    Broker,
    Group,
}

/// The name of a broker resource is not a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is not a broker id.")]
pub struct InvalidBrokerId {
    pub name: String,
}

/// No group of this id can have configs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGroupName {
    #[error("The id of a group with configs must not be empty.")]
    Empty,
    #[error("The id of a group with configs has at most {bytes_max} bytes; this one has {bytes}.")]
    TooLong { bytes: usize, bytes_max: usize },
}

/// Why the configs of a resource are not described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescribeConfigsError {
    #[error(transparent)]
    InvalidTopicName(#[from] TopicNameError),
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    #[error(transparent)]
    InvalidBrokerId(#[from] InvalidBrokerId),
    #[error(transparent)]
    InvalidGroupName(#[from] InvalidGroupName),
    /// A broker knows only its own configuration file.
    #[error("Configs of broker {asked} are asked of that broker; this is {this}.")]
    AnotherBroker { asked: BrokerId, this: BrokerId },
}

impl DescribeConfigsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownTopic(error) => error.kind(),
            Self::InvalidTopicName(_)
            | Self::InvalidBrokerId(_)
            | Self::InvalidGroupName(_)
            | Self::AnotherBroker { .. } => ErrorKind::Invalid,
        }
    }
}

/// Why the configs of a resource are not altered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterConfigsError {
    #[error(transparent)]
    InvalidTopicName(#[from] TopicNameError),
    #[error(transparent)]
    InvalidBrokerId(#[from] InvalidBrokerId),
    #[error(transparent)]
    InvalidGroupName(#[from] InvalidGroupName),
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl AlterConfigsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidTopicName(_) | Self::InvalidBrokerId(_) | Self::InvalidGroupName(_) => ErrorKind::Invalid,
            Self::Command(error) => error.kind(),
        }
    }
}

impl Session {
    /// The configs in force with their sources, in the order of the queries.
    #[must_use]
    pub fn describe_configs(&self, queries: &[ConfigQuery]) -> Vec<Result<Vec<DescribedConfig>, DescribeConfigsError>> {
        queries.iter().map(|query| self.describe(query)).collect()
    }

    /// The configs of a topic that was just created, or whose creation was only validated.
    #[must_use]
    pub fn describe_created(&self, created: &CreatedTopic) -> Vec<DescribedConfig> {
        let view = self.broker.view.read();
        view.state
            .broker_layers(self.broker.id, &self.broker.config.kafka)
            .under_topic(&created.configs)
            .describe_topic()
    }

    fn describe(&self, query: &ConfigQuery) -> Result<Vec<DescribedConfig>, DescribeConfigsError> {
        let view = self.broker.view.read();
        let static_configs = &self.broker.config.kafka;
        let mut configs = match &query.resource {
            ResourceName::Topic(name) => {
                let name = TopicName::new(name)?;
                let layers = view.state.topic_layers(&name, self.broker.id, static_configs);
                let unknown = || UnknownTopic::Name(name.as_str().to_owned());
                layers.ok_or_else(unknown)?.describe_topic()
            }
            ResourceName::Broker(name) if name.is_empty() => {
                // The cluster-wide layer shows only the configs that are set there, as on Kafka.
                let set = view.state.broker_defaults();
                let all = view.state.broker_layers(self.broker.id, static_configs).describe_broker();
                all.into_iter().filter(|config| set.contains_key(config.name)).collect()
            }
            ResourceName::Broker(name) => {
                let id = broker_id(name)?;
                if id != self.broker.id {
                    return Err(DescribeConfigsError::AnotherBroker { asked: id, this: self.broker.id });
                }
                view.state.broker_layers(id, static_configs).describe_broker()
            }
            ResourceName::Group(name) => {
                let group = group_name(name)?;
                view.state.group_layers(group, self.broker.id, static_configs).describe_group()
            }
        };
        if let Some(names) = &query.names {
            configs.retain(|config| names.iter().any(|name| name == config.name));
        }
        Ok(configs)
    }

    /// Alters configs, in the order of the request. The change of one resource is applied as a
    /// whole or not at all.
    pub async fn alter_configs(
        &self,
        alterations: Vec<ResourceAlteration>,
        mode: Mode,
    ) -> Vec<Result<(), AlterConfigsError>> {
        let judge = |ResourceAlteration { resource, change }| {
            config_resource(&resource).map(|resource| ConfigAlteration { resource, change })
        };
        let (alterations, refusals) = Refusals::split(alterations.into_iter().map(judge));
        refusals.join(self.alter_accepted(alterations, mode).await)
    }

    async fn alter_accepted(
        &self,
        alterations: Vec<ConfigAlteration>,
        mode: Mode,
    ) -> Result<Vec<Result<(), AlterConfigsError>>, AlterConfigsError> {
        if alterations.is_empty() {
            return Ok(Vec::new());
        }
        let limits = self.group_config_limits();
        let command = Command::AlterConfigs { alterations, limits, validate_only: mode.is_validate_only() };
        match self.broker.submit(command).await? {
            Outcome::ConfigsAltered(results) => Ok(each(results)),
            other => Err(CommandError::unexpected(&other).into()),
        }
    }

    fn group_config_limits(&self) -> GroupConfigLimits {
        let view = self.broker.view.read();
        let broker_values =
            view.state.broker_layers(self.broker.id, &self.broker.config.kafka).broker_values_for_groups();
        GroupConfigLimits { groups_max: self.broker.config.limits.configured_groups_max, broker_values }
    }

    /// Every resource of these kinds that can have configs; for groups, those that have some.
    #[must_use]
    pub fn config_resources(&self, kinds: &[ResourceKind]) -> Vec<ResourceName> {
        let view = self.broker.view.read();
        let mut resources = Vec::new();
        for kind in kinds {
            match kind {
                ResourceKind::Topic => {
                    let names = view.state.topics().map(|topic| topic.name.as_str().to_owned());
                    resources.extend(names.map(ResourceName::Topic));
                }
                ResourceKind::Broker => {
                    let ids = view.state.brokers().map(|broker| broker.id.0.to_string());
                    resources.extend(ids.map(ResourceName::Broker));
                }
                ResourceKind::Group => {
                    let ids = view.state.configured_groups().map(str::to_owned);
                    resources.extend(ids.map(ResourceName::Group));
                }
            }
        }
        resources
    }
}

fn broker_id(name: &str) -> Result<BrokerId, InvalidBrokerId> {
    name.parse().map(BrokerId).map_err(|_| InvalidBrokerId { name: name.to_owned() })
}

const fn group_name(name: &str) -> Result<&str, InvalidGroupName> {
    match name.len() {
        0 => Err(InvalidGroupName::Empty),
        1..=GROUP_ID_BYTES_MAX => Ok(name),
        bytes => Err(InvalidGroupName::TooLong { bytes, bytes_max: GROUP_ID_BYTES_MAX }),
    }
}

fn config_resource(resource: &ResourceName) -> Result<ConfigResource, AlterConfigsError> {
    match resource {
        ResourceName::Topic(name) => Ok(ConfigResource::Topic(TopicName::new(name)?)),
        ResourceName::Broker(name) if name.is_empty() => Ok(ConfigResource::BrokerDefault),
        ResourceName::Broker(name) => Ok(ConfigResource::Broker(broker_id(name)?)),
        ResourceName::Group(name) => Ok(ConfigResource::Group(group_name(name)?.to_owned())),
    }
}
