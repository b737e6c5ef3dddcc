//! Configurations and disks: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs,
//! ListConfigResources, DescribeLogDirs.

use super::log::store;
use super::session::{Session, Topic, text};
use crate::server::shared;
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiKey, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    RequestKind, ResponseKind, alter_configs_request, describe_configs_request, describe_configs_response,
    incremental_alter_configs_request,
};
use rustmq_kafka_codec_messages::DescribeLogDirsRequest;
use rustmq_kafka_codec_messages::describe_log_dirs_request::DescribableLogDirTopic;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_CONFIG: i16 = 40;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The source of a value.
const FROM_TOPIC: i8 = 1;
const FROM_DEFAULT: i8 = 5;
const TYPE_LONG: i8 = 5;

fn describe(
    session: &mut Session,
    version: i16,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> describe_configs_response::DescribeConfigsResult {
    let resource = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|key| text(key)).collect()));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(version >= 3);
    ask!(session, DescribeConfigs, version, request).results.remove(0)
}

/// The topic's own value of a key; `None` if it has the default.
fn own_value(session: &mut Session, topic: &Topic, key: &str) -> Option<String> {
    let version = session.newest(ApiKey::DescribeConfigs);
    let found = describe(session, version, TOPIC, &topic.name, Some(&[key])).configs.remove(0);
    found.value.filter(|_| found.config_source == FROM_TOPIC).map(|value| value.to_string())
}

fn comes_to(session: &mut Session, topic: &Topic, key: &str, value: Option<&str>) -> bool {
    shared().knows(|| own_value(session, topic, key).as_deref() == value)
}

pub fn describe_configs(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let answer = describe(session, version, TOPIC, &topic.name, None);
    assert_eq!((answer.error_code, answer.resource_type), (0, TOPIC), "DescribeConfigs v{version}");
    assert!(answer.configs.len() > 20, "DescribeConfigs v{version}: every config");
    for (key, value, source) in [("retention.ms", "-1", FROM_TOPIC), ("segment.ms", "604800000", FROM_DEFAULT)] {
        let found = answer.configs.iter().find(|config| config.name == text(key)).expect("every config is there");
        assert_eq!((found.value.as_deref(), found.config_source), (Some(value), source), "DescribeConfigs v{version}");
        assert!(!found.read_only && !found.is_sensitive, "DescribeConfigs v{version}");
        if source == FROM_TOPIC {
            let first = found.synonyms.first().expect("the value itself is one");
            assert_eq!((first.value.as_deref(), first.source), (Some(value), source), "DescribeConfigs v{version}");
        }
        if version >= 3 {
            assert_eq!(found.config_type, TYPE_LONG, "DescribeConfigs v{version}");
            assert!(found.documentation.as_ref().is_some_and(|text| !text.is_empty()), "DescribeConfigs v{version}");
        }
    }
    let answer = describe(session, version, TOPIC, &topic.name, Some(&["cleanup.policy"]));
    assert_eq!(answer.configs.len(), 1, "DescribeConfigs v{version} of one key");
    let answer = describe(session, version, BROKER, "0", None);
    assert_eq!(answer.error_code, 0, "DescribeConfigs v{version} of the broker");
    let has_partitions = answer.configs.iter().any(|config| config.name == text("num.partitions"));
    assert!(has_partitions, "DescribeConfigs v{version} of the broker");
    let answer = describe(session, version, TOPIC, "nobody_made_it", None);
    assert_eq!(answer.error_code, UNKNOWN_TOPIC_OR_PARTITION, "DescribeConfigs v{version}");
}

pub fn alter_configs(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    // All configs of a topic: those that are not named return to their defaults.
    let cases = [
        (&topic.name[..], "segment.ms", "5000", true, 0),
        (&topic.name[..], "segment.ms", "6000", false, 0),
        (&topic.name[..], "segment.ms", "soon", false, INVALID_CONFIG),
        ("nobody_made_it", "segment.ms", "5000", false, UNKNOWN_TOPIC_OR_PARTITION),
    ];
    for (name, key, value, validate_only, code) in cases {
        let config =
            alter_configs_request::AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(vec![config]);
        let request = AlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(validate_only);
        let answer = ask!(session, AlterConfigs, version, request).responses.remove(0);
        assert_eq!(answer.error_code, code, "AlterConfigs v{version} {value}: {:?}", answer.error_message);
        assert_eq!(&answer.resource_name[..], name, "AlterConfigs v{version}");
        assert!(code != 0 || answer.error_message.is_none(), "AlterConfigs v{version} {value}");
    }
    assert!(comes_to(session, &topic, "segment.ms", Some("6000")), "AlterConfigs v{version}");
    assert!(comes_to(session, &topic, "retention.ms", None), "AlterConfigs v{version}: what was not named");
}

