//! Configs as an operator's tools see them: values in Kafka's stored form, the catalogue of broker
//! configs, and the broker's report about itself. Spoken on the wire, since most client libraries
//! omit types, sources or unknown names.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest, RequestKind,
    ResponseKind, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_compat_tests::server::{Settings, Target, unique};
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Server, shared};
use std::collections::BTreeMap;

const OK: i16 = 0;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The operations of IncrementalAlterConfigs.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;
/// The sources of a value.
const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 2;
const FROM_FILE: i8 = 4;
const FROM_DEFAULT: i8 = 5;

/// The configs that Apache Kafka 4.4.0 describes for a broker without settings: name, type, whether
/// it is fixed or dynamic, default (`null` is none).
const CATALOGUE: &str = include_str!("fixtures/broker_configs.txt");

/// Returns the answer to a request in one version.
macro_rules! ask {
    ($wire:expr, $kind:ident, $version:expr, $request:expr) => {{
        let answer = $wire.call(ApiKey::$kind, $version, &RequestKind::$kind($request)).unwrap();
        let ResponseKind::$kind(answer) = answer else { panic!("another answer than {}", stringify!($kind)) };
        answer
    }};
}

mod groups;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn describe(wire: &mut Wire, kind: i8, name: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    ask!(wire, DescribeConfigs, 4, request).results.remove(0)
}

fn described(wire: &mut Wire, kind: i8, name: &str, key: &str) -> Option<DescribeConfigsResourceResult> {
    describe(wire, kind, name).configs.into_iter().find(|config| &config.name[..] == key)
}

/// The value and the source of a config.
fn told(wire: &mut Wire, kind: i8, name: &str, key: &str) -> Option<(Option<String>, i8)> {
    described(wire, kind, name, key).map(|found| (found.value.map(|value| value.to_string()), found.config_source))
}

/// The code of one change.
fn edit(wire: &mut Wire, kind: i8, name: &str, key: &str, operation: i8, value: Option<&str>) -> i16 {
    let config =
        AlterableConfig::default().with_name(text(key)).with_config_operation(operation).with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let rehearsal = request.clone().with_validate_only(true);
    let rehearsed = ask!(wire, IncrementalAlterConfigs, 1, rehearsal).responses.remove(0).error_code;
    let code = ask!(wire, IncrementalAlterConfigs, 1, request).responses.remove(0).error_code;
    assert_eq!(rehearsed, code, "{key}: a rehearsal says the same");
    code
}

/// The code of a creation.
fn create(wire: &mut Wire, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let wanted = CreatableTopic::default()
        .with_name(TopicName(text(topic)))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    ask!(wire, CreateTopics, 7, request).topics.remove(0).error_code
}

/// A topic that can be described.
fn topic(wire: &mut Wire) -> String {
    let name = unique("configs");
    assert_eq!(create(wire, &name, 1, &[]), OK);
    assert!(shared().knows(|| describe(wire, TOPIC, &name).error_code == OK));
    name
}

/// Values as clients write them, and as they are stored; `None` if they are refused.
const VALUES: &[(&str, &str, Option<&str>)] = &[
    ("cleanup.policy", "delete,delete", Some("delete")),
    ("cleanup.policy", " compact , delete ", Some("compact,delete")),
    ("cleanup.policy", "compact,delete,compact", Some("compact,delete")),
    ("cleanup.policy", "", Some("")),
    ("cleanup.policy", "compact,,delete", None),
    ("cleanup.policy", ",", None),
    ("cleanup.policy", "DELETE", None),
    ("retention.ms", " 5 ", Some("5")),
    ("retention.ms", "+6", Some("6")),
    ("retention.ms", "007", Some("7")),
    ("retention.ms", "-1", Some("-1")),
    ("retention.ms", "", None),
    ("retention.ms", "5.0", None),
    ("preallocate", "TRUE", Some("true")),
    ("preallocate", " False ", Some("false")),
    ("preallocate", "yes", None),
    ("unclean.leader.election.enable", "True", Some("true")),
    ("compression.gzip.level", "-1", Some("-1")),
    ("compression.gzip.level", "1", Some("1")),
    ("compression.gzip.level", "0", None),
    ("compression.gzip.level", "10", None),
    ("compression.type", " zstd ", Some("zstd")),
    ("compression.type", "ZSTD", None),
    ("message.timestamp.type", " LogAppendTime ", Some("LogAppendTime")),
    ("message.timestamp.type", "logappendtime", None),
    ("min.cleanable.dirty.ratio", " .25 ", Some("0.25")),
    ("min.cleanable.dirty.ratio", "1e-1", Some("0.1")),
    ("min.cleanable.dirty.ratio", "1", Some("1.0")),
    ("min.cleanable.dirty.ratio", "1.1", None),
    ("leader.replication.throttled.replicas", " 0:1 , 1:2 ", Some("0:1,1:2")),
    ("leader.replication.throttled.replicas", "0:1,0:1", Some("0:1,0:1")),
    ("leader.replication.throttled.replicas", "*", Some("*")),
    ("leader.replication.throttled.replicas", "0:1,*", None),
    ("leader.replication.throttled.replicas", "0-1", None),
    ("remote.log.copy.disable", "TRUE", Some("true")),
    ("segment.bytes", "1048575", None),
    ("no.such.key", "1", None),
];

