//! The rules for values of configs, and the form in which values are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::InvalidConfigReason;
use super::entry::ConfigKind;

/// A rule for values, in addition to the form of the config's kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Any,
    AtLeast(i64),
    Between(i64, i64),
    /// From the first to the second value, or the third value.
    BetweenOr(i64, i64, i64),
    /// From 0 to 1.
    Fraction,
    OneOf(&'static [&'static str]),
    /// A list of these items, without repeats.
    ListOf(&'static [&'static str]),
    /// A list of these items; a repeated item counts once.
    SetOf(&'static [&'static str]),
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// A list of `address:count`.
    AddressCounts,
}

impl Rule {
    /// The value in the form in which it is kept and described, which is Kafka's: without spaces
    /// around the value or its items, and with numbers and flags in their standard form. The error
    /// says why the value is illegal.
    pub(super) fn parse(self, kind: ConfigKind, value: &str) -> Result<String, InvalidConfigReason> {
        let value = value.trim();
        match kind {
            ConfigKind::Boolean => match value.to_ascii_lowercase().as_str() {
                flag @ ("true" | "false") => Ok(flag.to_owned()),
                _ => Err(InvalidConfigReason::must_be("true or false")),
            },
            ConfigKind::Short => self.parse_number(value, i64::from(i16::MIN), i64::from(i16::MAX)),
            ConfigKind::Int => self.parse_number(value, i64::from(i32::MIN), i64::from(i32::MAX)),
            ConfigKind::Long => self.parse_number(value, i64::MIN, i64::MAX),
            ConfigKind::Double => match value.parse::<f64>() {
                Ok(number) if self == Self::Fraction && !(0.0..=1.0).contains(&number) => {
                    Err(InvalidConfigReason::must_be("from 0 to 1"))
                }
                Ok(number) if number.is_finite() => Ok(double(number)),
                Ok(_) | Err(_) => Err(InvalidConfigReason::must_be("a number")),
            },
            ConfigKind::String | ConfigKind::Class | ConfigKind::Password => self.parse_text(value),
            ConfigKind::List => self.parse_list(value),
        }
    }

    fn parse_number(self, value: &str, least_of_kind: i64, most_of_kind: i64) -> Result<String, InvalidConfigReason> {
        let (least, most, or) = match self {
            Self::AtLeast(least) => (least.max(least_of_kind), most_of_kind, None),
            Self::Between(least, most) => (least, most, None),
            Self::BetweenOr(least, most, or) => (least, most, Some(or)),
            Self::Any
            | Self::Fraction
            | Self::OneOf(_)
            | Self::ListOf(_)
            | Self::SetOf(_)
            | Self::ThrottledReplicas
            | Self::AddressCounts => (least_of_kind, most_of_kind, None),
        };
        let or_text = or.map_or_else(String::new, |or| format!(", or {or}"));
        match value.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) || Some(number) == or => Ok(number.to_string()),
            Ok(_) => Err(InvalidConfigReason::must_be(format!("from {least} to {most}{or_text}"))),
            Err(_) => Err(InvalidConfigReason::must_be(format!("a whole number from {least} to {most}{or_text}"))),
        }
    }

    fn parse_text(self, value: &str) -> Result<String, InvalidConfigReason> {
        match self {
            Self::OneOf(choices) if !choices.contains(&value) => {
                Err(InvalidConfigReason::must_be(format!("one of {}", choices.join(", "))))
            }
            Self::AddressCounts if address_counts(value).any(|item| item.is_none()) => {
                Err(InvalidConfigReason::must_be(
                    "a list of address:count, such as 10.0.0.1:50; host names are not looked up",
                ))
            }
            _ => Ok(value.to_owned()),
        }
    }

    fn parse_list(self, value: &str) -> Result<String, InvalidConfigReason> {
        if value.is_empty() {
            return Ok(String::new());
        }
        let mut items: Vec<&str> = value.split(',').map(str::trim).collect();
        if items.contains(&"") {
            return Err(InvalidConfigReason::EmptyItem);
        }
        match self {
            Self::ListOf(choices) | Self::SetOf(choices) => {
                if let Some(unknown) = items.iter().find(|item| !choices.contains(item)) {
                    return Err(InvalidConfigReason::unknown_item(unknown, choices));
                }
            }
            Self::ThrottledReplicas if items != ["*"] => {
                if !items.iter().all(|item| is_partition_and_broker(item)) {
                    return Err(InvalidConfigReason::must_be("* or a list of partition:broker"));
                }
            }
            Self::Any
            | Self::AtLeast(_)
            | Self::Between(..)
            | Self::BetweenOr(..)
            | Self::Fraction
            | Self::OneOf(_)
            | Self::ThrottledReplicas
            | Self::AddressCounts => {}
        }
        let mut seen = BTreeSet::new();
        if matches!(self, Self::SetOf(_)) {
            items.retain(|item| seen.insert(*item));
        } else if matches!(self, Self::ListOf(_))
            && let Some(repeated) = items.iter().find(|item| !seen.insert(**item))
        {
            return Err(InvalidConfigReason::repeated_item(repeated));
        }
        Ok(items.join(","))
    }
}

/// The items of a list of `address:count`; `None` for an item of another form. The last colon of an
/// item ends its address.
fn address_counts(text: &str) -> impl Iterator<Item = Option<(IpAddr, u32)>> {
    let items = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
    items.map(|item| {
        let (address, count) = item.rsplit_once(':')?;
        let address: IpAddr = address.trim().parse().ok()?;
        Some((address.to_canonical(), count.trim().parse::<u32>().ok()?))
    })
}

/// The bounds of single addresses. Items of another form are skipped: older versions accepted any
/// list, also with host names, because it had no effect.
pub(super) fn bounds_of_addresses(text: &str) -> BTreeMap<IpAddr, u32> {
    address_counts(text).flatten().collect()
}

/// Whether these bounds let no address connect, so that no client could change them.
pub(super) fn keep_everybody_out(per_address: u32, of_addresses: &BTreeMap<IpAddr, u32>) -> bool {
    per_address == 0 && of_addresses.values().all(|count| *count == 0)
}

fn is_partition_and_broker(item: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

/// A number as Java prints a `double`: at least one decimal, and an exponent below a thousandth and
/// from ten million on.
fn double(number: f64) -> String {
    let magnitude = number.abs();
    if number == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{number:?}");
    }
    let scientific = format!("{number:E}");
    match scientific.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => scientific,
    }
}
