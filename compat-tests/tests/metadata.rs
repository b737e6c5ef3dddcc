//! The metadata that clients get: auto-creation, unknown topics, limits on requests.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{From, Produce};
use rustmq_compat_tests::server::{Server, Settings, unique};
use rustmq_compat_tests::{ClientKind, Draft, Target, open, shared};
use serde_json::json;

#[test]
fn producing_to_an_unknown_topic_creates_it() {
    for kind in [
        ClientKind::Rdkafka,
        ClientKind::Confluent,
        ClientKind::KafkaPython,
        ClientKind::Aiokafka,
        ClientKind::Kafkajs,
        ClientKind::Java,
        ClientKind::Franz,
    ] {
        let topic = unique("auto");
        let mut client = open(kind, &shared().bootstrap()).unwrap();
        let acks = client.produce(Produce::to(&topic), &[Draft::new("k", "v")]).unwrap();
        assert_eq!((acks[0].error, acks[0].partition, acks[0].offset), (0, 0, 0), "{}", kind.name());
        let read = client.consume(&[(&topic, 0)], From::Earliest, 1, 20_000).unwrap();
        assert_eq!(read.len(), 1, "{}", kind.name());
    }
}

#[test]
fn auto_creation_can_be_switched_off_and_sized() {
    let off = Server::start(Settings::default().with("auto.create.topics.enable", "false")).unwrap();
    let mut client = open(ClientKind::Franz, &off.bootstrap()).unwrap();
    client.create_topic("made", 1, &[]).unwrap();
    // aiokafka sends a metadata request that may create the topic, and gives up soon.
    let refused =
        open(ClientKind::Aiokafka, &off.bootstrap()).unwrap().produce(Produce::to("missing"), &[Draft::new("k", "v")]);
    assert!(refused.is_err() || refused.unwrap()[0].error != 0);
    let listed = client.call(json!({"op": "list_topics"})).unwrap();
    assert_eq!(listed["topics"], json!(["made"]));
    drop(off);
    let sized = Server::start(Settings::default().with("num.partitions", "5")).unwrap();
    let mut client = open(ClientKind::Confluent, &sized.bootstrap()).unwrap();
    client.produce(Produce::to("sized"), &[Draft::new("k", "v")]).unwrap();
    let described = client.call(json!({"op": "describe_topics", "topics": ["sized"]})).unwrap();
    assert_eq!(described["topics"]["sized"]["partitions"].as_array().unwrap().len(), 5);
}

#[test]
fn the_process_tells_its_health_and_metrics() {
    let server = shared();
    if server.target() == Target::Kafka {
        return; // Kafka has no such endpoints: this one is about the promise of our README.
    }
    let mut client = open(ClientKind::Rdkafka, &server.bootstrap()).unwrap();
    let topic = unique("metrics");
    client.produce(Produce::to(&topic), &[Draft::new("k", "v")]).unwrap();
    assert_eq!(server.get("/health").unwrap().0, 200);
    assert_eq!(server.get("/ready").unwrap().0, 200);
    let (status, body) = server.get("/metrics").unwrap();
    assert_eq!(status, 200);
    let series = body.lines().filter(|line| line.starts_with("rustmq_")).count();
    assert!(series > 10, "{body}");
}
