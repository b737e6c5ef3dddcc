//! Two commits in flight, as on a slow disk: they end in any order, and take effect in the order in
//! which they began.

use std::time::Duration;

use rustmq_model::Offset;

use super::driver::{Driver, Setting, writes};
use super::host::{Event, Reply};
use crate::shard::error::AppendError;
use crate::shard::request::Appended;

type Answer = Reply<Vec<Result<Appended, AppendError>>>;

fn slow() -> Setting {
    Setting { blocks: 64, slow_commit: Duration::ZERO, ..Setting::default() }
}

/// Begins a commit with an append of one record of `size` bytes.
fn begin(driver: &mut Driver, size: usize) -> Answer {
    let answer = driver.append(0, &[size]);
    driver.turn();
    assert!(driver.begin_commit());
    answer
}

fn two(partitions: i32) -> (Driver, Answer, Answer) {
    let mut driver = Driver::with(partitions, slow());
    let (older, younger) = (begin(&mut driver, 1_000), begin(&mut driver, 10));
    driver.events.clear();
    (driver, older, younger)
}

fn is_stored(answer: &Answer) -> bool {
    answer.answer().is_some_and(|results| results.iter().all(Result::is_ok))
}

fn is_refused(answer: &Answer) -> bool {
    let is_storage = |result: &Result<_, _>| matches!(result, Err(AppendError::Storage { .. }));
    answer.answer().is_some_and(|results| results.iter().all(is_storage))
}

#[test]
fn a_second_commit_begins_only_while_commits_take_long_and_a_third_never() {
    let mut driver = Driver::with(1, Setting { slow_commit: Duration::from_millis(1), ..slow() });
    let mut in_flight_with = |took: Duration| {
        for _ in 0..20 {
            begin(&mut driver, 10);
            driver.turn_in(took);
            driver.end_commit();
        }
        begin(&mut driver, 10);
        let mut count = 1;
        for _ in 0..2 {
            driver.append(0, &[10]);
            driver.turn();
            count += usize::from(driver.begin_commit());
        }
        (0..count).for_each(|_| driver.end_commit());
        driver.settle();
        count
    };
    let (quick, slow) = (Duration::from_micros(100), Duration::from_millis(2));
    assert_eq!([quick, slow, quick].map(&mut in_flight_with), [1, 2, 1]);
}

#[test]
fn a_commit_that_is_written_early_is_published_after_the_older_one() {
    let (mut driver, older, younger) = two(1);
    driver.end_younger_commit();
    driver.turn();
    assert_eq!(driver.events, []);
    assert!(!older.is_answered() && !younger.is_answered());
    driver.end_commit();
    let batches = [1, 2].map(|end| Event::Batches(driver.key(0), Offset(end)));
    let [first, second] = [older.number, younger.number].map(Event::Answer);
    assert_eq!(driver.events, [batches[0], first, batches[1], second]);
    assert!(is_stored(&older) && is_stored(&younger));
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 2);
}

#[test]
fn a_restart_drops_a_younger_commit_without_the_older_one_and_writes_over_it() {
    let (mut driver, ..) = two(1);
    let dropped_at = writes(&driver.in_flight[1]).next().unwrap().1;
    driver.end_younger_commit();
    let mut driver = driver.restart().unwrap();
    assert_eq!(driver.on_disk(0).len(), 0, "the commit follows a gap");
    driver.settle();
    let mut has_met = false;
    for count in 1..=6 {
        begin(&mut driver, 10);
        driver.end_commit();
        // The dropped group may follow the end directly.
        has_met |= driver.shard.table().next_position().unwrap().offset as usize == dropped_at;
        assert_eq!(driver.killed_now().unwrap().on_disk(0).len(), count);
    }
    assert!(has_met);
}

