//! Handmade logs, correct and broken ones: the audit finds each broken promise and nothing else.
#![allow(clippy::unwrap_used)]

use super::*;

fn entry(producer: u32, sequence: u64) -> Entry {
    Entry { producer, sequence, hash: u64::from(producer) << 32 | sequence }
}

fn place() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A log of one producer's records from 0 on, at the offsets from 0 on.
fn sound(records: u64) -> Reading {
    let records: Vec<_> = (0..records).map(|n| (i64::try_from(n).unwrap(), Some(entry(1, n)))).collect();
    Reading { from: 0, log_start: 0, end: i64::try_from(records.len()).unwrap(), records }
}

/// An audit in which producer 1 has `acknowledged` records.
fn promised(acknowledged: u64, retention: Retention) -> Audit {
    let mut audit = Audit::default();
    audit.watch(place(), retention);
    for n in 0..acknowledged {
        assert_eq!(audit.acknowledge(&place(), i64::try_from(n).unwrap(), entry(1, n)), None);
    }
    audit
}

fn check(acknowledged: u64, reading: &Reading, expected: &[&str]) {
    let found = promised(acknowledged, Retention::Everything).read(&place(), reading);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_sound_log_passes() {
    check(5, &sound(5), &[]);
    // A record that was written and never acknowledged may exist.
    check(3, &sound(5), &[]);
    check(0, &sound(0), &[]);
}

#[test]
fn a_lost_record_is_found_wherever_it_was() {
    check(3, &sound(2), &["t/0: the log ends at 2, below 3, which was promised"]);
    let mut reading = sound(4);
    reading.records.remove(1);
    check(4, &reading, &["t/0: record 1 of producer 1 is gone from offset 1"]);
    reading = sound(4);
    reading.records.pop();
    check(4, &reading, &["t/0: record 3 of producer 1 is gone from offset 3"]);
    reading = sound(4);
    reading.records.remove(0);
    check(4, &reading, &["t/0: record 0 of producer 1 is gone from offset 0"]);
    check(0, &reading, &["t/0: offset 0 holds nothing"]);
    reading = Reading { end: 2, ..Reading::default() };
    check(0, &reading, &["t/0: offset 0 holds nothing", "t/0: offset 1 holds nothing"]);
}

#[test]
fn a_batch_dropped_in_recovery_is_found_though_later_ones_closed_the_gap() {
    let mut reading = sound(6);
    reading.records = [0, 1, 4, 5].into_iter().zip(0..).map(|(n, at)| (at, Some(entry(1, n)))).collect();
    reading.end = 4;
    let found = promised(4, Retention::Everything).read(&place(), &reading);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|violation| matches!(violation, Violation::Differs { .. })));
}

#[test]
fn changed_bytes_are_found() {
    let mut reading = sound(2);
    reading.records[1].1.as_mut().unwrap().hash ^= 1;
    check(
        2,
        &reading,
        &["t/0: offset 1 holds record 1 of producer 1, not record 1 of producer 1 (hashes 100000000 and 100000001)"],
    );
    reading.records[1].1 = None;
    check(2, &reading, &["t/0: offset 1 holds bytes that nobody wrote"]);
}

#[test]
fn a_second_copy_and_a_wrong_order_are_found() {
    let mut reading = sound(4);
    reading.records[3].1 = Some(entry(1, 2));
    check(3, &reading, &["t/0: record 2 of producer 1 at offset 3 comes after its record 2"]);
    reading = sound(3);
    reading.records[1].1 = Some(entry(1, 2));
    reading.records[2].1 = Some(entry(1, 1));
    check(1, &reading, &["t/0: record 1 of producer 1 at offset 2 comes after its record 2"]);
}

#[test]
fn two_producers_may_interleave() {
    let mut reading = sound(4);
    reading.records[1].1 = Some(entry(2, 0));
    reading.records[2].1 = Some(entry(1, 1));
    reading.records[3].1 = Some(entry(2, 1));
    check(1, &reading, &[]);
}

#[test]
fn what_was_read_once_stays() {
    let mut audit = promised(0, Retention::Everything);
    assert_eq!(audit.read(&place(), &sound(3)), []);
    let mut changed = sound(3);
    changed.records[2].1 = Some(entry(2, 0));
    assert_eq!(audit.read(&place(), &changed).len(), 1);
    let mut audit = promised(0, Retention::Everything);
    audit.read(&place(), &sound(3));
    let shrunk = audit.read(&place(), &sound(2));
    assert_eq!(shrunk, [Violation::Shrank { place: place(), end: 2, expected: 3 }]);
}

