//! Random histories: invariants hold, the same commands give the same results, and replayed deltas
//! give the same state.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[ab][._]?[cd]", 1 => "[ .]{0,3}"]
}

fn replicas() -> impl Strategy<Value = Vec<BrokerId>> {
    vec((0..4).prop_map(BrokerId), 0..4)
}

fn placement() -> impl Strategy<Value = Placement> {
    prop_oneof![
        (-1..9, -1..5_i16)
            .prop_map(|(partitions, replication_factor)| Placement::Count { partitions, replication_factor }),
        btree_map(0..4, replicas(), 0..4).prop_map(Placement::Manual),
    ]
}

fn setting() -> impl Strategy<Value = (String, String)> {
    let names = [
        "retention.ms",
        "cleanup.policy",
        "log.retention.ms",
        "min.insync.replicas",
        "num.partitions",
        "x",
        "consumer.session.timeout.ms",
        "consumer.heartbeat.interval.ms",
    ];
    let values = ["-1", "5", "delete", "compact", "compact,delete", "", "50000"];
    (proptest::sample::select(names.to_vec()), proptest::sample::select(values.to_vec()))
        .prop_map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn new_topic() -> impl Strategy<Value = NewTopic> {
    let configs = proptest::option::weighted(0.3, setting());
    (name(), 0..60_u128, placement(), configs).prop_map(|(name, id, placement, config)| NewTopic {
        name,
        id: TopicId(id),
        placement,
        configs: config.into_iter().map(|(name, value)| (name, Some(value))).collect(),
    })
}

fn change() -> impl Strategy<Value = ConfigChange> {
    let edit = (setting(), 0..4).prop_map(|((name, value), kind)| {
        let operation = match kind {
            0 => EditOperation::Set(value),
            1 => EditOperation::Delete,
            2 => EditOperation::Append(value),
            _ => EditOperation::Subtract(value),
        };
        ConfigEdit { name, operation }
    });
    prop_oneof![
        vec(edit, 0..3).prop_map(ConfigChange::Edit),
        btree_map(Just("retention.ms".to_owned()), proptest::option::of(Just("7".to_owned())), 0..2)
            .prop_map(ConfigChange::Replace),
    ]
}

fn resource() -> impl Strategy<Value = ConfigResource> {
    prop_oneof![
        "[ab][._]?[cd]".prop_map(|name| ConfigResource::Topic(TopicName::new(&name).unwrap())),
        Just(ConfigResource::BrokerDefault),
        (0..4).prop_map(|id| ConfigResource::Broker(BrokerId(id))),
        "[gh]".prop_map(ConfigResource::Group),
    ]
}

fn feature_update() -> impl Strategy<Value = FeatureUpdate> {
    let directions = proptest::sample::select(vec![FeatureDirection::Upgrade, FeatureDirection::Downgrade]);
    (-1..3_i16, directions).prop_map(|(level, direction)| FeatureUpdate { level, direction })
}

fn command() -> impl Strategy<Value = Command> {
    let limits = PartitionLimits { per_topic_max: 10, per_cluster_max: 30 };
    let selector =
        prop_oneof![name().prop_map(TopicSelector::Name), (0..60_u128).prop_map(|id| TopicSelector::Id(TopicId(id)))];
    let more = (name(), -1..12, proptest::option::of(vec(replicas(), 0..3)))
        .prop_map(|(name, count, assignments)| NewPartitions { name, count, assignments });
    prop_oneof![
        1 => "[xy]".prop_map(|cluster_id| Command::Bootstrap {
            cluster_id,
            features: BTreeMap::new(),
            broker_defaults: Configs::new(),
        }),
        4 => ("[abcd]", 0..2_u128, proptest::option::of("[rs]"))
            .prop_map(|(name, incarnation, rack)| registration(&name, incarnation, rack.as_deref())),
        6 => (vec(new_topic(), 0..4), any::<bool>()).prop_map(move |(topics, validate_only)| Command::CreateTopics {
            topics,
            limits,
            validate_only,
            now: Timestamp(1),
        }),
        3 => vec(selector, 0..3).prop_map(|topics| Command::DeleteTopics { topics }),
        4 => (vec(more, 0..3), any::<bool>()).prop_map(move |(topics, validate_only)| Command::CreatePartitions {
            topics,
            limits,
            validate_only,
        }),
        3 => (resource(), change(), any::<bool>()).prop_map(|(resource, change, validate_only)| Command::AlterConfigs {
            alterations: vec![ConfigAlteration { resource, change }],
            limits: GroupConfigLimits { groups_max: 2, broker_values: Configs::new() },
            validate_only,
        }),
        1 => (0..5).prop_map(|id| Command::AllocateProducerIds { broker: BrokerId(id) }),
        1 => (btree_map("[fg]", feature_update(), 0..3), any::<bool>())
            .prop_map(|(updates, validate_only)| Command::UpdateFeatures { updates, validate_only }),
    ]
}

fn items(outcome: &Outcome) -> Vec<bool> {
    match outcome {
        Outcome::TopicsCreated(results) => results.iter().map(Result::is_ok).collect(),
        Outcome::TopicsDeleted(results) => results.iter().map(Result::is_ok).collect(),
        Outcome::PartitionsCreated(results) => results.iter().map(Result::is_ok).collect(),
        Outcome::ConfigsAltered(results) => results.iter().map(Result::is_ok).collect(),
        Outcome::Bootstrapped { .. }
        | Outcome::BrokerRegistered { .. }
        | Outcome::ProducerIdsAllocated(_)
        | Outcome::FeaturesUpdated => vec![true],
    }
}

proptest! {
    #[test]
    fn histories_are_deterministic_and_replayable(commands in vec(command(), 0..60)) {
        let mut state = ClusterState::default();
        let mut twin = ClusterState::default();
        let mut view = ClusterState::default();
        for command in commands {
            let before = state.clone();
            let is_bootstrapped = before.cluster_id().is_some();
            let (result, deltas) = state.apply(command.clone());
            prop_assert_eq!(&twin.apply(command.clone()), &(result.clone(), deltas.clone()));
            for delta in &deltas {
                view.replay(delta);
            }
            prop_assert_eq!(&view, &state);
            let is_changed = is_bootstrapped && before.features() != state.features();
            prop_assert_eq!(state.features_epoch(), before.features_epoch() + i64::from(is_changed));
            prop_assert_eq!(&twin, &state);
            state.check_invariants();
            let nothing_done = result.as_ref().map_or(true, |outcome| !items(outcome).contains(&true));
            if nothing_done || deltas.is_empty() {
                prop_assert_eq!(&before, &state, "what is refused or rehearsed changes nothing");
            }
            if let Command::CreateTopics { validate_only: true, .. } = command {
                prop_assert!(deltas.is_empty());
            }
        }
        let image = serde_json::to_vec(&state).unwrap();
        prop_assert_eq!(serde_json::from_slice::<ClusterState>(&image).unwrap(), state);
    }

    #[test]
    fn commands_survive_their_encoding(command in command()) {
        let encoded = serde_json::to_vec(&command).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Command>(&encoded).unwrap(), command);
    }
}
