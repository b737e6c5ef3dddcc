//! Runs scenarios: each contender in turn, A B A B, never two at once, each on an empty folder; gathers the figures of all rounds.

use crate::contender::Contender;
use crate::disk;
use crate::figure::{Figure, Unit, count, digits};
use crate::scenario::{Overrides, Run, Scenario};
use crate::timeline::Timing;
use anyhow::{Context, Result};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Long enough to see whether the disk is slower for one contender than for another, as one that is throttled by credits is.
const PROBED_FOR: Duration = Duration::from_millis(300);

/// What holds for all scenarios of one run of the bench.
pub struct Plan<'a> {
    pub rounds: u32,
    pub timing: Timing,
    pub root: &'a Path,
    pub overrides: Overrides,
    /// Empty for those that each scenario names.
    pub only: &'a [Contender],
    pub kafka_records_max: Cell<Option<f64>>,
}

/// All values of one figure of one contender, a value a round.
#[derive(Clone, Debug, Default)]
pub struct Values(Vec<f64>);

impl Values {
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            return sorted.get(middle).copied();
        }
        Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
    }

    /// The median, and the extremes when there are several rounds.
    pub fn words(&self) -> Option<String> {
        let median = digits(self.median()?);
        if self.0.len() == 1 {
            return Some(median);
        }
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(format!("{median} ({} to {})", digits(least), digits(most)))
    }
}

/// What one scenario has yielded.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Names and units in the order in which the scenario gave them first.
    pub figures: Vec<(&'static str, Unit)>,
    values: BTreeMap<(&'static str, Contender), Values>,
    pub failures: Vec<String>,
    /// What limits RustMQ in it, where that was looked at.
    pub limit: Option<String>,
}

impl Outcome {
    fn enter(&mut self, contender: Contender, figures: &[Figure]) {
        for figure in figures {
            if !self.figures.iter().any(|(name, _)| *name == figure.name) {
                self.figures.push((figure.name, figure.unit));
            }
            self.values.entry((figure.name, contender)).or_default().0.push(figure.value);
        }
    }

    pub fn values(&self, figure: &'static str, contender: Contender) -> Option<&Values> {
        self.values.get(&(figure, contender))
    }

    pub fn median(&self, figure: &'static str, contender: Contender) -> Option<f64> {
        self.values(figure, contender)?.median()
    }
}

/// All rounds of one scenario. A failed run is entered in the outcome, and the others go on.
pub fn run(scenario: &dyn Scenario, plan: &Plan<'_>, mut progress: impl FnMut(&str)) -> Outcome {
    let contenders = scenario.contenders().iter().copied();
    let contenders: Vec<Contender> =
        contenders.filter(|contender| plan.only.is_empty() || plan.only.contains(contender)).collect();
    let mut outcome = Outcome::default();
    for round in 1..=plan.rounds {
        for contender in &contenders {
            let heading = format!("{} round {round} {}", scenario.name(), contender.name());
            match measure(scenario, plan, *contender) {
                Ok(figures) => {
                    progress(&format!("{heading}: {}", line(&figures)));
                    outcome.enter(*contender, &figures);
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
    // What the one before has left in the page cache would be written during this one.
    rustix::fs::syncfs(std::fs::File::open(plan.root)?).context("syncing the file system")?;
    let disk = disk::probe(plan.root, PROBED_FOR)?;
    let mut figures = scenario.measure(&Run {
        contender,
        timing: plan.timing,
        root: plan.root,
        overrides: plan.overrides,
        kafka_records_max: &plan.kafka_records_max,
        watch: None,
    })?;
    let median = count(disk.value_at_quantile(0.5)) / 1e6;
    figures.push(Figure::new("disk's own sync before", Unit::Milliseconds, median));
    Ok(figures)
}

fn line(figures: &[Figure]) -> String {
    let words = figures.iter().map(|figure| {
        let Figure { name, unit, value } = figure;
        format!("{name} {} {}", digits(*value), unit.symbol())
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_rounds() {
        assert_eq!(Values(vec![]).median(), None);
        assert_eq!(Values(vec![3.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(Values(vec![4.0, 1.0, 2.0, 3.0]).median(), Some(2.5));
        assert_eq!(Values(vec![3.0, 1.0, 2.0]).words().as_deref(), Some("2.00 (1.00 to 3.00)"));
    }

    #[test]
    fn figures_keep_the_order_in_which_they_came() {
        let mut outcome = Outcome::default();
        outcome.enter(Contender::Floor, &[Figure::new("z", Unit::Cores, 1.0)]);
        outcome.enter(Contender::Kafka, &[Figure::new("a", Unit::Cores, 1.0), Figure::new("z", Unit::Cores, 3.0)]);
        outcome.enter(Contender::Kafka, &[Figure::new("z", Unit::Cores, 5.0)]);
        let names: Vec<&str> = outcome.figures.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["z", "a"]);
        assert_eq!(outcome.median("z", Contender::Kafka), Some(4.0));
        assert_eq!(outcome.median("a", Contender::Floor), None);
    }
}
