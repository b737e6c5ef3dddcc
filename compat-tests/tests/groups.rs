//! Consumer groups: members that join, leave and die, cooperative and static members, commits,
//! resets, foreign positions.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{Produce, each};
use rustmq_compat_tests::member::{Member, ReceivedRecord, Subscription, is_balanced, poll_until};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::{Client, ClientKind, Draft, open, shared};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

/// On two busy cores seven clients are slow; on idle ones everything is done in a few seconds.
const SOON: Duration = Duration::from_secs(90);
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;

const CONSUMERS: [ClientKind; 7] = [
    ClientKind::Rdkafka,
    ClientKind::Confluent,
    ClientKind::Aiokafka,
    ClientKind::KafkaPython,
    ClientKind::Kafkajs,
    ClientKind::Java,
    ClientKind::Franz,
];

fn client(kind: ClientKind) -> Box<dyn Client> {
    open(kind, &shared().bootstrap()).unwrap()
}

fn join(kind: ClientKind, how: &Subscription<'_>) -> Member {
    Member::join(kind, &shared().bootstrap(), how).unwrap()
}

/// A topic with `each` records in every partition.
fn filled(partitions: i32, each: usize) -> String {
    let topic = unique("group-topic");
    let mut writer = client(ClientKind::Franz);
    writer.create_topic(&topic, partitions, &[]).unwrap();
    fill(&topic, partitions, each);
    topic
}

fn fill(topic: &str, partitions: i32, each: usize) {
    let drafts: Vec<Draft> = (0..partitions)
        .flat_map(|p| (0..each).map(move |n| Draft::new("k", &format!("{p}/{n}")).in_partition(p)))
        .collect();
    // One writer for all scenarios: some of them write in every round of polling.
    static WRITER: LazyLock<Mutex<Box<dyn Client>>> = LazyLock::new(|| Mutex::new(client(ClientKind::Franz)));
    let acks = WRITER.lock().unwrap_or_else(PoisonError::into_inner).produce(Produce::to(topic), &drafts).unwrap();
    assert!(acks.iter().all(|ack| ack.error == 0));
}

fn seen(members: &[Member]) -> usize {
    members.iter().map(|member| member.seen.len()).sum()
}

/// The strategy of the library, cooperative if it has one.
fn strategy(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::Kafkajs | ClientKind::Aiokafka => "roundrobin",
        _ => "range",
    }
}

#[test]
fn each_client_joins_consumes_commits_and_resumes() {
    each(CONSUMERS, |kind| {
        let topic = filled(3, 10);
        let group = unique("resume");
        let topics = [topic.as_str()];
        let how = Subscription::new(&group, &topics).strategy(strategy(kind));
        let mut members = vec![join(kind, &how)];
        poll_until(&mut members, SOON, |m| seen(m) == 30 && m[0].assigned.len() == 3).unwrap();
        members[0].commit().unwrap();
        members.remove(0).leave().unwrap();
        fill(&topic, 3, 2);
        let mut members = vec![join(kind, &how)];
        poll_until(&mut members, SOON, |m| seen(m) >= 6).unwrap();
        assert!(members[0].seen.iter().all(|seen| seen.offset >= 10), "{} began before its commit", kind.name());
        members.remove(0).leave().unwrap();
    });
}

#[test]
fn members_share_the_partitions_as_they_join_leave_and_die() {
    each(CONSUMERS, |kind| {
        let topic = filled(6, 5);
        let group = unique("share");
        let topics = [topic.as_str()];
        let how = Subscription::new(&group, &topics).strategy(strategy(kind)).session_ms(6000);
        let mut members = vec![join(kind, &how)];
        poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
        members.push(join(kind, &how));
        members.push(join(kind, &how));
        poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
        members.pop().unwrap().leave().unwrap();
        poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
        if kind != ClientKind::Rdkafka {
            // A library in this process cannot be killed alone.
            members.pop().unwrap().die();
            poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
        }
        members.pop().unwrap().leave().unwrap();
    });
}