pub fn incremental_alter_configs(session: &mut Session, version: i16) {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    const APPEND: i8 = 2;
    const SUBTRACT: i8 = 3;
    let topic = session.topic(1);
    // The change of each key, the code, and the topic's own value after it.
    let cases = [
        ("retention.ms", SET, Some("7000"), 0, Some("7000")),
        ("retention.ms", SET, Some("never"), INVALID_CONFIG, Some("7000")),
        ("retention.ms", DELETE, None, 0, None),
        ("cleanup.policy", APPEND, Some("compact"), 0, Some("delete,compact")),
        ("cleanup.policy", SUBTRACT, Some("delete"), 0, Some("compact")),
        ("no.such.key", SET, Some("1"), INVALID_CONFIG, None),
    ];
    for (key, operation, value, code, after) in cases {
        let config = incremental_alter_configs_request::AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(topic.name.0.clone())
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let dry = ask!(session, IncrementalAlterConfigs, version, request.clone().with_validate_only(true));
        assert_eq!(dry.responses[0].error_code, code, "IncrementalAlterConfigs v{version} of {key}, validated only");
        let answer = ask!(session, IncrementalAlterConfigs, version, request).responses.remove(0);
        let message = &answer.error_message;
        assert_eq!(answer.error_code, code, "IncrementalAlterConfigs v{version} of {key}: {message:?}");
        assert!(code != 0 || message.is_none(), "IncrementalAlterConfigs v{version} of {key}: {message:?}");
        if key != "no.such.key" {
            let arrived = comes_to(session, &topic, key, after);
            assert!(arrived, "IncrementalAlterConfigs v{version} of {key} to {value:?}, not {after:?}");
        }
    }
}

pub fn list_config_resources(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let ask = |session: &mut Session, kinds: Vec<i8>| {
        let request = ListConfigResourcesRequest::default().with_resource_types(kinds);
        let answer = ask!(session, ListConfigResources, version, request);
        assert_eq!(answer.error_code, 0, "ListConfigResources v{version}");
        answer.config_resources
    };
    let all = ask(session, Vec::new());
    let lists = |found: &[kafka_protocol::messages::list_config_resources_response::ConfigResource]| {
        found.iter().any(|resource| resource.resource_name == topic.name.0)
    };
    // Version 0 knows only client metrics.
    assert_eq!(lists(&all), version >= 1, "ListConfigResources v{version}");
    if version >= 1 {
        let topics = ask(session, vec![TOPIC]);
        assert!(lists(&topics), "ListConfigResources v{version} of topics");
        assert!(topics.iter().all(|resource| resource.resource_type == TOPIC), "ListConfigResources v{version}");
        let brokers = ask(session, vec![BROKER]);
        assert!(!lists(&brokers) && !brokers.is_empty(), "ListConfigResources v{version} of brokers");
    }
}

pub fn describe_log_dirs(session: &mut Session, version: i16) {
    let topic = session.topic(2);
    store(session, &topic, 3);
    let wanted = |name: &str| DescribableLogDirTopic { topic: name.to_owned(), partitions: vec![0] };
    for (asked, count) in [(Some(vec![wanted(&topic.name)]), 1), (None, 2)] {
        let answer = session.ask(version, &DescribeLogDirsRequest { topics: asked });
        assert_eq!((answer.error_code, answer.results.len()), (0, 1), "DescribeLogDirs v{version}");
        let folder = &answer.results[0];
        assert_eq!(folder.error_code, 0, "DescribeLogDirs v{version}");
        assert!(!folder.log_dir.is_empty() && !folder.is_cordoned, "DescribeLogDirs v{version}");
        let found = folder.topics.iter().find(|found| found.name == topic.name[..]).expect("the topic is described");
        assert_eq!(found.partitions.len(), count, "DescribeLogDirs v{version}");
        let first = found.partitions.iter().find(|partition| partition.partition_index == 0).expect("partition 0");
        assert!(first.partition_size > 0, "DescribeLogDirs v{version}");
        assert_eq!((first.offset_lag, first.is_future_key), (0, false), "DescribeLogDirs v{version}");
        if version >= 4 {
            assert!(folder.total_bytes > 0 && folder.usable_bytes > 0, "DescribeLogDirs v{version}");
        }
    }
    let request = DescribeLogDirsRequest { topics: Some(vec![wanted("nobody_made_it")]) };
    let answer = session.ask(version, &request);
    assert!(answer.results.iter().all(|folder| folder.topics.is_empty()), "DescribeLogDirs v{version} of nothing");
}
