#![allow(clippy::unwrap_used)]
use std::time::Duration;

use rustmq_model::{
    Offset, ProducerEpoch, ProducerId, ProducerKey, TransactionEnd, TransactionMarker, TransactionVersion,
};

use crate::coordinator::{AppendFailure, CoordinatorMachine, ReplyToken};
use crate::groups::error::GroupError;
use crate::groups::request::{
    GroupRequest, OffsetCommitRequest, OffsetSelection, ReplyOutcome, TransactionalCommitRequest,
};
use crate::groups::scenario::{Scenario, committing, partition};
use crate::groups::{GroupConfig, InstanceId};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn producer(epoch: i16) -> ProducerKey {
    ProducerKey { id: ProducerId(9), epoch: ProducerEpoch(epoch) }
}

fn begin(scenario: &mut Scenario, producer: ProducerKey, commit: OffsetCommitRequest) -> ReplyToken {
    let guard = scenario.groups().commit_guard(producer.id);
    scenario.request(GroupRequest::CommitTransactionalOffsets(TransactionalCommitRequest { producer, guard, commit }))
}

fn pending(scenario: &mut Scenario, epoch: i16, offset: i64) -> Result<(), GroupError> {
    let token = begin(scenario, producer(epoch), committing("", -1, offset));
    scenario.committed(token).map(drop)
}

fn mark(scenario: &mut Scenario, epoch: i16, end: TransactionEnd, version: TransactionVersion) -> ReplyToken {
    let marker = TransactionMarker { producer: producer(epoch), end, coordinator_epoch: 0, version };
    scenario.request(GroupRequest::WriteMarker(marker))
}

fn marked(scenario: &mut Scenario, token: ReplyToken) -> Result<(), GroupError> {
    let Some(ReplyOutcome::Marker(outcome)) = scenario.answers.remove(&token) else { panic!("no answer yet") };
    outcome
}

fn end(scenario: &mut Scenario, epoch: i16, end: TransactionEnd) -> Result<(), GroupError> {
    let token = mark(scenario, epoch, end, TransactionVersion::V2);
    marked(scenario, token)
}

fn shown(scenario: &Scenario) -> Option<i64> {
    let all = scenario.groups().fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
    all.first().and_then(|(_, offset)| offset.as_ref()).map(|offset| offset.offset.0)
}

fn is_unstable(scenario: &Scenario) -> bool {
    scenario.groups().is_unstable(&"g".into(), &partition("t", 0))
}

#[test]
fn offsets_of_a_transaction_are_shown_after_the_commit_marker_and_never_after_an_abort() {
    for (outcome, expected) in [(TransactionEnd::Commit, Some(7)), (TransactionEnd::Abort, Some(1))] {
        let mut scenario = Scenario::new();
        scenario.commit_with(committing("", -1, 1));
        pending(&mut scenario, 0, 7).unwrap();
        assert_eq!((shown(&scenario), is_unstable(&scenario)), (Some(1), true));
        let reloaded = scenario.reloaded_from(0);
        assert_eq!((shown(&reloaded), is_unstable(&reloaded)), (Some(1), true));
        scenario.is_log_fast = false;
        let token = mark(&mut scenario, 1, outcome, TransactionVersion::V2);
        assert!(scenario.is_waiting(token) && is_unstable(&scenario), "the marker is not durable yet");
        scenario.store();
        marked(&mut scenario, token).unwrap();
        for scenario in [&scenario, &scenario.reloaded_from(0)] {
            assert_eq!((shown(scenario), is_unstable(scenario)), (expected, false));
        }
    }
}

#[test]
fn of_two_commits_the_later_record_wins() {
    let mut scenario = Scenario::new();
    pending(&mut scenario, 0, 7).unwrap();
    scenario.commit_with(committing("", -1, 3));
    end(&mut scenario, 1, TransactionEnd::Commit).unwrap();
    assert_eq!((shown(&scenario), shown(&scenario.reloaded_from(0))), (Some(3), Some(3)));
}

#[test]
fn an_offset_that_is_not_stored_yet_makes_its_partition_unstable() {
    let mut scenario = Scenario::new();
    scenario.is_log_fast = false;
    let token = begin(&mut scenario, producer(0), committing("", -1, 7));
    assert!(is_unstable(&scenario) && scenario.is_waiting(token));
    scenario.lose(AppendFailure::InvalidProducerEpoch);
    assert_eq!(scenario.committed(token), Err(GroupError::InvalidProducerEpoch));
    assert!(!is_unstable(&scenario));
}

