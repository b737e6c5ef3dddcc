//! The report around the table: the conditions of the measurement, and the guard against
//! regressions.

use crate::bar::{Bar, Limit};
use crate::client;
use crate::contender::Contender;
use crate::disk;
use crate::figure::{digits, quantiles};
use crate::machine;
use crate::rounds::Plan;
use crate::table;
use anyhow::{Result, ensure};
use std::fmt::Write as _;
use std::time::Duration;

const PROBED_FOR: Duration = Duration::from_secs(3);

/// Describes the conditions of the measurement. Measures the disk.
pub fn head(plan: &Plan<'_>) -> Result<String> {
    let mut text = String::from("# RustMQ and Apache Kafka, measured in turn\n\n");
    for line in machine::describe(plan.root) {
        writeln!(text, "- {line}")?;
    }
    writeln!(text, "- clients: {}", client::STATED)?;
    let (warmup, window) = (plan.timing.warmup.as_secs(), plan.timing.window.as_secs());
    let rounds = plan.rounds;
    writeln!(
        text,
        "- rounds: {rounds}, alternating; each {warmup} s of warm-up and {window} s measured; medians (least to most)"
    )?;
    for contender in table::COLUMNS {
        if contender != Contender::Base || plan.base.is_some() {
            writeln!(text, "- {}: {}", plan.title(contender), contender.syncs())?;
        }
    }
    let disk: Vec<String> = quantiles(&disk::probe(plan.root, PROBED_FOR)?)
        .iter()
        .map(|figure| format!("{} {} ms", figure.name, digits(figure.value)))
        .collect();
    writeln!(text, "- the disk's own 4 KiB overwrite with O_DIRECT and fdatasync: {}\n", disk.join(", "))?;
    Ok(text)
}

pub fn whole(head: &str, results: &[table::Result<'_>], plan: &Plan<'_>) -> String {
    format!("{head}{}", table::render(results, plan))
}

/// Margins that only a real regression exceeds, whatever else the machine does. Figures that depend
/// on the speed of the disk are compared with a broker that also waits for the disk.
const GUARDS: [Bar; 5] = [
    Bar::new("acknowledged", Limit::AtLeast(1.0, Contender::KafkaFlush)),
    Bar::new("broker CPU in", Limit::AtMost(1.0, Contender::Kafka)),
    Bar::new("peak memory", Limit::AtMost(1.0, Contender::Kafka)),
    Bar::new("p50", Limit::AtMost(1.0, Contender::KafkaFlush)),
    // One short window is noisy: another process on the machine can make this ten times as long.
    Bar::new("p99", Limit::AtMost(10.0, Contender::KafkaFlush)),
];

/// Fails if a figure is beyond its margin, or if none of its margins could be judged.
pub fn guard(results: &[table::Result<'_>]) -> Result<()> {
    let mut judged = 0;
    let mut beyond = Vec::new();
    for (scenario, outcome) in results {
        for guard in &GUARDS {
            if let Some(verdict) = guard.judge(|contender| outcome.median(guard.figure, contender)) {
                judged += 1;
                if !verdict.is_met {
                    beyond.push(format!("{} {}: {}", scenario.name(), guard.figure, verdict.words));
                }
            }
        }
    }
    ensure!(beyond.is_empty(), "beyond the margins:\n{}", beyond.join("\n"));
    ensure!(judged > 0, "no margin could be judged: both RustMQ and Kafka must run");
    Ok(())
}
