//! Classic groups: JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups,
//! DeleteGroups. A case of one API uses the others in the version nearest to its own, so that each
//! generation of clients runs a whole group.

use super::session::{Session, group_id, text};
use crate::server::unique;
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    ListGroupsRequest, RequestKind, ResponseKind, SyncGroupRequest, SyncGroupResponse, describe_groups_response,
    join_group_request, leave_group_request, sync_group_request,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_kafka_codec_messages::DeleteGroupsRequest;

const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const FENCED_INSTANCE_ID: i16 = 82;
const ASSIGNMENT: &[u8] = b"mine";
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\0\0\0\0\0";
/// The operations read, describe, delete, describe configs, alter configs: all that a group has.
const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// The only member of its own group.
#[derive(Clone, Debug)]
pub struct Member {
    pub group: String,
    pub id: StrBytes,
    pub generation: i32,
}

fn join(group: &str, member: StrBytes, instance: Option<&str>, version: i16) -> JoinGroupRequest {
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(SUBSCRIPTION));
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if version >= 1 { 10_000 } else { -1 })
        .with_member_id(member)
        .with_group_instance_id(instance.map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

fn ask_join(session: &mut Session, version: i16, request: &JoinGroupRequest) -> JoinGroupResponse {
    session.settled(|session| ask!(session, JoinGroup, version, request.clone()), |answer| answer.error_code)
}

/// A group with one member that has joined and synced, each in the version nearest to `turn`.
pub fn member(session: &mut Session, turn: i16) -> Member {
    let group = unique("versions-group");
    let version = session.nearest(ApiKey::JoinGroup, turn);
    let mut answer = ask_join(session, version, &join(&group, StrBytes::default(), None, version));
    if version >= 4 {
        assert_eq!(answer.error_code, MEMBER_ID_REQUIRED, "JoinGroup v{version}");
        assert_eq!(answer.generation_id, -1, "JoinGroup v{version}");
        answer = ask_join(session, version, &join(&group, answer.member_id, None, version));
    }
    assert_eq!((answer.error_code, answer.generation_id), (0, 1), "JoinGroup v{version}");
    assert_eq!(answer.leader, answer.member_id, "JoinGroup v{version}");
    assert_eq!(answer.protocol_name.as_deref(), Some("range"), "JoinGroup v{version}");
    assert_eq!((answer.members.len(), &answer.members[0].metadata[..]), (1, SUBSCRIPTION), "JoinGroup v{version}");
    if version >= 7 {
        assert_eq!(answer.protocol_type.as_deref(), Some("consumer"), "JoinGroup v{version}");
    }
    let member = Member { group, id: answer.member_id, generation: 1 };
    let version = session.nearest(ApiKey::SyncGroup, turn);
    let answer = ask_sync(session, version, &member, "range");
    assert_eq!((answer.error_code, &answer.assignment[..]), (0, ASSIGNMENT), "SyncGroup v{version}");
    if version >= 5 {
        let protocol = (answer.protocol_type.as_deref(), answer.protocol_name.as_deref());
        assert_eq!(protocol, (Some("consumer"), Some("range")), "SyncGroup v{version}");
    }
    member
}

fn ask_sync(session: &mut Session, version: i16, member: &Member, protocol: &str) -> SyncGroupResponse {
    let assignment = sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(member.id.clone())
        .with_assignment(Bytes::from_static(ASSIGNMENT));
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(&member.group))
        .with_generation_id(member.generation)
        .with_member_id(member.id.clone())
        .with_assignments(vec![assignment]);
    let request = if version >= 5 {
        request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text(protocol)))
    } else {
        request
    };
    ask!(session, SyncGroup, version, request)
}

fn beat(session: &mut Session, version: i16, member: &Member, instance: Option<&str>) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(&member.group))
        .with_generation_id(member.generation)
        .with_member_id(member.id.clone())
        .with_group_instance_id(instance.map(text));
    ask!(session, Heartbeat, version, request).error_code
}

/// The code of the answer, then the codes of the members.
fn leave(session: &mut Session, version: i16, group: &str, members: &[&StrBytes]) -> Vec<i16> {
    let request = LeaveGroupRequest::default().with_group_id(group_id(group));
    let request = if version >= 3 {
        let members =
            members.iter().map(|id| leave_group_request::MemberIdentity::default().with_member_id((*id).clone()));
        request.with_members(members.collect())
    } else {
        request.with_member_id(members[0].clone())
    };
    let answer = ask!(session, LeaveGroup, version, request);
    [answer.error_code].into_iter().chain(answer.members.iter().map(|member| member.error_code)).collect()
}

fn describe(session: &mut Session, version: i16, group: &str) -> describe_groups_response::DescribedGroup {
    let request = DescribeGroupsRequest::default()
        .with_groups(vec![group_id(group)])
        .with_include_authorized_operations(version >= 3);
    ask!(session, DescribeGroups, version, request).groups.remove(0)
}

