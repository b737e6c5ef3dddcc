//! The entries of the catalogue.

use super::rule::Rule;
use super::{ConfigError, InvalidConfigReason, VALUE_BYTES_MAX};

/// A config: its name, form and meaning, without a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigEntry {
    pub name: &'static str,
    pub kind: ConfigKind,
    /// None is described as null: the config has no effect unless it is set.
    pub default: Option<&'static str>,
    pub(super) rule: Rule,
    pub effect: Effect,
    pub update: Update,
    /// Sensitive: descriptions hide the value.
    pub sensitive: bool,
    pub(super) text: &'static str,
}

/// A config of topics or groups, and the broker-wide configs that apply where it is not set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScopedConfigEntry {
    pub entry: ConfigEntry,
    /// The first one that is set applies.
    pub synonyms: &'static [BrokerSynonym],
}

/// A broker-wide config that is the default of a topic's or a group's config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSynonym {
    pub name: &'static str,
    /// Its unit in units of the topic config: 3,600,000 for hours if the topic config is in
    /// milliseconds.
    pub factor: i64,
}

/// A broker-wide config of the same unit.
pub(super) const fn same(name: &'static str) -> BrokerSynonym {
    BrokerSynonym { name, factor: 1 }
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

/// The effect of a config in RustMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Applied,
    /// The config has no effect, which its documentation says. It is accepted, kept and described,
    /// because tools set it.
    KeptOnly,
    /// As [`Self::KeptOnly`] for admin clients. The configuration file may not set it: it belongs
    /// to a feature that RustMQ does not have, such as TLS, and an operator who sets it relies on
    /// that feature.
    Absent,
    /// The node's own setting with this name decides. A description shows the value in force; the
    /// config cannot be set under Kafka's name.
    RuledBy(&'static str),
    /// As [`Self::RuledBy`], but the process decides, without a setting.
    WorkedOut,
}

/// Whether a broker-wide config can be changed while brokers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    ReadOnly,
    /// For one listener of one broker, with the listener's name as a prefix. RustMQ has no such
    /// prefixed names.
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

    /// The documentation: the meaning, and a note if the config has no effect.
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

    /// The value in the form in which it is kept: all spellings of a value have the same form.
    pub(super) fn parse(&self, value: &str) -> Result<String, ConfigError> {
        if value.len() > VALUE_BYTES_MAX {
            let reason = InvalidConfigReason::must_be(format!("at most {VALUE_BYTES_MAX} bytes long"));
            return Err(ConfigError::new(self.name, Some(value), reason));
        }
        self.rule.parse(self.kind, value).map_err(|reason| ConfigError::new(self.name, Some(value), reason))
    }
}
