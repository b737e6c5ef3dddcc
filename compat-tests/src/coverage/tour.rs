//! The tour: the operations that make a client send every request that it can send. Each step names
//! the clients that support it and checks the answer as the client understood it. A wrong answer
//! panics with the client's name. The other scenarios test the details of each operation.

use super::Recorder;
use crate::client::{Client, ClientKind, End, From, Isolation, Produce, open};
use crate::member::{Member, Protocol, Subscription, is_balanced, poll_until};
use crate::record::Draft;
use crate::server::{Server, unique};
use ClientKind::{Aiokafka, Confluent, Franz, Java, KafkaPython, Kafkajs, Rdkafka};
use rustmq_kafka_codec_messages::ApiKey;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

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
const MEMBERS: &[ClientKind] = &[Rdkafka, Confluent, Aiokafka, KafkaPython, Kafkajs, Java, Franz];

/// In order: each step relies on the results of earlier ones.
const STEPS: &[Step] = &[
    (topics, ADMINS),
    (configs_replaced, &[Confluent, Aiokafka, KafkaPython, Kafkajs, Franz]),
    (configs_changed, &[Confluent, KafkaPython, Java, Franz]),
    (records, &ClientKind::ALL),
    (offsets, &ClientKind::ALL),
    (leader_epochs, &[Java, Franz]),
    (deleted_records, ADMINS),
    (membership, MEMBERS),
    (group_offsets, ADMINS),
    (altered_group_offsets, &[Confluent, KafkaPython, Kafkajs, Java, Franz]),
    (deleted_group_offsets, &[KafkaPython, Java, Franz]),
    (deleted_groups, &[Confluent, KafkaPython, Kafkajs, Java, Franz]),
    (cluster, ADMINS),
    (folders_and_resources, &[KafkaPython, Java, Franz]),
    (features, &[Java, Franz]),
    (consumer_groups, &[Confluent, Java, Franz]),
    (transactions, MEMBERS),
    (operators_of_transactions, &[Java, Franz]),
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

    fn is_admin(&self) -> bool {
        ADMINS.contains(&self.kind)
    }

    /// The partitions of the topic, and how many records are left in it.
    fn expected(&self) -> (usize, usize) {
        let (partitions, records) = if self.is_admin() { (2, RECORDS - 2) } else { (1, RECORDS) };
        (partitions, usize::try_from(records).expect("a small number"))
    }

    /// The assignor of classic members.
    fn strategy(&self) -> &'static str {
        if self.kind == Kafkajs { "roundrobin" } else { "range" }
    }

    /// The partitions and offsets that the tour's group has committed.
    fn committed(&mut self) -> Vec<(i64, i64)> {
        let group = self.group.clone();
        self.committed_by(&group)
    }

    fn committed_by(&mut self, group: &str) -> Vec<(i64, i64)> {
        let answer = self.call(&json!({"op": "group_offsets", "group": group}));
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
    let how = Subscription::new(&group, &topics).strategy(tour.strategy()).session_ms(6_000);
    let mut members = vec![Member::join(tour.kind, &tour.server.bootstrap(), &how).expect(name)];
    let has_administration = tour.is_admin();
    let (partitions, expected) = tour.expected();
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

/// Joins a group whose partitions the broker assigns (KIP-848), appears in its description, and
/// leaves.
fn consumer_groups(tour: &mut Tour<'_>) {
    let (topic, name, group) = (tour.topic.clone(), tour.name(), unique("tour-consumers"));
    let topics = [topic.as_str()];
    let how = Subscription::new(&group, &topics).protocol(Protocol::Consumer { assignor: None });
    let mut members = vec![Member::join(tour.kind, &tour.server.bootstrap(), &how).expect(name)];
    let (partitions, records) = tour.expected();
    poll_until(&mut members, SOON, |m| is_balanced(m, partitions) && m[0].seen.len() == records).expect(name);
    let described = json!({"op": "describe_group", "group": group, "protocol": "consumer"});
    let mut is_described = |state: &str, members: usize, assigned: usize| {
        let answer = tour.call(&described);
        let found = answer["state"].as_str().unwrap_or_default().to_lowercase();
        (found.as_str(), &answer["members"], &answer["assigned"]) == (state, &json!(members), &json!(assigned))
    };
    // The member owns its partitions before it tells the group so.
    let deadline = Instant::now() + SOON;
    while !is_described("stable", 1, partitions) {
        assert!(Instant::now() < deadline, "{name}");
        members[0].poll(100).expect(name);
    }
    members.pop().expect("there is one").leave().expect(name);
    assert!(is_described("empty", 0, 0), "{name}");
}

/// Moves a group in transactions: what is committed is read, what is aborted is not, and the
/// group's offsets come with the records.
fn transactions(tour: &mut Tour<'_>) {
    let (topic, name) = (tour.topic.clone(), tour.name());
    let (group, id) = (unique("tour-movers"), unique("tour-id"));
    let topics = [topic.as_str()];
    let how = Subscription::new(&group, &topics).strategy(tour.strategy()).transactional_id(&id);
    let mut members = vec![Member::join(tour.kind, &tour.server.bootstrap(), &how).expect(name)];
    members[0].client.init_transactions(&id, None).expect(name);
    let (_, before) = tour.expected();
    poll_until(&mut members, SOON, |members| members[0].seen.len() == before).expect(name);
    let client = &mut members[0].client;
    for (value, end) in [("first", End::Commit), ("dropped", End::Abort), ("last", End::Commit)] {
        client.begin_transaction().expect(name);
        let acks = client.send(&topic, &[Draft::new("key", value).in_partition(0)]).expect(name);
        assert!(acks.iter().all(|ack| ack.error == 0), "{name}: {acks:?}");
        client.send_offsets(&group, &[(&topic, 0, RECORDS.into(), "")]).expect(name);
        client.end_transaction(end).expect(name);
    }
    members.pop().expect("there is one").leave().expect(name);
    let read = tour.client.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], before + 2, 30_000).expect(name);
    let values: Vec<&[u8]> = read.iter().skip(before).filter_map(|record| record.value.as_deref()).collect();
    assert_eq!(values, [&b"first"[..], b"last"], "{name}");
    if tour.is_admin() {
        let committed = |tour: &mut Tour<'_>| tour.committed_by(&group) == [(0, RECORDS.into())];
        // The markers follow the answer.
        assert!(tour.knows(committed), "{name}");
    }
}

