//! The content of commits, and the answers after them.

use std::time::Duration;

use rustmq_model::{LeaderEpoch, Offset, Timestamp};

use super::driver::{Driver, Setting};
use super::host::Event;
use super::requests::{batch_of, begun};
use crate::log::Gaps;
use crate::shard::Fact;
use crate::shard::request::TrimTo;

const BOUND: usize = 128 << 10;
const FRAME: usize = 40 << 10;
/// A frame, its padding, and the index of a segment that ends with it.
const FRAME_MAX: usize = FRAME + (16 << 10);

/// Segments of 1 MiB.
fn roomy(gathered_bytes_max: usize) -> Setting {
    Setting { blocks: 2_048, gathered_bytes_max, ..Setting::default() }
}

#[test]
fn a_request_larger_than_the_limit_takes_several_commits() {
    let mut driver = Driver::with(1, roomy(BOUND));
    let answer = driver.append(0, &[FRAME - 1_000; 100]);
    driver.settle();
    assert!((BOUND..BOUND + FRAME_MAX).contains(&driver.largest), "{} bytes in a commit", driver.largest);
    let appended = answer.answer().unwrap().iter().map(|result| result.as_ref().unwrap().base_offset.0);
    assert_eq!(Vec::from_iter(appended), Vec::from_iter(0..100));
}

#[test]
fn checkpoints_continue_in_the_next_commit_when_one_is_full() {
    const PARTITIONS: i32 = 12;
    const PRODUCERS: i64 = 150;
    let mut driver = Driver::with(PARTITIONS, roomy(1 << 20));
    for partition in 0..PARTITIONS {
        driver.append_all(partition, (0..PRODUCERS).map(batch_of).collect());
        driver.settle();
    }
    let checkpoints: usize = driver.shard.partitions.iter().map(|partition| partition.checkpoint().len()).sum();
    assert!(checkpoints > BOUND / 4 + FRAME_MAX, "{checkpoints}");
    // After a repair every partition is checkpointed.
    driver.setting = Setting { gaps: Gaps::Repaired, ..roomy(BOUND / 4) };
    driver = driver.restart().unwrap();
    driver.settle();
    assert!((BOUND / 4..BOUND / 4 + FRAME_MAX).contains(&driver.largest), "{} bytes in a commit", driver.largest);
    assert!(driver.forgets_repair);
    driver.shard.on_repair_forgotten(Ok(()));
    // At the head of a new segment the changed partitions are.
    let mut answers: Vec<_> = (0..PARTITIONS).map(|partition| driver.append(partition, &[1])).collect();
    driver.settle();
    driver.largest = 0;
    answers.push(driver.append(0, &[FRAME - 1_000; 30]));
    let segments = driver.shard.table().segment_count();
    driver.settle();
    assert!(driver.shard.table().segment_count() > segments);
    assert!(driver.largest < BOUND / 4 + FRAME_MAX, "{} bytes in a commit", driver.largest);
    assert!(answers.iter().all(|answer| answer.answer().unwrap().iter().all(Result::is_ok)));
    assert!(matches!(driver.facts[..], [Fact::RepairForgotten]), "{:?}", driver.facts);
}

#[test]
fn an_epoch_is_published_by_its_own_commit_and_not_by_the_one_before() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[1]);
    driver.turn();
    assert!(driver.begin_commit());
    // The commit before is still in flight.
    let leading = driver.open(&[0], 5);
    driver.turn();
    driver.end_commit();
    let shown = |driver: &Driver| (driver.shown(0).frontiers.high_watermark, driver.shown(0).leadership.clone());
    let (high_watermark, leadership) = shown(&driver);
    assert_eq!((high_watermark, leadership.epoch), (Offset(1), LeaderEpoch(0)));
    assert_eq!(leadership.history[..], [begun(0, 0)]);
    assert!(!leading.is_answered());
    assert!(driver.commit());
    let (high_watermark, leadership) = shown(&driver);
    assert_eq!((high_watermark, leadership.epoch), (Offset(1), LeaderEpoch(5)));
    assert_eq!(leadership.history[..], [begun(0, 0), begun(5, 1)]);
    assert_eq!(leading.answer().unwrap()[..], [Ok(driver.key(0))]);
}

#[test]
fn publications_come_before_the_answers_that_refer_to_them() {
    let mut driver = Driver::with(2, Setting::default());
    let (first, second) = (driver.key(0), driver.key(1));
    let events_of_commit = |driver: &mut Driver| {
        driver.turn();
        driver.events.clear();
        assert!(driver.begin_commit());
        driver.end_commit();
        std::mem::take(&mut driver.events)
    };
    let (one, two) = (driver.append(1, &[1]).number, driver.append(0, &[1, 1]).number);
    let batches = [Event::Batches(first, Offset(2)), Event::Batches(second, Offset(1))];
    assert_eq!(events_of_commit(&mut driver), [&batches[..], &[Event::Answer(one), Event::Answer(two)]].concat());
    let leading = driver.open(&[0], 5).number;
    assert_eq!(
        events_of_commit(&mut driver),
        [Event::Leadership(first, LeaderEpoch(5)), Event::List(first), Event::Answer(leading)]
    );
    let trimmed = driver.trim(0, TrimTo::Offset(Offset(1))).number;
    assert_eq!(events_of_commit(&mut driver), [Event::LogStart(first, Offset(1)), Event::Answer(trimmed)]);
    let deleted = driver.delete(&[0]).number;
    assert_eq!(events_of_commit(&mut driver), [Event::Closed(first), Event::Answer(deleted)]);
}

#[test]
fn a_repeated_batch_is_answered_when_its_original_is_durable() {
    let mut driver = Driver::with(1, Setting::default());
    let first = driver.append_all(0, vec![batch_of(7)]);
    driver.turn();
    assert!(driver.begin_commit());
    let again = driver.append_all(0, vec![batch_of(7)]);
    driver.turn();
    assert!(!again.is_answered());
    driver.end_commit();
    assert_eq!(first.answer().unwrap()[0].as_ref().unwrap().duplicate_of, None);
    let duplicate = again.answer().unwrap()[0].as_ref().unwrap();
    assert_eq!((duplicate.base_offset, duplicate.duplicate_of), (Offset(0), Some(Timestamp(1_000))));
    let later = driver.append_all(0, vec![batch_of(7)]);
    driver.turn();
    assert_eq!(later.answer(), again.answer(), "there is nothing to wait for");
    assert!(!driver.begin_commit());
}

#[test]
fn the_last_group_is_proved_by_the_clock_once() {
    let mut driver = Driver::with(1, Setting { proof_after: Duration::from_secs(3_600), ..Setting::default() });
    driver.turn_in(Duration::from_secs(60));
    driver.append(0, &[1]);
    assert!(driver.commit());
    assert_eq!(driver.shard.poll_timeout(), driver.now.at.plus(Duration::from_secs(3_600)));
    driver.turn_in(Duration::from_secs(3_599));
    assert!(!driver.begin_commit(), "the proof is not due yet");
    driver.turn_in(Duration::from_secs(1));
    assert!(driver.begin_commit());
    assert!(!driver.in_flight[0].holds_frames);
    driver.end_commit();
    driver.turn_in(Duration::from_secs(7_200));
    assert!(!driver.begin_commit(), "one proof is enough");
    driver.damage_last_group();
    assert!(driver.restart().is_err(), "acknowledged records are lost");
}
