//! Recovery, the segment table and the groups of the real core, on the simulated disk, over many lives: each appends, commits and rolls until
//! it crashes, at any step, its start included. What was acknowledged is found again, in its order; of what was not, a beginning.

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
use rustmq_sim::{Chance, Delay, Dice};

use log::Log;
use machine::{Machine, Stop};

const LIVES: usize = 10;
const PARTITIONS: usize = 3;

/// What came up in the runs of many seeds, so that a scenario in which nothing happens does not pass.
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

/// Everything laid, in the order of the log.
#[derive(Default)]
struct Oracle {
    laid: Vec<(TopicIdPartition, ReplayEvent)>,
    /// The first of them were acknowledged.
    acknowledged: usize,
    ends: BTreeMap<TopicIdPartition, Offset>,
}

impl Oracle {
    /// Holds what a start found against what it must and may find. Answers how much that is.
    fn check(&self, wal: &RecoveredWal, seed: u64) -> usize {
        let found: usize = wal.partitions.values().map(Vec::len).sum();
        let (least, most) = (self.acknowledged, self.laid.len());
        assert!((least..=most).contains(&found), "seed {seed}: {found} frames are found, of {least} to {most}");
        for (id, items) in &wal.partitions {
            let events: Vec<_> = items.iter().map(|item| &item.event).collect();
            let of_it = self.laid[..found].iter().filter(|(of, _)| of == id).map(|(_, event)| event);
            assert_eq!(events, of_it.collect::<Vec<_>>(), "seed {seed}: partition {id}");
        }
        found
    }

    /// A start made durable what it found, and nothing else is left.
    fn settle(&mut self, found: usize) {
        self.laid.truncate(found);
        self.acknowledged = found;
        self.ends.clear();
        for (id, event) in &self.laid {
            let end = match event {
                ReplayEvent::Batch(header, _) => header.next_offset(),
                _ => Offset::ZERO,
            };
            self.ends.insert(*id, end);
        }
    }
}

fn batch(dice: &mut Dice) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    let fill = u8::try_from(dice.below(256)).unwrap();
    for _ in 0..=dice.below(3) {
        builder.push(Timestamp(1_000), None, Some(&vec![fill; dice.below(1_200)]), &[]);
    }
    builder.build()
}

/// One life, until it crashes.
fn live(machine: &mut Machine, oracle: &mut Oracle, dice: &mut Dice, seed: u64, seen: &mut Seen) -> Stop {
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
    seen.unknown_lost += oracle.laid.len() - found;
    seen.tails_dropped += usize::from(wal.dropped.is_some());
    oracle.settle(found);
    let segments = log.segments();
    log.prove();
    let stop = work(machine, &mut log, oracle, dice).err().unwrap_or(Stop::Crashed);
    seen.rolls += log.segments() - segments;
    stop
}

/// Appends and commits, until the log is full.
fn work(machine: &mut Machine, log: &mut Log, oracle: &mut Oracle, dice: &mut Dice) -> Result<(), Stop> {
    log.commit(machine)?;
    loop {
        let number = i32::try_from(dice.below(PARTITIONS)).unwrap();
        let id = TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(number) };
        if let Some(base) = oracle.ends.get(&id).copied() {
            let Some(event) = log.append(machine, id, &batch(dice), base)? else { return Ok(()) };
            let ReplayEvent::Batch(header, _) = &event else { unreachable!("a batch was laid") };
            oracle.ends.insert(id, header.next_offset());
            oracle.laid.push((id, event));
        } else {
            let control = Control::Open { epoch: LeaderEpoch(3), log_start: Offset::ZERO };
            if !log.control(machine, id, &control)? {
                return Ok(());
            }
            oracle.ends.insert(id, Offset::ZERO);
            oracle.laid.push((id, ReplayEvent::Control(control)));
        }
        if dice.below(4) == 0 {
            log.commit(machine)?;
            oracle.acknowledged = oracle.laid.len();
            if dice.below(6) == 0 {
                log.prove();
                log.commit(machine)?;
            }
        }
    }
}

/// The hash of the run.
fn run(seed: u64, faults: Faults, seen: &mut Seen) -> u64 {
    let mut dice = Dice::new(seed);
    let mut machine = Machine::new(&mut dice, faults);
    let mut oracle = Oracle::default();
    for _ in 0..LIVES {
        // Short lives often end within the start.
        let steps_max = if dice.coin() { 40 } else { 300 };
        machine.crash_after(dice.below(steps_max));
        match live(&mut machine, &mut oracle, &mut dice, seed, seen) {
            Stop::Crashed => {}
            Stop::Failed => seen.failed += 1,
            Stop::Refused(error) => panic!("seed {seed}: a start refuses a log that nothing has harmed: {error}"),
        }
        machine.crash(if dice.coin() { Crash::Power } else { Crash::Process });
    }
    // At last, all is well.
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
fn what_was_acknowledged_is_found_after_any_crash() {
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
fn what_was_acknowledged_is_found_though_writes_and_syncs_fail() {
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