/// Finds an open transaction, and aborts it by a marker as its coordinator would.
fn operators_of_transactions(tour: &mut Tour<'_>) {
    let (topic, name, id) = (tour.topic.clone(), tour.name(), unique("tour-held"));
    tour.client.init_transactions(&id, None).expect(name);
    tour.client.begin_transaction().expect(name);
    let acks = tour.client.send(&topic, &[Draft::new("key", "held").in_partition(0)]).expect(name);
    let start = acks[0].offset;
    let listed = tour.call(&json!({"op": "list_transactions"}));
    let row = listed["transactions"].as_array().into_iter().flatten().find(|row| row[0] == id);
    let row = row.unwrap_or_else(|| panic!("{name}: {listed}"));
    assert_eq!(row[2], "Ongoing", "{name}: {listed}");
    let described = tour.call(&json!({"op": "describe_transaction", "id": id}));
    let seen = (&described["producer_id"], &described["state"], &described["partitions"]);
    assert_eq!(seen, (&row[1], &json!("Ongoing"), &json!([[topic, 0]])), "{name}: {described}");
    let held = |tour: &mut Tour<'_>| {
        let found = tour.call(&json!({"op": "describe_producers", "topic": topic, "partition": 0}));
        let of_ours = found["producers"].as_array().into_iter().flatten().find(|producer| producer[0] == row[1]);
        of_ours.map(|producer| producer[3].clone())
    };
    assert_eq!(held(tour), Some(json!(start)), "{name}");
    tour.call(&json!({"op": "abort_by_marker", "topic": topic, "partition": 0, "producer_id": row[1],
        "epoch": described["epoch"]}));
    assert_eq!(held(tour), Some(json!(-1)), "{name}");
    tour.client.end_transaction(End::Abort).expect(name);
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
