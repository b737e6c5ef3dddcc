#![allow(clippy::unwrap_used)]

mod driver;

use std::collections::BTreeSet;

use rustmq_model::Offset;
use rustmq_model::batch::BatchHeader;

use self::driver::{Driver, TRAILER};
use super::{NoRoom, SyncPolicy};
use crate::shard::DiskStep::{self, Sync, Write, WriteSynced};
use crate::shard::LogVersion;
use crate::shard::tests::batch;
use crate::shard::tests::memory::VecMemory;
use crate::shard::tests::slots::BLOCK;
use crate::tagged_fields::tests::tagged_field;
use crate::wal::recovery::RecoveryError;
use crate::wal::{RecoveredWal, SlotId};

const PIECE: usize = 8 * BLOCK;
/// More memory than any test takes.
const AMPLE: usize = 1 << 20;
const FIRST: SlotId = SlotId(0);
const SECOND: SlotId = SlotId(1);

fn driver() -> Driver {
    Driver::new(VecMemory::new(PIECE, AMPLE), SyncPolicy::EachCommit)
}

/// The kind of each step, its slot, and its range.
fn outline(steps: &[DiskStep]) -> Vec<(&'static str, SlotId, usize, usize)> {
    let outline = steps.iter().map(|step| match step {
        Write { slot, offset, bytes } => ("write", *slot, *offset as usize, *offset as usize + bytes.len()),
        WriteSynced { slot, offset, bytes } => {
            ("write synced", *slot, *offset as usize, *offset as usize + bytes.len())
        }
        Sync { slot } => ("sync", *slot, 0, 0),
    });
    outline.collect()
}

#[test]
fn a_commit_that_rolls_while_another_is_in_flight_loses_nothing_wherever_it_stops() {
    let mut driver = driver();
    (0..6).for_each(|_| driver.append(0, 1_000).unwrap());
    let first = driver.builder.take_commit().unwrap();
    (0..10).for_each(|_| driver.append(0, 1_000).unwrap());
    let second = driver.builder.take_commit().unwrap();
    assert!(first.steps.iter().all(|step| !matches!(step, Write { slot, .. } if *slot != FIRST)));
    let start = outline(&first.steps).iter().map(|(.., end)| *end).max().unwrap();

    let steps = outline(&second.steps);
    let seal = steps.iter().position(|step| step.2 == TRAILER).expect("the first segment is sealed");
    let groups = &steps[..seal];
    assert!(groups.len() >= 2, "a group and the index: {steps:?}");
    let mut at = start;
    for (kind, slot, offset, end) in groups {
        assert_eq!((*kind, *slot, *offset), ("write", FIRST, at), "groups follow each other: {steps:?}");
        at = *end;
    }
    assert_eq!(
        steps[seal..seal + 4],
        [
            ("write", FIRST, TRAILER, TRAILER + BLOCK),
            ("sync", FIRST, 0, 0),
            ("write", SECOND, 0, BLOCK),
            ("sync", SECOND, 0, 0),
        ]
    );
    assert_eq!((steps[seal + 4].1, steps[seal + 4].2), (SECOND, BLOCK));
    assert_eq!(steps.last(), Some(&("sync", SECOND, 0, 0)));
    assert_eq!((first.batches.len(), second.batches.len()), (6, 10));

    driver.finish(first);
    assert_eq!(driver.recovered(0), 6);
    for done in 0..second.steps.len() {
        driver.slots.execute(&second.steps[..done]);
        assert!((6..=16).contains(&driver.recovered(0)), "after {done} steps");
    }
    driver.finish(second);
    assert_eq!(driver.recovered(0), 16);
    driver.builder.table.check_invariants();
}

#[derive(Debug)]
struct EarlyEnd {
    /// Whether the commit ends with the header of the second segment.
    is_at_roll: bool,
    /// Whether room for another batch was refused for lack of memory.
    is_short: bool,
    restart: Result<RecoveredWal, RecoveryError>,
}

/// Gathers `batches` and asks for room for one of `size` bytes while an earlier commit is in
/// flight, with or without memory for another chunk. Takes them once that commit is durable.
/// Restarts after a bit of the earlier commit has flipped. `None` if the earlier commit is in an
/// older segment by then: the groups of the next one prove it anyway.
fn end_early(batches: usize, size: usize, has_memory: bool) -> Option<EarlyEnd> {
    let mut driver = driver();
    driver.append(0, 1_000).unwrap();
    let first = driver.builder.take_commit().unwrap();
    let steps = first.steps.clone();
    (0..batches).for_each(|_| driver.append(0, 1_000).unwrap());
    if driver.builder.table.segment_count() > 1 {
        return None;
    }
    driver.builder.memory.fails_after = (!has_memory).then_some(driver.builder.memory.taken());
    let room = driver.room(size);
    driver.finish(first);
    driver.builder.memory.fails_after = (!has_memory).then_some(driver.builder.memory.taken());
    assert!(driver.commit());
    Some(EarlyEnd {
        is_at_roll: driver.builder.table.segment_count() > 1,
        is_short: matches!(room, Err(NoRoom::Memory(_))),
        restart: driver.recover_damaged(&steps),
    })
}

