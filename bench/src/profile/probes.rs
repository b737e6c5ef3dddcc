//! Probes on functions of the broker's program: each allocation with its size, and each pass of a
//! CRC with its length. Probes trap, so their counts are exact, but the time that they take is not
//! representative.

use super::perf;
use super::stacks::{Frame, frame};
use super::threads::Kind;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The group of the probes.
const GROUP: &str = "rustmq_bench";
pub const EVENTS: &str = "rustmq_bench:*";

/// A probe's name, its function, and the index of the argument with the size.
const ALLOCATIONS: [(&str, &str, usize); 5] = [
    ("malloc", "_rjem_malloc", 0),
    ("mallocx", "_rjem_mallocx", 0),
    ("calloc", "_rjem_calloc", 1),
    ("realloc", "_rjem_realloc", 1),
    ("rallocx", "_rjem_rallocx", 1),
];
const CRC: &str = "crc";
/// The mangled name of the module that computes CRCs with the processor's instructions.
const CRC_MODULE: &str = "6crc32c";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    Allocation,
    Crc,
}

/// The installed probes. They are removed when this is dropped.
pub struct Probes(());

impl Probes {
    /// Installs probes on `binary`, for every process that runs it.
    pub fn set(binary: &Path) -> Result<Probes> {
        remove();
        let probes = Probes(());
        let path = binary.to_str().context("a path that is not text")?;
        let symbols = symbols(path)?;
        let arguments = arguments()?;
        let named = |wanted: &str| symbols.iter().any(|symbol| symbol == wanted);
        let mut wanted: Vec<(&str, &str, usize)> = ALLOCATIONS.into_iter().filter(|(_, name, _)| named(name)).collect();
        ensure!(!wanted.is_empty(), "{path} has no symbols of its allocator");
        let crc =
            symbols.iter().find(|symbol| symbol.contains(CRC_MODULE) && symbol.contains("hw_") && is_entry(symbol));
        wanted.extend(crc.map(|symbol| (CRC, symbol.as_str(), 2)));
        for (name, function, argument) in wanted {
            let register = arguments[argument];
            perf::output(&[
                "probe",
                "--no-demangle",
                "-x",
                path,
                "--add",
                &format!("{GROUP}:{name}={function} size={register}"),
            ])?;
        }
        Ok(probes)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        remove();
    }
}

fn remove() {
    // There are none, or the next run removes them.
    let _ = perf::output(&["probe", "-q", "--del", EVENTS]);
}

/// The function through which the crate's users enter it.
fn is_entry(symbol: &str) -> bool {
    symbol.contains("6crc32c17h") || symbol.ends_with("6crc32c")
}

fn symbols(binary: &str) -> Result<Vec<String>> {
    let output = Command::new("nm").args(["--defined-only", "--format=posix", binary]).output();
    let output = output.context("starting nm: install the package binutils")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// The registers of a call's first arguments.
fn arguments() -> Result<[&'static str; 3]> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(["%di", "%si", "%dx"]),
        "aarch64" => Ok(["%x0", "%x1", "%x2"]),
        other => anyhow::bail!("the registers of {other} are not known here"),
    }
}

fn probe(event: &str) -> Probe {
    if event == CRC { Probe::Crc } else { Probe::Allocation }
}

/// How often each kind of thread passed a probe, and the sum of the sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Passes {
    pub count: f64,
    pub bytes: f64,
}

/// Parses sampled sizes, as `perf script -F comm,tid,event,trace` prints them. Returns their number
/// and their sum.
pub fn sizes(text: &str, kinds: &BTreeMap<u32, Kind>) -> BTreeMap<(Kind, Probe), Passes> {
    let mut passes: BTreeMap<(Kind, Probe), Passes> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, probe, size)) = head(line) else { continue };
        let kind = kinds.get(&thread).copied().unwrap_or(Kind::Elsewhere);
        let entry = passes.entry((kind, probe)).or_default();
        entry.count += 1.0;
        entry.bytes += size;
    }
    passes
}

