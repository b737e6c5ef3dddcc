//! Configs and the data folder.

use rustmq_broker_service::testing::operations::{batch_of, create, produce};
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::*;
use rustmq_model::PartitionId;

fn set(name: &str, value: &str) -> ConfigChange {
    let operation = EditOperation::Set(value.to_owned());
    ConfigChange::Edit(vec![ConfigEdit { name: name.to_owned(), operation }])
}

#[tokio::test]
async fn an_altered_config_is_in_force_when_it_is_answered_and_after_a_restart() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let topic = ResourceName::Topic("orders".to_owned());
    let alter = async |resource: ResourceName, change: ConfigChange, mode: Mode| {
        rig.session.alter_configs(vec![ResourceAlteration { resource, change }], mode).await.remove(0)
    };
    alter(topic.clone(), set("max.message.bytes", "80"), Mode::ValidateOnly).await.unwrap();
    produce(&rig.session, "orders", 0, batch_of(&["long enough"])).await.unwrap();
    alter(topic.clone(), set("max.message.bytes", "80"), Mode::Apply).await.unwrap();
    let refused = produce(&rig.session, "orders", 0, batch_of(&["long enough"])).await;
    assert!(matches!(refused, Err(ProduceError::Batch(BatchRefusal::TooLarge { max: 80, .. }))), "{refused:?}");
    let bad = alter(topic.clone(), set("max.message.bytes", "many"), Mode::Apply).await;
    assert!(matches!(bad, Err(AlterConfigsError::Command(CommandError::Rejected(Rejection::InvalidConfig { .. })))));
    let everyone = ResourceName::Broker(String::new());
    alter(everyone, set("log.message.timestamp.type", "LogAppendTime"), Mode::Apply).await.unwrap();
    alter(topic.clone(), set("max.message.bytes", "1000000"), Mode::Apply).await.unwrap();
    let produced = produce(&rig.session, "orders", 0, batch_of(&["long enough"])).await.unwrap();
    assert!(produced.log_append_time.0 > 0, "a broker-wide default holds for topics that do not set it");
    let rig = rig.restart().await;
    let names = Some(vec!["max.message.bytes".to_owned(), "message.timestamp.type".to_owned()]);
    let described = rig.session.describe_configs(&[ConfigQuery { resource: topic, names }]).remove(0).unwrap();
    let told: Vec<_> =
        described.iter().map(|config| (config.name, config.value.as_deref().unwrap(), config.source)).collect();
    assert_eq!(
        told,
        [
            ("max.message.bytes", "1000000", ConfigSource::DynamicTopic),
            ("message.timestamp.type", "LogAppendTime", ConfigSource::DynamicBrokerDefault),
        ]
    );
    rig.stop().await;
}

#[tokio::test]
async fn every_config_is_described_and_unknown_resources_are_refused() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let describe =
        |resource: ResourceName| rig.session.describe_configs(&[ConfigQuery { resource, names: None }]).remove(0);
    let topic = describe(ResourceName::Topic("orders".to_owned())).unwrap();
    assert!(topic.iter().any(|config| config.name == "retention.ms" && !config.documentation.is_empty()));
    let id = rig.broker.id().0.to_string();
    let broker = describe(ResourceName::Broker(id)).unwrap();
    assert!(broker.iter().any(|config| config.name == "num.partitions" && config.read_only));
    let defaults = describe(ResourceName::Broker(String::new())).unwrap();
    assert_eq!(defaults.iter().map(|config| config.name).collect::<Vec<_>>(), ["min.insync.replicas"]);
    assert!(matches!(describe(ResourceName::Topic("no".to_owned())), Err(DescribeConfigsError::UnknownTopic(_))));
    assert!(matches!(describe(ResourceName::Broker("77".to_owned())), Err(DescribeConfigsError::AnotherBroker { .. })));
    let resources = rig.session.config_resources(&[ResourceKind::Topic, ResourceKind::Broker]);
    assert_eq!(resources, [ResourceName::Topic("orders".to_owned()), ResourceName::Broker("0".to_owned())]);
    rig.stop().await;
}

#[tokio::test]
async fn the_data_folder_tells_the_bytes_of_each_partition() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 2, &[]).await;
    let batch = batch_of(&["a"]);
    let size = batch.len() as u64;
    produce(&rig.session, "orders", 1, batch).await.unwrap();
    let all = rig.session.log_dirs(&LogDirSelection::All).remove(0);
    assert_eq!(all.partitions.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [0, size]);
    assert!(all.total_bytes.is_some_and(|total| total > 0));
    let one = LogDirSelection::These(vec![("orders".to_owned(), vec![PartitionId(1), PartitionId(9)])]);
    assert_eq!(rig.session.log_dirs(&one)[0].partitions.len(), 1);
    let twice = [0, 1].map(|partition| ("orders".to_owned(), vec![PartitionId(partition)]));
    assert_eq!(rig.session.log_dirs(&LogDirSelection::These(twice.to_vec()))[0].partitions.len(), 2);
    rig.stop().await;
}