#[test]
fn cooperative_members_keep_what_they_have() {
    each(
        [ClientKind::Java, ClientKind::Franz, ClientKind::Confluent, ClientKind::Rdkafka, ClientKind::KafkaPython],
        |kind| {
            let topic = filled(6, 5);
            let group = unique("cooperative");
            let topics = [topic.as_str()];
            let how = Subscription::new(&group, &topics).strategy("cooperative");
            let mut members = vec![join(kind, &how)];
            poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
            members.push(join(kind, &how));
            poll_until(&mut members, SOON, |m| is_balanced(m, 6)).unwrap();
            let mut before: Vec<BTreeSet<_>> = members.iter().map(|member| member.assigned.clone()).collect();
            before.sort_by_key(BTreeSet::len);
            members.push(join(kind, &how));
            poll_until(&mut members, SOON, |m| is_balanced(m, 6) && m.iter().all(|m| m.assigned.len() == 2)).unwrap();
            for (member, before) in members.iter().zip(&before).take(2) {
                assert_eq!(before.len(), 3, "{}", kind.name());
                assert!(
                    members.iter().take(2).any(|m| m.assigned.is_subset(before)),
                    "{}: {:?}",
                    kind.name(),
                    member.assigned
                );
            }
            members.into_iter().for_each(|member| member.leave().unwrap());
        },
    );
}

#[test]
fn a_static_member_returns_to_its_partitions_without_a_rebalance() {
    each([ClientKind::Java, ClientKind::Franz, ClientKind::Confluent, ClientKind::KafkaPython], |kind| {
        let topic = filled(4, 5);
        let group = unique("static");
        let topics = [topic.as_str()];
        let how = Subscription::new(&group, &topics).session_ms(30_000);
        let mut members = vec![join(kind, &how.clone().instance("one")), join(kind, &how.clone().instance("two"))];
        poll_until(&mut members, SOON, |m| is_balanced(m, 4)).unwrap();
        let (rebalances, gone) = (members[0].rebalances, members[1].assigned.clone());
        members.pop().unwrap().die();
        members.push(join(kind, &how.clone().instance("two")));
        poll_until(&mut members, SOON, |m| is_balanced(m, 4)).unwrap();
        assert_eq!(members[1].assigned, gone, "{}: the returned member", kind.name());
        assert_eq!(members[0].rebalances, rebalances, "{}: the member that stayed", kind.name());
    });
}

#[test]
fn a_second_member_of_the_same_instance_fences_the_first() {
    let topic = filled(2, 5);
    let group = unique("fenced");
    let topics = [topic.as_str()];
    let how = Subscription::new(&group, &topics).instance("only");
    let mut first = vec![join(ClientKind::Java, &how)];
    poll_until(&mut first, SOON, |m| is_balanced(m, 2)).unwrap();
    let mut second = vec![join(ClientKind::Java, &how)];
    poll_until(&mut second, SOON, |m| is_balanced(m, 2)).unwrap();
    // The library's error for FENCED_INSTANCE_ID depends on whether its commit or its heartbeat
    // notices first.
    first[0].commit_offsets(&[(&topic, 0, 1, "")]).unwrap_err();
    second[0].commit_offsets(&[(&topic, 0, 1, "")]).unwrap();
}

#[test]
fn resets_begin_at_the_earliest_or_the_latest_record() {
    each(CONSUMERS, |kind| {
        let topic = filled(1, 5);
        let topics = [topic.as_str()];
        let earliest = unique("earliest");
        let mut members = vec![join(kind, &Subscription::new(&earliest, &topics).strategy(strategy(kind)))];
        poll_until(&mut members, SOON, |m| seen(m) == 5).unwrap();
        let latest = unique("latest");
        let mut members =
            vec![join(kind, &Subscription::new(&latest, &topics).strategy(strategy(kind)).reset("latest"))];
        poll_until(&mut members, SOON, |m| is_balanced(m, 1)).unwrap();
        // An assigned member may not have requested the end yet. It has once it sees a record that
        // was written after that.
        poll_until(&mut members, SOON, |m| {
            fill(&topic, 1, 1);
            !m[0].seen.is_empty()
        })
        .unwrap();
        assert!(members[0].seen.iter().all(|seen| seen.offset >= 5), "{} saw {:?}", kind.name(), members[0].seen);
    });
}

