#![allow(clippy::unwrap_used)]
mod assigning;
mod classic_members;
mod ownership;

use std::collections::BTreeSet;
use std::time::Duration;

use rustmq_model::{PartitionId, TopicId, TopicName};

use super::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatTiming};
use super::partitions::Assignment;
use super::topics::{TopicCatalogue, TopicFacts};
use crate::coordinator::{AppendFailure, CoordinatorMachine, LiveRecords, ReplyToken, RewritePoint};
use crate::groups::Groups;
use crate::groups::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::request::{ClientIdentity, GroupEvent, GroupRequest, OffsetSelection, ReplyOutcome};
use crate::groups::scenario::{START, Scenario, committing, joining, partition, replay};
use crate::groups::state::{ClassicState, ConsumerState, GroupState};

const T: TopicId = TopicId(7);

fn catalogue(topics: &[(&str, TopicId, usize)]) -> TopicCatalogue {
    let mut catalogue = TopicCatalogue::default();
    for (name, id, partition_count) in topics {
        let facts = TopicFacts { id: *id, partition_count: *partition_count };
        catalogue.insert(TopicName::new(name).unwrap(), facts);
    }
    catalogue
}

/// A cluster with the topic `t` of four partitions.
fn scenario() -> Scenario {
    scenario_with(GroupConfig::default())
}

fn scenario_with(config: GroupConfig) -> Scenario {
    Scenario::of(Groups::with_topics(config, catalogue(&[("t", T, 4)])), START)
}

fn keepalive(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".into(),
        member: member.into(),
        epoch,
        instance: None,
        rack: None,
        client: ClientIdentity { id: "client".to_owned(), host: "/127.0.0.1".to_owned() },
        rebalance_timeout_ms: None,
        topics: None,
        regex: None,
        assignor: None,
        owned: None,
        timing: None,
    }
}

fn join(member: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: Some(60_000),
        topics: Some(BTreeSet::from(["t".to_owned()])),
        owned: Some(Assignment::default()),
        ..keepalive(member, 0)
    }
}

fn join_static(member: &str, instance: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat { instance: Some(instance.into()), ..join(member) }
}

fn owning(member: &str, epoch: i32, partitions: &[i32]) -> ConsumerHeartbeat {
    ConsumerHeartbeat { owned: Some(set(partitions)), ..keepalive(member, epoch) }
}

fn set(partitions: &[i32]) -> Assignment {
    partitions.iter().map(|id| (T, PartitionId(*id))).collect()
}

impl Scenario {
    fn send(&mut self, request: ConsumerHeartbeat) -> ReplyToken {
        self.request(GroupRequest::ConsumerHeartbeat(request))
    }

    fn answered(&mut self, token: ReplyToken) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        match self.answers.remove(&token) {
            Some(ReplyOutcome::ConsumerHeartbeat(outcome)) => outcome,
            other => panic!("a heartbeat is answered with an answer of its own, not with {other:?}"),
        }
    }

    fn beat(&mut self, request: ConsumerHeartbeat) -> Result<(i32, Option<Assignment>), GroupError> {
        let token = self.send(request);
        self.answered(token).map(|answer| (answer.epoch, answer.assignment))
    }

    fn consumer_state(&self) -> ConsumerState {
        self.groups().describe_consumer_group(&"g".into()).unwrap().state
    }

    fn change_topics(&mut self, topics: &[(&str, TopicId, usize)], changed: &str) {
        let changed = Some(vec![TopicName::new(changed).unwrap()]);
        // More changes than any catalogue before: this one is the newest.
        let count = 10 * self.token().0;
        let mut newest = catalogue(topics);
        (0..count).for_each(|_| newest.remove("none"));
        self.coordinator.on_event(self.now, GroupEvent::TopicsChanged { catalogue: newest, changed });
        self.advance(Duration::ZERO);
    }

    fn reloaded(&self) -> Self {
        let mut groups = Groups::with_topics(GroupConfig::default(), catalogue(&[("t", T, 4)]));
        replay(&mut groups, &self.log);
        Self::of(groups, self.now)
    }
}

