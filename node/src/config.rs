//! The configuration in force: defaults, then the file, the environment and the flags, each over
//! the one before.
//!
//! Each crate declares the settings that it reads; [`Config`] has them side by side, and
//! [`catalogue`] knows them by name. `file`, `environment` and `expansion` are for the sources of
//! values, [`sources`] puts them together and remembers where each came from, [`reload`] decides
//! what may change while the process runs. Kafka's broker-wide settings stay under their own dotted
//! names in `[kafka]` and are judged by the controller's catalogue.

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

/// Everything that `rustmq` can be told, within bounds: the settings of each crate.
#[derive(Clone, Debug)]
pub struct Config {
    pub process: ProcessSettings,
    pub logs: LogSettings,
    pub broker: BrokerSettings,
    pub gateway: GatewaySettings,
    pub engine: EngineSettings,
    /// Kafka's own settings by their dotted names, as the catalogue keeps their values.
    pub kafka: BTreeMap<String, String>,
    /// The names of our own settings that were given: the others have their defaults.
    pub given: BTreeSet<&'static str>,
}

impl Config {
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

    /// Kafka's settings that were given and that do nothing here.
    pub fn without_effect(&self) -> impl Iterator<Item = &str> {
        let does_nothing =
            |name: &&str| configs::broker_config(name).is_some_and(|entry| entry.effect == Effect::KeptOnly);
        self.kafka.keys().map(String::as_str).filter(does_nothing)
    }
}

#[cfg(test)]
mod tests;
