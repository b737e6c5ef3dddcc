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

/// The kinds behind codes, each once: a short request must not make an answer without bounds. One
/// without resources here is left out.
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

/// The one name of a resource that can be written in many ways: of a broker, whose id may have a
/// sign and zeros before it.
pub fn one_name(kind: i8, name: &str) -> String {
    match name.parse::<i32>() {
        Ok(id) if kind == BROKER => id.to_string(),
        _ => name.to_owned(),
    }
}

/// Code and name of a resource.
pub fn code_and_name(resource: ResourceName) -> (i8, String) {
    match resource {
        ResourceName::Topic(name) => (TOPIC, name),
        ResourceName::Broker(name) => (BROKER, name),
        ResourceName::Group(name) => (GROUP, name),
    }
}
