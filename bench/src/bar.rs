//! The bars for figures: a ratio to another contender in the same run, or an absolute bound.

use crate::contender::Contender;
use crate::figure::digits;

/// The required relation between a figure of one contender and the same figure of another.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    AtLeast(f64, Contender),
    AtMost(f64, Contender),
    /// At most this ratio to the first, or at most that ratio to the generator's floor.
    AtMostOrNearFloor(f64, Contender, f64),
    /// At most this value, in the figure's unit.
    Below(f64),
    /// At least this value, in the figure's unit.
    Above(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub figure: &'static str,
    pub subject: Contender,
    pub limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub is_met: bool,
    pub words: String,
}

impl Bar {
    /// A bar for RustMQ on its defaults.
    pub const fn new(figure: &'static str, limit: Limit) -> Bar {
        Bar { figure, subject: Contender::Rustmq, limit }
    }

    /// Judges by the medians. `None` if a needed median was not measured.
    pub fn judge(&self, median: impl Fn(Contender) -> Option<f64>) -> Option<Verdict> {
        let ours = median(self.subject)?;
        let ratio = |of: Contender| median(of).filter(|theirs| *theirs > 0.0).map(|theirs| ours / theirs);
        let (is_met, words) = match self.limit {
            Limit::AtLeast(least, of) => {
                let ratio = ratio(of)?;
                (ratio >= least, format!("{}x {}, bar >= {}x", digits(ratio), of.title(), digits(least)))
            }
            Limit::AtMost(most, of) => {
                let ratio = ratio(of)?;
                (ratio <= most, format!("{}x {}, bar <= {}x", digits(ratio), of.title(), digits(most)))
            }
            Limit::AtMostOrNearFloor(most, of, near) => {
                let (ratio, floor) = (ratio(of), ratio(Contender::Floor));
                let said = |ratio: Option<f64>| ratio.map_or("?".to_owned(), digits);
                if ratio.is_none() && floor.is_none() {
                    return None;
                }
                let is_met = ratio.is_some_and(|ratio| ratio <= most) || floor.is_some_and(|floor| floor <= near);
                let words = format!(
                    "{}x {}, {}x the floor; bar <= {}x, or <= {}x the floor",
                    said(ratio),
                    of.title(),
                    said(floor),
                    digits(most),
                    digits(near)
                );
                (is_met, words)
            }
            Limit::Above(least) => (ours >= least, format!("bar >= {}", digits(least))),
            Limit::Below(most) => (ours <= most, format!("bar <= {}", digits(most))),
        };
        let subject =
            if self.subject == Contender::Rustmq { String::new() } else { format!("{}: ", self.subject.title()) };
        let verdict = if is_met { "met" } else { "MISSED" };
        Some(Verdict { is_met, words: format!("{subject}{words}: {verdict}") })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn judge(limit: Limit, ours: f64, kafka: Option<f64>, floor: Option<f64>) -> Option<bool> {
        let median = |contender| match contender {
            Contender::Rustmq => Some(ours),
            Contender::Kafka => kafka,
            Contender::Floor => floor,
            Contender::Base | Contender::RustmqEpoll | Contender::KafkaFlush => None,
        };
        Bar::new("p99", limit).judge(median).map(|verdict| verdict.is_met)
    }

    #[test]
    fn limits_are_judged_by_the_medians() {
        let least = Limit::AtLeast(1.5, Contender::Kafka);
        assert_eq!(judge(least, 150.0, Some(100.0), None), Some(true));
        assert_eq!(judge(least, 149.0, Some(100.0), None), Some(false));
        assert_eq!(judge(least, 149.0, None, None), None);
        assert_eq!(judge(Limit::AtMost(0.5, Contender::Kafka), 1.0, Some(1.9), None), Some(false));
        assert_eq!(judge(Limit::AtMost(0.5, Contender::KafkaFlush), 1.0, Some(9.0), None), None);
        assert_eq!(judge(Limit::Below(15.0), 15.1, None, None), Some(false));
        assert_eq!(judge(Limit::Above(0.7), 0.69, None, None), Some(false));
        assert_eq!(judge(Limit::Above(0.7), 0.7, None, None), Some(true));
    }

    #[test]
    fn the_floor_excuses_a_ratio() {
        let limit = Limit::AtMostOrNearFloor(0.5, Contender::Kafka, 1.3);
        assert_eq!(judge(limit, 1.0, Some(1.6), Some(0.8)), Some(true));
        assert_eq!(judge(limit, 1.0, Some(1.6), Some(0.7)), Some(false));
        assert_eq!(judge(limit, 0.8, Some(1.6), None), Some(true));
        assert_eq!(judge(limit, 0.8, None, None), None);
    }
}
