//! Kafka's own tools around transactions and the new groups: the copier that its system tests use,
//! `kafka-transactions`, `kafka-features`, and the consumers of the command line.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::{End, Isolation, Produce};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::tool::{self, Running};
use rustmq_compat_tests::{Client, ClientKind, Draft, Server, Settings, open, shared};
use serde_json::json;
use std::thread;
use std::time::{Duration, Instant};

const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const SOON: Duration = Duration::from_secs(120);

fn run(class: &str, arguments: &[&str]) -> String {
    run_at(shared(), class, arguments)
}

fn run_at(server: &Server, class: &str, arguments: &[&str]) -> String {
    let bootstrap = server.bootstrap();
    let all: Vec<&str> = ["--bootstrap-server", &bootstrap].into_iter().chain(arguments.iter().copied()).collect();
    tool::run(class, &all).unwrap()
}

fn drafts(name: &str, count: usize) -> Vec<Draft> {
    (0..count).map(|n| Draft::new("k", &format!("{name}/{n}")).in_partition(0)).collect()
}

fn topic(client: &mut dyn Client, partitions: i32) -> String {
    let topic = unique("tools");
    client.create_topic(&topic, partitions, &[]).unwrap();
    let described = json!({"op": "describe_topics", "topics": [topic]});
    assert!(shared().knows(|| client.call(described.clone()).unwrap()["topics"][&topic]["error"] == 0), "{topic}");
    topic
}

/// A Java producer with an open transaction of three records in the topic.
fn open_transaction(topic: &str, id: &str) -> Box<dyn Client> {
    let mut producer = open(ClientKind::Java, &shared().bootstrap()).unwrap();
    producer.init_transactions(id, None).unwrap();
    producer.begin_transaction().unwrap();
    let acks = producer.send(topic, &drafts("open", 3)).unwrap();
    assert!(acks.iter().all(|ack| ack.error == 0), "{acks:?}");
    producer
}

