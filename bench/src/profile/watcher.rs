//! Observes the broker in the measured window, one part after another, so that a costly observation
//! does not disturb a cheap one. Each part has a count of the work done in it, by which its results
//! are divided.
//!
//! ```text
//! window: | quiet: /proc | sampled: stacks | counted: system calls, wake-ups | probed: allocations, CRC |
//! ```

use super::events::{self, Counts, Wakeups};
use super::page::{Page, Work};
use super::perf::{self, Perf, Recording};
use super::probes::{self, Passes, Probe, Probes};
use super::stacks::Samples;
use super::threads::{Kind, Threads, Usage};
use crate::broker::{Watch, Watched};
use crate::usage::{Sample, Spent};
use anyhow::{Context, Result, ensure};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The number of samples a second. It divides no round rate, so that sampling does not run in step
/// with the program.
const RATE: &str = "499";
/// One allocation in this many is sampled for its size, and one for its stack.
const SIZE_OF: &str = "7";
const STACK_OF: &str = "211";
/// The time for attaching and detaching, beside a part's own time. A busy machine takes seconds for
/// it.
const BETWEEN_PARTS: Duration = Duration::from_secs(6);
const PARTS: u32 = 4;

/// The part in which no tool disturbs the machine.
#[derive(Debug)]
pub struct Quiet {
    pub work: Work,
    pub spent: Spent,
    pub threads: BTreeMap<Kind, Usage>,
}

#[derive(Debug)]
pub struct Sampled {
    pub work: Work,
    pub samples: Samples,
}

#[derive(Debug)]
pub struct Counted {
    pub work: Work,
    pub counts: Counts,
    pub wakeups: Wakeups,
}

#[derive(Debug)]
pub struct Probed {
    pub work: Work,
    pub passes: BTreeMap<(Kind, Probe), Passes>,
    /// The callers of the allocator: their share of the allocations, and of the bytes.
    pub sites: Vec<(String, f64, f64)>,
}

/// The results. A part that the machine does not support has an error.
#[derive(Debug)]
pub struct Observations {
    pub quiet: Quiet,
    pub sampled: Result<Sampled>,
    pub counted: Result<Counted>,
    pub probed: Result<Probed>,
}

/// The data that is read after the window's end: this takes time, and the load is over.
struct Raw {
    quiet: Quiet,
    sampled: Result<(Work, Recording)>,
    counted: Result<RawCounts>,
    probed: Result<RawProbes>,
    ended: Instant,
}

struct RawCounts {
    work: Work,
    kinds: BTreeMap<u32, Kind>,
    counts: Recording,
    wakeups: Recording,
}

struct RawProbes {
    work: Work,
    kinds: BTreeMap<u32, Kind>,
    counts: Recording,
    sizes: Recording,
    stacks: Recording,
}

/// Observes one run. Its files lie in a folder of its own.
pub struct Watcher {
    folder: PathBuf,
    binary: PathBuf,
    part: Duration,
    opened: RefCell<Option<(Instant, JoinHandle<Result<Raw>>)>>,
}

impl Watch for Watcher {
    fn window_opened(&self, watched: Watched) {
        let observer = Observer { watched, folder: self.folder.clone(), binary: self.binary.clone(), part: self.part };
        *self.opened.borrow_mut() = Some((Instant::now(), thread::spawn(move || observer.all())));
    }
}

impl Watcher {
    pub fn new(folder: PathBuf, binary: PathBuf, part: Duration) -> Watcher {
        Watcher { folder, binary, part, opened: RefCell::default() }
    }

    /// The required length of the measured window.
    pub fn window(part: Duration) -> Duration {
        (part + BETWEEN_PARTS) * PARTS
    }

