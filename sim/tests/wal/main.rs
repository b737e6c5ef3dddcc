//! Runs the core's real recovery, segment table and groups on the simulated disk, over many lives.
//! Each life appends, commits and rolls until it crashes, at any step, even during its start. The
//! next one must find all acknowledged frames in their order, followed by a prefix of the others.

#![allow(clippy::unwrap_used)]

mod log;
mod machine;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_core::wal::scan::ReplayEvent;
use rustmq_engine_core::wal::{Control, RecoveredWal, SegmentShape};
use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicIdPartition};
use rustmq_sim::disk::{Crash, Faults};
use rustmq_sim::{Chance, Delay, Rng};

use log::Log;
use machine::{Machine, Stop};

const LIVES: usize = 10;
const PARTITIONS: usize = 3;

/// Counts events over many seeds, so that a scenario in which nothing happens does not pass.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: usize,
    rolls: usize,
    crashes_in_start: usize,
    failed: usize,
    tails_dropped: usize,
    unknown_found: usize,
    unknown_lost: usize,
}

/// All staged frames, in the order of the log.
#[derive(Default)]
struct Oracle {
    staged: Vec<(TopicIdPartition, ReplayEvent)>,
    /// How many of the first frames are acknowledged.
    acknowledged: usize,
    ends: BTreeMap<TopicIdPartition, Offset>,
}

impl Oracle {
    /// Checks the frames that a start found: all acknowledged ones, then a prefix of the others.
    /// Returns the number of frames that it found.
    fn check(&self, wal: &RecoveredWal, seed: u64) -> usize {
        let found: usize = wal.partitions.values().map(Vec::len).sum();
        let (least, most) = (self.acknowledged, self.staged.len());
        assert!((least..=most).contains(&found), "seed {seed}: {found} frames are found, of {least} to {most}");
        for (id, items) in &wal.partitions {
            let events: Vec<_> = items.iter().map(|item| &item.event).collect();
            let of_it = self.staged[..found].iter().filter(|(of, _)| of == id).map(|(_, event)| event);
            assert_eq!(events, of_it.collect::<Vec<_>>(), "seed {seed}: partition {id}");
        }
        found
    }

    /// A start has made the found frames durable, and the others are lost.
    fn settle(&mut self, found: usize) {
        self.staged.truncate(found);
        self.acknowledged = found;
        self.ends.clear();
        for (id, event) in &self.staged {
            let end = match event {
                ReplayEvent::Batch(header, _) => header.next_offset(),
                _ => Offset::ZERO,
            };
            self.ends.insert(*id, end);
        }
    }
}

fn batch(rng: &mut Rng) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    let fill = u8::try_from(rng.below(256)).unwrap();
    for _ in 0..=rng.below(3) {
        builder.push(Timestamp(1_000), None, Some(&vec![fill; rng.below(1_200)]), &[]);
    }
    builder.build()
}

/// Runs one life, until it crashes.
fn run_life(machine: &mut Machine, oracle: &mut Oracle, rng: &mut Rng, seed: u64, seen: &mut Seen) -> Stop {
    let shape = SegmentShape::new(512, 32 * 512).unwrap();
    let (mut log, wal) = match Log::open(machine, shape) {
        Ok(opened) => opened,
        Err(stop) => {
            seen.crashes_in_start += usize::from(matches!(stop, Stop::Crashed));
            return stop;
        }
    };
    let found = oracle.check(&wal, seed);
    seen.unknown_found += found - oracle.acknowledged;
    seen.unknown_lost += oracle.staged.len() - found;
    seen.tails_dropped += wal.dropped.len();
    oracle.settle(found);
    let segments = log.segments();
    log.prove();
    let stop = work(machine, &mut log, oracle, rng).err().unwrap_or(Stop::Crashed);
    seen.rolls += log.segments() - segments;
    stop
}

