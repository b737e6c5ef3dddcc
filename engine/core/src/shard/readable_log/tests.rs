#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use super::{BatchPlace, ReadableLog, TailBatch};
use crate::shard::request::ColdRead;
use crate::shard::{NoPlan, plan_read};
use crate::wal::segments::LocatedExtents;
use crate::wal::{
    Extent, LocationMap, PlacedBatches, SegmentGeneration, SegmentShape, SharedSegments, SlotId, WalPosition,
};

fn batch(base: i64, next: i64, generation: u64) -> TailBatch {
    let group = WalPosition { generation: SegmentGeneration(generation), offset: 4096 };
    let (base, next, place) = (Offset(base), Offset(next), BatchPlace::in_group(group));
    TailBatch { base, next, max_timestamp: Timestamp(0), bytes: Bytes::from_static(b"0123456789"), place }
}

fn segments() -> SharedSegments {
    let segments = SharedSegments::default();
    let shape = SegmentShape::new(4096, 1 << 20).unwrap();
    (1..4).for_each(|number| {
        segments.add(SlotId(number), SegmentGeneration(u64::from(number)), shape);
    });
    segments
}

fn bases(log: &ReadableLog, from: i64) -> Option<Vec<i64>> {
    let batches = log.batches_from(Offset(from))?;
    Some(batches.map(|batch| batch.base.0).collect())
}

/// The generation of the segment that a read from this offset goes to.
fn found_in(log: &ReadableLog, segments: &SharedSegments, from: i64) -> Result<u64, NoPlan> {
    let (from, until) = (Offset(from), Offset(100));
    let read = ColdRead { id: TopicIdPartition::default(), from, until, max_bytes: 1_000, at_least_one: true };
    let plan = plan_read(&read, &log.locations(), segments)?;
    assert!(matches!(&plan.location.extents, LocatedExtents::Known(extents) if !extents.is_empty()));
    assert_eq!(plan.hold.segment().generation, plan.location.generation);
    Ok(plan.location.generation.0)
}

fn moved(first: i64, end: i64, is_damaged: bool) -> PlacedBatches {
    let (first, end, max_timestamp) = (Offset(first), Offset(end), Timestamp(0));
    let extent = Extent { group_offset: 8192, bytes: 10, first, end, max_timestamp, is_damaged };
    PlacedBatches { generation: SegmentGeneration(3), extent }
}

#[test]
fn memory_serves_only_batches_without_a_gap() {
    let segments = segments();
    let mut log = ReadableLog::on_disk(LocationMap::default(), Offset(10));
    assert_eq!(bases(&log, 9), None);
    assert_eq!(bases(&log, 10), Some(vec![]));
    log.extend([batch(10, 15, 1), batch(15, 16, 1), batch(16, 20, 2)]);
    assert_eq!(bases(&log, 12), Some(vec![10, 15, 16]));
    assert_eq!(bases(&log, 20), Some(vec![]));
    log.evict_through(Offset(10), &segments.unindexed());
    assert_eq!(bases(&log, 14), None);
    assert_eq!(bases(&log, 15), Some(vec![15, 16]));
    log.evict_through(Offset(10), &segments.unindexed());
    assert_eq!(bases(&log, 15), Some(vec![15, 16]), "evicted batches are not evicted again");
    log.trim(Offset(18));
    assert_eq!(bases(&log, 17), Some(vec![16]), "a batch that the log start cuts stays");
    assert_eq!(bases(&log, 18), Some(vec![16]));
}

#[test]
fn a_batch_is_found_in_memory_or_on_disk_at_any_time() {
    let segments = segments();
    let mut log = ReadableLog::default();
    log.extend((0..9).map(|base| batch(base, base + 1, 1 + u64::from(base >= 5))));
    for evicted in 0..9 {
        for from in 0..9 {
            match bases(&log, from) {
                Some(bases) => assert_eq!(bases[0], from),
                None => assert_eq!(found_in(&log, &segments, from), Ok(1 + u64::from(from >= 5))),
            }
        }
        log.evict_through(Offset(evicted), &segments.unindexed());
        log.check_invariants();
    }
}

#[test]
fn a_batch_that_moved_while_in_memory_is_found_in_its_new_place_after_eviction() {
    let segments = segments();
    let mut log = ReadableLog::default();
    log.extend([batch(0, 3, 1), batch(3, 6, 1), batch(6, 9, 1)]);
    log.evict_through(Offset(0), &segments.unindexed());
    log.relocate(&[moved(0, 3, false)], &segments.unindexed());
    log.relocate(&[moved(3, 6, false)], &segments.unindexed());
    assert_eq!(bases(&log, 3), Some(vec![3, 6]));
    log.evict_through(Offset(6), &segments.unindexed());
    let found = [0, 3, 6].map(|from| found_in(&log, &segments, from).unwrap());
    assert_eq!(found, [3, 3, 1]);
}

