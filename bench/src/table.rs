//! The table: a row for each figure of each scenario, a column for each contender, the ratio to
//! Kafka, and the bars. With a base, the ratio to it as well.

use crate::comparison;
use crate::contender::Contender;
use crate::figure::digits;
use crate::rounds::{Outcome, Plan};
use crate::scenario::Scenario;
use std::fmt::Write as _;

/// The contenders in the order of their columns.
pub const COLUMNS: [Contender; 6] = [
    Contender::Rustmq,
    Contender::Base,
    Contender::Kafka,
    Contender::KafkaFlush,
    Contender::RustmqEpoll,
    Contender::Floor,
];

const TO_KAFKA: &str = "RustMQ / Kafka";
const TO_BASE: &str = "RustMQ / base";

/// A scenario with its results.
pub type Result<'a> = (&'a dyn Scenario, Outcome);

/// Markdown: the table, then the description of each scenario, the failures, and the figures that
/// are worse than the base's.
pub fn render(results: &[Result<'_>], plan: &Plan<'_>) -> String {
    let columns: Vec<Contender> = COLUMNS
        .into_iter()
        .filter(|column| results.iter().any(|(scenario, _)| plan.contenders(*scenario, 1).contains(column)))
        .collect();
    let mut text = String::from("| scenario | figure |");
    for column in &columns {
        let _ = write!(text, " {} |", plan.title(*column));
    }
    let ratios: &[&str] = if plan.base.is_some() { &[TO_KAFKA, TO_BASE] } else { &[TO_KAFKA] };
    let _ = writeln!(text, " {} | bar |", ratios.join(" | "));
    let _ = writeln!(text, "| --- | --- |{} --- |", " ---: |".repeat(columns.len() + ratios.len()));
    for (scenario, outcome) in results {
        text.push_str(&rows(*scenario, outcome, &columns, plan));
    }
    text.push('\n');
    for (scenario, outcome) in results {
        let _ = writeln!(text, "- `{}`: {}", scenario.name(), scenario.load(&plan.overrides));
        if let Some(limit) = &outcome.limit {
            let _ = writeln!(text, "  - what limits RustMQ: {limit}");
        }
    }
    for failure in results.iter().flat_map(|(_, outcome)| &outcome.failures) {
        let first = failure.lines().next().unwrap_or_default();
        let _ = writeln!(text, "- FAILED: {first}");
    }
    if plan.base.is_some() {
        let _ = writeln!(text, "\n{}", comparison::judge(results).words(&plan.title(Contender::Base)));
    }
    text
}

fn rows(scenario: &dyn Scenario, outcome: &Outcome, columns: &[Contender], plan: &Plan<'_>) -> String {
    let mut text = String::new();
    for (index, row) in outcome.rows.iter().enumerate() {
        let figure = row.name;
        let name = if index == 0 { scenario.name() } else { "" };
        let _ = write!(text, "| {name} | {figure}, {} |", row.unit.symbol());
        for column in columns {
            let words = outcome.values(figure, *column).and_then(|values| values.words()).unwrap_or_default();
            let _ = write!(text, " {words} |");
        }
        let median = |contender| outcome.median(figure, contender);
        let ratio = match (median(Contender::Rustmq), median(Contender::Kafka)) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{}x", digits(ours / theirs)),
            _ => String::new(),
        };
        let verdicts: Vec<String> = scenario
            .bars()
            .iter()
            .filter(|bar| bar.figure == figure)
            .filter_map(|bar| bar.judge(median))
            .map(|verdict| verdict.words)
            .collect();
        let _ = write!(text, " {ratio} |");
        if plan.base.is_some() {
            let _ = write!(text, " {} |", comparison::words(row, outcome));
        }
        let _ = writeln!(text, " {} |", verdicts.join("; "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builds::Build;
    use crate::figure::{Figure, Unit};
    use crate::scenario::Overrides;
    use crate::scenarios;
    use crate::timeline::Timing;
    use std::cell::Cell;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    /// The table of one scenario, and the line after the list of loads.
    fn rendered(base: Option<&Build>) -> Vec<String> {
        let all = scenarios::all();
        let idle = all.iter().find(|scenario| scenario.name() == "idle").unwrap();
        let mut outcome = Outcome::default();
        let mut values = vec![(Contender::Rustmq, 32.0), (Contender::Kafka, 320.0)];
        values.extend(base.map(|_| (Contender::Base, 16.0)));
        for (contender, value) in values {
            outcome.enter(contender, &[Figure::new("memory", Unit::Mebibytes, value)]);
        }
        let plan = Plan {
            rounds: 1,
            timing: Timing { warmup: Duration::ZERO, window: Duration::ZERO },
            root: Path::new("/"),
            overrides: Overrides::default(),
            only: &[],
            base,
            kafka_records_max: Cell::new(None),
        };
        let text = render(&[(idle.as_ref(), outcome)], &plan);
        text.lines().filter(|line| !line.starts_with("- ")).map(str::to_owned).collect()
    }

    #[test]
    fn a_base_adds_its_column_its_ratio_and_the_last_line() {
        assert_eq!(
            rendered(None),
            [
                "| scenario | figure | RustMQ | Kafka | RustMQ / Kafka | bar |",
                "| --- | --- | ---: | ---: | ---: | --- |",
                "| idle | memory, MiB | 32.0 | 320 | 0.100x | bar <= 64.0: met |",
                "",
            ]
        );
        let base = Build { commit: "1234567".to_owned(), binary: PathBuf::new() };
        assert_eq!(
            rendered(Some(&base)),
            [
                "| scenario | figure | RustMQ | RustMQ at 1234567 | Kafka | RustMQ / Kafka | RustMQ / base | bar |",
                "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
                "| idle | memory, MiB | 32.0 | 16.0 | 320 | 0.100x | 2.00x worse | bar <= 64.0: met |",
                "",
                "",
                "worse than RustMQ at 1234567: 1 of 1 figures: idle memory 2.00x",
            ]
        );
    }
}
