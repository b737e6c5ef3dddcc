//! The effects of a failure.

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::{Event, Reply};
use crate::shard::error::AppendError;
use crate::shard::request::Appended;

fn is_refused(reply: &Reply<Vec<Result<Appended, AppendError>>>) -> bool {
    reply
        .answer()
        .is_some_and(|results| results.iter().all(|result| matches!(result, Err(AppendError::Storage { .. }))))
}

#[test]
fn a_failure_is_published_first_then_gathered_requests_are_refused_then_those_of_the_commit() {
    let mut driver = Driver::with(2, Setting::default());
    let other = driver.key(1);
    let failed = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    let (gathered, deleted) = (driver.append(1, &[1]), driver.delete(&[1]));
    driver.turn();
    driver.events.clear();
    driver.fail_commit();
    let numbers = [gathered.number, deleted.number, failed.number].map(Event::Answer);
    assert_eq!(driver.events, [Event::Poison, numbers[0], Event::Closed(other), numbers[1], numbers[2]]);
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
    driver.events.clear();
    driver.lose_preparations();
    assert_eq!(driver.events, [Event::Poison, Event::Answer(gathered.number)]);
    assert!(is_refused(&gathered) && !written.is_answered());
    driver.end_commit();
    assert_eq!(driver.events[2..], [Event::Batches(driver.key(0), Offset(1)), Event::Answer(written.number)]);
    assert!(written.answer().unwrap()[0].is_ok());
    let later = driver.append(0, &[1]);
    driver.turn();
    assert!(is_refused(&later) && !driver.begin_commit());
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 1);
}

#[test]
fn a_failed_sync_outside_a_commit_makes_the_commit_fail_however_it_ends() {
    let mut driver = Driver::with(1, Setting::default());
    let written = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.events.clear();
    driver.fail_sync();
    assert_eq!(driver.events, [Event::Poison, Event::Answer(written.number)]);
    assert!(is_refused(&written));
    driver.end_commit();
    driver.turn();
    assert_eq!((driver.events.len(), driver.shown(0).frontiers.durable_end), (2, Offset(0)));
    driver.close();
    driver.settle();
    driver.finish();
}

#[test]
fn a_partly_written_request_is_refused_as_a_whole() {
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
fn no_frame_is_written_after_a_failure() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.fail_commit();
    // Even if a frame is staged after the failure.
    driver.shard.staging.builder_mut().stage_proof().unwrap();
    assert!(!driver.begin_commit());
}
