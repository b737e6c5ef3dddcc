#![allow(clippy::unwrap_used)]
use std::time::Duration;

use bytes::Bytes;

use crate::coordinator::AppendFailure;
use crate::groups::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::request::{JoinRequest, SyncRequest};
use crate::groups::scenario::{Scenario, joining, joining_static, offers, syncing};
use crate::groups::state::ClassicState;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_first_member_forms_a_group_and_gets_its_assignment_when_it_is_stored() {
    let mut scenario = Scenario::new();
    scenario.is_log_fast = false;
    let join = scenario.join("m1");
    assert_eq!(scenario.state(), ClassicState::PreparingRebalance);
    scenario.advance(Duration::ZERO);
    let joined = scenario.joined(join).unwrap();
    assert_eq!((joined.generation, joined.leader.as_str(), joined.member.as_str()), (1, "m1", "m1"));
    assert_eq!((joined.protocol.as_deref(), joined.members.len()), (Some("range"), 1));
    let sync = scenario.sync("m1", 1, &[("m1", "all")]);
    assert_eq!(scenario.state(), ClassicState::CompletingRebalance);
    assert!(scenario.is_waiting(sync), "the assignment is not stored yet");
    scenario.store();
    assert_eq!(scenario.synced(sync).unwrap().assignment, "all");
    assert_eq!(scenario.state(), ClassicState::Stable);
}

#[test]
fn an_assignment_that_is_not_stored_starts_a_new_rebalance() {
    let mut scenario = Scenario::new();
    scenario.is_log_fast = false;
    let join = scenario.join("m1");
    scenario.advance(Duration::ZERO);
    scenario.joined(join).unwrap();
    let sync = scenario.sync("m1", 1, &[("m1", "all")]);
    scenario.lose(AppendFailure::Unavailable);
    assert_eq!(scenario.synced(sync), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scenario.state(), ClassicState::PreparingRebalance);
}

#[test]
fn a_dynamic_member_is_told_its_id_first() {
    let mut scenario = Scenario::new();
    let request = JoinRequest { requires_known_member_id: true, ..joining("m1") };
    let first = scenario.join_with(request.clone());
    assert_eq!(scenario.joined(first), Err(GroupError::MemberIdRequired { member_id: "m1".into() }));
    assert_eq!(scenario.state(), ClassicState::Empty);
    let second = scenario.join_with(JoinRequest { member: "m1".into(), new_member: "m2".into(), ..request.clone() });
    scenario.advance(Duration::ZERO);
    assert_eq!(scenario.joined(second).unwrap().member.as_str(), "m1");
    // An id that is not used within the session timeout lapses.
    let third = scenario.join_with(JoinRequest { new_member: "m3".into(), ..request.clone() });
    assert!(scenario.joined(third).is_err());
    scenario.advance(10 * SECOND);
    let late = scenario.join_with(JoinRequest { member: "m3".into(), ..request });
    assert_eq!(scenario.joined(late), Err(GroupError::UnknownMemberId));
}

#[test]
fn an_id_that_was_handed_out_holds_the_rebalance_until_it_joins_or_lapses() {
    let mut scenario = Scenario::stable(&["m1"]);
    let told = scenario.join_with(JoinRequest { requires_known_member_id: true, ..joining("m2") });
    assert!(scenario.joined(told).is_err());
    let rejoin = scenario.rejoin("m1");
    assert!(scenario.is_waiting(rejoin), "m2 is known");
    let join = scenario.join_with(JoinRequest { member: "m2".into(), ..joining("m2") });
    assert_eq!(scenario.joined(rejoin).unwrap().members.len(), 2);
    assert_eq!(scenario.joined(join).unwrap().members.len(), 0);
}

