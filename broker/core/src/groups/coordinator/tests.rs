#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_model::{Offset, TopicId, TopicName};

use super::*;
use crate::groups::request::{
    JoinRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetSelection, PartitionOutcomes,
};
use crate::groups::scenario::{START, Scenario, committing, joining, partition, syncing};
use crate::groups::state::ClassicState;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn offset_of(scenario: &Scenario, group: &str) -> Option<i64> {
    let selection = OffsetSelection::Given(vec![partition("t", 0)]);
    let offsets = scenario.coordinator.fetch_offsets(&group.into(), &selection).unwrap();
    offsets[0].1.as_ref().map(|committed| committed.offset.0)
}

fn delete_offset(scenario: &mut Scenario, group: &str, topic: &str) -> Result<PartitionOutcomes, GroupError> {
    let token = scenario.token();
    let request = OffsetDeleteRequest { group: group.into(), partitions: vec![partition(topic, 0)] };
    scenario.coordinator.handle_offset_delete(token, request);
    scenario.settle();
    let Some(ReplyOutcome::OffsetDelete(outcome)) = scenario.answers.remove(&token) else { panic!("no answer") };
    outcome
}

#[test]
fn a_commit_is_shown_and_answered_when_it_is_stored() {
    let mut scenario = Scenario::stable(&["m1"]);
    scenario.is_log_fast = false;
    let commit = scenario.commit_with(committing("m1", 1, 42));
    assert!(scenario.is_waiting(commit));
    assert_eq!(offset_of(&scenario, "g"), None);
    scenario.store();
    assert_eq!(scenario.committed(commit).unwrap(), [(partition("t", 0), Ok(()))]);
    assert_eq!(offset_of(&scenario, "g"), Some(42));
    let lost = scenario.commit_with(committing("m1", 1, 43));
    scenario.lose(GroupError::CoordinatorNotAvailable);
    assert_eq!(scenario.committed(lost), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(offset_of(&scenario, "g"), Some(42));
    let restarted = scenario.restarted();
    let all = restarted.coordinator.fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
    let committed = all[0].1.as_ref().unwrap();
    assert_eq!((committed.metadata.as_str(), committed.leader_epoch.unwrap().0, committed.topic_id.0), ("note", 3, 7));
    assert_eq!(committed.committed_at, START.wall);
}

#[test]
fn commits_are_checked_against_the_group() {
    let mut scenario = Scenario::stable(&["m1"]);
    let mut check = |request: OffsetCommitRequest, expected: GroupError| {
        let token = scenario.commit_with(request);
        assert_eq!(scenario.committed(token), Err(expected));
    };
    check(committing("m1", 2, 1), GroupError::IllegalGeneration);
    check(committing("m2", 1, 1), GroupError::UnknownMemberId);
    check(committing("", -1, 1), GroupError::UnknownMemberId);
    check(OffsetCommitRequest { instance: Some("i".into()), ..committing("m1", 1, 1) }, GroupError::UnknownMemberId);
    check(OffsetCommitRequest { group: "none".into(), ..committing("m1", 1, 1) }, GroupError::GroupIdNotFound);
    let join = scenario.rejoin("m1");
    assert_eq!(scenario.joined(join).unwrap().generation, 2);
    let token = scenario.commit_with(committing("m1", 2, 1));
    assert_eq!(scenario.committed(token), Err(GroupError::RebalanceInProgress), "before the sync");
}

#[test]
fn a_simple_consumer_commits_without_a_group_and_any_offset() {
    let mut scenario = Scenario::new();
    for (group, offset) in [("g", -2), ("", 5)] {
        let token = scenario.commit_with(OffsetCommitRequest { group: group.into(), ..committing("", -1, offset) });
        assert!(scenario.committed(token).is_ok());
        assert_eq!(offset_of(&scenario, group), Some(offset), "{group}");
    }
    assert_eq!(scenario.state(), ClassicState::Empty);
    let mut long = committing("", -1, 9);
    long.offsets[0].metadata = "x".repeat(4097);
    let token = scenario.commit_with(long);
    let error = GroupError::OffsetMetadataTooLarge { length: 4097, length_max: 4096 };
    assert_eq!(scenario.committed(token).unwrap(), [(partition("t", 0), Err(error))]);
}

#[test]
fn results_that_come_out_of_order_take_effect_in_order() {
    let mut scenario = Scenario::new();
    scenario.is_log_fast = false;
    let first = scenario.commit_with(committing("", -1, 1));
    let second = scenario.commit_with(committing("", -1, 2));
    scenario.appends.swap(0, 1);
    scenario.store();
    assert!(scenario.is_waiting(first) && scenario.is_waiting(second));
    scenario.store();
    assert!(scenario.committed(first).is_ok() && scenario.committed(second).is_ok());
    assert_eq!(offset_of(&scenario, "g"), Some(2));
}

#[test]
fn requests_wait_for_the_load_and_end_with_the_unload() {
    let mut scenario = Scenario::around(GroupCoordinator::new(GroupConfig::default()));
    let join = scenario.join("m1");
    assert_eq!(scenario.joined(join), Err(GroupError::CoordinatorLoadInProgress));
    assert_eq!(scenario.heartbeat("m1", None, 1), Ok(()), "its session starts when the load ends");
    let sync = scenario.sync("m1", 1, &[]);
    assert_eq!(scenario.synced(sync), Err(GroupError::RebalanceInProgress));
    let commit = scenario.commit_with(committing("m1", 1, 1));
    assert_eq!(scenario.committed(commit), Err(GroupError::CoordinatorLoadInProgress));
    assert_eq!(scenario.coordinator.list(), Err(GroupError::CoordinatorLoadInProgress));
    scenario.coordinator.activate(START);

    scenario.is_log_fast = false;
    let join = scenario.join("m1");
    let simple = scenario.commit_with(OffsetCommitRequest { group: "h".into(), ..committing("", -1, 1) });
    scenario.coordinator.unload();
    scenario.settle();
    assert_eq!(scenario.joined(join), Err(GroupError::NotCoordinator));
    assert_eq!(scenario.committed(simple), Err(GroupError::NotCoordinator));
    let late = scenario.join("m2");
    assert_eq!(scenario.joined(late), Err(GroupError::NotCoordinator));
    assert_eq!(scenario.coordinator.poll_timeout(), None);
    // The results of what was appended before still come in.
    scenario.store();
}

#[test]
fn unknown_groups_answer_as_kafkas_do() {
    let mut scenario = Scenario::new();
    assert_eq!(scenario.state(), ClassicState::Dead);
    assert_eq!(scenario.heartbeat("m1", None, 1), Err(GroupError::UnknownMemberId));
    let (sync, leave) = (scenario.sync("m1", 1, &[]), scenario.leave(&[("m1", None)]));
    assert_eq!(scenario.synced(sync), Err(GroupError::UnknownMemberId));
    let left = scenario.left(leave).unwrap();
    assert!(left.iter().all(|one| one.outcome == Err(GroupError::UnknownMemberId)), "one by one: {left:?}");
    let join = scenario.rejoin("m1");
    assert_eq!(scenario.joined(join), Err(GroupError::UnknownMemberId));
    let delete = scenario.delete("g");
    assert_eq!(scenario.deleted(delete), Err(GroupError::GroupIdNotFound));
    assert_eq!(delete_offset(&mut scenario, "g", "t"), Err(GroupError::GroupIdNotFound));
    assert_eq!(offset_of(&scenario, "g"), None);
    assert_eq!(scenario.coordinator.list(), Ok(vec![]), "none of these made a group");
}

#[test]
fn joins_are_checked_before_a_group_is_made() {
    let mut scenario = Scenario::new();
    let unnamed = scenario.join_with(JoinRequest { group: "".into(), ..joining("m1") });
    assert_eq!(scenario.joined(unnamed), Err(GroupError::InvalidGroupId));
    for seconds in [5, 1801] {
        let request = JoinRequest { session_timeout: Duration::from_secs(seconds), ..joining("m1") };
        let token = scenario.join_with(request);
        assert!(matches!(scenario.joined(token), Err(GroupError::InvalidSessionTimeout { .. })), "{seconds}");
    }
    let without_protocol = scenario.join_with(JoinRequest { protocols: vec![], ..joining("m1") });
    assert_eq!(scenario.joined(without_protocol), Err(GroupError::InconsistentGroupProtocol));
    assert_eq!(scenario.coordinator.group_ids(), vec![]);
}

#[test]
fn a_group_with_members_is_not_deleted_and_an_empty_one_is_whole() {
    let mut scenario = Scenario::stable(&["m1"]);
    let commit = scenario.commit_with(committing("m1", 1, 5));
    assert!(scenario.committed(commit).is_ok());
    let delete = scenario.delete("g");
    assert_eq!(scenario.deleted(delete), Err(GroupError::NonEmptyGroup));
    let leave = scenario.leave(&[("m1", None)]);
    assert!(scenario.left(leave).is_ok());
    scenario.is_log_fast = false;
    let delete = scenario.delete("g");
    assert_eq!(scenario.state(), ClassicState::Dead);
    let join = scenario.join("m2");
    assert_eq!(scenario.joined(join), Err(GroupError::CoordinatorNotAvailable), "try again when it is gone");
    scenario.store();
    assert!(scenario.is_waiting(delete));
    scenario.store();
    assert_eq!(scenario.deleted(delete), Ok(()));
    assert_eq!(scenario.coordinator.group_ids(), vec![]);
    assert_eq!(scenario.restarted().coordinator.group_ids(), vec![]);
}

#[test]
fn a_deletion_that_is_not_stored_leaves_the_group() {
    let mut scenario = Scenario::stable(&["m1"]);
    let leave = scenario.leave(&[("m1", None)]);
    assert!(scenario.left(leave).is_ok());
    scenario.is_log_fast = false;
    let delete = scenario.delete("g");
    scenario.lose(GroupError::CoordinatorNotAvailable);
    assert_eq!(scenario.deleted(delete), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scenario.state(), ClassicState::Empty);
}

#[test]
fn offsets_of_topics_that_the_group_reads_are_kept() {
    let mut scenario = Scenario::stable(&["m1"]);
    let mut request = committing("m1", 1, 5);
    request.offsets.push(request.offsets[0].clone());
    request.offsets[1].partition = partition("other", 0);
    let commit = scenario.commit_with(request);
    assert!(scenario.committed(commit).is_ok());
    let refused = delete_offset(&mut scenario, "g", "t").unwrap();
    assert_eq!(refused, [(partition("t", 0), Err(GroupError::GroupSubscribedToTopic))]);
    assert_eq!(delete_offset(&mut scenario, "g", "other").unwrap(), [(partition("other", 0), Ok(()))]);
    assert_eq!(scenario.coordinator.offset_count(), 1);
    scenario.coordinator.handle_topic_deleted(&TopicName::new("t").unwrap());
    scenario.settle();
    assert_eq!(scenario.coordinator.offset_count(), 0);
    assert_eq!(scenario.restarted().coordinator.offset_count(), 0);
}

#[test]
fn offsets_of_topics_that_are_gone_go_unless_a_commit_is_on_its_way() {
    let mut scenario = Scenario::new();
    for (topic, id) in [("t", 7), ("t", 8), ("u", 7), ("v", 7)] {
        let mut request = committing("", -1, 5);
        request.offsets[0].partition = partition(topic, id);
        request.offsets[0].topic_id = TopicId(u128::try_from(id).unwrap());
        let commit = scenario.commit_with(request);
        assert!(scenario.committed(commit).is_ok());
    }
    let name = |topic: &str| TopicName::new(topic).unwrap();
    let committed = scenario.coordinator.committed_topics();
    assert_eq!(committed.len(), 4);
    assert!(committed.contains(&(name("t"), TopicId(7))) && committed.contains(&(name("t"), TopicId(8))));
    scenario.is_log_fast = false;
    let mut request = committing("", -1, 6);
    request.offsets[0].partition = partition("u", 7);
    scenario.commit_with(request);
    let gone = [("t", 7), ("u", 7), ("v", 8)].map(|(topic, id)| (name(topic), TopicId(id)));
    scenario.coordinator.handle_topics_gone(&gone.into());
    scenario.settle();
    while !scenario.appends.is_empty() {
        scenario.store();
    }
    for coordinator in [&scenario.coordinator, &scenario.restarted().coordinator] {
        let all = coordinator.fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
        let left: Vec<_> = all.into_iter().map(|(partition, offset)| (partition, offset.unwrap().offset.0)).collect();
        assert_eq!(left, [(partition("t", 8), 5), (partition("u", 7), 6), (partition("v", 7), 5)]);
    }
}

#[test]
fn offsets_expire_a_retention_after_the_group_is_empty_and_the_group_with_them() {
    let mut scenario = Scenario::stable(&["m1"]);
    let commit = scenario.commit_with(committing("m1", 1, 5));
    assert!(scenario.committed(commit).is_ok());
    for _ in 0..8 * 24 {
        // An hour of heartbeats in one step: sessions are extended before their timer is looked at.
        scenario.now.instant = scenario.now.instant.plus(Duration::from_secs(3600));
        scenario.now.wall = rustmq_model::Timestamp(scenario.now.wall.0 + 3_600_000);
        assert_eq!(scenario.heartbeat("m1", None, 1), Ok(()));
        scenario.coordinator.handle_timeout(scenario.now);
        scenario.settle();
    }
    assert_eq!(offset_of(&scenario, "g"), Some(5), "a member still reads the topic");
    let leave = scenario.leave(&[("m1", None)]);
    assert!(scenario.left(leave).is_ok());
    scenario.advance(6 * DAY);
    assert_eq!(offset_of(&scenario, "g"), Some(5));
    scenario.advance(DAY);
    assert_eq!(scenario.coordinator.group_ids(), vec![]);
    assert_eq!(scenario.restarted().coordinator.group_ids(), vec![]);
}

#[test]
fn offsets_of_simple_consumers_expire_one_by_one_and_a_wish_of_their_own_counts() {
    let mut scenario = Scenario::new();
    let commit = scenario.commit_with(committing("", -1, 5));
    assert!(scenario.committed(commit).is_ok());
    let mut short = committing("", -1, 6);
    short.retention = Some(DAY);
    short.offsets[0].partition = partition("t", 1);
    let commit = scenario.commit_with(short);
    assert!(scenario.committed(commit).is_ok());
    scenario.advance(DAY);
    assert_eq!((scenario.coordinator.offset_count(), offset_of(&scenario, "g")), (1, Some(5)));
    scenario.advance(5 * DAY);
    let again = scenario.commit_with(committing("", -1, 7));
    assert!(scenario.committed(again).is_ok());
    scenario.advance(6 * DAY);
    assert_eq!(offset_of(&scenario, "g"), Some(7), "the last commit counts");
    scenario.advance(DAY);
    assert_eq!(scenario.coordinator.group_ids(), vec![]);
}

#[test]
fn a_restart_keeps_generation_members_and_offsets() {
    let mut scenario = Scenario::stable(&["m1", "m2"]);
    let commit = scenario.commit_with(committing("m2", 1, 9));
    assert!(scenario.committed(commit).is_ok());
    let mut restarted = scenario.restarted();
    assert_eq!(restarted.state(), ClassicState::Stable);
    assert_eq!(restarted.heartbeat("m2", None, 1), Ok(()));
    assert_eq!(offset_of(&restarted, "g"), Some(9));
    let sync = restarted.sync_with(syncing("m2", 1, &[]));
    assert_eq!(restarted.synced(sync).unwrap().assignment, "m2");
    let (first, second) = (restarted.rejoin("m1"), restarted.rejoin("m2"));
    assert_eq!(restarted.joined(first).unwrap().generation, 2);
    assert_eq!(restarted.joined(second).unwrap().generation, 2);
}

#[test]
fn a_group_over_a_lowered_limit_rebalances_when_it_is_loaded() {
    let scenario = Scenario::stable(&["m1", "m2"]);
    let mut coordinator = GroupCoordinator::new(GroupConfig { size_max: 1, ..GroupConfig::default() });
    for record in &scenario.log {
        coordinator.replay(&record.key, record.value.as_ref()).unwrap();
    }
    coordinator.activate(START);
    let mut lowered = Scenario::around(coordinator);
    assert_eq!(lowered.heartbeat("m1", None, 1), Err(GroupError::RebalanceInProgress));
    let first = lowered.rejoin("m1");
    let second = lowered.rejoin("m2");
    assert_eq!(lowered.joined(second), Err(GroupError::GroupMaxSizeReached { size_max: 1 }));
    assert_eq!(lowered.joined(first).unwrap().members.len(), 1);
}

#[test]
fn live_records_rebuild_the_coordinator_and_wait_for_appends_made_before() {
    let mut scenario = Scenario::stable(&["m1"]);
    for (group, offset) in [("g", 5), ("h", 6)] {
        let member = if group == "g" { "m1" } else { "" };
        let generation = if group == "g" { 1 } else { -1 };
        let request = OffsetCommitRequest { group: group.into(), ..committing(member, generation, offset) };
        let commit = scenario.commit_with(request);
        assert!(scenario.committed(commit).is_ok());
    }
    scenario.is_log_fast = false;
    scenario.commit_with(committing("m1", 1, 7));
    let point = scenario.coordinator.rewrite_point();
    assert_eq!(scenario.coordinator.live_records(&"g".into(), point), LiveRecords::InFlight);
    scenario.store();
    let mut rebuilt = GroupCoordinator::new(GroupConfig::default());
    for id in scenario.coordinator.group_ids() {
        let LiveRecords::Records(records) = scenario.coordinator.live_records(&id, point) else {
            panic!("{id} is at rest")
        };
        for record in records {
            rebuilt.replay(&record.key, record.value.as_ref()).unwrap();
        }
    }
    rebuilt.activate(scenario.now);
    assert_eq!(rebuilt.describe(&"g".into()), scenario.coordinator.describe(&"g".into()));
    let rebuilt = Scenario::around(rebuilt);
    assert_eq!((offset_of(&rebuilt, "g"), offset_of(&rebuilt, "h")), (Some(7), Some(6)));
    assert_eq!(scenario.coordinator.live_records(&"none".into(), point), LiveRecords::Nothing);
}

#[test]
fn a_group_that_never_rests_is_done_with_its_first_commit_after_the_point() {
    let mut scenario = Scenario::new();
    let mut quiet = committing("", -1, 1);
    quiet.offsets[0].partition = partition("t", 1);
    for request in [committing("", -1, 1), quiet] {
        let commit = scenario.commit_with(request);
        assert!(scenario.committed(commit).is_ok());
    }
    scenario.is_log_fast = false;
    let live = |scenario: &Scenario, point| scenario.coordinator.live_records(&"g".into(), point);
    scenario.commit_with(committing("", -1, 2));
    let point = scenario.coordinator.rewrite_point();
    for offset in 3..5 {
        scenario.commit_with(committing("", -1, offset));
    }
    assert_eq!(live(&scenario, point), LiveRecords::InFlight, "2 was made before the point");
    scenario.store();
    assert_eq!(live(&scenario, point), LiveRecords::InFlight, "2 may be lost if it is not written again, 3 if it is");
    scenario.store();
    // 4 is still on its way; whether it is stored or not, 3 lies above the point.
    let LiveRecords::Records(records) = live(&scenario, point) else { panic!("the busy partition is settled") };
    let mut rebuilt = GroupCoordinator::new(GroupConfig::default());
    for record in &records {
        rebuilt.replay(&record.key, record.value.as_ref()).unwrap();
    }
    rebuilt.activate(START);
    let all = rebuilt.fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
    assert_eq!(all.iter().map(|(partition, _)| partition).collect::<Vec<_>>(), [&partition("t", 1)]);
    let later = scenario.coordinator.rewrite_point();
    scenario.store();
    assert!(matches!(live(&scenario, later), LiveRecords::Records(records) if records.len() == 2));
}

#[test]
fn groups_are_counted_by_state_and_bounded() {
    let config = GroupConfig { groups_max: 2, ..GroupConfig::default() };
    let mut scenario = Scenario::with(config);
    scenario.join("m1");
    let commit = scenario.commit_with(OffsetCommitRequest { group: "h".into(), ..committing("", -1, 0) });
    assert!(scenario.committed(commit).is_ok());
    let counts: BTreeMap<_, _> =
        scenario.coordinator.group_counts().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, BTreeMap::from([(ClassicState::Empty, 1), (ClassicState::PreparingRebalance, 1)]));
    let third = scenario.join_with(JoinRequest { group: "i".into(), ..joining("m2") });
    assert_eq!(scenario.joined(third), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!((scenario.coordinator.member_count(), scenario.coordinator.list().unwrap().len()), (1, 2));
    assert_eq!(Offset(0).0, offset_of(&scenario, "h").unwrap());
}