#[test]
fn the_message_copier_copies_each_record_once_through_kills_of_the_broker() {
    const RECORDS: usize = 6000;
    const PARTITIONS: i32 = 2;
    const KILLS: i64 = 3;
    let settings = Settings::default().with("group.initial.rebalance.delay.ms", "0").restarted_often();
    let mut server = Server::start(settings).unwrap();
    let bootstrap = server.bootstrap();
    let mut client = open(ClientKind::Java, &bootstrap).unwrap();
    for name in ["source", "copy"] {
        client.create_topic(name, PARTITIONS, &[]).unwrap();
    }
    for partition in 0..PARTITIONS {
        let drafts: Vec<Draft> =
            (0..RECORDS).map(|n| Draft::new("k", &n.to_string()).in_partition(partition)).collect();
        let acks = client.produce(Produce::to("source").idempotent(), &drafts).unwrap();
        assert!(acks.iter().all(|ack| ack.error == 0));
    }
    let copiers: Vec<Running> = (0..PARTITIONS).map(|partition| copier(&bootstrap, partition)).collect();
    for kill in 1..=KILLS {
        // Some transactions later the copiers are in the middle of others.
        let due = kill * i64::try_from(RECORDS).unwrap() / (KILLS + 2);
        let begun = Instant::now();
        while end(&mut *client) < due {
            assert!(begun.elapsed() < SOON, "the copiers do not come to offset {due}");
            thread::sleep(Duration::from_millis(20));
        }
        server.kill().unwrap();
        server.restart().unwrap();
    }
    for copier in copiers {
        let output = copier.end(SOON).unwrap();
        let last = output.lines().last().unwrap_or_default();
        assert!(last.contains("ShutdownComplete") && last.contains(r#""remaining":0"#), "{last}");
    }
    for partition in 0..PARTITIONS {
        let partitions = [("copy", partition)];
        let read = client.consume_isolated(Isolation::ReadCommitted, &partitions, RECORDS + 1, 5_000).unwrap();
        let found: Vec<String> =
            read.into_iter().map(|record| String::from_utf8(record.value.unwrap()).unwrap()).collect();
        let expected: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
        assert!(found == expected, "partition {partition}: {} records, or others", found.len());
    }
}

fn copier(bootstrap: &str, partition: i32) -> Running {
    let (partition, id) = (partition.to_string(), format!("copier-{partition}"));
    let to = ["--input-topic", "source", "--output-topic", "copy", "--broker-list", bootstrap];
    let how =
        ["--consumer-group", "copiers", "--transaction-size", "30", "--enable-random-aborts", "--use-group-metadata"];
    let own = ["--input-partition", &partition, "--transactional-id", &id];
    let all = [&to[..], &how[..], &own[..]].concat();
    Running::start("org.apache.kafka.tools.TransactionalMessageCopier", &all).unwrap()
}

/// The end of the copies of the first partition.
fn end(client: &mut dyn Client) -> i64 {
    let ask = json!({"op": "list_offsets", "topic": "copy", "partition": 0, "at": -1});
    client.call(ask).unwrap()["offset"].as_i64().unwrap()
}

#[test]
fn kafka_transactions_lists_and_describes_what_is_open() {
    let mut admin = open(ClientKind::Java, &shared().bootstrap()).unwrap();
    let (topic, id) = (topic(&mut *admin, 1), unique("described"));
    let mut producer = open_transaction(&topic, &id);
    let row = |listed: &str| -> Vec<String> {
        let row = listed.lines().find(|line| line.split_whitespace().next() == Some(&id));
        row.unwrap_or_else(|| panic!("{listed}")).split_whitespace().map(str::to_owned).collect()
    };
    // TransactionalId, Coordinator, ProducerId, TransactionState
    let listed = row(&run(TRANSACTIONS, &["list"]));
    assert_eq!((&listed[1][..], &listed[3][..]), ("0", "Ongoing"));
    // CoordinatorId, TransactionalId, ProducerId, ProducerEpoch, TransactionState, ...,
    // TopicPartitions
    let described = run(TRANSACTIONS, &["describe", "--transactional-id", &id]);
    assert!(described.contains("Ongoing") && described.contains(&format!("{topic}-0")), "{described}");
    let producers = run(TRANSACTIONS, &["describe-producers", "--topic", &topic, "--partition", "0"]);
    let fields: Vec<&str> = producers.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(
        (fields[0], fields[3], fields[5]),
        (&listed[2][..], "2", "0"),
        "its id, sequence and start: {producers}"
    );
    let hanging = run(TRANSACTIONS, &["find-hanging", "--broker-id", "0", "--max-transaction-timeout", "0"]);
    assert!(!hanging.contains(&topic), "{hanging}");
    producer.end_transaction(End::Commit).unwrap();
    let is_complete = shared().knows(|| row(&run(TRANSACTIONS, &["list"]))[3] == "CompleteCommit");
    assert!(is_complete, "{}", run(TRANSACTIONS, &["list"]));
}

#[test]
fn kafka_transactions_aborts_what_holds_readers_back() {
    let mut client = open(ClientKind::Java, &shared().bootstrap()).unwrap();
    for how in ["abort", "forceTerminateTransaction"] {
        let (topic, id) = (topic(&mut *client, 1), unique("aborted"));
        let mut producer = open_transaction(&topic, &id);
        client.produce(Produce::to(&topic), &drafts("after", 2)).unwrap();
        if how == "abort" {
            run(TRANSACTIONS, &[how, "--topic", &topic, "--partition", "0", "--start-offset", "0"]);
        } else {
            run(TRANSACTIONS, &[how, "--transactionalId", &id]);
        }
        let read = client.consume_isolated(Isolation::ReadCommitted, &[(&topic, 0)], 2, 30_000).unwrap();
        let found: Vec<Vec<u8>> = read.into_iter().map(|record| record.value.unwrap()).collect();
        assert_eq!(found, [b"after/0", b"after/1"], "{how}");
        if how == "forceTerminateTransaction" {
            let committed = producer.end_transaction(End::Commit);
            assert!(committed.is_err(), "a terminated transaction commits");
        }
    }
}

#[test]
fn console_and_verifiable_consumers_read_committed_records_by_the_new_protocol() {
    let mut client = open(ClientKind::Java, &shared().bootstrap()).unwrap();
    let topic = topic(&mut *client, 1);
    client.init_transactions(&unique("written"), None).unwrap();
    for (name, end) in [("first", End::Commit), ("dropped", End::Abort), ("last", End::Commit)] {
        client.begin_transaction().unwrap();
        client.send(&topic, &drafts(name, 50)).unwrap();
        client.end_transaction(end).unwrap();
    }
    let group = unique("console");
    let consumer = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let from = ["--topic", &topic, "--group", &group, "--from-beginning", "--max-messages", "100"];
    let how = ["--isolation-level", "read_committed", "--timeout-ms", "30000"];
    let protocol = ["--command-property", "group.protocol=consumer"];
    let read = run(consumer, &[&from[..], &how[..], &protocol[..]].concat());
    let lines = |name: &'static str| (0..50).map(move |n| format!("{name}/{n}\n"));
    assert_eq!(read, lines("first").chain(lines("last")).collect::<String>());
    let listed = run("org.apache.kafka.tools.GroupsCommand", &["--list"]);
    let row = listed.lines().find(|line| line.split_whitespace().next() == Some(&group)).unwrap_or_default();
    assert!(row.contains("Consumer"), "{listed}");
    let verified = run(
        "org.apache.kafka.tools.VerifiableConsumer",
        &[
            "--topic",
            &topic,
            "--group-id",
            &unique("verifiable"),
            "--max-messages",
            "100",
            "--group-protocol",
            "CONSUMER",
        ],
    );
    assert!(verified.contains("offsets_committed") && !verified.contains(r#""success":false"#), "{verified}");
}

/// The finalized level of a feature, as the tool says it.
fn level(server: &Server, feature: &str) -> String {
    let described = run_at(server, FEATURES, &["describe"]);
    let row = described.lines().find(|line| line.contains(&format!("Feature: {feature}")));
    let row = row.unwrap_or_else(|| panic!("{described}"));
    let level = row.split("FinalizedVersionLevel: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    level.unwrap_or_else(|| panic!("{row}")).to_owned()
}

#[test]
fn kafka_features_changes_the_version_of_transactions_while_one_is_open() {
    let server = Server::start(Settings::default()).unwrap();
    let mut client = open(ClientKind::Java, &server.bootstrap()).unwrap();
    client.create_topic("featured", 1, &[]).unwrap();
    assert_eq!(level(&server, "transaction.version"), "2");
    assert_eq!(level(&server, "group.version"), "1");
    let mut number = 0;
    for (command, version) in [("downgrade", "0"), ("upgrade", "2")] {
        // librdkafka has the first version alone, which goes on whatever is finalized. The Java
        // client takes the version that is finalized as it begins.
        let transact = |kind: ClientKind, through: &dyn Fn()| {
            let name = format!("{}-{command}", kind.name());
            let mut producer = open(kind, &server.bootstrap()).unwrap();
            producer.init_transactions(&name, None).unwrap();
            producer.begin_transaction().unwrap();
            producer.send("featured", &drafts("before", 1)).unwrap();
            through();
            producer.send("featured", &drafts("after", 1)).unwrap();
            producer.end_transaction(End::Commit).unwrap_or_else(|e| panic!("{name}: {e}"));
        };
        transact(ClientKind::Rdkafka, &|| {
            run_at(&server, FEATURES, &[command, "--feature", &format!("transaction.version={version}")]);
            assert!(server.knows(|| level(&server, "transaction.version") == version), "{command}");
        });
        transact(ClientKind::Java, &|| {});
        number += 4;
        let read = client.consume_isolated(Isolation::ReadCommitted, &[("featured", 0)], number, 30_000).unwrap();
        assert_eq!(read.len(), number, "{command}");
    }
}
