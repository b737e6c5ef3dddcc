//! `InitProducerId`, additions and verifications: who may act on an id.

use std::time::Duration;

use rustmq_model::{ProducerId, TransactionEnd, TransactionVersion};

use crate::coordinator::AppendFailure;
use crate::transactions::error::TransactionError;
use crate::transactions::request::{InitProducerIdRequest, TransactionRequest};
use crate::transactions::scenario::{Scenario, id, key};
use crate::transactions::state::TransactionState;
use crate::transactions::task::{TransactionTask, TransactionTaskResult};

#[test]
fn a_new_id_gets_a_producer_id_and_each_producer_after_it_the_next_epoch() {
    let mut it = Scenario::new();
    assert_eq!(it.initialize("a", None), Some(Ok(key(1000, 0))));
    assert_eq!(it.initialize("b", Some(key(7, 3))), Some(Ok(key(1001, 0))), "an id that was forgotten begins anew");
    assert_eq!(it.initialize("a", None), Some(Ok(key(1000, 1))));
    assert_eq!(it.initialize("a", Some(key(1000, 1))), Some(Ok(key(1000, 2))));
    assert_eq!(it.describe("a").state, TransactionState::Empty);
}

#[test]
fn a_producer_that_repeats_its_request_gets_the_same_answer_also_after_a_load() {
    let mut it = Scenario::new();
    let first = it.initialize("a", None).unwrap().unwrap();
    assert_eq!(it.initialize("a", Some(first)), Some(Ok(key(1000, 1))));
    for _ in 0..2 {
        assert_eq!(it.initialize("a", Some(first)), Some(Ok(key(1000, 1))));
        it.reload();
    }
    assert_eq!(it.initialize("a", None), Some(Ok(key(1000, 2))), "another producer takes over");
    assert_eq!(it.initialize("a", Some(key(1000, 1))), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.initialize("a", Some(first)), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.initialize("a", Some(key(999, 2))), Some(Err(TransactionError::ProducerFenced)));
}

#[test]
fn a_timeout_that_is_not_allowed_is_refused_first() {
    let mut it = Scenario::new();
    for timeout_ms in [0, -1, 900_001] {
        let request = InitProducerIdRequest { id: id("a"), timeout_ms, expected: None };
        let token = it.ask(TransactionRequest::InitProducerId(request));
        let error = TransactionError::InvalidTransactionTimeout { timeout_ms, max_ms: 900_000 };
        assert_eq!(it.initialized(token), Some(Err(error)));
    }
    let request = InitProducerIdRequest { id: id("a"), timeout_ms: 900_000, expected: None };
    let token = it.ask(TransactionRequest::InitProducerId(request));
    assert_eq!(it.initialized(token), Some(Ok(key(1000, 0))));
}

#[test]
fn partitions_are_added_by_the_current_producer_alone() {
    let mut it = Scenario::new();
    let old = it.initialize("a", None).unwrap().unwrap();
    assert_eq!(it.add("b", old, &[0]), Some(Err(TransactionError::InvalidProducerIdMapping)));
    let producer = it.initialize("a", None).unwrap().unwrap();
    assert_eq!(it.add("a", old, &[0]), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.add("a", key(1000, 7), &[0]), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.add("a", key(999, 1), &[0]), Some(Err(TransactionError::InvalidProducerIdMapping)));
    assert_eq!(it.describe("a").state, TransactionState::Empty);
    assert_eq!(it.add("a", producer, &[0]), Some(Ok(())));
    assert_eq!(it.add("a", producer, &[1, 2]), Some(Ok(())));
    let shown = it.describe("a");
    assert_eq!((shown.state, shown.partitions.len()), (TransactionState::Ongoing, 3));
    let records = it.log.len();
    assert_eq!(it.add("a", producer, &[2, 0]), Some(Ok(())), "they are there");
    assert_eq!(it.log.len(), records, "nothing is appended for them");
}

#[test]
fn no_partition_begins_no_transaction() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    assert_eq!(it.add("a", producer, &[]), Some(Ok(())));
    assert_eq!(it.describe("a").state, TransactionState::Empty);
}

#[test]
fn a_verification_answers_for_each_partition_and_changes_nothing() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    let missing = Err(TransactionError::NotInTransaction);
    assert_eq!(it.verify("a", producer, &[0]), Some(Ok(vec![missing])));
    it.add("a", producer, &[0, 1]);
    assert_eq!(it.verify("a", producer, &[1, 5, 0]), Some(Ok(vec![Ok(()), missing, Ok(())])));
    assert_eq!(it.verify("a", key(1000, 1), &[0]), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.verify("b", producer, &[0]), Some(Err(TransactionError::InvalidProducerIdMapping)));
    it.end_old("a", producer, TransactionEnd::Commit);
    assert_eq!(it.verify("a", producer, &[0]), Some(Ok(vec![missing])));
}

#[test]
fn a_verification_of_partitions_that_are_there_does_not_wait_for_an_append() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.is_log_fast = false;
    let adding = it.ask_to_add("a", producer, &[1]);
    assert_eq!(it.verify("a", producer, &[0]), Some(Ok(vec![Ok(())])));
    assert_eq!(it.verify("a", producer, &[1]), None, "this one waits for it");
    it.store();
    assert_eq!(it.added(adding), Some(Ok(())));
}

