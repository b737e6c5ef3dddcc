//! The configuration in force: defaults, then the file, the environment and the flags. A later
//! source overrides the earlier ones.
//!
//! Each crate declares the settings that it reads. [`Config`] has the settings of all crates, and
//! [`catalogue`] finds them by name. `file`, `environment` and `expansion` read the sources of
//! values, [`sources`] combines them and remembers the origin of each value, [`reload`] decides
//! which settings change while the process runs. Kafka's broker-wide settings keep their own dotted
//! names in `[kafka]`; the controller's catalogue judges them.

mod catalogue;
mod environment;
mod error;
mod expansion;
mod file;
mod origin;
mod reference;
mod reload;
mod settings;
mod sources;

use std::collections::{BTreeMap, BTreeSet};

use rustmq_broker_service::BrokerSettings;
use rustmq_controller_core::configs::{self, Effect};
use rustmq_engine_shard::EngineSettings;
use rustmq_kafka_gateway::GatewaySettings;
use rustmq_settings::Settings;

pub use environment::Environment;
pub use file::Readable;
pub use reference::{effective, reference_page};
pub use reload::{Difference, Reload, Verdict};
pub use settings::{LogFormat, LogSettings, ProcessSettings};
pub use sources::{FlagValue, Inputs, Sources};

/// The settings of each crate, with legal values.
#[derive(Clone, Debug)]
pub struct Config {
    pub process: ProcessSettings,
    pub logs: LogSettings,
    pub broker: BrokerSettings,
    pub gateway: GatewaySettings,
    pub engine: EngineSettings,
    /// Kafka's settings by their dotted names, with the canonical form of their values.
    pub kafka: BTreeMap<String, String>,
    /// The names of our own settings that have a value in a source; the others have their defaults.
    pub given: BTreeSet<&'static str>,
}

impl Config {
    /// The configuration that follows from these values.
    pub fn resolve(sources: &Sources) -> Self {
        fn read<S: Settings>(sources: &Sources) -> S {
            S::read(&|name| sources.accepted(name))
        }
        Self {
            process: read(sources),
            logs: read(sources),
            broker: read(sources),
            gateway: read(sources),
            engine: read(sources),
            kafka: sources.kafka().map(|(name, kept)| (name.to_owned(), kept.to_owned())).collect(),
            given: sources.given_names(),
        }
    }

    /// The given settings of Kafka's that have no effect in RustMQ.
    pub fn without_effect(&self) -> impl Iterator<Item = &str> {
        let does_nothing =
            |name: &&str| configs::broker_config(name).is_some_and(|entry| entry.effect == Effect::KeptOnly);
        self.kafka.keys().map(String::as_str).filter(does_nothing)
    }
}

#[cfg(test)]
mod tests;