#[test]
fn a_new_group_waits_for_its_delay_and_longer_while_members_come() {
    let mut scenario = Scenario::with(GroupConfig { initial_rebalance_delay: 3 * SECOND, ..GroupConfig::default() });
    let request = |member: &str| JoinRequest { rebalance_timeout: 8 * SECOND, ..joining(member) };
    let first = scenario.join_with(request("m1"));
    scenario.advance(2 * SECOND);
    let second = scenario.join_with(request("m2"));
    scenario.advance(SECOND);
    assert!(scenario.is_waiting(first), "m2 extended the wait to 6 s");
    scenario.advance(2 * SECOND);
    let third = scenario.join_with(request("m3"));
    scenario.advance(SECOND);
    assert!(scenario.is_waiting(first), "m3 extended it again, to the rebalance timeout of 8 s");
    scenario.advance(SECOND);
    let fourth = scenario.join_with(request("m4"));
    scenario.advance(SECOND);
    for token in [first, second, third, fourth] {
        assert_eq!(scenario.joined(token).unwrap().generation, 1);
    }
}

#[test]
fn a_new_group_waits_for_its_delay_when_an_id_lapses_or_a_member_leaves_or_expires() {
    let delayed = || Scenario::with(GroupConfig { initial_rebalance_delay: 3 * SECOND, ..GroupConfig::default() });
    let mut scenario = delayed();
    let told = JoinRequest { requires_known_member_id: true, session_timeout: 6 * SECOND, ..joining("m1") };
    let told = scenario.join_with(told);
    assert!(scenario.joined(told).is_err());
    scenario.advance(5 * SECOND);
    let second = scenario.join("m2");
    scenario.advance(SECOND);
    assert!(scenario.is_waiting(second), "the id of m1 lapses at 6 s, the delay ends at 8 s");
    scenario.advance(2 * SECOND);
    assert_eq!(scenario.joined(second).unwrap().generation, 1);

    let mut scenario = delayed();
    let first = scenario.join("m1");
    let second = scenario.join("m2");
    scenario.leave(&[("m1", None)]);
    assert_eq!(scenario.joined(first), Err(GroupError::UnknownMemberId));
    scenario.advance(SECOND);
    assert!(scenario.is_waiting(second), "m1 has left");
    // m2 came during the delay, which is twice as long for it.
    scenario.advance(2 * SECOND);
    scenario.advance(3 * SECOND);
    assert_eq!(scenario.joined(second).unwrap().members.len(), 1);

    let patient = GroupConfig {
        initial_rebalance_delay: 3 * SECOND,
        new_member_join_timeout: 2 * SECOND,
        ..GroupConfig::default()
    };
    let mut scenario = Scenario::with(patient);
    let first = scenario.join("m1");
    scenario.advance(SECOND);
    let second = scenario.join("m2");
    scenario.advance(SECOND);
    assert_eq!(scenario.joined(first), Err(GroupError::UnknownMemberId));
    assert!(scenario.is_waiting(second), "m1 has expired");
}

#[test]
fn a_group_that_was_emptied_waits_for_its_delay_again() {
    let mut scenario = Scenario::with(GroupConfig { initial_rebalance_delay: 3 * SECOND, ..GroupConfig::default() });
    let first = scenario.join("m1");
    scenario.advance(3 * SECOND);
    assert_eq!(scenario.joined(first).unwrap().generation, 1);
    let left = scenario.leave(&[("m1", None)]);
    assert!(scenario.left(left).is_ok());
    assert_eq!(scenario.state(), ClassicState::Empty);
    let second = scenario.join("m2");
    scenario.advance(2 * SECOND);
    let third = scenario.join("m3");
    assert!(scenario.is_waiting(second), "others may come until 3 s are over");
    scenario.advance(SECOND);
    assert!(scenario.is_waiting(second), "m3 extended the wait");
    scenario.advance(3 * SECOND);
    let joined = [second, third].map(|token| scenario.joined(token).unwrap());
    assert_eq!(joined.map(|one| (one.generation, one.members.len())), [(3, 2), (3, 0)]);
}