#[test]
fn a_fenced_producer_neither_commits_nor_disturbs_the_open_transaction() {
    let mut scenario = Scenario::new();
    pending(&mut scenario, 5, 7).unwrap();
    assert_eq!(pending(&mut scenario, 4, 8), Err(GroupError::InvalidProducerEpoch));
    end(&mut scenario, 6, TransactionEnd::Commit).unwrap();
    assert_eq!(shown(&scenario), Some(7));
}

#[test]
fn a_late_marker_does_not_end_the_next_transaction() {
    let mut scenario = Scenario::new();
    pending(&mut scenario, 0, 1).unwrap();
    end(&mut scenario, 1, TransactionEnd::Commit).unwrap();
    assert_eq!(end(&mut scenario, 1, TransactionEnd::Commit), Ok(()), "a repeated marker is harmless");
    pending(&mut scenario, 1, 2).unwrap();
    assert_eq!(end(&mut scenario, 1, TransactionEnd::Commit), Err(GroupError::InvalidProducerEpoch));
    assert_eq!((shown(&scenario), is_unstable(&scenario)), (Some(1), true));
    let old = mark(&mut scenario, 1, TransactionEnd::Abort, TransactionVersion::V0);
    assert_eq!((marked(&mut scenario, old), is_unstable(&scenario)), (Ok(()), false), "the older rule");
}

/// The log answers for a repeated marker although the next transaction has begun meanwhile.
#[test]
fn a_marker_that_the_log_has_already_does_not_end_a_transaction_that_began_before_its_answer() {
    let mut scenario = Scenario::new();
    scenario.is_log_fast = false;
    let commit = begin(&mut scenario, producer(1), committing("", -1, 2));
    let late = mark(&mut scenario, 1, TransactionEnd::Commit, TransactionVersion::V2);
    scenario.store();
    scenario.store();
    assert!(scenario.committed(commit).is_ok() && marked(&mut scenario, late).is_ok());
    assert_eq!((shown(&scenario), is_unstable(&scenario)), (None, true));
}

#[test]
fn the_last_epoch_of_all_may_end_its_own_transaction() {
    let mut scenario = Scenario::new();
    pending(&mut scenario, i16::MAX, 1).unwrap();
    assert_eq!(end(&mut scenario, i16::MAX, TransactionEnd::Commit), Ok(()));
    assert_eq!(shown(&scenario), Some(1));
}

#[test]
fn pending_offsets_keep_their_group_and_do_not_expire() {
    let mut scenario = Scenario::new();
    scenario.commit_with(committing("", -1, 1));
    pending(&mut scenario, 0, 7).unwrap();
    scenario.advance(9 * DAY);
    assert_eq!((shown(&scenario), scenario.groups().group_ids().len()), (Some(1), 1));
    end(&mut scenario, 1, TransactionEnd::Abort).unwrap();
    scenario.advance(DAY);
    assert_eq!((shown(&scenario), scenario.groups().group_ids().len()), (None, 0));

    pending(&mut scenario, 1, 7).unwrap();
    end(&mut scenario, 2, TransactionEnd::Abort).unwrap();
    assert!(scenario.groups().group_ids().is_empty(), "nothing is left of a group without offsets");
    assert!(scenario.reloaded_from(0).groups().group_ids().is_empty());
}

#[test]
fn a_deletion_removes_pending_offsets_too() {
    let mut scenario = Scenario::new();
    pending(&mut scenario, 0, 7).unwrap();
    let token = scenario.delete("g");
    scenario.deleted(token).unwrap();
    end(&mut scenario, 1, TransactionEnd::Commit).unwrap();
    assert_eq!((shown(&scenario), shown(&scenario.reloaded_from(0))), (None, None));
}

