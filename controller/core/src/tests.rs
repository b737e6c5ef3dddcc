//! Tests of the machine: the effect of each command, and properties over random histories.

#![allow(clippy::unwrap_used)]

mod features;
mod group_configs;
mod history;

use std::collections::BTreeMap;

use rustmq_model::{BrokerId, Endpoint, LeaderEpoch, PartitionId, ProducerId, Timestamp, TopicId, TopicName};

use crate::*;

const LIMITS: PartitionLimits = PartitionLimits { per_topic_max: 100, per_cluster_max: 150 };

fn registration(name: &str, incarnation: u128, rack: Option<&str>) -> Command {
    let listeners = BTreeMap::from([("PLAINTEXT".to_owned(), Endpoint { host: "localhost".to_owned(), port: 9092 })]);
    let rack = rack.map(str::to_owned);
    let broker = BrokerRegistration { name: name.to_owned(), incarnation: IncarnationId(incarnation), listeners, rack };
    Command::RegisterBroker { broker, now: Timestamp(5) }
}

fn cluster(brokers: usize) -> ClusterState {
    let mut state = ClusterState::default();
    for index in 0..brokers {
        let (result, _) = state.apply(registration(&format!("broker-{index}"), 1, None));
        assert_eq!(result, Ok(Outcome::BrokerRegistered { id: BrokerId(i32::try_from(index).unwrap()) }));
    }
    state
}

fn counted(name: &str, id: u128, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        id: TopicId(id),
        placement: Placement::Count { partitions, replication_factor },
        configs: BTreeMap::new(),
    }
}

fn manual(name: &str, id: u128, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assign = |(partition, replicas): &(i32, &[i32])| (*partition, replicas.iter().copied().map(BrokerId).collect());
    let placement = Placement::Manual(assignments.iter().map(assign).collect());
    NewTopic { placement, ..counted(name, id, 1, 1) }
}

fn configured(topic: NewTopic, name: &str, value: Option<&str>) -> NewTopic {
    NewTopic { configs: BTreeMap::from([(name.to_owned(), value.map(str::to_owned))]), ..topic }
}

fn create(state: &mut ClusterState, topics: Vec<NewTopic>) -> Vec<Result<CreatedTopic, Rejection>> {
    let command = Command::CreateTopics { topics, limits: LIMITS, validate_only: false, now: Timestamp(9) };
    let Ok(Outcome::TopicsCreated(results)) = state.apply(command).0 else { panic!("a result per topic") };
    state.check_invariants();
    results
}

fn more(
    state: &mut ClusterState,
    name: &str,
    count: i32,
    assigned: Option<&[&[i32]]>,
) -> Result<ExtendedTopic, Rejection> {
    let list = |replicas: &&[i32]| replicas.iter().copied().map(BrokerId).collect();
    let assignments = assigned.map(|assigned| assigned.iter().map(list).collect());
    let topics = vec![NewPartitions { name: name.to_owned(), count, assignments }];
    let command = Command::CreatePartitions { topics, limits: LIMITS, validate_only: false };
    let Ok(Outcome::PartitionsCreated(mut results)) = state.apply(command).0 else { panic!("a result per topic") };
    state.check_invariants();
    results.remove(0)
}

fn alter(state: &mut ClusterState, resource: ConfigResource, change: ConfigChange) -> Result<(), Rejection> {
    let command = Command::AlterConfigs {
        alterations: vec![ConfigAlteration { resource, change }],
        limits: GroupConfigLimits::default(),
        validate_only: false,
    };
    let Ok(Outcome::ConfigsAltered(mut results)) = state.apply(command).0 else { panic!("a result per resource") };
    results.remove(0)
}

fn edit(name: &str, operation: EditOperation) -> ConfigChange {
    ConfigChange::Edit(vec![ConfigEdit { name: name.to_owned(), operation }])
}

fn topic_resource(name: &str) -> ConfigResource {
    ConfigResource::Topic(TopicName::new(name).unwrap())
}

