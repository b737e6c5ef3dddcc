//! The waits of a rebalance, and the visible states of the group meanwhile. Each member speaks the
//! protocol itself on its own connection: a waiting join blocks its connection.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, RequestKind, ResponseKind, SyncGroupRequest, describe_groups_response, join_group_request,
    sync_group_request,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Server, Settings};

/// COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: Kafka's first answers.
const COMING_UP: [i16; 3] = [14, 15, 16];
const MEMBER_ID_REQUIRED: i16 = 79;
/// The last version in which a new member joins at once; in later ones it gets an id first.
const JOINS_AT_ONCE: i16 = 3;
const ID_FIRST: i16 = 4;
const MINE: &[u8] = b"mine";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

struct Member {
    wire: Wire,
    group: String,
    id: StrBytes,
}

impl Member {
    fn of(server: &Server, group: &str) -> Member {
        Member { wire: Wire::connect(server.port()).unwrap(), group: group.to_owned(), id: StrBytes::default() }
    }

    fn send_join(&mut self, version: i16) {
        let protocol = join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_member_id(self.id.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.wire.send(ApiKey::JoinGroup, version, &RequestKind::JoinGroup(request)).unwrap();
    }

    fn joined(&mut self, version: i16) -> JoinGroupResponse {
        let ResponseKind::JoinGroup(answer) = self.wire.receive(ApiKey::JoinGroup, version).unwrap() else {
            panic!("another answer")
        };
        self.id = answer.member_id.clone();
        answer
    }

    /// Joins as the first member.
    fn join(&mut self) -> JoinGroupResponse {
        loop {
            self.send_join(JOINS_AT_ONCE);
            let joined = self.joined(JOINS_AT_ONCE);
            if !COMING_UP.contains(&joined.error_code) {
                assert_eq!(joined.error_code, 0);
                return joined;
            }
            self.id = StrBytes::default();
        }
    }

    /// Syncs as the leader, and assigns everything to itself.
    fn sync(&mut self, generation: i32) {
        let assignment = sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(self.id.clone())
            .with_assignment(Bytes::from_static(MINE));
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_generation_id(generation)
            .with_member_id(self.id.clone())
            .with_assignments(vec![assignment]);
        let answer = self.wire.call(ApiKey::SyncGroup, 2, &RequestKind::SyncGroup(request)).unwrap();
        let ResponseKind::SyncGroup(answer) = answer else { panic!("another answer") };
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, MINE));
    }

    fn leave(&mut self) {
        let request = LeaveGroupRequest::default().with_group_id(group_id(&self.group)).with_member_id(self.id.clone());
        let answer = self.wire.call(ApiKey::LeaveGroup, 2, &RequestKind::LeaveGroup(request)).unwrap();
        let ResponseKind::LeaveGroup(answer) = answer else { panic!("another answer") };
        assert_eq!(answer.error_code, 0);
    }
}

/// A broker of this test, with a coordinator for the group.
fn server(delay_ms: &str, group: &str) -> Server {
    let server = Server::start(Settings::default().with("group.initial.rebalance.delay.ms", delay_ms)).unwrap();
    let mut wire = Wire::connect(server.port()).unwrap();
    loop {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        let answer = wire.call(ApiKey::FindCoordinator, 4, &RequestKind::FindCoordinator(request)).unwrap();
        let ResponseKind::FindCoordinator(answer) = answer else { panic!("another answer") };
        if !COMING_UP.contains(&answer.coordinators[0].error_code) {
            return server;
        }
    }
}

fn described(wire: &mut Wire, group: &str) -> describe_groups_response::DescribedGroup {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
    let answer = wire.call(ApiKey::DescribeGroups, 5, &RequestKind::DescribeGroups(request)).unwrap();
    let ResponseKind::DescribeGroups(mut answer) = answer else { panic!("another answer") };
    answer.groups.remove(0)
}

/// Longer than a rebalance takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the group has left a state. Returns the group.
fn after(wire: &mut Wire, group: &str, state: &str) -> describe_groups_response::DescribedGroup {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let found = described(wire, group);
        if &found.group_state[..] != state {
            return found;
        }
    }
    panic!("{group} is still {state} after {PATIENCE:?}");
}

#[test]
fn a_rebalance_waits_for_a_member_that_was_given_its_id_and_shows_the_old_assignments() {
    let group = unique("given");
    let server = server("0", &group);
    let mut observer = Wire::connect(server.port()).unwrap();
    let mut first = Member::of(&server, &group);
    let generation = first.join().generation_id;
    first.sync(generation);
    let mut second = Member::of(&server, &group);
    second.send_join(ID_FIRST);
    assert_eq!(second.joined(ID_FIRST).error_code, MEMBER_ID_REQUIRED);
    // The leader joins again: all existing members are there, and a new one is expected.
    first.send_join(JOINS_AT_ONCE);
    let found = after(&mut observer, &group, "Stable");
    assert_eq!(&found.group_state[..], "PreparingRebalance", "the group does not wait");
    let members: Vec<_> =
        found.members.iter().map(|member| (&member.member_id, &member.member_assignment[..])).collect();
    assert_eq!(members, [(&first.id, MINE)], "what it goes on with until the rebalance ends");
    assert!(found.members[0].member_metadata.is_empty() && found.protocol_data.is_empty(), "{found:?}");
    second.send_join(ID_FIRST);
    let (first, second) = (first.joined(JOINS_AT_ONCE), second.joined(ID_FIRST));
    assert_eq!([first.generation_id, second.generation_id], [generation + 1; 2]);
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
}

#[test]
fn a_group_that_was_emptied_waits_for_more_members_as_a_new_one_does() {
    let group = unique("emptied");
    let server = server("3000", &group);
    let mut observer = Wire::connect(server.port()).unwrap();
    let mut gone = Member::of(&server, &group);
    let generation = gone.join().generation_id;
    gone.leave();
    assert_eq!(&after(&mut observer, &group, "PreparingRebalance").group_state[..], "Empty");
    let mut members = [Member::of(&server, &group), Member::of(&server, &group)];
    members[0].send_join(JOINS_AT_ONCE);
    // Ends at once if the first member is not made to wait.
    assert_eq!(&after(&mut observer, &group, "Empty").group_state[..], "PreparingRebalance");
    members[1].send_join(JOINS_AT_ONCE);
    let joined = members.each_mut().map(|member| member.joined(JOINS_AT_ONCE));
    assert_eq!(joined.each_ref().map(|one| (one.error_code, one.generation_id)), [(0, generation + 2); 2]);
    assert_eq!(joined.iter().map(|one| one.members.len()).sum::<usize>(), 2, "one of them leads both");
}