    /// Ends the observation. Called after the run.
    pub fn seen(&self) -> Result<Observations> {
        let opened = self.opened.borrow_mut().take();
        let (opened, thread) = opened.context("the scenario has no window under load that could be watched")?;
        let raw = thread.join().map_err(|_| anyhow::anyhow!("the watcher has panicked"))??;
        let taken = raw.ended - opened;
        ensure!(taken <= Watcher::window(self.part), "watching took {taken:?}, longer than the load lasted");
        Ok(Observations {
            quiet: raw.quiet,
            sampled: raw.sampled.and_then(|(work, path)| Ok(Sampled { work, samples: Samples::read(&stacks(&path)?) })),
            counted: raw.counted.and_then(|raw| read_counts(&raw)),
            probed: raw.probed.and_then(|raw| read_probes(&raw)),
        })
    }
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn script(path: &Path, fields: &str) -> Result<String> {
    let path = path.to_str().context("a path that is not text")?;
    let output = perf::output(&["script", "-i", path, "-F", fields, "--no-inline"])?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn stacks(path: &Path) -> Result<String> {
    script(path, "comm,tid,ip,sym,dso")
}

fn read_counts(raw: &RawCounts) -> Result<Counted> {
    let counts = events::counts(&text(&raw.counts)?, &raw.kinds);
    let wakeups = events::wakeups(&script(&raw.wakeups, "tid,event,trace")?, &raw.kinds);
    Ok(Counted { work: raw.work, counts, wakeups })
}

const SITES_SHOWN: usize = 20;

fn read_probes(raw: &RawProbes) -> Result<Probed> {
    let counts = events::counts(&text(&raw.counts)?, &raw.kinds);
    let sizes = probes::sizes(&script(&raw.sizes, "comm,tid,event,trace")?, &raw.kinds);
    let sites = probes::sites(&script(&raw.stacks, "comm,tid,event,trace,ip,sym,dso")?, SITES_SHOWN);
    Ok(Probed { work: raw.work, passes: probes::passes(&counts, &sizes), sites })
}

/// Runs the parts, on a thread of their own.
struct Observer {
    watched: Watched,
    folder: PathBuf,
    binary: PathBuf,
    part: Duration,
}

impl Observer {
    fn all(&self) -> Result<Raw> {
        let quiet = self.quiet()?;
        let sampled = self.sampled();
        let counted = self.counted();
        let probed = self.probed();
        Ok(Raw { quiet, sampled, counted, probed, ended: Instant::now() })
    }

    fn page(&self) -> Result<Page> {
        Page::fetch(self.watched.http)
    }

    fn quiet(&self) -> Result<Quiet> {
        let pid = self.watched.pid;
        let (threads, page, sample) = (Threads::of(pid)?, self.page()?, Sample::take(Some(pid))?);
        // The sleep is the measured time itself; it waits for no event.
        thread::sleep(self.part);
        let (spent, page) = (Sample::take(Some(pid))? - sample, &self.page()? - &page);
        Ok(Quiet { work: page, spent, threads: Threads::of(pid)?.since(&threads) })
    }

    /// Lets all of them count for the time of one part.
    fn count(&self, mut perfs: Vec<Perf>) -> Result<(Work, Vec<Recording>)> {
        for perf in &mut perfs {
            perf.enable()?;
        }
        let page = self.page()?;
        thread::sleep(self.part);
        let work = &self.page()? - &page;
        for perf in &mut perfs {
            perf.disable()?;
        }
        let outputs = perfs.into_iter().map(Perf::finish).collect::<Result<_>>()?;
        Ok((work, outputs))
    }

    fn attach(&self, name: &str, words: &[&str]) -> Result<Perf> {
        Perf::attach(&self.folder, name, words)
    }

    fn sampled(&self) -> Result<(Work, Recording)> {
        let pid = self.watched.pid.to_string();
        // Samples by the kernel's clock: virtual machines rarely have the processor's counters.
        // Unwinds stacks by unwind tables: the program is compiled without frame pointers.
        let words = ["record", "-e", "cpu-clock", "-F", RATE, "--call-graph", "dwarf,16384", "-p", &pid];
        let (work, outputs) = self.count(vec![self.attach("stacks", &words)?])?;
        Ok((work, outputs.into_iter().next().context("no output")?))
    }

    fn counted(&self) -> Result<RawCounts> {
        let pid = self.watched.pid;
        let events = events::wanted().join(",");
        ensure!(!events.is_empty(), "this kernel shows no tracepoints of system calls, or not to this user");
        let before = Threads::of(pid)?;
        let pid_words = pid.to_string();
        let counts = ["stat", "-x", ",", "--per-thread", "-e", &events, "-p", &pid_words];
        let wakeups = ["record", "-a", "-c", "1", "-e", "sched:sched_waking"];
        let perfs = vec![self.attach("syscalls", &counts)?, self.attach("wakeups", &wakeups)?];
        let (work, outputs) = self.count(perfs)?;
        let [counts, wakeups] =
            <[Recording; 2]>::try_from(outputs).map_err(|_| anyhow::anyhow!("outputs are missing"))?;
        Ok(RawCounts { work, kinds: events::kinds(&[&before, &Threads::of(pid)?]), counts, wakeups })
    }

    fn probed(&self) -> Result<RawProbes> {
        let pid = self.watched.pid;
        let probes = Probes::set(&self.binary)?;
        let before = Threads::of(pid)?;
        let pid_words = pid.to_string();
        let counts = ["stat", "-x", ",", "--per-thread", "-e", probes::EVENTS, "-p", &pid_words];
        let sizes = ["record", "-c", SIZE_OF, "-e", probes::EVENTS, "-p", &pid_words];
        let dwarf = "dwarf,16384";
        let stacks = ["record", "-c", STACK_OF, "-e", probes::EVENTS, "--call-graph", dwarf, "-p", &pid_words];
        let perfs =
            vec![self.attach("allocations", &counts)?, self.attach("sizes", &sizes)?, self.attach("sites", &stacks)?];
        let (work, outputs) = self.count(perfs)?;
        drop(probes);
        let outputs = <[Recording; 3]>::try_from(outputs).map_err(|_| anyhow::anyhow!("outputs are missing"))?;
        let [counts, sizes, stacks] = outputs;
        Ok(RawProbes { work, kinds: events::kinds(&[&before, &Threads::of(pid)?]), counts, sizes, stacks })
    }
}