/// Appends and commits until the log is full.
fn work(machine: &mut Machine, log: &mut Log, oracle: &mut Oracle, rng: &mut Rng) -> Result<(), Stop> {
    log.commit(machine)?;
    loop {
        let number = i32::try_from(rng.below(PARTITIONS)).unwrap();
        let id = TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(number) };
        if let Some(base) = oracle.ends.get(&id).copied() {
            let Some(event) = log.append(machine, id, &batch(rng), base)? else { return Ok(()) };
            let ReplayEvent::Batch(header, _) = &event else { unreachable!("a batch was staged") };
            oracle.ends.insert(id, header.next_offset());
            oracle.staged.push((id, event));
        } else {
            let control = Control::Open { epoch: LeaderEpoch(3), log_start: Offset::ZERO };
            if !log.control(machine, id, &control)? {
                return Ok(());
            }
            oracle.ends.insert(id, Offset::ZERO);
            oracle.staged.push((id, ReplayEvent::Control(control)));
        }
        if rng.below(4) == 0 {
            log.commit(machine)?;
            oracle.acknowledged = oracle.staged.len();
            if rng.below(6) == 0 {
                log.prove();
                log.commit(machine)?;
            }
        }
    }
}

/// Returns the hash of the run.
fn run(seed: u64, faults: Faults, seen: &mut Seen) -> u64 {
    let mut rng = Rng::new(seed);
    let mut machine = Machine::new(&mut rng, faults);
    let mut oracle = Oracle::default();
    for _ in 0..LIVES {
        // Short lives often end within the start.
        let steps_max = if rng.coin() { 40 } else { 300 };
        machine.crash_after(rng.below(steps_max));
        match run_life(&mut machine, &mut oracle, &mut rng, seed, seen) {
            Stop::Crashed => {}
            Stop::Failed => seen.failed += 1,
            Stop::Refused(error) => panic!("seed {seed}: a start refuses a log that nothing has harmed: {error}"),
        }
        machine.crash(if rng.coin() { Crash::Power } else { Crash::Process });
    }
    // The last start has no faults.
    machine.disk.faults = Faults::NONE;
    machine.crash_after(usize::MAX);
    let (_, wal) = Log::open(&mut machine, SegmentShape::new(512, 32 * 512).unwrap()).unwrap();
    oracle.check(&wal, seed);
    seen.acknowledged += oracle.acknowledged;
    machine.trace.hash()
}

fn errors() -> Faults {
    let often = Chance::percent(1);
    let full_for = Delay { least: Duration::from_millis(1), most: Duration::from_secs(3) };
    let full = Chance::percent(5);
    Faults {
        read: Chance::per_million(2_000),
        write: often,
        sync: often,
        folder_sync: often,
        full,
        full_for,
        ..Faults::NONE
    }
}

#[test]
fn acknowledged_frames_are_found_after_any_crash() {
    let mut seen = Seen::default();
    for seed in 0..2_000 {
        run(seed, Faults::NONE, &mut seen);
    }
    let Seen { acknowledged, rolls, crashes_in_start, tails_dropped, unknown_found, unknown_lost, .. } = seen;
    let counts = [acknowledged, rolls, crashes_in_start, tails_dropped, unknown_found, unknown_lost];
    assert!(counts.iter().all(|count| *count > 100), "{seen:?}");
    assert_eq!(seen.failed, 0);
}

#[test]
fn acknowledged_frames_are_found_though_writes_and_syncs_fail() {
    let mut seen = Seen::default();
    for seed in 0..1_000 {
        run(seed, errors(), &mut seen);
    }
    let Seen { acknowledged, failed, unknown_found, unknown_lost, .. } = seen;
    assert!([acknowledged, failed, unknown_found, unknown_lost].iter().all(|count| *count > 100), "{seen:?}");
}

#[test]
fn the_same_seed_goes_the_same_way() {
    for seed in 0..20 {
        let hash = || run(seed, errors(), &mut Seen::default());
        assert_eq!(hash(), hash(), "seed {seed}");
    }
}
