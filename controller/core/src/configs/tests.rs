//! Tests of the catalogue: its order, the legality of its defaults, and the resolution through
//! layers.

#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn the_catalogue_is_sorted_and_its_defaults_are_legal() {
    assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.entry.name < b.entry.name));
    assert!(broker_configs().is_sorted_by(|a, b| a.name < b.name));
    for entry in TOPIC_CONFIGS.iter().map(|config| &config.entry).chain(broker_configs()) {
        if let Some(default) = entry.default {
            assert_eq!(entry.parse(default).as_deref(), Ok(default), "{}", entry.name);
        }
        assert_eq!(entry.sensitive, entry.kind == ConfigKind::Password, "{}", entry.name);
        let is_decided_here = matches!(entry.effect, Effect::RuledBy(_) | Effect::WorkedOut);
        assert!(!is_decided_here || entry.update == Update::ReadOnly, "{}: nobody else can set it", entry.name);
    }
    for synonym in TOPIC_CONFIGS.iter().flat_map(|config| config.synonyms) {
        assert!(broker_config(synonym.name).is_some(), "{}", synonym.name);
    }
}

fn configs(pairs: &[(&str, &str)]) -> Configs {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn values_are_judged_by_kind_and_bounds() {
    let check = |name: &str, value: &str, legal: bool| {
        assert_eq!(parse_topic_config(name, value).is_ok(), legal, "{name}={value}");
    };
    check("retention.ms", "-1", true);
    check("retention.ms", " 5 ", true);
    check("retention.ms", "-2", false);
    check("retention.ms", "9223372036854775808", false);
    check("max.message.bytes", "2147483647", true);
    check("max.message.bytes", "2147483648", false);
    check("segment.bytes", "1048575", false);
    check("preallocate", "TRUE", true);
    check("preallocate", "yes", false);
    check("min.cleanable.dirty.ratio", "0.25", true);
    check("min.cleanable.dirty.ratio", "1.5", false);
    check("cleanup.policy", "compact, delete", true);
    check("cleanup.policy", "compact,,delete", false);
    check("cleanup.policy", ",", false);
    check("cleanup.policy", "shred", false);
    check("compression.type", "zstd", true);
    check("compression.type", "brotli", false);
    check("message.timestamp.type", "createtime", false);
    check("leader.replication.throttled.replicas", "0:1,2:3", true);
    check("leader.replication.throttled.replicas", "*", true);
    check("leader.replication.throttled.replicas", "0-1", false);
    check("leader.replication.throttled.replicas", "0:1,*", false);
    check("leader.replication.throttled.replicas", "-1:1", false);
    check("compression.gzip.level", "0", false);
    check("compression.gzip.level", "10", false);
    check("log.retention.ms", "5", false);
}

#[test]
fn a_value_is_kept_in_one_form() {
    let check = |name: &str, value: &str, kept: &str| {
        assert_eq!(parse_topic_config(name, value).as_deref(), Ok(kept), "{name}={value:?}");
    };
    check("cleanup.policy", "delete,delete", "delete");
    check("cleanup.policy", " compact , delete,compact", "compact,delete");
    check("cleanup.policy", " ", "");
    check("retention.ms", "\t7\n", "7");
    check("retention.ms", "+5", "5");
    check("retention.ms", "005", "5");
    check("retention.ms", "-0", "0");
    check("preallocate", "TRUE", "true");
    check("preallocate", " False ", "false");
    check("compression.type", " zstd ", "zstd");
    check("compression.gzip.level", "-1", "-1");
    check("leader.replication.throttled.replicas", " 0:1 , 1:2 ", "0:1,1:2");
    check("leader.replication.throttled.replicas", "0:1,0:1", "0:1,0:1");
    check("min.cleanable.dirty.ratio", " .25 ", "0.25");
    check("min.cleanable.dirty.ratio", "1e-1", "0.1");
    check("min.cleanable.dirty.ratio", "1", "1.0");
    check("min.cleanable.dirty.ratio", "0", "0.0");
    check("min.cleanable.dirty.ratio", "1e-5", "1.0E-5");
    let broker = |value: &str| parse_broker_config("log.cleaner.io.max.bytes.per.second", value, Scope::EveryBroker);
    assert_eq!(broker("12345678").as_deref(), Ok("1.2345678E7"));
    assert_eq!(broker("2e7").as_deref(), Ok("2.0E7"));
    assert!(broker("inf").is_err() && broker("NaN").is_err());
    let twice = parse_broker_config("log.cleanup.policy", "delete,delete", Scope::EveryBroker);
    assert!(twice.is_err(), "of brokers, Kafka takes no repeats");
}

#[test]
fn what_the_file_may_set_has_a_meaning_here_or_does_no_harm() {
    let check = |name: &str, value: &str, hint: Option<&str>| {
        let judged = parse_static_broker_config(name, value);
        let reason = judged.as_ref().err().map(|error| error.reason.to_string());
        assert_eq!(reason.is_some(), hint.is_some(), "{name}: {judged:?}");
        assert!(
            hint.is_none_or(|hint| reason.as_ref().is_some_and(|reason| reason.contains(hint))),
            "{name}: {judged:?}"
        );
    };
    check("num.partitions", " 3 ", None);
    check("socket.send.buffer.bytes", "102400", None);
    check("listeners", "PLAINTEXT://:9092", Some("network.kafka_listen"));
    check("log.dirs", "/data", Some("data_dir"));
    check("node.id", "3", Some("cannot be set"));
    check("ssl.keystore.location", "/keys", Some("does not have"));
    check("authorizer.class.name", "Acl", Some("does not have"));
    check("num.partition", "3", Some("no broker config"));
    let long = "0".repeat(32_767) + "3";
    check("num.partitions", &long[1..], None);
    check("num.partitions", &long, Some("at most 32767 bytes"));
}

/// A state with one broker, one topic and dynamic configs, made by commands.
fn state(topic: &[(&str, &str)], broker: &[(&str, &str)], defaults: &[(&str, &str)]) -> crate::ClusterState {
    use crate::{BrokerConfigScope, Delta, Partition, Topic};
    use rustmq_model::{BrokerId, Timestamp, TopicId, TopicName};

    let mut state = crate::ClusterState::default();
    let name = TopicName::new("t").unwrap();
    let partitions = vec![Partition::new(vec![BrokerId(0)])];
    let topic = Topic { id: TopicId(1), name, partitions, configs: configs(topic), created_at: Timestamp(0) };
    state.replay(&Delta::TopicCreated(topic.into()));
    let scope = BrokerConfigScope::Broker(BrokerId(0));
    state.replay(&Delta::BrokerConfigChanged { scope, configs: configs(broker) });
    state.replay(&Delta::BrokerConfigChanged { scope: BrokerConfigScope::Default, configs: configs(defaults) });
    state
}

#[test]
fn the_nearest_layer_counts() {
    use rustmq_model::{BrokerId, TopicName};

    let check = |topic: &[(&str, &str)],
                 broker: &[(&str, &str)],
                 defaults: &[(&str, &str)],
                 fixed: &[(&str, &str)],
                 value: &str,
                 source: ConfigSource| {
        let (state, fixed) = (state(topic, broker, defaults), configs(fixed).into());
        let layers = state.topic_layers(&TopicName::new("t").unwrap(), BrokerId(0), &fixed).unwrap();
        let (found, from) = layers.topic_value("retention.ms").unwrap();
        assert_eq!((found.as_ref(), from), (value, source));
        let described = layers.describe_topic();
        let described = described.iter().find(|config| config.name == "retention.ms").unwrap();
        assert_eq!((described.value.as_deref(), described.source), (Some(value), source));
        assert_eq!(described.synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source), source);
    };
    let (topic, dynamic) = ([("retention.ms", "1")], [("log.retention.ms", "2")]);
    let (hours, minutes) =
        ([("log.retention.hours", "3")], [("log.retention.minutes", "4"), ("log.retention.hours", "3")]);
    check(&topic, &dynamic, &dynamic, &hours, "1", ConfigSource::DynamicTopic);
    check(&[], &dynamic, &[("log.retention.ms", "9")], &hours, "2", ConfigSource::DynamicBroker);
    check(&[], &[], &dynamic, &hours, "2", ConfigSource::DynamicBrokerDefault);
    check(&[], &[], &[], &hours, "10800000", ConfigSource::StaticBroker);
    check(&[], &[], &[], &minutes, "240000", ConfigSource::StaticBroker);
    check(&[], &[], &[], &[("log.retention.hours", "-1")], "-1", ConfigSource::StaticBroker);
    check(&[], &[], &[], &[], "604800000", ConfigSource::Default);
}