#[test]
fn a_cluster_is_bootstrapped_once() {
    let mut state = ClusterState::default();
    let bootstrap = |id: &str| Command::Bootstrap {
        cluster_id: id.to_owned(),
        features: BTreeMap::from([("transaction.version".to_owned(), 2)]),
        broker_defaults: Configs::from([("min.insync.replicas".to_owned(), "1".to_owned())]),
    };
    let first = Ok(Outcome::Bootstrapped { cluster_id: "first".to_owned() });
    assert_eq!(state.apply(bootstrap("first")).0, first);
    let (again, deltas) = state.apply(bootstrap("second"));
    assert_eq!((again, deltas.len()), (first, 0));
    assert_eq!(state.cluster_id(), Some("first"));
    assert_eq!(state.features()["transaction.version"], 2);
    assert_eq!(state.broker_defaults()["min.insync.replicas"], "1");
}

#[test]
fn a_name_keeps_its_broker_id() {
    let mut state = cluster(2);
    let (result, deltas) = state.apply(registration("broker-0", 1, Some("a")));
    assert_eq!(result, Ok(Outcome::BrokerRegistered { id: BrokerId(0) }));
    assert!(matches!(&deltas[..], [Delta::BrokerRegistered(_)]));
    assert_eq!(state.broker(BrokerId(0)).unwrap().registration.rack.as_deref(), Some("a"));
    assert_eq!(state.apply(registration("new", 1, None)).0, Ok(Outcome::BrokerRegistered { id: BrokerId(2) }));
}

#[test]
fn topics_are_refused_for_the_reason_that_holds() {
    let check = |topic: NewTopic, expected: fn(&Rejection) -> bool| {
        let mut state = cluster(2);
        create(&mut state, vec![counted("taken.one", 1, 100, 1)])[0].as_ref().unwrap();
        let before = state.clone();
        let rejection = create(&mut state, vec![topic.clone()])[0].clone().unwrap_err();
        assert!(expected(&rejection), "{topic:?}: {rejection:?}");
        assert!(!rejection.to_string().is_empty());
        assert_eq!(state, before);
    };
    check(counted("a b", 2, 1, 1), |r| matches!(r, Rejection::InvalidTopicName { .. }));
    check(counted("taken.one", 2, 1, 1), |r| matches!(r, Rejection::TopicAlreadyExists { .. }));
    check(counted("taken_one", 2, 1, 1), |r| matches!(r, Rejection::NameCollision { .. }));
    check(counted("t", 1, 1, 1), |r| matches!(r, Rejection::TopicIdInUse { .. }));
    check(counted("t", 0, 1, 1), |r| matches!(r, Rejection::TopicIdInUse { .. }));
    check(counted("t", 2, 0, 1), |r| matches!(r, Rejection::InvalidPartitions { wanted: 0 }));
    check(counted("t", 2, -1, 1), |r| matches!(r, Rejection::InvalidPartitions { wanted: -1 }));
    check(counted("t", 2, 1, 0), |r| matches!(r, Rejection::InvalidReplicationFactor { wanted: 0, .. }));
    check(counted("t", 2, 1, 3), |r| matches!(r, Rejection::InvalidReplicationFactor { wanted: 3, brokers: 2 }));
    check(counted("t", 2, i32::MAX, 1), |r| matches!(r, Rejection::TooManyPartitionsInTopic { max: 100, .. }));
    check(counted("t", 2, 51, 1), |r| matches!(r, Rejection::TooManyPartitionsInCluster { wanted: 151, max: 150 }));
    check(manual("t", 2, &[]), |r| matches!(r, Rejection::InvalidPartitions { .. }));
    let misassigned: fn(&Rejection) -> bool = |r| matches!(r, Rejection::InvalidReplicaAssignment { .. });
    check(manual("t", 2, &[(1, &[0])]), misassigned);
    check(manual("t", 2, &[(0, &[])]), misassigned);
    check(manual("t", 2, &[(0, &[0, 0])]), misassigned);
    check(manual("t", 2, &[(0, &[7])]), misassigned);
    check(manual("t", 2, &[(0, &[0]), (1, &[0, 1])]), misassigned);
    let misconfigured: fn(&Rejection) -> bool = |r| matches!(r, Rejection::InvalidConfig { .. });
    check(configured(counted("t", 2, 1, 1), "no.such.config", Some("1")), misconfigured);
    check(configured(counted("t", 2, 1, 1), "retention.ms", Some("-2")), misconfigured);
    check(configured(counted("t", 2, 1, 1), "retention.ms", None), misconfigured);
    check(configured(counted("t", 2, 1, 1), "max.message.bytes", Some("2147483648")), misconfigured);
}

