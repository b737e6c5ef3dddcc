//! Runs scenarios. The contenders take turns, A B A B, never two at once, each on an empty folder.
//! Collects the figures of all rounds.

use crate::builds::Build;
use crate::contender::Contender;
use crate::disk;
use crate::figure::{BetterWhen, Figure, Unit, count, digits};
use crate::scenario::{Overrides, Run, Scenario};
use crate::timeline::Timing;
use anyhow::{Context, Result};
use rustmq_compat_tests::server;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Long enough to show whether the disk is slower for one contender than for another, as a disk
/// that is throttled by credits is.
const PROBED_FOR: Duration = Duration::from_millis(300);

/// The settings of all scenarios in one run of the bench.
pub struct Plan<'a> {
    pub rounds: u32,
    pub timing: Timing,
    pub root: &'a Path,
    pub overrides: Overrides,
    /// Empty for the contenders that each scenario names.
    pub only: &'a [Contender],
    /// The base to compare RustMQ with.
    pub base: Option<&'a Build>,
    pub kafka_records_max: Cell<Option<f64>>,
}

impl Plan<'_> {
    /// The contenders that the scenario names, and the base next to RustMQ, so that both run under
    /// similar conditions. In even rounds the base runs first: then each of them follows the same
    /// predecessor equally often, with the idle or busy disk that it leaves.
    pub fn contenders(&self, scenario: &dyn Scenario, round: u32) -> Vec<Contender> {
        let mut contenders = scenario.contenders().to_vec();
        let ours = contenders.iter().position(|contender| *contender == Contender::Rustmq);
        if let (Some(ours), Some(_)) = (ours, self.base) {
            contenders.insert(if round.is_multiple_of(2) { ours } else { ours + 1 }, Contender::Base);
        }
        contenders
    }

    /// The heading of a contender's column.
    pub fn title(&self, contender: Contender) -> String {
        match self.base {
            Some(base) if contender == Contender::Base => base.title(),
            _ => contender.title().to_owned(),
        }
    }

    fn rustmq(&self, contender: Contender) -> PathBuf {
        match self.base {
            Some(base) if contender == Contender::Base => base.binary.clone(),
            _ => server::rustmq_binary(),
        }
    }
}

/// All values of one figure of one contender, one per round.
#[derive(Clone, Debug, Default)]
pub struct Values(Vec<f64>);

/// The median and the extremes of all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Values {
    /// `None` if there is no value.
    pub fn extent(&self) -> Option<Extent> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        // The two middle values; with an odd number they are the same one.
        let median = f64::midpoint(*sorted.get((sorted.len() - 1) / 2)?, *sorted.get(sorted.len() / 2)?);
        Some(Extent { least, median, most })
    }

    pub fn median(&self) -> Option<f64> {
        Some(self.extent()?.median)
    }

    /// The median, and the extremes if there are several rounds.
    pub fn words(&self) -> Option<String> {
        let Extent { least, median, most } = self.extent()?;
        if self.0.len() == 1 {
            return Some(digits(median));
        }
        Some(format!("{} ({} to {})", digits(median), digits(least), digits(most)))
    }
}

/// A figure of all contenders: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub unit: Unit,
    /// The direction of its figures.
    pub good: Option<BetterWhen>,
}

/// The results of one scenario.
#[derive(Debug, Default)]
pub struct Outcome {
    /// In the order in which the scenario first reported the figures.
    pub rows: Vec<Row>,
    values: BTreeMap<(&'static str, Contender), Values>,
    pub failures: Vec<String>,
    /// What limits RustMQ in it, if that was measured.
    pub limit: Option<String>,
}

impl Outcome {
    /// Adds the results of one run.
    pub fn enter(&mut self, contender: Contender, figures: &[Figure]) {
        for Figure { name, unit, value, good } in figures.iter().copied() {
            if !self.rows.iter().any(|row| row.name == name) {
                self.rows.push(Row { name, unit, good });
            }
            self.values.entry((name, contender)).or_default().0.push(value);
        }
    }

    pub fn values(&self, figure: &'static str, contender: Contender) -> Option<&Values> {
        self.values.get(&(figure, contender))
    }

