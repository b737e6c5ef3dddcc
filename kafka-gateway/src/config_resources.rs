//! Kafka's codes for the types of config resources, and the broker's names of the resources.

use rustmq_broker_service::{ResourceKind, ResourceName};

pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
pub const BROKER_LOGGER: i8 = 8;
pub const CLIENT_METRICS: i8 = 16;
pub const GROUP: i8 = 32;

/// Resources of this type have no configs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Configs of resource type {code} are not supported by this version of RustMQ.")]
pub struct UnknownKind {
    pub code: i8,
}

/// The resource of this type and name.
///
/// # Errors
/// [`UnknownKind`] for a type without configs.
pub fn resource(kind: i8, name: &str) -> Result<ResourceName, UnknownKind> {
    match kind {
        TOPIC => Ok(ResourceName::Topic(name.to_owned())),
        BROKER => Ok(ResourceName::Broker(name.to_owned())),
        GROUP => Ok(ResourceName::Group(name.to_owned())),
        code => Err(UnknownKind { code }),
    }
}

/// The kinds with these codes, each once, so that a short request has no long answer. Leaves out
/// kinds that have no resources here.
pub fn kinds(codes: &[i8]) -> Vec<ResourceKind> {
    let of = |code: &i8| match *code {
        TOPIC => Some(ResourceKind::Topic),
        BROKER => Some(ResourceKind::Broker),
        GROUP => Some(ResourceKind::Group),
        _ => None,
    };
    let mut kinds = Vec::new();
    for kind in codes.iter().filter_map(of) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// The canonical name of a resource: a broker's id may be written with a sign and leading zeros.
pub fn canonical_name(kind: i8, name: &str) -> String {
    match name.parse::<i32>() {
        Ok(id) if kind == BROKER => id.to_string(),
        _ => name.to_owned(),
    }
}

/// The code and the name of a resource.
pub fn code_and_name(resource: ResourceName) -> (i8, String) {
    match resource {
        ResourceName::Topic(name) => (TOPIC, name),
        ResourceName::Broker(name) => (BROKER, name),
        ResourceName::Group(name) => (GROUP, name),
    }
}
