//! Moves that are under way when their log is cut back: the same offsets stand for other bytes then.

use rustmq_model::Offset;

use super::driver::{AskedMove, Driver, Setting};
use super::requests::{batch, id};
use crate::shard::Fact;
use crate::shard::request::{CutTo, TrimTo};

/// The only batch of partition 0 is to be moved.
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

/// The log of partition 0 is dropped, and starts again where it was.
fn cut(driver: &mut Driver) {
    driver.cut(0, CutTo::EmptyAt(Offset(0)));
    driver.turn();
}

fn stale(driver: &Driver) -> usize {
    driver.facts.iter().filter(|fact| matches!(fact, Fact::StaleChange { id: of } if *of == id(0))).count()
}

/// What was appended since is in the log, and nothing else.
fn check(mut driver: Driver) {
    assert_eq!((stale(&driver), driver.on_disk(0)), (1, vec![batch(77).len()]));
    assert_eq!(driver.restart().unwrap().on_disk(0), [batch(77).len()]);
}

#[test]
fn a_move_that_was_staged_before_a_cut_does_not_take_the_place_of_what_was_appended_after_it() {
    let (mut driver, asked) = moving();
    let read = driver.slots.read(&asked.read, &asked.plan.location);
    driver.end_move(asked, read);
    // Into another segment than what is appended.
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
fn what_was_read_to_be_moved_before_a_cut_is_not_written_after_it() {
    let (mut driver, asked) = moving();
    let read = driver.slots.read(&asked.read, &asked.plan.location);
    cut(&mut driver);
    driver.end_move(asked, read);
    driver.settle();
    driver.append(0, &[77]);
    driver.settle();
    check(driver);
}