#[test]
fn an_open_transaction_of_an_earlier_producer_is_aborted_and_the_epoch_of_its_markers_is_nobodys() {
    for expects in [false, true] {
        let mut it = Scenario::new();
        let first = it.initialize("a", None).unwrap().unwrap();
        it.add("a", first, &[0, 1]);
        let second = it.initialize("a", expects.then_some(first));
        assert_eq!(second, Some(Ok(key(1000, 2))), "the epoch after that of the markers");
        let [(marker, _), (again, _)] = it.markers[..] else { panic!("two markers") };
        assert_eq!(marker, again);
        assert_eq!((marker.producer, marker.end), (key(1000, 1), TransactionEnd::Abort));
        assert_eq!((marker.coordinator_epoch, marker.version), (5, TransactionVersion::V2));
        let late = it.end("a", first, TransactionEnd::Abort);
        assert_eq!(late, Some(Err(TransactionError::ProducerFenced)));
    }
}

#[test]
fn a_producer_with_an_old_epoch_aborts_nothing() {
    let mut it = Scenario::new();
    let old = it.initialize("a", None).unwrap().unwrap();
    let producer = it.initialize("a", Some(old)).unwrap().unwrap();
    it.add("a", producer, &[0]);
    assert_eq!(it.initialize("a", Some(old)), Some(Err(TransactionError::ProducerFenced)));
    assert_eq!(it.describe("a").state, TransactionState::Ongoing);
    assert_eq!(it.end("a", old, TransactionEnd::Abort), Some(Err(TransactionError::ProducerFenced)));
}

#[test]
fn a_takeover_that_cannot_wait_for_the_markers_goes_on_with_the_next_request() {
    for expects in [false, true] {
        let mut it = Scenario::new();
        let first = it.initialize("a", None).unwrap().unwrap();
        it.add("a", first, &[0]);
        it.are_tasks_fast = false;
        let expected = expects.then_some(first);
        let token = it.ask_to_initialize("a", expected);
        it.pass(Duration::from_millis(4_999));
        assert_eq!(it.initialized(token), None);
        it.pass(Duration::from_millis(1));
        assert_eq!(it.initialized(token), Some(Err(TransactionError::ConcurrentTransactions)));
        it.reload();
        it.are_tasks_fast = true;
        it.run();
        assert_eq!(it.initialize("a", expected), Some(Ok(key(1000, 2))));
    }
}

#[test]
fn a_takeover_whose_abort_is_not_stored_fails_alone() {
    let mut it = Scenario::new();
    let first = it.initialize("a", None).unwrap().unwrap();
    it.add("a", first, &[0]);
    it.is_log_fast = false;
    let (one, two) = (it.ask_to_initialize("a", None), it.ask_to_add("a", first, &[1]));
    it.fail(AppendFailure::Unavailable);
    assert_eq!(it.initialized(one), Some(Err(TransactionError::CoordinatorNotAvailable)));
    it.store();
    assert_eq!(it.added(two), Some(Ok(())), "the producer was not fenced");
}

#[test]
fn an_append_that_fails_changes_nothing() {
    let mut it = Scenario::new();
    it.is_log_fast = false;
    let token = it.ask_to_initialize("a", None);
    it.fail(AppendFailure::Unavailable);
    assert_eq!(it.initialized(token), Some(Err(TransactionError::CoordinatorNotAvailable)));
    assert_eq!(it.machine().describe(&id("a")), Err(TransactionError::TransactionalIdNotFound));
    it.is_log_fast = true;
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.is_log_fast = false;
    let token = it.ask_to_end("a", producer, TransactionEnd::Commit, TransactionVersion::V2);
    it.fail(AppendFailure::Unavailable);
    assert_eq!(it.ended(token), Some(Err(TransactionError::CoordinatorNotAvailable)));
    assert_eq!((it.describe("a").state, it.markers.len()), (TransactionState::Ongoing, 0));
}

#[test]
fn a_request_waits_for_a_producer_id_within_the_bound_and_no_longer() {
    let mut it = Scenario::new();
    it.are_tasks_fast = false;
    let (one, two) = (it.ask_to_initialize("a", None), it.ask_to_initialize("b", None));
    let (task, work) = it.tasks.pop_front().unwrap();
    assert_eq!(work, TransactionTask::AllocateProducerIds { count: 1 });
    it.finish(task, TransactionTaskResult::ProducerIds(Vec::new()));
    assert!(it.tasks.is_empty(), "the controller had none: a pause");
    it.pass(Duration::from_millis(500));
    let (task, work) = it.tasks.pop_front().unwrap();
    assert_eq!(work, TransactionTask::AllocateProducerIds { count: 2 });
    it.finish(task, TransactionTaskResult::ProducerIds(vec![ProducerId(5)]));
    assert_eq!(it.initialized(one), Some(Ok(key(5, 0))));
    it.finish(task, TransactionTaskResult::ProducerIds(vec![ProducerId(5)]));
    assert_eq!(it.initialized(two), None, "a repeated result would give an id twice");
    it.pass(Duration::from_millis(4_500));
    assert_eq!(it.initialized(two), Some(Err(TransactionError::CoordinatorNotAvailable)));
    let (late, _) = it.tasks.pop_front().unwrap();
    it.finish(late, TransactionTaskResult::ProducerIds(vec![ProducerId(6)]));
    assert_eq!(it.initialize("c", None), Some(Ok(key(6, 0))), "it was kept");
}

#[test]
fn a_lost_allocation_is_repeated() {
    let mut it = Scenario::new();
    it.are_tasks_fast = false;
    it.ask_to_initialize("a", None);
    let lost = it.tasks.pop_front().unwrap().0;
    it.pass(Duration::from_secs(29));
    let token = it.ask_to_initialize("a", None);
    assert!(it.tasks.is_empty(), "one is under way");
    it.pass(Duration::from_secs(1));
    it.finish(lost, TransactionTaskResult::ProducerIds(vec![ProducerId(5)]));
    assert_eq!(it.initialized(token), None, "its time is over");
    it.run();
    assert_eq!(it.initialized(token), Some(Ok(key(1000, 0))));
}
