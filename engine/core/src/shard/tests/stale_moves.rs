//! Moves under way when their log is cut: the same offsets then name other bytes.

use rustmq_model::Offset;

use super::driver::{AskedMove, Driver, Setting};
use super::requests::{batch, id};
use crate::shard::Fact;
use crate::shard::request::{CutTo, TrimTo};

/// A shard that is moving the only batch of partition 0.
fn moving() -> (Driver, AskedMove) {
    let mut driver = Driver::with(2, Setting { blocks: 64, segments_max: 10, ..Setting::default() });
    driver.append(0, &[3_000]);
    driver.settle();
    loop {
        driver.turn();
        if let Some(asked) = driver.moves.pop() {
            assert_eq!(asked.read.id, id(0));
            return (driver, asked);
        }
        if driver.begin_commit() {
            driver.end_commit();
        } else {
            driver.append(1, &[4_000]);
            driver.trim(1, TrimTo::HighWatermark);
        }
    }
}

/// Resets the log of partition 0 to its start.
fn cut(driver: &mut Driver) {
    driver.cut(0, CutTo::EmptyAt(Offset(0)));
    driver.turn();
}

fn stale(driver: &Driver) -> usize {
    driver.facts.iter().filter(|fact| matches!(fact, Fact::StaleChange { id: of } if *of == id(0))).count()
}

/// Checks that the log has the batch appended after the cut, and no other.
fn check(mut driver: Driver) {
    assert_eq!((stale(&driver), driver.on_disk(0)), (1, vec![batch(77).len()]));
    assert_eq!(driver.restart().unwrap().on_disk(0), [batch(77).len()]);
}

#[test]
fn a_move_staged_before_a_cut_does_not_replace_a_batch_appended_after_it() {
    let (mut driver, asked) = moving();
    let read = driver.slots.read(&asked.read, &asked.plan.location);
    driver.end_move(asked, read);
    // The move goes into another segment than the appended batch.
    let count = driver.shard.table().segment_count();
    while driver.shard.table().segment_count() == count {
        driver.append(1, &[4_000]);
        driver.turn();
    }
    cut(&mut driver);
    driver.settle();
    driver.append(0, &[77]);
    driver.settle();
    check(driver);
}

#[test]
fn batches_read_for_a_move_before_a_cut_are_not_written_after_it() {
    let (mut driver, asked) = moving();
    let read = driver.slots.read(&asked.read, &asked.plan.location);
    cut(&mut driver);
    driver.end_move(asked, read);
    driver.settle();
    driver.append(0, &[77]);
    driver.settle();
    check(driver);
}
