//! A log that is cut back while its batches are on their way to the disk: the same offsets stand for other bytes then.

use rustmq_model::{LeaderEpoch, Offset};

use super::driver::{Driver, Setting};
use super::host::{Reply, Told};
use super::requests::{batch_with, begun};
use crate::log::{AppendFrontier, RejectedTruncation};
use crate::shard::TruncateError;
use crate::shard::error::AppendError;
use crate::shard::request::{Appended, TrimTo};

impl Driver {
    fn truncate(&mut self, number: i32, to: i64) -> Result<Option<Offset>, TruncateError> {
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
    reply.answer().map(|results| match &results[0] {
        Ok(appended) => appended.base_offset.0,
        Err(AppendError::CutOff) => -1,
        Err(_) => -2,
    })
}

const CUT_OFF: Option<i64> = Some(-1);
const REFUSED: Option<i64> = Some(-2);

#[test]
fn an_old_commit_does_not_declare_durable_what_was_appended_in_the_place_of_its_batches() {
    let mut driver = Driver::with(1, Setting::default());
    let old = driver.append(0, &[10, 10, 10]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.truncate(0, 0).unwrap();
    assert_eq!(base(&old), CUT_OFF);
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
    for until in AppendFrontier::ALL {
        let mut driver = Driver::with(1, Setting { until, ..Setting::default() });
        let kept = driver.append(0, &[10]);
        let taken = driver.append(0, &[20]);
        driver.turn();
        assert!(driver.begin_commit());
        driver.truncate(0, 1).unwrap();
        assert_eq!((base(&kept), base(&taken)), (None, CUT_OFF));
        driver.end_commit();
        assert_eq!((driver.durable_end(0), base(&kept)), (1, Some(0)));
        assert_eq!(driver.in_memory(0), [0]);
    }
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
    assert_eq!([base(&first), base(&second)], [CUT_OFF; 2], "each as a whole");
    assert_eq!((base(&third), base(&other)), (Some(4), Some(0)));
    assert_eq!((driver.durable_end(0), driver.durable_end(1)), (5, 5));
    assert_eq!(driver.in_memory(0), [0, 1, 2, 3, 4]);
    let sizes = driver.on_disk(0);
    assert_eq!(driver.shown(0).size_bytes, sizes.iter().sum::<usize>() as u64);
    assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
}

#[test]
fn a_log_that_is_cut_and_closed_answers_only_what_was_appended_since() {
    for until in AppendFrontier::ALL {
        let mut driver = Driver::with(1, Setting { until, ..Setting::default() });
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
    assert_eq!(driver.truncate(0, 2), Ok(None));
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
    assert_eq!(base(&cut), CUT_OFF);
    driver.end_commit();
    let new = driver.append(0, &[1]);
    driver.settle();
    assert!(base(&new).is_some_and(|base| base > 0), "the rest of it is in the log");
    assert_eq!(driver.on_disk(0).len(), usize::try_from(driver.durable_end(0)).unwrap());
}

/// Where the batches are that a cut finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    OpenGroup,
    /// Which the same commit is to take.
    GroupBefore,
    InFlight,
}

#[test]
fn a_cut_inside_a_batch_takes_all_of_it() {
    for place in [Place::OpenGroup, Place::GroupBefore, Place::InFlight] {
        let mut driver = Driver::with(2, Setting::default());
        driver.append(0, &[10]);
        assert!(driver.commit());
        let kept = driver.append_all(0, vec![batch_with(2)]);
        let torn = driver.append_all(0, vec![batch_with(3)]);
        let above = driver.append(0, &[10]);
        if place == Place::GroupBefore {
            driver.append(1, &[driver.setting.piece / 2; 2]);
        }
        driver.turn();
        if place == Place::InFlight {
            assert!(driver.begin_commit());
        }
        assert_eq!(driver.truncate(0, 5), Ok(Some(Offset(3))));
        assert_eq!([base(&torn), base(&above)], [CUT_OFF; 2]);
        let new = driver.append_all(0, vec![batch_with(4)]);
        if place == Place::InFlight {
            driver.turn();
            driver.end_commit();
        }
        driver.settle();
        assert_eq!((base(&kept), base(&new), driver.durable_end(0)), (Some(1), Some(3), 7));
        assert_eq!(driver.in_memory(0), [0, 1, 3], "{place:?}");
        let sizes = driver.on_disk(0);
        assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
    }
}

#[test]
fn a_leadership_that_was_staged_before_a_cut_is_shown_as_the_log_has_it_after_it() {
    let mut driver = Driver::with(2, Setting::default());
    driver.append(0, &[10, 10]);
    assert!(driver.commit());
    driver.append(0, &[10, 10]);
    driver.open(&[0], 3);
    driver.append(0, &[10]);
    driver.open(&[0], 4);
    driver.append(1, &[10; 5]);
    driver.open(&[1], 4);
    driver.turn();
    assert!(driver.begin_commit());
    assert_eq!(driver.truncate(0, 3), Ok(Some(Offset(3))));
    driver.told.clear();
    driver.end_commit();
    let key = driver.key(0);
    let led = [3, 4].map(|epoch| Told::Leadership(key, LeaderEpoch(epoch)));
    assert!(led.iter().all(|led| driver.told.contains(led)), "{:?}", driver.told);
    let expected = [begun(0, 0)];
    assert_eq!(driver.shown(0).leadership.history[..], expected);
    assert_eq!(driver.shard.partitions.at(key).unwrap().leadership(), driver.shown(0).leadership);
    let other = [begun(0, 0), begun(4, 5)];
    assert_eq!(driver.shown(1).leadership.history[..], other, "nothing of it was cut");
    driver.settle();
    assert_eq!(driver.restart().unwrap().shown(0).leadership.history[..], expected);
}
