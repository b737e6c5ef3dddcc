//! Timeouts of transactions, and expiry of ids.

use std::time::Duration;

use rustmq_model::TransactionEnd::{Abort, Commit};
use rustmq_model::TransactionVersion;

use crate::coordinator::AppendFailure;
use crate::transactions::error::TransactionError;
use crate::transactions::scenario::{Scenario, id, key};
use crate::transactions::state::TransactionState;

const DAYS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn a_transaction_is_aborted_when_its_time_is_over() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.pass(Duration::from_secs(59));
    it.add("a", producer, &[1]);
    it.pass(Duration::from_millis(999));
    assert_eq!(it.describe("a").state, TransactionState::Ongoing);
    it.pass(Duration::from_millis(1));
    assert_eq!(it.describe("a").state, TransactionState::CompleteAbort);
    let (marker, _) = it.markers[0];
    assert_eq!((marker.producer, marker.end, marker.version), (key(1000, 1), Abort, TransactionVersion::V2));
}

#[test]
fn after_a_timeout_the_old_epoch_aborts_and_gets_the_new_one() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.are_tasks_fast = false;
    it.pass(Duration::from_secs(60));
    assert_eq!(it.end("a", producer, Abort), Some(Ok(key(1000, 1))), "while the markers are on their way");
    it.run();
    it.reload();
    assert_eq!(it.end("a", producer, Commit), Some(Err(TransactionError::InvalidTransactionState)));
    assert_eq!(it.end_old("a", producer, Abort), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.add("a", producer, &[0]), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.end("a", producer, Abort), Some(Ok(key(1000, 1))));
    assert_eq!(it.initialize("a", Some(producer)), Some(Ok(key(1000, 2))), "it may go on");
}

#[test]
fn the_time_of_a_transaction_goes_on_while_it_has_no_coordinator() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.pass(Duration::from_secs(40));
    it.reload();
    it.pass(Duration::from_millis(19_999));
    assert_eq!(it.describe("a").state, TransactionState::Ongoing);
    it.pass(Duration::from_millis(1));
    assert_eq!(it.describe("a").state, TransactionState::CompleteAbort);
}

#[test]
fn an_abort_that_is_not_stored_is_tried_again() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.is_log_fast = false;
    it.pass(Duration::from_secs(60));
    it.fail(AppendFailure::Unavailable);
    assert!(it.appends.is_empty());
    it.pass(Duration::from_millis(49));
    assert!(it.appends.is_empty());
    it.pass(Duration::from_millis(1));
    it.store();
    assert_eq!(it.markers.len(), 1);
}

#[test]
fn a_transaction_that_ends_in_time_has_no_clock_left() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.pass(Duration::from_secs(59));
    it.is_log_fast = false;
    let token = it.ask_to_end("a", producer, Commit, TransactionVersion::V2);
    it.pass(Duration::from_secs(2));
    it.store();
    assert_eq!(it.ended(token), Some(Ok(key(1000, 1))), "it was decided in time");
    it.is_log_fast = true;
    it.store();
    it.pass(HOUR);
    assert_eq!(it.describe("a").state, TransactionState::CompleteCommit);
}

#[test]
fn an_id_expires_when_nothing_has_changed_it_for_long_enough() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.pass(DAYS - HOUR);
    it.initialize("b", None);
    it.add("a", producer, &[0]);
    it.end("a", producer, Commit);
    it.pass(DAYS - HOUR);
    it.initialize("b", None);
    assert!(it.machine().describe(&id("a")).is_ok());
    it.pass(HOUR);
    assert_eq!(it.machine().describe(&id("a")), Err(TransactionError::TransactionalIdNotFound));
    assert_eq!(it.log.last().unwrap().value, None, "a tombstone");
    it.reload();
    assert_eq!(it.machine().describe(&id("a")), Err(TransactionError::TransactionalIdNotFound));
    assert!(it.machine().describe(&id("b")).is_ok());
    assert_eq!(it.initialize("a", None), Some(Ok(key(1002, 0))));
}

#[test]
fn an_id_with_a_prepared_transaction_never_expires() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.are_tasks_fast = false;
    it.end("a", producer, Commit);
    it.pass(2 * DAYS);
    it.pass(2 * HOUR);
    assert_eq!(it.describe("a").state, TransactionState::PrepareCommit);
}

#[test]
fn an_id_with_an_open_transaction_never_expires() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.is_log_fast = false;
    // The log refuses the abort again and again.
    it.pass(2 * DAYS);
    it.fail(AppendFailure::Unavailable);
    it.pass(2 * HOUR);
    it.fail(AppendFailure::Unavailable);
    assert_eq!((it.describe("a").state, it.appends.len()), (TransactionState::Ongoing, 0));
}

#[test]
fn a_request_waits_for_the_removal_of_its_id() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.is_log_fast = false;
    it.pass(DAYS);
    it.pass(HOUR);
    let (one, two) = (it.ask_to_add("a", producer, &[0]), it.ask_to_initialize("a", None));
    it.store();
    assert_eq!(it.added(one), Some(Err(TransactionError::InvalidProducerIdMapping)));
    it.store();
    assert_eq!(it.initialized(two), Some(Ok(key(1001, 0))));
    it.pass(DAYS);
    it.pass(HOUR);
    it.fail(AppendFailure::Unavailable);
    assert_eq!(it.describe("a").producer, key(1001, 0), "the tombstone was not stored");
}

#[test]
fn a_search_for_expired_ids_goes_on_in_steps() {
    let mut it = Scenario::new();
    for number in 0..1500 {
        it.initialize(&format!("{number:04}"), None);
    }
    it.pass(DAYS);
    assert_eq!(it.machine().state_counts().values().sum::<usize>(), 1500 - 1024);
    it.pass(Duration::from_millis(10));
    assert_eq!(it.machine().state_counts().values().sum::<usize>(), 0);
}