#[test]
fn commits_keep_their_metadata_and_serve_every_client() {
    let topic = filled(2, 10);
    let group = unique("metadata");
    let topics = [topic.as_str()];
    let how = Subscription::new(&group, &topics);
    let mut members = vec![join(ClientKind::Java, &how)];
    poll_until(&mut members, SOON, |m| is_balanced(m, 2)).unwrap();
    members[0].commit_offsets(&[(&topic, 0, 7, "half way"), (&topic, 1, 3, "")]).unwrap();
    assert_eq!(members[0].committed(&topic, 0).unwrap(), (7, "half way".into()));
    members.pop().unwrap().leave().unwrap();
    // Without confluent-kafka: it reads metadata beyond its end, into the memory that follows.
    for kind in [ClientKind::Franz, ClientKind::KafkaPython, ClientKind::Kafkajs, ClientKind::Aiokafka] {
        let answer = client(kind).call(json!({"op": "group_offsets", "group": group})).unwrap();
        let mut offsets = answer["offsets"].as_array().unwrap().clone();
        offsets.sort_by_key(|offset| offset[1].as_i64());
        assert_eq!(json!(offsets), json!([[topic, 0, 7, "half way"], [topic, 1, 3, ""]]), "{}", kind.name());
    }
    let mut members = vec![join(ClientKind::Franz, &how)];
    poll_until(&mut members, SOON, |m| seen(m) >= 10).unwrap();
    let first = members[0].seen.iter().min_by_key(|seen| (seen.partition, seen.offset)).unwrap();
    assert_eq!((first.partition, first.offset), (0, 7));
}

#[test]
fn every_record_is_seen_once_by_a_group_that_does_not_change() {
    let topic = filled(8, 50);
    let group = unique("once");
    let topics = [topic.as_str()];
    let how = Subscription::new(&group, &topics);
    let kinds = [ClientKind::Java, ClientKind::Franz, ClientKind::Confluent];
    let mut members: Vec<Member> = kinds.into_iter().map(|kind| join(kind, &how)).collect();
    poll_until(&mut members, SOON, |m| is_balanced(m, 8)).unwrap();
    members.iter_mut().for_each(|member| member.seen.clear());
    fill(&topic, 8, 25);
    poll_until(&mut members, SOON, |m| m.iter().flat_map(|m| &m.seen).filter(|s| s.offset >= 50).count() >= 200)
        .unwrap();
    let fresh: Vec<&ReceivedRecord> =
        members.iter().flat_map(|member| &member.seen).filter(|seen| seen.offset >= 50).collect();
    let distinct: BTreeSet<_> = fresh.iter().map(|seen| (seen.partition, seen.offset)).collect();
    assert_eq!((fresh.len(), distinct.len()), (200, 200));
    for member in &members {
        for partition in 0..8 {
            let offsets: Vec<i64> =
                member.seen.iter().filter(|seen| seen.partition == partition).map(|seen| seen.offset).collect();
            assert!(offsets.is_sorted(), "{} saw partition {partition} out of order", member.kind().name());
        }
    }
}

#[test]
fn a_member_that_was_put_out_cannot_commit() {
    let topic = filled(1, 3);
    let group = unique("put-out");
    let topics = [topic.as_str()];
    let mut members = vec![join(ClientKind::Franz, &Subscription::new(&group, &topics))];
    poll_until(&mut members, SOON, |m| seen(m) == 3).unwrap();
    let admin = &mut client(ClientKind::Franz);
    // The coordinator refuses a commit from outside while the group has members, and accepts it
    // once the group is empty.
    let outside = json!({"op": "alter_group_offsets", "group": group, "offsets": [[topic, 0, 1, ""]]});
    let refusal = admin.call(outside.clone()).unwrap_err();
    assert!([UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION].contains(&refusal.code), "{refusal}");
    members.pop().unwrap().leave().unwrap();
    admin.call(outside).unwrap();
    let mut members = vec![join(ClientKind::Java, &Subscription::new(&group, &topics))];
    poll_until(&mut members, SOON, |m| seen(m) == 2).unwrap();
}

#[test]
fn a_group_notices_partitions_that_are_added() {
    each([ClientKind::Java, ClientKind::Confluent, ClientKind::Franz], |kind| {
        let topic = filled(1, 3);
        let group = unique("grows");
        let topics = [topic.as_str()];
        let mut members = vec![join(kind, &Subscription::new(&group, &topics))];
        poll_until(&mut members, SOON, |m| is_balanced(m, 1)).unwrap();
        let request = json!({"op": "create_partitions", "topic": topic, "count": 3, "validate_only": false});
        assert_eq!(client(ClientKind::Franz).results(request).unwrap()[&topic], 0);
        poll_until(&mut members, SOON, |m| is_balanced(m, 3)).unwrap();
    });
}
