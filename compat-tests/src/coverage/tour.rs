//! The tour: the operations that make a client send every request that it can send. Each step names
//! the clients that support it and checks the answer as the client understood it. A wrong answer
//! panics with the client's name. The other scenarios test the details of each operation.

use super::Recorder;
use crate::client::{Client, ClientKind, From, Produce, open};
use crate::member::{Member, Subscription, is_balanced, poll_until};
use crate::record::Draft;
use crate::server::{Server, unique};
use ClientKind::{Aiokafka, Confluent, Franz, Java, KafkaPython, Kafkajs, Rdkafka};
use rustmq_kafka_codec_messages::ApiKey;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(45);
const RECORDS: i32 = 6;

/// A client on its tour, and its resources.
pub struct Tour<'a> {
    server: &'a Server,
    recorder: &'a Recorder,
    kind: ClientKind,
    client: Box<dyn Client>,
    topic: String,
    group: String,
}

type Step = (fn(&mut Tour<'_>), &'static [ClientKind]);

const ADMINS: &[ClientKind] = &[Confluent, Aiokafka, KafkaPython, Kafkajs, Java, Franz];

/// In order: each step relies on the results of earlier ones.
const STEPS: &[Step] = &[
    (topics, ADMINS),
    (configs_replaced, &[Confluent, Aiokafka, KafkaPython, Kafkajs, Franz]),
    (configs_changed, &[Confluent, KafkaPython, Java, Franz]),
    (records, &ClientKind::ALL),
    (offsets, &ClientKind::ALL),
    (leader_epochs, &[Java, Franz]),
    (deleted_records, ADMINS),
    (membership, &[Rdkafka, Confluent, Aiokafka, KafkaPython, Kafkajs, Java, Franz]),
    (group_offsets, ADMINS),
    (altered_group_offsets, &[Confluent, KafkaPython, Kafkajs, Java, Franz]),
    (deleted_group_offsets, &[KafkaPython, Java, Franz]),
    (deleted_groups, &[Confluent, KafkaPython, Kafkajs, Java, Franz]),
    (cluster, ADMINS),
    (folders_and_resources, &[KafkaPython, Java, Franz]),
    (features, &[Java, Franz]),
    (deleted_topics, ADMINS),
];

/// Takes one client through all of its steps.
pub fn take(kind: ClientKind, server: &Server, recorder: &Recorder) {
    let client = open(kind, &server.bootstrap()).expect("the client starts");
    let (topic, group) = (unique("tour"), unique("tour-group"));
    let mut tour = Tour { server, recorder, kind, client, topic, group };
    for (step, kinds) in STEPS {
        if kinds.contains(&kind) {
            step(&mut tour);
        }
    }
}

impl Tour<'_> {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn call(&mut self, request: &Value) -> Value {
        let name = self.name();
        self.client.call(request.clone()).unwrap_or_else(|refusal| panic!("{name}: {request}: {refusal}"))
    }

    /// Executes an operation that must succeed for `resource`.
    fn succeed(&mut self, request: &Value, resource: &str) {
        let name = self.name();
        let results = self.client.results(request.clone()).unwrap_or_else(|e| panic!("{name}: {request}: {e}"));
        assert_eq!(results.get(resource), Some(&0), "{name}: {request}");
    }

    /// Whether the condition holds now, or on Kafka, soon.
    fn knows(&mut self, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let server = self.server;
        server.knows(|| holds(self))
    }

    fn partition_count(&mut self) -> usize {
        let described = self.call(&json!({"op": "describe_topics", "topics": [self.topic]}));
        described["topics"][&self.topic]["partitions"].as_array().map_or(0, Vec::len)
    }

    fn config(&mut self, key: &str) -> Value {
        self.call(&json!({"op": "describe_configs", "type": "topic", "name": self.topic}))["configs"][key].take()
    }

    fn offset(&mut self, at: i64) -> Value {
        self.call(&json!({"op": "list_offsets", "topic": self.topic, "partition": 0, "at": at}))["offset"].take()
    }

    /// The partitions and offsets that the group has committed.
    fn committed(&mut self) -> Vec<(i64, i64)> {
        let answer = self.call(&json!({"op": "group_offsets", "group": self.group}));
        let offsets = answer["offsets"].as_array().into_iter().flatten();
        let mut found: Vec<(i64, i64)> =
            offsets.filter_map(|entry| Some((entry[1].as_i64()?, entry[2].as_i64()?))).collect();
        found.sort_unstable();
        found
    }
}