#[test]
fn one_bad_topic_leaves_the_others() {
    let mut state = cluster(1);
    let topics = vec![
        counted("good", 1, 3, 1),
        counted("bad", 2, 0, 1),
        counted("twice", 3, 1, 1),
        counted("twice", 4, 1, 1),
        manual("placed", 5, &[(0, &[0]), (1, &[0])]),
    ];
    let results = create(&mut state, topics);
    let created = results[0].as_ref().unwrap();
    assert_eq!((created.partitions, created.replication_factor), (3, 1));
    assert!(results[1].is_err());
    assert!(results[2..4].iter().all(|result| matches!(result, Err(Rejection::DuplicateItem { .. }))));
    assert_eq!(results[4].as_ref().unwrap().partitions, 2);
    let names: Vec<&str> = state.topics().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["good", "placed"]);
}

#[test]
fn a_rehearsal_answers_alike_and_changes_nothing() {
    let mut state = cluster(1);
    let topics = vec![counted("a.b", 1, 3, 1), counted("a_b", 2, 1, 1)];
    let before = state.clone();
    let command = |validate_only| Command::CreateTopics {
        topics: topics.clone(),
        limits: LIMITS,
        validate_only,
        now: Timestamp(1),
    };
    let (rehearsed, deltas) = state.apply(command(true));
    assert!(deltas.is_empty());
    assert_eq!(state, before);
    assert_eq!(state.apply(command(false)).0, rehearsed);
    assert_eq!(state.topics().len(), 1);
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut state = cluster(1);
    create(&mut state, vec![counted("a", 1, 3, 1), counted("b", 2, 4, 1)]);
    let topics = vec![
        TopicSelector::Name("a".to_owned()),
        TopicSelector::Id(TopicId(2)),
        TopicSelector::Name("none".to_owned()),
        TopicSelector::Id(TopicId(9)),
    ];
    let Ok(Outcome::TopicsDeleted(results)) = state.apply(Command::DeleteTopics { topics }).0 else { panic!() };
    assert_eq!(results[0].as_ref().unwrap().id, TopicId(1));
    assert_eq!(results[1].as_ref().unwrap().name.as_str(), "b");
    assert_eq!(results[2], Err(Rejection::UnknownTopic { name: "none".to_owned() }));
    assert_eq!(results[3], Err(Rejection::UnknownTopicId { id: TopicId(9) }));
    assert_eq!(state.partition_count(), 0);
    state.check_invariants();
}

#[test]
fn a_topic_that_is_selected_twice_is_not_deleted() {
    let mut state = cluster(1);
    create(&mut state, vec![counted("a", 1, 3, 1), counted("b", 2, 4, 1), counted("c", 3, 1, 1)]);
    let topics = vec![
        TopicSelector::Name("a".to_owned()),
        TopicSelector::Name("b".to_owned()),
        TopicSelector::Id(TopicId(1)),
        TopicSelector::Name("b".to_owned()),
        TopicSelector::Id(TopicId(3)),
    ];
    let Ok(Outcome::TopicsDeleted(results)) = state.apply(Command::DeleteTopics { topics }).0 else { panic!() };
    let twice = |name: &str| Err(Rejection::DuplicateItem { name: name.to_owned() });
    assert_eq!(results[..4], [twice("a"), twice("b"), twice("a"), twice("b")]);
    assert_eq!(results[4].as_ref().unwrap().id, TopicId(3));
    assert_eq!(state.topics().len(), 2);
    state.check_invariants();
}

