//! A shard's figures, in the status of the handle and in the metrics.

use std::time::Duration;

use rustmq_engine_api::ShardStatus;
use rustmq_model::ByteSize;

use super::manual_shard::{ManualShard, answer};
use crate::event::Event;
use crate::metrics::ShardLabels;

const SEGMENT: u64 = 1 << 20;

/// The status, after checking that the metrics agree with it.
fn reported(shard: &ManualShard) -> ShardStatus {
    let (status, metrics) = (shard.status(), &shard.driver.services.metrics);
    let labels = ShardLabels { shard: 0 };
    let gauges = [&metrics.partitions, &metrics.full, &metrics.wal_bytes, &metrics.wal_used_bytes];
    let by_metrics = gauges.map(|gauge| gauge.get_or_create(&labels).get());
    assert_eq!(by_metrics, [status.partitions, u64::from(status.full), status.wal_bytes, status.wal_used_bytes]);
    status
}

fn segments(shard: &ManualShard) -> u64 {
    shard.driver.machine.table().segment_count() as u64
}

#[test]
fn a_commit_reports_its_changes() {
    let mut shard = ManualShard::new(3, |_| {});
    assert_eq!(reported(&shard).partitions, 3);
    let metrics = shard.driver.services.metrics.clone();
    let counted = || {
        let (batches, bytes) = (metrics.appended_batches.get(), metrics.appended_bytes.get());
        (batches, bytes, metrics.commits.get(), metrics.committed_bytes.get())
    };
    let (_, _, commits, committed) = counted();
    let appended = shard.append(0, &[100, 200]);
    let deleted = shard.delete(2);
    shard.turn();
    let work = shard.driver.start_commit().unwrap();
    let (staged, ..) = counted();
    assert_eq!(staged, 2, "staged batches count before their commit, which may fail");
    assert_eq!((metrics.commits.get(), metrics.committed_bytes.get()), (commits, committed));
    let written: usize = work.steps.iter().map(rustmq_engine_core::shard::DiskStep::written).sum();
    let (number, result) = (work.number, shard.disk.execute_here(work));
    shard.driver.on_committed(number, result);
    assert!(answer(appended).iter().all(Result::is_ok) && answer(deleted)[0].is_ok());
    let bytes = shard.reader(0).size_bytes();
    assert_eq!(counted(), (2, bytes, commits + 1, committed + written as u64));
    assert_eq!(reported(&shard).partitions, 2);
    assert!(!reported(&shard).full);
}

#[test]
fn a_full_log_is_reported_and_so_is_its_recovery() {
    let mut shard = ManualShard::new(1, |config| config.capacity = ByteSize::mib(8));
    shard.fill_with(0);
    let full = reported(&shard);
    assert!(full.full);
    assert_eq!(full.wal_used_bytes, segments(&shard) * SEGMENT);
    drop(shard.trim(0));
    shard.settle();
    let freed = reported(&shard);
    assert!(!freed.full, "{} segments were in use, {} are left", full.wal_used_bytes / SEGMENT, segments(&shard));
    assert_eq!(freed.wal_used_bytes, segments(&shard) * SEGMENT);
    assert!(freed.wal_used_bytes < full.wal_used_bytes);
}

#[test]
fn slots_are_reported_when_they_are_reserved() {
    let mut shard = ManualShard::new(1, |_| {});
    shard.keep_events();
    let mut reserved = 0;
    while reserved < 3 {
        drop(shard.append(0, &[400_000]));
        shard.turn();
        if shard.commit() {
            continue;
        }
        // The appends wait for a segment.
        let before = reported(&shard).wal_bytes;
        let event = shard.next_event();
        let added = u64::from(matches!(event, Event::SlotReserved { .. }));
        shard.driver.on_event(event);
        assert_eq!(reported(&shard).wal_bytes, before + added * SEGMENT);
        assert_eq!(reported(&shard).wal_bytes, shard.driver.files.len() as u64 * SEGMENT);
        reserved += added;
    }
}

#[test]
fn a_segment_is_reported_free_soon_after_its_reader_drops_it() {
    let mut shard = ManualShard::new(1, |config| config.capacity = ByteSize::mib(8));
    drop(shard.append(0, &[10]));
    shard.settle();
    shard.fill_with(0);
    let oldest = shard.driver.machine.table().generations().next().unwrap();
    let held = shard.driver.machine.table().shared().hold(oldest);
    drop(shard.trim(0));
    shard.settle();
    shard.turn();
    let full = reported(&shard);
    assert!(full.full, "nothing is freed before the oldest segment");
    drop(held);
    shard.pass(Duration::from_millis(20));
    shard.turn();
    let freed = reported(&shard);
    assert_eq!(freed.wal_used_bytes, segments(&shard) * SEGMENT);
    assert!(freed.wal_used_bytes < full.wal_used_bytes);
    assert_eq!(
        shard.driver.services.metrics.freed_segments.get(),
        (full.wal_used_bytes - freed.wal_used_bytes) / SEGMENT
    );
}
