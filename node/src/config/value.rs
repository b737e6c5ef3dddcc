//! Reading one value by its form, and the one error that a bad configuration gives: where, which
//! key, what was written, what is expected.

use std::net::SocketAddr;

use rustmq_model::{ByteSize, Endpoint};

use super::settings::Form;
use super::sources::Origin;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: {name} = {value:?} is not valid; expected {expected}")]
    Value { origin: Origin, name: String, value: String, expected: String },
    #[error("{origin}: there is no setting '{name}'{hint}")]
    Unknown { origin: Origin, name: String, hint: String },
    #[error("{origin}: {name} must be {expected}, and is a {found}")]
    Shape { origin: Origin, name: String, expected: &'static str, found: &'static str },
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path} is not TOML: {message}")]
    Syntax { path: String, message: String },
}

/// Checks that `text` is of the form and within its bounds.
pub fn accepts(form: Form, text: &str) -> bool {
    let within = |value: Option<u64>, least, most| value.is_some_and(|value| (least..=most).contains(&value));
    match form {
        Form::Text => !text.is_empty(),
        Form::Address => text.parse::<SocketAddr>().is_ok(),
        Form::HostPort => text.parse::<Endpoint>().is_ok(),
        Form::Size(least, most) => within(text.parse::<ByteSize>().ok().map(|size| size.0), least, most),
        Form::Count(least, most) => within(text.parse().ok(), least, most),
        Form::Duration(least, most) => within(milliseconds(text), least, most),
        Form::Flag => matches!(text, "true" | "false"),
        Form::Choice(choices) => choices.contains(&text),
    }
}

/// A number of milliseconds, plain or with a unit.
pub fn milliseconds(text: &str) -> Option<u64> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("", 1)];
    units.iter().find_map(|(unit, factor)| text.strip_suffix(unit)?.trim().parse::<u64>().ok()?.checked_mul(*factor))
}