#[test]
fn damaged_batches_are_read_from_memory_and_refused_after_eviction() {
    let segments = segments();
    let mut log = ReadableLog::default();
    log.extend([batch(0, 3, 1), batch(3, 6, 1), batch(6, 9, 1)]);
    log.evict_through(Offset(0), &segments.unindexed());
    log.relocate(&[moved(0, 6, true)], &segments.unindexed());
    assert!(matches!(found_in(&log, &segments, 0), Err(NoPlan::Refused(_))));
    assert_eq!(bases(&log, 3), Some(vec![3, 6]));
    log.evict_through(Offset(6), &segments.unindexed());
    assert!(matches!(found_in(&log, &segments, 3), Err(NoPlan::Refused(_))));
    assert_eq!(found_in(&log, &segments, 6), Ok(1));
}

#[test]
fn a_reader_keeps_the_map_that_it_took() {
    let segments = segments();
    let mut log = ReadableLog::default();
    log.extend([batch(0, 3, 1), batch(3, 6, 2)]);
    log.evict_through(Offset(0), &segments.unindexed());
    let taken = log.locations();
    log.evict_through(Offset(3), &segments.unindexed());
    assert!(taken.ends_before(Offset(3)) && !log.locations().ends_before(Offset(3)));
}

#[test]
fn a_map_that_a_reader_holds_is_copied_only_for_a_change() {
    let segments = segments();
    let mut log = half_evicted(&segments);
    let taken = log.locations();
    log.trim(Offset(2));
    log.relocate(&[moved(9, 12, false)], &segments.unindexed());
    assert!(Arc::ptr_eq(&taken, &log.locations()), "neither changes the batches on disk");
    log.trim(Offset(6));
    assert!(!Arc::ptr_eq(&taken, &log.locations()));
}

#[test]
fn a_gap_between_disk_and_memory_is_skipped() {
    let mut map = LocationMap::default();
    map.extend([moved(0, 5, false)], &segments().unindexed());
    let mut log = ReadableLog::on_disk(map, Offset(10));
    assert_eq!(bases(&log, 7), None, "no batch follows yet");
    log.extend([batch(10, 12, 1)]);
    assert_eq!((bases(&log, 7), bases(&log, 4)), (Some(vec![10]), None));
}

#[test]
fn a_cut_tail_continues_with_new_batches() {
    let mut log = ReadableLog::default();
    let mut cut = |log_start, end| {
        log.cut(Offset(log_start)..Offset(end));
        let left = bases(&log, log_start);
        log.extend([batch(end, end + 5, 1)]);
        log.check_invariants();
        (left, bases(&log, end))
    };
    assert_eq!(cut(0, 10), (Some(vec![]), Some(vec![10])));
    assert_eq!(cut(0, 15), (Some(vec![10]), Some(vec![15])));
    assert_eq!(cut(0, 15), (Some(vec![10]), Some(vec![15])), "the batches after the cut are gone");
    assert_eq!(cut(12, 12), (Some(vec![]), Some(vec![12])), "a reset leaves no batch");
    assert_eq!(cut(90, 90), (Some(vec![]), Some(vec![90])));
    assert_eq!(cut(3, 3), (Some(vec![]), Some(vec![3])));
}

/// Three batches on disk, in segments 1, 1 and 2, and two in memory.
fn half_evicted(segments: &SharedSegments) -> ReadableLog {
    let mut log = ReadableLog::default();
    log.extend([batch(0, 3, 1), batch(3, 6, 1), batch(6, 9, 2), batch(9, 12, 2), batch(12, 15, 3)]);
    log.evict_through(Offset(6), &segments.unindexed());
    log
}

#[test]
fn truncated_batches_are_found_neither_in_memory_nor_on_disk() {
    let segments = segments();
    for (end, left_on_disk, left_in_memory) in [
        (15, vec![1, 1, 2], vec![9, 12]),
        (12, vec![1, 1, 2], vec![9]),
        (9, vec![1, 1, 2], vec![]),
        (3, vec![1], vec![]),
    ] {
        let mut log = half_evicted(&segments);
        let taken = log.locations();
        log.cut(Offset(0)..Offset(end));
        log.check_invariants();
        let on_disk: Vec<_> = [0, 3, 6].into_iter().filter_map(|from| found_in(&log, &segments, from).ok()).collect();
        assert_eq!(on_disk, left_on_disk, "cut to {end}");
        assert_eq!(bases(&log, end.min(9)), Some(left_in_memory), "cut to {end}");
        assert!(!taken.ends_before(Offset(8)), "a reader keeps the map that it took");
        // A batch appended after the cut is found after its eviction.
        log.extend([batch(end, end + 4, 3)]);
        log.evict_through(Offset(end), &segments.unindexed());
        assert_eq!(found_in(&log, &segments, end), Ok(3), "cut to {end}");
    }
}

#[test]
fn a_reset_log_has_no_batches() {
    let segments = segments();
    // Below the log, inside an extent on disk, inside a batch in memory, and above the log.
    for at in [0, 5, 7, 10, 40] {
        let mut log = half_evicted(&segments);
        log.cut(Offset(at)..Offset(at));
        log.check_invariants();
        assert_eq!(*log.locations(), LocationMap::default(), "reset to {at}");
        assert_eq!((bases(&log, at), bases(&log, at - 1)), (Some(vec![]), None), "reset to {at}");
        log.extend([batch(at, at + 4, 3)]);
        assert_eq!(bases(&log, at), Some(vec![at]));
        log.evict_through(Offset(at), &segments.unindexed());
        assert_eq!(found_in(&log, &segments, at), Ok(3), "reset to {at}");
    }
}
