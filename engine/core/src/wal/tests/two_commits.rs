//! Two commits in flight during a power cut: the later one may be whole while the earlier one is
//! torn. The later one was not acknowledged, and does not turn the torn one into corruption.

use super::disk::{BLOCK, Disk, Shard, State, Write, batch, partition, shape, state_of};
use crate::wal::GroupKind;
use crate::wal::recovery::{CorruptionPolicy, RecoveryError, ResumePoint};

const BLOCKS: u64 = 64;

/// A log with an acknowledged group and two commits in flight, of three blocks each; with the state
/// before them, and as of each.
struct Cut {
    shard: Shard,
    acknowledged: usize,
    before: State,
    commits: [(Write, State); 2],
}

fn cut() -> Cut {
    let mut shard = Shard::open(Disk::default(), shape(BLOCKS), 8).unwrap();
    shard.prove();
    shard.open_partition(partition(0));
    shard.open_partition(partition(1));
    shard.commit();
    let acknowledged = shard.table.next_position().unwrap().offset as usize;
    assert!(shard.append(partition(0), &batch(1, 700, 1)));
    shard.commit();
    let before = shard.state.clone();
    for fill in [2, 3] {
        assert!(shard.append(partition(0), &batch(1, 500, fill)));
        assert!(shard.append(partition(1), &batch(1, 400, fill)));
        shard.finish_group(GroupKind::Data);
    }
    let commits: [_; 2] = std::mem::take(&mut shard.in_flight).try_into().unwrap();
    assert_eq!(commits.each_ref().map(|(write, _)| write.bytes.len()), [3 * BLOCK; 2]);
    assert_eq!(commits[0].0.offset + 3 * BLOCK, commits[1].0.offset);
    Cut { shard, acknowledged, before, commits }
}

#[test]
fn any_subset_of_their_blocks_gives_neither_commit_or_the_first_or_both() {
    let Cut { shard, before, commits: [(first, after_first), (second, after_both)], .. } = cut();
    for stale in [0u8, 0xA5] {
        let mut old = shard.disk.clone();
        for write in [&first, &second] {
            old.write_some(&Write { bytes: vec![stale; write.bytes.len()], ..write.clone() }, |_| true);
        }
        for subset in 0..64u32 {
            let mut disk = old.clone();
            disk.write_some(&first, |block| subset & 1 << block != 0);
            disk.write_some(&second, |block| subset & 8 << block != 0);
            let (is_first_whole, is_second_whole) = (subset & 7 == 7, subset >> 3 == 7);
            let expected = match (is_first_whole, is_second_whole) {
                (false, _) => &before,
                (true, false) => &after_first,
                (true, true) => &after_both,
            };
            let recovered = disk.recover(shape(BLOCKS), CorruptionPolicy::Refuse).unwrap();
            assert_eq!(&state_of(&recovered), expected, "subset {subset:06b}");
            let left = u32::from(!is_first_whole && is_second_whole);
            assert_eq!(
                recovered.dropped.iter().map(|dropped| dropped.groups).sum::<u32>(),
                left,
                "subset {subset:06b}"
            );
            let repaired = disk.recover(shape(BLOCKS), CorruptionPolicy::Repair).unwrap();
            assert_eq!((&state_of(&repaired), repaired.holes.len()), (expected, 0), "subset {subset:06b}");
        }
    }
}

#[test]
fn a_later_session_overwrites_the_second_commit_and_is_never_taken_for_it() {
    let Cut { shard, before, commits: [(first, _), (second, _)], .. } = cut();
    let mut disk = shard.disk;
    disk.write_some(&first, |block| block != 1);
    disk.write_some(&second, |_| true);
    let mut shard = Shard::open(disk, shape(BLOCKS), 8).unwrap();
    assert_eq!(shard.state, before);
    // Every start writes a proof first.
    shard.prove();
    shard.sync();
    let mut has_met = false;
    for fill in 10..18 {
        has_met |= shard.table.next_position().unwrap().offset as usize == second.offset;
        let old = shard.state.clone();
        assert!(shard.append(partition(1), &batch(1, 60 * usize::from(fill - 9), fill)));
        shard.finish_group(GroupKind::Data);
        let (write, new) = shard.in_flight[0].clone();
        let blocks = write.bytes.len() / BLOCK;
        for subset in 0..1u32 << blocks {
            let mut disk = shard.disk.clone();
            let is_whole = disk.write_some(&write, |block| subset & 1 << block != 0);
            let recovered = disk.recover(shape(BLOCKS), CorruptionPolicy::Refuse).unwrap();
            assert_eq!(&state_of(&recovered), if is_whole { &new } else { &old }, "{fill}: {subset:b}");
            let end = recovered.resume_at;
            let expected = if is_whole { write.offset + write.bytes.len() } else { write.offset };
            assert!(matches!(end, ResumePoint::InSegment(at) if at.offset as usize == expected), "{fill}: {end:?}");
        }
        shard.sync();
    }
    assert!(has_met, "the log ends where the second begins");
}

#[test]
fn damage_before_the_durable_end_of_the_second_commit_is_refused() {
    let Cut { shard, acknowledged, commits: [(first, _), (second, _)], .. } = cut();
    for (is_first_whole, is_second_whole) in [(false, true), (true, false), (true, true)] {
        let mut disk = shard.disk.clone();
        disk.write_some(&first, |_| is_first_whole);
        disk.write_some(&second, |_| is_second_whole);
        disk.0.get_mut(&first.slot).unwrap()[acknowledged + 100] ^= 1;
        let refused = disk.recover(shape(BLOCKS), CorruptionPolicy::Refuse);
        let is_named = matches!(&refused, Err(RecoveryError::Corruption { offset, proven, .. })
            if *offset as usize == acknowledged && proven.offset as usize == first.offset);
        assert!(is_named, "{refused:?}");
    }
}
