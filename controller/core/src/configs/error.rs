//! Why a config is not taken. Only the variants below say what of a value an error quotes, so that
//! a caller can keep a secret out of its logs.

use std::borrow::Cow;

use crate::Rejection;

/// The most bytes of a value, or of one item of it, that an error shows. A refused value may have
/// any length.
const QUOTED_BYTES_MAX: usize = 128;

/// Why a value is not taken. The text is fit for the client that sent the value, and shows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {} for configuration {name}: {reason}", value.as_deref().unwrap_or("null"))]
pub struct ConfigError {
    pub name: String,
    /// The value, or as much of it as an error shows. `None` for an unknown name, and for an edit
    /// of the items of a config that is no list.
    pub value: Option<String>,
    pub reason: InvalidConfigReason,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfigReason {
    /// The words describe the legal values, and quote nothing of the refused one.
    #[error("it must be {0}")]
    MustBe(Cow<'static, str>),
    #[error("an item of it is empty")]
    EmptyItem,
    /// Quotes the item, up to 128 bytes of it.
    #[error("'{item}' is not one of {}", choices.join(", "))]
    UnknownItem { item: String, choices: &'static [&'static str] },
    /// Quotes the item, up to 128 bytes of it.
    #[error("it names '{item}' twice")]
    RepeatedItem { item: String },
    /// The config cannot be set, or not in this way, whatever the value. Quotes nothing.
    #[error("{0}")]
    NotSettable(&'static str),
}

impl ConfigError {
    pub(super) fn new(name: &str, value: Option<&str>, reason: InvalidConfigReason) -> Self {
        Self { name: name.to_owned(), value: value.map(quoted), reason }
    }

    pub(crate) fn into_rejection(self) -> Rejection {
        Rejection::InvalidConfig { name: self.name, value: self.value, reason: self.reason.to_string() }
    }

    /// The rejection of a broker's value, which Kafka tells apart from that of a topic's.
    pub(crate) fn into_broker_rejection(self) -> Rejection {
        Rejection::InvalidBrokerConfig { name: self.name, value: self.value, reason: self.reason.to_string() }
    }
}

impl InvalidConfigReason {
    pub(super) fn must_be(legal: impl Into<Cow<'static, str>>) -> Self {
        Self::MustBe(legal.into())
    }

    pub(super) fn unknown_item(item: &str, choices: &'static [&'static str]) -> Self {
        Self::UnknownItem { item: quoted(item), choices }
    }

    pub(super) fn repeated_item(item: &str) -> Self {
        Self::RepeatedItem { item: quoted(item) }
    }

    /// Describes the legal values without quoting anything of the refused one.
    #[must_use]
    pub fn legal_values(&self) -> Cow<'static, str> {
        match self {
            Self::MustBe(legal) => legal.clone(),
            Self::EmptyItem => "a list without empty items".into(),
            Self::UnknownItem { choices, .. } => format!("a list of items from {}", choices.join(", ")).into(),
            Self::RepeatedItem { .. } => "a list without repeated items".into(),
            Self::NotSettable(reason) => format!("nothing: {reason}").into(),
        }
    }
}

fn quoted(text: &str) -> String {
    match text.floor_char_boundary(QUOTED_BYTES_MAX) {
        end if end < text.len() => format!("{}...", &text[..end]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::InvalidConfigReason;
    use crate::configs::{broker_configs, parse_static_broker_config};

    #[test]
    fn legal_values_quote_nothing_of_the_refused_value() {
        let mut refused = 0;
        for config in broker_configs() {
            for value in ["a-secret", "a-secret,a-secret", "a-secret:-1", "[a-secret"] {
                let Err(error) = parse_static_broker_config(config.name, value) else { continue };
                refused += 1;
                let legal = error.reason.legal_values();
                assert!(!legal.contains("a-secret"), "{}: {legal}", config.name);
            }
        }
        assert!(refused > 100, "only {refused} values were refused");
    }

    #[test]
    fn an_error_quotes_a_bounded_part_of_an_item_and_the_legal_values_quote_none() {
        let item = "secret".repeat(5_000);
        let reasons = [
            InvalidConfigReason::unknown_item(&item, &["compact", "delete"]),
            InvalidConfigReason::repeated_item(&item),
        ];
        for reason in reasons {
            let text = reason.to_string();
            assert!(text.contains("secretsecret") && text.len() < 200, "{text}");
            assert!(!reason.legal_values().contains("secret"), "{reason:?}");
        }
    }
}