#[test]
fn a_marker_between_the_verification_of_a_commit_and_the_commit_voids_its_guard() {
    for (version, expected) in [
        (TransactionVersion::V0, Err(GroupError::CoordinatorNotAvailable)),
        (TransactionVersion::V1, Err(GroupError::CoordinatorNotAvailable)),
        // The epoch of the marker refuses a late commit.
        (TransactionVersion::V2, Ok(())),
    ] {
        let mut scenario = Scenario::new();
        pending(&mut scenario, 0, 7).unwrap();
        let guard = scenario.groups().commit_guard(producer(0).id);
        let token = mark(&mut scenario, 1, TransactionEnd::Commit, version);
        marked(&mut scenario, token).unwrap();
        let commit = committing("", -1, 9);
        let request = TransactionalCommitRequest { producer: producer(1), guard, commit };
        let token = scenario.request(GroupRequest::CommitTransactionalOffsets(request));
        assert_eq!(scenario.committed(token).map(drop), expected, "{version:?}");
        assert_eq!(is_unstable(&scenario), expected.is_ok(), "{version:?}");
        pending(&mut scenario, 1, 9).unwrap();
    }
}

#[test]
fn a_guard_of_an_earlier_coordinator_is_void() {
    let mut scenario = Scenario::new();
    let guard = scenario.groups().commit_guard(producer(0).id);
    scenario.advance(Duration::from_secs(1));
    let mut reloaded = scenario.reloaded_from(0);
    let request = TransactionalCommitRequest { producer: producer(0), guard, commit: committing("", -1, 9) };
    let token = reloaded.request(GroupRequest::CommitTransactionalOffsets(request));
    assert_eq!(reloaded.committed(token).map(drop), Err(GroupError::CoordinatorNotAvailable));
}

#[test]
fn group_metadata_is_checked() {
    let mut scenario = Scenario::stable(&["m1"]);
    let instance = Some(InstanceId::from("i"));
    for (request, expected) in [
        (committing("m1", 1, 5), Ok(())),
        (committing("", -1, 5), Ok(())),
        (committing("m2", 1, 5), Err(GroupError::UnknownMemberId)),
        (committing("m1", 0, 5), Err(GroupError::IllegalGeneration)),
        (OffsetCommitRequest { instance, ..committing("m1", 1, 5) }, Err(GroupError::UnknownMemberId)),
        (OffsetCommitRequest { group: "h".into(), ..committing("m1", 1, 5) }, Err(GroupError::GroupIdNotFound)),
        (OffsetCommitRequest { group: "".into(), ..committing("", -1, 5) }, Err(GroupError::InvalidGroupId)),
    ] {
        let token = begin(&mut scenario, producer(0), request.clone());
        assert_eq!(scenario.committed(token).map(drop), expected, "{request:?}");
    }
}

#[test]
fn the_memory_of_pending_offsets_is_bounded() {
    let mut scenario = Scenario::with(GroupConfig { pending_offset_bytes_max: 600, ..GroupConfig::default() });
    for _ in 0..5 {
        pending(&mut scenario, 0, 7).unwrap();
    }
    let mut other = committing("", -1, 7);
    other.offsets[0].partition = partition("t", 1);
    let token = begin(&mut scenario, producer(0), other.clone());
    assert!(scenario.committed(token).is_ok());
    other.offsets[0].partition = partition("t", 2);
    let token = begin(&mut scenario, producer(0), other.clone());
    assert_eq!(scenario.committed(token), Err(GroupError::CoordinatorNotAvailable));
    end(&mut scenario, 1, TransactionEnd::Commit).unwrap();
    let token = begin(&mut scenario, producer(1), other);
    assert!(scenario.committed(token).is_ok());
}

#[test]
fn a_shortening_stops_at_an_open_transaction_and_at_the_offset_that_it_overtakes() {
    let mut scenario = Scenario::new();
    let mut quiet = committing("", -1, 1);
    quiet.offsets[0].partition = partition("t", 1);
    scenario.commit_with(quiet);
    assert_eq!(scenario.groups().first_fixed(), None);
    scenario.commit_with(committing("", -1, 1));
    pending(&mut scenario, 0, 7).unwrap();
    assert_eq!(scenario.groups().first_fixed(), Some(Offset(1)));
    let reloaded = scenario.reloaded_from(1);
    assert_eq!(reloaded.groups().first_fixed(), Some(Offset(1)));
    end(&mut scenario, 1, TransactionEnd::Commit).unwrap();
    assert_eq!(scenario.groups().first_fixed(), None);
}
