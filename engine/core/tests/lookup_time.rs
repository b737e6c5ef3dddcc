//! The time of a lookup in the shard does not grow with the log, since producers wait for it.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the test measures the time of a lookup")]

use std::time::{Duration, Instant};

use rustmq_engine_core::wal::SegmentIndex;
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

/// The index of a segment with one record in each group. With `moved`, the lower half of the
/// offsets was relocated and lies last.
fn index_of(groups: u32, moved: bool) -> SegmentIndex {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1), None, Some(b"v"), &[]);
    let mut header = BatchHeader::parse(&builder.build()).unwrap();
    let mut index = SegmentIndex::default();
    for group in 0..groups {
        let offset = if moved { (group + groups / 2) % groups } else { group };
        header.base_offset = Offset(i64::from(offset));
        index.record_batch(TopicIdPartition::default(), 4096 * (group + 1), &header, false);
    }
    index
}

/// The shortest of a few rounds, which a busy machine disturbs least.
fn lookup_time(index: &SegmentIndex) -> Duration {
    let extents = &index.entry(TopicIdPartition::default()).unwrap().extents;
    let count = i64::try_from(extents.len()).unwrap();
    let round = || {
        let begun = Instant::now();
        for step in 0..2_000 {
            let offset = Offset(step * 7_919 % count);
            assert_eq!(std::hint::black_box(extents).find(offset).unwrap().first, offset);
        }
        begun.elapsed()
    };
    (0..5).map(|_| round()).min().unwrap()
}

#[test]
fn a_lookup_does_not_slow_down_in_proportion_to_the_segment() {
    for moved in [false, true] {
        let (small, large) = (index_of(64, moved), index_of(16_384, moved));
        let (small, large) = (lookup_time(&small), lookup_time(&large));
        // 256 times as many groups take 256 times as long if each is visited, and less than twice
        // as long in a binary search.
        assert!(large < small * 40, "{small:?} for 64 groups, {large:?} for 16,384");
    }
}
