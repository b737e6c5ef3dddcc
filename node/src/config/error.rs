//! The error of an invalid configuration: its origin, the key, the written value, and a description
//! of legal values. Shows values as they are written, and never the values of variables.

use super::expansion::ExpansionError;
use super::origin::Origin;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: {name} = {shown} is not valid; expected {expected}")]
    Value { origin: Origin, name: String, shown: String, expected: String },
    #[error("{origin}: there is no setting '{name}'{hint}")]
    Unknown { origin: Origin, name: String, hint: String },
    #[error("{origin}: {name} must be {expected}, and is a {found}")]
    Shape { origin: Origin, name: String, expected: &'static str, found: &'static str },
    #[error("{origin}: {name}: {error}")]
    Expansion { origin: Origin, name: String, error: ExpansionError },
    #[error("{name} is set twice: {first}, and {second}")]
    Twice { name: String, first: Origin, second: Origin },
    #[error("environment variable {variable} is not UTF-8")]
    NotText { variable: String },
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path}, line {line}: this is not TOML: {message}")]
    Syntax { path: String, line: usize, message: String },
}
