//! Partitions that are deleted and opened again under the same id.

use rustmq_model::{LeaderEpoch, Offset};

use super::driver::{Driver, Setting};
use super::host::Event;
use super::requests::{batch, id};
use crate::shard::error::OpenError;

#[test]
fn a_partition_that_is_deleted_and_opened_again_in_one_commit_starts_empty() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10, 10]);
    driver.settle();
    let before = driver.key(0);
    driver.events.clear();
    let numbers = [driver.delete(&[0]).number, driver.open(&[0], 7).number, driver.append(0, &[300]).number];
    driver.turn();
    let after = driver.shard.partitions.key(id(0)).unwrap();
    assert_eq!(driver.events, [Event::Unlist(id(0)), Event::View(after)]);
    assert!(driver.listed.is_empty(), "a partition is unfindable until it is durable");
    driver.events.clear();
    assert!(driver.begin_commit());
    driver.end_commit();
    let [deleted, opened, appended] = numbers.map(Event::Answer);
    let shown = [Event::Leadership(after, LeaderEpoch(7)), Event::List(after)];
    let batches = Event::Batches(after, Offset(1));
    assert_eq!(driver.events, [&[batches, Event::Closed(before), deleted], &shown[..], &[opened, appended]].concat());
    let check = |driver: &mut Driver| {
        assert_eq!(driver.shown(0).size_bytes, batch(300).len() as u64);
        assert_eq!(driver.on_disk(0), [batch(300).len()]);
    };
    check(&mut driver);
    assert_eq!(driver.in_memory(0), [0]);
    check(&mut driver.restart().unwrap());
}

#[test]
fn batches_of_a_deleted_partition_do_not_appear_in_its_successor() {
    for is_in_flight in [false, true] {
        let mut driver = Driver::with(2, Setting::default());
        // Frees a slot for the successor of partition 0.
        driver.delete(&[1]);
        driver.settle();
        let old = driver.append(0, &[10, 20]);
        driver.turn();
        if is_in_flight {
            assert!(driver.begin_commit());
        }
        driver.delete(&[0]);
        let opened = driver.open(&[0], 0);
        let new = driver.append(0, &[300]);
        driver.turn();
        if is_in_flight {
            driver.events.clear();
            driver.end_commit();
            assert_eq!(driver.events, [Event::Answer(old.number)], "the batches are durable, and no reader sees them");
        }
        driver.settle();
        assert!(old.answer().unwrap().iter().all(Result::is_ok));
        assert_eq!(new.answer().unwrap()[0].as_ref().unwrap().base_offset, Offset(0));
        assert_eq!(opened.answer().unwrap()[..], [Ok(driver.key(0))]);
        assert_eq!((driver.on_disk(0), driver.in_memory(0)), (vec![batch(300).len()], vec![0]));
        assert_eq!(driver.restart().unwrap().on_disk(0), [batch(300).len()]);
    }
}

#[test]
fn an_open_is_refused_if_a_failure_closes_the_partition_before_it_is_durable() {
    let mut driver = Driver::with(0, Setting::default());
    let opened = driver.open(&[0, 1], 0);
    driver.turn();
    assert!(driver.begin_commit());
    let deleted = driver.delete(&[0]);
    driver.turn();
    driver.lose_preparations();
    assert!(deleted.answer().unwrap()[0].is_err());
    // An answer with the key would name a partition without a view.
    driver.end_commit();
    let results = opened.answer().unwrap();
    assert!(matches!(results[0], Err(OpenError::Storage { .. })), "{:?}", results[0]);
    assert_eq!(results[1], Ok(driver.key(1)));
}

#[test]
fn a_partition_that_is_deleted_before_it_is_durable_is_never_listed() {
    let mut driver = Driver::with(0, Setting::default());
    let opened = driver.open(&[0], 0);
    driver.turn();
    assert!(driver.begin_commit());
    let deleted = driver.delete(&[0]);
    driver.turn();
    driver.end_commit();
    assert!(opened.answer().unwrap()[0].is_ok() && !deleted.is_answered());
    assert!(driver.listed.is_empty());
    driver.settle();
    assert_eq!(deleted.answer().unwrap()[..], [Ok(())]);
    assert!(driver.listed.is_empty() && driver.views.is_empty());
}
