//! All broker-wide configs of Apache Kafka 4.4, by subject. Names, kinds, defaults and update modes
//! are Kafka's; an entry says where RustMQ differs.

mod cluster;
mod groups;
mod network;
mod newer_groups;
mod operation;
mod replication;
mod sasl;
mod security;
mod storage;
mod tiering;
mod transactions;

use std::sync::LazyLock;

use super::entry::{ConfigEntry, ConfigKind};
use super::rule::Rule;

const MAX: &str = "9223372036854775807";
const INT_MAX: &str = "2147483647";

const SUBJECTS: [&[ConfigEntry]; 11] = [
    cluster::ENTRIES,
    network::ENTRIES,
    storage::ENTRIES,
    replication::ENTRIES,
    groups::ENTRIES,
    newer_groups::ENTRIES,
    transactions::ENTRIES,
    operation::ENTRIES,
    security::ENTRIES,
    sasl::ENTRIES,
    tiering::ENTRIES,
];

/// The broker-wide configs, in the order of their names.
#[must_use]
pub fn broker_configs() -> &'static [ConfigEntry] {
    static SORTED: LazyLock<Vec<ConfigEntry>> = LazyLock::new(|| {
        let mut entries = SUBJECTS.concat();
        entries.sort_unstable_by_key(|entry| entry.name);
        entries
    });
    &SORTED
}

const fn config(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    text: &'static str,
) -> ConfigEntry {
    ConfigEntry::new(name, kind, Some(default), rule, text)
}

/// A config without a default.
const fn unset(name: &'static str, kind: ConfigKind, rule: Rule, text: &'static str) -> ConfigEntry {
    ConfigEntry::new(name, kind, None, rule, text)
}