    pub fn median(&self, figure: &'static str, contender: Contender) -> Option<f64> {
        self.values(figure, contender)?.median()
    }
}

/// Runs all rounds of one scenario. A failed run is recorded in the outcome, and the others
/// continue.
pub fn run(scenario: &dyn Scenario, plan: &Plan<'_>, mut progress: impl FnMut(&str)) -> Outcome {
    let mut outcome = Outcome::default();
    for round in 1..=plan.rounds {
        let mut contenders = plan.contenders(scenario, round);
        contenders.retain(|contender| plan.only.is_empty() || plan.only.contains(contender));
        for contender in contenders {
            let heading = format!("{} round {round} {}", scenario.name(), contender.name());
            match measure(scenario, plan, contender) {
                Ok(figures) => {
                    progress(&format!("{heading}: {}", line(&figures)));
                    outcome.enter(contender, &figures);
                }
                Err(error) => {
                    progress(&format!("{heading}: FAILED: {error:#}"));
                    outcome.failures.push(format!("{heading}: {error:#}"));
                }
            }
        }
    }
    outcome
}

fn measure(scenario: &dyn Scenario, plan: &Plan<'_>, contender: Contender) -> Result<Vec<Figure>> {
    // Otherwise the dirty pages of the previous run would be written during this one.
    rustix::fs::syncfs(std::fs::File::open(plan.root)?).context("syncing the file system")?;
    let disk = disk::probe(plan.root, PROBED_FOR)?;
    let mut figures = scenario.measure(&Run {
        contender,
        rustmq: &plan.rustmq(contender),
        timing: plan.timing,
        root: plan.root,
        overrides: plan.overrides,
        kafka_records_max: &plan.kafka_records_max,
        watch: None,
    })?;
    for (name, quantile) in [("disk's own sync before", 0.5), ("disk's own sync p99 before", 0.99)] {
        let value = count(disk.value_at_quantile(quantile)) / 1e6;
        figures.push(Figure::aside(name, Unit::Milliseconds, value));
    }
    Ok(figures)
}

fn line(figures: &[Figure]) -> String {
    let words = figures.iter().map(|figure| {
        let Figure { name, unit, value, .. } = figure;
        format!("{name} {} {}", digits(*value), unit.symbol())
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios;

    #[test]
    fn medians_of_odd_and_even_rounds() {
        assert_eq!(Values(vec![]).median(), None);
        assert_eq!(Values(vec![3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(Values(vec![4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        let extent = Extent { least: 1.0, median: 2.0, most: 3.0 };
        assert_eq!(Values(vec![3.0, 1.0, 2.0]).extent(), Some(extent));
        assert_eq!(Values(vec![3.0, 1.0, 2.0]).words().as_deref(), Some("2.00 (1.00 to 3.00)"));
    }

    #[test]
    fn figures_keep_the_order_in_which_they_came() {
        let mut outcome = Outcome::default();
        outcome.enter(Contender::Floor, &[Figure::new("z", Unit::Cores, 1.0)]);
        outcome.enter(Contender::Kafka, &[Figure::new("a", Unit::Cores, 1.0), Figure::new("z", Unit::Cores, 3.0)]);
        outcome.enter(Contender::Kafka, &[Figure::new("z", Unit::Cores, 5.0)]);
        let names: Vec<&str> = outcome.rows.iter().map(|row| row.name).collect();
        assert_eq!(names, ["z", "a"]);
        assert_eq!(outcome.median("z", Contender::Kafka), Some(4.0));
        assert_eq!(outcome.median("a", Contender::Floor), None);
    }

    #[test]
    fn the_base_runs_beside_rustmq_and_they_take_turns_at_being_first() {
        let timing = Timing { warmup: Duration::ZERO, window: Duration::ZERO };
        let base = Build { commit: "1234567".to_owned(), binary: PathBuf::from("/kept/rustmq") };
        let without = Plan {
            rounds: 1,
            timing,
            root: Path::new("/"),
            overrides: Overrides::default(),
            only: &[],
            base: None,
            kafka_records_max: Cell::new(None),
        };
        let with = Plan { base: Some(&base), kafka_records_max: Cell::new(None), ..without };
        for scenario in scenarios::all() {
            let named = scenario.contenders();
            assert_eq!(without.contenders(scenario.as_ref(), 1), named);
            for (round, pair) in [
                (1, [Contender::Rustmq, Contender::Base]),
                (2, [Contender::Base, Contender::Rustmq]),
                (3, [Contender::Rustmq, Contender::Base]),
            ] {
                let contenders = with.contenders(scenario.as_ref(), round);
                let others: Vec<Contender> = contenders.iter().copied().filter(|it| *it != Contender::Base).collect();
                assert_eq!(others, named);
                let are_beside = contenders.windows(2).any(|two| two == pair);
                assert_eq!(are_beside, named.contains(&Contender::Rustmq), "{} round {round}", scenario.name());
            }
        }
        assert_eq!(with.title(Contender::Base), "RustMQ at 1234567");
        assert_eq!(with.rustmq(Contender::Base), base.binary);
        assert_ne!(with.rustmq(Contender::Rustmq), base.binary);
    }
}