#[test]
fn a_topic_config_is_kept_in_one_form() {
    let wire = &mut Wire::connect(shared().port()).unwrap();
    let altered = topic(wire);
    for (key, value, kept) in VALUES {
        let expected = if kept.is_some() { OK } else { INVALID_CONFIG };
        let code = edit(wire, TOPIC, &altered, key, SET, Some(value));
        assert_eq!(code, expected, "{key}={value:?} set");
        let created = unique("configs");
        assert_eq!(create(wire, &created, 1, &[(key, value)]), expected, "{key}={value:?} at creation");
        let Some(kept) = kept else { continue };
        let wanted = Some((Some((*kept).to_owned()), FROM_TOPIC));
        for topic in [&altered, &created] {
            let is_kept = shared().knows(|| told(wire, TOPIC, topic, key) == wanted);
            assert!(is_kept, "{key}={value:?}: {:?}", told(wire, TOPIC, topic, key));
        }
    }
}

#[test]
fn what_is_not_set_can_be_removed() {
    let wire = &mut Wire::connect(shared().port()).unwrap();
    let topic = topic(wire);
    let cases = [
        ("no.such.key", DELETE, None, OK),
        ("no.such.key", DELETE, Some("1"), OK),
        ("no.such.key", SET, None, INVALID_REQUEST),
        ("no.such.key", APPEND, Some("1"), INVALID_CONFIG),
        ("no.such.key", SUBTRACT, Some("1"), INVALID_CONFIG),
        ("retention.ms", DELETE, None, OK),
        ("retention.ms", SET, None, INVALID_REQUEST),
        ("retention.ms", APPEND, Some("1"), INVALID_CONFIG),
        ("cleanup.policy", APPEND, None, INVALID_REQUEST),
        ("cleanup.policy", APPEND, Some(""), INVALID_CONFIG),
        ("cleanup.policy", SUBTRACT, Some("shred"), OK),
    ];
    for (key, operation, value, code) in cases {
        assert_eq!(edit(wire, TOPIC, &topic, key, operation, value), code, "{key}, operation {operation}: {value:?}");
    }
    assert_eq!(edit(wire, BROKER, "0", "no.such.key", DELETE, None), OK);
    assert_eq!(edit(wire, BROKER, "0", "num.partitions", DELETE, None), OK);
}

#[test]
fn a_broker_config_without_effect_is_known_and_one_that_is_wrong_is_refused() {
    let wire = &mut Wire::connect(shared().port()).unwrap();
    let relogin = "sasl.kerberos.min.time.before.relogin";
    for (key, value, kept) in [(relogin, " 58000", "58000"), ("log.preallocate", " TRUE ", "true")] {
        assert_eq!(edit(wire, BROKER, "0", key, SET, Some(value)), OK, "{key}");
        let wanted = Some((Some(kept.to_owned()), FROM_BROKER));
        assert!(shared().knows(|| told(wire, BROKER, "0", key) == wanted), "{key}: {:?}", told(wire, BROKER, "0", key));
        assert_eq!(edit(wire, BROKER, "0", key, DELETE, None), OK, "{key}");
        let is_default =
            shared().knows(|| told(wire, BROKER, "0", key).is_some_and(|(_, source)| source == FROM_DEFAULT));
        assert!(is_default, "{key}: {:?}", told(wire, BROKER, "0", key));
    }
    let refused = [
        ("0", relogin, "soon"),
        ("", relogin, "58000"),
        ("0", "log.preallocate", "yes"),
        ("0", "compression.gzip.level", "0"),
        ("", "log.retention.ms", "0"),
        ("", "message.max.bytes", "-1"),
        ("0", "num.partitions", "3"),
        ("", "num.partitions", "3"),
        ("0", "ssl.keystore.location", "/keys"),
        ("77", "log.retention.ms", "5"),
    ];
    for (broker, key, value) in refused {
        let code = edit(wire, BROKER, broker, key, SET, Some(value));
        assert_eq!(code, INVALID_REQUEST, "{key}={value} of broker '{broker}'");
    }
}

/// The codes of types.
fn type_code(name: &str) -> i8 {
    let types = ["boolean", "string", "int", "short", "long", "double", "list", "class", "password"];
    let index = types.iter().position(|known| *known == name).expect("a type of the fixture");
    i8::try_from(index).unwrap() + 1
}