#[test]
fn a_group_that_rebalances_is_described_with_the_assignments_that_its_members_go_on_with() {
    let mut scenario = Scenario::stable(&["m1"]);
    let assignments = |scenario: &Scenario| -> Vec<_> {
        let described = scenario.groups().describe(&"g".into()).unwrap();
        let members = described.members.into_iter().map(|one| (one.member.to_string(), one.metadata, one.assignment));
        members.map(|(member, metadata, assignment)| (member, metadata.is_empty(), assignment)).collect()
    };
    let newcomer = scenario.join("m2");
    let before = [("m1".to_owned(), true, "m1".into()), ("m2".to_owned(), true, bytes::Bytes::new())];
    assert_eq!((scenario.state(), assignments(&scenario)), (ClassicState::PreparingRebalance, before.to_vec()));
    let rejoin = scenario.rejoin("m1");
    assert!(scenario.joined(rejoin).is_ok() && scenario.joined(newcomer).is_ok());
    assert_eq!((scenario.state(), assignments(&scenario)), (ClassicState::CompletingRebalance, before.to_vec()));
    let sync = scenario.sync("m1", 2, &[("m1", "a"), ("m2", "b")]);
    assert!(scenario.synced(sync).is_ok());
    let after = [("m1".to_owned(), false, "a".into()), ("m2".to_owned(), false, "b".into())];
    assert_eq!(assignments(&scenario), after);
}

#[test]
fn what_the_members_offer_has_a_bound() {
    const OFFER: usize = 1000;
    let offering = |member: &str, size: usize| {
        let metadata = bytes::Bytes::from(vec![0; size]);
        let mut request = joining(member);
        request.protocols[0].metadata = metadata;
        request
    };
    let config = GroupConfig { protocol_bytes_max: 2 * OFFER + 500, ..GroupConfig::default() };
    let mut scenario = Scenario::with(GroupConfig { initial_rebalance_delay: Duration::ZERO, ..config });
    let large = scenario.join_with(offering("m0", 3 * OFFER));
    assert_eq!(scenario.joined(large), Err(GroupError::RecordTooLarge));
    let joins = ["m1", "m2"].map(|member| scenario.join_with(offering(member, OFFER)));
    scenario.advance(Duration::ZERO);
    assert!(joins.into_iter().all(|token| scenario.joined(token).is_ok()));
    let third = scenario.join_with(offering("m3", OFFER));
    assert_eq!(scenario.joined(third), Err(GroupError::RecordTooLarge));
    let growing = scenario.join_with(JoinRequest { member: "m2".into(), ..offering("m2", 2 * OFFER) });
    assert_eq!(scenario.joined(growing), Err(GroupError::RecordTooLarge));
    // A member's new protocols replace its earlier ones.
    let again = scenario.join_with(JoinRequest { member: "m2".into(), ..offering("m2", OFFER - 1) });
    assert!(scenario.is_waiting(again), "the group rebalances");
}

#[test]
fn members_of_a_group_that_is_not_there_are_not_known_one_by_one() {
    let mut scenario = Scenario::new();
    let leave = scenario.leave(&[("m1", None), ("", Some("instance"))]);
    let left = scenario.left(leave).unwrap();
    assert_eq!(left.iter().map(|one| one.member.as_str()).collect::<Vec<_>>(), ["m1", ""]);
    assert!(left.iter().all(|one| one.outcome == Err(GroupError::UnknownMemberId)));
}

#[test]
fn a_rebalance_ends_as_soon_as_all_known_members_have_rejoined() {
    let mut scenario = Scenario::stable(&["m1", "m2"]);
    let newcomer = scenario.join("m3");
    assert_eq!(scenario.heartbeat("m1", None, 1), Err(GroupError::RebalanceInProgress));
    let first = scenario.rejoin("m1");
    assert!(scenario.is_waiting(newcomer) && scenario.is_waiting(first));
    let second = scenario.rejoin("m2");
    for token in [newcomer, first, second] {
        assert_eq!(scenario.joined(token).unwrap().generation, 2);
    }
    assert_eq!(scenario.heartbeat("m1", None, 1), Err(GroupError::IllegalGeneration));
    assert_eq!(scenario.heartbeat("m1", None, 2), Ok(()));
}

