//! Configs of groups (KIP-848): which values are taken, and which layer a description names.

use super::*;

const GROUP: i8 = 32;
const FROM_GROUP: i8 = 8;
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const ASSIGNMENT: &str = "consumer.assignment.interval.ms";

/// Whether the config comes to this value and source.
fn comes_to(wire: &mut Wire, group: &str, key: &str, value: &str, source: i8) -> bool {
    let wanted = Some((Some(value.to_owned()), source));
    shared().knows(|| told(wire, GROUP, group, key) == wanted)
}

#[test]
fn a_group_has_the_brokers_values_until_it_has_its_own() {
    let wire = &mut Wire::connect(shared().port()).unwrap();
    let group = unique("configs-group");
    for (key, default) in [(SESSION, "45000"), (HEARTBEAT, "5000"), (ASSIGNMENT, "1000")] {
        assert_eq!(told(wire, GROUP, &group, key), Some((Some(default.to_owned()), FROM_DEFAULT)), "{key}");
    }
    assert_eq!(edit(wire, GROUP, &group, SESSION, SET, Some(" 50000 ")), OK);
    assert!(comes_to(wire, &group, SESSION, "50000", FROM_GROUP));
    let synonyms: Vec<_> = described(wire, GROUP, &group, SESSION)
        .unwrap()
        .synonyms
        .into_iter()
        .map(|one| (one.name.to_string(), one.value.unwrap().to_string(), one.source))
        .collect();
    let broker_wide = ("group.consumer.session.timeout.ms".to_owned(), "45000".to_owned(), FROM_DEFAULT);
    assert_eq!(synonyms, [(SESSION.to_owned(), "50000".to_owned(), FROM_GROUP), broker_wide]);
    assert_eq!(edit(wire, GROUP, &group, SESSION, DELETE, None), OK);
    assert!(comes_to(wire, &group, SESSION, "45000", FROM_DEFAULT));
}

#[test]
fn a_value_keeps_within_the_brokers_bounds() {
    let wire = &mut Wire::connect(shared().port()).unwrap();
    let group = unique("configs-group");
    for (key, operation, value, code) in [
        (SESSION, SET, Some("44999"), INVALID_CONFIG),
        (SESSION, SET, Some("60001"), INVALID_CONFIG),
        (SESSION, SET, Some("60000"), OK),
        (SESSION, SET, Some("0"), INVALID_CONFIG),
        (SESSION, SET, Some("soon"), INVALID_CONFIG),
        (SESSION, SET, None, INVALID_REQUEST),
        (SESSION, APPEND, Some("50000"), INVALID_CONFIG),
        (HEARTBEAT, SET, Some("4999"), INVALID_CONFIG),
        (HEARTBEAT, SET, Some("15000"), OK),
        (HEARTBEAT, SET, Some("15001"), INVALID_CONFIG),
        (ASSIGNMENT, SET, Some("0"), OK),
        (ASSIGNMENT, SET, Some("15001"), INVALID_CONFIG),
        ("no.such.key", SET, Some("1"), INVALID_CONFIG),
        ("no.such.key", DELETE, None, OK),
    ] {
        assert_eq!(edit(wire, GROUP, &group, key, operation, value), code, "{key}, operation {operation}: {value:?}");
    }
    assert_eq!(edit(wire, GROUP, "", SESSION, SET, Some("50000")), INVALID_REQUEST);
    assert_eq!(describe(wire, GROUP, "").error_code, INVALID_REQUEST);
    for key in [SESSION, HEARTBEAT, ASSIGNMENT] {
        assert_eq!(edit(wire, GROUP, &group, key, DELETE, None), OK);
    }
}