#[test]
fn a_commit_proves_the_durable_ones_before_it_whatever_ended_its_groups() {
    let mut met = BTreeSet::new();
    for (batches, size) in (1..40).flat_map(|batches| [100, 1_000, 2_000, 3_000, PIECE].map(|size| (batches, size))) {
        for has_memory in [true, false] {
            let Some(EarlyEnd { is_at_roll, is_short, restart }) = end_early(batches, size, has_memory) else { break };
            let case = format!("{batches} batches, room for {size}, with memory: {has_memory}");
            assert!(matches!(restart, Err(RecoveryError::Corruption { .. })), "{case}: {restart:?}");
            met.insert((is_at_roll, is_short));
        }
    }
    // The last one takes its proof's memory from the roll.
    let all = [(false, false), (false, true), (true, false), (true, true)];
    assert_eq!(met, BTreeSet::from(all), "whether a commit ends with a roll, and whether memory was short");
}

#[test]
fn a_batch_that_is_larger_than_a_chunk_gets_one_of_its_own_in_the_same_commit() {
    let mut driver = driver();
    let taken = driver.builder.memory.taken();
    driver.append(0, 100).unwrap();
    let large = PIECE + 1_000;
    driver.append(0, large).unwrap();
    driver.append(0, 100).unwrap();
    assert_eq!(driver.builder.memory.taken(), taken + 1);
    let commit = driver.builder.take_commit().unwrap();
    let steps = outline(&commit.steps);
    assert_eq!(steps.len(), 3, "a group in each chunk, and the sync: {steps:?}");
    assert_eq!(steps[0].3, steps[1].2, "no gap is between them");
    assert_eq!(commit.bytes, steps[1].3 - steps[0].2);
    let chunks: Vec<_> = commit.batches.iter().map(|staged| staged.chunk).collect();
    assert_eq!([chunks[1] - chunks[0], chunks[2] - chunks[1]], [1, 0]);
    for (base, (staged, size)) in (0..).zip(commit.batches.iter().zip([100, large, 100])) {
        let header = BatchHeader::parse(&staged.batch.bytes).unwrap();
        assert_eq!(
            (header.base_offset, staged.batch.base, staged.batch.next),
            (Offset(base), Offset(base), Offset(base + 1))
        );
        let (as_given, as_staged) = (batch(size), &staged.batch.bytes);
        // The bytes after the fields that the log assigns.
        assert_eq!(as_given[16..], as_staged[16..]);
    }
    driver.finish(commit);
    assert_eq!(driver.recovered(0), 3);
}

#[test]
fn readers_get_batches_without_the_parts_after_them() {
    let mut driver = driver();
    driver.append_with_tagged_fields(0, 100, &tagged_field(9, b"of the tier")).unwrap();
    driver.append(0, 100).unwrap();
    let commit = driver.builder.take_commit().unwrap();
    for staged in &commit.batches {
        assert_eq!(staged.batch.bytes.len(), batch(100).len());
        assert_eq!(staged.batch.bytes[16..], batch(100)[16..]);
    }
    driver.finish(commit);
    assert_eq!(driver.recovered(0), 2);
}

#[test]
fn a_proof_without_room_is_left_out_and_the_segment_is_sealed_without_an_index() {
    let mut driver = driver();
    driver.append(0, 100).unwrap();
    driver.builder.stage_proof().unwrap();
    let commit = driver.builder.take_commit().unwrap();
    assert_eq!((commit.steps.len(), commit.holds_frames), (1, true), "no proof while a group is open");
    driver.finish(commit);
    let mut end = 0;
    while let ((), Some(proof)) = (driver.builder.stage_proof().unwrap(), driver.builder.take_commit()) {
        assert!(!proof.holds_frames);
        end = outline(&proof.steps)[0].3;
        driver.finish(proof);
    }
    assert_eq!(end, TRAILER, "proofs fill the segment");
    driver.append(0, 100).unwrap();
    let commit = driver.builder.take_commit().unwrap();
    let sealed = [("sync", FIRST, 0, 0), ("write", SECOND, 0, BLOCK), ("sync", SECOND, 0, 0)];
    assert_eq!(outline(&commit.steps)[..3], sealed);
    driver.finish(commit);
    assert_eq!(driver.recovered(0), 2);
}

