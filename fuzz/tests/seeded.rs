//! Runs each target on its corpus and on seeded mutations of it, for `FUZZ_SECONDS` (default 30).
//! Prints the seed; `FUZZ_SEED` replays it.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use rustmq_fuzz::{Mutator, TARGETS};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn explore(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!corpus.is_empty(), "{} holds no input", folder.display());
    let seed = setting("FUZZ_SEED", u64::from(std::process::id()));
    let end = Instant::now() + Duration::from_secs(setting("FUZZ_SECONDS", 30));
    eprintln!("{name}: FUZZ_SEED={seed}");
    corpus.iter().for_each(|input| (target.run)(input));
    let mut mutator = Mutator::new(seed);
    let mut count = 0_u64;
    while Instant::now() < end {
        let mut input = corpus[mutator.below(corpus.len())].clone();
        let other = mutator.below(corpus.len());
        mutator.spoil(&mut input, &corpus[other]);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        assert!(outcome.is_ok(), "{name}: input {count} of seed {seed} broke an invariant: {input:02x?}");
        count += 1;
    }
    eprintln!("{name}: {count} inputs");
    assert!(count > 0, "no input was tried");
}

#[test]
fn batch_view() {
    explore("batch_view");
}

#[test]
fn record_outlines() {
    explore("record_outlines");
}

#[test]
fn wal_reader() {
    explore("wal_reader");
}

#[test]
fn wal_frames() {
    explore("wal_frames");
}

#[test]
fn group_machine() {
    explore("group_machine");
}

#[test]
fn transaction_machine() {
    explore("transaction_machine");
}

#[test]
fn transaction_records() {
    explore("transaction_records");
}

#[test]
fn frame_decoder() {
    explore("frame_decoder");
}
