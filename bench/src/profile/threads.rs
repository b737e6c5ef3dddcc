//! The broker's threads by their purpose, and the resources that each kind has used: processor
//! time, context switches, page faults, and the time that it was ready to run but did not run.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::ops::{AddAssign, Sub};
use std::path::Path;

/// The purpose of a thread, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// tokio: connections, the broker's service, HTTP, the controller.
    Connection,
    /// monoio: a shard.
    Shard,
    /// A kernel thread for the operations of io_uring that would block: syncs.
    UringWorker,
    /// A thread beside a shard, which writes and syncs where there is no io_uring.
    Disk,
    /// Reads batches that have left memory.
    Read,
    /// Prepares segments.
    Slots,
    /// The first thread of the process, which only waits.
    Main,
    /// A thread of the load generator.
    Generator,
    /// A thread of neither.
    Elsewhere,
}

impl Kind {
    /// Whether it is a thread of the broker.
    pub fn of(name: &str) -> Kind {
        let starts = |prefix: &str| name.starts_with(prefix);
        if starts("tokio-rt") {
            Kind::Connection
        } else if starts("rustmq-shard") {
            Kind::Shard
        } else if starts("iou-") {
            Kind::UringWorker
        } else if starts("rustmq-disk") {
            Kind::Disk
        } else if starts("rustmq-read") {
            Kind::Read
        } else if starts("rustmq-slots") {
            Kind::Slots
        } else if name == "rustmq" {
            Kind::Main
        } else {
            Kind::Elsewhere
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Kind::Connection => "connections (tokio)",
            Kind::Shard => "shard (monoio)",
            Kind::UringWorker => "io_uring worker (kernel)",
            Kind::Disk => "disk thread",
            Kind::Read => "read thread",
            Kind::Slots => "slot preparation",
            Kind::Main => "main",
            Kind::Generator => "the load generator",
            Kind::Elsewhere => "elsewhere (idle, interrupts, others)",
        }
    }
}

/// The resources that threads have used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub seconds: f64,
    /// The time that they were ready to run while others ran.
    pub delayed_seconds: f64,
    pub voluntary: f64,
    pub involuntary: f64,
    pub minor_faults: f64,
    pub major_faults: f64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.seconds += other.seconds;
        self.delayed_seconds += other.delayed_seconds;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
        self.minor_faults += other.minor_faults;
        self.major_faults += other.major_faults;
    }
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, before: Usage) -> Usage {
        Usage {
            seconds: self.seconds - before.seconds,
            delayed_seconds: self.delayed_seconds - before.delayed_seconds,
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
            minor_faults: self.minor_faults - before.minor_faults,
            major_faults: self.major_faults - before.major_faults,
        }
    }
}

/// All threads of a process at one moment.
#[derive(Clone, Debug, Default)]
pub struct Threads(BTreeMap<u32, (Kind, Usage)>);

impl Threads {
    pub fn of(pid: u32) -> Result<Threads> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
            let path = entry?.path();
            // A thread that ends meanwhile is of no interest.
            let Some(thread) = read(&path) else { continue };
            let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            threads.insert(id.context("a thread without a number")?, thread);
        }
        Ok(Threads(threads))
    }

    /// The numbers of the threads, and their kinds.
    pub fn kinds(&self) -> impl Iterator<Item = (u32, Kind)> {
        self.0.iter().map(|(id, (kind, _))| (*id, *kind))
    }

    /// The resources used since `before`, by kind.
    pub fn since(&self, before: &Threads) -> BTreeMap<Kind, Usage> {
        let mut kinds: BTreeMap<Kind, Usage> = BTreeMap::new();
        for (id, (kind, usage)) in &self.0 {
            let earlier = before.0.get(id).map_or_else(Usage::default, |(_, usage)| *usage);
            *kinds.entry(*kind).or_default() += *usage - earlier;
        }
        kinds
    }
}

fn read(path: &Path) -> Option<(Kind, Usage)> {
    let text = |name: &str| fs::read_to_string(path.join(name)).ok();
    let (stat, status) = (text("stat")?, text("status")?);
    let name = stat.split_once('(')?.1.rsplit_once(')')?.0;
    let schedule = text("schedstat").unwrap_or_default();
    usage(&stat, &status, &schedule).map(|usage| (Kind::of(name), usage))
}

fn usage(stat: &str, status: &str, schedule: &str) -> Option<Usage> {
    let (_, numbers) = stat.rsplit_once(')')?;
    let number = |text: &str| text.parse::<f64>().ok();
    let fields: Vec<&str> = numbers.split_whitespace().collect();
    let switches = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).and_then(number);
    let mut nanos = schedule.split_whitespace().map(number);
    Some(Usage {
        seconds: nanos.next()?? / 1e9,
        delayed_seconds: nanos.next()?? / 1e9,
        voluntary: switches("voluntary_ctxt_switches:")?,
        involuntary: switches("nonvoluntary_ctxt_switches:")?,
        // Fields 10 and 12 of proc(5); the first one here is field 3.
        minor_faults: number(fields.get(7)?)?,
        major_faults: number(fields.get(9)?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_read() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 70 8 90 9 11 12 13";
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n";
        let read = usage(stat, status, "1500000000 250000000 3");
        let expected = Usage {
            seconds: 1.5,
            delayed_seconds: 0.25,
            voluntary: 5.0,
            involuntary: 6.0,
            minor_faults: 70.0,
            major_faults: 90.0,
        };
        assert_eq!(read, Some(expected));
    }

    #[test]
    fn kinds_are_told_by_name() {
        let kinds = ["tokio-rt-worker", "rustmq-shard-0", "iou-wrk-12", "rustmq", "swapper"].map(Kind::of);
        assert_eq!(kinds, [Kind::Connection, Kind::Shard, Kind::UringWorker, Kind::Main, Kind::Elsewhere]);
    }
}
