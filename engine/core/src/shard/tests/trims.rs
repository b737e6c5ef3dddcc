//! Log starts that rise, and producers that expire: by request and by the clock.

use std::time::Duration;

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::Event;
use super::requests::{batch, batch_of, id, transactional_batch_of};
use crate::shard::error::TrimError;
use crate::shard::request::{LogConfig, TrimTo};

const SIZE: usize = 10;

/// Partition 0 with five batches, each in a commit of its own.
fn driver(config: LogConfig) -> Driver {
    driver_in(Setting::default(), config)
}

fn driver_in(setting: Setting, config: LogConfig) -> Driver {
    let mut driver = Driver::new(setting);
    driver.open_with(&[0], 0, config);
    for _ in 0..5 {
        driver.append(0, &[SIZE]);
        driver.settle();
    }
    assert_eq!(driver.shown(0).size_bytes, 5 * batch(SIZE).len() as u64);
    driver
}

/// Checks the remaining log after a durable trim, and after a restart.
fn check_left(mut driver: Driver, first: i64) {
    let left = usize::try_from(5 - first).unwrap();
    let shown = driver.shown(0);
    assert_eq!((shown.frontiers.log_start, shown.frontiers.durable_end), (Offset(first), Offset(5)));
    assert_eq!(shown.size_bytes, (left * batch(SIZE).len()) as u64);
    assert_eq!(driver.in_memory(0), Vec::from_iter(first..5));
    let mut driver = driver.restart().unwrap();
    let shown = driver.shown(0);
    assert_eq!((shown.frontiers.log_start, shown.frontiers.durable_end), (Offset(first), Offset(5)));
    assert_eq!(shown.size_bytes, (left * batch(SIZE).len()) as u64);
    assert_eq!(driver.on_disk(0).len(), left);
}

#[test]
fn a_trim_by_request_takes_effect_when_it_is_durable() {
    let mut driver = driver(LogConfig::unlimited());
    let above = driver.trim(0, TrimTo::Offset(Offset(6)));
    let trimmed = driver.trim(0, TrimTo::Offset(Offset(3)));
    driver.turn();
    let (requested, high_watermark) = (Offset(6), Offset(5));
    assert_eq!(above.answer(), Some(&Err(TrimError::AboveHighWatermark { requested, high_watermark })));
    assert!(driver.begin_commit());
    assert_eq!(driver.shown(0).frontiers.log_start, Offset(0));
    // Batches that gather meanwhile do not count yet.
    driver.append(0, &[SIZE]);
    driver.turn();
    driver.end_commit();
    assert_eq!(trimmed.answer(), Some(&Ok(Offset(3))));
    assert_eq!(driver.shown(0).size_bytes, 2 * batch(SIZE).len() as u64);
    driver.settle();
    assert_eq!(driver.shown(0).size_bytes, 3 * batch(SIZE).len() as u64);
    let mut driver = driver.restart().unwrap();
    assert_eq!((driver.shown(0).frontiers.log_start, driver.on_disk(0).len()), (Offset(3), 3));
}

#[test]
fn a_trim_does_not_count_batches_of_a_younger_commit_in_flight() {
    for is_younger_first in [false, true] {
        let mut driver =
            driver_in(Setting { slow_commit: Duration::ZERO, ..Setting::default() }, LogConfig::unlimited());
        driver.trim(0, TrimTo::Offset(Offset(3)));
        driver.turn();
        assert!(driver.begin_commit());
        driver.append(0, &[SIZE]);
        driver.turn();
        assert!(driver.begin_commit());
        if is_younger_first {
            driver.end_younger_commit();
        }
        driver.end_commit();
        if !is_younger_first {
            assert_eq!(driver.shown(0).size_bytes, 2 * batch(SIZE).len() as u64);
            driver.end_commit();
        }
        assert_eq!(driver.shown(0).size_bytes, 3 * batch(SIZE).len() as u64);
    }
}

#[test]
fn a_trim_at_or_below_a_staged_one_changes_nothing() {
    let retention_bytes = Some(2 * batch(SIZE).len() as u64);
    let mut driver = driver(LogConfig { retention_bytes, ..LogConfig::unlimited() });
    let key = driver.key(0);
    let trimmed = driver.trim(0, TrimTo::Offset(Offset(3)));
    driver.turn();
    // Retention alone would trim as far.
    driver.turn_in(driver.setting.retention_interval);
    driver.events.clear();
    assert!(driver.begin_commit());
    driver.end_commit();
    assert_eq!(driver.events, [Event::LogStart(key, Offset(3)), Event::Answer(trimmed.number)]);
    let trims = [4, 4, 2].map(|to| driver.trim(0, TrimTo::Offset(Offset(to))));
    driver.turn();
    assert!(trims.iter().all(|trim| !trim.is_answered()), "they wait for the first one to be durable");
    assert!(driver.commit());
    assert!(trims.iter().all(|trim| trim.answer() == Some(&Ok(Offset(4)))));
    check_left(driver, 4);
}