#[test]
fn addresses_may_have_a_bound_of_their_own() {
    const NAME: &str = "max.connections.per.ip.overrides";
    let check = |value: &str, expected: Option<&[(&str, u32)]>| {
        let kept = parse_static_broker_config(NAME, value);
        let Some(expected) = expected else {
            assert!(kept.unwrap_err().reason.to_string().contains("address:count"), "{value}");
            return;
        };
        let fixed = StaticConfigs::from(configs(&[(NAME, &kept.unwrap())]));
        let state = state(&[], &[], &[]);
        let broker = EffectiveBrokerConfig::resolve(&state.broker_layers(rustmq_model::BrokerId(0), &fixed));
        let expected = expected.iter().map(|(address, count)| (address.parse().unwrap(), *count));
        assert_eq!(broker.connections_of_addresses_max, expected.collect(), "{value}");
    };
    check("", Some(&[]));
    check("10.0.0.1:50", Some(&[("10.0.0.1", 50)]));
    check(" 10.0.0.1:50 , ::1:0,", None);
    check(" 10.0.0.1 : 50 , ::1:0", Some(&[("10.0.0.1", 50), ("::1", 0)]));
    check("localhost:50", None);
    check("10.0.0.1", None);
    check("10.0.0.1:-1", None);
}

#[test]
fn no_layers_together_keep_every_address_out() {
    const BOUND: &str = "max.connections.per.ip";
    const OVERRIDES: &str = "max.connections.per.ip.overrides";
    const UNLIMITED: u32 = i32::MAX as u32;
    type Layer<'a> = &'a [(&'a str, &'a str)];
    let check = |broker: Layer<'_>, defaults: Layer<'_>, fixed: Layer<'_>, bound: u32, of_addresses: &[(&str, u32)]| {
        let (state, fixed) = (state(&[], broker, defaults), configs(fixed).into());
        let config = EffectiveBrokerConfig::resolve(&state.broker_layers(rustmq_model::BrokerId(0), &fixed));
        let expected = of_addresses.iter().map(|(address, count)| (address.parse().unwrap(), *count)).collect();
        assert_eq!((config.connections_per_address_max, config.connections_of_addresses_max), (bound, expected));
    };
    let both = [(BOUND, "0"), (OVERRIDES, "10.0.0.1:1")];
    check(&[], &[], &both, 0, &[("10.0.0.1", 1)]);
    check(&[], &[(OVERRIDES, "10.0.0.2:2")], &both, 0, &[("10.0.0.2", 2)]);
    check(&[], &[(OVERRIDES, "")], &both, UNLIMITED, &[]);
    check(&[(OVERRIDES, "10.0.0.1:0")], &both, &[], UNLIMITED, &[("10.0.0.1", 0)]);
    check(&[(OVERRIDES, "")], &[], &[(BOUND, "3")], 3, &[]);
    // As an older version kept them, which used neither.
    check(&[(BOUND, "0")], &[], &[], UNLIMITED, &[]);
    check(&[(BOUND, "-1")], &[], &[], UNLIMITED, &[]);
    check(&[(BOUND, "0")], &[(OVERRIDES, "localhost:9,10.0.0.1:1")], &[], 0, &[("10.0.0.1", 1)]);
    check(
        &[],
        &[(OVERRIDES, "10.0.0.1:1,localhost:9,10.0.0.2:x,10.0.0.3:3,")],
        &[],
        UNLIMITED,
        &[("10.0.0.1", 1), ("10.0.0.3", 3)],
    );
}

