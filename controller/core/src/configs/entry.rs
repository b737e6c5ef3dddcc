//! One line of the catalogue.

use super::rule::Rule;
use super::{ConfigError, InvalidConfigReason, VALUE_BYTES_MAX};

/// A config: its name, form and meaning. Where it is set is not known here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigEntry {
    pub name: &'static str,
    pub kind: ConfigKind,
    /// None prints as null: nothing applies unless it is set.
    pub default: Option<&'static str>,
    pub(super) rule: Rule,
    pub effect: Effect,
    pub update: Update,
    /// Described without its value.
    pub sensitive: bool,
    pub(super) text: &'static str,
}

/// A config of topics, and the broker-wide configs that it follows where it is not set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicConfigEntry {
    pub entry: ConfigEntry,
    /// The first that is set counts.
    pub synonyms: &'static [BrokerSynonym],
}

/// A broker-wide config behind a topic config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSynonym {
    pub name: &'static str,
    /// What one unit of it is in units of the topic config: 3,600,000 for hours behind
    /// milliseconds.
    pub factor: i64,
}

/// The form of a value, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    /// Items between commas.
    List,
    /// The name of a Java class.
    Class,
    /// Never shown.
    Password,
}

/// Whether RustMQ does anything with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Applied,
    /// Accepted, kept and described, since tools insist on it; the documentation says so.
    KeptOnly,
    /// As [`Self::KeptOnly`] for admin clients. The configuration file may not set it, since it
    /// belongs to something that RustMQ does not have, such as TLS: whoever sets it relies on that.
    Absent,
    /// The setting of the node's own with this name decides. What is described is in force, and
    /// nothing can be set under Kafka's name.
    RuledBy(&'static str),
    /// As [`Self::RuledBy`], where no setting decides but the process itself.
    WorkedOut,
}

/// Whether a broker-wide config can be changed while brokers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    ReadOnly,
    /// For one listener of one broker, under a name that begins with the listener's: there are no
    /// such names here.
    PerListener,
    PerBroker,
    ClusterWide,
}

impl ConfigEntry {
    pub(super) const fn new(
        name: &'static str,
        kind: ConfigKind,
        default: Option<&'static str>,
        rule: Rule,
        text: &'static str,
    ) -> Self {
        Self { name, kind, default, rule, effect: Effect::Applied, update: Update::ReadOnly, sensitive: false, text }
    }

    pub(super) const fn kept_only(mut self) -> Self {
        self.effect = Effect::KeptOnly;
        self
    }

    pub(super) const fn absent(mut self) -> Self {
        self.effect = Effect::Absent;
        self
    }

    pub(super) const fn ruled_by(mut self, setting: &'static str) -> Self {
        self.effect = Effect::RuledBy(setting);
        self
    }

    pub(super) const fn worked_out(mut self) -> Self {
        self.effect = Effect::WorkedOut;
        self
    }

    pub(super) const fn dynamic(mut self) -> Self {
        self.update = Update::ClusterWide;
        self
    }

    pub(super) const fn per_broker(mut self) -> Self {
        self.update = Update::PerBroker;
        self
    }

    pub(super) const fn per_listener(mut self) -> Self {
        self.update = Update::PerListener;
        self
    }

    pub(super) const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// What it means, and whether it has an effect here.
    #[must_use]
    pub fn documentation(&self) -> String {
        let effect = match self.effect {
            Effect::Applied => String::new(),
            Effect::KeptOnly => "It has no effect in RustMQ: it is kept and described only.".to_owned(),
            Effect::Absent => {
                "It has no effect in RustMQ, which does not have what it belongs to: it is kept and described only."
                    .to_owned()
            }
            Effect::RuledBy(setting) => format!("It is set by {setting} in RustMQ's own configuration."),
            Effect::WorkedOut => "It cannot be set.".to_owned(),
        };
        [self.text, &effect].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// The value as it is kept: in the one form that all its spellings have in common.
    pub(super) fn parse(&self, value: &str) -> Result<String, ConfigError> {
        if value.len() > VALUE_BYTES_MAX {
            let reason = InvalidConfigReason::must_be(format!("at most {VALUE_BYTES_MAX} bytes long"));
            return Err(ConfigError::new(self.name, Some(value), reason));
        }
        self.rule.parse(self.kind, value).map_err(|reason| ConfigError::new(self.name, Some(value), reason))
    }
}
