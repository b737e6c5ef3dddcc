#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rustmq_model::{Offset, Timestamp};

use super::{LocationMap, NotLocated, PlacedBatches};
use crate::wal::extents::{Extent, ReadRange};
use crate::wal::index::Trailer;
use crate::wal::position::{SegmentGeneration, SegmentShape, SlotId, WalSession};
use crate::wal::segments::{Located, LocatedExtents};
use crate::wal::shared_segments::SharedSegments;
use crate::wal::spans::{Span, Spans};

fn placed(generation: u64, group_offset: u32, first: i64, end: i64) -> PlacedBatches {
    let (first, end, max_timestamp) = (Offset(first), Offset(end), Timestamp(0));
    let extent = Extent { group_offset, bytes: 10, first, end, max_timestamp, is_damaged: false };
    PlacedBatches { generation: SegmentGeneration(generation), extent }
}

fn segments(generations: std::ops::Range<u64>) -> SharedSegments {
    let segments = SharedSegments::default();
    let shape = SegmentShape::new(4096, 1 << 20).unwrap();
    for generation in generations {
        let slot = SlotId(u32::try_from(generation).unwrap());
        segments.add(slot, SegmentGeneration(generation), shape).on_durable(100_000);
    }
    segments
}

fn index(segments: &SharedSegments, generation: u64) {
    let generation = SegmentGeneration(generation);
    let trailer = Trailer { generation, session: WalSession(1), index_group: 8192, end: 100_000 };
    segments.find(generation).unwrap().on_indexed(trailer);
}

/// The generation and the groups that a reader gets; no groups for an index on disk.
fn located(map: &LocationMap, segments: &SharedSegments, from: i64) -> Result<(u64, Option<Vec<u32>>), NotLocated> {
    let range = ReadRange { from: Offset(from), until: Offset(i64::MAX), bytes: usize::MAX };
    map.locate(range, segments).map(|located| match located {
        Located::Batches(location) => {
            let groups = match location.extents {
                LocatedExtents::Known(extents) => Some(extents.iter().map(|extent| extent.group_offset).collect()),
                LocatedExtents::Indexed(_) => None,
            };
            (location.generation.0, groups)
        }
        Located::Damaged { .. } => (0, None),
    })
}

#[test]
fn groups_are_known_until_their_index_is_on_disk() {
    let segments = segments(1..3);
    let mut map = LocationMap::default();
    map.extend([placed(1, 4096, 0, 5), placed(1, 8192, 5, 7), placed(2, 4096, 7, 9)], &segments.unindexed());
    assert_eq!(located(&map, &segments, 4), Ok((1, Some(vec![4096, 8192]))));
    assert_eq!(located(&map, &segments, 8), Ok((2, Some(vec![4096]))));
    assert_eq!(located(&map, &segments, 9), Err(NotLocated::Nowhere));
    let before = map.clone();
    index(&segments, 1);
    map.extend([], &segments.unindexed());
    assert_eq!(located(&map, &segments, 4), Ok((1, None)));
    assert_eq!(map.extents.len(), 1);
    assert_eq!(located(&before, &segments, 4), Ok((1, Some(vec![4096, 8192]))), "a snapshot does not change");
    index(&segments, 2);
    // The map holds either all groups of a segment or none: the index has the groups that leave
    // memory from here on.
    map.extend([placed(2, 8192, 9, 10)], &segments.unindexed());
    assert_eq!(located(&map, &segments, 8), Ok((2, None)));
    map.relocate(&[placed(2, 12288, 0, 5)], &segments.unindexed());
    assert_eq!((located(&map, &segments, 0), map.extents.len()), (Ok((2, None)), 0));
    map.check_invariants();
}

