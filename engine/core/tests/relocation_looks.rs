//! A look at the oldest segment, for what must move out of it, costs what is in that segment, and not what the partitions have elsewhere.
//! The shard looks between commits, so producers of all its partitions wait for it.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "the time of a look is what is tested")]

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
/// So much is written to each segment that what lives in it is next to nothing: moving it always pays.
const WRITTEN: u32 = 16 << 20;

fn partition(number: u32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(i32::try_from(number).unwrap()) }
}

/// A full WAL of two segments. The oldest holds one batch, of partition 0; the other so many spans of partition 0, and so many of each other one.
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
    lay(&mut table, 0, 0..1);
    seal(&mut table);
    start_segment(&mut table);
    lay(&mut table, 0, 1..1 + content.spans_of_first);
    for other in 1..=content.others {
        lay(&mut table, other, 0..content.spans_of_others);
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

/// Batches of one record, with a gap before each: so that each is a span of its own.
fn lay(table: &mut SegmentTable, number: u32, batches: std::ops::Range<u32>) {
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

/// The best of many rounds, which a busy machine disturbs least.
fn time_of_looks(table: &SegmentTable) -> Duration {
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

/// A hundred times as many spans are about a hundred times the work where each is looked at, and about the same where none is.
fn check(small: &Content, large: &Content) {
    let (small, large) = (time_of_looks(&table_of(small)), time_of_looks(&table_of(large)));
    assert!(large < small * 20, "{small:?} among few spans, {large:?} among a hundred times as many");
}

#[test]
fn a_look_does_not_take_longer_in_proportion_to_the_spans_of_10_000_partitions() {
    let content = |others| Content { spans_of_first: 8, others, spans_of_others: 8 };
    check(&content(100), &content(10_000));
}

#[test]
fn a_look_does_not_take_longer_in_proportion_to_what_a_partition_has_in_newer_segments() {
    let content = |spans_of_first| Content { spans_of_first, others: 10_000, spans_of_others: 1 };
    check(&content(100), &content(10_000));
}
