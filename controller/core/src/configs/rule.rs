//! Which values a config takes.

use super::entry::ConfigKind;

/// A bound on top of the kind's own form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// From 0 to 1.
    Fraction,
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these, without repeats.
    ListOf(&'static [&'static str]),
    /// `*`, or a comma-separated list of `partition:broker`.
    ThrottledReplicas,
}

impl Rule {
    /// The reason if the value does not fit. Space around a value does not matter.
    pub(super) fn check(self, kind: ConfigKind, value: &str) -> Result<(), String> {
        let value = value.trim();
        match kind {
            ConfigKind::Boolean => match value.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("it must be true or false".to_owned()),
            },
            ConfigKind::Short => self.check_number(value, i64::from(i16::MIN), i64::from(i16::MAX)),
            ConfigKind::Int => self.check_number(value, i64::from(i32::MIN), i64::from(i32::MAX)),
            ConfigKind::Long => self.check_number(value, i64::MIN, i64::MAX),
            ConfigKind::Double => match value.parse::<f64>() {
                Ok(number) if self != Self::Fraction || (0.0..=1.0).contains(&number) => Ok(()),
                Ok(_) => Err("it must be from 0 to 1".to_owned()),
                Err(_) => Err("it must be a number".to_owned()),
            },
            ConfigKind::String | ConfigKind::List => self.check_text(value),
        }
    }

    fn check_number(self, value: &str, least_of_kind: i64, most_of_kind: i64) -> Result<(), String> {
        let (least, most) = match self {
            Self::AtLeast(least) => (least.max(least_of_kind), most_of_kind),
            Self::Between(least, most) => (least, most),
            Self::Any | Self::Fraction | Self::OneOf(_) | Self::ListOf(_) | Self::ThrottledReplicas => {
                (least_of_kind, most_of_kind)
            }
        };
        match value.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            Ok(_) => Err(format!("it must be from {least} to {most}")),
            Err(_) => Err(format!("it must be a whole number from {least} to {most}")),
        }
    }

    fn check_text(self, value: &str) -> Result<(), String> {
        let items = || value.split(',').map(str::trim).filter(|item| !item.is_empty());
        match self {
            Self::OneOf(choices) if !choices.contains(&value) => {
                Err(format!("it must be one of {}", choices.join(", ")))
            }
            Self::ListOf(choices) => {
                if let Some(stranger) = items().find(|item| !choices.contains(item)) {
                    return Err(format!("'{stranger}' is not one of {}", choices.join(", ")));
                }
                let repeated =
                    items().enumerate().find(|(index, item)| items().take(*index).any(|other| other == *item));
                repeated.map_or(Ok(()), |(_, item)| Err(format!("it names '{item}' twice")))
            }
            Self::ThrottledReplicas if value != "*" => {
                let is_pair = |item: &str| {
                    item.split_once(':').is_some_and(|(partition, broker)| {
                        partition.trim().parse::<u32>().is_ok() && broker.trim().parse::<u32>().is_ok()
                    })
                };
                if items().all(is_pair) { Ok(()) } else { Err("it must be * or a list of partition:broker".to_owned()) }
            }
            Self::Any
            | Self::AtLeast(_)
            | Self::Between(..)
            | Self::Fraction
            | Self::OneOf(_)
            | Self::ThrottledReplicas => Ok(()),
        }
    }
}
