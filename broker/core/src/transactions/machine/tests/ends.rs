//! `EndTxn` of clients of both protocols.

use std::time::Duration;

use rustmq_model::TransactionEnd::{Abort, Commit};
use rustmq_model::TransactionVersion;

use crate::transactions::error::TransactionError;
use crate::transactions::scenario::{Scenario, key};
use crate::transactions::state::TransactionState;

/// A producer with an open transaction.
fn open(it: &mut Scenario) -> rustmq_model::ProducerKey {
    let producer = it.initialize("a", None).unwrap().unwrap();
    assert_eq!(it.add("a", producer, &[0, 1]), Some(Ok(())));
    producer
}

#[test]
fn a_client_of_version_2_gets_the_next_epoch_at_each_end() {
    let mut it = Scenario::new();
    let mut producer = open(&mut it);
    for (end, state) in [(Commit, TransactionState::CompleteCommit), (Abort, TransactionState::CompleteAbort)] {
        it.add("a", producer, &[0]);
        let next = it.end("a", producer, end).unwrap().unwrap();
        assert_eq!(next, key(1000, producer.epoch.0 + 1));
        let (marker, _) = it.markers.last().unwrap();
        assert_eq!((marker.producer, marker.end, marker.version), (next, end, TransactionVersion::V2));
        let shown = it.describe("a");
        assert_eq!((shown.state, shown.producer, shown.partitions.len()), (state, next, 0));
        producer = next;
    }
}

#[test]
fn a_client_of_version_0_keeps_its_epoch() {
    let mut it = Scenario::new();
    let producer = open(&mut it);
    assert_eq!(it.end_old("a", producer, Commit), Some(Ok(producer)));
    let (marker, _) = it.markers.last().unwrap();
    assert_eq!((marker.producer, marker.end, marker.version), (producer, Commit, TransactionVersion::V0));
    assert_eq!(it.add("a", producer, &[0]), Some(Ok(())));
    assert_eq!(it.end_old("a", producer, Abort), Some(Ok(producer)));
    assert_eq!(it.describe("a").state, TransactionState::CompleteAbort);
}

#[test]
fn a_repeated_end_gets_the_same_answer_before_and_after_the_markers_and_a_load() {
    for (end, other) in [(Commit, Abort), (Abort, Commit)] {
        let mut it = Scenario::new();
        let producer = open(&mut it);
        it.are_tasks_fast = false;
        for _ in 0..2 {
            assert_eq!(it.end("a", producer, end), Some(Ok(key(1000, 1))));
            let refused = Some(Err(TransactionError::InvalidTransactionState));
            assert_eq!(it.end("a", producer, other), refused);
            it.reload();
        }
        it.are_tasks_fast = true;
        it.run();
        for _ in 0..2 {
            assert_eq!(it.end("a", producer, end), Some(Ok(key(1000, 1))));
            assert_eq!(it.end("a", producer, other), Some(Err(TransactionError::InvalidTransactionState)));
            it.reload();
        }
        assert_eq!(it.markers.len(), 2, "each partition has one marker");
    }
}

#[test]
fn a_repeated_end_of_an_old_client_gets_the_same_answer_before_and_after_the_markers() {
    let mut it = Scenario::new();
    let producer = open(&mut it);
    it.are_tasks_fast = false;
    assert_eq!(it.end_old("a", producer, Commit), Some(Ok(producer)));
    assert_eq!(it.end_old("a", producer, Commit), Some(Ok(producer)));
    assert_eq!(it.end_old("a", producer, Abort), Some(Err(TransactionError::InvalidTransactionState)));
    it.reload();
    it.are_tasks_fast = true;
    it.run();
    assert_eq!(it.end_old("a", producer, Commit), Some(Ok(producer)));
    assert_eq!(it.end_old("a", producer, Abort), Some(Err(TransactionError::InvalidTransactionState)));
}

