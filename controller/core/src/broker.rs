//! Brokers as the controller knows them. Whether one is alive is not said here: that is a lease's
//! business.

use std::collections::BTreeMap;

use rustmq_model::{BrokerId, Endpoint, Timestamp};
use serde::{Deserialize, Serialize};

/// One life of a broker's data folder: renewed when the folder is made or can no longer vouch for
/// what it acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncarnationId(pub u128);

/// What a broker says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRegistration {
    /// The configured `broker.id`, a name. The numeric id belongs to the name for good.
    pub name: String,
    pub incarnation: IncarnationId,
    /// Where clients dial it, by listener name, such as `PLAINTEXT`.
    pub listeners: BTreeMap<String, Endpoint>,
    pub rack: Option<String>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    pub id: BrokerId,
    pub registration: BrokerRegistration,
    /// When the latest registration was proposed.
    pub registered_at: Timestamp,
}
