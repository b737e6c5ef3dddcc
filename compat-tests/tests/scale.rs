//! Many partitions and many connections on one broker.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestKind, ResponseKind};
use rustmq_compat_tests::client::{From, Produce};
use rustmq_compat_tests::member::{Member, Subscription, is_balanced, poll_until};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{ClientKind, Draft, open, shared};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn a_thousand_partitions_take_and_give_records() {
    const PARTITIONS: i32 = 1000;
    let topic = unique("thousand");
    let mut client = open(ClientKind::Franz, &shared().bootstrap()).unwrap();
    client.create_topic(&topic, PARTITIONS, &[]).unwrap();
    let drafts: Vec<Draft> =
        (0..PARTITIONS * 3).map(|n| Draft::new("k", &n.to_string()).in_partition(n % PARTITIONS)).collect();
    for kind in [ClientKind::Rdkafka, ClientKind::Franz, ClientKind::Java] {
        let acks =
            open(kind, &shared().bootstrap()).unwrap().produce(Produce::to(&topic).idempotent(), &drafts).unwrap();
        assert!(acks.iter().all(|ack| ack.error == 0), "{}", kind.name());
        let used: BTreeSet<i32> = acks.iter().map(|ack| ack.partition).collect();
        assert_eq!(used.len(), 1000, "{}", kind.name());
    }
    let all: Vec<(&str, i32)> = (0..PARTITIONS).map(|partition| (topic.as_str(), partition)).collect();
    for kind in [ClientKind::Rdkafka, ClientKind::Franz, ClientKind::Java] {
        let mut client = open(kind, &shared().bootstrap()).unwrap();
        let read = client.consume(&all, From::Earliest, drafts.len() * 3, 60_000).unwrap();
        let distinct: BTreeSet<(i32, i64)> = read.iter().map(|record| (record.partition, record.offset)).collect();
        assert_eq!(distinct.len(), drafts.len() * 3, "{}", kind.name());
    }
    let group = unique("thousand-group");
    let topics = [topic.as_str()];
    let mut members: Vec<Member> = [ClientKind::Franz, ClientKind::Java]
        .into_iter()
        .map(|kind| Member::join(kind, &shared().bootstrap(), &Subscription::new(&group, &topics)).unwrap())
        .collect();
    poll_until(&mut members, Duration::from_secs(60), |m| is_balanced(m, 1000)).unwrap();
}

#[test]
fn five_hundred_connections_are_served_while_others_work() {
    let request = RequestKind::ApiVersions(ApiVersionsRequest::default());
    let mut connections: Vec<Wire> = (0..500).map(|_| Wire::connect(shared().port()).unwrap()).collect();
    for wire in &mut connections {
        wire.send(ApiKey::ApiVersions, 0, &request).unwrap();
    }
    let topic = unique("crowd");
    let mut client = open(ClientKind::Rdkafka, &shared().bootstrap()).unwrap();
    open(ClientKind::Franz, &shared().bootstrap()).unwrap().create_topic(&topic, 1, &[]).unwrap();
    let acks = client.produce(Produce::to(&topic), &[Draft::new("k", "v").in_partition(0)]).unwrap();
    assert_eq!(acks[0].error, 0);
    for wire in &mut connections {
        let ResponseKind::ApiVersions(answer) = wire.receive(ApiKey::ApiVersions, 0).unwrap() else {
            panic!("another answer")
        };
        assert!(!answer.api_keys.is_empty());
    }
    // Once more on the same connections.
    for wire in &mut connections {
        wire.call(ApiKey::ApiVersions, 0, &request).unwrap();
    }
}