#[test]
fn an_end_without_a_transaction_is_refused_or_in_version_2_an_abort_of_nothing() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    let refused = Some(Err(TransactionError::InvalidTransactionState));
    assert_eq!(it.end_old("a", producer, Commit), refused);
    assert_eq!(it.end_old("a", producer, Abort), refused);
    assert_eq!(it.end("a", producer, Commit), refused);
    assert_eq!(it.end("a", producer, Abort), Some(Ok(key(1000, 1))));
    assert_eq!(it.end("a", producer, Abort), Some(Ok(key(1000, 1))), "repeated");
    assert_eq!(it.end("a", producer, Commit), refused);
    assert_eq!(it.end("a", key(1000, 1), Abort), Some(Ok(key(1000, 2))), "the next one");
    assert_eq!(it.end("a", producer, Abort), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!((it.describe("a").state, it.markers.len()), (TransactionState::CompleteAbort, 0));
    assert_eq!(it.end("b", producer, Abort), Some(Err(TransactionError::InvalidProducerIdMapping)));
    assert_eq!(it.end("a", key(5, 2), Abort), Some(Err(TransactionError::InvalidProducerIdMapping)));
}

#[test]
fn a_producer_that_was_set_up_anew_does_not_repeat_the_end_before() {
    let mut it = Scenario::new();
    let producer = open(&mut it);
    assert_eq!(it.end("a", producer, Commit), Some(Ok(key(1000, 1))));
    assert_eq!(it.initialize("a", Some(key(1000, 1))), Some(Ok(key(1000, 2))));
    for fenced in [producer, key(1000, 1)] {
        assert_eq!(it.end("a", fenced, Commit), Some(Err(TransactionError::ProducerFenced)));
    }
    it.add("a", key(1000, 2), &[0]);
    assert_eq!(it.end("a", key(1000, 1), Commit), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.initialize("a", Some(key(1000, 1))), Some(Err(TransactionError::ProducerFenced)));
}

/// The feature `transaction.version` changes from 2 to 0 to 2 while transactions are open: each
/// request says by itself which protocol its client speaks.
#[test]
fn a_client_changes_its_protocol_with_a_transaction_open() {
    let mut it = Scenario::new();
    let mut producer = open(&mut it);
    producer = it.end("a", producer, Commit).unwrap().unwrap();
    it.add("a", producer, &[0]);
    assert_eq!(it.end_old("a", producer, Commit), Some(Ok(producer)), "begun in version 2, ended in version 0");
    assert_eq!(it.markers.last().unwrap().0.producer, producer);
    it.add("a", producer, &[0]);
    let next = it.end("a", producer, Abort).unwrap().unwrap();
    assert_eq!((producer, next), (key(1000, 1), key(1000, 2)), "begun in version 0, ended in version 2");
    assert_eq!(it.end("a", producer, Abort), Some(Ok(next)));
    assert_eq!(it.end_old("a", producer, Abort), Some(Err(TransactionError::ProducerFenced)));
}

#[test]
fn the_next_transaction_of_a_client_waits_for_the_markers_of_the_last() {
    let mut it = Scenario::new();
    let producer = open(&mut it);
    it.are_tasks_fast = false;
    let next = it.end("a", producer, Commit).unwrap().unwrap();
    let (adding, ending) = (it.ask_to_add("a", next, &[3]), it.ask_to_end("a", next, Abort, TransactionVersion::V0));
    assert_eq!((it.added(adding), it.verify("a", next, &[0])), (None, None));
    assert_eq!(it.add("a", producer, &[3]), Some(Err(TransactionError::ProducerFenced)), "it waits for nothing");
    assert_eq!(it.end("a", producer, Commit), Some(Ok(next)));
    it.run();
    assert_eq!(it.added(adding), Some(Ok(())));
    assert_eq!(it.ended(ending), Some(Ok(next)));
    it.pass(Duration::from_secs(1));
    assert_eq!(it.markers.len(), 2);
}

#[test]
fn a_wait_ends_at_its_bound() {
    let mut it = Scenario::new();
    let producer = open(&mut it);
    it.are_tasks_fast = false;
    let next = it.end("a", producer, Commit).unwrap().unwrap();
    let first = it.ask_to_add("a", next, &[3]);
    it.pass(Duration::from_secs(2));
    let second = it.ask_to_end("a", next, Commit, TransactionVersion::V2);
    it.pass(Duration::from_secs(3));
    assert_eq!(it.added(first), Some(Err(TransactionError::ConcurrentTransactions)));
    assert_eq!(it.ended(second), None);
    it.pass(Duration::from_secs(2));
    assert_eq!(it.ended(second), Some(Err(TransactionError::ConcurrentTransactions)));
}