#[test]
fn partitions_are_added_and_refused() {
    let mut state = cluster(2);
    create(&mut state, vec![counted("t", 1, 3, 2)]);
    assert_eq!(more(&mut state, "t", 5, None).unwrap().partitions, 5);
    assert_eq!(more(&mut state, "t", 6, Some(&[&[1, 0]])).unwrap().partitions, 6);
    assert_eq!(state.topic("t").unwrap().partition(PartitionId(5)).unwrap().leader, Some(BrokerId(1)));
    assert!(matches!(more(&mut state, "t", 6, None), Err(Rejection::NotAnIncrease { current: 6, wanted: 6, .. })));
    assert!(matches!(more(&mut state, "t", 0, None), Err(Rejection::InvalidPartitions { .. })));
    assert!(matches!(more(&mut state, "t", 101, None), Err(Rejection::TooManyPartitionsInTopic { .. })));
    assert!(matches!(more(&mut state, "none", 2, None), Err(Rejection::UnknownTopic { .. })));
    let misassigned = [Some(&[][..]), Some(&[&[0][..]][..]), Some(&[&[0, 9][..]][..]), Some(&[&[0, 0][..]][..])];
    for assigned in misassigned {
        let result = more(&mut state, "t", 7, assigned);
        assert!(matches!(result, Err(Rejection::InvalidReplicaAssignment { .. })), "{assigned:?}: {result:?}");
    }
}

#[test]
fn replicas_spread_over_brokers_and_racks() {
    let mut state = ClusterState::default();
    for (name, rack) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")] {
        state.apply(registration(name, 1, Some(rack))).0.unwrap();
    }
    create(&mut state, vec![counted("t", 6, 8, 2)]);
    let mut led = BTreeMap::<BrokerId, u32>::new();
    for partition in &state.topic("t").unwrap().partitions {
        *led.entry(partition.leader.unwrap()).or_default() += 1;
        let racks: Vec<_> = partition.replicas.iter().map(|id| &state.broker(*id).unwrap().registration.rack).collect();
        assert_ne!(racks[0], racks[1]);
    }
    assert!(led.values().all(|count| *count == 2), "{led:?}");
}

#[test]
fn a_new_incarnation_is_trusted_with_nothing() {
    let mut state = cluster(2);
    create(&mut state, vec![manual("pair", 1, &[(0, &[0, 1])]), manual("alone", 2, &[(0, &[0])])]);
    let (_, deltas) = state.apply(registration("broker-0", 2, None));
    assert_eq!(deltas.len(), 3);
    state.check_invariants();
    let pair = state.topic("pair").unwrap().partitions[0].clone();
    assert_eq!((pair.leader, pair.isr, pair.leader_epoch), (Some(BrokerId(1)), vec![BrokerId(1)], LeaderEpoch(1)));
    let alone = state.topic("alone").unwrap().partitions[0].clone();
    assert_eq!((alone.leader, alone.leader_epoch), (Some(BrokerId(0)), LeaderEpoch(1)));
    // The last in-sync replica of a replicated partition is lost: nobody leads until an operator
    // decides.
    state.apply(registration("broker-1", 2, None)).0.unwrap();
    state.check_invariants();
    assert_eq!(state.topic("pair").unwrap().partitions[0].leader, None);
}

