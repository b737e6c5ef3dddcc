//! Prepared transactions are driven to their end, and no marker is skipped.

use std::time::Duration;

use rustmq_model::TransactionEnd::{Abort, Commit};
use rustmq_model::{ProducerKey, TopicPartition};

use crate::coordinator::AppendFailure;
use crate::transactions::scenario::{Scenario, key, partition};
use crate::transactions::state::TransactionState;
use crate::transactions::task::{MarkerOutcome, TransactionTaskResult};

/// A committed transaction whose markers are on their way.
fn prepared(partitions: &[i32]) -> (Scenario, ProducerKey) {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, partitions);
    it.are_tasks_fast = false;
    assert_eq!(it.end("a", producer, Commit), Some(Ok(key(1000, 1))));
    (it, producer)
}

fn outcomes(partitions: &[TopicPartition], outcome: MarkerOutcome) -> TransactionTaskResult {
    TransactionTaskResult::Markers(partitions.iter().map(|partition| (partition.clone(), outcome)).collect())
}

#[test]
fn a_task_has_at_most_256_partitions_and_all_of_them_run_at_once() {
    let all: Vec<i32> = (0..600).collect();
    let (mut it, _) = prepared(&all);
    let sizes: Vec<usize> = (0..3).map(|_| it.take_markers()).map(|(_, _, partitions)| partitions.len()).collect();
    assert_eq!((sizes, it.tasks.len()), (vec![256, 256, 88], 0));
}

#[test]
fn a_partition_is_settled_by_its_own_outcome_alone() {
    let (mut it, _) = prepared(&[0, 1, 2, 3, 4, 5]);
    let (task, _, _) = it.take_markers();
    let result = [
        (0, MarkerOutcome::Written),
        (1, MarkerOutcome::LeaderUnknown),
        (2, MarkerOutcome::Superseded),
        (3, MarkerOutcome::PartitionDeleted),
        (4, MarkerOutcome::Unavailable),
        (77, MarkerOutcome::Written),
    ];
    it.finish(task, TransactionTaskResult::Markers(result.map(|(number, it)| (partition(number), it)).to_vec()));
    assert!(it.tasks.is_empty(), "after a pause");
    it.pass(Duration::from_millis(50));
    let (_, _, partitions) = it.take_markers();
    assert_eq!(partitions, [1, 4, 5].map(partition), "5 has no outcome");
}

#[test]
fn an_unknown_leader_is_waited_for_with_growing_pauses() {
    let (mut it, _) = prepared(&[0]);
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let (task, marker, partitions) = it.take_markers();
        assert_eq!(marker.producer, key(1000, 1));
        it.finish(task, outcomes(&partitions, MarkerOutcome::LeaderUnknown));
        let pause = it.coordinator.poll_timeout().unwrap().since(it.now.instant);
        pauses.push(pause.as_millis());
        it.pass(pause);
    }
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    assert_eq!(it.describe("a").state, TransactionState::PrepareCommit);
    it.run();
    assert_eq!(it.describe("a").state, TransactionState::CompleteCommit);
}

#[test]
fn a_coordinator_that_a_partition_fences_skips_nothing() {
    let (mut it, _) = prepared(&[0, 1]);
    let (task, _, partitions) = it.take_markers();
    it.finish(task, outcomes(&partitions, MarkerOutcome::CoordinatorFenced));
    it.pass(Duration::from_millis(4_999));
    assert_eq!((it.tasks.len(), it.describe("a").state), (0, TransactionState::PrepareCommit));
    it.pass(Duration::from_millis(1));
    assert_eq!(it.tasks.len(), 1);
}

#[test]
fn a_lost_task_is_started_again_and_its_late_result_settles_nothing() {
    let (mut it, _) = prepared(&[0]);
    let (lost, _, partitions) = it.take_markers();
    it.pass(Duration::from_secs(30));
    let (again, _, _) = it.take_markers();
    it.finish(lost, outcomes(&partitions, MarkerOutcome::Written));
    assert_eq!(it.describe("a").state, TransactionState::PrepareCommit);
    it.finish(again, outcomes(&partitions, MarkerOutcome::Written));
    assert_eq!(it.describe("a").state, TransactionState::CompleteCommit);
}

/// The producer keeps its epoch, so that its next transaction has markers like those of the last.
#[test]
fn a_repeated_result_does_not_end_the_next_transaction_of_an_old_client() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.are_tasks_fast = false;
    it.add("a", producer, &[0]);
    it.end_old("a", producer, Abort);
    let (task, _, partitions) = it.take_markers();
    it.finish(task, outcomes(&partitions, MarkerOutcome::Written));
    it.add("a", producer, &[0]);
    it.finish(task, outcomes(&partitions, MarkerOutcome::Written));
    assert_eq!(it.describe("a").state, TransactionState::Ongoing);
    it.end_old("a", producer, Abort);
    it.finish(task, outcomes(&partitions, MarkerOutcome::Written));
    assert_eq!(it.describe("a").state, TransactionState::PrepareAbort);
}

#[test]
fn a_new_coordinator_sends_the_markers_of_prepared_transactions() {
    let (mut it, producer) = prepared(&[0, 1]);
    it.reload();
    let (_, marker, partitions) = it.take_markers();
    assert_eq!((marker.producer, marker.end), (key(1000, 1), Commit));
    assert_eq!(partitions, [0, 1].map(partition));
    it.reload();
    it.run();
    assert_eq!(it.describe("a").state, TransactionState::CompleteCommit);
    assert_eq!(it.end("a", producer, Commit), Some(Ok(key(1000, 1))));
    it.reload();
    assert!(it.tasks.is_empty());
}

#[test]
fn a_completion_that_is_not_stored_is_tried_again() {
    let (mut it, _) = prepared(&[0]);
    it.is_log_fast = false;
    it.run();
    it.fail(AppendFailure::Unavailable);
    assert!(it.appends.is_empty());
    it.pass(Duration::from_millis(50));
    it.fail(AppendFailure::Unavailable);
    it.pass(Duration::from_millis(100));
    it.store();
    assert_eq!(it.describe("a").state, TransactionState::CompleteCommit);
    assert_eq!((it.markers.len(), it.tasks.len()), (1, 0));
}

#[test]
fn no_marker_is_sent_before_the_decision_is_stored() {
    let mut it = Scenario::new();
    let producer = it.initialize("a", None).unwrap().unwrap();
    it.add("a", producer, &[0]);
    it.is_log_fast = false;
    it.ask_to_end("a", producer, Commit, rustmq_model::TransactionVersion::V2);
    assert_eq!((it.markers.len(), it.appends.len()), (0, 1));
    it.store();
    assert_eq!(it.markers.len(), 1);
}
