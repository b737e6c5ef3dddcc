//! The brokers of the cluster. Their registrations do not say whether they are alive.

use std::collections::BTreeMap;

use rustmq_model::{BrokerId, Endpoint, Timestamp};
use serde::{Deserialize, Serialize};

/// The incarnation of a broker's data folder. It is renewed when the folder is made, and when
/// records that the broker acknowledged may be missing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncarnationId(pub u128);

/// The registration of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRegistration {
    /// The configured `broker.id`, a name. The name keeps its numeric id for ever.
    pub name: String,
    pub incarnation: IncarnationId,
    /// The addresses for clients, by listener name, such as `PLAINTEXT`.
    pub listeners: BTreeMap<String, Endpoint>,
    pub rack: Option<String>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    pub id: BrokerId,
    pub registration: BrokerRegistration,
    /// The time of the latest registration.
    pub registered_at: Timestamp,
}