fn topics(tour: &mut Tour<'_>) {
    let topic = tour.topic.clone();
    let wanted = json!({"name": topic, "partitions": 1, "replication": 1, "configs": {"max.message.bytes": "2000000"}});
    tour.succeed(&json!({"op": "create_topics", "topics": [wanted], "validate_only": false}), &topic);
    assert!(tour.knows(|tour| tour.config("max.message.bytes") == "2000000"), "{}", tour.name());
    assert!(tour.knows(|tour| tour.partition_count() == 1), "{}", tour.name());
    tour.succeed(&json!({"op": "create_partitions", "topic": topic, "count": 2, "validate_only": false}), &topic);
    assert!(tour.knows(|tour| tour.partition_count() == 2), "{}", tour.name());
    let is_listed = |tour: &mut Tour<'_>| {
        let listed = tour.call(&json!({"op": "list_topics"}));
        listed["topics"].as_array().is_some_and(|topics| topics.contains(&json!(tour.topic)))
    };
    assert!(tour.knows(is_listed), "{}", tour.name());
}

fn configs_replaced(tour: &mut Tour<'_>) {
    let topic = tour.topic.clone();
    let configs = json!({"retention.ms": "7200000"});
    tour.succeed(&json!({"op": "alter_configs", "type": "topic", "name": topic, "configs": configs}), &topic);
    assert!(tour.knows(|tour| tour.config("retention.ms") == "7200000"), "{}", tour.name());
    // kafka-python adds the existing values, so that nothing is replaced.
    let left = if tour.kind == KafkaPython { "2000000" } else { "1048588" };
    assert!(tour.knows(|tour| tour.config("max.message.bytes") == left), "{}", tour.name());
}

fn configs_changed(tour: &mut Tour<'_>) {
    let topic = tour.topic.clone();
    let (set, delete) = (json!({"retention.ms": "3600000"}), json!(["max.message.bytes"]));
    tour.succeed(
        &json!({"op": "incremental_alter_configs", "type": "topic", "name": topic, "set": set, "delete": delete}),
        &topic,
    );
    assert!(tour.knows(|tour| tour.config("retention.ms") == "3600000"), "{}", tour.name());
    assert!(tour.knows(|tour| tour.config("max.message.bytes") == "1048588"), "{}", tour.name());
}

fn records(tour: &mut Tour<'_>) {
    let (topic, name) = (tour.topic.clone(), tour.name());
    let drafts: Vec<Draft> = (0..RECORDS).map(|n| Draft::new("key", &format!("value {n}")).in_partition(0)).collect();
    let acks = tour.client.produce(Produce::to(&topic).idempotent(), &drafts).expect(name);
    let offsets: Vec<i64> = acks.iter().filter(|ack| ack.error == 0).map(|ack| ack.offset).collect();
    assert_eq!(offsets, (0..i64::from(RECORDS)).collect::<Vec<_>>(), "{name}");
    let read = tour.client.consume(&[(&topic, 0)], From::Earliest, drafts.len(), 30_000).expect(name);
    let values: Vec<_> = read.iter().map(|record| record.value.clone()).collect();
    assert_eq!(values, drafts.iter().map(|draft| draft.value.clone()).collect::<Vec<_>>(), "{name}");
}

fn offsets(tour: &mut Tour<'_>) {
    assert_eq!((tour.offset(-2), tour.offset(-1)), (json!(0), json!(RECORDS)), "{}", tour.name());
}

fn leader_epochs(tour: &mut Tour<'_>) {
    let answer = tour.call(&json!({"op": "leader_epoch", "topic": tour.topic, "partition": 0, "epoch": 0}));
    assert_eq!((&answer["epoch"], &answer["end_offset"]), (&json!(0), &json!(RECORDS)), "{}", tour.name());
}

fn deleted_records(tour: &mut Tour<'_>) {
    let answer = tour.call(&json!({"op": "delete_records", "topic": tour.topic, "partition": 0, "before": 2}));
    assert_eq!((&answer["low"], tour.offset(-2)), (&json!(2), json!(2)), "{}", tour.name());
}

