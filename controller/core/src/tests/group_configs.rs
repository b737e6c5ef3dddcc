//! Configs of groups: their bounds, which the brokers set, and their values in force.

use super::*;
use crate::configs::{ConfigSource, EffectiveGroupConfig, StaticConfigs};

const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT: &str = "consumer.assignment.interval.ms";

fn configs(values: &[(&str, &str)]) -> Configs {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Alters one group's configs, with broker-wide values from the configuration file.
fn alter_group(
    state: &mut ClusterState,
    group: &str,
    values: &[(&str, &str)],
    file: &[(&str, &str)],
) -> Result<(), Rejection> {
    let edit = |(name, value): &(&str, &str)| ConfigEdit {
        name: (*name).to_owned(),
        operation: if value.is_empty() { EditOperation::Delete } else { EditOperation::Set((*value).to_owned()) },
    };
    let change = ConfigChange::Edit(values.iter().map(edit).collect());
    let alterations = vec![ConfigAlteration { resource: ConfigResource::Group(group.to_owned()), change }];
    let file = StaticConfigs::from(configs(file));
    let broker_values = state.broker_layers(BrokerId(0), &file).broker_values_for_groups();
    let limits = GroupConfigLimits { groups_max: 2, broker_values };
    let command = Command::AlterConfigs { alterations, limits, validate_only: false };
    let Ok(Outcome::ConfigsAltered(mut results)) = state.apply(command).0 else { panic!("a result per resource") };
    state.check_invariants();
    results.remove(0)
}

fn in_force(state: &ClusterState, group: &str, file: &[(&str, &str)]) -> (u32, u32, u32) {
    let file = StaticConfigs::from(configs(file));
    let EffectiveGroupConfig { assignment_interval_ms, heartbeat_interval_ms, session_timeout_ms } =
        EffectiveGroupConfig::resolve(&state.group_layers(group, BrokerId(0), &file));
    (assignment_interval_ms, heartbeat_interval_ms, session_timeout_ms)
}

#[test]
fn a_value_is_judged_by_its_rule_by_the_brokers_bounds_and_by_the_other_values() {
    let check = |values: &[(&str, &str)], file: &[(&str, &str)], refused: Option<&str>| {
        let mut state = cluster(1);
        let result = alter_group(&mut state, "g", values, file);
        let name = match result {
            Ok(()) => None,
            Err(Rejection::InvalidConfig { name, .. }) => Some(name),
            Err(other) => panic!("{values:?}: {other:?}"),
        };
        assert_eq!(name.as_deref(), refused, "{values:?} {file:?}");
        let kept = if refused.is_none() { configs(values) } else { Configs::new() };
        assert_eq!(*state.group_configs("g"), kept, "a change is made as a whole or not at all");
    };
    check(&[(SESSION, "50000"), (HEARTBEAT, "6000"), (ASSIGNMENT, "0")], &[], None);
    check(&[(SESSION, "45000"), (HEARTBEAT, "15000"), (ASSIGNMENT, "15000")], &[], None);
    check(&[(SESSION, "60000"), (HEARTBEAT, "5000")], &[], None);
    check(&[(HEARTBEAT, "6000"), (SESSION, "44999")], &[], Some(SESSION));
    check(&[(SESSION, "60001")], &[], Some(SESSION));
    check(&[(HEARTBEAT, "4999")], &[], Some(HEARTBEAT));
    check(&[(HEARTBEAT, "15001")], &[], Some(HEARTBEAT));
    check(&[(ASSIGNMENT, "15001")], &[], Some(ASSIGNMENT));
    check(&[(ASSIGNMENT, "-1")], &[], Some(ASSIGNMENT));
    check(&[(SESSION, "soon")], &[], Some(SESSION));
    check(&[("share.session.timeout.ms", "50000")], &[], Some("share.session.timeout.ms"));
    let wide = [("group.consumer.min.session.timeout.ms", "1"), ("group.consumer.max.session.timeout.ms", "90000")];
    check(&[(SESSION, "90000")], &wide, None);
    check(&[(SESSION, "5001")], &wide, None);
    check(&[(SESSION, "5000")], &wide, Some(SESSION));
    check(&[(SESSION, "6000"), (HEARTBEAT, "6000")], &wide, Some(SESSION));
    check(&[(HEARTBEAT, "9000")], &[wide[0], ("group.consumer.session.timeout.ms", "9000")], Some(SESSION));
    let contradiction = [("group.consumer.min.session.timeout.ms", "70000")];
    check(&[(SESSION, "70000")], &contradiction, None);
}

#[test]
fn a_group_has_its_own_values_or_the_brokers_within_the_brokers_bounds() {
    let mut state = cluster(1);
    assert_eq!(in_force(&state, "g", &[]), (1_000, 5_000, 45_000));
    alter_group(&mut state, "g", &[(SESSION, "60000"), (HEARTBEAT, "9000"), (ASSIGNMENT, "0")], &[]).unwrap();
    assert_eq!(in_force(&state, "g", &[]), (0, 9_000, 60_000));
    assert_eq!(in_force(&state, "h", &[]), (1_000, 5_000, 45_000));
    let narrow = [
        ("group.consumer.max.session.timeout.ms", "50000"),
        ("group.consumer.min.heartbeat.interval.ms", "10000"),
        ("group.consumer.min.assignment.interval.ms", "2000"),
    ];
    assert_eq!(in_force(&state, "g", &narrow), (2_000, 10_000, 50_000));
    assert_eq!(in_force(&state, "h", &narrow), (2_000, 10_000, 45_000));
    assert_eq!(in_force(&state, "h", &[("group.consumer.session.timeout.ms", "55000")]), (1_000, 5_000, 55_000));
    let interval = "group.consumer.assignment.interval.ms";
    alter(&mut state, ConfigResource::BrokerDefault, edit(interval, EditOperation::Set("7".to_owned()))).unwrap();
    assert_eq!(in_force(&state, "h", &[]), (7, 5_000, 45_000), "a dynamic default of the brokers");
}

#[test]
fn a_description_names_the_layer_of_each_value() {
    let mut state = cluster(1);
    alter_group(&mut state, "g", &[(SESSION, "60000")], &[]).unwrap();
    let synonym = "group.consumer.session.timeout.ms";
    let file = StaticConfigs::from(configs(&[(synonym, "50000")]));
    let described = state.group_layers("g", BrokerId(0), &file).describe_group();
    let names: Vec<_> = described.iter().map(|config| (config.name, config.source, config.read_only)).collect();
    let (own, default) = (ConfigSource::DynamicGroup, ConfigSource::Default);
    assert_eq!(names, [(ASSIGNMENT, default, false), (HEARTBEAT, default, false), (SESSION, own, false)]);
    let told: Vec<_> =
        described[2].synonyms.iter().map(|one| (one.name, one.value.as_deref().unwrap(), one.source)).collect();
    let expected =
        [(SESSION, "60000", own), (synonym, "50000", ConfigSource::StaticBroker), (synonym, "45000", default)];
    assert_eq!((described[2].value.as_deref(), &told[..]), (Some("60000"), &expected[..]));
}

#[test]
fn the_groups_with_configs_are_bounded_and_kept_in_snapshots() {
    let mut state = cluster(1);
    let without = serde_json::to_string(&state).unwrap();
    assert!(!without.contains("group_configs"), "older snapshots have none: {without}");
    for group in ["a", "b"] {
        alter_group(&mut state, group, &[(SESSION, "50000")], &[]).unwrap();
    }
    let full = alter_group(&mut state, "c", &[(SESSION, "50000")], &[]);
    assert_eq!(full, Err(Rejection::TooManyConfiguredGroups { max: 2 }));
    alter_group(&mut state, "a", &[(HEARTBEAT, "6000")], &[]).unwrap();
    alter_group(&mut state, "c", &[(SESSION, "")], &[]).unwrap();
    let image = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<ClusterState>(&image).unwrap(), state);
    alter_group(&mut state, "b", &[(SESSION, "")], &[]).unwrap();
    alter_group(&mut state, "c", &[(SESSION, "50000")], &[]).unwrap();
    assert_eq!(state.configured_groups().collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn an_entry_of_the_log_from_before_groups_had_configs_is_read() {
    let entry = r#"{"AlterConfigs":{"alterations":[],"validate_only":true}}"#;
    let limits = GroupConfigLimits::default();
    let command = Command::AlterConfigs { alterations: Vec::new(), limits, validate_only: true };
    assert_eq!(serde_json::from_str::<Command>(entry).unwrap(), command);
}
