//! Consumer groups (KIP-848): ConsumerGroupHeartbeat and ConsumerGroupDescribe.

use super::session::{Session, group_id, text};
use crate::server::unique;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestKind,
    ResponseKind,
};

const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_REQUEST: i16 = 42;
const GROUP_ID_NOT_FOUND: i16 = 69;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNSUPPORTED_ASSIGNOR: i16 = 112;
const INVALID_REGULAR_EXPRESSION: i16 = 128;
/// The types of members in ConsumerGroupDescribe.
const UNKNOWN_TYPE: i8 = -1;
const CONSUMER_TYPE: i8 = 1;

fn join(group: &str, member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(text(member))
        .with_member_epoch(0)
        .with_rebalance_timeout_ms(10_000)
        .with_subscribed_topic_names(Some(vec![]))
        .with_topic_partitions(Some(vec![]))
}

fn beat(
    session: &mut Session,
    version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    session
        .settled(|session| ask!(session, ConsumerGroupHeartbeat, version, request.clone()), |answer| answer.error_code)
}

pub fn consumer_group_heartbeat(session: &mut Session, version: i16) {
    let group = unique("versions-consumers");
    let joined = beat(session, version, &join(&group, "one"));
    assert_eq!(joined.error_code, 0, "ConsumerGroupHeartbeat v{version}: {joined:?}");
    assert_eq!(joined.member_id, Some(text("one")), "ConsumerGroupHeartbeat v{version}");
    let keepalive = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(&group))
        .with_member_id(text("one"))
        .with_member_epoch(joined.member_epoch);
    let stranger = keepalive.clone().with_member_id(text("nobody"));
    let of_the_future = keepalive.clone().with_member_epoch(99);
    let elsewhere = keepalive.clone().with_group_id(group_id(&unique("versions-none")));
    let nonsense = keepalive.clone().with_member_epoch(-3);
    let sticky = join(&group, "two").with_server_assignor(Some(text("sticky")));
    let mut cases = vec![
        (keepalive.clone(), 0),
        (stranger, UNKNOWN_MEMBER_ID),
        (of_the_future, FENCED_MEMBER_EPOCH),
        (elsewhere, GROUP_ID_NOT_FOUND),
        (nonsense, INVALID_REQUEST),
        (sticky, UNSUPPORTED_ASSIGNOR),
    ];
    if version >= 1 {
        cases.push((join(&group, "two").with_subscribed_topic_regex(Some(text("("))), INVALID_REGULAR_EXPRESSION));
        cases.push((join(&group, ""), INVALID_REQUEST));
    } else {
        cases.push((join(&group, ""), 0));
    }
    cases.push((keepalive.with_member_epoch(-1), 0));
    for (request, code) in cases {
        let answer = beat(session, version, &request);
        assert_eq!(answer.error_code, code, "ConsumerGroupHeartbeat v{version}: {request:?}");
    }
}

pub fn consumer_group_describe(session: &mut Session, version: i16) {
    let group = unique("versions-consumers");
    let newest = session.newest(ApiKey::ConsumerGroupHeartbeat);
    assert_eq!(beat(session, newest, &join(&group, "one")).error_code, 0, "ConsumerGroupHeartbeat v{newest}");
    let unknown = unique("versions-none");
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(&group), group_id(&unknown)]);
    let answer = ask!(session, ConsumerGroupDescribe, version, request);
    let codes: Vec<i16> = answer.groups.iter().map(|group| group.error_code).collect();
    assert_eq!(codes, [0, GROUP_ID_NOT_FOUND], "ConsumerGroupDescribe v{version}");
    let described = &answer.groups[0];
    assert_eq!(&described.assignor_name[..], "uniform", "ConsumerGroupDescribe v{version}");
    let member = &described.members[0];
    assert_eq!(&member.member_id[..], "one", "ConsumerGroupDescribe v{version}");
    let kind = if version >= 1 { CONSUMER_TYPE } else { UNKNOWN_TYPE };
    assert_eq!(member.member_type, kind, "ConsumerGroupDescribe v{version}");
}
