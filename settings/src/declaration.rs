//! The macro that generates a struct of settings and their declarations from the same entries.

use crate::setting::{Accepted, Default, Setting};
use crate::value::SettingValue;

/// The settings of one crate. [`crate::settings`] implements this.
pub trait Settings: Sized {
    /// The declarations, in the order of the fields.
    const SETTINGS: &'static [Setting];

    /// Reads every field: the value that `given` returns for the setting's name, or else the
    /// default.
    fn read(given: &dyn Fn(&'static str) -> Option<Accepted>) -> Self;
}

/// Declares a struct whose fields are settings. An entry is a field with its documentation and an
/// attribute. After the name, each `or "VARIABLE"` adds an environment variable. `default` gives a
/// value as an operator would write it. `unset` describes the behaviour without a value; the field
/// is an `Option` then. A change takes effect `on reload`, `on restart`, or `on creation` of the
/// data folder. The struct implements `Clone`, `Debug`, `Default` and `PartialEq`.
///
/// The example is in the crate's documentation.
#[macro_export]
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $group:ident {
            $(
                $(#[doc = $doc:literal])+
                #[setting($name:literal $(or $alias:literal)*, $form:expr, $kind:ident $default:literal, on $event:ident)]
                pub $field:ident: $type:ty,
            )+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, PartialEq)]
        $visibility struct $group {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl $crate::Settings for $group {
            const SETTINGS: &'static [$crate::Setting] = &[$($crate::Setting::new::<$type>(
                [$name, ::core::env!("CARGO_PKG_NAME"), ::core::concat!($($doc),+)],
                {
                    // Imported here alone, because these names must not hide types of fields.
                    use $crate::Form::*;
                    $form
                },
                $crate::settings!(@default $kind $default),
                $crate::settings!(@takes_effect $event),
                &[$($alias),*],
            )),+];

            fn read(given: &dyn ::core::ops::Fn(&'static str) -> ::core::option::Option<$crate::Accepted>) -> Self {
                let mut declared = <Self as $crate::Settings>::SETTINGS.iter();
                // Fields are read in the order of their entries.
                Self { $($field: $crate::read_next(&mut declared, given),)+ }
            }
        }

        impl ::core::default::Default for $group {
            fn default() -> Self {
                <Self as $crate::Settings>::read(&|_| ::core::option::Option::None)
            }
        }
    };
    (@default default $value:literal) => { $crate::Default::Value($value) };
    (@default unset $words:literal) => { $crate::Default::WorkedOut($words) };
    (@takes_effect reload) => { $crate::TakesEffect::OnReload };
    (@takes_effect restart) => { $crate::TakesEffect::OnRestart };
    (@takes_effect creation) => { $crate::TakesEffect::OnCreation };
}

/// Reads the field of the next declaration. [`crate::settings`] calls this.
///
/// # Panics
/// If the value was accepted by another setting, or a default is not of its own form: a test of
/// the process that composes the settings reads every default.
#[doc(hidden)]
pub fn read_next<T: SettingValue>(
    declared: &mut std::slice::Iter<'static, Setting>,
    given: &dyn Fn(&'static str) -> Option<Accepted>,
) -> T {
    let setting = declared.next().expect("a field has a declaration");
    let default = || match setting.default {
        Default::Value(text) => setting.accept(text),
        Default::WorkedOut(_) => None,
    };
    match given(setting.name).or_else(default) {
        Some(accepted) => T::parse(accepted.as_str()).expect("the setting has accepted the value"),
        None => T::absent().expect("a default that is a value is of its setting's form"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::PathBuf;
    use std::time::Duration;

    use rustmq_model::ByteSize;

    use crate::Settings;

    settings! {
        /// A setting of each form.
        struct EachForm {
            /// A path,
            /// on two lines.
            #[setting("a.path", Text { what: "a path", bytes_max: 8 }, default "here", on restart)]
            pub path: PathBuf,
            /// An address.
            #[setting("a.listen", Address, default "127.0.0.1:1", on restart)]
            pub listen: SocketAddr,
            /// A size.
            #[setting("a.size", Size { min: ByteSize(1), max: ByteSize::mib(1) }, default "1KiB", on creation)]
            pub size: ByteSize,
            /// A count.
            #[setting("a.count", Count { unit: "things", min: 0, max: 9 }, unset "none", on reload)]
            pub count: Option<usize>,
            /// A duration.
            #[setting("a.wait_ms", Milliseconds { min: 0, max: 9_000 }, default "9s", on reload)]
            pub wait: Duration,
            /// A flag.
            #[setting("a.flag", Flag, default "true", on reload)]
            pub flag: bool,
            /// A choice.
            #[setting("a.choice", Choice(&["left", "right"]), default "left", on reload)]
            pub choice: String,
        }
    }

    #[test]
    fn each_field_is_read_from_its_own_declaration() {
        let expected = EachForm {
            path: "here".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 1)),
            size: ByteSize::kib(1),
            count: None,
            wait: Duration::from_secs(9),
            flag: true,
            choice: "left".to_owned(),
        };
        assert_eq!(EachForm::default(), expected);
        let given = [
            ("a.path", "there"),
            ("a.listen", "127.0.0.1:2"),
            ("a.size", "2"),
            ("a.count", "3"),
            ("a.wait_ms", "4"),
            ("a.flag", "false"),
            ("a.choice", "right"),
        ];
        let read = EachForm::read(&|name| {
            let (_, text) = given.iter().find(|(known, _)| *known == name)?;
            EachForm::SETTINGS.iter().find(|setting| setting.name == name)?.accept(text)
        });
        let expected = EachForm {
            path: "there".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 2)),
            size: ByteSize(2),
            count: Some(3),
            wait: Duration::from_millis(4),
            flag: false,
            choice: "right".to_owned(),
        };
        assert_eq!(read, expected);
        assert_eq!(EachForm::SETTINGS[0].documentation(), "A path, on two lines.");
        assert!(EachForm::SETTINGS.iter().all(|setting| setting.owner == "rustmq-settings"));
    }
}