#[test]
fn effective_configs_are_typed() {
    use rustmq_model::{BrokerId, TopicName};

    let topic = [("retention.ms", "-1"), ("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    let mut fixed = StaticConfigs::from(configs(&[("num.partitions", "6")]));
    fixed.own = configs(&[("max.connections", "77"), ("num.partitions", "9")]);
    let state = state(&topic, &[], &[("min.insync.replicas", "2")]);
    let layers = state.topic_layers(&TopicName::new("t").unwrap(), BrokerId(0), &fixed).unwrap();
    let config = EffectiveTopicConfig::resolve(&layers);
    assert_eq!(config.cleanup_policy, CleanupPolicy { delete: false, compact: true });
    assert_eq!((config.retention_ms, config.retention_bytes), (None, None));
    assert_eq!((config.max_message_bytes, config.min_insync_replicas), (1_048_588, 2));
    assert_eq!(config.message_timestamp_type, TimestampType::LogAppendTime);
    let broker = EffectiveBrokerConfig::resolve(&state.broker_layers(BrokerId(0), &fixed));
    assert_eq!((broker.num_partitions, broker.default_replication_factor), (6, 1));
    assert!(broker.auto_create_topics);
    assert_eq!((broker.connections_max, broker.connections_per_address_max), (77, i32::MAX as u32));
    assert!(broker.connections_of_addresses_max.is_empty());
    assert_eq!(broker.connection_idle_ms_max, Some(600_000));
}

#[test]
fn descriptions_say_what_has_no_effect_and_what_is_in_force() {
    let state = state(&[], &[], &[]);
    let own = configs(&[("listeners", "PLAINTEXT://127.0.0.1:9092"), ("broker.id", "0")]);
    let fixed = StaticConfigs { set: configs(&[("log.dirs", "/data")]), own };
    let described = state.broker_layers(rustmq_model::BrokerId(0), &fixed).describe_broker();
    assert_eq!(described.len(), broker_configs().len());
    let find = |name: &str| described.iter().find(|config| config.name == name).unwrap();
    assert!(find("num.replica.fetchers").documentation.contains("no effect"));
    assert!(!find("num.partitions").documentation.contains("no effect"));
    assert!(find("listeners").documentation.contains("network.kafka_listen"));
    assert!(described.iter().all(|config| !config.documentation.is_empty()));
    assert!(find("num.partitions").read_only && !find("log.retention.ms").read_only);
    assert_eq!((&find("log.retention.ms").value, find("log.retention.ms").synonyms.len()), (&None, 0));
    let told = |name: &str| (find(name).value.as_deref(), find(name).source, find(name).synonyms.len());
    assert_eq!(told("listeners"), (Some("PLAINTEXT://127.0.0.1:9092"), ConfigSource::Default, 1));
    assert_eq!(told("broker.id"), (Some("0"), ConfigSource::Default, 1));
    assert_eq!(told("log.dirs"), (Some("/data"), ConfigSource::StaticBroker, 1));
}
