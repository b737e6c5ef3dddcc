//! `rustmq-sim node --seeds N` runs the simulation of a node from many seeds, and prints how often
//! each named event came up; `cluster` and `transactions` are the other simulations. For a seed
//! that breaks a promise it prints the command that replays it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints its results")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use rustmq_sim::{Trace, cluster, node, transactions};

/// One run in this many is repeated, and must go the same way.
const REPEATED_EVERY: u64 = 100;
/// The least number of operations in a run, on average.
const OPERATIONS_MIN: u64 = 1_000;
/// The least share of the runs in which each named event must come up, in percent.
const PERCENT_MIN: f64 = 5.0;
/// The least number of runs from which a rare event is a failure.
const RUNS_JUDGED_MIN: u64 = 500;
/// The most failures that are printed.
const FAILURES_MAX: usize = 5;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One node, from the clients down to the disk.
    Node(Seeds),
    /// Three replicas of a partition, the network between them, and a controller.
    Cluster(Seeds),
    /// Transactions: producers, coordinators, and the partitions that they write to.
    Transactions(Seeds),
}

/// One kind of simulation: its run, and the events that must come up in it.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    name: &'static str,
    run: fn(u64, Trace) -> Report,
    events: fn() -> Vec<&'static str>,
}

const NODE: Scenario = Scenario {
    name: "node",
    run: |seed, trace| {
        let node::Report { setting, operations, events, trace } = node::run(seed, trace);
        let events = events.iter().map(|(named, count)| (named.text(), count)).collect();
        Report { setting: format!("{setting:?}"), operations, events, trace }
    },
    events: || node::Named::ALL.map(node::Named::text).to_vec(),
};
const CLUSTER: Scenario = Scenario {
    name: "cluster",
    run: |seed, trace| {
        let cluster::Report { setting, operations, events, trace } = cluster::run(seed, trace);
        let events = events.iter().map(|(named, count)| (named.text(), count)).collect();
        Report { setting: format!("{setting:?}"), operations, events, trace }
    },
    events: || cluster::Named::ALL.map(cluster::Named::text).to_vec(),
};
const TRANSACTIONS: Scenario = Scenario {
    name: "transactions",
    run: |seed, trace| {
        let transactions::Report { setting, operations, events, trace } = transactions::run(seed, trace);
        let events = events.iter().map(|(named, count)| (named.text(), count)).collect();
        Report { setting: format!("{setting:?}"), operations, events, trace }
    },
    events: || transactions::Named::ALL.iter().map(|named| named.text()).collect(),
};

/// The outcome of one run, in a form that all scenarios share.
#[derive(Debug)]
struct Report {
    setting: String,
    operations: u64,
    events: BTreeMap<&'static str, u64>,
    trace: Trace,
}

#[derive(Debug, clap::Args)]
struct Seeds {
    /// The number of seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Starts no run after this many seconds, so fewer seeds may run.
    #[arg(long)]
    within: Option<u64>,
    /// The number of threads. 0 takes one for each processor.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Prints each step of that seed.
    #[arg(long, requires = "seed")]
    trace: bool,
}

/// The sums over many runs.
#[derive(Debug, Default)]
struct Summary {
    runs: u64,
    operations: u64,
    steps: u64,
    /// In how many runs each event came up.
    events: BTreeMap<&'static str, u64>,
    failures: BTreeMap<u64, String>,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Result<Report, String>) {
        self.runs += 1;
        match outcome {
            Ok(report) => {
                self.operations += report.operations;
                self.steps += report.trace.steps();
                report.events.keys().for_each(|named| *self.events.entry(named).or_default() += 1);
            }
            Err(reason) => drop(self.failures.insert(seed, reason)),
        }
    }
}

thread_local! {
    /// The message and the place of this thread's last panic.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let (scenario, seeds) = match Arguments::parse().command {
        Command::Node(seeds) => (NODE, seeds),
        Command::Cluster(seeds) => (CLUSTER, seeds),
        Command::Transactions(seeds) => (TRANSACTIONS, seeds),
    };
    std::panic::set_hook(Box::new(|panic| PANIC.set(panic.to_string())));
    let has_passed = match seeds.seed {
        Some(seed) => run_one(scenario, seed, seeds.trace),
        None => run_many(scenario, &seeds),
    };
    if has_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(scenario: Scenario, seed: u64, trace: Trace) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| (scenario.run)(seed, trace))).map_err(|_| PANIC.take())
}

fn run_one(scenario: Scenario, seed: u64, is_traced: bool) -> bool {
    let trace = if is_traced { Trace::streaming(|line| print!("{line}")) } else { Trace::default() };
    match run(scenario, seed, trace) {
        Ok(report) => {
            println!("seed {seed}: {} operations, {} steps", report.operations, report.trace.steps());
            println!("{}", report.setting);
            report.events.iter().for_each(|(named, count)| println!("{count:>6} {named}"));
            true
        }
        Err(reason) => {
            eprintln!("seed {seed}: {reason}");
            false
        }
    }
}

fn run_many(scenario: Scenario, seeds: &Seeds) -> bool {
    let threads = match seeds.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (next, end) = (AtomicU64::new(seeds.first), seeds.first.saturating_add(seeds.seeds));
    #[expect(clippy::disallowed_methods, reason = "it limits the time of the tool, and no run sees it")]
    let begun = Instant::now();
    let is_late = || seeds.within.is_some_and(|within| begun.elapsed() >= Duration::from_secs(within));
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || is_late() {
                        return;
                    }
                    let outcome = run_checked(scenario, seed);
                    summary.lock().expect("a run that panics does not hold it").add(seed, outcome);
                }
            });
        }
    });
    print_summary(scenario, &summary.into_inner().expect("no thread holds it"))
}

/// Runs the seed, and one seed in [`REPEATED_EVERY`] twice, to see that both runs go the same way.
fn run_checked(scenario: Scenario, seed: u64) -> Result<Report, String> {
    let report = run(scenario, seed, Trace::default())?;
    if seed.is_multiple_of(REPEATED_EVERY) {
        let again = run(scenario, seed, Trace::default())?;
        if again.trace.hash() != report.trace.hash() {
            return Err("two runs of this seed went different ways".to_owned());
        }
    }
    Ok(report)
}

/// Prints the summary. Returns whether every run kept its promises, and every event came up often
/// enough.
fn print_summary(scenario: Scenario, summary: &Summary) -> bool {
    let Summary { runs, operations, steps, events, failures } = summary;
    let sound = (runs - failures.len() as u64).max(1);
    println!("{runs} seeds, on average {} operations and {} steps", operations / sound, steps / sound);
    let mut has_passed = true;
    for named in (scenario.events)() {
        let percent = 100.0 * events.get(named).copied().unwrap_or(0) as f64 / sound as f64;
        let is_rare = percent < PERCENT_MIN && *runs >= RUNS_JUDGED_MIN;
        println!("{percent:>6.1} % {}{}", named, if is_rare { ": too rare" } else { "" });
        has_passed &= !is_rare;
    }
    if operations / sound < OPERATIONS_MIN {
        println!("fewer than {OPERATIONS_MIN} operations");
        has_passed = false;
    }
    for (seed, reason) in failures.iter().take(FAILURES_MAX) {
        eprintln!("seed {seed}: {reason}\n    make sim SCENARIO={} SEED={seed}", scenario.name);
    }
    if !failures.is_empty() {
        eprintln!("{} seeds of {runs} failed", failures.len());
    }
    has_passed && failures.is_empty()
}
