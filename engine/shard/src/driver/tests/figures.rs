//! What a shard says of itself, by the handle and by its metrics.

use std::time::Duration;

use rustmq_engine_api::ShardStatus;
use rustmq_model::ByteSize;

use super::by_hand::{ByHand, answer};
use crate::event::Event;
use crate::metrics::ShardLabels;

const SEGMENT: u64 = 1 << 20;

/// What is said, which is the same by both.
fn told(by_hand: &ByHand) -> ShardStatus {
    let (status, metrics) = (by_hand.status(), &by_hand.shard.around.metrics);
    let labels = ShardLabels { shard: 0 };
    let gauges = [&metrics.partitions, &metrics.full, &metrics.wal_bytes, &metrics.wal_used_bytes];
    let by_metrics = gauges.map(|gauge| gauge.get_or_create(&labels).get());
    assert_eq!(by_metrics, [status.partitions, u64::from(status.full), status.wal_bytes, status.wal_used_bytes]);
    status
}

fn segments(by_hand: &ByHand) -> u64 {
    by_hand.shard.machine.table().segment_count() as u64
}

#[test]
fn a_commit_tells_what_it_changed() {
    let mut by_hand = ByHand::new(3, |_| {});
    assert_eq!(told(&by_hand).partitions, 3);
    let metrics = by_hand.shard.around.metrics.clone();
    let counted = || {
        let (batches, bytes) = (metrics.appended_batches.get(), metrics.appended_bytes.get());
        (batches, bytes, metrics.commits.get(), metrics.committed_bytes.get())
    };
    let (_, _, commits, committed) = counted();
    let appended = by_hand.append(0, &[100, 200]);
    let deleted = by_hand.delete(2);
    by_hand.turn();
    let work = by_hand.shard.start_commit().unwrap();
    let (staged, ..) = counted();
    assert_eq!(staged, 2, "what is staged counts before its commit, which may fail");
    assert_eq!((metrics.commits.get(), metrics.committed_bytes.get()), (commits, committed));
    let written: usize = work.steps.iter().map(rustmq_engine_core::shard::DiskStep::written).sum();
    let (number, result) = (work.number, by_hand.disk.execute_here(work));
    by_hand.shard.on_committed(number, result);
    assert!(answer(appended).iter().all(Result::is_ok) && answer(deleted)[0].is_ok());
    let bytes = by_hand.reader(0).size_bytes();
    assert_eq!(counted(), (2, bytes, commits + 1, committed + written as u64));
    assert_eq!(told(&by_hand).partitions, 2);
    assert!(!told(&by_hand).full);
}

#[test]
fn a_full_log_is_told_and_that_it_is_full_no_more() {
    let mut by_hand = ByHand::new(1, |config| config.capacity = ByteSize::mib(8));
    by_hand.fill_with(0);
    let full = told(&by_hand);
    assert!(full.full);
    assert_eq!(full.wal_used_bytes, segments(&by_hand) * SEGMENT);
    drop(by_hand.trim(0));
    by_hand.settle();
    let freed = told(&by_hand);
    assert!(!freed.full, "of {} segments {} are left", full.wal_used_bytes / SEGMENT, segments(&by_hand));
    assert_eq!(freed.wal_used_bytes, segments(&by_hand) * SEGMENT);
    assert!(freed.wal_used_bytes < full.wal_used_bytes);
}

#[test]
fn slots_are_told_when_they_are_held() {
    let mut by_hand = ByHand::new(1, |_| {});
    by_hand.keep_events();
    let mut reserved = 0;
    while reserved < 3 {
        drop(by_hand.append(0, &[400_000]));
        by_hand.turn();
        if by_hand.commit() {
            continue;
        }
        // It waits for a segment.
        let before = told(&by_hand).wal_bytes;
        let event = by_hand.next_event();
        let added = u64::from(matches!(event, Event::SlotReserved { .. }));
        by_hand.shard.on_event(event);
        assert_eq!(told(&by_hand).wal_bytes, before + added * SEGMENT);
        assert_eq!(told(&by_hand).wal_bytes, by_hand.shard.files.len() as u64 * SEGMENT);
        reserved += added;
    }
}

#[test]
fn a_segment_that_a_reader_held_is_told_to_be_free_soon_after() {
    let mut by_hand = ByHand::new(1, |config| config.capacity = ByteSize::mib(8));
    drop(by_hand.append(0, &[10]));
    by_hand.settle();
    by_hand.fill_with(0);
    let oldest = by_hand.shard.machine.table().generations().next().unwrap();
    let held = by_hand.shard.machine.table().shared().hold(oldest);
    drop(by_hand.trim(0));
    by_hand.settle();
    by_hand.turn();
    let full = told(&by_hand);
    assert!(full.full, "nothing is freed before the oldest segment");
    drop(held);
    by_hand.pass(Duration::from_millis(20));
    by_hand.turn();
    let freed = told(&by_hand);
    assert_eq!(freed.wal_used_bytes, segments(&by_hand) * SEGMENT);
    assert!(freed.wal_used_bytes < full.wal_used_bytes);
    assert_eq!(
        by_hand.shard.around.metrics.freed_segments.get(),
        (full.wal_used_bytes - freed.wal_used_bytes) / SEGMENT
    );
}
