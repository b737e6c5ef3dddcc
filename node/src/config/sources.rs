//! Gathers values from the file, the environment and the flags, and remembers where each came from.
//! Decides nothing about their meaning beyond their form.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustmq_model::ByteSize;
use toml::{Table, Value};

use super::settings::{self, SETTINGS, Setting};
use super::value::{self, ConfigError};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Values given on the command line, by setting name.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub Vec<(&'static str, &'static str, String)>);

/// Every value that was given, the strongest source last.
#[derive(Debug, Default)]
pub struct Sources {
    values: BTreeMap<&'static str, (String, Origin)>,
    kafka: BTreeMap<String, (String, Origin)>,
    /// Environment variables with our prefix that name nothing. Orchestrators inject such names for
    /// services, so they do not stop the start.
    pub unknown_environment: Vec<String>,
}

const KAFKA: &str = "kafka";
const PREFIX: &str = "RUSTMQ_";

impl Sources {
    /// `kafka_names` are the dotted names of Kafka's broker-wide settings that exist.
    pub fn gather(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Flags,
        kafka_names: &[&str],
    ) -> Result<Self, ConfigError> {
        let mut sources = Self::default();
        if let Some(path) = file {
            sources.add_file(path, kafka_names)?;
        }
        sources.add_environment(environment, kafka_names)?;
        for (name, flag, text) in flags.0 {
            let setting = settings::find(name).expect("flags name settings that exist");
            sources.put(setting, text, Origin::Flag(flag))?;
        }
        Ok(sources)
    }

    fn add_file(&mut self, path: &Path, kafka_names: &[&str]) -> Result<(), ConfigError> {
        let shown = path.display().to_string();
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax { path: shown, message: error.to_string() })?;
        let origin = Origin::File(path.to_owned());
        let mut flat = Vec::new();
        flatten("", &table, &mut flat);
        for (name, value) in flat {
            let text = scalar(&name, value, &origin)?;
            match name.strip_prefix("kafka.") {
                Some(kafka) if kafka_names.contains(&kafka) => {
                    self.kafka.insert(kafka.to_owned(), (text, origin.clone()));
                }
                Some(_) => return Err(unknown(&origin, &name, kafka_names)),
                None => match settings::find(&name) {
                    Some(setting) => self.put(setting, text, origin.clone())?,
                    None => return Err(unknown(&origin, &name, kafka_names)),
                },
            }
        }
        Ok(())
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
        kafka_names: &[&str],
    ) -> Result<(), ConfigError> {
        for (variable, text) in environment {
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            let origin = Origin::Environment(variable.clone());
            let ours = |setting: &&Setting| {
                setting.environment_name() == variable || setting.aliases.contains(&variable.as_str())
            };
            let kafka = |name: &&&str| name.replace(['.', '-'], "_").eq_ignore_ascii_case(rest);
            if let Some(setting) = SETTINGS.iter().find(ours) {
                self.put(setting, text, origin)?;
            } else if let Some(name) = kafka_names.iter().find(kafka) {
                self.kafka.insert((*name).to_owned(), (text, origin));
            } else {
                self.unknown_environment.push(variable);
            }
        }
        Ok(())
    }

    fn put(&mut self, setting: &'static Setting, text: String, origin: Origin) -> Result<(), ConfigError> {
        if !value::accepts(setting.form, &text) {
            let expected = setting.form.describe();
            return Err(ConfigError::Value { origin, name: setting.name.to_owned(), value: text, expected });
        }
        self.values.insert(setting.name, (text, origin));
        Ok(())
    }

    /// A setting's value and origin; `None` where nothing was given and the process works the value
    /// out.
    pub fn lookup(&self, name: &str) -> Option<(&str, Origin)> {
        let given = self.values.get(name).map(|(text, origin)| (text.as_str(), origin.clone()));
        given.or_else(|| Some((settings::find(name)?.default?, Origin::Default)))
    }

    /// The settings that were given.
    pub(super) fn given(&self) -> BTreeSet<&'static str> {
        self.values.keys().copied().collect()
    }

    /// Kafka's settings that were given, with their origins.
    pub fn kafka_origins(&self) -> impl Iterator<Item = (&str, &str, &Origin)> {
        self.kafka.iter().map(|(name, (text, origin))| (name.as_str(), text.as_str(), origin))
    }

    /// Parses a value that [`value::accepts`] has let in already; a default that is not of its form
    /// would be caught by the tests.
    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ConfigError> {
        let Some((text, origin)) = self.lookup(name) else { return Ok(None) };
        let expected = || settings::find(name).map_or_else(String::new, |setting| setting.form.describe());
        let fail =
            || ConfigError::Value { origin, name: name.to_owned(), value: text.to_owned(), expected: expected() };
        parse(text).map(Some).ok_or_else(fail)
    }

    fn required<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, ConfigError> {
        Ok(self.parsed(name, parse)?.expect("a required setting has a default"))
    }

    pub(super) fn text(&self, name: &str) -> Result<String, ConfigError> {
        self.required(name, |text| Some(text.to_owned()))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        self.parsed(name, |text| Some(text.to_owned()))
    }

    pub(super) fn optional_host_port(&self, name: &str) -> Result<Option<String>, ConfigError> {
        self.optional_text(name)
    }

    pub(super) fn address(&self, name: &str) -> Result<SocketAddr, ConfigError> {
        self.required(name, |text| text.parse().ok())
    }

    pub(super) fn count(&self, name: &str) -> Result<usize, ConfigError> {
        self.required(name, |text| text.parse().ok())
    }

    pub(super) fn optional_count(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        self.parsed(name, |text| text.parse().ok())
    }

    pub(super) fn size(&self, name: &str) -> Result<ByteSize, ConfigError> {
        self.required(name, |text| text.parse().ok())
    }

    pub(super) fn optional_size(&self, name: &str) -> Result<Option<ByteSize>, ConfigError> {
        self.parsed(name, |text| text.parse().ok())
    }

    pub(super) fn duration(&self, name: &str) -> Result<Duration, ConfigError> {
        self.required(name, |text| value::milliseconds(text).map(Duration::from_millis))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        self.required(name, |text| text.parse().ok())
    }

    pub(super) fn choice(&self, name: &str) -> Result<&str, ConfigError> {
        Ok(self.lookup(name).expect("a choice has a default").0)
    }
}

/// Nested tables become dotted names, so that `[kafka]` may write `num.partitions = 3` with or
/// without quotes.
fn flatten<'a>(prefix: &str, table: &'a Table, out: &mut Vec<(String, &'a Value)>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => flatten(&name, inner, out),
            _ => out.push((name, value)),
        }
    }
}

fn scalar(name: &str, value: &Value, origin: &Origin) -> Result<String, ConfigError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        other => Err(ConfigError::Shape {
            origin: origin.clone(),
            name: name.to_owned(),
            expected: "text, a number, true or false",
            found: other.type_str(),
        }),
    }
}

fn unknown(origin: &Origin, name: &str, kafka_names: &[&str]) -> ConfigError {
    let known = SETTINGS.iter().map(|setting| setting.name.to_owned());
    let known = known.chain(kafka_names.iter().map(|kafka| format!("{KAFKA}.{kafka}")));
    let nearest = known.map(|candidate| (distance(name, &candidate), candidate)).min();
    let hint = match nearest {
        Some((distance, candidate)) if distance <= 3 => format!("; did you mean '{candidate}'?"),
        _ => "; the settings are listed in docs/configuration.md".to_owned(),
    };
    ConfigError::Unknown { origin: origin.clone(), name: name.to_owned(), hint }
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