#[test]
fn configs_are_replaced_and_edited() {
    let mut state = cluster(1);
    create(&mut state, vec![configured(counted("t", 1, 1, 1), "retention.ms", Some("1000"))]);
    let topic = || topic_resource("t");
    let value = |state: &ClusterState, name: &str| state.topic("t").unwrap().configs.get(name).cloned();

    alter(&mut state, topic(), edit("cleanup.policy", EditOperation::Append("compact".to_owned()))).unwrap();
    assert_eq!(value(&state, "cleanup.policy").as_deref(), Some("delete,compact"));
    alter(&mut state, topic(), edit("cleanup.policy", EditOperation::Subtract("delete".to_owned()))).unwrap();
    assert_eq!(value(&state, "cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(value(&state, "retention.ms").as_deref(), Some("1000"));
    alter(&mut state, topic(), edit("retention.ms", EditOperation::Delete)).unwrap();
    assert_eq!(value(&state, "retention.ms"), None);
    let replacement = BTreeMap::from([("segment.ms".to_owned(), Some("7".to_owned())), ("flush.ms".to_owned(), None)]);
    alter(&mut state, topic(), ConfigChange::Replace(replacement)).unwrap();
    assert_eq!(state.topic("t").unwrap().configs, Configs::from([("segment.ms".to_owned(), "7".to_owned())]));
}

#[test]
fn configs_are_refused_for_the_reason_that_holds() {
    let mut state = cluster(1);
    create(&mut state, vec![counted("t", 1, 1, 1)]);
    let before = state.clone();
    let set = |value: &str| EditOperation::Set(value.to_owned());
    let mut refused = |resource: ConfigResource, change: ConfigChange| alter(&mut state, resource, change).unwrap_err();
    let misconfigured =
        |rejection: Rejection| assert!(matches!(rejection, Rejection::InvalidConfig { .. }), "{rejection:?}");
    misconfigured(refused(topic_resource("t"), edit("no.such", set("1"))));
    misconfigured(refused(topic_resource("t"), edit("no.such", EditOperation::Append("1".to_owned()))));
    misconfigured(refused(topic_resource("t"), edit("retention.ms", set("soon"))));
    misconfigured(refused(topic_resource("t"), edit("retention.ms", EditOperation::Append("1".to_owned()))));
    misconfigured(refused(topic_resource("t"), edit("cleanup.policy", set("delete,shred"))));
    let lags = [("min.compaction.lag.ms", "6"), ("max.compaction.lag.ms", "5")];
    let lags = lags.map(|(name, value)| ConfigEdit { name: name.to_owned(), operation: set(value) });
    misconfigured(refused(topic_resource("t"), ConfigChange::Edit(lags.to_vec())));
    misconfigured(refused(topic_resource("t"), edit("cleanup.policy", EditOperation::Append(String::new()))));
    let one = || ConfigResource::Broker(BrokerId(0));
    let brokers = [
        (ConfigResource::BrokerDefault, "num.partitions", "4"),
        (one(), "num.partitions", "4"),
        (one(), "listeners", "PLAINTEXT://:1"),
        (one(), "log.retention.ms", "x"),
        (one(), "log.cleanup.policy", "delete,delete"),
        (ConfigResource::BrokerDefault, "sasl.kerberos.min.time.before.relogin", "58000"),
        (one(), "ssl.keystore.location", "/keys"),
        (one(), "no.such", "1"),
    ];
    for (resource, name, value) in brokers {
        let rejection = refused(resource, edit(name, set(value)));
        assert!(matches!(rejection, Rejection::InvalidBrokerConfig { .. }), "{name}: {rejection:?}");
    }
    let unknown = refused(ConfigResource::Broker(BrokerId(7)), edit("log.retention.ms", set("1")));
    assert_eq!(unknown, Rejection::UnknownBroker { broker: BrokerId(7) });
    let unknown = refused(topic_resource("none"), edit("retention.ms", set("1")));
    assert_eq!(unknown, Rejection::UnknownTopic { name: "none".to_owned() });
    let twice = ["1", "2"].map(|value| ConfigEdit { name: "retention.ms".to_owned(), operation: set(value) });
    let twice = refused(topic_resource("t"), ConfigChange::Edit(twice.to_vec()));
    assert_eq!(twice, Rejection::DuplicateItem { name: "retention.ms".to_owned() });
    assert_eq!(state, before);
}

#[test]
fn no_value_is_longer_than_the_bound() {
    const LIST: &str = "leader.replication.throttled.replicas";
    const OVERRIDES: &str = "max.connections.per.ip.overrides";
    let check = |rejection: &Rejection, name: &str| {
        let text = rejection.to_string();
        assert!(text.contains(name) && text.contains("at most 32767 bytes") && text.len() < 300, "{text}");
    };
    let set = |value: &str| EditOperation::Set(value.to_owned());
    let mut state = cluster(1);
    let full = "0:1,".repeat(8_191) + "0:1";
    assert_eq!(full.len(), configs::VALUE_BYTES_MAX);
    let created = create(&mut state, vec![configured(counted("t", 1, 1, 1), LIST, Some(&full))]);
    assert!(created[0].is_ok());
    let before = state.clone();
    alter(&mut state, topic_resource("t"), edit(LIST, EditOperation::Append("0:1,0:1".to_owned()))).unwrap();
    alter(&mut state, topic_resource("t"), edit(LIST, EditOperation::Subtract("0:2".to_owned()))).unwrap();
    let many = (0..10_000).map(|broker| format!("1:{broker}")).collect::<Vec<_>>().join(",");
    let longer = full + ",0:1";
    let replacement = BTreeMap::from([(LIST.to_owned(), Some(longer.clone()))]);
    let too_long = [
        edit(LIST, EditOperation::Append("0:2".to_owned())),
        edit(LIST, EditOperation::Append(many)),
        edit(LIST, set(&longer)),
        ConfigChange::Replace(replacement),
    ];
    for change in too_long {
        let rejection = alter(&mut state, topic_resource("t"), change).unwrap_err();
        assert!(matches!(rejection, Rejection::InvalidConfig { .. }), "{rejection:?}");
        check(&rejection, LIST);
    }
    let created = create(&mut state, vec![configured(counted("u", 2, 1, 1), LIST, Some(&longer))]);
    check(created[0].as_ref().unwrap_err(), LIST);
    for resource in [ConfigResource::BrokerDefault, ConfigResource::Broker(BrokerId(0))] {
        let long = "10.0.0.1:1,".repeat(3_000) + "10.0.0.1:1";
        let rejection = alter(&mut state, resource, edit(OVERRIDES, set(&long))).unwrap_err();
        assert!(matches!(rejection, Rejection::InvalidBrokerConfig { .. }), "{rejection:?}");
        check(&rejection, OVERRIDES);
    }
    assert_eq!(state, before);
    alter(&mut state, topic_resource("t"), edit(LIST, EditOperation::Subtract("0:2,0:1".to_owned()))).unwrap();
    assert_eq!(state.topic("t").unwrap().configs[LIST], "");
}

#[test]
fn no_change_keeps_every_address_out() {
    const BOUND: &str = "max.connections.per.ip";
    const OVERRIDES: &str = "max.connections.per.ip.overrides";
    let mut state = cluster(1);
    let set =
        |name: &str, value: &str| ConfigEdit { name: name.to_owned(), operation: EditOperation::Set(value.to_owned()) };
    for resource in [ConfigResource::BrokerDefault, ConfigResource::Broker(BrokerId(0))] {
        let mut try_edits = |edits: Vec<ConfigEdit>| alter(&mut state, resource.clone(), ConfigChange::Edit(edits));
        let refused = |result: Result<(), Rejection>| match result {
            Err(Rejection::InvalidBrokerConfig { name, reason, .. }) => {
                assert!(name == BOUND && reason.contains(OVERRIDES), "{name}: {reason}");
            }
            other => panic!("{other:?}"),
        };
        refused(try_edits(vec![set(BOUND, "0")]));
        refused(try_edits(vec![set(BOUND, "0"), set(OVERRIDES, "10.0.0.1:0")]));
        try_edits(vec![set(BOUND, "0"), set(OVERRIDES, "10.0.0.1:0, 10.0.0.2:1")]).unwrap();
        refused(try_edits(vec![ConfigEdit { name: OVERRIDES.to_owned(), operation: EditOperation::Delete }]));
        try_edits(vec![set(BOUND, "1"), set(OVERRIDES, "")]).unwrap();
    }
}

#[test]
fn values_are_kept_in_one_form_and_unknown_names_can_be_removed() {
    let mut state = cluster(1);
    let created = configured(counted("t", 1, 1, 1), "cleanup.policy", Some("delete, delete"));
    create(&mut state, vec![created]);
    let set = |value: &str| EditOperation::Set(value.to_owned());
    assert_eq!(state.topic("t").unwrap().configs["cleanup.policy"], "delete");
    for (name, value) in [("preallocate", " TRUE "), ("retention.ms", "+05")] {
        alter(&mut state, topic_resource("t"), edit(name, set(value))).unwrap();
    }
    let before = state.clone();
    alter(&mut state, topic_resource("t"), edit("no.such", EditOperation::Delete)).unwrap();
    // The same values, written in another way.
    alter(&mut state, topic_resource("t"), edit("retention.ms", set("5"))).unwrap();
    assert_eq!(state, before);
    let kept = [("cleanup.policy", "delete"), ("preallocate", "true"), ("retention.ms", "5")];
    assert_eq!(state.topic("t").unwrap().configs, kept.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let relogin = "sasl.kerberos.min.time.before.relogin";
    alter(&mut state, ConfigResource::Broker(BrokerId(0)), edit(relogin, set(" 58000"))).unwrap();
    assert_eq!(state.broker_configs(BrokerId(0)).unwrap()[relogin], "58000");
}

#[test]
fn a_resource_that_is_altered_twice_in_one_request_is_not_altered() {
    let mut state = cluster(1);
    create(&mut state, vec![counted("t", 1, 1, 1), counted("other", 2, 1, 1)]);
    let change = edit("retention.ms", EditOperation::Set("1000".to_owned()));
    let resources = ["t", "other", "t"].map(topic_resource);
    let brokers = [ConfigResource::BrokerDefault, ConfigResource::Broker(BrokerId(0)), ConfigResource::BrokerDefault];
    for (resources, name) in [(resources, "t"), (brokers, "every broker")] {
        let alterations =
            resources.map(|resource| ConfigAlteration { resource, change: change.clone() }).into_iter().collect();
        let (result, deltas) = state.apply(Command::AlterConfigs {
            alterations,
            limits: GroupConfigLimits::default(),
            validate_only: false,
        });
        let Ok(Outcome::ConfigsAltered(results)) = result else { panic!("a result per resource") };
        let twice = Err(Rejection::DuplicateItem { name: name.to_owned() });
        assert_eq!([&results[0], &results[2]], [&twice, &twice]);
        assert!(!matches!(results[1], Err(Rejection::DuplicateItem { .. })), "{:?}", results[1]);
        assert!(deltas.len() <= 1, "{deltas:?}");
    }
    assert!(state.topic("t").unwrap().configs.is_empty());
}

/// The shortest of several measured times of the creation of many topics.
#[allow(clippy::disallowed_methods, reason = "the test measures; the machine knows no clock")]
fn creation_time(name: impl Fn(u32) -> String) -> std::time::Duration {
    const COUNT: u32 = 50_000;
    let time = || {
        let topics = (0..COUNT).map(|index| counted(&name(index), u128::from(index) + 1, 1, 1)).collect();
        let limits = PartitionLimits { per_topic_max: 1, per_cluster_max: COUNT };
        let mut state = cluster(1);
        let started = std::time::Instant::now();
        state.apply(Command::CreateTopics { topics, limits, validate_only: false, now: Timestamp(1) }).0.unwrap();
        let took = started.elapsed();
        assert_eq!(state.topics().len(), COUNT as usize);
        took
    };
    (0..3).map(|_| time()).min().unwrap()
}

#[test]
fn names_that_can_collide_are_not_compared_with_all_others() {
    let innocent = creation_time(|index| format!("t-{index}"));
    let suspicious = creation_time(|index| format!("t_{index}"));
    assert!(suspicious < innocent * 8, "{innocent:?} without, {suspicious:?} with a character that can collide");
}

#[test]
fn a_name_is_free_when_the_topic_that_it_collided_with_is_gone() {
    let mut state = cluster(1);
    create(&mut state, vec![counted("a.b", 1, 1, 1)])[0].as_ref().unwrap();
    let image = serde_json::to_string(&state).unwrap();
    let mut copy: ClusterState = serde_json::from_str(&image).unwrap();
    let collision = |result: &Result<CreatedTopic, Rejection>| matches!(result, Err(Rejection::NameCollision { .. }));
    assert!(collision(&create(&mut copy, vec![counted("a_b", 2, 1, 1)])[0]), "an image keeps what can collide");
    copy.apply(Command::DeleteTopics { topics: vec![TopicSelector::Id(TopicId(1))] }).0.unwrap();
    create(&mut copy, vec![counted("a_b", 2, 1, 1)])[0].as_ref().unwrap();
}

#[test]
fn producer_ids_are_given_once() {
    let mut state = cluster(2);
    let mut allocate = |broker| state.apply(Command::AllocateProducerIds { broker: BrokerId(broker) }).0;
    let block = |first| Outcome::ProducerIdsAllocated(ProducerIdBlock { first: ProducerId(first), count: 1000 });
    assert_eq!(allocate(0), Ok(block(0)));
    assert_eq!(allocate(1), Ok(block(1000)));
    assert_eq!(allocate(5), Err(Rejection::UnknownBroker { broker: BrokerId(5) }));
    assert_eq!(allocate(0), Ok(block(2000)));
}

#[test]
fn an_image_of_another_version_is_refused() {
    let image = serde_json::to_string(&cluster(1)).unwrap();
    assert_eq!(serde_json::from_str::<ClusterState>(&image).unwrap(), cluster(1));
    let newer = image.replacen("\"version\":1", "\"version\":2", 1);
    let error = serde_json::from_str::<ClusterState>(&newer).unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
}
