//! The consumer protocol of KIP-848, where the broker assigns the partitions: members of several
//! libraries in one group, together with classic members, by regular expression, static, and
//! through kills of the broker.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{Produce, each};
use rustmq_compat_tests::member::{Member, Protocol, Subscription, is_balanced, poll_until};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::{Client, ClientKind, Draft, Server, Settings, open};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

/// The clients that have the protocol. The `rdkafka` crate is librdkafka again, as a Rust program
/// uses it.
const MEMBERS: [ClientKind; 5] =
    [ClientKind::Java, ClientKind::Confluent, ClientKind::Franz, ClientKind::ConfluentRust, ClientKind::Rdkafka];

/// A member learns of its assignment by its heartbeats, which are seconds apart by default.
const SOON: Duration = Duration::from_secs(90);

const DEFAULT: Protocol<'static> = Protocol::Consumer { assignor: None };

/// Sessions and heartbeats that are short, so that the group soon misses a dead member.
fn settings() -> Settings {
    Settings::default()
        .with("group.initial.rebalance.delay.ms", "100")
        .with("group.consumer.min.session.timeout.ms", "6000")
        .with("group.consumer.session.timeout.ms", "6000")
        .with("group.consumer.min.heartbeat.interval.ms", "1000")
        .with("group.consumer.heartbeat.interval.ms", "1000")
}

/// The broker of the scenarios that leave it alive.
fn shared() -> &'static Server {
    static SHARED: LazyLock<Server> =
        LazyLock::new(|| Server::start(settings()).expect("the shared broker must start"));
    &SHARED
}

fn client(kind: ClientKind) -> Box<dyn Client> {
    open(kind, &shared().bootstrap()).unwrap()
}

/// Creates a topic, and waits until the broker's metadata has it.
fn create(writer: &mut dyn Client, topic: &str, partitions: i32) {
    writer.create_topic(topic, partitions, &[]).unwrap();
    let described = json!({"op": "describe_topics", "topics": [topic]});
    let is_known = shared().knows(|| writer.call(described.clone()).unwrap()["topics"][topic]["error"] == 0);
    assert!(is_known, "{topic}");
}

fn fill(writer: &mut dyn Client, topic: &str, partitions: i32, each: usize) {
    let drafts: Vec<Draft> = (0..partitions)
        .flat_map(|p| (0..each).map(move |n| Draft::new("k", &format!("{p}/{n}")).in_partition(p)))
        .collect();
    let acks = writer.produce(Produce::to(topic), &drafts).unwrap();
    assert!(acks.iter().all(|ack| ack.error == 0));
}

fn filled(prefix: &str, partitions: i32, each: usize) -> String {
    let topic = unique(prefix);
    let mut writer = client(ClientKind::Franz);
    create(&mut *writer, &topic, partitions);
    fill(&mut *writer, &topic, partitions, each);
    topic
}

fn seen(members: &[Member]) -> usize {
    members.iter().map(|member| member.seen.len()).sum()
}

#[test]
fn classic_members_join_a_group_of_the_new_protocol() {
    let topic = filled("mixed", 6, 5);
    let group = unique("mixed-group");
    let topics = [topic.as_str()];
    let classic = Subscription::new(&group, &topics);
    let new = classic.clone().protocol(DEFAULT);
    let bootstrap = shared().bootstrap();
    let mut members = vec![Member::join(ClientKind::Java, &bootstrap, &new).unwrap()];
    poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
    for kind in [ClientKind::Java, ClientKind::Confluent] {
        members.push(Member::join(kind, &bootstrap, &classic).unwrap());
    }
    poll_until(&mut members, SOON, |m| is_balanced(m, 6) && m.iter().all(|m| m.assigned.len() == 2)).unwrap();
    members.remove(0).leave().unwrap();
    poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
    members.into_iter().for_each(|member| member.leave().unwrap());
}

#[test]
fn members_of_all_libraries_share_one_group_as_they_come_leave_and_die() {
    let topic = filled("shared", 10, 5);
    let group = unique("shared-group");
    let topics = [topic.as_str()];
    let how = Subscription::new(&group, &topics).protocol(DEFAULT);
    let mut members = Vec::new();
    for kind in MEMBERS {
        members.push(Member::join(kind, &shared().bootstrap(), &how).unwrap());
        poll_until(&mut members, SOON, |m| is_balanced(m, 10)).unwrap();
    }
    poll_until(&mut members, SOON, |m| is_balanced(m, 10) && m.iter().all(|m| m.assigned.len() == 2)).unwrap();
    let all: BTreeSet<_> = members.iter().flat_map(|m| &m.seen).map(|r| (r.partition, r.offset)).collect();
    assert_eq!(all.len(), 50, "every record was received");
    members.remove(0).leave().unwrap();
    poll_until(&mut members, SOON, |m| is_balanced(m, 10)).unwrap();
    members.remove(1).die();
    poll_until(&mut members, SOON, |m| is_balanced(m, 10)).unwrap();
    members.into_iter().for_each(|member| member.leave().unwrap());
}

