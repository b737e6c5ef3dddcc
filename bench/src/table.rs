//! The one table: a row for each figure of each scenario, a column for each contender, the ratio to Kafka, and the bars.

use crate::contender::Contender;
use crate::figure::digits;
use crate::rounds::Outcome;
use crate::scenario::{Overrides, Scenario};
use std::fmt::Write as _;

const COLUMNS: [Contender; 5] =
    [Contender::Rustmq, Contender::Kafka, Contender::KafkaFlush, Contender::RustmqEpoll, Contender::Floor];

/// A scenario with what it has yielded.
pub type Result<'a> = (&'a dyn Scenario, Outcome);

/// Markdown: the table, then what each scenario does, then what failed.
pub fn render(results: &[Result<'_>], overrides: &Overrides) -> String {
    let columns: Vec<Contender> = COLUMNS
        .into_iter()
        .filter(|column| results.iter().any(|(scenario, _)| scenario.contenders().contains(column)))
        .collect();
    let mut text = String::from("| scenario | figure |");
    for column in &columns {
        let _ = write!(text, " {} |", column.title());
    }
    text.push_str(" RustMQ / Kafka | bar |\n| --- | --- |");
    text.push_str(&" ---: |".repeat(columns.len()));
    text.push_str(" ---: | --- |\n");
    for (scenario, outcome) in results {
        text.push_str(&rows(*scenario, outcome, &columns));
    }
    text.push('\n');
    for (scenario, outcome) in results {
        let _ = writeln!(text, "- `{}`: {}", scenario.name(), scenario.load(overrides));
        if let Some(limit) = &outcome.limit {
            let _ = writeln!(text, "  - what limits RustMQ: {limit}");
        }
    }
    for failure in results.iter().flat_map(|(_, outcome)| &outcome.failures) {
        let first = failure.lines().next().unwrap_or_default();
        let _ = writeln!(text, "- FAILED: {first}");
    }
    text
}

fn rows(scenario: &dyn Scenario, outcome: &Outcome, columns: &[Contender]) -> String {
    let mut text = String::new();
    for (index, (figure, unit)) in outcome.figures.iter().enumerate() {
        let name = if index == 0 { scenario.name() } else { "" };
        let _ = write!(text, "| {name} | {figure}, {} |", unit.symbol());
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
            .filter(|bar| bar.figure == *figure)
            .filter_map(|bar| bar.judge(median))
            .map(|verdict| verdict.words)
            .collect();
        let _ = writeln!(text, " {ratio} | {} |", verdicts.join("; "));
    }
    text
}
