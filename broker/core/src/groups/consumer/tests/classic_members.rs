//! Members of the classic protocol among members of the consumer protocol.
#![allow(clippy::unwrap_used)]
use bytes::Bytes;

use super::*;
use crate::groups::request::{JoinRequest, OffsetCommitRequest, Protocol, SyncRequest};
use crate::groups::scenario::{joining_static, syncing};
use crate::groups::subscription::encode_assignment;

/// The subscription to topic `t`, in version 1, of a member that has these partitions of it.
fn subscription(owned: &[i32]) -> Bytes {
    let mut bytes = b"\x00\x01\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff\x00\x00\x00\x01\x00\x01t".to_vec();
    bytes.extend(i32::try_from(owned.len()).unwrap().to_be_bytes());
    owned.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
    bytes.into()
}

/// A join again of a member that has these partitions.
fn rejoining(member: &str, owned: &[i32]) -> JoinRequest {
    let protocols = vec![Protocol { name: "range".to_owned(), metadata: subscription(owned) }];
    JoinRequest { member: member.into(), protocols, ..joining(member) }
}

fn assigned(version: i16, partitions: &[i32]) -> Bytes {
    let partitions: Vec<_> = partitions.iter().copied().map(PartitionId).collect();
    let topics = if partitions.is_empty() { vec![] } else { vec![("t", partitions)] };
    encode_assignment(version, &topics)
}

impl Scenario {
    fn joins(&mut self, request: JoinRequest) -> Result<i32, GroupError> {
        let token = self.join_with(request);
        self.joined(token).map(|joined| joined.generation)
    }

    fn syncs(&mut self, member: &str, generation: i32) -> Result<Bytes, GroupError> {
        let token = self.sync(member, generation, &[]);
        self.synced(token).map(|synced| synced.assignment)
    }
}

/// Member `a` of the consumer protocol with the partitions 0 and 1, and `b` of the classic one with
/// 2 and 3, in epoch 2.
fn mixed() -> Scenario {
    let mut scenario = scenario();
    assert_eq!(scenario.beat(join("a")), Ok((1, Some(set(&[0, 1, 2, 3])))));
    let token = scenario.join_with(joining("b"));
    let joined = scenario.joined(token).unwrap();
    assert_eq!((joined.generation, joined.protocol.as_deref(), joined.leader.as_str()), (2, Some("range"), ""));
    assert_eq!(scenario.syncs("b", 2), Ok(assigned(0, &[])), "a has not released them");
    assert_eq!(scenario.heartbeat("b", None, 2), Ok(()));
    assert_eq!(scenario.beat(keepalive("a", 1)), Ok((1, Some(set(&[0, 1])))));
    assert_eq!(scenario.beat(owning("a", 1, &[0, 1])), Ok((2, None)));
    assert_eq!(scenario.heartbeat("b", None, 2), Err(GroupError::RebalanceInProgress), "they are free");
    assert_eq!(scenario.joins(rejoining("b", &[])), Ok(2));
    assert_eq!(scenario.syncs("b", 2), Ok(assigned(1, &[2, 3])));
    assert_eq!(scenario.heartbeat("b", None, 2), Ok(()));
    assert_eq!(scenario.consumer_state(), ConsumerState::Stable);
    scenario
}

#[test]
fn a_classic_member_takes_its_assignment_from_the_target() {
    let scenario = mixed();
    let described = scenario.groups().describe_consumer_group(&"g".into()).unwrap();
    assert!(described.members[1].subscription.classic.is_some());
    let mut reloaded = scenario.reloaded();
    assert_eq!(reloaded.syncs("b", 2), Ok(assigned(1, &[2, 3])));
}