/// The counts of `perf stat`, with the mean size of the samples.
pub fn passes(
    counts: &super::events::Counts,
    sampled: &BTreeMap<(Kind, Probe), Passes>,
) -> BTreeMap<(Kind, Probe), Passes> {
    let mut passes: BTreeMap<(Kind, Probe), Passes> = BTreeMap::new();
    for ((kind, event), count) in counts {
        let Some(name) = event.strip_prefix(GROUP) else { continue };
        passes.entry((*kind, probe(name.trim_start_matches(':')))).or_default().count += count;
    }
    for (key, passes) in &mut passes {
        let mean =
            sampled.get(key).filter(|sampled| sampled.count > 0.0).map_or(0.0, |sampled| sampled.bytes / sampled.count);
        passes.bytes = passes.count * mean;
    }
    passes
}

/// The callers of the allocator, the most frequent first: their share of the allocations, and of
/// the bytes.
pub fn sites(text: &str, most: usize) -> Vec<(String, f64, f64)> {
    let mut sites: BTreeMap<String, Passes> = BTreeMap::new();
    let mut all = Passes::default();
    for record in text.split("\n\n") {
        let mut lines = record.lines().skip_while(|line| line.trim().is_empty());
        let Some((_, Probe::Allocation, size)) = lines.next().and_then(head) else { continue };
        let frames: Vec<Frame> = lines.filter_map(frame).collect();
        let site = sites.entry(site(&frames)).or_default();
        for sum in [site, &mut all] {
            sum.count += 1.0;
            sum.bytes += size;
        }
    }
    let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
    let shares = sites.into_iter().map(|(name, sum)| (name, share(sum.count, all.count), share(sum.bytes, all.bytes)));
    let mut shares: Vec<(String, f64, f64)> = shares.collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.truncate(most);
    shares
}

const ALLOCATOR: [&str; 10] =
    ["_rjem_", "__rust", "alloc::", "<alloc::", "core::", "<core::", "tikv_", "<tikv_", "[unknown]", "__rustc"];

/// The library function that allocates, and the function of the broker that called it.
fn site(frames: &[Frame]) -> String {
    let mut frames = frames.iter().map(|frame| frame.symbol.as_str());
    let Some(what) = frames.find(|symbol| !ALLOCATOR.iter().any(|start| symbol.starts_with(start))) else {
        return "unknown".to_owned();
    };
    if what.contains("rustmq_") {
        return what.to_owned();
    }
    match frames.find(|symbol| symbol.contains("rustmq_")) {
        Some(caller) => format!("{what} for {caller}"),
        None => what.to_owned(),
    }
}

/// A line such as `tokio-rt-worker 123 rustmq_bench:malloc: (55aa) size=0x40`: thread, probe, size.
fn head(line: &str) -> Option<(u32, Probe, f64)> {
    let (thread, rest) = line.split_once(&format!("{GROUP}:"))?;
    let (event, _) = rest.split_once(':')?;
    let size = rest.rsplit_once("size=")?.1.trim();
    let size = size.strip_prefix("0x").map_or_else(|| size.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok())?;
    let thread = thread.split_whitespace().last()?.parse().ok()?;
    Some((thread, probe(event), super::count(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_by_kind_and_probe() {
        let kinds = BTreeMap::from([(7, Kind::Connection)]);
        let text = "tokio-rt-worker 7 rustmq_bench:malloc: (55aa) size=0x40\n\
            tokio-rt-worker 7 rustmq_bench:rallocx: (55aa) size=16\ntokio-rt-worker 7 rustmq_bench:crc: (55aa) size=0x10\n";
        let sizes = sizes(text, &kinds);
        assert_eq!(sizes[&(Kind::Connection, Probe::Allocation)], Passes { count: 2.0, bytes: 80.0 });
        assert_eq!(sizes[&(Kind::Connection, Probe::Crc)], Passes { count: 1.0, bytes: 16.0 });
    }

    #[test]
    fn a_site_is_the_function_that_asks_and_the_brokers_that_called_it() {
        let text = "tokio-rt-worker 7 rustmq_bench:malloc: (55aa) size=0x40\n\t 55aa _rjem_malloc (/x/rustmq)\n\
            \t 55ab alloc::raw_vec::grow (/x/rustmq)\n\t 55ac bytes::BytesMut::reserve (/x/rustmq)\n\
            \t 55ad rustmq_kafka_gateway::frame::next (/x/rustmq)\n\n";
        let site = "bytes::BytesMut::reserve for rustmq_kafka_gateway::frame::next".to_owned();
        assert_eq!(sites(text, 3), [(site, 1.0, 1.0)]);
    }
}
