//! Logs that are dropped and start empty elsewhere: batches in flight then belong to another
//! version.

use rustmq_model::{LeaderEpoch, Offset};

use super::driver::{Driver, Setting};
use super::host::{Event, Reply};
use super::requests::{batch_of, begun};
use crate::log::{AppendFrontier, Frontiers, Replicas};
use crate::shard::Fact;
use crate::shard::error::{AppendError, CutError};
use crate::shard::request::{Appended, CutTo, TrimTo};

impl Driver {
    fn reset(&mut self, at: i64) -> Reply<Result<Offset, CutError>> {
        self.cut_in(0, 2, CutTo::EmptyAt(Offset(at)))
    }
}

fn base(reply: &Reply<Vec<Result<Appended, AppendError>>>) -> Option<Result<i64, &AppendError>> {
    reply.answer().map(|results| results[0].as_ref().map(|appended| appended.base_offset.0))
}

#[test]
fn a_reset_log_starts_empty_without_history_even_after_a_restart() {
    for at in [0, 3, 70] {
        let mut driver = Driver::with(1, Setting::default());
        let key = driver.key(0);
        driver.append_all(0, vec![batch_of(1)]);
        driver.append(0, &[10, 10]);
        driver.settle();
        let reset = driver.reset(at);
        driver.turn();
        driver.events.clear();
        assert!(driver.begin_commit());
        assert_eq!(driver.killed_now().unwrap().on_disk(0).len(), 3);
        driver.end_commit();
        assert_eq!(driver.events, [Event::Cut(key, Offset(at)), Event::Answer(reset.number)]);
        let check = |driver: &mut Driver, epoch: i32| {
            let shown = driver.shown(0);
            assert_eq!((shown.frontiers, shown.size_bytes), (Frontiers::at(Offset(at)), 0));
            assert_eq!((shown.leadership.epoch.0, &shown.leadership.history[..]), (epoch, &[][..]));
            assert_eq!(driver.in_memory(0), [0; 0]);
        };
        check(&mut driver, 2);
        check(&mut driver.killed_now().unwrap(), LeaderEpoch::NONE.0);
        let new = driver.append_all(0, vec![batch_of(1)]);
        driver.settle();
        assert_eq!(base(&new), Some(Ok(at)), "its producers are gone as well");
        assert_eq!(driver.restart().unwrap().shown(0).leadership.history[..], [begun(2, at)]);
    }
}

#[test]
fn a_reset_to_an_invalid_start_is_refused() {
    for at in [-1, i64::MIN, i64::MAX] {
        let mut driver = Driver::with(1, Setting::default());
        driver.append(0, &[10]);
        driver.settle();
        let reset = driver.reset(at);
        driver.settle();
        assert_eq!(reset.answer(), Some(&Err(CutError::InvalidStart { at: Offset(at) })));
        assert_eq!(driver.in_memory(0), [0], "the log is unchanged");
    }
}

#[test]
fn an_old_commit_does_not_make_batches_durable_that_were_appended_after_a_reset() {
    let setting = Setting { slow_commit: std::time::Duration::ZERO, ..Setting::default() };
    for until in AppendFrontier::ALL {
        let mut driver = Driver::with(1, Setting { until, ..setting });
        let old = driver.append(0, &[10, 10, 10]);
        driver.turn();
        assert!(driver.begin_commit());
        let reset = driver.reset(1);
        assert_eq!(base(&old), Some(Err(&AppendError::CutOff)));
        driver.turn();
        let refused = driver.append(0, &[10]);
        driver.turn();
        assert_eq!(base(&refused), Some(Err(&AppendError::CutOff)), "the reset is not durable");
        assert!(driver.begin_commit());
        driver.end_commit();
        assert_eq!((driver.shown(0).frontiers.durable_end, reset.is_answered()), (Offset(0), false));
        driver.end_commit();
        assert!(reset.is_answered());
        let new = driver.append(0, &[300]);
        driver.settle();
        assert_eq!((base(&new), driver.in_memory(0)), (Some(Ok(1)), vec![1]));
        let sizes = driver.on_disk(0);
        assert!(sizes.len() == 1 && sizes[0] > 300);
        assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
    }
}

#[test]
fn a_trim_staged_before_a_reset_is_dropped() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10; 6]);
    driver.settle();
    driver.trim(0, TrimTo::Offset(Offset(5)));
    driver.turn();
    driver.reset(2);
    driver.turn();
    driver.settle();
    assert_eq!(driver.shown(0).frontiers, Frontiers::at(Offset(2)));
    assert!(driver.facts.iter().any(|fact| matches!(fact, Fact::StaleChange { .. })));
    driver.append(0, &[10; 2]);
    driver.settle();
    assert_eq!(driver.on_disk(0).len(), 2);
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 2);
}

#[test]
fn a_reset_supersedes_a_truncation_that_is_under_way() {
    let mut driver = Driver::with(1, Setting { replicas: Replicas::Several, ..Setting::default() });
    driver.append(0, &[10; 6]);
    driver.settle();
    let cut = driver.cut_in(0, 2, CutTo::End(Offset(4)));
    driver.turn();
    assert_eq!(driver.rebuilds.len(), 1);
    let reset = driver.reset(9);
    assert_eq!(cut.answer(), Some(&Err(CutError::Superseded)));
    let again = driver.reset(9);
    assert_eq!(again.answer(), Some(&Err(CutError::UnderWay)));
    driver.settle();
    assert_eq!((reset.answer(), driver.shown(0).frontiers), (Some(&Ok(Offset(9))), Frontiers::at(Offset(9))));
}

#[test]
fn a_request_that_is_cut_while_it_waits_for_room_is_refused_as_a_whole() {
    let mut driver = Driver::with(1, Setting { gathered_bytes_max: 4_096, ..Setting::default() });
    let cut = driver.append(0, &[1_000; 6]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.reset(0);
    driver.turn();
    assert_eq!(base(&cut), Some(Err(&AppendError::CutOff)));
    driver.end_commit();
    driver.settle();
    let new = driver.append(0, &[1]);
    driver.settle();
    assert_eq!((base(&new), driver.on_disk(0).len()), (Some(Ok(0)), 1));
}

#[test]
fn a_failure_refuses_a_reset() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10; 3]);
    driver.settle();
    let staged = driver.reset(1);
    driver.turn();
    assert!(driver.begin_commit());
    driver.fail_commit();
    assert!(matches!(staged.answer(), Some(Err(CutError::Storage { .. }))));
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 3);
}
