#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_model::{Offset, TopicId, TopicName};

use super::*;
use crate::groups::request::{
    JoinRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetSelection, PartitionOutcomes,
};
use crate::groups::scenario::{START, Scenario, committing, joining, loaded, loading, partition, replay, syncing};
use crate::groups::state::{ClassicState, GroupState};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn offset_of(scenario: &Scenario, group: &str) -> Option<i64> {
    let selection = OffsetSelection::Given(vec![partition("t", 0)]);
    let offsets = scenario.groups().fetch_offsets(&group.into(), &selection).unwrap();
    offsets[0].1.as_ref().map(|committed| committed.offset.0)
}

fn delete_offset(scenario: &mut Scenario, group: &str, topic: &str) -> Result<PartitionOutcomes, GroupError> {
    let request = OffsetDeleteRequest { group: group.into(), partitions: vec![partition(topic, 0)] };
    let token = scenario.request(GroupRequest::DeleteOffsets(request));
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
    scenario.lose(AppendFailure::Unavailable);
    assert_eq!(scenario.committed(lost), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(offset_of(&scenario, "g"), Some(42));
    let restarted = scenario.restarted();
    let all = restarted.groups().fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
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
fn requests_wait_for_the_load_and_end_with_the_resignation() {
    let mut scenario = Scenario::around(loading());
    let join = scenario.join("m1");
    assert_eq!(scenario.joined(join), Err(GroupError::CoordinatorLoadInProgress));
    assert_eq!(scenario.heartbeat("m1", None, 1), Ok(()), "its session starts when the load ends");
    let sync = scenario.sync("m1", 1, &[]);
    assert_eq!(scenario.synced(sync), Err(GroupError::RebalanceInProgress));
    let commit = scenario.commit_with(committing("m1", 1, 1));
    assert_eq!(scenario.committed(commit), Err(GroupError::CoordinatorLoadInProgress));
    let unnamed = scenario.join_with(JoinRequest { group: "".into(), ..joining("m1") });
    assert_eq!(scenario.joined(unnamed), Err(GroupError::InvalidGroupId), "trying again does not help");
    scenario.coordinator.activate(START, loaded(Groups::new(GroupConfig::default())));

    scenario.is_log_fast = false;
    let join = scenario.join("m1");
    let simple = scenario.commit_with(OffsetCommitRequest { group: "h".into(), ..committing("", -1, 1) });
    scenario.coordinator.resign();
    scenario.settle();
    assert!(scenario.is_waiting(join) && scenario.is_waiting(simple), "the driver answers all who are left");
    let late = scenario.join("m2");
    assert_eq!(scenario.joined(late), Err(GroupError::NotCoordinator));
    assert_eq!(scenario.heartbeat("m1", None, 1), Err(GroupError::NotCoordinator));
    assert_eq!(scenario.coordinator.poll_timeout(), None);
    // The results of earlier appends still come in.
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
    assert_eq!(scenario.groups().list(), vec![], "none of these made a group");
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
    assert_eq!(scenario.groups().group_ids(), vec![]);
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
    assert_eq!(scenario.groups().group_ids(), vec![]);
    assert_eq!(scenario.restarted().groups().group_ids(), vec![]);
}

#[test]
fn a_deletion_that_is_not_stored_leaves_the_group() {
    let mut scenario = Scenario::stable(&["m1"]);
    let leave = scenario.leave(&[("m1", None)]);
    assert!(scenario.left(leave).is_ok());
    scenario.is_log_fast = false;
    let delete = scenario.delete("g");
    scenario.lose(AppendFailure::Unavailable);
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
    assert_eq!(scenario.groups().offset_count(), 1);
    scenario.coordinator.on_event(START, GroupEvent::TopicDeleted(TopicName::new("t").unwrap()));
    scenario.settle();
    assert_eq!(scenario.groups().offset_count(), 0);
    assert_eq!(scenario.restarted().groups().offset_count(), 0);
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
    let committed = scenario.groups().committed_topics();
    assert_eq!(committed.len(), 4);
    assert!(committed.contains(&(name("t"), TopicId(7))) && committed.contains(&(name("t"), TopicId(8))));
    scenario.is_log_fast = false;
    let mut request = committing("", -1, 6);
    request.offsets[0].partition = partition("u", 7);
    scenario.commit_with(request);
    let gone = [("t", 7), ("u", 7), ("v", 8)].map(|(topic, id)| (name(topic), TopicId(id)));
    scenario.coordinator.on_event(START, GroupEvent::TopicsMissing(gone.into()));
    scenario.settle();
    while !scenario.appends.is_empty() {
        scenario.store();
    }
    for groups in [scenario.groups(), scenario.restarted().groups()] {
        let all = groups.fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
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
    assert_eq!(scenario.groups().group_ids(), vec![]);
    assert_eq!(scenario.restarted().groups().group_ids(), vec![]);
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
    assert_eq!((scenario.groups().offset_count(), offset_of(&scenario, "g")), (1, Some(5)));
    scenario.advance(5 * DAY);
    let again = scenario.commit_with(committing("", -1, 7));
    assert!(scenario.committed(again).is_ok());
    scenario.advance(6 * DAY);
    assert_eq!(offset_of(&scenario, "g"), Some(7), "the last commit counts");
    scenario.advance(DAY);
    assert_eq!(scenario.groups().group_ids(), vec![]);
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
    let mut groups = Groups::new(GroupConfig { size_max: 1, ..GroupConfig::default() });
    replay(&mut groups, &scenario.log);
    let mut lowered = Scenario::of(groups, START);
    assert_eq!(lowered.heartbeat("m1", None, 1), Err(GroupError::RebalanceInProgress));
    let first = lowered.rejoin("m1");
    let second = lowered.rejoin("m2");
    assert_eq!(lowered.joined(second), Err(GroupError::GroupMaxSizeReached { size_max: 1 }));
    assert_eq!(lowered.joined(first).unwrap().members.len(), 1);
}

#[test]
fn live_records_rebuild_the_groups_and_wait_for_what_is_pending() {
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
    let live = |scenario: &Scenario, group: &GroupId| scenario.groups().live_records(group, RewritePoint::END);
    assert_eq!(live(&scenario, &"g".into()), LiveRecords::Pending, "5 written after 7 would win");
    scenario.store();
    let mut rebuilt = Groups::new(GroupConfig::default());
    for id in scenario.groups().group_ids() {
        let LiveRecords::Records(records) = live(&scenario, &id) else { panic!("{id} is at rest") };
        replay(&mut rebuilt, &records);
    }
    let rebuilt = Scenario::of(rebuilt, scenario.now);
    assert_eq!(rebuilt.groups().describe(&"g".into()), scenario.groups().describe(&"g".into()));
    assert_eq!((offset_of(&rebuilt, "g"), offset_of(&rebuilt, "h")), (Some(7), Some(6)));
    assert_eq!(live(&scenario, &"none".into()), LiveRecords::Nothing);
}

#[test]
fn what_is_written_after_the_point_is_not_live_below_it() {
    let mut scenario = Scenario::new();
    let mut quiet = committing("", -1, 1);
    quiet.offsets[0].partition = partition("t", 1);
    for request in [committing("", -1, 1), quiet] {
        let commit = scenario.commit_with(request);
        assert!(scenario.committed(commit).is_ok());
    }
    scenario.is_log_fast = false;
    scenario.commit_with(committing("", -1, 2));
    let point = RewritePoint::at(scenario.appends[0].0);
    scenario.commit_with(committing("", -1, 3));
    let live = |scenario: &Scenario| scenario.groups().live_records(&"g".into(), point);
    assert_eq!(live(&scenario), LiveRecords::Pending, "2 may be lost if 1 is not written again, or overtaken if it is");
    scenario.store();
    // 3 is still on its way; whether it is stored or not, 2 lies above the point.
    let LiveRecords::Records(records) = live(&scenario) else { panic!("the busy partition is settled") };
    let mut rebuilt = Groups::new(GroupConfig::default());
    replay(&mut rebuilt, &records);
    let all = rebuilt.fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
    assert_eq!(all.iter().map(|(partition, _)| partition).collect::<Vec<_>>(), [&partition("t", 1)]);
}

#[test]
fn a_tombstone_on_its_way_is_not_written_again() {
    let mut scenario = Scenario::new();
    let commit = scenario.commit_with(committing("", -1, 5));
    assert!(scenario.committed(commit).is_ok());
    scenario.is_log_fast = false;
    scenario.advance(8 * DAY);
    assert_eq!(scenario.appends.len(), 2, "the offset's tombstone and the group's");
    scenario.advance(DAY);
    assert_eq!(scenario.appends.len(), 2);
}

#[test]
fn a_topic_that_is_deleted_again_needs_no_second_tombstone_unless_a_commit_came_between() {
    let mut scenario = Scenario::new();
    let commit = scenario.commit_with(committing("", -1, 5));
    assert!(scenario.committed(commit).is_ok());
    scenario.is_log_fast = false;
    let delete = |scenario: &mut Scenario| {
        scenario.coordinator.on_event(START, GroupEvent::TopicDeleted(TopicName::new("t").unwrap()));
        scenario.settle();
        scenario.appends.len()
    };
    assert_eq!((delete(&mut scenario), delete(&mut scenario)), (1, 1));
    scenario.commit_with(committing("", -1, 6));
    assert_eq!(delete(&mut scenario), 3, "the second tombstone comes after the second commit");
    while !scenario.appends.is_empty() {
        scenario.store();
    }
    assert_eq!((offset_of(&scenario, "g"), offset_of(&scenario.restarted(), "g")), (None, None));
}

#[test]
fn groups_are_counted_by_state_and_bounded() {
    let config = GroupConfig { groups_max: 2, ..GroupConfig::default() };
    let mut scenario = Scenario::with(config);
    scenario.join("m1");
    let commit = scenario.commit_with(OffsetCommitRequest { group: "h".into(), ..committing("", -1, 0) });
    assert!(scenario.committed(commit).is_ok());
    let counts: BTreeMap<_, _> = scenario.groups().group_counts().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        counts,
        BTreeMap::from(
            [ClassicState::Empty, ClassicState::PreparingRebalance].map(|state| (GroupState::Classic(state), 1))
        )
    );
    let third = scenario.join_with(JoinRequest { group: "i".into(), ..joining("m2") });
    assert_eq!(scenario.joined(third), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!((scenario.groups().member_count(), scenario.groups().list().len()), (1, 2));
    assert_eq!(Offset(0).0, offset_of(&scenario, "h").unwrap());
}
