//! The catalogue is in order, judges its own defaults legal, and resolves through the layers.

#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn the_catalogue_is_sorted_and_its_defaults_are_legal() {
    assert!(TOPIC_CONFIGS.is_sorted_by(|a, b| a.entry.name < b.entry.name));
    assert!(BROKER_CONFIGS.is_sorted_by(|a, b| a.name < b.name));
    for entry in TOPIC_CONFIGS.iter().map(|config| &config.entry).chain(BROKER_CONFIGS) {
        if let Some(default) = entry.default {
            assert_eq!(entry.check(default), Ok(()), "{}", entry.name);
        }
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
        assert_eq!(check_topic_config(name, value).is_ok(), legal, "{name}={value}");
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
    check("cleanup.policy", "compact,compact", false);
    check("cleanup.policy", "shred", false);
    check("compression.type", "zstd", true);
    check("compression.type", "brotli", false);
    check("message.timestamp.type", "createtime", false);
    check("leader.replication.throttled.replicas", "0:1,2:3", true);
    check("leader.replication.throttled.replicas", "*", true);
    check("leader.replication.throttled.replicas", "0-1", false);
    check("log.retention.ms", "5", false);
}

/// A state with one broker, one topic and dynamic configs, made through commands as everywhere else.
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
        let (state, fixed) = (state(topic, broker, defaults), configs(fixed));
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
fn effective_configs_are_typed() {
    use rustmq_model::{BrokerId, TopicName};

    let topic = [("retention.ms", "-1"), ("cleanup.policy", "compact"), ("message.timestamp.type", "LogAppendTime")];
    let (state, fixed) = (state(&topic, &[], &[("min.insync.replicas", "2")]), configs(&[("num.partitions", "6")]));
    let layers = state.topic_layers(&TopicName::new("t").unwrap(), BrokerId(0), &fixed).unwrap();
    let config = EffectiveTopicConfig::resolve(&layers);
    assert_eq!(config.cleanup_policy, CleanupPolicy { delete: false, compact: true });
    assert_eq!((config.retention_ms, config.retention_bytes), (None, None));
    assert_eq!((config.max_message_bytes, config.min_insync_replicas), (1_048_588, 2));
    assert_eq!(config.message_timestamp_type, TimestampType::LogAppendTime);
    let broker = EffectiveBrokerConfig::resolve(&state.broker_layers(BrokerId(0), &fixed));
    assert_eq!((broker.num_partitions, broker.default_replication_factor), (6, 1));
    assert!(broker.auto_create_topics);
    assert_eq!(broker.connection_idle_ms_max, Some(600_000));
}

#[test]
fn descriptions_say_what_has_no_effect() {
    let described = state(&[], &[], &[]);
    let fixed = Configs::new();
    let described = described.broker_layers(rustmq_model::BrokerId(0), &fixed).describe_broker();
    assert_eq!(described.len(), BROKER_CONFIGS.len());
    let find = |name: &str| described.iter().find(|config| config.name == name).unwrap();
    assert!(find("num.io.threads").documentation.contains("no effect"));
    assert!(!find("num.partitions").documentation.contains("no effect"));
    assert!(find("num.partitions").read_only && !find("log.retention.ms").read_only);
    assert_eq!((&find("log.retention.ms").value, find("log.retention.ms").synonyms.len()), (&None, 0));
}
