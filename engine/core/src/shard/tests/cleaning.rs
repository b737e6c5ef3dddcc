//! Full logs are freed by moving live data out of their oldest segment.

use std::time::Duration;

use bytes::Bytes;
use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::requests::{batch, id};
use crate::shard::error::ReadError;
use crate::shard::request::{ColdRead, TrimTo};
use crate::shard::{Fact, MoveError, NoPlan};
use crate::tagged_fields::tests::tagged_field;
use crate::wal::ReadRange;
use crate::wal::segments::Located;

const LIVE_SIZE: usize = 30_000;

/// A full log. In its oldest segment only the batches of partitions 0 and 2 are live, and the read
/// of partition 0's batch is requested.
fn full() -> Driver {
    let mut driver = Driver::with(3, Setting { blocks: 256, segments_max: 10, ..Setting::default() });
    driver.append(0, &[LIVE_SIZE]);
    driver.append(2, &[LIVE_SIZE]);
    driver.settle();
    while !driver.shard.table().is_full() {
        driver.append(1, &[50_000]);
        driver.settle();
    }
    driver.trim(1, TrimTo::HighWatermark);
    assert!(driver.commit());
    driver.turn();
    assert_eq!(driver.moves.iter().map(|requested| requested.read.id).collect::<Vec<_>>(), [id(0)]);
    driver
}

fn freed(driver: &Driver) -> u64 {
    driver.facts.iter().map(|fact| if let Fact::SegmentsFreed { count } = fact { *count } else { 0 }).sum()
}

/// Commits everything staged, and serves no read.
fn commit_all(driver: &mut Driver) {
    while driver.begin_commit() {
        driver.end_commit();
        assert!(driver.moves.is_empty());
        driver.turn();
    }
}

#[test]
fn a_full_log_is_freed_by_moving_live_batches() {
    let mut driver = full();
    assert!(driver.shard.table().is_full());
    driver.settle();
    assert!(freed(&driver) > 0 && !driver.shard.table().is_full());
    for number in [0, 2] {
        assert_eq!(driver.on_disk(number), [batch(LIVE_SIZE).len()]);
    }
    let end = driver.shown(1).frontiers.durable_end;
    let mut driver = driver.restart().unwrap();
    for number in [0, 2] {
        assert_eq!(driver.on_disk(number), [batch(LIVE_SIZE).len()]);
    }
    assert_eq!((driver.shown(1).frontiers.log_start, driver.shown(1).frontiers.durable_end), (end, end));
}

#[test]
fn parts_that_a_later_build_wrote_after_a_batch_move_with_it() {
    let mut driver = full();
    let requested = driver.moves.remove(0);
    let stored = driver.slots.read(&requested.read, &requested.plan.location).unwrap();
    let with_field = Bytes::from([&stored[0][..], &tagged_field(9, b"of the tier")].concat());
    let read = requested.read;
    driver.end_move(requested, Ok(vec![with_field.clone()]));
    // It moves again when its present segment is the oldest.
    let mut seen = Vec::new();
    for _ in 0..2 {
        driver.settle();
        let read = ColdRead { until: driver.shown(0).frontiers.durable_end, ..read };
        let range = ReadRange { from: read.from, until: read.until, bytes: read.max_bytes };
        let located = driver.shard.table().locate(read.id, range);
        let Some(Located::Batches(location)) = located else { panic!("{read} is in the log") };
        seen.push(location.generation);
        assert_eq!(driver.slots.read(&read, &location), Ok(vec![with_field.clone()]));
        while driver.shard.table().generations().next() < Some(location.generation) {
            driver.append(1, &[50_000]);
            driver.settle();
            driver.trim(1, TrimTo::HighWatermark);
            driver.settle();
        }
        while !driver.shard.table().is_full() {
            driver.append(1, &[50_000]);
            driver.settle();
        }
        driver.trim(1, TrimTo::HighWatermark);
    }
    assert!(seen[0] < seen[1], "{seen:?}");
}

#[test]
fn a_move_that_cannot_continue_is_tried_again_by_the_clock() {
    let mut driver = full();
    let requested = driver.moves.pop().unwrap();
    // A check during the read has no effect and leaves none scheduled.
    commit_all(&mut driver);
    driver.turn_in(Duration::from_secs(2));
    assert!(driver.moves.is_empty() && !driver.begin_commit());
    let read = requested.read;
    driver.end_move(requested, Err(MoveError::Later { reason: "there is no memory".to_owned() }));
    driver.turn();
    // There is no commit to wait for.
    assert!(driver.moves.is_empty() && !driver.begin_commit());
    assert_eq!(driver.shard.poll_timeout(), driver.now.at.plus(Duration::from_secs(1)));
    driver.turn_in(Duration::from_secs(1));
    assert_eq!(driver.moves[0].read, read);
    driver.settle();
    assert!(freed(&driver) > 0);
}