fn delete(session: &mut Session, version: i16, group: &str) -> i16 {
    let request = DeleteGroupsRequest { groups_names: vec![group.to_owned()] };
    let result = session.ask(version, &request).results.remove(0);
    let is_told = result.error_message.is_some();
    assert!(!is_told || version >= 3 && result.error_code != 0, "DeleteGroups v{version} tells no error: {result:?}");
    result.error_code
}

pub fn join_group(session: &mut Session, version: i16) {
    let one = member(session, version);
    let heartbeat = session.nearest(ApiKey::Heartbeat, version);
    assert_eq!(beat(session, heartbeat, &one, None), 0, "JoinGroup v{version}");
    // The leader requests a rebalance by joining again.
    let again = ask_join(session, version, &join(&one.group, one.id.clone(), None, version));
    assert_eq!((again.error_code, again.generation_id), (0, 2), "JoinGroup v{version} again");
    assert_eq!(again.member_id, one.id, "JoinGroup v{version} again");
    let stranger = ask_join(session, version, &join(&one.group, text("nobody"), None, version));
    assert_eq!(stranger.error_code, UNKNOWN_MEMBER_ID, "JoinGroup v{version} of a stranger");
    let hasty = join(&one.group, one.id.clone(), None, version).with_session_timeout_ms(1);
    assert_eq!(ask_join(session, version, &hasty).error_code, INVALID_SESSION_TIMEOUT, "JoinGroup v{version}");
    let nameless = join("", StrBytes::default(), None, version);
    assert_eq!(ask_join(session, version, &nameless).error_code, INVALID_GROUP_ID, "JoinGroup v{version}");
    let mut other = join(&one.group, one.id.clone(), None, version);
    other.protocol_type = text("connect");
    let answer = ask_join(session, version, &other);
    assert_eq!(answer.error_code, INCONSISTENT_GROUP_PROTOCOL, "JoinGroup v{version} of another protocol type");
    let version_left = session.nearest(ApiKey::LeaveGroup, version);
    let left = leave(session, version_left, &one.group, &[&one.id]);
    assert!(left.iter().all(|code| *code == 0), "LeaveGroup v{version_left}");
    if version >= 5 {
        static_members(session, version);
    }
}

fn static_members(session: &mut Session, version: i16) {
    let group = unique("versions-static");
    let request = join(&group, StrBytes::default(), Some("one"), version);
    let first = ask_join(session, version, &request);
    assert_eq!((first.error_code, first.members.len()), (0, 1), "JoinGroup v{version}");
    assert_eq!(first.members[0].group_instance_id.as_deref(), Some("one"), "JoinGroup v{version}");
    let second = ask_join(session, version, &request);
    assert_eq!(second.error_code, 0, "JoinGroup v{version} of the same instance");
    assert_ne!(first.member_id, second.member_id, "JoinGroup v{version} of the same instance");
    let old = Member { group, id: first.member_id, generation: first.generation_id };
    let heartbeat = session.nearest(ApiKey::Heartbeat, version).max(3);
    let code = beat(session, heartbeat, &old, Some("one"));
    assert_eq!(code, FENCED_INSTANCE_ID, "JoinGroup v{version}, Heartbeat v{heartbeat}");
}

pub fn sync_group(session: &mut Session, version: i16) {
    let one = member(session, version);
    let late = Member { generation: 9, ..one.clone() };
    let stranger = Member { id: text("nobody"), ..one.clone() };
    for (who, code) in [(&one, 0), (&late, ILLEGAL_GENERATION), (&stranger, UNKNOWN_MEMBER_ID)] {
        let answer = ask_sync(session, version, who, "range");
        let expected = if code == 0 { ASSIGNMENT } else { b"" };
        assert_eq!((answer.error_code, &answer.assignment[..]), (code, expected), "SyncGroup v{version}");
    }
    if version >= 5 {
        let answer = ask_sync(session, version, &one, "roundrobin");
        assert_eq!(answer.error_code, INCONSISTENT_GROUP_PROTOCOL, "SyncGroup v{version}");
        for (kind, name) in [(None, None), (Some("consumer"), None), (None, Some("range"))] {
            let request = SyncGroupRequest::default()
                .with_group_id(group_id(&one.group))
                .with_generation_id(one.generation)
                .with_member_id(one.id.clone())
                .with_protocol_type(kind.map(text))
                .with_protocol_name(name.map(text));
            let answer = ask!(session, SyncGroup, version, request);
            let found = (answer.error_code, answer.assignment.len());
            assert_eq!(found, (INCONSISTENT_GROUP_PROTOCOL, 0), "SyncGroup v{version} of {kind:?} and {name:?}");
        }
    }
}

