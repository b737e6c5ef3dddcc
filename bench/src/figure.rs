//! One number that a run yields, with its unit and name.

use hdrhistogram::Histogram;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    MegabytesPerSecond,
    RecordsPerSecond,
    Milliseconds,
    Seconds,
    SecondsPerGigabyte,
    Mebibytes,
    FaultsPerGigabyte,
    Cores,
    PercentOfCore,
    Percent,
    Times,
}

impl Unit {
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::MegabytesPerSecond => "MB/s",
            Unit::RecordsPerSecond => "records/s",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::SecondsPerGigabyte => "s/GB",
            Unit::Mebibytes => "MiB",
            Unit::FaultsPerGigabyte => "faults/GB",
            Unit::Cores => "cores",
            Unit::PercentOfCore => "% of a core",
            Unit::Percent => "%",
            Unit::Times => "x",
        }
    }
}

/// The direction in which a figure moves when the broker improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BetterWhen {
    More,
    Less,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    pub name: &'static str,
    pub unit: Unit,
    pub value: f64,
    /// `None` if the figure is not judged.
    pub good: Option<BetterWhen>,
}

impl Figure {
    /// A figure of the broker. Its unit tells the good direction: more throughput, less of
    /// everything else.
    pub fn new(name: &'static str, unit: Unit, value: f64) -> Figure {
        let good = match unit {
            Unit::MegabytesPerSecond | Unit::RecordsPerSecond => BetterWhen::More,
            _ => BetterWhen::Less,
        };
        Figure { name, unit, value, good: Some(good) }
    }

    /// A figure of the broker of which more is good, whatever its unit.
    pub fn more_is_good(name: &'static str, unit: Unit, value: f64) -> Figure {
        Figure { good: Some(BetterWhen::More), ..Figure::new(name, unit, value) }
    }

    /// A figure that helps to read the others and is not judged: one of the load, the disk or the
    /// machine, or a quotient of other figures.
    pub fn aside(name: &'static str, unit: Unit, value: f64) -> Figure {
        Figure { good: None, ..Figure::new(name, unit, value) }
    }

    pub fn seconds(name: &'static str, value: Duration) -> Figure {
        Figure::new(name, Unit::Seconds, value.as_secs_f64())
    }

    pub fn mebibytes(name: &'static str, bytes: u64) -> Figure {
        Figure::new(name, Unit::Mebibytes, count(bytes) / f64::from(1 << 20))
    }
}

/// Formats three significant digits: 1234, 123, 12.3, 1.23, 0.123.
pub fn digits(value: f64) -> String {
    let size = value.abs();
    let decimals = if size >= 100.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}

/// The quantiles by which latency is judged. The histogram holds nanoseconds.
pub fn quantiles(latency: &Histogram<u64>) -> Vec<Figure> {
    let at = |name, quantile| {
        let value = count(latency.value_at_quantile(quantile)) / 1e6;
        Figure::new(name, Unit::Milliseconds, value)
    };
    vec![at("p50", 0.5), at("p99", 0.99), at("p99.9", 0.999)]
}

#[allow(clippy::cast_precision_loss, reason = "counts of bytes, records and nanoseconds stay below 2^53 in a run")]
pub fn count(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_are_shown() {
        let shown = [1234.4, 123.45, 12.345, 1.2345, 0.12345, 0.0].map(digits);
        assert_eq!(shown, ["1234", "123", "12.3", "1.23", "0.123", "0.000"]);
    }

    #[test]
    fn more_throughput_is_good_and_less_of_the_rest() {
        let good = |unit| Figure::new("figure", unit, 1.0).good;
        assert_eq!([Unit::MegabytesPerSecond, Unit::RecordsPerSecond].map(good), [Some(BetterWhen::More); 2]);
        assert_eq!(
            [Unit::Milliseconds, Unit::SecondsPerGigabyte, Unit::Mebibytes].map(good),
            [Some(BetterWhen::Less); 3]
        );
        assert_eq!(Figure::more_is_good("acknowledged in time", Unit::Percent, 1.0).good, Some(BetterWhen::More));
        assert_eq!(Figure::aside("plain read", Unit::MegabytesPerSecond, 1.0).good, None);
    }
}
