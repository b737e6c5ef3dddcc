//! The environment of the process at its start: a reload uses the same. Knows no settings.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Variables by name. A value that is not UTF-8 is an error only where the variable is used.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, Result<String, NotText>>);

/// The value is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotText;

impl Environment {
    /// Leaves out variables whose names are not UTF-8: no file can name them.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(named.map(|(name, value)| (name, value.into_string().map_err(|_| NotText))).collect())
    }

    pub fn variable(&self, name: &str) -> Option<Result<&str, NotText>> {
        Some(self.0.get(name)?.as_deref().map_err(|not_text| *not_text))
    }

    /// Every variable, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<&str, NotText>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref().map_err(|not_text| *not_text)))
    }

    #[cfg(test)]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self::new(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }
}
