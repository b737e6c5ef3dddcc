//! The resources that a process and the whole machine have used: processor time and memory from
//! `/proc`. Takes samples; does not observe continuously.

use anyhow::{Context, Result};
use std::fs;
use std::ops::Sub;
use std::time::{Duration, Instant};

/// The unit of processor times in `/proc`: `USER_HZ`, which is 100 on all supported systems.
const TICKS_PER_SECOND: u64 = 100;

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    pub resident: u64,
    pub peak: u64,
}

pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let kibibytes = |key: &str| -> Result<u64> {
        let line =
            text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no {key} in {path}"))?;
        let number = line.trim_start_matches(':').trim().trim_end_matches("kB").trim();
        number.parse().with_context(|| format!("{key} in {path} is {number}"))
    };
    Ok(Memory { resident: kibibytes("VmRSS")? << 10, peak: kibibytes("VmHWM")? << 10 })
}

/// The resources that a process has used since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Process {
    /// User and system time of all its threads, and of the children that it has waited for.
    processor: Duration,
    /// Page faults, with and without a read from a disk.
    faults: u64,
}

fn process(pid: u32) -> Result<Process> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse(&text).with_context(|| format!("{path} has an unknown form"))
}

/// The name between parentheses may contain anything; the numbers begin after the last one.
fn parse(stat: &str) -> Option<Process> {
    let (_, numbers) = stat.rsplit_once(')')?;
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    // Fields of proc(5), whose third is the first here: 10 and 12 are faults, 14 to 17 times.
    let sum = |fields: &[usize]| fields.iter().map(|field| numbers.get(field - 3)?.parse::<u64>().ok()).sum();
    let ticks: Option<u64> = sum(&[14, 15, 16, 17]);
    Some(Process { processor: from_ticks(ticks?), faults: sum(&[10, 12])? })
}

/// The processor time of the ended children of this process.
pub fn children() -> Result<Duration> {
    let text = fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    let (_, numbers) = text.rsplit_once(')').context("/proc/self/stat has an unknown form")?;
    // Fields 16 and 17 of proc(5); the first number here is field 3.
    let ticks = numbers.split_whitespace().skip(13).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>().context("/proc/self/stat has an unknown form")?;
    Ok(from_ticks(ticks))
}

/// The busy time of all processors since boot.
pub fn machine() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    busy_ticks(&text).map(from_ticks).context("/proc/stat has an unknown form")
}

fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let times: Option<Vec<u64>> = line.split_whitespace().map(|time| time.parse().ok()).collect();
    // user nice system idle iowait irq softirq. The rest is stolen by other machines, or counted in
    // these.
    let times = times?;
    Some([0, 1, 2, 5, 6].iter().filter_map(|field| times.get(*field)).sum())
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// The processor time so far of the broker, of this process, and of all processes.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Instant,
    pub broker: Duration,
    pub broker_faults: u64,
    pub generator: Duration,
    pub machine: Duration,
}

impl Sample {
    /// `broker` is `None` for the fake broker, which is part of this process.
    pub fn take(broker: Option<u32>) -> Result<Sample> {
        let broker = broker.map_or(Ok(Process::default()), process)?;
        Ok(Sample {
            at: Instant::now(),
            broker: broker.processor,
            broker_faults: broker.faults,
            generator: process(std::process::id())?.processor,
            machine: machine()?,
        })
    }
}

/// The resources used between two samples.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: Duration,
    pub broker: Duration,
    pub broker_faults: u64,
    pub generator: Duration,
    /// By everything else on the machine: the kernel's own threads, and other processes that
    /// disturb the measurement.
    pub others: Duration,
}

impl Sub for Sample {
    type Output = Spent;

    fn sub(self, before: Sample) -> Spent {
        let (broker, generator) = (self.broker - before.broker, self.generator - before.generator);
        let machine = self.machine - before.machine;
        Spent {
            wall: self.at - before.at,
            broker,
            broker_faults: self.broker_faults - before.broker_faults,
            generator,
            others: machine.saturating_sub(broker).saturating_sub(generator),
        }
    }
}

impl Spent {
    /// A processor time, as a number of busy processors.
    pub fn cores(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.wall.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) (b c) S 1 1 1 0 -1 4194304 100 0 5 0 250 50 7 3 20 0 12 0";
        assert_eq!(parse(stat), Some(Process { processor: from_ticks(310), faults: 105 }));
        assert_eq!(parse("42 (short) S 1"), None);
    }

    #[test]
    fn idle_and_waiting_are_not_busy() {
        assert_eq!(busy_ticks("cpu  10 1 20 1000 500 3 4 9 0 0\ncpu0 1"), Some(38));
    }

    #[test]
    fn this_process_burns_what_it_is_charged_for() {
        let before = Sample::take(None).unwrap();
        while before.at.elapsed() < Duration::from_millis(300) {
            std::hint::spin_loop();
        }
        let spent = Sample::take(None).unwrap() - before;
        // Other processes may take their share of this core.
        assert!(spent.generator >= Duration::from_millis(50), "{spent:?}");
        assert!(memory(std::process::id()).unwrap().peak > 1 << 20);
    }
}
