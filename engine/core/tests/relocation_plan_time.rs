//! The time to plan a relocation grows with the content of the oldest segment, not with the content
//! of other segments. The shard plans between commits, so the producers of all its partitions wait
//! for it.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the tests measure the time of a plan")]

use std::time::{Duration, Instant};

use rustmq_engine_core::wal::recovery::CorruptionPolicy;
use rustmq_engine_core::wal::segments::SEGMENTS_MIN;
use rustmq_engine_core::wal::{
    Control, FinishedGroup, Recovery, RecoveryOptions, SegmentShape, SegmentTable, SegmentTableConfig, WalId,
};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicIdPartition};

const WAL: WalId = WalId([7; 16]);
const BLOCK: u32 = 4096;
/// The bytes in each segment: so many that the live ones are negligible, and a relocation always
/// pays.
const WRITTEN: u32 = 16 << 20;

fn partition(number: u32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(i32::try_from(number).unwrap()) }
}

/// A full WAL of two segments. The oldest one holds one batch of partition 0; the other one holds
/// `spans_of_first` spans of partition 0, and `spans_of_others` spans of each of `others`
/// partitions.
struct Content {
    spans_of_first: u32,
    others: u32,
    spans_of_others: u32,
}

fn table_of(content: &Content) -> SegmentTable {
    let shape = SegmentShape::new(u64::from(BLOCK), 64 << 20).unwrap();
    let (policy, slots) = (CorruptionPolicy::Refuse, Vec::new());
    let recovered = Recovery::new(RecoveryOptions { wal: WAL, shape, slots, window: BLOCK, policy }).finish().unwrap();
    let mut table = SegmentTable::new(SegmentTableConfig { wal: WAL, shape, segments_max: SEGMENTS_MIN }, &recovered);
    start_segment(&mut table);
    record_batches(&mut table, 0, 0..1);
    seal(&mut table);
    start_segment(&mut table);
    record_batches(&mut table, 0, 1..1 + content.spans_of_first);
    for other in 1..=content.others {
        record_batches(&mut table, other, 0..content.spans_of_others);
    }
    seal(&mut table);
    table.check_invariants();
    table
}

fn start_segment(table: &mut SegmentTable) {
    while let Some(slot) = table.poll_reserve() {
        table.on_slot_reserved(slot);
    }
    table.start_segment().unwrap();
}

/// Records batches of one record with a gap before each, so that each has a span of its own.
fn record_batches(table: &mut SegmentTable, number: u32, batches: std::ops::Range<u32>) {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1), None, Some(b"v"), &[]);
    let mut header = BatchHeader::parse(&builder.build()).unwrap();
    let (id, group) = (partition(number), table.next_position().unwrap());
    if batches.start == 0 {
        table.record_control(id, group, &Control::Open { epoch: LeaderEpoch(1), log_start: Offset(0) });
    }
    for batch in batches {
        header.base_offset = Offset(2 * i64::from(batch) + 1);
        table.record_batch(id, group, &header);
    }
}

fn seal(table: &mut SegmentTable) {
    let mut position = table.next_position().unwrap();
    position.offset += WRITTEN;
    table.advance(position);
    let index = FinishedGroup { position, length: BLOCK, padded: BLOCK, frame_count: 1 };
    table.seal(Some(index)).unwrap();
    table.on_synced(index.end());
}

/// The shortest of many rounds, which a busy machine disturbs least.
fn planning_time(table: &SegmentTable) -> Duration {
    let round = || {
        let begun = Instant::now();
        for _ in 0..500 {
            let plan = std::hint::black_box(table).relocation().unwrap();
            assert_eq!((plan.checkpoints.len(), plan.batches.len()), (1, 1));
        }
        begun.elapsed()
    };
    (0..10).map(|_| round()).min().unwrap()
}

/// A hundred times as many spans take about a hundred times as long if each is visited, and about
/// as long if none is.
fn check(small: &Content, large: &Content) {
    let (small, large) = (planning_time(&table_of(small)), planning_time(&table_of(large)));
    assert!(large < small * 20, "{small:?} for few spans, {large:?} for a hundred times as many");
}

#[test]
fn planning_does_not_slow_down_in_proportion_to_the_spans_of_10_000_partitions() {
    let content = |others| Content { spans_of_first: 8, others, spans_of_others: 8 };
    check(&content(100), &content(10_000));
}

#[test]
fn planning_does_not_slow_down_in_proportion_to_a_partitions_spans_in_newer_segments() {
    let content = |spans_of_first| Content { spans_of_first, others: 10_000, spans_of_others: 1 };
    check(&content(100), &content(10_000));
}
