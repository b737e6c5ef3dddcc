//! A log that is cut back while its batches are on their way to the disk: the same offsets stand for other bytes then.

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::{Reply, Told};
use crate::log::RejectedTruncation;
use crate::shard::TruncateError;
use crate::shard::error::AppendError;
use crate::shard::request::{Appended, TrimTo};

impl Driver {
    fn truncate(&mut self, number: i32, to: i64) -> Result<(), TruncateError> {
        let key = self.key(number);
        let result = self.shard.handle_truncate(key, Offset(to));
        self.execute();
        self.shard.check_invariants();
        result
    }

    fn durable_end(&self, number: i32) -> i64 {
        self.shown(number).frontiers.durable_end.0
    }
}

fn base(reply: &Reply<Vec<Result<Appended, AppendError>>>) -> Option<i64> {
    reply.answer().map(|results| results[0].as_ref().map_or(-1, |appended| appended.base_offset.0))
}

const REFUSED: Option<i64> = Some(-1);

#[test]
fn an_old_commit_does_not_declare_durable_what_was_appended_in_the_place_of_its_batches() {
    let mut driver = Driver::with(1, Setting::default());
    let old = driver.append(0, &[10, 10, 10]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.truncate(0, 0).unwrap();
    assert_eq!(base(&old), REFUSED);
    let new = driver.append(0, &[300]);
    driver.turn();
    driver.told.clear();
    driver.end_commit();
    assert_eq!((driver.durable_end(0), base(&new), &driver.told[..]), (0, None, &[][..]));
    assert!(driver.commit());
    assert_eq!((driver.durable_end(0), base(&new)), (1, Some(0)));
    assert_eq!((driver.in_memory(0), driver.on_disk(0).len()), (vec![0], 1));
    let size = driver.on_disk(0);
    assert!(size[0] > 300 && driver.shown(0).size_bytes == size[0] as u64);
    let mut driver = driver.restart().unwrap();
    assert_eq!(driver.on_disk(0), size);
}

#[test]
fn what_a_cut_keeps_counts_with_its_own_commit() {
    let mut driver = Driver::with(1, Setting::default());
    let kept = driver.append(0, &[10]);
    let taken = driver.append(0, &[20]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.truncate(0, 1).unwrap();
    assert_eq!((base(&kept), base(&taken)), (None, REFUSED));
    driver.end_commit();
    assert_eq!((driver.durable_end(0), base(&kept)), (1, Some(0)));
    assert_eq!(driver.in_memory(0), [0]);
}

#[test]
fn what_gathers_is_cut_as_often_as_it_is_asked_for() {
    let mut driver = Driver::with(2, Setting::default());
    let first = driver.append(0, &[10; 5]);
    let other = driver.append(1, &[10; 5]);
    driver.turn();
    driver.truncate(0, 4).unwrap();
    driver.truncate(0, 2).unwrap();
    let second = driver.append(0, &[100; 3]);
    driver.turn();
    driver.truncate(0, 4).unwrap();
    driver.truncate(0, 4).unwrap();
    let third = driver.append(0, &[200]);
    assert!(driver.commit());
    assert_eq!([base(&first), base(&second)], [REFUSED; 2], "each as a whole");
    assert_eq!((base(&third), base(&other)), (Some(4), Some(0)));
    assert_eq!((driver.durable_end(0), driver.durable_end(1)), (5, 5));
    assert_eq!(driver.in_memory(0), [0, 1, 2, 3, 4]);
    let sizes = driver.on_disk(0);
    assert_eq!(driver.shown(0).size_bytes, sizes.iter().sum::<usize>() as u64);
    assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
}

#[test]
fn a_log_that_is_cut_and_closed_answers_only_what_was_appended_since() {
    let mut driver = Driver::with(1, Setting::default());
    let key = driver.key(0);
    driver.append(0, &[10; 3]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.truncate(0, 0).unwrap();
    let (new, deleted) = (driver.append(0, &[10]), driver.delete(&[0]));
    driver.turn();
    driver.told.clear();
    driver.end_commit();
    assert_eq!(driver.told, []);
    assert!(driver.commit());
    assert_eq!(driver.told, [Told::Answer(new.number), Told::Closed(key), Told::Answer(deleted.number)]);
}

#[test]
fn a_failure_refuses_what_took_the_place_of_a_commit_that_still_ends_well() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10; 3]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.truncate(0, 0).unwrap();
    let new = driver.append(0, &[10]);
    driver.turn();
    driver.lose_preparations();
    assert_eq!(base(&new), REFUSED);
    driver.end_commit();
    assert_eq!(driver.durable_end(0), 0);
}

#[test]
fn what_is_durable_is_not_cut() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10, 10]);
    assert!(driver.commit());
    let rejected = RejectedTruncation { requested: Offset(1), high_watermark: Offset(2) };
    assert_eq!(driver.truncate(0, 1), Err(TruncateError::BelowHighWatermark(rejected)));
    assert_eq!(driver.truncate(0, 2), Ok(()));
    assert!(!driver.commit(), "there is nothing to write");
    let key = driver.key(0);
    driver.delete(&[0]);
    driver.turn();
    assert_eq!(driver.shard.handle_truncate(key, Offset(2)), Err(TruncateError::UnknownPartition));
}

#[test]
fn a_trim_counts_nothing_of_what_was_cut() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10]);
    assert!(driver.commit());
    driver.append(0, &[20]);
    driver.trim(0, TrimTo::Offset(Offset(1)));
    driver.turn();
    assert!(driver.begin_commit());
    driver.append(0, &[500]);
    driver.turn();
    driver.truncate(0, 2).unwrap();
    driver.end_commit();
    assert_eq!(driver.shown(0).frontiers.log_start, Offset(1));
    let sizes = driver.on_disk(0);
    assert_eq!(driver.shown(0).size_bytes, sizes[0] as u64);
}

#[test]
fn a_request_that_is_cut_while_the_rest_of_it_waits_for_room_is_refused_as_a_whole() {
    let mut driver = Driver::with(1, Setting { gathered_bytes_max: 4_096, ..Setting::default() });
    let cut = driver.append(0, &[1_000; 6]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.truncate(0, 0).unwrap();
    driver.turn();
    assert_eq!(base(&cut), REFUSED);
    driver.end_commit();
    let new = driver.append(0, &[1]);
    driver.settle();
    assert!(base(&new).is_some_and(|base| base > 0), "the rest of it is in the log");
    assert_eq!(driver.on_disk(0).len(), usize::try_from(driver.durable_end(0)).unwrap());
}
