//! Compares RustMQ with the base, the build of another commit: a figure is better or worse if the
//! builds differ by more than the rounds of one build do. Judges measured figures, and runs
//! nothing.

use crate::contender::Contender;
use crate::figure::{BetterWhen, Unit, digits};
use crate::rounds::{Extent, Outcome, Row};
use crate::table;
use anyhow::{Result, ensure};

/// Medians within this ratio count as equal, whatever the single rounds were.
const MARGIN: f64 = 1.05;
/// With fewer rounds, chance alone separates the ranges of two equal builds too often to fail for
/// it: for one figure in 20 with three rounds, for one in 252 with five.
pub const ROUNDS_MIN: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    Alike,
}

/// One figure of both builds.
#[derive(Clone, Copy, Debug)]
struct Pair {
    ours: Extent,
    base: Extent,
}

impl Pair {
    /// `None` if one of them was not measured.
    fn of(row: &Row, outcome: &Outcome) -> Option<Pair> {
        let extent = |contender| outcome.values(row.name, contender)?.extent();
        Some(Pair { ours: extent(Contender::Rustmq)?, base: extent(Contender::Base)? })
    }

    /// A difference counts if the medians differ by more than the margin and by more than the
    /// unit's least step, and no round of one build lies within the range of the other. A single
    /// round is a range of one point.
    fn verdict(self, unit: Unit, good: BetterWhen) -> Verdict {
        let exceeds = |larger: Extent, smaller: Extent| {
            let bound = (MARGIN * smaller.median).max(smaller.median + least_step(unit));
            larger.median > bound && larger.least > smaller.most
        };
        let ours_has = match (exceeds(self.ours, self.base), exceeds(self.base, self.ours)) {
            (true, _) => BetterWhen::More,
            (_, true) => BetterWhen::Less,
            (false, false) => return Verdict::Alike,
        };
        if ours_has == good { Verdict::Better } else { Verdict::Worse }
    }

    fn ratio(self) -> String {
        if self.base.median > 0.0 { format!("{}x", digits(self.ours.median / self.base.median)) } else { String::new() }
    }
}

/// The largest difference that means nothing in this unit, however large the ratio: a tick of the
/// kernel's clock while idle, or one page more.
fn least_step(unit: Unit) -> f64 {
    match unit {
        Unit::PercentOfCore => 0.2,
        Unit::FaultsPerGigabyte => 100.0,
        _ => 0.0,
    }
}

/// The text of a row in the table: the ratio, and a word if it is better or worse.
pub fn words(row: &Row, outcome: &Outcome) -> String {
    let Some(pair) = Pair::of(row, outcome) else { return String::new() };
    let word = match row.good.map(|good| pair.verdict(row.unit, good)) {
        Some(Verdict::Better) => " better",
        Some(Verdict::Worse) => " worse",
        Some(Verdict::Alike) | None => "",
    };
    format!("{}{word}", pair.ratio()).trim_start().to_owned()
}

/// All figures of the broker that both builds have, over all scenarios.
#[derive(Debug, Default)]
pub struct Judged {
    count: usize,
    worse: Vec<String>,
}

