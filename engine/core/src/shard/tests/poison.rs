//! What a failure takes back, and what it does not.

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::{Reply, Told};
use crate::shard::error::AppendError;
use crate::shard::request::Appended;

fn is_refused(reply: &Reply<Vec<Result<Appended, AppendError>>>) -> bool {
    reply
        .answer()
        .is_some_and(|results| results.iter().all(|result| matches!(result, Err(AppendError::Storage { .. }))))
}

#[test]
fn the_failure_is_told_first_then_those_who_had_gathered_then_those_of_the_commit() {
    let mut driver = Driver::with(2, Setting::default());
    let other = driver.key(1);
    let failed = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    let (gathered, deleted) = (driver.append(1, &[1]), driver.delete(&[1]));
    driver.turn();
    driver.told.clear();
    driver.fail_commit();
    let numbers = [gathered.number, deleted.number, failed.number].map(Told::Answer);
    assert_eq!(driver.told, [Told::Poison, numbers[0], Told::Closed(other), numbers[1], numbers[2]]);
    assert!(is_refused(&gathered) && is_refused(&failed));
    assert!(deleted.answer().unwrap()[0].is_err());
    let mut driver = driver.restart().unwrap();
    assert_eq!((driver.on_disk(0).len(), driver.on_disk(1).len()), (0, 0));
}

#[test]
fn a_commit_that_was_in_flight_at_a_failure_still_counts() {
    let mut driver = Driver::with(1, Setting::default());
    let written = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    let gathered = driver.append(0, &[1]);
    driver.turn();
    driver.told.clear();
    driver.lose_preparations();
    assert_eq!(driver.told, [Told::Poison, Told::Answer(gathered.number)]);
    assert!(is_refused(&gathered) && !written.is_answered());
    driver.end_commit();
    assert_eq!(driver.told[2..], [Told::Batches(driver.key(0), Offset(1)), Told::Answer(written.number)]);
    assert!(written.answer().unwrap()[0].is_ok());
    let later = driver.append(0, &[1]);
    driver.turn();
    assert!(is_refused(&later) && !driver.begin_commit());
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 1);
}

#[test]
fn a_sync_that_fails_beside_a_commit_takes_it_along_however_it_ends() {
    let mut driver = Driver::with(1, Setting::default());
    let written = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.told.clear();
    driver.fail_sync();
    assert_eq!(driver.told, [Told::Poison, Told::Answer(written.number)]);
    assert!(is_refused(&written));
    driver.end_commit();
    driver.turn();
    assert_eq!((driver.told.len(), driver.shown(0).frontiers.durable_end), (2, Offset(0)));
    driver.close();
    driver.settle();
    driver.finish();
}

#[test]
fn a_request_of_which_a_part_was_written_is_refused_as_a_whole() {
    let mut driver = Driver::with(1, Setting { gathered_bytes_max: 4_096, ..Setting::default() });
    let answer = driver.append(0, &[1_000; 10]);
    assert!(driver.commit());
    driver.turn();
    assert!(driver.begin_commit());
    driver.fail_commit();
    assert!(!answer.is_answered());
    driver.turn();
    assert!(is_refused(&answer));
    assert_eq!(answer.answer().unwrap().len(), 10);
}

#[test]
fn nothing_more_is_written_after_a_failure() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.fail_commit();
    // Whatever stages a frame yet.
    driver.shard.staging.gathering_mut().stage_proof().unwrap();
    driver.turn();
    assert!(!driver.begin_commit());
}
