//! Apache Kafka's own tools, as operators run them.
#![allow(clippy::unwrap_used)]

use rustmq_compat_tests::client::Produce;
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::{ClientKind, Draft, open, shared, tool};
use std::fs;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "org.apache.kafka.tools.ConfigCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";

fn run(class: &str, arguments: &[&str]) -> String {
    run_with_input(class, arguments, "")
}

fn run_with_input(class: &str, arguments: &[&str], input: &str) -> String {
    let bootstrap = shared().bootstrap();
    let all: Vec<&str> = ["--bootstrap-server", &bootstrap].into_iter().chain(arguments.iter().copied()).collect();
    tool::run_with_input(class, &all, input).unwrap()
}

#[test]
fn topics_are_created_described_altered_and_deleted() {
    let topic = unique("tool-topic");
    run(TOPICS, &["--create", "--topic", &topic, "--partitions", "2", "--config", "retention.ms=86400000"]);
    assert!(run(TOPICS, &["--list"]).lines().any(|line| line == topic));
    let described = run(TOPICS, &["--describe", "--topic", &topic]);
    assert!(described.contains("PartitionCount: 2") && described.contains("ReplicationFactor: 1"), "{described}");
    assert!(described.contains("retention.ms=86400000") && described.contains("Leader: 0"), "{described}");
    run(TOPICS, &["--alter", "--topic", &topic, "--partitions", "5"]);
    assert!(run(TOPICS, &["--describe", "--topic", &topic]).contains("PartitionCount: 5"));
    let refused = tool::run(TOPICS, &["--bootstrap-server", &shared().bootstrap(), "--create", "--topic", &topic]);
    assert!(refused.unwrap_err().to_string().contains("already exists"));
    run(TOPICS, &["--delete", "--topic", &topic]);
    assert!(run(TOPICS, &["--list"]).lines().all(|line| line != topic));
}

#[test]
fn configs_of_topics_and_brokers_are_described_and_altered() {
    let topic = unique("tool-config");
    open(ClientKind::Franz, &shared().bootstrap()).unwrap().create_topic(&topic, 1, &[]).unwrap();
    let entity = ["--entity-type", "topics", "--entity-name", topic.as_str()];
    let with = |more: &[&str]| run(CONFIGS, &[&entity[..], more].concat());
    with(&["--alter", "--add-config", "max.message.bytes=123456,cleanup.policy=[compact,delete]"]);
    let described = with(&["--describe"]);
    assert!(described.contains("max.message.bytes=123456"), "{described}");
    assert!(described.contains("cleanup.policy=compact,delete"), "{described}");
    with(&["--alter", "--delete-config", "max.message.bytes"]);
    let all = with(&["--describe", "--all"]);
    assert!(all.contains("max.message.bytes=1048588") && all.contains("retention.ms=604800000"), "{all}");
    let broker = run(CONFIGS, &["--entity-type", "brokers", "--entity-name", "0", "--describe", "--all"]);
    assert!(broker.contains("num.partitions=1") && broker.contains("message.max.bytes=1048588"), "{broker}");
}

#[test]
fn configs_of_groups_are_described_and_altered() {
    let group = unique("tool-config-group");
    let entity = ["--entity-type", "groups", "--entity-name", group.as_str()];
    let with = |more: &[&str]| run(CONFIGS, &[&entity[..], more].concat());
    with(&["--alter", "--add-config", "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=6000"]);
    let described = with(&["--describe"]);
    let own = "consumer.session.timeout.ms=50000 sensitive=false synonyms={DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000, \
               DEFAULT_CONFIG:group.consumer.session.timeout.ms=45000}";
    assert!(described.contains(&format!("Dynamic configs for group {group} are:")), "{described}");
    assert!(described.contains(own) && described.contains("consumer.heartbeat.interval.ms=6000"), "{described}");
    assert!(run(CONFIGS, &["--entity-type", "groups", "--describe"]).contains(&group));
    let bootstrap = shared().bootstrap();
    let alter = ["--alter", "--add-config", "consumer.session.timeout.ms=1"];
    let all = [&["--bootstrap-server", bootstrap.as_str()], &entity[..], &alter].concat();
    let refused = tool::run(CONFIGS, &all).unwrap_err().to_string();
    assert!(refused.contains("InvalidConfigurationException"), "{refused}");
    with(&["--alter", "--delete-config", "consumer.session.timeout.ms,consumer.heartbeat.interval.ms"]);
    let all = with(&["--describe", "--all"]);
    assert!(all.contains("consumer.session.timeout.ms=45000 sensitive=false"), "{all}");
}

#[test]
fn features_are_described_and_an_unknown_one_is_refused() {
    run(FEATURES, &["describe"]);
    let bootstrap = shared().bootstrap();
    let refused = |arguments: &[&str]| {
        let all = [&["--bootstrap-server", &bootstrap], arguments].concat();
        tool::run(FEATURES, &all).unwrap_err().to_string()
    };
    let error = refused(&["upgrade", "--feature", "nothing.version=1"]);
    assert!(error.contains("Could not upgrade nothing.version to 1"), "{error}");
    assert!(error.contains("1 out of 1 operation(s) failed"), "{error}");
}