/// Configs whose values differ here: the page of known differences explains them, or the tests set
/// them.
const OWN: [&str; 20] = [
    "advertised.listeners",
    "broker.id",
    "group.coordinator.rebalance.protocols",
    "group.initial.rebalance.delay.ms",
    "listener.security.protocol.map",
    "listeners",
    "log.cleaner.enable",
    "log.dir",
    "log.dirs",
    "max.connections",
    "max.decompressed.message.bytes",
    "min.insync.replicas",
    "node.id",
    "num.io.threads",
    "num.network.threads",
    "offsets.topic.replication.factor",
    "process.roles",
    "socket.listen.backlog.size",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
];
/// Fixed here, because the process decides them.
const FIXED_HERE: [&str; 4] = ["listener.security.protocol.map", "listeners", "num.io.threads", "num.network.threads"];

#[test]
fn every_broker_config_of_kafka_is_described() {
    let wire = &mut Wire::connect(shared().port()).unwrap();
    let is_kafka = shared().target() == Target::Kafka;
    let answer = describe(wire, BROKER, "0");
    let found: BTreeMap<&str, &DescribeConfigsResourceResult> =
        answer.configs.iter().map(|config| (&config.name[..], config)).collect();
    for line in CATALOGUE.lines() {
        let mut words = line.splitn(4, ' ');
        let [name, kind, update, default] = std::array::from_fn(|_| words.next().expect("four words"));
        let config = found.get(name).unwrap_or_else(|| panic!("{name} is not described"));
        assert_eq!(config.config_type, type_code(kind), "{name}");
        let is_fixed = update == "fixed" || !is_kafka && FIXED_HERE.contains(&name);
        assert_eq!(config.read_only, is_fixed, "{name}");
        assert_eq!(config.is_sensitive, kind == "password", "{name}");
        assert!(is_kafka || config.documentation.as_ref().is_some_and(|text| !text.is_empty()), "{name}");
        if !is_kafka && !OWN.contains(&name) {
            let default = if default == "\"\"" { "" } else { default };
            assert_eq!(config.value.as_deref().unwrap_or("null"), default, "{name}");
            assert_eq!(config.config_source, FROM_DEFAULT, "{name}");
        }
    }
}

#[test]
fn the_broker_describes_what_is_in_force() {
    let settings = Settings::default()
        .with("num.partitions", "3")
        .with("log.retention.hours", " 5 ")
        .with("auto.create.topics.enable", "FALSE")
        .with("message.max.bytes", "2000000");
    let server = Server::start(settings).unwrap();
    let is_kafka = server.target() == Target::Kafka;
    let wire = &mut Wire::connect(server.port()).unwrap();
    let address = format!("PLAINTEXT://127.0.0.1:{}", server.port());
    let set = [
        ("advertised.listeners", address.clone()),
        ("log.dirs", server.data_path().display().to_string()),
        ("num.partitions", "3".to_owned()),
        ("log.retention.hours", "5".to_owned()),
        ("auto.create.topics.enable", "false".to_owned()),
        ("message.max.bytes", "2000000".to_owned()),
    ];
    for (key, value) in set {
        assert_eq!(told(wire, BROKER, "0", key), Some((Some(value), FROM_FILE)), "{key}");
    }
    let (listeners, source) = told(wire, BROKER, "0", "listeners").unwrap();
    // Kafka's list includes its controller's, too.
    assert!(listeners.is_some_and(|listeners| listeners.split(',').any(|one| one == address)));
    assert_eq!(source, FROM_FILE);
    // Kafka's id comes from the file; here the controller assigns it.
    for key in ["broker.id", "node.id"] {
        let source = if is_kafka { FROM_FILE } else { FROM_DEFAULT };
        assert_eq!(told(wire, BROKER, "0", key), Some((Some("0".to_owned()), source)), "{key}");
    }
    for (key, value) in [("log.retention.bytes", "-1"), ("delete.topic.enable", "true")] {
        assert_eq!(told(wire, BROKER, "0", key), Some((Some(value.to_owned()), FROM_DEFAULT)), "{key}");
    }
    // The value takes effect.
    assert_eq!(create(wire, "counted", -1, &[]), OK);
    assert!(server.knows(|| partitions(wire, "counted") == Some(3)));
    // Kafka does not report that hours in the file are the source of a topic's milliseconds.
    let from_hours = if is_kafka { FROM_DEFAULT } else { FROM_FILE };
    for (key, value, source) in [("retention.ms", "18000000", from_hours), ("max.message.bytes", "2000000", FROM_FILE)]
    {
        assert_eq!(told(wire, TOPIC, "counted", key), Some((Some(value.to_owned()), source)), "{key}");
    }
    assert_eq!(partitions(wire, "not_made_by_asking"), None);
}

/// The number of partitions of a topic. `None` if it does not exist, though the request may create
/// it.
fn partitions(wire: &mut Wire, topic: &str) -> Option<usize> {
    let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    let found = ask!(wire, Metadata, 12, request).topics.remove(0);
    (found.error_code == OK).then_some(found.partitions.len())
}