pub fn judge(results: &[table::Result<'_>]) -> Judged {
    let mut judged = Judged::default();
    for (scenario, outcome) in results {
        for row in &outcome.rows {
            let (Some(good), Some(pair)) = (row.good, Pair::of(row, outcome)) else { continue };
            judged.count += 1;
            if pair.verdict(row.unit, good) == Verdict::Worse {
                judged.worse.push(format!("{} {} {}", scenario.name(), row.name, pair.ratio()).trim_end().to_owned());
            }
        }
    }
    judged
}

impl Judged {
    /// One line with the figures that are worse than those of the build with this title.
    pub fn words(&self, base: &str) -> String {
        let (worse, count) = (self.worse.len(), self.count);
        if worse == 0 {
            return format!("worse than {base}: none of {count} figures");
        }
        format!("worse than {base}: {worse} of {count} figures: {}", self.worse.join("; "))
    }

    /// Fails if a figure is worse, or if none could be judged.
    pub fn ensure_none_is_worse(&self, base: &str) -> Result<()> {
        ensure!(self.count > 0, "no figure could be judged: RustMQ and {base} must both run");
        ensure!(self.worse.is_empty(), "{} of {} figures are worse than {base}", self.worse.len(), self.count);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Figure;
    use crate::scenarios;

    fn verdict(good: BetterWhen, ours: [f64; 3], base: [f64; 3]) -> Verdict {
        verdict_in(Unit::Milliseconds, good, ours, base)
    }

    fn verdict_in(unit: Unit, good: BetterWhen, ours: [f64; 3], base: [f64; 3]) -> Verdict {
        let extent = |[least, median, most]: [f64; 3]| Extent { least, median, most };
        Pair { ours: extent(ours), base: extent(base) }.verdict(unit, good)
    }

    #[test]
    fn the_good_direction_makes_a_difference_better_or_worse() {
        let (high, low) = ([110.0, 120.0, 130.0], [90.0, 100.0, 109.0]);
        assert_eq!(verdict(BetterWhen::More, high, low), Verdict::Better);
        assert_eq!(verdict(BetterWhen::More, low, high), Verdict::Worse);
        assert_eq!(verdict(BetterWhen::Less, high, low), Verdict::Worse);
        assert_eq!(verdict(BetterWhen::Less, low, high), Verdict::Better);
    }

    #[test]
    fn ranges_that_meet_are_alike_however_far_the_medians_are_apart() {
        let high = [110.0, 200.0, 210.0];
        assert_eq!(verdict(BetterWhen::Less, high, [90.0, 100.0, 109.9]), Verdict::Worse);
        assert_eq!(verdict(BetterWhen::Less, high, [90.0, 100.0, 110.0]), Verdict::Alike);
        assert_eq!(verdict(BetterWhen::More, [90.0, 100.0, 110.0], high), Verdict::Alike);
    }

    #[test]
    fn medians_within_the_margin_are_alike_however_far_the_ranges_are_apart() {
        let base = [99.0, 100.0, 101.0];
        for good in [BetterWhen::More, BetterWhen::Less] {
            assert_eq!(verdict(good, [104.0, 105.0, 106.0], base), Verdict::Alike);
            assert_eq!(verdict(good, base, [104.0, 105.0, 106.0]), Verdict::Alike);
        }
        assert_eq!(verdict(BetterWhen::Less, [104.0, 105.1, 106.0], base), Verdict::Worse);
        assert_eq!(verdict(BetterWhen::More, base, [104.0, 105.1, 106.0]), Verdict::Worse);
    }

    #[test]
    fn the_margin_alone_decides_a_single_round() {
        assert_eq!(verdict(BetterWhen::Less, [106.0; 3], [100.0; 3]), Verdict::Worse);
        assert_eq!(verdict(BetterWhen::More, [106.0; 3], [100.0; 3]), Verdict::Better);
        assert_eq!(verdict(BetterWhen::Less, [104.0; 3], [100.0; 3]), Verdict::Alike);
    }

    #[test]
    fn what_was_nothing_and_is_something_is_judged_without_a_ratio() {
        assert_eq!(verdict(BetterWhen::Less, [1.0; 3], [0.0; 3]), Verdict::Worse);
        assert_eq!(verdict(BetterWhen::Less, [0.0; 3], [0.0; 3]), Verdict::Alike);
    }

    #[test]
    fn a_tick_and_a_page_are_no_difference() {
        assert_eq!(verdict_in(Unit::PercentOfCore, BetterWhen::Less, [0.25; 3], [0.2; 3]), Verdict::Alike);
        assert_eq!(verdict_in(Unit::PercentOfCore, BetterWhen::Less, [0.5; 3], [0.2; 3]), Verdict::Worse);
        assert_eq!(verdict_in(Unit::FaultsPerGigabyte, BetterWhen::Less, [99.0; 3], [0.0; 3]), Verdict::Alike);
        assert_eq!(verdict_in(Unit::FaultsPerGigabyte, BetterWhen::Less, [901.0; 3], [800.0; 3]), Verdict::Worse);
    }

    /// Two rounds of RustMQ and of the base. Each figure has the given values.
    fn outcome(ours: [f64; 2], base: [f64; 2]) -> Outcome {
        let mut outcome = Outcome::default();
        for (contender, values) in [(Contender::Rustmq, ours), (Contender::Base, base), (Contender::Kafka, [1.0; 2])] {
            for value in values {
                outcome.enter(
                    contender,
                    &[
                        Figure::new("acknowledged", Unit::MegabytesPerSecond, value),
                        Figure::new("broker CPU in", Unit::SecondsPerGigabyte, value),
                        Figure::aside("generator CPU", Unit::Cores, value),
                    ],
                );
            }
        }
        outcome.enter(Contender::Rustmq, &[Figure::new("peak memory", Unit::Mebibytes, 1.0)]);
        outcome
    }

    #[test]
    fn rows_have_a_ratio_and_those_of_the_broker_a_word() {
        let said = |ours, base| {
            let outcome = outcome(ours, base);
            outcome.rows.iter().map(|row| words(row, &outcome)).collect::<Vec<_>>()
        };
        assert_eq!(said([2.0, 4.0], [1.0, 1.0]), ["3.00x better", "3.00x worse", "3.00x", ""]);
        assert_eq!(said([2.0, 4.0], [2.0, 4.0]), ["1.00x", "1.00x", "1.00x", ""]);
        assert_eq!(said([2.0, 4.0], [0.0, 0.0]), ["better", "worse", "", ""]);
    }

    #[test]
    fn the_last_line_lists_what_is_worse_of_what_could_be_judged() {
        let all = scenarios::all();
        let base = "RustMQ at 1234567";
        let judged = |outcomes: Vec<Outcome>| {
            judge(&outcomes.into_iter().zip(&all).map(|(outcome, it)| (it.as_ref(), outcome)).collect::<Vec<_>>())
        };
        let (slower, alike) = (outcome([1.0, 1.0], [2.0, 4.0]), outcome([2.0, 4.0], [1.0, 3.0]));
        let worse = judged(vec![slower, alike]);
        let expected = "worse than RustMQ at 1234567: 1 of 4 figures: produce-1p acknowledged 0.333x";
        assert_eq!(worse.words(base), expected);
        assert!(worse.ensure_none_is_worse(base).is_err());

        let alike = judged(vec![outcome([2.0, 4.0], [1.0, 3.0])]);
        assert_eq!(alike.words(base), "worse than RustMQ at 1234567: none of 2 figures");
        assert!(alike.ensure_none_is_worse(base).is_ok());
        assert!(judged(vec![Outcome::default()]).ensure_none_is_worse(base).is_err(), "nothing was compared");
    }
}