/// Joins a group, gets partitions and records, commits, appears in listings, and leaves.
fn membership(tour: &mut Tour<'_>) {
    let (topic, name) = (tour.topic.clone(), tour.name());
    let topics = [topic.as_str()];
    let group = tour.group.clone();
    let strategy = if tour.kind == Kafkajs { "roundrobin" } else { "range" };
    let how = Subscription::new(&group, &topics).strategy(strategy).session_ms(6_000);
    let mut members = vec![Member::join(tour.kind, &tour.server.bootstrap(), &how).expect(name)];
    let has_administration = ADMINS.contains(&tour.kind);
    let (partitions, expected) = if has_administration { (2, RECORDS - 2) } else { (1, RECORDS) };
    let expected = usize::try_from(expected).expect("a small number");
    let recorder = tour.recorder;
    poll_until(&mut members, SOON, |members| {
        let heartbeats = recorder.has_seen(ApiKey::Heartbeat);
        is_balanced(members, partitions) && members[0].seen.len() == expected && heartbeats
    })
    .expect(name);
    members[0].commit_offsets(&[(&topic, 0, 4, "")]).expect(name);
    // kafkajs has this request only in its administration client.
    if tour.kind != Kafkajs {
        assert_eq!(members[0].committed(&topic, 0).expect(name).0, 4, "{name}");
    }
    if has_administration {
        let listed = tour.call(&json!({"op": "list_groups"}));
        assert!(listed["groups"].as_array().is_some_and(|groups| groups.contains(&json!(group))), "{name}: {listed}");
        let described = tour.call(&json!({"op": "describe_group", "group": group}));
        let state = described["state"].as_str().unwrap_or_default().to_lowercase();
        assert_eq!((state.as_str(), &described["members"]), ("stable", &json!(1)), "{name}: {described}");
    }
    members.pop().expect("there is one").leave().expect(name);
    if has_administration {
        let described = tour.call(&json!({"op": "describe_group", "group": group}));
        let state = described["state"].as_str().unwrap_or_default().to_lowercase();
        assert_eq!((state.as_str(), &described["members"]), ("empty", &json!(0)), "{name}: {described}");
    }
}

fn group_offsets(tour: &mut Tour<'_>) {
    assert_eq!(tour.committed(), [(0, 4)], "{}", tour.name());
}

fn altered_group_offsets(tour: &mut Tour<'_>) {
    let offsets = json!([[tour.topic, 0, 3, ""], [tour.topic, 1, 0, ""]]);
    tour.call(&json!({"op": "alter_group_offsets", "group": tour.group, "offsets": offsets}));
    assert_eq!(tour.committed(), [(0, 3), (1, 0)], "{}", tour.name());
}

fn deleted_group_offsets(tour: &mut Tour<'_>) {
    let delete = json!({"op": "delete_group_offsets", "group": tour.group, "topic": tour.topic, "partitions": [0]});
    tour.succeed(&delete, "0");
    assert_eq!(tour.committed(), [(1, 0)], "{}", tour.name());
}

fn deleted_groups(tour: &mut Tour<'_>) {
    let group = tour.group.clone();
    tour.succeed(&json!({"op": "delete_groups", "groups": [group]}), &group);
    let listed = tour.call(&json!({"op": "list_groups"}));
    assert!(listed["groups"].as_array().is_some_and(|groups| !groups.contains(&json!(group))), "{}", tour.name());
}

fn cluster(tour: &mut Tour<'_>) {
    let described = tour.call(&json!({"op": "describe_cluster"}));
    assert_eq!(described["brokers"], json!([[0, "127.0.0.1", tour.recorder.port()]]), "{}", tour.name());
}

fn folders_and_resources(tour: &mut Tour<'_>) {
    let folders = tour.call(&json!({"op": "describe_log_dirs", "topic": tour.topic}));
    assert_eq!(folders["partitions"], 2, "{}", tour.name());
    let resources = tour.call(&json!({"op": "list_config_resources"}));
    let is_listed = resources["topics"].as_array().is_some_and(|topics| topics.contains(&json!(tour.topic)));
    assert!(is_listed, "{}: {resources}", tour.name());
}

fn features(tour: &mut Tour<'_>) {
    let update = json!({
        "op": "update_features", "levels": {"nothing.version": 1}, "downgrade": false, "validate_only": false,
    });
    assert_eq!(tour.call(&update)["results"], json!({"nothing.version": 95}), "{}", tour.name());
}

fn deleted_topics(tour: &mut Tour<'_>) {
    let topic = tour.topic.clone();
    tour.succeed(&json!({"op": "delete_topics", "topics": [topic]}), &topic);
    let is_gone = |tour: &mut Tour<'_>| {
        let listed = tour.call(&json!({"op": "list_topics"}));
        listed["topics"].as_array().is_some_and(|topics| !topics.contains(&json!(tour.topic)))
    };
    assert!(tour.knows(is_gone), "{}", tour.name());
}
