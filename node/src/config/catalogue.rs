//! All settings of the process by name: the settings that its crates declare, and Kafka's
//! broker-wide ones from the controller's catalogue.

use std::collections::BTreeMap;

use rustmq_broker_service::BrokerSettings;
use rustmq_controller_core::configs::{self, ConfigEntry, ConfigError};
use rustmq_engine_shard::EngineSettings;
use rustmq_kafka_gateway::GatewaySettings;
use rustmq_settings::{Accepted, Default, Setting, Settings};

use super::settings::{LogSettings, ProcessSettings};

/// The section of Kafka's settings.
pub const KAFKA: &str = "kafka.";
const PREFIX: &str = "RUSTMQ_";

/// The settings of each crate.
const GROUPS: [&[Setting]; 5] = [
    ProcessSettings::SETTINGS,
    LogSettings::SETTINGS,
    BrokerSettings::SETTINGS,
    GatewaySettings::SETTINGS,
    EngineSettings::SETTINGS,
];

/// A setting that exists.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    Ours(&'static Setting),
    Kafka(&'static ConfigEntry),
}

/// The settings that the crates declare.
pub fn declared() -> impl Iterator<Item = &'static Setting> {
    GROUPS.into_iter().flatten()
}

/// The setting with this name in the file.
pub fn find(name: &str) -> Option<Key> {
    match name.strip_prefix(KAFKA) {
        Some(kafka) => configs::broker_config(kafka).map(Key::Kafka),
        None => declared().find(|setting| setting.name == name).map(Key::Ours),
    }
}

/// The setting that an environment variable sets.
pub fn find_variable(variable: &str) -> Option<Key> {
    let rest = variable.strip_prefix(PREFIX)?;
    let ours = declared().find(|setting| setting.environment_names().iter().any(|name| name == variable));
    let kafka = || {
        let is_named = |entry: &&ConfigEntry| entry.name.replace(['.', '-'], "_").eq_ignore_ascii_case(rest);
        configs::broker_configs().iter().find(is_named)
    };
    ours.map(Key::Ours).or_else(|| kafka().map(Key::Kafka))
}

/// Whether the name of a variable begins with our prefix.
pub fn is_prefixed(variable: &str) -> bool {
    variable.starts_with(PREFIX)
}

/// The known name that is nearest to an unknown one, if it differs by at most three edits.
pub fn nearest(name: &str) -> Option<String> {
    let known = declared().map(|setting| setting.name.to_owned());
    let known = known.chain(configs::broker_configs().iter().map(|entry| format!("{KAFKA}{}", entry.name)));
    let (distance, nearest) = known.map(|candidate| (distance(name, &candidate), candidate)).min()?;
    (distance <= 3).then_some(nearest)
}

impl Key {
    pub fn name(self) -> String {
        match self {
            Self::Ours(setting) => setting.name.to_owned(),
            Self::Kafka(entry) => format!("{KAFKA}{}", entry.name),
        }
    }

    /// Judges a value.
    ///
    /// # Errors
    /// A description of the legal values. It quotes nothing of this one, which may be a secret.
    pub fn accept(self, text: &str) -> Result<Judged, LegalValues> {
        match self {
            Self::Ours(setting) => {
                setting.accept(text).map(Judged::Ours).ok_or_else(|| LegalValues(setting.form.describe()))
            }
            Self::Kafka(entry) => {
                let kept = configs::parse_static_broker_config(entry.name, text);
                kept.map(Judged::Kafka).map_err(|error| LegalValues::of_kafka(&error))
            }
        }
    }

    /// Whether its value must not appear in logs and errors.
    pub const fn is_sensitive(self) -> bool {
        match self {
            Self::Ours(_) => false,
            Self::Kafka(entry) => entry.sensitive,
        }
    }

    /// Whether the setting has no default.
    pub const fn is_optional(self) -> bool {
        self.default().is_none()
    }

    /// The default value, as it is written in the file.
    pub const fn default(self) -> Option<&'static str> {
        match self {
            Self::Ours(Setting { default: Default::Value(text), .. }) => Some(text),
            Self::Ours(_) => None,
            Self::Kafka(entry) => entry.default,
        }
    }
}

/// Judges Kafka's settings together: some values exclude each other.
///
/// # Errors
/// The full name of the setting that is refused, and its legal values beside the others.
pub fn accept_together(kafka: &BTreeMap<String, String>) -> Result<(), (String, LegalValues)> {
    configs::check_broker_configs_together(kafka)
        .map_err(|error| (format!("{KAFKA}{}", error.name), LegalValues::of_kafka(&error)))
}

/// An accepted value in its canonical form, which all its spellings share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    Ours(Accepted),
    Kafka(String),
}

/// A description of the values that a setting takes, after "expected". It quotes no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegalValues(pub String);

impl LegalValues {
    fn of_kafka(error: &ConfigError) -> Self {
        Self(error.reason.legal_values().into_owned())
    }
}

/// The number of single-character edits between two names (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
