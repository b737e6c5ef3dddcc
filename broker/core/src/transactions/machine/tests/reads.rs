//! Descriptions, lists and counts.

use std::time::Duration;

use rustmq_model::TransactionEnd::Commit;
use rustmq_model::{ProducerId, Timestamp, TransactionalId};

use crate::transactions::machine::{TransactionDescription, TransactionFilter};
use crate::transactions::scenario::{Scenario, id, key, partition};
use crate::transactions::state::TransactionState;

/// One id is empty, one open, one prepared, one committed.
fn four() -> Scenario {
    let mut it = Scenario::new();
    for name in ["empty", "open", "prepared", "committed"] {
        it.initialize(name, None);
    }
    it.add("committed", key(1003, 0), &[0]);
    it.end("committed", key(1003, 0), Commit);
    it.pass(Duration::from_secs(5));
    it.add("open", key(1001, 0), &[2, 1]);
    it.pass(Duration::from_secs(5));
    it.add("prepared", key(1002, 0), &[0]);
    it.are_tasks_fast = false;
    it.end("prepared", key(1002, 0), Commit);
    it
}

#[test]
fn a_description_shows_committed_state() {
    let mut it = four();
    let expected = TransactionDescription {
        producer: key(1001, 0),
        state: TransactionState::Ongoing,
        timeout_ms: 60_000,
        started_at: Timestamp(1_700_000_005_000),
        partitions: vec![partition(1), partition(2)],
    };
    assert_eq!(it.describe("open"), expected);
    it.is_log_fast = false;
    it.ask_to_add("open", key(1001, 0), &[3]);
    assert_eq!(it.describe("open"), expected, "the addition is not committed");
    assert_eq!(it.describe("empty").started_at, Timestamp::NONE);
    let (committed, prepared) = (it.describe("committed"), it.describe("prepared"));
    assert_eq!((committed.partitions.len(), committed.state.name()), (0, "CompleteCommit"));
    assert_eq!((prepared.partitions.len(), prepared.producer), (1, key(1002, 1)));
}

#[test]
fn a_list_has_the_ids_that_meet_every_condition() {
    let it = four();
    let all = TransactionFilter { states: &[], producer_ids: &[], running_longer_than: None, is_wanted: &|_| true };
    let names = |filter: TransactionFilter<'_>| -> Vec<String> {
        it.machine().list(it.now.wall, &filter).into_iter().map(|listed| listed.id.to_string()).collect()
    };
    assert_eq!(names(TransactionFilter { ..all }), ["committed", "empty", "open", "prepared"]);
    let states = &[TransactionState::Ongoing, TransactionState::Empty];
    assert_eq!(names(TransactionFilter { states, ..all }), ["empty", "open"]);
    let producer_ids = &[ProducerId(1003), ProducerId(1001)];
    assert_eq!(names(TransactionFilter { producer_ids, ..all }), ["committed", "open"]);
    assert_eq!(names(TransactionFilter { producer_ids, states, ..all }), ["open"]);
    let is_wanted: &dyn Fn(&TransactionalId) -> bool = &|id| id.as_str().ends_with("ed");
    assert_eq!(names(TransactionFilter { is_wanted, ..all }), ["committed", "prepared"]);
    let longer = |seconds| TransactionFilter { running_longer_than: Some(Duration::from_secs(seconds)), ..all };
    assert_eq!(names(longer(5)), ["committed", "empty"], "more than five seconds");
    assert_eq!(names(longer(4)), ["committed", "empty", "open"]);
    let listed =
        &it.machine().list(it.now.wall, &TransactionFilter { states: &[TransactionState::PrepareCommit], ..all })[0];
    assert_eq!((listed.producer_id, listed.state), (ProducerId(1002), TransactionState::PrepareCommit));
}

#[test]
fn ids_are_counted_by_state_and_the_oldest_decision_is_known() {
    let mut it = four();
    let counts: Vec<_> = it.machine().state_counts().into_iter().collect();
    let expected = [
        (TransactionState::Empty, 1),
        (TransactionState::Ongoing, 1),
        (TransactionState::PrepareCommit, 1),
        (TransactionState::CompleteCommit, 1),
    ];
    assert_eq!(counts, expected);
    assert_eq!(it.machine().oldest_prepared(), Some(Timestamp(1_700_000_010_000)));
    it.pass(Duration::from_secs(1));
    it.end("open", key(1001, 0), Commit);
    assert_eq!(it.machine().oldest_prepared(), Some(Timestamp(1_700_000_010_000)));
    it.run();
    assert_eq!(it.machine().oldest_prepared(), Some(Timestamp(1_700_000_011_000)));
    it.run();
    assert_eq!(it.machine().oldest_prepared(), None);
}

#[test]
fn a_producer_id_belongs_to_its_transactional_id() {
    let it = four();
    assert!(it.machine().owns(&id("open"), ProducerId(1001)));
    assert!(!it.machine().owns(&id("open"), ProducerId(1002)));
    assert!(!it.machine().owns(&id("other"), ProducerId(1001)));
}

#[test]
fn a_state_has_kafkas_number_and_name() {
    for (number, state) in (0..).zip(TransactionState::ALL) {
        assert_eq!((state.number(), TransactionState::from_number(number)), (number, Some(state)));
    }
    assert_eq!(TransactionState::ALL.map(TransactionState::name)[2..4], ["PrepareCommit", "PrepareAbort"]);
    assert_eq!(TransactionState::from_number(6), None);
}
