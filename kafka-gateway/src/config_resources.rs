//! Kafka's codes for kinds of config resources, and the broker's names for the resources.

use rustmq_broker_service::{ResourceKind, ResourceName};

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

/// A kind that has no configs here.
pub struct UnknownKind {
    pub code: i8,
}

impl UnknownKind {
    pub fn message(&self) -> String {
        format!("Configs of resource type {} are not supported by this version of RustMQ.", self.code)
    }
}

pub fn resource(kind: i8, name: &str) -> Result<ResourceName, UnknownKind> {
    match kind {
        TOPIC => Ok(ResourceName::Topic(name.to_owned())),
        BROKER => Ok(ResourceName::Broker(name.to_owned())),
        GROUP => Ok(ResourceName::Group(name.to_owned())),
        code => Err(UnknownKind { code }),
    }
}

/// The kinds behind codes; one without resources here is left out.
pub fn kinds(codes: &[i8]) -> Vec<ResourceKind> {
    let of = |code: &i8| match *code {
        TOPIC => Some(ResourceKind::Topic),
        BROKER => Some(ResourceKind::Broker),
        GROUP => Some(ResourceKind::Group),
        _ => None,
    };
    codes.iter().filter_map(of).collect()
}

/// Code and name of a resource.
pub fn code_and_name(resource: ResourceName) -> (i8, String) {
    match resource {
        ResourceName::Topic(name) => (TOPIC, name),
        ResourceName::Broker(name) => (BROKER, name),
        ResourceName::Group(name) => (GROUP, name),
    }
}
