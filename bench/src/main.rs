//! `rustmq-bench`: the same load on RustMQ and on Apache Kafka, in turn, and one table of ratios.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks through them")]

mod bar;
mod broker;
mod builds;
mod client;
mod comparison;
mod contender;
mod disk;
mod figure;
mod fill;
mod flood;
mod generator;
mod latency;
mod machine;
mod pace;
mod page_cache;
mod payload;
mod profile;
mod relay;
mod report;
mod rounds;
mod scenario;
mod scenarios;
mod table;
mod timeline;
mod usage;

use anyhow::{Result, bail, ensure};
use builds::{Build, Builds};
use clap::Parser;
use contender::Contender;
use rounds::Plan;
use scenario::{Overrides, Scenario};
use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use timeline::Timing;

/// The same load on RustMQ and on Apache Kafka, in turn, and one table of ratios.
#[derive(Debug, Parser)]
struct Arguments {
    /// Scenarios by name; all if none is named. `list` prints the names. `profile` before the names
    /// shows what limits RustMQ in them.
    scenarios: Vec<String>,
    /// The number of alternating rounds. A figure is their median.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// The length of the measured window.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The length of the same load before the window.
    #[arg(long, default_value_t = 10)]
    warmup: u64,
    /// Runs only these contenders.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Runs the build of this commit beside RustMQ, as the contender `base`. Fails if RustMQ is
    /// worse; with fewer than five rounds, only shows it.
    #[arg(long, value_name = "COMMIT")]
    base: Option<String>,
    /// linger.ms in place of the scenario's.
    #[arg(long)]
    linger: Option<u32>,
    /// batch.size in place of the scenario's.
    #[arg(long)]
    batch: Option<u32>,
    /// Records a second in place of the scenario's.
    #[arg(long)]
    rate: Option<u32>,
    /// The folder for the brokers' data, on the file system to measure.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Writes the report to this file as well.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Profiles each scenario once after its rounds, for the line that says what limits RustMQ in
    /// it.
    #[arg(long)]
    limits: bool,
    /// Runs a few scenarios in under two minutes. Fails if a figure is far worse than Kafka's.
    #[arg(long)]
    guard: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rustmq-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let all = scenarios::all();
    if arguments.scenarios.iter().any(|name| name == "list") {
        for scenario in &all {
            println!("{:20} {}", scenario.name(), scenario.load(&Overrides::default()));
        }
        return Ok(());
    }
    if arguments.scenarios.first().is_some_and(|name| name == "profile") {
        return profile(&all, arguments);
    }
    let chosen = choose(&all, &arguments.scenarios, arguments.guard)?;
    ensure!(arguments.rounds > 0 && arguments.seconds > 0, "at least one round of one second");
    let base = base(arguments, &chosen)?;
    raise_file_limit()?;
    let root = broker::runs_folder(arguments.folder.as_deref())?;
    let [warmup, window] = [arguments.warmup, arguments.seconds].map(Duration::from_secs);
    let plan = Plan {
        rounds: arguments.rounds,
        timing: Timing { warmup, window },
        root: &root,
        overrides: overrides(arguments),
        only: &arguments.only,
        base: base.as_ref(),
        kafka_records_max: Cell::new(None),
    };
    let head = report::head(&plan)?;
    print!("{head}");
    let mut results: Vec<table::Result<'_>> = Vec::new();
    for scenario in chosen {
        let mut outcome = rounds::run(scenario, &plan, |line| eprintln!("{line}"));
        if arguments.limits && scenario.is_watched() {
            outcome.limit = Some(limit(scenario, &plan));
        }
        results.push((scenario, outcome));
        if let Some(path) = &arguments.write {
            // Printed after each scenario, so that an interrupted run leaves its results.
            std::fs::write(path, report::whole(&head, &results, &plan))?;
        }
    }
    print!("{}", table::render(&results, &plan));
    let failures = results.iter().map(|(_, outcome)| outcome.failures.len()).sum::<usize>();
    ensure!(failures == 0, "{failures} runs failed");
    if arguments.guard {
        report::guard(&results)?;
    }
    match &base {
        Some(base) if arguments.rounds >= comparison::ROUNDS_MIN => {
            comparison::judge(&results).ensure_none_is_worse(&base.title())
        }
        _ => Ok(()),
    }
}

/// The base to compare RustMQ with, built now unless its binary exists.
fn base(arguments: &Arguments, chosen: &[&dyn Scenario]) -> Result<Option<Build>> {
    let is_named = |contender| arguments.only.contains(&contender);
    let Some(commit) = &arguments.base else {
        ensure!(!is_named(Contender::Base), "`--only base` needs `--base COMMIT`");
        return Ok(None);
    };
    let both_run = arguments.only.is_empty() || is_named(Contender::Rustmq) && is_named(Contender::Base);
    ensure!(both_run, "`--base` compares rustmq with base: `--only` must name both");
    let has_rustmq = |scenario: &&dyn Scenario| scenario.contenders().contains(&Contender::Rustmq);
    ensure!(chosen.iter().any(has_rustmq), "none of these scenarios runs rustmq: `--base` needs one that does");
    Builds::here()?.of(commit).map(Some)
}

/// With the shortest parts that are allowed, because the line is about shares.
fn limit(scenario: &dyn Scenario, plan: &Plan<'_>) -> String {
    let profile = profile::Plan {
        warmup: plan.timing.warmup,
        part: Duration::from_secs(3),
        root: plan.root,
        overrides: plan.overrides,
    };
    profile::limit(scenario, &profile).unwrap_or_else(|error| format!("not seen: {error:#}"))
}

fn profile(all: &[Box<dyn Scenario>], arguments: &Arguments) -> Result<()> {
    ensure!(arguments.base.is_none(), "a profile is of this build alone: it takes no `--base`");
    let mut names = arguments.scenarios[1..].to_vec();
    if names.is_empty() {
        names.extend(profile::SCENARIOS.map(str::to_owned));
    }
    let chosen = choose(all, &names, false)?;
    raise_file_limit()?;
    let root = broker::runs_folder(arguments.folder.as_deref())?;
    let plan = profile::Plan {
        warmup: Duration::from_secs(arguments.warmup),
        part: Duration::from_secs(arguments.seconds),
        root: &root,
        overrides: overrides(arguments),
    };
    let table = profile::run(&chosen, &plan, |line| eprintln!("{line}"))?;
    print!("{table}");
    if let Some(path) = &arguments.write {
        std::fs::write(path, table)?;
    }
    Ok(())
}

fn overrides(arguments: &Arguments) -> Overrides {
    Overrides { linger_ms: arguments.linger, batch_bytes: arguments.batch, rate: arguments.rate }
}

fn choose<'a>(all: &'a [Box<dyn Scenario>], names: &[String], guard: bool) -> Result<Vec<&'a dyn Scenario>> {
    let quick = scenarios::QUICK.map(str::to_owned);
    let names = if names.is_empty() && guard { &quick[..] } else { names };
    if names.is_empty() {
        return Ok(all.iter().map(Box::as_ref).collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let Some(scenario) = all.iter().find(|scenario| scenario.name() == name) else {
            bail!("there is no scenario {name}; `rustmq-bench list` names them");
        };
        chosen.push(scenario.as_ref());
    }
    Ok(chosen)
}

/// Brokers inherit the limit: with ten thousand partitions, Kafka opens tens of thousands of files.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}
