//! One declaration: the facts about a setting, and the check of its values.

use crate::form::Form;
use crate::value::SettingValue;

/// One setting, as the crate that reads it declares it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`, as in the file. A name without a section stands at the beginning of the file.
    pub name: &'static str,
    /// The package that reads the setting.
    pub owner: &'static str,
    pub form: Form,
    pub default: Default,
    pub takes_effect: TakesEffect,
    aliases: &'static [&'static str],
    documentation: &'static str,
    /// Whether the field's type accepts a text of the form.
    is_taken: fn(&str) -> bool,
}

/// The value of a setting that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// The value, as an operator would write it.
    Value(&'static str),
    /// The process computes the value, as these words describe.
    WorkedOut(&'static str),
}

/// When a change of the value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakesEffect {
    /// At once, when the running process reloads its configuration.
    OnReload,
    /// When the process starts.
    OnRestart,
    /// When the data folder is created.
    OnCreation,
}

/// A value that its setting has accepted, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted(String);

impl Accepted {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting {
    /// Declares a setting whose field has the type `T`. Fails to compile if exactly one of the type
    /// and the default allows a missing value. [`crate::settings`] calls this.
    #[must_use]
    pub const fn new<T: SettingValue>(
        [name, owner, documentation]: [&'static str; 3],
        form: Form,
        default: Default,
        takes_effect: TakesEffect,
        aliases: &'static [&'static str],
    ) -> Self {
        assert!(
            T::IS_OPTIONAL == matches!(default, Default::WorkedOut(_)),
            "a setting without a default value, and no other, has an Option for its field"
        );
        Self { name, owner, form, default, takes_effect, aliases, documentation, is_taken: is_taken::<T> }
    }

    /// The documentation of the setting, in sentences.
    #[must_use]
    pub fn documentation(&self) -> &'static str {
        self.documentation.trim()
    }

    /// The environment variables that set it: the one that its name implies, and the additional
    /// ones.
    #[must_use]
    pub fn environment_names(&self) -> Vec<String> {
        let mut names = vec![format!("RUSTMQ_{}", self.name.replace('.', "_").to_uppercase())];
        names.extend(self.aliases.iter().map(|alias| (*alias).to_owned()));
        names
    }

    /// Checks a value. `None` if it does not have the form or is out of bounds.
    #[must_use]
    pub fn accept(&self, text: &str) -> Option<Accepted> {
        self.form.canonical(text).filter(|canonical| (self.is_taken)(canonical)).map(Accepted)
    }
}

fn is_taken<T: SettingValue>(canonical: &str) -> bool {
    T::parse(canonical).is_some()
}
