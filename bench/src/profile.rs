//! `rustmq-bench profile`: runs a scenario on RustMQ alone, observes the broker in the measured
//! window, and writes what limits it: a flame graph and a report, below `target/profile`. Needs
//! `perf`, and the rights to use it.

mod cost;
mod events;
mod flame;
mod limit;
mod page;
mod perf;
mod probes;
mod report;
mod stacks;
mod threads;
mod watcher;

use crate::contender::Contender;
use crate::figure::count;
use crate::machine;
use crate::scenario::{Overrides, Run, Scenario};
use crate::timeline::Timing;
use anyhow::{Context, Result, ensure};
use rustmq_compat_tests::server;
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use watcher::{Observations, Watcher};

/// The scenarios that are profiled unless others are named: throughput, latency, and reads.
pub const SCENARIOS: [&str; 6] =
    ["produce-1p", "produce-12p", "latency-2k", "latency-10k", "fan-out", "consume-memory"];

pub struct Plan<'a> {
    pub warmup: Duration,
    /// The length of each part of the window.
    pub part: Duration,
    /// The folder for the broker's data.
    pub root: &'a Path,
    pub overrides: Overrides,
}

/// Profiles each scenario. Returns a table of the lines that say what limits them.
pub fn run(scenarios: &[&dyn Scenario], plan: &Plan<'_>, progress: impl Fn(&str)) -> Result<String> {
    let mut table = String::from("| scenario | what limits it now |\n| --- | --- |\n");
    let mut failed = Vec::new();
    for scenario in scenarios {
        let name = scenario.name();
        match profile(*scenario, plan) {
            Ok((folder, seen)) => {
                let line = limit::line(&seen);
                progress(&format!("{name}: {line}\n  {}", folder.join("report.md").display()));
                let _ = writeln!(table, "| `{name}` | {line} |");
            }
            Err(error) => {
                progress(&format!("{name}: FAILED: {error:#}"));
                failed.push(name);
            }
        }
    }
    ensure!(failed.is_empty(), "not profiled: {}", failed.join(", "));
    Ok(table)
}

/// Profiles one scenario. Returns the line that says what limits it.
pub fn limit(scenario: &dyn Scenario, plan: &Plan<'_>) -> Result<String> {
    profile(scenario, plan).map(|(_, seen)| limit::line(&seen))
}

fn profile(scenario: &dyn Scenario, plan: &Plan<'_>) -> Result<(PathBuf, Observations)> {
    let contender = Contender::Rustmq;
    let contenders = scenario.contenders();
    let contender = if contenders.contains(&contender) { contender } else { Contender::RustmqEpoll };
    let binary = server::rustmq_binary();
    let target = binary.parent().and_then(Path::parent).context("the broker's binary is not in a target folder")?;
    let folder = target.join("profile").join(scenario.name());
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    rustix::fs::syncfs(fs::File::open(plan.root)?).context("syncing the file system")?;
    let watcher = Rc::new(Watcher::new(folder.clone(), binary.clone(), plan.part));
    let figures = scenario.measure(&Run {
        contender,
        rustmq: &binary,
        timing: Timing { warmup: plan.warmup, window: Watcher::window(plan.part) },
        root: plan.root,
        overrides: plan.overrides,
        kafka_records_max: &Cell::new(None),
        watch: Some(Rc::clone(&watcher) as Rc<dyn crate::broker::Watch>),
    });
    let (figures, seen) = (figures?, watcher.seen()?);
    if let Ok(sampled) = &seen.sampled {
        let stacks = sampled.samples.stacks.iter().map(|((kind, stack), count)| {
            let frames = std::iter::once(kind.title()).chain(stack.iter().map(String::as_str));
            (frames.collect(), *count)
        });
        fs::write(folder.join("flame.svg"), flame::draw(scenario.name(), stacks))?;
    }
    let load = scenario.load(&plan.overrides);
    let machine = machine::describe_broker(plan.root);
    fs::write(folder.join("report.md"), report::render(scenario.name(), &load, &machine, &figures, &seen))?;
    Ok((folder, seen))
}