#[test]
fn a_classic_member_revokes_before_others_get_its_partitions() {
    let mut scenario = mixed();
    scenario.beat(ConsumerHeartbeat { epoch: -1, ..keepalive("a", -1) }).unwrap();
    assert_eq!(scenario.heartbeat("b", None, 2), Err(GroupError::RebalanceInProgress));
    assert_eq!(scenario.syncs("b", 2), Err(GroupError::RebalanceInProgress));
    assert_eq!(scenario.joins(rejoining("b", &[2, 3])), Ok(3));
    assert_eq!(scenario.syncs("b", 3), Ok(assigned(1, &[0, 1, 2, 3])));
    assert_eq!(scenario.beat(join("c")), Ok((4, Some(set(&[])))));
    assert_eq!(scenario.heartbeat("b", None, 3), Err(GroupError::RebalanceInProgress));
    assert_eq!(scenario.joins(rejoining("b", &[0, 1, 2, 3])), Ok(3), "it revokes in its old epoch");
    assert_eq!(scenario.syncs("b", 3), Ok(assigned(1, &[0, 1])));
    assert_eq!(scenario.beat(keepalive("c", 4)), Ok((4, None)));
    assert_eq!(scenario.heartbeat("b", None, 3), Err(GroupError::RebalanceInProgress), "it confirms by a join");
    assert_eq!(scenario.joins(rejoining("b", &[0, 1])), Ok(4));
    assert_eq!(scenario.beat(keepalive("c", 4)), Ok((4, Some(set(&[2, 3])))));
}

#[test]
fn a_classic_member_that_takes_no_step_in_its_rebalance_timeout_is_fenced() {
    // The rebalance timeout is 60 s, and heartbeats go on.
    let outlives = |scenario: &mut Scenario, generation: i32| {
        for _ in 0..11 {
            scenario.advance(Duration::from_secs(6));
            let _ = scenario.heartbeat("b", None, generation);
            let _ = scenario.beat(keepalive("a", 2));
        }
        scenario.heartbeat("b", None, generation) != Err(GroupError::UnknownMemberId)
    };
    let mut stable = mixed();
    assert!(outlives(&mut stable, 2));
    let mut unsynced = mixed();
    unsynced.joins(rejoining("b", &[2, 3])).unwrap();
    assert!(!outlives(&mut unsynced, 2), "it never fetches its assignment");
    let mut behind = mixed();
    behind.beat(join("c")).unwrap();
    assert!(!outlives(&mut behind, 2), "it never joins again");
    let mut silent = mixed();
    silent.advance(Duration::from_secs(11));
    assert_eq!(silent.heartbeat("b", None, 2), Err(GroupError::UnknownMemberId), "its own session timeout counts");
}

#[test]
fn classic_requests_are_checked() {
    let mut scenario = mixed();
    assert_eq!(scenario.heartbeat("b", None, 1), Err(GroupError::IllegalGeneration));
    assert_eq!(scenario.heartbeat("a", None, 2), Err(GroupError::UnknownMemberId), "it uses the other protocol");
    assert_eq!(scenario.heartbeat("b", Some("i"), 2), Err(GroupError::UnknownMemberId));
    assert_eq!(scenario.syncs("b", 1), Err(GroupError::IllegalGeneration));
    let other = SyncRequest { protocol: Some("sticky".to_owned()), ..syncing("b", 2, &[]) };
    let token = scenario.sync_with(other);
    assert_eq!(scenario.synced(token).unwrap_err(), GroupError::InconsistentGroupProtocol);
    let offer = |name: &str, metadata: Bytes| vec![Protocol { name: name.to_owned(), metadata }];
    for refused in [
        JoinRequest { protocol_type: "connect".to_owned(), ..joining("c") },
        JoinRequest { protocols: vec![], ..joining("c") },
        JoinRequest { protocols: offer("sticky", subscription(&[])), ..joining("c") },
        JoinRequest { protocols: offer("range", Bytes::from_static(b"\x00")), ..joining("c") },
    ] {
        assert_eq!(scenario.joins(refused), Err(GroupError::InconsistentGroupProtocol));
    }
    let first = JoinRequest { requires_known_member_id: true, ..joining("c") };
    assert_eq!(scenario.joins(first), Err(GroupError::MemberIdRequired { member_id: "c".into() }));
    assert_eq!(scenario.groups().member_count(), 2);
    let config = GroupConfig::default();
    let consumer = crate::groups::config::ConsumerGroupConfig { size_max: 1, ..config.consumer.clone() };
    let mut full = scenario_with(GroupConfig { consumer, ..config });
    full.beat(join("a")).unwrap();
    assert_eq!(full.joins(joining("b")), Err(GroupError::GroupMaxSizeReached { size_max: 1 }));
}

