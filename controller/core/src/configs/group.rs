//! Configs of groups, in the order of their names: those of consumer groups (KIP-848). RustMQ has
//! neither share groups nor streams groups, so it has none of their configs.
//!
//! A broker bounds the values of its groups. Its bounds are configs of its own, which an operator
//! may change between two starts; so a value is judged when it is set, and brought within the
//! bounds when it is used ([`EffectiveGroupConfig`](super::EffectiveGroupConfig)).

use super::entry::ConfigKind::Int;
use super::entry::{BrokerSynonym, ConfigEntry, ScopedConfigEntry, Update, same};
use super::rule::Rule;
use super::{ConfigError, InvalidConfigReason, broker_config};
use crate::Configs;

pub(super) const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";
pub(super) const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
pub(super) const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";

/// A config of groups, and the broker-wide configs that it depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupConfigEntry {
    pub config: ScopedConfigEntry,
    /// The broker-wide configs with the least and the greatest value.
    pub(super) bounds: [&'static str; 2],
}

impl GroupConfigEntry {
    const fn without_effect(mut self) -> Self {
        self.config.entry = self.config.entry.kept_only();
        self
    }

    /// The broker-wide configs that its value depends on.
    pub(super) fn broker_names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.bounds.into_iter().chain(self.config.synonyms.iter().map(|synonym| synonym.name))
    }
}

const fn consumer(
    name: &'static str,
    default: &'static str,
    least: i64,
    synonyms: &'static [BrokerSynonym],
    bounds: [&'static str; 2],
    text: &'static str,
) -> GroupConfigEntry {
    let mut entry = ConfigEntry::new(name, Int, Some(default), Rule::AtLeast(least), text);
    entry.update = Update::ClusterWide;
    GroupConfigEntry { config: ScopedConfigEntry { entry, synonyms }, bounds }
}

/// Every config of groups.
#[rustfmt::skip]
pub const GROUP_CONFIGS: &[GroupConfigEntry] = &[
    consumer(ASSIGNMENT_INTERVAL, "1000", 0, &[same("group.consumer.assignment.interval.ms")],
        ["group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms"],
        "The least time between two assignments of a consumer group. RustMQ waits for none: a group gets a new one when it needs it.").without_effect(),
    consumer(HEARTBEAT_INTERVAL, "5000", 1, &[same("group.consumer.heartbeat.interval.ms")],
        ["group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"],
        "The time between two heartbeats that the members of a consumer group are told to keep."),
    consumer(SESSION_TIMEOUT, "45000", 1, &[same("group.consumer.session.timeout.ms")],
        ["group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"],
        "How long a member of a consumer group may be silent before the group goes on without it."),
];

/// Broker-wide values by name, where they are not the catalogue's defaults.
#[derive(Clone, Copy)]
pub(super) struct BrokerValues<'a>(pub(super) &'a Configs);

impl BrokerValues<'_> {
    fn number(self, name: &str) -> i64 {
        let set = self.0.get(name).and_then(|value| value.trim().parse().ok());
        let default = || broker_config(name).and_then(|entry| entry.default?.parse().ok());
        set.or_else(default).expect("the catalogue's default is a number")
    }

    /// The least and the greatest value of a config of groups.
    fn bounds(self, entry: &GroupConfigEntry) -> (i64, i64) {
        let [least, greatest] = entry.bounds.map(|name| self.number(name));
        // A file may contradict itself. Then the lower bound holds.
        (least, greatest.max(least))
    }

    /// The value in force: that of the group or of the brokers, within the bounds.
    pub(super) fn in_force(self, configs: &Configs, name: &str) -> i64 {
        let entry = super::group_config(name).expect("the name is in the catalogue");
        let (least, greatest) = self.bounds(entry);
        self.wanted(configs, entry).clamp(least, greatest)
    }

    fn wanted(self, configs: &Configs, entry: &GroupConfigEntry) -> i64 {
        let own = configs.get(entry.config.entry.name).and_then(|value| value.parse().ok());
        own.unwrap_or_else(|| self.number(entry.config.synonyms[0].name))
    }

    /// Checks the configs of a group against the bounds and against each other.
    pub(super) fn check(self, configs: &Configs) -> Result<(), ConfigError> {
        for entry in GROUP_CONFIGS {
            let (least, greatest) = self.bounds(entry);
            let name = entry.config.entry.name;
            if configs.contains_key(name) && !(least..=greatest).contains(&self.wanted(configs, entry)) {
                let legal = format!("from {least} to {greatest}, the bounds of this cluster's groups");
                return Err(refused(configs, name, legal));
            }
        }
        let is_set = [SESSION_TIMEOUT, HEARTBEAT_INTERVAL].iter().any(|name| configs.contains_key(*name));
        if is_set && self.in_force(configs, SESSION_TIMEOUT) <= self.in_force(configs, HEARTBEAT_INTERVAL) {
            return Err(refused(configs, SESSION_TIMEOUT, format!("greater than {HEARTBEAT_INTERVAL}")));
        }
        Ok(())
    }
}

fn refused(configs: &Configs, name: &str, legal: String) -> ConfigError {
    ConfigError::new(name, configs.get(name).map(String::as_str), InvalidConfigReason::must_be(legal))
}
