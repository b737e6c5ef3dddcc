//! The types of settings. A type with a syntax of its own (such as a filter of log lines)
//! implements [`SettingValue`] in its own crate.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rustmq_model::{ByteSize, Endpoint};

/// The type of a setting's field.
pub trait SettingValue: Sized {
    /// Whether the field may have no value.
    const IS_OPTIONAL: bool = false;

    /// Parses the canonical text of the setting's form. `None` if the type refuses it; the value
    /// then counts as one of another form.
    fn parse(canonical: &str) -> Option<Self>;

    /// The field of a setting without a given value and without a default.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const IS_OPTIONAL: bool = true;

    fn parse(canonical: &str) -> Option<Self> {
        T::parse(canonical).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl SettingValue for bool {
    fn parse(canonical: &str) -> Option<Self> {
        canonical.parse().ok()
    }
}

impl SettingValue for usize {
    fn parse(canonical: &str) -> Option<Self> {
        canonical.parse().ok()
    }
}

impl SettingValue for SocketAddr {
    fn parse(canonical: &str) -> Option<Self> {
        canonical.parse().ok()
    }
}

impl SettingValue for Endpoint {
    fn parse(canonical: &str) -> Option<Self> {
        canonical.parse().ok()
    }
}

impl SettingValue for ByteSize {
    fn parse(canonical: &str) -> Option<Self> {
        canonical.parse().ok()
    }
}

impl SettingValue for Duration {
    fn parse(canonical: &str) -> Option<Self> {
        canonical.parse().ok().map(Self::from_millis)
    }
}

impl SettingValue for String {
    fn parse(canonical: &str) -> Option<Self> {
        Some(canonical.to_owned())
    }
}

impl SettingValue for PathBuf {
    fn parse(canonical: &str) -> Option<Self> {
        Some(Self::from(canonical))
    }
}
