//! The waits of appends.

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::Event;
use super::requests::{batch, batch_of};
use crate::log::{AppendFrontier, Replicas};
use crate::shard::error::AppendError;

#[test]
fn a_repeated_durable_batch_does_not_wait_for_others() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append_all(0, vec![batch_of(7)]);
    assert!(driver.commit());
    let other = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    let again = driver.append_all(0, vec![batch_of(7)]);
    driver.turn();
    assert_eq!(again.answer().unwrap()[0].as_ref().unwrap().base_offset, Offset(0));
    assert!(!other.is_answered());
}

#[test]
fn a_repeated_batch_waits_for_its_original_and_not_for_later_batches() {
    let mut driver = Driver::with(1, Setting::default());
    let first = driver.append_all(0, vec![batch_of(7)]);
    driver.turn();
    assert!(driver.begin_commit());
    let (newer, again) = (driver.append(0, &[1]), driver.append_all(0, vec![batch_of(7)]));
    driver.turn();
    assert!(!again.is_answered());
    driver.events.clear();
    driver.end_commit();
    assert_eq!(driver.events[1..], [Event::Answer(first.number), Event::Answer(again.number)]);
    assert!(driver.commit());
    assert!(newer.answer().unwrap()[0].is_ok());
}

#[test]
fn a_bounded_number_of_batches_waits() {
    let mut driver = Driver::with(2, Setting { waits_max: 4, ..Setting::default() });
    let taken = [driver.append(0, &[1, 1]), driver.append(1, &[1; 5])];
    let held_up = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.turn();
    driver.end_commit();
    assert!(taken.iter().all(|answer| answer.answer().unwrap().iter().all(Result::is_ok)));
    assert!(driver.commit(), "the append was held up before");
    assert!(held_up.answer().unwrap()[0].is_ok());
    // Repeated batches take no room in a commit.
    let first = driver.append_all(0, vec![batch_of(7)]);
    let again: Vec<_> = (0..9).map(|_| driver.append_all(0, vec![batch_of(7)])).collect();
    driver.turn();
    assert!(driver.begin_commit());
    driver.turn();
    driver.end_commit();
    assert!(first.is_answered());
    assert_eq!(again.iter().filter(|answer| answer.is_answered()).count(), 3);
    driver.turn();
    assert!(again.iter().all(|answer| answer.answer().unwrap()[0].is_ok()));
}

#[test]
fn appends_that_are_held_up_are_refused_when_the_log_fails() {
    let mut driver = Driver::with(1, Setting { waits_max: 1, ..Setting::default() });
    let (taken, held_up) = (driver.append(0, &[1]), driver.append(0, &[1]));
    driver.turn();
    assert!(driver.begin_commit());
    driver.fail_commit();
    driver.turn();
    assert!(taken.answer().unwrap()[0].is_err() && held_up.answer().unwrap()[0].is_err());
}

#[test]
fn appends_that_are_held_up_are_refused_though_a_commit_in_flight_may_succeed() {
    let mut driver = Driver::with(1, Setting { waits_max: 1, ..Setting::default() });
    let (taken, held_up) = (driver.append(0, &[1]), driver.append(0, &[1]));
    driver.turn();
    assert!(driver.begin_commit());
    driver.lose_preparations();
    driver.turn();
    assert!(held_up.answer().unwrap()[0].is_err() && !taken.is_answered());
}

#[test]
fn an_append_to_a_partition_that_is_closed_after_it_is_answered_before_the_close() {
    for until in AppendFrontier::ALL {
        let mut driver = Driver::with(1, Setting { until, ..Setting::default() });
        let key = driver.key(0);
        let appended = driver.append(0, &[1]);
        driver.turn();
        assert!(driver.begin_commit());
        let (gathered, deleted) = (driver.append(0, &[1]), driver.delete(&[0]));
        driver.turn();
        driver.events.clear();
        driver.end_commit();
        assert_eq!(driver.events, [Event::Answer(appended.number)], "the closed partition has no readers");
        driver.events.clear();
        assert!(driver.commit());
        assert_eq!(driver.events, [Event::Answer(gathered.number), Event::Closed(key), Event::Answer(deleted.number)]);
        assert!(appended.answer().unwrap()[0].is_ok() && gathered.answer().unwrap()[0].is_ok());
    }
}

#[test]
fn an_append_in_a_commit_that_succeeds_counts_though_the_close_after_it_was_refused() {
    for until in AppendFrontier::ALL {
        let mut driver = Driver::with(1, Setting { until, ..Setting::default() });
        let appended = driver.append(0, &[1]);
        driver.turn();
        assert!(driver.begin_commit());
        let deleted = driver.delete(&[0]);
        driver.turn();
        driver.lose_preparations();
        assert!(deleted.answer().unwrap()[0].is_err() && !appended.is_answered());
        driver.end_commit();
        assert!(appended.answer().unwrap()[0].is_ok());
    }
}

#[test]
fn a_request_that_loses_a_part_to_a_failure_is_refused_once() {
    for until in AppendFrontier::ALL {
        let mut driver = Driver::with(2, Setting { gathered_bytes_max: 4_096, until, ..Setting::default() });
        let torn = driver.append_all(0, (0..5).map(|_| batch(1_000)).collect());
        driver.turn();
        assert!(driver.begin_commit());
        driver.turn();
        assert!(!torn.is_answered());
        let whole = driver.append(1, &[1]);
        driver.turn();
        driver.lose_preparations();
        assert!(torn.answer().unwrap().iter().all(Result::is_err), "a part of the request had gathered");
        assert!(whole.answer().unwrap()[0].is_err());
        // The other part is durable.
        driver.end_commit();
        assert!(driver.restart().unwrap().on_disk(0).len() > 1);
    }
}

#[test]
fn appends_to_a_closed_partition_are_refused_before_another_one_has_its_slot() {
    let setting = Setting { replicas: Replicas::Several, until: AppendFrontier::HighWatermark, ..Setting::default() };
    let mut driver = Driver::with(2, setting);
    let key = driver.key(0);
    let (left, other) = (driver.append(0, &[1]), driver.append(1, &[1]));
    driver.settle();
    assert!(!left.is_answered() && !other.is_answered(), "no other replica has acknowledged them");
    let deleted = driver.delete(&[0]);
    driver.turn();
    driver.events.clear();
    assert!(driver.begin_commit());
    driver.end_commit();
    assert_eq!(driver.events, [Event::Answer(left.number), Event::Closed(key), Event::Answer(deleted.number)]);
    assert_eq!(left.answer().unwrap()[..], [Err(AppendError::UnknownPartition)]);
    driver.open(&[2], 0);
    driver.settle();
    assert_eq!(driver.key(2).slot(), key.slot());
    driver.append(2, &[1; 3]);
    driver.settle();
    driver.acknowledge(2, 3);
    assert!(!other.is_answered());
    driver.acknowledge(1, 1);
    assert!(other.answer().unwrap()[0].is_ok());
}