#[test]
fn classic_members_leave_and_commit_in_their_generation() {
    let mut scenario = mixed();
    for (generation, expected) in [(2, true), (1, false), (3, false)] {
        let commit = scenario
            .commit_with(OffsetCommitRequest { supports_member_epochs: false, ..committing("b", generation, 5) });
        let outcome = scenario.committed(commit);
        assert_eq!(outcome.is_ok(), expected);
        assert!(expected || outcome == Err(GroupError::IllegalGeneration));
    }
    let token = scenario.leave(&[("a", None), ("nobody", None), ("b", None), ("", Some("i"))]);
    let outcomes: Vec<_> = scenario.left(token).unwrap().into_iter().map(|left| left.outcome.is_ok()).collect();
    assert_eq!(outcomes, [false, false, true, false]);
    assert_eq!(scenario.beat(keepalive("a", 2)), Ok((3, Some(set(&[0, 1, 2, 3])))));
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_partitions() {
    let mut scenario = scenario();
    scenario.beat(join("a")).unwrap();
    scenario.beat(join_static("s1", "i")).unwrap();
    scenario.beat(owning("a", 1, &[0, 1])).unwrap();
    assert_eq!(scenario.beat(keepalive("s1", 2)), Ok((2, Some(set(&[2, 3])))));
    assert_eq!(scenario.joins(joining_static("s2", "i")), Ok(2), "the newcomer replaces it");
    assert_eq!(scenario.syncs("s2", 2), Ok(assigned(0, &[2, 3])));
    let fenced = ConsumerHeartbeat { instance: Some("i".into()), ..keepalive("s1", 2) };
    assert_eq!(scenario.beat(fenced), Err(GroupError::FencedInstanceId));
    let stranger = JoinRequest { member: "s1".into(), ..joining_static("s1", "i") };
    assert_eq!(scenario.joins(stranger), Err(GroupError::FencedInstanceId));
    let unknown = JoinRequest { member: "s3".into(), ..joining_static("s3", "j") };
    assert_eq!(scenario.joins(unknown), Err(GroupError::UnknownMemberId));
    assert_eq!(scenario.beat(join_static("s4", "i")), Ok((2, Some(set(&[2, 3])))), "back again");
    assert_eq!(scenario.groups().member_count(), 2);
}

#[test]
fn a_classic_member_does_not_join_a_group_whose_last_member_leaves() {
    let mut scenario = scenario();
    scenario.beat(join("a")).unwrap();
    scenario.is_log_fast = false;
    let left = scenario.send(keepalive("a", -1));
    let joins = scenario.join_with(joining("b"));
    scenario.store();
    assert!(scenario.answered(left).is_ok());
    assert_eq!(scenario.joined(joins), Err(GroupError::CoordinatorNotAvailable), "the group becomes a classic one");
}

#[test]
fn sync_and_heartbeat_show_committed_state_only() {
    let mut scenario = mixed();
    scenario.is_log_fast = false;
    let c = scenario.send(join("c"));
    assert!(scenario.is_waiting(c));
    assert_eq!(scenario.heartbeat("b", None, 2), Ok(()), "the new epoch may be lost");
    assert_eq!(scenario.syncs("b", 2), Ok(assigned(1, &[2, 3])));
    let b = scenario.join_with(rejoining("b", &[2, 3]));
    scenario.lose(AppendFailure::Unavailable);
    assert_eq!(scenario.answered(c), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scenario.joined(b).unwrap_err(), GroupError::CoordinatorNotAvailable);
    assert_eq!(scenario.heartbeat("b", None, 2), Ok(()));
}