#[test]
fn records_expire_by_size_and_by_age() {
    let check = |config, first| {
        let mut driver = driver(config);
        driver.turn_in(driver.setting.retention_interval - Duration::from_millis(1));
        driver.settle();
        assert_eq!(driver.shown(0).frontiers.log_start, Offset(0), "retention is not due yet");
        driver.turn_in(Duration::from_millis(1));
        driver.settle();
        check_left(driver, first);
    };
    let bytes = |count: usize| Some((count * batch(SIZE).len()) as u64);
    check(LogConfig { retention_bytes: bytes(2), ..LogConfig::unlimited() }, 3);
    check(LogConfig { retention_time: Some(Duration::from_secs(60)), ..LogConfig::unlimited() }, 5);
    check(LogConfig::unlimited(), 0);
}

#[test]
fn retention_checks_a_bounded_number_of_partitions_at_a_time_and_continues_soon() {
    const PARTITIONS: i32 = 130;
    let mut driver = Driver::new(Setting { blocks: 256, ..Setting::default() });
    let config = LogConfig { retention_time: Some(Duration::from_secs(60)), ..LogConfig::unlimited() };
    driver.open_with(&Vec::from_iter(0..PARTITIONS), 0, config);
    for partition in 0..PARTITIONS {
        driver.append(partition, &[SIZE]);
    }
    driver.settle();
    let keys: Vec<_> = (0..PARTITIONS).map(|partition| driver.key(partition)).collect();
    let mut trimmed_in = |time| {
        driver.events.clear();
        driver.turn_in(time);
        assert!(driver.begin_commit());
        driver.end_commit();
        let trimmed = driver.events.iter().filter_map(|event| match event {
            Event::LogStart(key, Offset(1)) => Some(*key),
            _ => None,
        });
        (Vec::from_iter(trimmed), driver.shard.poll_timeout().since(driver.now.at))
    };
    let interval = Setting::default().retention_interval;
    assert_eq!(trimmed_in(interval), (keys[..128].to_vec(), Duration::from_millis(1)));
    let (trimmed, due_in) = trimmed_in(Duration::from_millis(1));
    assert_eq!(trimmed, keys[128..]);
    assert!(due_in > Duration::from_secs(60), "{due_in:?}");
}

#[test]
fn an_expired_producer_stays_expired_after_a_restart() {
    let sent_again = |producer_expiry| {
        let mut driver = driver(LogConfig { producer_expiry, ..LogConfig::unlimited() });
        driver.append_all(0, vec![batch_of(7)]);
        driver.settle();
        driver.turn_in(driver.setting.retention_interval);
        driver.settle();
        let mut driver = driver.restart().unwrap();
        let again = driver.append_all(0, vec![batch_of(7)]);
        driver.settle();
        again.answer().unwrap()[0].as_ref().unwrap().base_offset
    };
    assert_eq!(sent_again(Duration::MAX), Offset(5), "the offset of the original");
    assert_eq!(sent_again(Duration::from_secs(60)), Offset(6));
}

#[test]
fn a_trim_publishes_the_last_stable_offset_that_it_moves_once_it_is_durable() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append_all(0, vec![transactional_batch_of(7)]);
    driver.append(0, &[SIZE; 3]);
    assert!(driver.commit());
    driver.append(0, &[SIZE]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.trim(0, TrimTo::Offset(Offset(2)));
    driver.turn();
    driver.end_commit();
    let shown = driver.shown(0).frontiers;
    assert_eq!((shown.last_stable, shown.high_watermark), (Offset(0), Offset(5)), "the trim is only staged");
    assert!(driver.commit());
    let shown = driver.shown(0).frontiers;
    assert_eq!((shown.log_start, shown.last_stable), (Offset(2), Offset(2)));
}

#[test]
fn a_producer_with_an_open_transaction_does_not_expire() {
    let config = LogConfig { producer_expiry: Duration::from_secs(1), ..LogConfig::unlimited() };
    let mut driver = Driver::new(Setting::default());
    driver.open_with(&[0], 0, config);
    driver.append_all(0, vec![transactional_batch_of(7), batch_of(8)]);
    driver.settle();
    driver.turn_in(2 * Setting::default().retention_interval);
    driver.settle();
    let log = &driver.shard.partitions.find(id(0)).unwrap().log;
    let known: Vec<_> = log.producers().iter().map(|(id, _)| id.0).collect();
    assert_eq!((known, log.frontiers().last_stable), (vec![7], Offset(0)));
}
