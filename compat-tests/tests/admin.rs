//! Administration: each request by at least two clients, with its successes and the errors that
//! operators meet.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{From, Produce, each};
use rustmq_compat_tests::member::{Member, Subscription, is_balanced, poll_until};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::{Client, ClientKind, Draft, open, shared};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(45);
const OK: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;

/// The clients that can administer topics.
const ADMINS: [ClientKind; 6] = [
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

fn create(client: &mut dyn Client, topic: &Value, validate_only: bool) -> i16 {
    let request = json!({"op": "create_topics", "topics": [topic], "validate_only": validate_only});
    let name = topic["name"].as_str().unwrap();
    let code = client.results(request).unwrap()[name];
    if code == OK && !validate_only {
        let described = json!({"op": "describe_configs", "type": "topic", "name": name});
        assert!(
            shared().knows(|| client.call(described.clone()).is_ok_and(|d| d["configs"]["retention.ms"].is_string()))
        );
        assert!(shared().knows(|| describe(client, name)["error"] == OK));
    }
    code
}

/// The code of one resource. Some libraries raise an exception instead of returning a result.
fn code(client: &mut dyn Client, request: Value, resource: &str) -> i16 {
    client.results(request).map_or_else(|refusal| refusal.code, |results| results[resource])
}

fn plain(name: &str, partitions: i32) -> Value {
    json!({"name": name, "partitions": partitions, "replication": 1, "configs": {}})
}

fn listed(client: &mut dyn Client) -> Vec<Value> {
    client.call(json!({"op": "list_topics"})).unwrap()["topics"].as_array().unwrap().clone()
}

fn describe(client: &mut dyn Client, topic: &str) -> Value {
    let answer = client.call(json!({"op": "describe_topics", "topics": [topic]})).unwrap();
    answer["topics"][topic].clone()
}

fn partition_count(client: &mut dyn Client, topic: &str) -> usize {
    describe(client, topic)["partitions"].as_array().map_or(0, Vec::len)
}

fn config(client: &mut dyn Client, topic: &str, key: &str) -> String {
    let answer = client.call(json!({"op": "describe_configs", "type": "topic", "name": topic})).unwrap();
    answer["configs"][key].as_str().unwrap_or_default().to_owned()
}

#[test]
fn topics_are_created_seen_grown_and_deleted() {
    each(ADMINS, |kind| {
        let client = &mut *client(kind);
        let topic = unique("life");
        assert_eq!(create(client, &plain(&topic, 2), true), OK, "{}: validation", kind.name());
        // Metadata for a named topic may create it, so this lists all topics.
        assert!(!listed(client).contains(&json!(topic)), "{}: validation creates nothing", kind.name());
        assert_eq!(create(client, &plain(&topic, 2), false), OK, "{}", kind.name());
        assert_eq!(create(client, &plain(&topic, 2), false), TOPIC_ALREADY_EXISTS, "{}", kind.name());
        let described = describe(client, &topic);
        assert_eq!(described["error"], OK, "{}: {described}", kind.name());
        assert_eq!(described["partitions"].as_array().unwrap().len(), 2, "{}: {described}", kind.name());
        let first = &described["partitions"][0];
        assert_eq!((&first["leader"], &first["replicas"], &first["isr"]), (&json!(0), &json!([0]), &json!([0])));
        let grow = |count: i32, validate_only: bool| json!({"op": "create_partitions", "topic": topic, "count": count, "validate_only": validate_only});
        for (count, validate_only, expected) in [(4, true, OK), (4, false, OK), (3, false, INVALID_PARTITIONS)] {
            assert_eq!(code(client, grow(count, validate_only), &topic), expected, "{}: {count}", kind.name());
        }
        assert!(shared().knows(|| partition_count(client, &topic) == 4), "{}", kind.name());
        assert!(shared().knows(|| listed(client).contains(&json!(topic))), "{}", kind.name());
        let delete = json!({"op": "delete_topics", "topics": [topic]});
        assert_eq!(code(client, delete.clone(), &topic), OK, "{}", kind.name());
        assert_eq!(code(client, delete, &topic), UNKNOWN_TOPIC_OR_PARTITION, "{}", kind.name());
    });
}

#[test]
fn a_topic_can_be_produced_to_as_soon_as_it_is_created() {
    let mut creator = client(ClientKind::Java);
    let mut writer = client(ClientKind::Rdkafka);
    for _ in 0..10 {
        let topic = unique("at-once");
        assert_eq!(create(&mut *creator, &plain(&topic, 3), false), OK);
        let acks = writer.produce(Produce::to(&topic), &[Draft::new("k", "v").in_partition(2)]).unwrap();
        assert_eq!((acks[0].error, acks[0].offset), (OK, 0));
    }
}

#[test]
fn a_topic_that_is_made_again_is_empty() {
    let topic = unique("again");
    for kind in [ClientKind::Java, ClientKind::Confluent] {
        let client = &mut *client(kind);
        assert_eq!(create(client, &plain(&topic, 1), false), OK);
        let acks = client.produce(Produce::to(&topic), &[Draft::new("k", kind.name()).in_partition(0)]).unwrap();
        assert_eq!(acks[0].offset, 0, "{}", kind.name());
        let read = client.consume(&[(&topic, 0)], From::Earliest, 1, 20_000).unwrap();
        assert_eq!(read[0].value.as_deref(), Some(kind.name().as_bytes()));
        assert_eq!(client.results(json!({"op": "delete_topics", "topics": [topic]})).unwrap()[&topic], OK);
    }
}

#[test]
fn impossible_topics_are_refused_by_name() {
    each(ADMINS, |kind| {
        let client = &mut *client(kind);
        let name = unique("impossible");
        let cases = [
            (json!({"name": "white space", "partitions": 1, "replication": 1, "configs": {}}), INVALID_TOPIC),
            (json!({"name": name, "partitions": 0, "replication": 1, "configs": {}}), INVALID_PARTITIONS),
            (json!({"name": name, "partitions": 1, "replication": 3, "configs": {}}), INVALID_REPLICATION_FACTOR),
            (
                json!({"name": name, "partitions": 1, "replication": 1, "configs": {"retention.ms": "soon"}}),
                INVALID_CONFIG,
            ),
            (json!({"name": name, "partitions": 1, "replication": 1, "configs": {"no.such.key": "1"}}), INVALID_CONFIG),
            (json!({"name": name, "assignment": [[7]], "configs": {}}), INVALID_REPLICA_ASSIGNMENT),
        ];
        for (topic, expected) in cases {
            // Some libraries refuse some of these themselves, and then report no code.
            match client.results(json!({"op": "create_topics", "topics": [topic], "validate_only": false})) {
                Ok(results) => {
                    let code = *results.values().next().unwrap();
                    assert_eq!(code, expected, "{}: {topic}", kind.name());
                }
                Err(refusal) => assert!(!refusal.broken, "{}: {topic}: {refusal}", kind.name()),
            }
        }
        let assigned = json!({"name": name, "assignment": [[0], [0]], "configs": {}});
        assert_eq!(create(client, &assigned, false), OK, "{}", kind.name());
        assert_eq!(partition_count(client, &name), 2, "{}", kind.name());
    });
}

#[test]
fn configs_are_described_with_defaults_and_altered() {
    each(ADMINS, |kind| {
        let client = &mut *client(kind);
        let topic = unique("configs");
        let wanted = json!({"name": topic, "partitions": 1, "replication": 1, "configs": {"retention.ms": "3600000"}});
        assert_eq!(create(client, &wanted, false), OK);
        assert!(shared().knows(|| config(client, &topic, "retention.ms") == "3600000"), "{}", kind.name());
        for (key, default) in [
            ("cleanup.policy", "delete"),
            ("compression.type", "producer"),
            ("max.message.bytes", "1048588"),
            ("message.timestamp.type", "CreateTime"),
            ("min.insync.replicas", "1"),
            ("retention.bytes", "-1"),
            ("segment.bytes", "1073741824"),
        ] {
            assert_eq!(config(client, &topic, key), default, "{}: {key}", kind.name());
        }
        let broker = client.call(json!({"op": "describe_configs", "type": "broker", "name": "0"})).unwrap();
        assert_eq!(broker["configs"]["num.partitions"], "1", "{}", kind.name());
    });
}

#[test]
fn altering_all_configs_at_once_replaces_them() {
    // kafka-python cannot: it adds the existing values.
    for kind in [ClientKind::Confluent, ClientKind::Aiokafka, ClientKind::Kafkajs, ClientKind::Franz] {
        let client = &mut *client(kind);
        let topic = unique("replace");
        let wanted = json!({"name": topic, "partitions": 1, "replication": 1, "configs": {"retention.ms": "3600000"}});
        assert_eq!(create(client, &wanted, false), OK);
        let alter =
            json!({"op": "alter_configs", "type": "topic", "name": topic, "configs": {"max.message.bytes": "5000"}});
        assert_eq!(client.results(alter).unwrap()[&topic], OK, "{}", kind.name());
        assert!(shared().knows(|| config(client, &topic, "max.message.bytes") == "5000"), "{}", kind.name());
        assert!(shared().knows(|| config(client, &topic, "retention.ms") == "604800000"), "{}: replaced", kind.name());
    }
}

#[test]
fn altering_configs_one_by_one_leaves_the_others() {
    for kind in [ClientKind::Confluent, ClientKind::KafkaPython, ClientKind::Java, ClientKind::Franz] {
        let client = &mut *client(kind);
        let topic = unique("increment");
        let wanted = json!({"name": topic, "partitions": 1, "replication": 1, "configs": {"retention.ms": "3600000"}});
        assert_eq!(create(client, &wanted, false), OK);
        let alter = |set: Value, delete: Value| json!({"op": "incremental_alter_configs", "type": "topic", "name": topic, "set": set, "delete": delete});
        let set = alter(json!({"max.message.bytes": "5000", "cleanup.policy": "compact,delete"}), json!([]));
        assert_eq!(client.results(set).unwrap()[&topic], OK, "{}", kind.name());
        assert!(shared().knows(|| config(client, &topic, "max.message.bytes") == "5000"), "{}", kind.name());
        assert!(shared().knows(|| config(client, &topic, "cleanup.policy") == "compact,delete"), "{}", kind.name());
        assert!(shared().knows(|| config(client, &topic, "retention.ms") == "3600000"), "{}", kind.name());
        let unset = alter(json!({}), json!(["retention.ms"]));
        assert_eq!(client.results(unset).unwrap()[&topic], OK, "{}", kind.name());
        assert!(shared().knows(|| config(client, &topic, "retention.ms") == "604800000"), "{}", kind.name());
        let bad = alter(json!({"max.message.bytes": "-7"}), json!([]));
        assert_eq!(code(client, bad, &topic), INVALID_CONFIG, "{}", kind.name());
    }
}

#[test]
fn deleted_records_are_gone_and_the_rest_is_there() {
    for kind in ADMINS {
        let client = &mut *client(kind);
        let topic = unique("delete-records");
        assert_eq!(create(client, &plain(&topic, 1), false), OK);
        let drafts: Vec<Draft> = (0..10).map(|n| Draft::new("k", &n.to_string()).in_partition(0)).collect();
        client.produce(Produce::to(&topic), &drafts).unwrap();
        let delete = |before: i64| json!({"op": "delete_records", "topic": topic, "partition": 0, "before": before});
        assert_eq!(client.call(delete(4)).unwrap()["low"], 4, "{}", kind.name());
        let read = client.consume(&[(&topic, 0)], From::Earliest, 6, 20_000).unwrap();
        assert_eq!((read.len(), read[0].offset), (6, 4), "{}", kind.name());
        let start = client.call(json!({"op": "list_offsets", "topic": topic, "partition": 0, "at": -2})).unwrap();
        assert_eq!(start["offset"], 4, "{}", kind.name());
        let beyond = client.call(delete(11)).unwrap_err();
        assert!([OFFSET_OUT_OF_RANGE, -1].contains(&beyond.code), "{}: {beyond}", kind.name());
    }
}

#[test]
fn groups_are_listed_described_and_deleted() {
    each(ADMINS, |kind| {
        let client = &mut *client(kind);
        let (topic, group) = (unique("described"), unique("described-group"));
        assert_eq!(create(client, &plain(&topic, 3), false), OK);
        let topics = [topic.as_str()];
        let mut members =
            vec![Member::join(ClientKind::Franz, &shared().bootstrap(), &Subscription::new(&group, &topics)).unwrap()];
        poll_until(&mut members, SOON, |m| is_balanced(m, 3)).unwrap();
        members[0].commit_offsets(&[(&topic, 0, 0, "")]).unwrap();
        let listed = client.call(json!({"op": "list_groups"})).unwrap();
        assert!(listed["groups"].as_array().unwrap().contains(&json!(group)), "{}: {listed}", kind.name());
        let described = client.call(json!({"op": "describe_group", "group": group})).unwrap();
        let state = described["state"].as_str().unwrap().to_lowercase();
        assert_eq!((state.as_str(), &described["protocol"]), ("stable", &json!("range")), "{}", kind.name());
        assert_eq!((&described["members"], &described["assigned"]), (&json!(1), &json!(3)), "{}", kind.name());
        if kind == ClientKind::Aiokafka {
            // This client cannot delete groups.
            return;
        }
        let delete = json!({"op": "delete_groups", "groups": [group]});
        assert_eq!(client.results(delete.clone()).unwrap()[&group], NON_EMPTY_GROUP, "{}", kind.name());
        members.pop().unwrap().leave().unwrap();
        assert_eq!(client.results(delete.clone()).unwrap()[&group], OK, "{}", kind.name());
        assert_eq!(client.results(delete).unwrap()[&group], GROUP_ID_NOT_FOUND, "{}", kind.name());
    });
}

#[test]
fn group_offsets_are_altered_and_deleted() {
    for kind in
        [ClientKind::Confluent, ClientKind::KafkaPython, ClientKind::Kafkajs, ClientKind::Java, ClientKind::Franz]
    {
        let client = &mut *client(kind);
        let (topic, group) = (unique("altered"), unique("altered-group"));
        assert_eq!(create(client, &plain(&topic, 2), false), OK);
        let alter =
            json!({"op": "alter_group_offsets", "group": group, "offsets": [[topic, 0, 5, ""], [topic, 1, 6, ""]]});
        client.call(alter).unwrap();
        let offsets = |client: &mut dyn Client| {
            let answer = client.call(json!({"op": "group_offsets", "group": group})).unwrap();
            let mut found: Vec<(i64, i64)> = answer["offsets"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| (entry[1].as_i64().unwrap(), entry[2].as_i64().unwrap()))
                .collect();
            found.sort_unstable();
            found
        };
        assert_eq!(offsets(client), [(0, 5), (1, 6)], "{}", kind.name());
        if matches!(kind, ClientKind::Confluent | ClientKind::Kafkajs) {
            // These clients cannot delete single offsets.
            continue;
        }
        let delete = json!({"op": "delete_group_offsets", "group": group, "topic": topic, "partitions": [0]});
        assert_eq!(client.results(delete).unwrap()["0"], OK, "{}", kind.name());
        assert_eq!(offsets(client), [(1, 6)], "{}", kind.name());
    }
}

#[test]
fn offsets_of_a_subscribed_topic_cannot_be_deleted() {
    let (topic, group) = (unique("subscribed"), unique("subscribed-group"));
    let franz = &mut *client(ClientKind::Franz);
    assert_eq!(create(franz, &plain(&topic, 1), false), OK);
    let topics = [topic.as_str()];
    let mut members =
        vec![Member::join(ClientKind::Java, &shared().bootstrap(), &Subscription::new(&group, &topics)).unwrap()];
    poll_until(&mut members, SOON, |m| is_balanced(m, 1)).unwrap();
    members[0].commit_offsets(&[(&topic, 0, 0, "")]).unwrap();
    for kind in [ClientKind::Java, ClientKind::Franz] {
        let delete = json!({"op": "delete_group_offsets", "group": group, "topic": topic, "partitions": [0]});
        assert_eq!(client(kind).results(delete).unwrap()["0"], GROUP_SUBSCRIBED_TO_TOPIC, "{}", kind.name());
    }
}

#[test]
fn the_cluster_describes_itself() {
    let port = shared().bootstrap().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let mut ids = Vec::new();
    for kind in ADMINS {
        let found = client(kind).call(json!({"op": "describe_cluster"})).unwrap();
        assert_eq!(found["controller"], 0, "{}", kind.name());
        assert_eq!(found["brokers"], json!([[0, "127.0.0.1", port]]), "{}", kind.name());
        ids.push(found["cluster_id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert!(ids.len() == 1 && !ids[0].is_empty(), "{ids:?}");
}

#[test]
fn log_folders_and_config_resources_are_listed() {
    let topic = unique("listed");
    assert_eq!(create(&mut *client(ClientKind::Franz), &plain(&topic, 3), false), OK);
    for kind in [ClientKind::KafkaPython, ClientKind::Java, ClientKind::Franz] {
        let client = &mut *client(kind);
        let folders = client.call(json!({"op": "describe_log_dirs", "topic": topic})).unwrap();
        assert_eq!(folders["partitions"], 3, "{}", kind.name());
        let resources = client.call(json!({"op": "list_config_resources"})).unwrap();
        assert!(resources["topics"].as_array().unwrap().contains(&json!(topic)), "{}: {resources}", kind.name());
    }
}

#[test]
fn the_end_of_a_leader_epoch_is_the_logs_end() {
    let topic = unique("epoch");
    let franz = &mut *client(ClientKind::Franz);
    assert_eq!(create(franz, &plain(&topic, 1), false), OK);
    franz.produce(Produce::to(&topic), &[Draft::new("k", "v").in_partition(0)]).unwrap();
    let answer = franz.call(json!({"op": "leader_epoch", "topic": topic, "partition": 0, "epoch": 0})).unwrap();
    assert_eq!((&answer["epoch"], &answer["end_offset"]), (&json!(0), &json!(1)));
}
