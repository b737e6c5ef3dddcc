//! A producer whose epochs are used up.

use std::time::Duration;

use rustmq_model::TransactionEnd::{Abort, Commit};
use rustmq_model::{ProducerId, TransactionVersion};

use crate::transactions::error::TransactionError;
use crate::transactions::scenario::{Scenario, key};
use crate::transactions::state::TransactionState;
use crate::transactions::task::TransactionTaskResult;

const LAST: i16 = i16::MAX - 1;

#[test]
fn a_producer_at_the_last_epoch_gets_a_new_id_and_may_repeat_its_request() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    assert_eq!(last, key(1000, LAST));
    assert_eq!(it.initialize("a", Some(last)), Some(Ok(key(1001, 0))));
    it.reload();
    assert_eq!(it.initialize("a", Some(last)), Some(Ok(key(1001, 0))), "repeated");
    assert_eq!(it.add("a", last, &[0]), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.add("a", key(1001, 0), &[0]), Some(Ok(())));
    assert_eq!(it.initialize("a", Some(last)), Some(Err(TransactionError::ProducerFenced)));
}

#[test]
fn an_end_at_the_last_epoch_gives_the_new_id_with_the_decision() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    it.add("a", last, &[0]);
    it.are_tasks_fast = false;
    let token = it.ask_to_end("a", last, Commit, TransactionVersion::V2);
    it.run();
    assert_eq!(it.ended(token), Some(Ok(key(1001, 0))));
    let adding = it.ask_to_add("a", key(1001, 0), &[1]);
    for _ in 0..2 {
        assert_eq!(it.end("a", last, Commit), Some(Ok(key(1001, 0))), "repeated");
    }
    assert_eq!(it.add("a", key(1000, i16::MAX), &[0]), Some(Err(TransactionError::ProducerFenced)));
    it.run();
    assert_eq!(it.markers.last().unwrap().0.producer, key(1000, i16::MAX));
    assert_eq!(it.added(adding), Some(Ok(())), "it knew its id before the markers were written");
    assert_eq!(it.describe("a").producer, key(1001, 0));
}

#[test]
fn a_repeated_end_at_the_last_epoch_gets_the_new_id_after_a_load() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    it.add("a", last, &[0]);
    assert_eq!(it.end("a", last, Abort), Some(Ok(key(1001, 0))));
    it.reload();
    assert_eq!(it.end("a", last, Abort), Some(Ok(key(1001, 0))));
    assert_eq!(it.end("a", last, Commit), Some(Err(TransactionError::InvalidTransactionState)));
    assert_eq!(it.end("a", key(1001, 0), Abort), Some(Ok(key(1001, 1))), "an abort of nothing");
}

#[test]
fn an_abort_of_nothing_at_the_last_epoch_gives_a_new_id() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    assert_eq!(it.end("a", last, Abort), Some(Ok(key(1001, 0))));
    assert_eq!(it.end("a", last, Abort), Some(Ok(key(1001, 0))));
}

#[test]
fn a_takeover_at_the_last_epoch_gives_a_new_id() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    it.add("a", last, &[0]);
    assert_eq!(it.initialize("a", None), Some(Ok(key(1001, 0))));
    assert_eq!(it.markers.last().unwrap().0.producer, key(1000, i16::MAX));
    it.add("a", key(1001, 0), &[0]);
    assert_eq!(it.initialize("a", None), Some(Ok(key(1001, 2))));
}

#[test]
fn a_timeout_at_the_last_epoch_does_not_wait_for_an_id() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    it.add("a", last, &[0]);
    it.are_tasks_fast = false;
    it.pass(Duration::from_secs(60));
    it.run();
    let shown = it.describe("a");
    assert_eq!((shown.state, shown.producer), (TransactionState::CompleteAbort, key(1000, i16::MAX)));
    assert_eq!(it.add("a", key(1000, i16::MAX), &[0]), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.end("a", key(1000, i16::MAX), Abort), Some(Err(TransactionError::ProducerFenced)));
    let token = it.ask_to_end("a", last, Abort, TransactionVersion::V2);
    assert_eq!(it.ended(token), None, "this request waits for it");
    it.run();
    assert_eq!(it.ended(token), Some(Ok(key(1001, 0))));
    assert_eq!(it.end("a", last, Abort), Some(Ok(key(1001, 0))));
    assert_eq!(it.add("a", key(1001, 0), &[0]), Some(Ok(())));
}

#[test]
fn a_timeout_at_the_last_epoch_takes_an_id_that_is_in_stock() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    it.add("a", last, &[0]);
    it.are_tasks_fast = false;
    it.ask_to_initialize("b", None);
    let (task, _) = it.tasks.pop_front().unwrap();
    it.finish(task, TransactionTaskResult::ProducerIds(vec![ProducerId(7), ProducerId(8), ProducerId(-1)]));
    it.pass(Duration::from_secs(60));
    it.run();
    assert_eq!(it.describe("a").producer, key(7, 0));
    assert_eq!(it.end("a", last, Abort), Some(Ok(key(7, 0))));
    assert_eq!(it.initialize("a", None), Some(Ok(key(7, 1))));
}

#[test]
fn a_client_of_version_0_goes_on_at_the_last_epoch_until_it_is_fenced() {
    let mut it = Scenario::new();
    let last = it.at_epoch("a", LAST);
    for _ in 0..2 {
        it.add("a", last, &[0]);
        assert_eq!(it.end_old("a", last, Commit), Some(Ok(last)));
    }
    it.add("a", last, &[0]);
    it.pass(Duration::from_secs(60));
    assert_eq!(it.end_old("a", last, Abort), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.initialize("a", None), Some(Ok(key(1001, 0))));
}
