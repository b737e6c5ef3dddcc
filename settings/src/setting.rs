//! One declaration: all that is to be known of a setting, and the judgement of its values.

use crate::form::Form;
use crate::value::SettingValue;

/// One setting, as the crate that reads it declares it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`, as in the file; a name without a section stands at the file's head.
    pub name: &'static str,
    /// The package that reads it.
    pub owner: &'static str,
    pub form: Form,
    pub default: Default,
    pub takes_effect: TakesEffect,
    aliases: &'static [&'static str],
    documentation: &'static str,
    /// Whether the field's type takes a text of the form.
    is_taken: fn(&str) -> bool,
}

/// The value of a setting that is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// As one would write it.
    Value(&'static str),
    /// The process works it out: how, in words.
    WorkedOut(&'static str),
}

/// When a change of the value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakesEffect {
    /// At once, when the running process reads its configuration again.
    OnReload,
    /// When the process starts.
    OnRestart,
    /// When the data folder is made.
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
    /// A setting whose field has the type `T`. Fails to compile if only one of the type and the
    /// default knows of a missing value. [`crate::settings`] calls it.
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

    /// What the setting does, in sentences.
    #[must_use]
    pub fn documentation(&self) -> &'static str {
        self.documentation.trim()
    }

    /// The environment variables that set it: the one that follows from its name, and short ones.
    #[must_use]
    pub fn environment_names(&self) -> Vec<String> {
        let mut names = vec![format!("RUSTMQ_{}", self.name.replace('.', "_").to_uppercase())];
        names.extend(self.aliases.iter().map(|alias| (*alias).to_owned()));
        names
    }

    /// Judges a value; `None` if it is not of the form, or out of bounds.
    #[must_use]
    pub fn accept(&self, text: &str) -> Option<Accepted> {
        self.form.canonical(text).filter(|canonical| (self.is_taken)(canonical)).map(Accepted)
    }
}

fn is_taken<T: SettingValue>(canonical: &str) -> bool {
    T::parse(canonical).is_some()
}