#[test]
fn a_move_of_a_deleted_partition_is_dropped() {
    let mut driver = full();
    let first = driver.moves.pop().unwrap();
    let read = driver.slots.read(&first.read, &first.plan.location);
    assert!(read.is_ok());
    commit_all(&mut driver);
    driver.delete(&[0]);
    driver.open(&[0], 9);
    driver.append(0, &[77]);
    assert!(driver.commit());
    driver.turn();
    // The next move does not wait for it.
    let second = driver.moves.pop().unwrap();
    assert_eq!(second.read.id, id(2));
    commit_all(&mut driver);
    driver.end_move(first, read);
    driver.turn();
    assert!(!driver.begin_commit(), "its batches are dropped");
    let freed_before = freed(&driver);
    let read = driver.slots.read(&second.read, &second.plan.location);
    driver.end_move(second, read);
    driver.settle();
    assert!(freed(&driver) > freed_before);
    let mut driver = driver.restart().unwrap();
    assert_eq!(driver.on_disk(0), [batch(77).len()]);
    assert_eq!(driver.on_disk(2), [batch(LIVE_SIZE).len()]);
}

#[test]
fn a_segment_that_is_being_read_is_freed_soon_after() {
    let mut driver = full();
    let requested = driver.moves.pop().unwrap();
    driver.delete(&[0, 2]);
    driver.settle();
    let freed_before = freed(&driver);
    driver.turn_in(Duration::from_secs(1));
    assert_eq!(freed(&driver), freed_before, "a reader holds the segment");
    let checks_again = driver.shard.poll_timeout();
    assert!(checks_again <= driver.now.at.plus(Duration::from_millis(20)));
    drop(requested);
    driver.turn_in(Duration::from_millis(20));
    assert!(freed(&driver) > freed_before);
    assert!(driver.shard.poll_timeout() > driver.now.at.plus(Duration::from_millis(20)), "no reader is waited for");
}

#[test]
fn unreadable_batches_are_marked_and_hold_up_no_others() {
    let mut driver = full();
    let requested = driver.moves.pop().unwrap();
    driver.end_move(requested, Err(MoveError::Damaged { until: Offset(1), reason: "checksum".to_owned() }));
    driver.settle();
    let is_marked = |fact: &Fact| matches!(fact, Fact::RangeDamaged { id: of, first: Offset(0), end: Offset(1), .. } if *of == id(0));
    assert_eq!(driver.facts.iter().filter(|fact| is_marked(fact)).count(), 1);
    assert!(freed(&driver) > 0);
    let mut driver = driver.restart().unwrap();
    let planned = driver.plan_read(0, Offset(0), Offset(1));
    let marked = ReadError::Damaged { first: Offset(0), end: Offset(1) };
    assert_eq!(planned.map(|_| ()), Err(NoPlan::Refused(marked)));
    assert_eq!(driver.on_disk(2), [batch(LIVE_SIZE).len()]);
}

#[test]
fn batches_in_flight_are_not_moved() {
    let mut driver = Driver::with(2, Setting { blocks: 64, segments_max: 6, ..Setting::default() });
    let fill = |driver: &mut Driver, segments: usize| {
        while driver.shard.table().segment_count() < segments {
            driver.append(1, &[4_000]);
            driver.settle();
        }
        driver.trim(1, TrimTo::HighWatermark);
        driver.settle();
    };
    // The older of two segments is freed, and the newer one is mostly dead.
    fill(&mut driver, 2);
    assert_eq!(driver.shard.table().segment_count(), 1);
    driver.append(1, &[4_000; 4]);
    driver.settle();
    driver.trim(1, TrimTo::HighWatermark);
    driver.settle();
    driver.append(0, &[3_000; 3]);
    driver.turn();
    assert!(driver.begin_commit());
    assert!(driver.shard.table().segment_count() == 2 && driver.shard.table().is_full());
    assert_eq!(driver.shard.table().relocation(), None, "its commit is in flight");
    driver.end_commit();
    driver.turn();
    assert_eq!(
        driver.moves.iter().map(|requested| requested.read.id).collect::<Vec<_>>(),
        [id(0)],
        "the commit is durable"
    );
    driver.settle();
    assert_eq!(driver.on_disk(0), [batch(3_000).len(); 3]);
}

#[test]
fn durable_batches_are_moved_after_a_commit_that_ends_with_a_segments_header() {
    // So small a limit that the commit that seals the older segment ends there, with a proof.
    let setting = Setting { blocks: 64, segments_max: 6, gathered_bytes_max: 3_800, ..Setting::default() };
    let mut driver = Driver::with(2, setting);
    let append_dead = |driver: &mut Driver, count: usize| {
        for _ in 0..count {
            driver.append(1, &[4_000]);
            driver.settle();
        }
        driver.trim(1, TrimTo::HighWatermark);
        driver.settle();
    };
    while driver.shard.table().segment_count() < 2 {
        driver.append(1, &[4_000]);
        driver.settle();
    }
    append_dead(&mut driver, 4);
    driver.append(0, &[3_000; 4]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.end_commit();
    let table = driver.shard.table();
    let proof_end = table.shape().first_group() + table.shape().block_size();
    assert_eq!((table.segment_count(), table.durable().offset), (2, proof_end), "only a proof is in the new segment");
    assert_eq!(Some(table.durable()), table.next_position());
    driver.turn();
    assert_eq!(driver.moves.len(), 1);
}