#[test]
fn a_reading_of_the_new_records_suffices() {
    let mut audit = promised(0, Retention::Everything);
    assert_eq!(audit.read(&place(), &sound(3)), []);
    assert_eq!(audit.unread(), [(place(), 3)]);
    let mut more = sound(5);
    more.records.drain(..3);
    more.from = 3;
    more.from = 3;
    assert_eq!(audit.read(&place(), &more), []);
    // The first of the new records is missing.
    more.records.remove(0);
    let mut audit = promised(0, Retention::Everything);
    audit.read(&place(), &sound(3));
    assert_eq!(audit.read(&place(), &more), [Violation::Missing { place: place(), offset: 3, entry: None }]);
    // A copy of an old record among the new ones.
    let mut audit = promised(0, Retention::Everything);
    audit.read(&place(), &sound(3));
    let copied = Reading { from: 3, log_start: 0, end: 4, records: vec![(3, Some(entry(1, 0)))] };
    assert!(matches!(audit.read(&place(), &copied)[..], [Violation::OutOfOrder { .. }]));
}

#[test]
fn a_late_acknowledgement_is_held_against_what_was_read_before() {
    let mut audit = promised(0, Retention::Everything);
    audit.read(&place(), &sound(3));
    assert_eq!(audit.acknowledge(&place(), 1, entry(1, 1)), None);
    assert!(matches!(audit.acknowledge(&place(), 2, entry(1, 9)), Some(Violation::Differs { .. })));
    // Two records were acknowledged at one offset.
    assert_eq!(audit.acknowledge(&place(), 7, entry(1, 7)), None);
    assert!(matches!(audit.acknowledge(&place(), 7, entry(1, 8)), Some(Violation::Differs { .. })));
}

#[test]
fn retention_takes_the_head_only_where_it_may() {
    let mut reading = sound(5);
    reading.records.drain(..2);
    reading.log_start = 2;
    assert_eq!(promised(5, Retention::Tail).read(&place(), &reading), []);
    let found = promised(5, Retention::Everything).read(&place(), &reading);
    assert_eq!(found, [Violation::LogStart { place: place(), log_start: 2, before: 0 }]);
    let mut audit = promised(5, Retention::Tail);
    audit.read(&place(), &reading);
    let found = audit.read(&place(), &sound(5));
    assert!(found.contains(&Violation::LogStart { place: place(), log_start: 0, before: 2 }), "{found:?}");
    // The oldest records may be deleted during the reading, but not records in the middle.
    let mut reading = sound(5);
    reading.log_start = 2;
    assert_eq!(promised(5, Retention::Tail).read(&place(), &reading), []);
    reading.records.remove(3);
    assert_eq!(promised(5, Retention::Tail).read(&place(), &reading).len(), 1);
}

#[test]
fn a_log_start_beyond_the_end_is_a_lost_log() {
    let reading = Reading { from: 0, log_start: 9, end: 9, records: Vec::new() };
    let found = promised(5, Retention::Tail).read(&place(), &Reading { end: 3, ..reading });
    assert!(found.contains(&Violation::Shrank { place: place(), end: 3, expected: 5 }), "{found:?}");
}

#[test]
fn commits_are_the_acknowledged_or_later_ones() {
    let mut audit = Audit::default();
    audit.acknowledge_commit("g", &place(), 5);
    audit.acknowledge_commit("g", &place(), 8);
    for (found, kept) in [(8, true), (12, true), (10, true), (5, false), (-1, false), (13, false)] {
        assert_eq!(audit.read_commit("g", &place(), found, 12).is_none(), kept, "{found}");
    }
    assert_eq!(audit.committed()["g"], [place()]);
}

#[test]
fn topics_are_there_with_their_partitions_or_gone() {
    let mut audit = Audit::default();
    audit.create("a", 3);
    audit.create("b", 1);
    let listed = |topics: &[(&str, usize)]| topics.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    assert_eq!(audit.read_topics(&listed(&[("a", 3), ("b", 1), ("other", 1)])), []);
    assert_eq!(audit.read_topics(&listed(&[("a", 2), ("b", 1)])).len(), 1);
    assert_eq!(audit.read_topics(&listed(&[("a", 3)])), [Violation::Topic { name: "b".into(), expected: 1, found: 0 }]);
    audit.unwatch("b");
    assert_eq!(audit.read_topics(&listed(&[("a", 3)])), []);
    assert_eq!(audit.read_topics(&listed(&[("a", 3), ("b", 1)])), []);
    audit.acknowledge_deletion("b");
    assert_eq!(audit.read_topics(&listed(&[("a", 3), ("b", 1)])), [Violation::Undeleted { name: "b".into() }]);
}
