//! Gathers values from the file, the environment and the flags, each over the one before, and
//! remembers where each came from. Every value is judged when it comes, also one that another
//! covers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rustmq_settings::Accepted;

use super::catalogue::{self, Judged, KAFKA, Key, Refusal};
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

/// What the process was started with. The file alone may have changed when it is read again.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    pub file: Option<PathBuf>,
    pub environment: Environment,
    pub flags: Vec<FlagValue>,
}

/// A value that was given, and accepted by its setting.
#[derive(Clone, Debug)]
pub struct Given {
    pub key: Key,
    /// As it stands in its source: what logs and errors may show.
    pub written: String,
    /// With variables put in.
    pub text: String,
    pub judged: Judged,
    pub origin: Origin,
}

/// Every value that was given, of the strongest source, by the setting's name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    given: BTreeMap<String, Given>,
    /// Environment variables with our prefix that name nothing. Orchestrators inject such names for
    /// services, so they do not stop the start.
    pub unknown_environment: Vec<String>,
}

impl Inputs {
    /// Reads the file, and gathers all values.
    ///
    /// # Errors
    /// The first value, or the file, that cannot be taken.
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
            // One name may be written with and without quotes around its dots.
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
            // With `${NAME:-}` an environment leaves out what the process can go without.
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

    /// Judges what only shows when the values of several settings are seen together.
    fn judge_together(&self) -> Result<(), ConfigError> {
        let kafka = self.kafka().map(|(name, kept)| (name.to_owned(), kept.to_owned())).collect();
        let Err((name, refusal)) = catalogue::accept_together(&kafka) else { return Ok(()) };
        let given = self.given(&name).expect("what is refused was given");
        Err(refused(given.key, &given.written, &given.text, given.origin.clone(), refusal))
    }

    fn put(&mut self, given: Given) {
        self.given.insert(given.key.name(), given);
    }

    /// The value that was given to a setting.
    pub fn given(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// The value that was given to one of our own settings.
    pub fn accepted(&self, name: &str) -> Option<Accepted> {
        match &self.given.get(name)?.judged {
            Judged::Ours(accepted) => Some(accepted.clone()),
            Judged::Kafka(_) => None,
        }
    }

    /// The names of our own settings that were given.
    pub fn given_names(&self) -> BTreeSet<&'static str> {
        let ours = |given: &Given| match given.key {
            Key::Ours(setting) => Some(setting.name),
            Key::Kafka(_) => None,
        };
        self.given.values().filter_map(ours).collect()
    }

    /// Kafka's settings that were given: their own names, and their values as the catalogue keeps
    /// them.
    pub fn kafka(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().filter_map(|(name, given)| match &given.judged {
            Judged::Kafka(kept) => Some((name.strip_prefix(KAFKA)?, kept.as_str())),
            Judged::Ours(_) => None,
        })
    }

    /// Everything that was given, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.given.iter().map(|(name, given)| (name.as_str(), given))
    }

    /// These values, but for one setting the value that `other` has.
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
        Err(refusal) => Err(refused(key, &written, &text, origin, refusal)),
    }
}

fn refused(key: Key, written: &str, text: &str, origin: Origin, refusal: Refusal) -> ConfigError {
    let Refusal { expected, quotes_value } = refusal;
    // The words may be a variable's.
    let must_hide = quotes_value && (key.is_sensitive() || text != written);
    let expected = if must_hide { "something else".to_owned() } else { expected };
    ConfigError::Value { origin, name: key.name(), shown: shown(key, written), expected }
}

fn unknown(origin: Origin, name: String) -> ConfigError {
    let hint = match catalogue::nearest(&name) {
        Some(candidate) => format!("; did you mean '{candidate}'?"),
        None => "; the settings are listed in docs/configuration.md".to_owned(),
    };
    ConfigError::Unknown { origin, name, hint }
}