/// Member `a` with the partitions 0 and 1, and `b` with 2 and 3, in epoch 2.
fn pair() -> Scenario {
    let mut scenario = scenario();
    assert_eq!(scenario.beat(join("a")), Ok((1, Some(set(&[0, 1, 2, 3])))));
    assert_eq!(scenario.beat(join("b")), Ok((2, Some(set(&[])))), "a has not released them");
    assert_eq!(scenario.beat(keepalive("a", 1)), Ok((1, Some(set(&[0, 1])))));
    assert_eq!(scenario.beat(keepalive("b", 2)), Ok((2, None)), "a has not confirmed it");
    assert_eq!(scenario.consumer_state(), ConsumerState::Reconciling);
    assert_eq!(scenario.beat(owning("a", 1, &[0, 1])), Ok((2, None)));
    assert_eq!(scenario.beat(keepalive("b", 2)), Ok((2, Some(set(&[2, 3])))));
    assert_eq!(scenario.consumer_state(), ConsumerState::Stable);
    scenario
}

#[test]
fn partitions_move_once_their_owner_has_confirmed_the_revocation() {
    pair();
}

#[test]
fn a_heartbeat_of_a_stable_member_appends_nothing() {
    let mut scenario = pair();
    let records = scenario.log.len();
    assert_eq!(scenario.beat(keepalive("a", 2)), Ok((2, None)));
    assert_eq!(scenario.beat(owning("b", 2, &[2, 3])), Ok((2, None)));
    let full = ConsumerHeartbeat { epoch: 2, owned: Some(set(&[0, 1])), ..join("a") };
    assert_eq!(scenario.beat(full), Ok((2, Some(set(&[0, 1])))), "a member that states all gets all");
    assert_eq!(scenario.log.len(), records);
}

#[test]
fn heartbeats_are_checked_as_kafkas() {
    let mut scenario = pair();
    let invalid = |outcome| matches!(outcome, Err(GroupError::InvalidHeartbeat { .. }));
    assert!(invalid(scenario.beat(ConsumerHeartbeat { rebalance_timeout_ms: None, ..join("c") })));
    assert!(invalid(scenario.beat(ConsumerHeartbeat { owned: Some(set(&[0])), ..join("c") })));
    assert!(invalid(scenario.beat(ConsumerHeartbeat { owned: None, ..join("c") })));
    assert!(invalid(scenario.beat(ConsumerHeartbeat { topics: None, ..join("c") })));
    assert!(invalid(scenario.beat(keepalive("a", -2))));
    assert!(invalid(scenario.beat(keepalive("a", -3))));
    assert!(invalid(scenario.beat(keepalive("", 1))));
    assert!(invalid(scenario.beat(join_static("c", ""))));
    assert!(invalid(scenario.beat(ConsumerHeartbeat { rack: Some(String::new()), ..join("c") })));
    let sticky = ConsumerHeartbeat { assignor: Some("sticky".to_owned()), ..join("c") };
    assert!(matches!(scenario.beat(sticky), Err(GroupError::UnsupportedAssignor { .. })));
    let pattern = ConsumerHeartbeat { regex: Some("(".to_owned()), ..join("c") };
    assert!(matches!(scenario.beat(pattern), Err(GroupError::InvalidRegularExpression { .. })));
    let unnamed = ConsumerHeartbeat { group: "".into(), ..join("c") };
    assert_eq!(scenario.beat(unnamed), Err(GroupError::InvalidGroupId));
    let elsewhere = ConsumerHeartbeat { group: "h".into(), ..keepalive("a", 1) };
    assert_eq!(scenario.beat(elsewhere), Err(GroupError::GroupIdNotFound));
    assert_eq!(scenario.beat(keepalive("c", 1)), Err(GroupError::UnknownMemberId));
    assert_eq!(scenario.groups().member_count(), 2);
}

#[test]
fn epochs_are_fenced_unless_an_answer_was_lost() {
    let mut scenario = pair();
    assert_eq!(scenario.beat(keepalive("a", 3)), Err(GroupError::FencedMemberEpoch), "of the future");
    assert_eq!(scenario.beat(owning("a", 1, &[0])), Ok((2, None)), "the answer with epoch 2 was lost");
    assert_eq!(scenario.beat(owning("a", 1, &[0, 2])), Err(GroupError::FencedMemberEpoch), "it has more than it got");
    assert_eq!(scenario.beat(keepalive("a", 1)), Err(GroupError::FencedMemberEpoch));
    assert_eq!(scenario.beat(join("a")), Ok((2, Some(set(&[0, 1])))), "a fenced member joins again from any state");
}