#[test]
fn a_failed_commit_makes_the_other_one_fail_however_it_ends() {
    // The older one fails; the younger one is written or not.
    for is_written in [false, true] {
        let (mut driver, older, younger) = two(1);
        if is_written {
            driver.end_younger_commit();
        }
        driver.fail_commit();
        assert_eq!(driver.events, [Event::Poison, Event::Answer(older.number), Event::Answer(younger.number)]);
        assert!(is_refused(&older) && is_refused(&younger));
        check_end(driver, usize::from(!is_written));
    }
    // The younger one fails.
    let (mut driver, older, younger) = two(1);
    let gathered = driver.append(0, &[10]);
    driver.turn();
    driver.fail_younger_commit();
    let answers = [gathered.number, older.number, younger.number].map(Event::Answer);
    assert_eq!(driver.events, [&[Event::Poison][..], &answers].concat());
    assert!([&gathered, &older, &younger].into_iter().all(is_refused));
    check_end(driver, 1);
    // The younger one fails after the older one succeeded.
    let (mut driver, older, younger) = two(1);
    driver.end_commit();
    driver.fail_commit();
    assert!(is_stored(&older) && is_refused(&younger));
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 1);
}

/// Checks that a failed shard ends after the commits in flight, and publishes none of them.
fn check_end(mut driver: Driver, in_flight: usize) {
    driver.events.clear();
    driver.close();
    driver.turn();
    assert_eq!(driver.in_flight.len(), in_flight);
    for _ in 0..in_flight {
        assert!(!driver.shard.is_finished());
        driver.end_commit();
    }
    driver.turn();
    assert_eq!((&driver.events[..], driver.shown(0).frontiers.durable_end), (&[][..], Offset(0)));
    driver.finish();
}

#[test]
fn both_commits_count_after_a_failure_that_does_not_concern_the_disk() {
    let (mut driver, older, younger) = two(1);
    driver.lose_preparations();
    driver.end_younger_commit();
    assert!(!younger.is_answered());
    driver.end_commit();
    assert!(is_stored(&older) && is_stored(&younger));
}

#[test]
fn a_commit_that_starts_a_segment_goes_alone() {
    let mut driver = Driver::with(1, slow());
    let (mut rolls, mut pairs) = (0, 0);
    for number in 0..400 {
        driver.append(0, &[700]);
        driver.turn();
        driver.begin_commit();
        let starts_segment = |commit: &&_| writes(commit).any(|(_, offset)| offset == 0);
        let rolling = driver.in_flight.iter().filter(starts_segment).count();
        assert!(rolling == 0 || driver.in_flight.len() == 1, "{:?}", driver.in_flight);
        rolls += rolling;
        if driver.in_flight.len() == 2 {
            pairs += 1;
            driver.end_younger_commit();
        }
        // Sometimes one is in flight when the next one should begin.
        if rolling > 0 || (number % 3 == 0 && !driver.in_flight.is_empty()) {
            driver.end_commit();
        }
    }
    assert!(rolls > 3 && pairs > 50, "{rolls} rolls, {pairs} pairs");
    while !driver.in_flight.is_empty() {
        driver.end_commit();
    }
    driver.settle();
    assert_eq!(driver.on_disk(0).len(), 400);
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 400);
}

#[test]
fn requests_that_come_before_the_first_commit_go_with_the_second() {
    let mut driver = Driver::with(1, slow()).restart().unwrap();
    let append = driver.append(0, &[10]);
    driver.turn();
    assert!(driver.begin_commit());
    assert!(!driver.in_flight[0].holds_frames, "it holds the group that puts the session on disk");
    driver.turn();
    assert!(!driver.begin_commit());
    driver.end_commit();
    assert!(driver.begin_commit());
    driver.end_commit();
    assert!(append.answer().unwrap()[0].is_ok());
}

#[test]
fn the_group_that_puts_the_session_on_disk_goes_alone() {
    let mut driver = Driver::with(1, slow()).restart().unwrap();
    driver.turn();
    assert!(driver.begin_commit());
    driver.append(0, &[10]);
    driver.turn();
    assert!(!driver.begin_commit());
    driver.end_commit();
    assert!(driver.begin_commit());
    begin(&mut driver, 10);
    assert_eq!(driver.in_flight.len(), 2);
}

#[test]
fn a_close_proves_two_commits_in_flight() {
    let (mut driver, older, younger) = two(1);
    driver.close();
    driver.turn();
    driver.end_younger_commit();
    driver.turn();
    assert!(!driver.shard.is_finished());
    driver.end_commit();
    driver.settle();
    driver.finish();
    assert!(is_stored(&older) && is_stored(&younger));
    driver.damage_last_group();
    assert!(driver.restart().is_err(), "acknowledged records are lost");
}
