//! Gathers values from the file, the environment and the flags, and remembers their origins. A
//! later source overrides the earlier ones. Each value is checked, even if another one overrides
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rustmq_settings::Accepted;

use super::catalogue::{self, Judged, KAFKA, Key, LegalValues};
use super::environment::Environment;
use super::error::ConfigError;
use super::expansion::expand;
use super::file::{self, Entry, Readable, Value};
use super::origin::Origin;

/// A value given on the command line.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The setting's name.
    pub name: &'static str,
    pub flag: &'static str,
    pub text: String,
}

/// The inputs of the process's start. Only the content of the file may change until a reload.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub file: Option<PathBuf>,
    pub environment: Environment,
    pub flags: Vec<FlagValue>,
}

/// A given value that its setting has accepted.
#[derive(Clone, Debug)]
pub struct Given {
    pub key: Key,
    /// As written in its source. Fit for logs and errors.
    pub written: String,
    /// With the values of variables.
    pub text: String,
    pub judged: Judged,
    pub origin: Origin,
}

/// The given values by the names of their settings, each from the last source that has one.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    given: BTreeMap<String, Given>,
    /// Environment variables with our prefix that set nothing. They do not stop the start, since
    /// orchestrators add such variables for services.
    pub unknown_environment: Vec<String>,
}

impl Inputs {
    /// Reads the file, and gathers all values.
    ///
    /// # Errors
    /// If the file cannot be read, or a value is not legal.
    pub fn gather(&self, readable: Readable) -> Result<Sources, ConfigError> {
        let entries = self.file.as_deref().map_or_else(|| Ok(Vec::new()), |path| file::read(path, readable))?;
        let mut sources = Sources::default();
        sources.add_file(entries, &self.environment)?;
        sources.add_environment(&self.environment)?;
        for FlagValue { name, flag, text } in &self.flags {
            let key = catalogue::find(name).expect("flags name settings that exist");
            sources.put(judge(key, text.clone(), text.clone(), Origin::Flag(flag))?);
        }
        sources.judge_together()?;
        Ok(sources)
    }
}

impl Sources {
    fn add_file(&mut self, entries: Vec<Entry>, environment: &Environment) -> Result<(), ConfigError> {
        let mut origins = BTreeMap::new();
        for Entry { name, value, origin } in entries {
            let Some(key) = catalogue::find(&name) else { return Err(unknown(origin, name)) };
            // The same name can be written with and without quotes around its dots.
            if let Some(first) = origins.insert(name.clone(), origin.clone()) {
                return Err(ConfigError::Twice { name, first, second: origin });
            }
            let (written, text) = match value {
                Value::Plain(text) => (text.clone(), text),
                Value::Text(written) => match expand(&written, environment) {
                    Ok(text) => (written.clone(), text.into_owned()),
                    Err(error) => return Err(ConfigError::Expansion { origin, name, error }),
                },
            };
            let is_emptied = text.is_empty() && !written.is_empty();
            // With `${NAME:-}`, an unset variable leaves out a setting without a default.
            if !(is_emptied && key.is_optional()) {
                self.put(judge(key, written, text, origin)?);
            }
        }
        Ok(())
    }

    fn add_environment(&mut self, environment: &Environment) -> Result<(), ConfigError> {
        let mut named: BTreeMap<String, Given> = BTreeMap::new();
        for (variable, value) in environment.iter().filter(|(variable, _)| catalogue::is_prefixed(variable)) {
            let Some(key) = catalogue::find_variable(variable) else {
                self.unknown_environment.push(variable.to_owned());
                continue;
            };
            let text = value.map_err(|_| ConfigError::NotText { variable: variable.to_owned() })?.to_owned();
            let given = judge(key, text.clone(), text, Origin::Environment(variable.to_owned()))?;
            match named.get(&key.name()) {
                Some(first) if first.judged != given.judged => {
                    let (first, second) = (first.origin.clone(), given.origin);
                    return Err(ConfigError::Twice { name: key.name(), first, second });
                }
                _ => named.insert(key.name(), given),
            };
        }
        self.given.append(&mut named);
        Ok(())
    }

    /// Checks the relations between the values of several settings.
    fn judge_together(&self) -> Result<(), ConfigError> {
        let kafka = self.kafka().map(|(name, kept)| (name.to_owned(), kept.to_owned())).collect();
        let Err((name, legal)) = catalogue::accept_together(&kafka) else { return Ok(()) };
        let given = self.given(&name).expect("only a setting that was given is refused");
        Err(refused(given.key, &given.written, given.origin.clone(), legal))
    }

    fn put(&mut self, given: Given) {
        self.given.insert(given.key.name(), given);
    }

    /// The given value of a setting.
    pub fn given(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// The given value of one of our own settings.
    pub fn accepted(&self, name: &str) -> Option<Accepted> {
        match &self.given.get(name)?.judged {
            Judged::Ours(accepted) => Some(accepted.clone()),
            Judged::Kafka(_) => None,
        }
    }

    /// The names of our own settings with a given value.
    pub fn given_names(&self) -> BTreeSet<&'static str> {
        let ours = |given: &Given| match given.key {
            Key::Ours(setting) => Some(setting.name),
            Key::Kafka(_) => None,
        };
        self.given.values().filter_map(ours).collect()
    }

    /// The given settings of Kafka's: their own names, and the canonical forms of their values.
    pub fn kafka(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().filter_map(|(name, given)| match &given.judged {
            Judged::Kafka(kept) => Some((name.strip_prefix(KAFKA)?, kept.as_str())),
            Judged::Ours(_) => None,
        })
    }

    /// All given values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.given.iter().map(|(name, given)| (name.as_str(), given))
    }

    /// Replaces the value of one setting with that of `other`.
    pub(super) fn take_from(&mut self, other: &Self, name: &str) {
        match other.given.get(name) {
            Some(given) => self.put(given.clone()),
            None => {
                self.given.remove(name);
            }
        }
    }
}

impl Given {
    /// The value for logs and errors.
    pub fn shown(&self) -> String {
        shown(self.key, &self.written)
    }
}

fn shown(key: Key, written: &str) -> String {
    if key.is_sensitive() { "(hidden)".to_owned() } else { format!("{written:?}") }
}

fn judge(key: Key, written: String, text: String, origin: Origin) -> Result<Given, ConfigError> {
    match key.accept(&text) {
        Ok(judged) => Ok(Given { key, written, text, judged, origin }),
        Err(legal) => Err(refused(key, &written, origin, legal)),
    }
}

fn refused(key: Key, written: &str, origin: Origin, LegalValues(expected): LegalValues) -> ConfigError {
    ConfigError::Value { origin, name: key.name(), shown: shown(key, written), expected }
}

fn unknown(origin: Origin, name: String) -> ConfigError {
    let hint = match catalogue::nearest(&name) {
        Some(candidate) => format!("; did you mean '{candidate}'?"),
        None => "; the settings are listed in docs/configuration.md".to_owned(),
    };
    ConfigError::Unknown { origin, name, hint }
}