#[test]
fn console_producer_and_consumer_pass_lines_through() {
    let topic = unique("tool-console");
    let lines: String = (0..100).map(|n| format!("k{n}:line {n}\n")).collect();
    run_with_input(
        "org.apache.kafka.tools.ConsoleProducer",
        &["--topic", &topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"],
        &lines,
    );
    let group = unique("tool-console-group");
    let consumer = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let read = run(
        consumer,
        &[
            "--topic",
            &topic,
            "--group",
            &group,
            "--from-beginning",
            "--max-messages",
            "100",
            "--timeout-ms",
            "30000",
            "--formatter-property",
            "print.key=true",
            "--formatter-property",
            "key.separator=:",
        ],
    );
    assert_eq!(read, lines);
    let described = run(GROUPS, &["--describe", "--group", &group]);
    let row = described.lines().find(|line| line.contains(&topic)).unwrap_or_else(|| panic!("{described}"));
    let fields: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(fields[2..6], ["0", "100", "100", "0"], "{described}");
}

#[test]
fn groups_are_listed_described_reset_and_deleted() {
    let topic = unique("tool-group-topic");
    let mut client = open(ClientKind::Franz, &shared().bootstrap()).unwrap();
    client.create_topic(&topic, 2, &[]).unwrap();
    let drafts: Vec<Draft> = (0..20).map(|n| Draft::new("k", "v").in_partition(n % 2)).collect();
    client.produce(Produce::to(&topic), &drafts).unwrap();
    let group = unique("tool-group");
    let whole = |to: &[&str]| {
        let all = ["--reset-offsets", "--group", &group, "--topic", &topic, "--execute"];
        run(GROUPS, &[&all[..], to].concat())
    };
    whole(&["--to-earliest"]);
    assert!(run(GROUPS, &["--list"]).lines().any(|line| line == group));
    whole(&["--shift-by", "4"]);
    let described = run(GROUPS, &["--describe", "--group", &group]);
    for row in described.lines().filter(|line| line.contains(&topic)) {
        let fields: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(fields[3..6], ["4", "10", "6"], "{described}");
    }
    assert!(run(GROUPS, &["--describe", "--group", &group, "--state"]).contains("Empty"));
    run(GROUPS, &["--delete-offsets", "--group", &group, "--topic", &format!("{topic}:0")]);
    run(GROUPS, &["--delete", "--group", &group]);
    assert!(run(GROUPS, &["--list"]).lines().all(|line| line != group));
}

#[test]
fn offsets_are_listed_and_records_deleted() {
    let topic = unique("tool-offsets");
    let mut client = open(ClientKind::Franz, &shared().bootstrap()).unwrap();
    client.create_topic(&topic, 1, &[]).unwrap();
    let drafts: Vec<Draft> = (0..10).map(|_| Draft::new("k", "v").in_partition(0)).collect();
    client.produce(Produce::to(&topic), &drafts).unwrap();
    assert_eq!(run(OFFSETS, &["--topic", &topic]).trim(), format!("{topic}:0:10"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("delete.json");
    let wanted = format!(r#"{{"partitions":[{{"topic":"{topic}","partition":0,"offset":6}}],"version":1}}"#);
    fs::write(&file, wanted).unwrap();
    let done = run("org.apache.kafka.tools.DeleteRecordsCommand", &["--offset-json-file", &file.display().to_string()]);
    assert!(done.contains("low_watermark: 6"), "{done}");
    assert_eq!(run(OFFSETS, &["--topic", &topic, "--time", "earliest"]).trim(), format!("{topic}:0:6"));
}

#[test]
fn verifiable_producer_and_consumer_agree() {
    let topic = unique("tool-verifiable");
    let produced =
        run("org.apache.kafka.tools.VerifiableProducer", &["--topic", &topic, "--max-messages", "500", "--acks", "-1"]);
    assert!(produced.contains(r#""sent":500,"acked":500"#), "{produced}");
    let consumed = run(
        "org.apache.kafka.tools.VerifiableConsumer",
        &[
            "--topic",
            &topic,
            "--group-id",
            &unique("verifiable"),
            "--max-messages",
            "500",
            "--reset-policy",
            "earliest",
        ],
    );
    assert!(consumed.contains("offsets_committed"), "{consumed}");
    assert!(!consumed.contains(r#""success":false"#), "{consumed}");
}

#[test]
fn performance_tools_move_records() {
    let topic = unique("tool-perf");
    let bootstrap = format!("bootstrap.servers={}", shared().bootstrap());
    let produced = tool::run(
        "org.apache.kafka.tools.ProducerPerformance",
        &[
            "--topic",
            &topic,
            "--num-records",
            "20000",
            "--record-size",
            "200",
            "--throughput",
            "-1",
            "--producer-props",
            &bootstrap,
            "acks=all",
            "compression.type=lz4",
        ],
    )
    .unwrap();
    assert!(produced.contains("20000 records sent"), "{produced}");
    let consumed = run(
        "org.apache.kafka.tools.ConsumerPerformance",
        &["--topic", &topic, "--messages", "20000", "--timeout", "30000"],
    );
    let row: Vec<&str> = consumed.lines().last().unwrap().split(',').map(str::trim).collect();
    assert!(row[4].parse::<u64>().unwrap() >= 20_000, "{consumed}");
}

#[test]
fn the_brokers_api_versions_are_read_by_kafkas_tool() {
    let listed = run("org.apache.kafka.tools.BrokerApiVersionsCommand", &[]);
    for api in ["Produce(0)", "Fetch(1)", "CreateTopics(19)", "DescribeCluster(60)", "DescribeTopicPartitions(75)"] {
        assert!(listed.contains(api), "{api} in {listed}");
    }
}