#[test]
fn members_leave_and_free_their_partitions() {
    let mut scenario = pair();
    assert_eq!(scenario.beat(keepalive("a", -1)), Ok((-1, None)));
    assert_eq!(scenario.beat(keepalive("a", -1)), Err(GroupError::UnknownMemberId));
    assert_eq!(scenario.beat(keepalive("b", 2)), Ok((3, Some(set(&[0, 1, 2, 3])))));
    assert_eq!(scenario.beat(keepalive("b", -1)), Ok((-1, None)));
    assert_eq!(scenario.consumer_state(), ConsumerState::Empty);
    let delete = scenario.delete("g");
    assert_eq!(scenario.deleted(delete), Ok(()));
    assert_eq!(scenario.groups().group_ids(), vec![]);
    assert_eq!(scenario.reloaded().groups().group_ids(), vec![]);
}

#[test]
fn silent_members_are_fenced_after_their_session() {
    let mut scenario = pair();
    scenario.advance(Duration::from_secs(44));
    assert_eq!(scenario.beat(keepalive("b", 2)), Ok((2, None)));
    scenario.advance(Duration::from_secs(1));
    assert_eq!(scenario.groups().member_count(), 1);
    assert_eq!(scenario.beat(keepalive("b", 2)), Ok((3, Some(set(&[0, 1, 2, 3])))));
    assert_eq!(scenario.beat(keepalive("a", 2)), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_groups_own_session_timeout_holds_from_the_next_heartbeat() {
    let mut scenario = pair();
    let timing = Some(HeartbeatTiming { interval: Duration::from_secs(9), session_timeout: Duration::from_secs(60) });
    assert_eq!(scenario.beat(ConsumerHeartbeat { timing, ..keepalive("b", 2) }), Ok((2, None)));
    scenario.advance(Duration::from_secs(59));
    assert_eq!(scenario.groups().member_count(), 1, "the other one had the timeout of all groups");
    scenario.advance(Duration::from_secs(1));
    assert_eq!(scenario.groups().member_count(), 0);
}

#[test]
fn a_member_that_does_not_revoke_in_time_is_fenced() {
    let mut scenario = scenario();
    let hasty = ConsumerHeartbeat { rebalance_timeout_ms: Some(10_000), ..join("a") };
    assert_eq!(scenario.beat(hasty), Ok((1, Some(set(&[0, 1, 2, 3])))));
    assert_eq!(scenario.beat(join("b")), Ok((2, Some(set(&[])))));
    assert_eq!(scenario.beat(keepalive("a", 1)), Ok((1, Some(set(&[0, 1])))));
    let mut restarted = scenario.reloaded();
    for scenario in [&mut scenario, &mut restarted] {
        scenario.advance(Duration::from_secs(9));
        assert_eq!(scenario.beat(owning("a", 1, &[0, 1, 2, 3])), Ok((1, None)));
        scenario.advance(Duration::from_secs(1));
        assert_eq!(scenario.beat(owning("a", 1, &[0, 1])), Err(GroupError::UnknownMemberId));
        assert_eq!(scenario.beat(keepalive("b", 2)), Ok((3, Some(set(&[0, 1, 2, 3])))));
    }
}

#[test]
fn static_members_keep_their_slot_and_are_not_doubled() {
    let mut scenario = scenario();
    assert_eq!(scenario.beat(join_static("a", "i")), Ok((1, Some(set(&[0, 1, 2, 3])))));
    assert_eq!(scenario.beat(join_static("b", "i")), Err(GroupError::UnreleasedInstanceId));
    assert_eq!(scenario.beat(join_static("a", "i")), Ok((1, Some(set(&[0, 1, 2, 3])))), "the same member");
    let away = ConsumerHeartbeat { epoch: -2, ..join_static("a", "i") };
    assert_eq!(scenario.beat(away), Ok((-2, None)));
    assert_eq!(scenario.beat(join("c")), Ok((2, Some(set(&[])))), "the slot is kept");
    let mut restarted = scenario.reloaded();
    for scenario in [&mut scenario, &mut restarted] {
        let back = scenario.beat(join_static("b", "i"));
        assert_eq!(back, Ok((2, Some(set(&[0, 1])))), "its target has shrunk meanwhile");
        let beat = ConsumerHeartbeat { epoch: 1, ..join_static("a", "i") };
        assert_eq!(scenario.beat(beat), Err(GroupError::FencedInstanceId));
        assert_eq!(scenario.groups().member_count(), 2);
    }
    let unknown = ConsumerHeartbeat { epoch: 2, ..join_static("d", "j") };
    assert_eq!(scenario.beat(unknown), Err(GroupError::UnknownMemberId));
}

#[test]
fn topics_that_appear_grow_and_go_raise_the_epoch() {
    let mut scenario = scenario();
    let both = ConsumerHeartbeat { topics: Some(BTreeSet::from(["t".to_owned(), "u".to_owned()])), ..join("a") };
    assert_eq!(scenario.beat(both), Ok((1, Some(set(&[0, 1, 2, 3])))));
    scenario.change_topics(&[("t", T, 4), ("v", TopicId(9), 1)], "v");
    assert_eq!(scenario.beat(keepalive("a", 1)), Ok((1, None)), "nobody reads v");
    scenario.change_topics(&[("t", T, 5)], "t");
    assert_eq!(scenario.beat(keepalive("a", 1)), Ok((2, Some(set(&[0, 1, 2, 3, 4])))));
    scenario.change_topics(&[("t", T, 5), ("u", TopicId(8), 1)], "u");
    let (epoch, assignment) = scenario.beat(keepalive("a", 2)).unwrap();
    assert_eq!((epoch, assignment.unwrap().len()), (3, 6));
    scenario.change_topics(&[("u", TopicId(8), 1)], "t");
    let (epoch, assignment) = scenario.beat(keepalive("a", 3)).unwrap();
    assert_eq!((epoch, assignment.unwrap().len()), (3, 1), "the member revokes the partitions of t");
}

#[test]
fn patterns_follow_the_topics_and_are_bounded() {
    let mut scenario = scenario();
    let pattern =
        |member: &str, regex: &str| ConsumerHeartbeat { topics: None, regex: Some(regex.to_owned()), ..join(member) };
    assert_eq!(scenario.beat(pattern("a", "t.*")), Ok((1, Some(set(&[0, 1, 2, 3])))));
    scenario.change_topics(&[("t", T, 4), ("t2", TopicId(8), 1)], "t2");
    let (epoch, assignment) = scenario.beat(keepalive("a", 1)).unwrap();
    assert_eq!((epoch, assignment.unwrap().len()), (2, 5));
    for number in 0..99 {
        assert!(scenario.beat(pattern(&format!("m{number}"), &format!("x{number}"))).is_ok());
    }
    let one_more = scenario.beat(pattern("z", "y"));
    assert!(matches!(one_more, Err(GroupError::InvalidRegularExpression { .. })), "{one_more:?}");
    assert!(scenario.beat(pattern("z", "t.*")).is_ok(), "a pattern that others have costs nothing");
}

#[test]
fn while_an_append_is_in_flight_others_wait_and_are_decided_together() {
    let mut scenario = pair();
    scenario.is_log_fast = false;
    let moved = scenario.send(ConsumerHeartbeat { rack: Some("r".to_owned()), ..keepalive("b", 2) });
    assert_eq!(scenario.beat(keepalive("a", 2)), Ok((2, None)), "a stable member does not wait");
    scenario.store();
    assert_eq!(scenario.answered(moved).unwrap().epoch, 2);
    let first = scenario.send(join("c"));
    let (second, third) = (scenario.send(join("d")), scenario.send(keepalive("e", 3)));
    assert_eq!(scenario.appends.len(), 1);
    assert_eq!(scenario.groups().describe_consumer_group(&"g".into()).unwrap().members.len(), 2, "nothing is stored");
    scenario.store();
    assert_eq!(scenario.answered(first).unwrap().epoch, 3);
    assert!(scenario.is_waiting(second) && scenario.is_waiting(third));
    scenario.store();
    assert_eq!(scenario.answered(second).unwrap().epoch, 4);
    assert_eq!(scenario.answered(third), Err(GroupError::UnknownMemberId));
    assert_eq!(scenario.groups().member_count(), 4);
}

#[test]
fn a_lost_append_leaves_no_trace() {
    let mut scenario = pair();
    let before = scenario.groups().describe_consumer_group(&"g".into());
    scenario.is_log_fast = false;
    let (leave, waits) = (scenario.send(keepalive("a", -1)), scenario.send(join("c")));
    scenario.lose(AppendFailure::Unavailable);
    assert_eq!(scenario.answered(leave), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scenario.answered(waits), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scenario.groups().describe_consumer_group(&"g".into()), before);
    scenario.coordinator.check_invariants();
    scenario.is_log_fast = true;
    assert_eq!(scenario.beat(owning("a", 2, &[0, 1])), Ok((2, None)));
    // A session that ends while the log takes nothing ends later.
    scenario.is_log_fast = false;
    scenario.advance(Duration::from_secs(45));
    scenario.lose(AppendFailure::Unavailable);
    assert_eq!(scenario.groups().member_count(), 2);
    scenario.is_log_fast = true;
    scenario.advance(Duration::from_secs(45));
    assert_eq!(scenario.groups().member_count(), 0);
}

#[test]
fn records_over_the_limit_are_refused_before_anything_is_decided() {
    let mut scenario = scenario_with(GroupConfig { batch_bytes_max: 700, ..GroupConfig::default() });
    let long = "m".repeat(300);
    assert_eq!(scenario.beat(join(&long)), Err(GroupError::RecordTooLarge));
    assert_eq!(scenario.groups().group_ids(), vec![]);
    assert!(scenario.beat(join("a")).is_ok());
    scenario.is_log_fast = false;
    let leave = scenario.send(keepalive("a", -1));
    let (one, other) = (scenario.send(join(&long)), scenario.send(join("b")));
    scenario.is_log_fast = true;
    scenario.store();
    scenario.settle();
    assert!(scenario.answered(leave).is_ok() && scenario.answered(other).is_ok(), "one large request stops no other");
    assert_eq!(scenario.answered(one), Err(GroupError::RecordTooLarge));
}

#[test]
fn a_group_has_a_size() {
    let mut config = GroupConfig::default();
    config.consumer.size_max = 1;
    let mut scenario = scenario_with(config);
    assert!(scenario.beat(join_static("a", "i")).is_ok());
    assert_eq!(scenario.beat(join("b")), Err(GroupError::GroupMaxSizeReached { size_max: 1 }));
    assert!(scenario.beat(ConsumerHeartbeat { epoch: -2, ..join_static("a", "i") }).is_ok());
    assert!(scenario.beat(join_static("b", "i")).is_ok(), "a static member that comes back is none more");
}

#[test]
fn a_restart_keeps_the_group() {
    let scenario = pair();
    let mut restarted = scenario.reloaded();
    let before = scenario.groups().describe_consumer_group(&"g".into());
    assert_eq!(restarted.groups().describe_consumer_group(&"g".into()), before);
    restarted.change_topics(&[("t", T, 4)], "t");
    assert_eq!(restarted.beat(keepalive("a", 2)), Ok((2, None)), "equal topics need no new epoch");
    restarted.advance(Duration::from_secs(44));
    assert_eq!(restarted.groups().member_count(), 2, "every member gets a whole session");
}

#[test]
fn commits_count_down_to_the_epoch_of_the_assignment() {
    let mut scenario = pair();
    let mut commit = |member: &str, epoch: i32, number: i32, supports_member_epochs: bool| {
        let mut request = committing(member, epoch, 5);
        request.supports_member_epochs = supports_member_epochs;
        request.offsets[0].partition = partition("t", number);
        let token = scenario.commit_with(request);
        scenario.committed(token).map(|_| ())
    };
    assert_eq!(commit("a", 2, 0, true), Ok(()));
    assert_eq!(commit("a", 1, 0, true), Ok(()), "it has the partition since epoch 1");
    assert_eq!(commit("b", 1, 2, true), Err(GroupError::StaleMemberEpoch));
    assert_eq!(commit("a", 1, 2, true), Err(GroupError::StaleMemberEpoch), "another member's");
    assert_eq!(commit("a", 3, 0, true), Err(GroupError::StaleMemberEpoch));
    assert_eq!(commit("a", 2, 0, false), Err(GroupError::UnsupportedVersion));
    assert_eq!(commit("", -1, 0, true), Err(GroupError::UnknownMemberId));
    let group = &"g".into();
    assert_eq!(scenario.groups().validate_offset_fetch(group, &"a".into(), 2), Ok(()));
    let stale = scenario.groups().validate_offset_fetch(group, &"a".into(), 1);
    assert_eq!(stale, Err(GroupError::StaleMemberEpoch));
    let unknown = scenario.groups().validate_offset_fetch(group, &"c".into(), 1);
    assert_eq!(unknown, Err(GroupError::UnknownMemberId));
    for member in ["a", "b"] {
        assert!(scenario.beat(keepalive(member, -1)).is_ok());
    }
    let admin = scenario.commit_with(committing("", -1, 6));
    assert!(scenario.committed(admin).is_ok(), "an administrator commits where no member does");
}

#[test]
fn a_group_shows_itself_by_its_type() {
    let scenario = pair();
    assert_eq!(scenario.groups().describe(&"g".into()).unwrap().state, ClassicState::Dead);
    let listing = &scenario.groups().list()[0];
    assert_eq!(
        (listing.state, listing.protocol_type.as_str()),
        (GroupState::Consumer(ConsumerState::Stable), "consumer")
    );
    let described = scenario.groups().describe_consumer_group(&"g".into()).unwrap();
    assert_eq!((described.epoch, described.assignment_epoch, described.assignor.as_str()), (2, 2, "uniform"));
    assert_eq!((&described.members[0].assignment, &described.members[1].target), (&set(&[0, 1]), &set(&[2, 3])));
    assert_eq!(scenario.groups().describe_consumer_group(&"h".into()), Err(GroupError::GroupIdNotFound));
}

#[test]
fn empty_groups_change_their_protocol_and_others_do_not() {
    let mut scenario = Scenario::stable(&["m1"]);
    assert_eq!(scenario.beat(join("a")), Err(GroupError::GroupIdNotFound), "it has a classic member");
    let commit = scenario.commit_with(committing("m1", 1, 5));
    assert!(scenario.committed(commit).is_ok());
    let leave = scenario.leave(&[("m1", None)]);
    assert!(scenario.left(leave).is_ok());
    scenario.is_log_fast = false;
    let lost = scenario.send(join("a"));
    scenario.lose(AppendFailure::Unavailable);
    assert_eq!(scenario.answered(lost), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scenario.state(), ClassicState::Empty, "it is the classic group again");
    scenario.is_log_fast = true;
    assert!(scenario.beat(join("a")).is_ok());
    assert_eq!(scenario.reloaded().groups().describe_consumer_group(&"g".into()).unwrap().members.len(), 1);
    assert!(scenario.beat(keepalive("a", -1)).is_ok());
    let again = scenario.join_with(joining("m2"));
    assert_eq!(scenario.joined(again), Err(GroupError::CoordinatorNotAvailable), "the group goes first");
    let classic = scenario.join("m2");
    scenario.advance(Duration::from_secs(3));
    assert_eq!(scenario.joined(classic).unwrap().generation, 1);
    let offsets = scenario.groups().fetch_offsets(&"g".into(), &OffsetSelection::All).unwrap();
    assert_eq!(offsets.len(), 1, "offsets outlive both changes");
}

#[test]
fn live_records_rebuild_the_group() {
    let mut scenario = pair();
    let group = &"g".into();
    let rebuild = |scenario: &Scenario| {
        let LiveRecords::Records(records) = scenario.groups().live_records(group, RewritePoint::END) else {
            panic!("the group is at rest")
        };
        let mut groups = Groups::with_topics(GroupConfig::default(), catalogue(&[("t", T, 4)]));
        replay(&mut groups, &records);
        Scenario::of(groups, scenario.now).groups().describe_consumer_group(group)
    };
    assert_eq!(rebuild(&scenario), scenario.groups().describe_consumer_group(group));
    scenario.is_log_fast = false;
    scenario.send(keepalive("a", -1));
    let point = RewritePoint::at(scenario.appends[0].0);
    let live = |scenario: &Scenario| scenario.groups().live_records(group, point);
    assert_eq!(live(&scenario), LiveRecords::Pending, "a tombstone is on its way");
    scenario.store();
    let LiveRecords::Records(records) = live(&scenario) else { panic!("only b is left below the point") };
    assert_eq!(records.len(), 2, "b's subscription and current assignment");
}
