//! What an append waits for, and what it does not.

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::Told;
use super::requests::{Answers, batch, batch_of};
use crate::log::AppendFrontier;
use crate::shard::append_waits::AwaitedEnd;
use crate::shard::error::AppendError;
use crate::shard::partitions::LogVersion;
use crate::shard::request::Appended;
use crate::shard::waiting::WaitingAppend;

impl Driver {
    /// An append that waits for more than this shard writes, as where other replicas are behind.
    fn wait_for(&mut self, number: i32, end: i64) -> Answers<Appended, AppendError> {
        let (key, reply) = (self.key(number), self.reply());
        let frontier = AppendFrontier::HighWatermark;
        let append = WaitingAppend {
            ends: vec![AwaitedEnd { key, version: LogVersion::ZERO, frontier, end: Offset(end), batches: 1 }],
            results: vec![Ok(Appended { base_offset: Offset::ZERO, log_start: Offset::ZERO, duplicate_of: None })],
            reply: reply.clone(),
        };
        assert!(self.shard.waiting.push_append(append, &self.shard.partitions).is_none());
        reply
    }
}

#[test]
fn what_repeats_a_durable_batch_waits_for_nobody_else() {
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
fn what_repeats_a_batch_waits_for_that_one_and_not_for_what_came_after_it() {
    let mut driver = Driver::with(1, Setting::default());
    let first = driver.append_all(0, vec![batch_of(7)]);
    driver.turn();
    assert!(driver.begin_commit());
    let (newer, again) = (driver.append(0, &[1]), driver.append_all(0, vec![batch_of(7)]));
    driver.turn();
    assert!(!again.is_answered());
    driver.told.clear();
    driver.end_commit();
    assert_eq!(driver.told[1..], [Told::Answer(first.number), Told::Answer(again.number)]);
    assert!(driver.commit());
    assert!(newer.answer().unwrap()[0].is_ok());
}

#[test]
fn so_many_batches_wait_and_no_more() {
    let mut driver = Driver::with(2, Setting { waits_max: 4, ..Setting::default() });
    let taken = [driver.append(0, &[1, 1]), driver.append(1, &[1; 5])];
    let held_up = driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.turn();
    driver.end_commit();
    assert!(taken.iter().all(|answer| answer.answer().unwrap().iter().all(Result::is_ok)));
    assert!(driver.commit(), "it was not taken before");
    assert!(held_up.answer().unwrap()[0].is_ok());
    // What repeats others takes no room in a commit.
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
fn what_is_held_up_is_refused_when_the_log_fails() {
    let mut driver = Driver::with(1, Setting { waits_max: 1, ..Setting::default() });
    let (taken, held_up) = (driver.append(0, &[1]), driver.append(0, &[1]));
    driver.turn();
    assert!(driver.begin_commit());
    driver.fail_commit();
    driver.turn();
    assert!(taken.answer().unwrap()[0].is_err() && held_up.answer().unwrap()[0].is_err());
}

#[test]
fn what_is_held_up_is_refused_though_a_commit_is_in_flight_that_may_end_well() {
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
        driver.told.clear();
        driver.end_commit();
        assert_eq!(driver.told, [Told::Answer(appended.number)], "it has no readers to be told");
        driver.told.clear();
        assert!(driver.commit());
        assert_eq!(driver.told, [Told::Answer(gathered.number), Told::Closed(key), Told::Answer(deleted.number)]);
        assert!(appended.answer().unwrap()[0].is_ok() && gathered.answer().unwrap()[0].is_ok());
    }
}

#[test]
fn an_append_in_a_commit_that_still_ends_well_counts_though_the_close_after_it_was_refused() {
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
fn a_request_that_a_failure_takes_a_part_of_is_refused_once() {
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
        assert!(torn.answer().unwrap().iter().all(Result::is_err), "a part of it had gathered");
        assert!(whole.answer().unwrap()[0].is_err());
        // Its other part is durable.
        driver.end_commit();
        assert!(driver.restart().unwrap().on_disk(0).len() > 1);
    }
}

#[test]
fn whoever_waits_for_a_partition_that_is_gone_is_refused_before_another_has_its_place() {
    let mut driver = Driver::with(2, Setting::default());
    let key = driver.key(0);
    let (left, other) = (driver.wait_for(0, 3), driver.wait_for(1, 1));
    let deleted = driver.delete(&[0]);
    driver.turn();
    driver.told.clear();
    assert!(driver.begin_commit());
    driver.end_commit();
    assert_eq!(driver.told, [Told::Answer(left.number), Told::Closed(key), Told::Answer(deleted.number)]);
    assert_eq!(left.answer().unwrap()[..], [Err(AppendError::UnknownPartition)]);
    driver.open(&[2], 0);
    driver.settle();
    assert_eq!(driver.key(2).slot(), key.slot());
    driver.append(2, &[1; 3]);
    driver.settle();
    assert!(!other.is_answered());
    driver.append(1, &[1]);
    driver.settle();
    assert!(other.answer().unwrap()[0].is_ok());
}