#[test]
fn a_dynamic_member_that_does_not_rejoin_in_time_is_dropped() {
    let mut scenario = Scenario::stable(&["m1", "m2"]);
    let request = |member: &str| JoinRequest { rebalance_timeout: 5 * SECOND, ..joining(member) };
    let first = scenario.join_with(JoinRequest { member: "m1".into(), ..request("m1") });
    assert!(scenario.is_waiting(first));
    // It sends heartbeats, so that only the rebalance timeout (the longest of all members: 60 s)
    // can drop it.
    for _ in 0..11 {
        scenario.advance(5 * SECOND);
        assert_eq!(scenario.heartbeat("m2", None, 1), Err(GroupError::RebalanceInProgress));
    }
    assert!(scenario.is_waiting(first));
    scenario.advance(5 * SECOND);
    let joined = scenario.joined(first).unwrap();
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
    assert_eq!(scenario.heartbeat("m2", None, 2), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_silent_leader_is_dropped_and_another_member_leads() {
    let mut scenario = Scenario::stable(&["m1", "m2", "m3"]);
    scenario.advance(6 * SECOND);
    for member in ["m2", "m3"] {
        assert_eq!(scenario.heartbeat(member, None, 1), Ok(()));
    }
    scenario.advance(4 * SECOND);
    assert_eq!(scenario.state(), ClassicState::PreparingRebalance, "the session of m1 ended after 10 s");
    let third = scenario.rejoin("m3");
    let second = scenario.rejoin("m2");
    let (second, third) = (scenario.joined(second).unwrap(), scenario.joined(third).unwrap());
    assert_eq!(second.leader, third.leader);
    let leaders = [&second, &third].into_iter().filter(|joined| joined.member == joined.leader).count();
    assert_eq!(leaders, 1);
    assert_eq!(second.members.len() + third.members.len(), 2, "the leader alone learns of both");
}

#[test]
fn members_that_do_not_sync_are_dropped_after_the_rebalance_timeout() {
    let mut scenario = Scenario::stable(&["m1", "m2"]);
    let first = scenario.rejoin("m1");
    let second = scenario.rejoin("m2");
    assert!(scenario.joined(first).is_ok() && scenario.joined(second).is_ok());
    let sync = scenario.sync("m1", 2, &[("m1", "x"), ("m2", "y")]);
    assert!(scenario.synced(sync).is_ok());
    for _ in 0..12 {
        scenario.advance(5 * SECOND);
        let _ = scenario.heartbeat("m1", None, 2);
        let _ = scenario.heartbeat("m2", None, 2);
    }
    assert_eq!(scenario.heartbeat("m2", None, 2), Err(GroupError::UnknownMemberId));
    assert_eq!(scenario.heartbeat("m1", None, 2), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_new_join_sends_waiting_syncs_back() {
    let mut scenario = Scenario::stable(&["m1", "m2"]);
    let (first, second) = (scenario.rejoin("m1"), scenario.rejoin("m2"));
    assert!(scenario.joined(first).is_ok() && scenario.joined(second).is_ok());
    let sync = scenario.sync("m2", 2, &[]);
    assert!(scenario.is_waiting(sync), "the leader has not assigned yet");
    let newcomer = scenario.join("m3");
    assert_eq!(scenario.synced(sync), Err(GroupError::RebalanceInProgress));
    assert!(scenario.is_waiting(newcomer));
}

#[test]
fn an_assignment_of_an_overtaken_generation_changes_nothing() {
    let mut scenario = Scenario::stable(&["m1"]);
    scenario.is_log_fast = false;
    let join = scenario.rejoin("m1");
    assert_eq!(scenario.joined(join).unwrap().generation, 2);
    let sync = scenario.sync("m1", 2, &[("m1", "old")]);
    let newcomer = scenario.join("m2");
    assert_eq!(scenario.synced(sync), Err(GroupError::RebalanceInProgress));
    scenario.store();
    assert_eq!(scenario.state(), ClassicState::PreparingRebalance);
    let rejoin = scenario.rejoin("m1");
    assert_eq!(scenario.joined(rejoin).unwrap().generation, 3);
    assert_eq!(scenario.joined(newcomer).unwrap().generation, 3);
}

#[test]
fn joins_that_change_nothing_are_answered_at_once() {
    let mut scenario = Scenario::stable(&["m1", "m2"]);
    let follower = scenario.rejoin("m2");
    let joined = scenario.joined(follower).unwrap();
    assert_eq!((joined.generation, joined.members.len()), (1, 0));
    assert_eq!(scenario.state(), ClassicState::Stable);
    let changed = scenario.join_with(JoinRequest {
        member: "m2".into(),
        protocols: offers(&["range", "sticky"]),
        ..joining("m2")
    });
    assert!(scenario.is_waiting(changed));
    assert_eq!(scenario.state(), ClassicState::PreparingRebalance);
    let again = scenario.join_with(JoinRequest { member: "m2".into(), protocols: offers(&["range"]), ..joining("m2") });
    assert_eq!(scenario.joined(changed), Err(GroupError::RebalanceInProgress), "superseded by the next one");
    assert!(scenario.is_waiting(again));
}

#[test]
fn a_member_that_fits_not_the_group_is_refused() {
    let mut scenario = Scenario::stable(&["m1"]);
    for request in [
        JoinRequest { protocols: offers(&["sticky"]), ..joining("m2") },
        JoinRequest { protocols: offers(&[]), ..joining("m2") },
        JoinRequest { protocol_type: "connect".to_owned(), ..joining("m2") },
        JoinRequest { protocols: offers(&["x".repeat(40_000).as_str(), "range"]), ..joining("m2") },
    ] {
        let token = scenario.join_with(request);
        assert_eq!(scenario.joined(token), Err(GroupError::InconsistentGroupProtocol));
    }
    let sync = crate::groups::request::SyncRequest { protocol: Some("sticky".to_owned()), ..syncing("m1", 1, &[]) };
    let token = scenario.sync_with(sync);
    assert_eq!(scenario.synced(token), Err(GroupError::InconsistentGroupProtocol));
}

#[test]
fn a_full_group_refuses_newcomers() {
    let config = GroupConfig { size_max: 1, initial_rebalance_delay: Duration::ZERO, ..GroupConfig::default() };
    let mut scenario = Scenario::with(config);
    let first = scenario.join("m1");
    let second = scenario.join("m2");
    assert_eq!(scenario.joined(second), Err(GroupError::GroupMaxSizeReached { size_max: 1 }));
    scenario.advance(Duration::ZERO);
    assert!(scenario.joined(first).is_ok());
    let third = scenario.join("m3");
    assert_eq!(scenario.joined(third), Err(GroupError::GroupMaxSizeReached { size_max: 1 }));
}

#[test]
fn the_last_leave_empties_the_group_and_is_answered_when_that_is_stored() {
    let mut scenario = Scenario::stable(&["m1"]);
    scenario.is_log_fast = false;
    let leave = scenario.leave(&[("m1", None), ("nobody", None), ("", Some("no-instance"))]);
    assert_eq!(scenario.state(), ClassicState::Empty);
    assert!(scenario.is_waiting(leave));
    scenario.store();
    let outcomes: Vec<_> = scenario.left(leave).unwrap().into_iter().map(|member| member.outcome).collect();
    assert_eq!(outcomes, [Ok(()), Err(GroupError::UnknownMemberId), Err(GroupError::UnknownMemberId)]);
    let mut restarted = scenario.restarted();
    assert_eq!(restarted.state(), ClassicState::Empty);
    // The empty generation was the second.
    let join = restarted.join("m2");
    restarted.advance(3 * SECOND);
    assert_eq!(restarted.joined(join).unwrap().generation, 3);
}

#[test]
fn a_leave_lets_the_others_rebalance() {
    let mut scenario = Scenario::stable(&["m1", "m2"]);
    let rejoin = scenario.join("m3");
    let leave = scenario.leave(&[("m1", None)]);
    assert!(scenario.left(leave).is_ok());
    let second = scenario.rejoin("m2");
    assert_eq!(scenario.joined(second).unwrap().generation, 2);
    assert!(scenario.joined(rejoin).is_ok());
}

fn stable_static() -> Scenario {
    let mut scenario = Scenario::new();
    let first = scenario.join_with(joining_static("s1", "i1"));
    let second = scenario.join_with(joining_static("s2", "i2"));
    scenario.advance(Duration::ZERO);
    assert_eq!(scenario.joined(first).unwrap().leader.as_str(), "s1");
    scenario.joined(second).unwrap();
    let first = scenario.sync("s1", 1, &[("s1", "one"), ("s2", "two")]);
    let second = scenario.sync("s2", 1, &[]);
    assert_eq!(scenario.synced(first).unwrap().assignment, "one");
    assert_eq!(scenario.synced(second).unwrap().assignment, "two");
    scenario
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_its_old_self_is_fenced() {
    let mut scenario = stable_static();
    scenario.is_log_fast = false;
    let join = scenario.join_with(joining_static("s3", "i2"));
    assert!(scenario.is_waiting(join), "its new id is not stored yet");
    scenario.store();
    let joined = scenario.joined(join).unwrap();
    assert_eq!((joined.generation, joined.member.as_str(), joined.skip_assignment), (1, "s3", false));
    assert_eq!(scenario.state(), ClassicState::Stable);
    assert_eq!(scenario.heartbeat("s2", Some("i2"), 1), Err(GroupError::FencedInstanceId));
    assert_eq!(scenario.heartbeat("s3", Some("i2"), 1), Ok(()));
    let sync = scenario.sync("s3", 1, &[]);
    assert_eq!(scenario.synced(sync).unwrap().assignment, "two");
}

#[test]
fn a_static_leader_that_comes_back_skips_the_assignment() {
    let mut scenario = stable_static();
    let join = scenario.join_with(joining_static("s3", "i1"));
    let joined = scenario.joined(join).unwrap();
    assert!(joined.skip_assignment && joined.leader.as_str() == "s3" && joined.members.len() == 2);
    // A client that cannot skip the assignment gets the id of the leader before it, and acts as a
    // follower.
    let older = JoinRequest { supports_skip_assignment: false, ..joining_static("s4", "i1") };
    let join = scenario.join_with(older);
    let joined = scenario.joined(join).unwrap();
    assert_eq!((joined.leader.as_str(), joined.members.len(), joined.skip_assignment), ("s3", 0, false));
    assert_eq!(scenario.restarted().heartbeat("s4", Some("i1"), 1), Ok(()));
}

#[test]
fn a_return_that_is_not_stored_is_undone() {
    let mut scenario = stable_static();
    scenario.is_log_fast = false;
    let join = scenario.join_with(joining_static("s3", "i1"));
    scenario.lose(AppendFailure::Unavailable);
    assert_eq!(scenario.joined(join), Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(scenario.heartbeat("s1", Some("i1"), 1), Ok(()));
    assert_eq!(scenario.heartbeat("s3", Some("i1"), 1), Err(GroupError::FencedInstanceId));
}

#[test]
fn a_static_member_that_is_away_stays_through_a_rebalance_until_its_session_ends() {
    let mut scenario = stable_static();
    let join = scenario.join_with(JoinRequest {
        member: "s1".into(),
        session_timeout: 120 * SECOND,
        rebalance_timeout: 5 * SECOND,
        ..joining_static("s1", "i1")
    });
    assert!(scenario.is_waiting(join));
    // The session of s2 (10 s) is shorter than its rebalance timeout (60 s): the end of the session
    // ends the wait.
    scenario.advance(10 * SECOND);
    let joined = scenario.joined(join).unwrap();
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let mut scenario = stable_static();
    let leave = scenario.leave(&[("", Some("i2")), ("s2", Some("i1"))]);
    let outcomes: Vec<_> = scenario.left(leave).unwrap().into_iter().map(|member| member.outcome).collect();
    assert_eq!(outcomes, [Ok(()), Err(GroupError::FencedInstanceId)]);
    assert_eq!(scenario.heartbeat("s2", Some("i2"), 1), Err(GroupError::UnknownMemberId));
    assert_eq!(scenario.state(), ClassicState::PreparingRebalance);
}

#[test]
fn absent_static_members_without_a_rebalance_timeout_do_not_spin_the_timer() {
    let mut scenario = Scenario::new();
    let hasty = JoinRequest { rebalance_timeout: Duration::ZERO, ..joining_static("s1", "i1") };
    let (second, first) = (scenario.join("m2"), scenario.join_with(hasty));
    scenario.advance(Duration::ZERO);
    assert!(scenario.joined(first).is_ok() && scenario.joined(second).is_ok());
    for (member, assignments) in [("m2", &[("m2", "x")][..]), ("s1", &[])] {
        let sync = scenario.sync(member, 1, assignments);
        assert!(scenario.synced(sync).is_ok(), "{member} leads, or follows the one who did");
    }
    let leave = scenario.leave(&[("m2", None)]);
    assert!(scenario.left(leave).is_ok());
    scenario.advance(Duration::ZERO);
    assert_eq!(scenario.state(), ClassicState::PreparingRebalance);
    assert!(scenario.coordinator.poll_timeout().unwrap() > scenario.now.instant);
}

/// A group whose only member has sent these protocol bytes and this assignment. The append of the
/// assignment is pending.
fn storing(metadata: &Bytes, assignment: &Bytes) -> Scenario {
    let mut scenario = Scenario::new();
    scenario.is_log_fast = false;
    let mut join = joining("m1");
    join.protocols[0].metadata = metadata.clone();
    let join = scenario.join_with(join);
    scenario.advance(Duration::ZERO);
    scenario.joined(join).unwrap();
    let assignments = vec![("m1".into(), assignment.clone())];
    scenario.sync_with(SyncRequest { assignments, ..syncing("m1", 1, &[]) });
    scenario
}

#[test]
fn the_bytes_that_members_send_are_shared_and_not_copied() {
    let (metadata, assignment) = (Bytes::from(vec![7; 100]), Bytes::from(vec![8; 100]));
    let mut scenario = storing(&metadata, &assignment);
    scenario.store();
    let member = scenario.groups().describe(&"g".into()).unwrap().members.remove(0);
    assert_eq!((member.metadata.as_ptr(), member.assignment.as_ptr()), (metadata.as_ptr(), assignment.as_ptr()));
}

#[test]
fn the_state_of_a_pending_append_is_released_with_the_append() {
    let bytes = || (Bytes::from(vec![7; 100]), Bytes::from(vec![8; 100]));
    let (metadata, assignment) = bytes();
    let mut scenario = storing(&metadata, &assignment);
    assert!(!assignment.is_unique(), "the append holds the assignment");
    scenario.lose(AppendFailure::Unavailable);
    assert!(assignment.is_unique(), "an assignment that is not stored is dropped");
    assert!(!metadata.is_unique(), "the member stays in the group");

    let (metadata, assignment) = bytes();
    let mut scenario = storing(&metadata, &assignment);
    scenario.coordinator.resign();
    scenario.settle();
    assert!(metadata.is_unique() && assignment.is_unique(), "a resigned coordinator holds nothing");
}