#[test]
fn each_client_commits_and_resumes_by_each_assignor() {
    each(MEMBERS, |kind| {
        for assignor in ["uniform", "range"] {
            let topic = filled("resume", 3, 10);
            let group = unique("resume-group");
            let topics = [topic.as_str()];
            let how = Subscription::new(&group, &topics).protocol(Protocol::Consumer { assignor: Some(assignor) });
            let mut members = vec![Member::join(kind, &shared().bootstrap(), &how).unwrap()];
            poll_until(&mut members, SOON, |m| seen(m) == 30 && m[0].assigned.len() == 3).unwrap();
            members[0].commit().unwrap();
            members.remove(0).leave().unwrap();
            fill(&mut *client(ClientKind::Franz), &topic, 3, 2);
            let mut members = vec![Member::join(kind, &shared().bootstrap(), &how).unwrap()];
            poll_until(&mut members, SOON, |m| seen(m) >= 6).unwrap();
            let late = members[0].seen.iter().all(|seen| seen.offset >= 10);
            assert!(late, "{} began before its commit, by {assignor}", kind.name());
            members.remove(0).leave().unwrap();
        }
    });
}

#[test]
fn a_regular_expression_finds_topics_that_exist_and_those_that_come_later() {
    each([ClientKind::Java, ClientKind::Confluent, ClientKind::Franz], |kind| {
        let prefix = unique(kind.name());
        let topic = |name: &str| format!("{prefix}-{name}");
        let mut writer = client(ClientKind::Franz);
        // The last one has the name of another within its own, and does not match as a whole.
        for name in ["red-1", "blue-1", "not-red-1"] {
            create(&mut *writer, &topic(name), 2);
            fill(&mut *writer, &topic(name), 2, 2);
        }
        let group = unique("regex-group");
        let regex = format!("{prefix}-(red|green)-[0-9]+");
        let how = Subscription::new(&group, &[]).protocol(DEFAULT).regex(&regex);
        let mut members = vec![Member::join(kind, &shared().bootstrap(), &how).unwrap()];
        poll_until(&mut members, SOON, |m| m[0].assigned.len() == 2 && seen(m) == 4).unwrap();
        create(&mut *writer, &topic("green-22"), 3);
        fill(&mut *writer, &topic("green-22"), 3, 1);
        poll_until(&mut members, SOON, |m| m[0].assigned.len() == 5 && seen(m) == 7).unwrap();
        let topics: BTreeSet<&str> = members[0].seen.iter().map(|record| record.topic.as_str()).collect();
        assert_eq!(topics, BTreeSet::from([topic("red-1").as_str(), topic("green-22").as_str()]), "{}", kind.name());
        members.remove(0).leave().unwrap();
    });
}

#[test]
fn a_static_member_finds_its_partitions_again_and_a_topic_that_grows_is_shared() {
    // franz-go does not tell the group that a static member leaves.
    each([ClientKind::Java, ClientKind::Confluent], |kind| {
        let topic = filled("static", 4, 2);
        let group = unique("static-group");
        let topics = [topic.as_str()];
        let how = Subscription::new(&group, &topics).protocol(DEFAULT);
        let bootstrap = shared().bootstrap();
        let mut members = vec![
            Member::join(kind, &bootstrap, &how.clone().instance("one")).unwrap(),
            Member::join(kind, &bootstrap, &how.clone().instance("two")).unwrap(),
        ];
        poll_until(&mut members, SOON, |m| is_balanced(m, 4) && m.iter().all(|m| m.assigned.len() == 2)).unwrap();
        let gone = members[1].assigned.clone();
        members.pop().unwrap().leave().unwrap();
        members.push(Member::join(kind, &bootstrap, &how.clone().instance("two")).unwrap());
        poll_until(&mut members, SOON, |m| is_balanced(m, 4)).unwrap();
        assert_eq!(members[1].assigned, gone, "{}: the member that came back", kind.name());
        client(ClientKind::Franz)
            .call(json!({"op": "create_partitions", "topic": topic, "count": 6, "validate_only": false}))
            .unwrap();
        poll_until(&mut members, SOON, |m| is_balanced(m, 6) && m.iter().all(|m| m.assigned.len() == 3)).unwrap();
    });
}

#[test]
fn a_group_goes_on_after_kills_of_the_broker() {
    let mut server = Server::start(settings().restarted_often()).unwrap();
    let mut writer = open(ClientKind::Franz, &server.bootstrap()).unwrap();
    writer.create_topic("killed", 6, &[]).unwrap();
    fill(&mut *writer, "killed", 6, 5);
    let how = Subscription::new("killed-group", &["killed"]).protocol(DEFAULT);
    let kinds = [ClientKind::Java, ClientKind::Confluent, ClientKind::Franz];
    let mut members: Vec<Member> =
        kinds.iter().map(|kind| Member::join(*kind, &server.bootstrap(), &how).unwrap()).collect();
    poll_until(&mut members, SOON, |m| is_balanced(m, 6) && seen(m) >= 30).unwrap();
    for round in 1..=3_usize {
        members.iter_mut().for_each(|member| member.commit().unwrap());
        server.kill().unwrap();
        server.restart().unwrap();
        fill(&mut *writer, "killed", 6, 5);
        let all = 30 * (round + 1);
        poll_until(&mut members, SOON, |m| {
            let found: BTreeSet<_> = m.iter().flat_map(|m| &m.seen).map(|r| (r.partition, r.offset)).collect();
            is_balanced(m, 6) && found.len() == all
        })
        .unwrap();
    }
}