#[test]
fn a_retired_segment_is_told_from_a_gap_and_a_snapshot_does_not_change() {
    let segments = segments(1..3);
    let mut map = LocationMap::default();
    map.extend([placed(1, 4096, 0, 5), placed(1, 4096, 10, 12)], &segments.unindexed());
    assert_eq!(located(&map, &segments, 7), Ok((1, Some(vec![4096]))), "the first offset after the gap");
    let before = map.clone();
    map.relocate(&[placed(2, 4096, 0, 5), placed(2, 8192, 10, 12)], &segments.unindexed());
    assert!(segments.retire(SegmentGeneration(1)));
    assert_eq!(located(&before, &segments, 0), Err(NotLocated::Retired));
    assert_eq!(located(&map, &segments, 0), Ok((2, Some(vec![4096]))));
    assert_eq!(map.extents.len(), 1, "groups of a segment go with its last batch");
}

#[test]
fn a_damaged_range_replaces_only_batches_that_have_left_memory() {
    let segments = segments(1..3);
    let mut map = LocationMap::default();
    map.extend([placed(1, 4096, 0, 5)], &segments.unindexed());
    let mut mark = placed(2, 4096, 3, 9);
    mark.extent.is_damaged = true;
    map.relocate(&[mark], &segments.unindexed());
    assert_eq!(located(&map, &segments, 0), Ok((1, Some(vec![4096]))));
    assert_eq!(located(&map, &segments, 3), Ok((0, None)));
    assert!(map.ends_before(Offset(5)), "the other batches are still in memory");
}

#[derive(Clone, Debug)]
enum Change {
    Add(i64),
    Relocate(usize),
    Trim(i64),
    Truncate(i64),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (1..4_i64).prop_map(Change::Add),
        2 => any::<usize>().prop_map(Change::Relocate),
        1 => (0..30_i64).prop_map(Change::Trim),
        1 => (0..30_i64).prop_map(Change::Truncate),
    ]
}

proptest! {
    /// The map agrees with the spans of the writer.
    #[test]
    fn the_map_follows_the_spans(changes in proptest::collection::vec(any_change(), 1..60)) {
        let (mut map, mut spans, segments) = (LocationMap::default(), Spans::default(), segments(0..30));
        let (mut batches, mut end, mut log_start) = (Vec::new(), 0, 0);
        for (generation, change) in (1..).zip(changes) {
            // A few changes share a segment.
            let generation = generation / 3;
            match change {
                Change::Add(count) => {
                    let batch = placed(generation, 4096, end, end + count);
                    map.extend([batch], &segments.unindexed());
                    spans.insert(span(batch));
                    batches.push((end, end + count));
                    end += count;
                }
                Change::Relocate(which) if !batches.is_empty() => {
                    let (first, end) = batches[which % batches.len()];
                    let batch = placed(generation, 8192, first, end);
                    map.relocate(&[batch], &segments.unindexed());
                    spans.relocate(span(batch));
                }
                Change::Relocate(_) => {}
                Change::Trim(offset) => {
                    log_start = offset.min(end).max(log_start);
                    map.trim(Offset(log_start));
                    spans.trim(Offset(log_start));
                }
                Change::Truncate(offset) => {
                    let to = offset.max(log_start);
                    let to = batches.iter().map(|(first, _)| *first).rfind(|first| *first <= to).unwrap_or(0).max(log_start);
                    batches.retain(|(_, end)| *end <= to);
                    map.truncate(Offset(to));
                    spans.truncate(Offset(to));
                    end = end.min(to);
                }
            }
            map.check_invariants();
            for offset in 0..end {
                let of_map = map.find(Offset(offset)).map(|segment_range| (segment_range.generation, segment_range.first <= Offset(offset)));
                let of_spans = spans.find(Offset(offset)).map(|span| (span.generation, span.first <= Offset(offset)));
                prop_assert_eq!(of_map, of_spans, "offset {}", offset);
            }
        }
    }
}

fn span(batch: PlacedBatches) -> Span {
    let PlacedBatches { generation, extent: Extent { first, end, max_timestamp, is_damaged, .. } } = batch;
    Span { first, end, generation, bytes: 10, max_timestamp, is_damaged }
}