pub fn heartbeat(session: &mut Session, version: i16) {
    let one = member(session, version);
    let late = Member { generation: 9, ..one.clone() };
    let stranger = Member { id: text("nobody"), ..one.clone() };
    let elsewhere = Member { group: unique("versions-none"), ..one.clone() };
    let cases =
        [(&one, 0), (&late, ILLEGAL_GENERATION), (&stranger, UNKNOWN_MEMBER_ID), (&elsewhere, UNKNOWN_MEMBER_ID)];
    for (who, code) in cases {
        assert_eq!(beat(session, version, who, None), code, "Heartbeat v{version}");
    }
}

pub fn leave_group(session: &mut Session, version: i16) {
    let one = member(session, version);
    let stranger = text("nobody");
    if version >= 3 {
        let codes = leave(session, version, &one.group, &[&stranger, &one.id]);
        assert_eq!(codes, [0, UNKNOWN_MEMBER_ID, 0], "LeaveGroup v{version}");
    } else {
        assert_eq!(leave(session, version, &one.group, &[&stranger]), [UNKNOWN_MEMBER_ID], "LeaveGroup v{version}");
        assert_eq!(leave(session, version, &one.group, &[&one.id]), [0], "LeaveGroup v{version}");
    }
    let newest = session.newest(ApiKey::DescribeGroups);
    assert_eq!(&describe(session, newest, &one.group).group_state[..], "Empty", "LeaveGroup v{version}");
}

pub fn describe_groups(session: &mut Session, version: i16) {
    let one = member(session, version);
    let found = describe(session, version, &one.group);
    assert_eq!((found.error_code, &found.group_state[..]), (0, "Stable"), "DescribeGroups v{version}");
    let protocol = (&found.protocol_type[..], &found.protocol_data[..]);
    assert_eq!(protocol, ("consumer", "range"), "DescribeGroups v{version}");
    let member = &found.members[0];
    assert_eq!((found.members.len(), &member.member_id), (1, &one.id), "DescribeGroups v{version}");
    assert_eq!(&member.client_id[..], "compat-wire", "DescribeGroups v{version}");
    assert_eq!(&member.client_host[..], "/127.0.0.1", "DescribeGroups v{version}");
    assert_eq!(&member.member_assignment[..], ASSIGNMENT, "DescribeGroups v{version}");
    assert_eq!(&member.member_metadata[..], SUBSCRIPTION, "DescribeGroups v{version}");
    if version >= 3 {
        assert_eq!(found.authorized_operations, GROUP_OPERATIONS, "DescribeGroups v{version}");
    }
    let found = describe(session, version, &unique("versions-none"));
    let code = if version >= 6 { GROUP_ID_NOT_FOUND } else { 0 };
    assert_eq!((found.error_code, &found.group_state[..]), (code, "Dead"), "DescribeGroups v{version} of none");
    assert_eq!(found.error_message.is_some(), version >= 6, "DescribeGroups v{version} of none");
}

pub fn list_groups(session: &mut Session, version: i16) {
    let one = member(session, version);
    let find = |session: &mut Session, request: ListGroupsRequest| {
        let answer = ask!(session, ListGroups, version, request);
        assert_eq!(answer.error_code, 0, "ListGroups v{version}");
        answer.groups.into_iter().find(|listed| listed.group_id == group_id(&one.group))
    };
    let plain = ListGroupsRequest::default();
    let found = find(session, plain.clone()).expect("the group is listed");
    assert_eq!(&found.protocol_type[..], "consumer", "ListGroups v{version}");
    if version >= 4 {
        assert_eq!(&found.group_state[..], "Stable", "ListGroups v{version}");
        for (state, is_listed) in [("Stable", true), ("Empty", false)] {
            let request = plain.clone().with_states_filter(vec![text(state)]);
            assert_eq!(find(session, request).is_some(), is_listed, "ListGroups v{version} of {state}");
        }
    }
    if version >= 5 {
        assert_eq!(&found.group_type[..], "classic", "ListGroups v{version}");
        for (kind, is_listed) in [("classic", true), ("consumer", false)] {
            let request = plain.clone().with_types_filter(vec![text(kind)]);
            assert_eq!(find(session, request).is_some(), is_listed, "ListGroups v{version} of {kind}");
        }
    }
}

pub fn delete_groups(session: &mut Session, version: i16) {
    let one = member(session, version);
    assert_eq!(delete(session, version, &one.group), NON_EMPTY_GROUP, "DeleteGroups v{version}");
    let left = session.nearest(ApiKey::LeaveGroup, version);
    assert!(leave(session, left, &one.group, &[&one.id]).iter().all(|code| *code == 0), "LeaveGroup v{left}");
    assert_eq!(delete(session, version, &one.group), 0, "DeleteGroups v{version}");
    assert_eq!(delete(session, version, &one.group), GROUP_ID_NOT_FOUND, "DeleteGroups v{version} again");
}