/// Appends until segments roll, and checks the disk after each shortage of memory. Returns the
/// number of chunks taken, and whether the shortage met a roll.
fn fill_with_a_failure(after: Option<usize>) -> (usize, bool) {
    const BATCHES: usize = 60;
    let mut memory = VecMemory::new(2 * BLOCK, AMPLE);
    memory.fails_after = after;
    let mut driver = Driver::new(memory, SyncPolicy::EachCommit);
    let mut has_failed_to_roll = false;
    for number in 0..BATCHES {
        let (before, in_use) = (driver.builder.memory.fails_after, driver.builder.table.segment_count());
        match driver.append(0, 700) {
            Ok(()) => assert_eq!(driver.builder.memory.fails_after, before, "a failure is reported"),
            Err(error) => {
                assert!(matches!(error, NoRoom::Memory(_)), "{error}");
                let table = &driver.builder.table;
                assert!(
                    table.next_position().is_some(),
                    "a sealed segment has a successor, and a started one has its header"
                );
                let rolled = |driver: &Driver| driver.builder.table.segment_count() > in_use;
                let had_rolled = rolled(&driver);
                driver.commit();
                assert_eq!(driver.recovered(0), number, "the staged batches are as durable as without the failure");
                driver.append(0, 700).unwrap();
                has_failed_to_roll |= !had_rolled && rolled(&driver);
            }
        }
        if number % 3 == 0 {
            driver.commit();
        }
    }
    driver.commit();
    assert_eq!(driver.recovered(0), BATCHES);
    assert!(driver.builder.table.segment_count() >= 4);
    driver.builder.table.check_invariants();
    (driver.builder.memory.taken(), has_failed_to_roll)
}

#[test]
fn a_log_continues_after_a_shortage_of_memory_at_any_chunk() {
    let (chunks, _) = fill_with_a_failure(None);
    // The chunks before belong to the opening of the partitions.
    let failed_to_roll = (2..chunks).filter(|after| fill_with_a_failure(Some(*after)).1).count();
    assert!(failed_to_roll >= 3, "{failed_to_roll} of {chunks} failures met a roll");
}

/// Commits one batch in a chunk of its own.
fn fill_chunk(driver: &mut Driver, number: i32) {
    driver.append(number, driver.builder.memory.piece - BLOCK).unwrap();
    assert!(driver.commit());
}

#[test]
fn the_oldest_chunks_are_evicted_before_a_new_one_is_taken() {
    // So small that no segment fills up: a roll takes chunks, too.
    const PIECE: usize = 3 * BLOCK;
    let mut driver = Driver::new(VecMemory::new(PIECE, 4 * PIECE), SyncPolicy::EachCommit);
    let keys = [driver.key(0), driver.key(1)];
    for number in [0, 1, 0] {
        fill_chunk(&mut driver, number);
    }
    let evicted = |driver: &Driver, from: usize| driver.builder.memory.evicted[from..].to_vec();
    assert_eq!(evicted(&driver, 0), [], "all of it fits");
    let held = driver.builder.memory.readable[&keys[0]].in_memory().next().unwrap().bytes.clone();
    for number in [0, 1, 0, 0] {
        fill_chunk(&mut driver, number);
    }
    let through = |number: usize, offset| (keys[number], Offset(offset));
    // A reader holds a batch of the oldest chunk, so the next oldest is evicted at once.
    assert_eq!(evicted(&driver, 0), [through(0, 0), through(1, 0), through(0, 1), through(0, 2)]);
    assert_eq!(driver.builder.memory.most, 4 * PIECE, "never beyond the budget");
    drop(held);
    driver.builder.memory.budget = 0;
    driver.builder.make_room(0);
    assert_eq!(evicted(&driver, 4), [through(1, 1), through(0, 3)]);
    let left = |number: usize| driver.builder.memory.readable[&keys[number]].in_memory().map(|batch| batch.base.0);
    assert_eq!((Vec::from_iter(left(0)), left(1).count()), (vec![4], 0), "the newest chunk stays");
    fill_chunk(&mut driver, 1);
    assert_eq!(evicted(&driver, 6), [through(0, 4)], "a chunk is taken beyond the budget if none can be evicted");
}

#[test]
fn a_deleted_partition_and_its_successor_are_distinguished_within_one_commit() {
    let mut driver = driver();
    driver.append(0, 100).unwrap();
    driver.append(1, 100).unwrap();
    // In a finished group, and in the open one.
    driver.append(0, PIECE).unwrap();
    let before = driver.key(0);
    driver.close(0);
    driver.open(0);
    driver.append(0, 200).unwrap();
    let after = driver.key(0);
    let sizes = [100, PIECE, 200].map(|size| batch(size).len() as u64);
    let staged = |key| driver.builder.staged_bytes(key, LogVersion::default());
    assert_eq!([staged(before), staged(after), staged(driver.key(1))], [sizes[0] + sizes[1], sizes[2], sizes[0]]);
    let commit = driver.builder.take_commit().unwrap();
    let staged: Vec<_> = commit.batches.iter().map(|staged| (staged.key, staged.batch.base.0)).collect();
    assert_eq!(staged, [(before, 0), (driver.key(1), 0), (before, 1), (after, 0)]);
    driver.finish(commit);
    let staged_after = driver.builder.staged_bytes(after, LogVersion::default());
    assert_eq!((driver.recovered(0), staged_after), (1, 0));
}

#[test]
fn commits_that_are_not_synced_prove_nothing() {
    let mut driver = Driver::new(VecMemory::new(PIECE, AMPLE), SyncPolicy::Never);
    let before = driver.builder.table.provable();
    driver.append(0, 100).unwrap();
    let commit = driver.builder.take_commit().unwrap();
    assert!(matches!(commit.steps[..], [Write { .. }]));
    let end = commit.end;
    driver.finish(commit);
    let table = &driver.builder.table;
    assert_eq!((table.durable(), table.provable()), (end, before));
}
