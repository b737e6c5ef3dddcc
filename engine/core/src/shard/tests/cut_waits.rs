//! Cuts that meet another leader, a failure, the shard's end, a lack of room, a trim, or readers.

use std::time::Duration;

use rustmq_model::{LeaderEpoch, Offset};

use super::driver::{Driver, Preparing, Setting};
use super::host::{Event, Reply};
use super::requests::{Answers, begun};
use crate::log::{AppendFrontier, Replicas};
use crate::shard::error::{AppendError, CutError};
use crate::shard::request::{Appended, CutTo, TrimTo};

type Cut = Reply<Result<Offset, CutError>>;

fn setting() -> Setting {
    Setting { replicas: Replicas::Several, ..Setting::default() }
}

/// A shard with `count` batches of one record in each partition, acknowledged up to `acknowledged`.
fn filled(setting: Setting, partitions: i32, count: usize, acknowledged: i64) -> Driver {
    let mut driver = Driver::with(partitions, setting);
    for number in 0..partitions {
        for _ in 0..count {
            driver.append(number, &[10]);
            driver.settle();
        }
        driver.acknowledge(number, acknowledged);
    }
    driver
}

const fn end(at: i64) -> CutTo {
    CutTo::End(Offset(at))
}

fn ended(cut: &Cut) -> Option<Result<i64, &CutError>> {
    cut.answer().map(|result| result.as_ref().map(|end| end.0))
}

fn is_stored(reply: &Answers<Appended, AppendError>) -> bool {
    reply.answer().is_some_and(|results| results[0].is_ok())
}

fn is_lost(reply: &Answers<Appended, AppendError>) -> bool {
    reply.answer().is_some_and(|results| matches!(results[0], Err(AppendError::Storage { .. })))
}

// Another leader.

#[test]
fn the_epoch_of_another_leader_is_published_even_if_its_cut_is_refused() {
    let mut driver = filled(setting(), 1, 4, 2);
    let key = driver.key(0);
    for (epoch, to) in [(3, end(9)), (4, end(0)), (5, CutTo::EmptyAt(Offset(-1))), (6, end(3)), (7, end(2))] {
        driver.events.clear();
        driver.cut_in(0, epoch, to);
        assert_eq!(driver.events.first(), Some(&Event::Leadership(key, LeaderEpoch(epoch))));
        let shown = &driver.shown(0).leadership;
        assert_eq!((shown.epoch.0, &shown.history[..]), (epoch, &[begun(0, 0)][..]));
    }
    driver.events.clear();
    driver.cut_in(0, 7, end(3));
    assert!(!driver.events.contains(&Event::Leadership(key, LeaderEpoch(7))), "the epoch is not new");
}

#[test]
fn a_leadership_that_becomes_durable_late_does_not_lower_the_epoch_of_another_leader() {
    let mut driver = filled(setting(), 1, 2, 2);
    driver.open(&[0], 2);
    driver.turn();
    assert!(driver.begin_commit());
    driver.cut_in(0, 3, end(9));
    driver.end_commit();
    let shown = &driver.shown(0).leadership;
    assert_eq!((shown.epoch.0, &shown.history[..]), (3, &[begun(0, 0), begun(2, 2)][..]));
}

#[test]
fn a_later_leader_supersedes_the_cut_of_an_earlier_one() {
    let left = |turns: usize, to: CutTo| {
        let mut driver = filled(setting(), 1, 6, 2);
        let earlier = driver.cut_in(0, 3, end(3));
        (0..turns).for_each(|_| driver.turn());
        let later = driver.cut_in(0, 4, to);
        driver.settle();
        let durable_end = driver.shown(0).frontiers.durable_end.0;
        let uncut = driver.append(0, &[10]);
        driver.settle();
        assert!(is_stored(&uncut), "no cut of the log is under way any more");
        (ended(&earlier).and_then(Result::ok), ended(&later).and_then(Result::ok), durable_end)
    };
    for turns in [0, 1] {
        assert_eq!(left(turns, end(5)), (None, Some(5), 5));
        assert_eq!(left(turns, end(9)), (None, Some(6), 6), "the later leader has the whole log");
        assert_eq!(left(turns, end(1)), (None, None, 6), "only a reset can follow");
        assert_eq!(left(turns, CutTo::EmptyAt(Offset(8))), (None, Some(8), 8));
    }
    // The cut is staged: the later leader must ask again.
    assert_eq!(left(2, end(5)), (Some(3), None, 3));
}

#[test]
fn a_leadership_in_the_epoch_of_a_cut_supersedes_it() {
    let mut driver = filled(setting(), 1, 4, 2);
    let cut = driver.cut_in(0, 3, end(3));
    driver.open(&[0], 3);
    driver.settle();
    assert_eq!(ended(&cut), Some(Err(&CutError::Superseded)));
    let shown = driver.shown(0);
    assert_eq!(
        (shown.frontiers.durable_end, &shown.leadership.history[..]),
        (Offset(4), &[begun(0, 0), begun(3, 4)][..])
    );
}

// A failure, and the shard's end.

#[test]
fn after_a_failure_the_watermark_of_an_uncut_log_moves_again() {
    let mut driver = Driver::with(1, Setting { until: AppendFrontier::HighWatermark, ..setting() });
    let (kept, above) = (driver.append(0, &[10]), driver.append(0, &[10]));
    driver.turn();
    assert!(driver.begin_commit());
    driver.acknowledge(0, 1);
    let cut = driver.cut(0, end(1));
    driver.lose_preparations();
    assert!(matches!(ended(&cut), Some(Err(CutError::Storage { .. }))) && !kept.is_answered() && above.is_answered());
    driver.end_commit();
    assert!(is_stored(&kept), "its commit succeeded");
    driver.close();
    driver.settle();
    driver.finish();
}

#[test]
fn a_failure_refuses_appends_to_a_log_whose_staged_cut_is_lost() {
    let mut driver = Driver::with(1, Setting { until: AppendFrontier::HighWatermark, ..setting() });
    let (kept, above) = (driver.append(0, &[10]), driver.append(0, &[10]));
    driver.settle();
    let cut = driver.cut(0, end(1));
    driver.turn();
    driver.turn();
    assert!(driver.rebuilds.is_empty() && !cut.is_answered() && !kept.is_answered() && above.is_answered());
    driver.lose_preparations();
    assert!(matches!(ended(&cut), Some(Err(CutError::Storage { .. }))) && is_lost(&kept));
    assert_eq!(driver.shown(0).frontiers.durable_end, Offset(2), "readers see the same log as a restart");
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 2);
}

#[test]
fn a_shard_ends_only_after_the_read_of_a_superseded_cut() {
    let mut driver = filled(setting(), 1, 4, 2);
    let cut = driver.cut_in(0, 3, end(3));
    driver.turn();
    let (number, rebuild) = driver.rebuilds.pop().unwrap();
    driver.open(&[0], 4);
    driver.close();
    driver.settle();
    assert!(cut.is_answered() && !driver.shard.is_finished());
    driver.end_rebuild(number, rebuild);
    driver.settle();
    driver.finish();
}

// Room.

/// No slot is reserved, and the newest segment is full except for frames that free space.
fn without_room() -> Driver {
    let mut driver = filled(setting(), 3, 4, 1);
    driver.setting.preparing = Preparing::ByTest;
    let mut driver = driver.restart().unwrap();
    driver.settle();
    (0..2).for_each(|number| driver.acknowledge(number, 1));
    for _ in 0..200 {
        let filling = driver.append(2, &[10]);
        driver.settle();
        if !filling.is_answered() {
            return driver;
        }
    }
    panic!("a segment has an end");
}

#[test]
fn cuts_wait_for_a_segment_one_after_the_other() {
    for is_closing in [false, true] {
        let mut driver = without_room();
        let cuts = [driver.cut(0, end(3)), driver.cut(1, end(2))];
        driver.turn();
        assert_eq!(driver.rebuilds.len(), 1);
        for _ in 0..2 {
            driver.turn();
            assert!(driver.rebuilds.is_empty(), "a rebuilt log waits in memory, so there is only one");
        }
        let trim = driver.trim(0, TrimTo::Offset(Offset(1)));
        if is_closing {
            driver.close();
        }
        driver.turn();
        assert!(cuts.iter().all(|cut| !cut.is_answered()) && !trim.is_answered());
        driver.setting.preparing = Preparing::Soon;
        for _ in 0..10 {
            driver.turn_in(Duration::from_millis(20));
            driver.settle();
        }
        assert_eq!((ended(&cuts[0]), ended(&cuts[1]), trim.is_answered()), (Some(Ok(3)), Some(Ok(2)), true));
        assert_eq!((driver.on_disk(0).len(), driver.on_disk(1).len()), (2, 2));
        assert_eq!(driver.shard.is_finished(), is_closing);
    }
}

#[test]
fn a_cut_that_finds_no_memory_continues_later_without_another_read() {
    let mut refused = 0;
    for after in 0..3 {
        let mut driver = filled(Setting { piece: 512, ..setting() }, 1, 4, 2);
        let cut = driver.cut(0, end(3));
        driver.turn();
        assert_eq!(driver.rebuilds.len(), 1);
        let memory = driver.shard.memory_mut();
        memory.fails_after = Some(memory.taken() + after);
        driver.turn();
        if driver.shard.memory_mut().fails_after.is_none() && driver.shard.poisoned().is_none() {
            refused += 1;
            let due = driver.shard.poll_timeout();
            assert!(due <= driver.now.at.plus(Duration::from_millis(20)), "no event would wake the shard");
            driver.turn_in(Duration::from_millis(20));
        }
        driver.settle();
        assert_eq!((ended(&cut), driver.rebuild_reads.len()), (Some(Ok(3)), 1));
    }
    assert!(refused > 0);
}

// Trims, and readers.

#[test]
fn a_trim_that_is_durable_before_a_staged_cut_does_not_publish_the_cut() {
    let mut driver = filled(Setting { slow_commit: Duration::ZERO, ..setting() }, 1, 6, 4);
    let one = driver.shown(0).size_bytes / 6;
    let cut = driver.cut_in(0, 3, end(4));
    driver.turn();
    let (number, rebuild) = driver.rebuilds.pop().unwrap();
    let trim = driver.trim(0, TrimTo::Offset(Offset(2)));
    driver.turn();
    assert!(driver.begin_commit());
    driver.end_rebuild(number, rebuild);
    driver.turn();
    assert!(driver.begin_commit(), "the cut");
    driver.end_commit();
    assert!(trim.is_answered() && !cut.is_answered());
    let shown = driver.shown(0);
    let frontiers = shown.frontiers;
    assert_eq!((frontiers.log_start.0, frontiers.durable_end.0, shown.size_bytes), (2, 6, 4 * one));
    driver.end_commit();
    let shown = driver.shown(0);
    let frontiers = shown.frontiers;
    assert_eq!((frontiers.log_start.0, frontiers.durable_end.0, shown.size_bytes), (2, 4, 2 * one));
    assert_eq!(driver.on_disk(0).len(), 2);
}

#[test]
fn a_reader_finds_the_old_log_until_a_reset_is_durable_and_no_uncommitted_batch_of_the_new_one() {
    let mut driver = filled(setting(), 1, 6, 5);
    let (from, until) = (Offset(3), driver.shown(0).frontiers.high_watermark);
    let old = driver.map_of_all(0);
    let (read, before) = driver.plan_by(&old, 0, from, until).unwrap();
    let sizes = |driver: &Driver, read, plan: &crate::shard::ReadPlan| {
        driver.slots.read(read, &plan.location).unwrap().iter().map(bytes::Bytes::len).collect::<Vec<_>>()
    };
    let expected = sizes(&driver, &read, &before);
    assert_eq!(expected.len(), 2);
    driver.cut_in(0, 3, CutTo::EmptyAt(Offset(2)));
    driver.turn();
    assert!(driver.begin_commit());
    let map = driver.map_of_all(0);
    let (read, plan) = driver.plan_by(&map, 0, from, until).unwrap();
    assert_eq!((sizes(&driver, &read, &plan), driver.shown(0).frontiers.high_watermark), (expected.clone(), until));
    driver.end_commit();
    assert!(driver.map_of_all(0).ends_before(Offset(0)), "a new reader finds no batch on disk");
    for _ in 0..6 {
        driver.append(0, &[900]);
        driver.settle();
    }
    let frontiers = driver.shown(0).frontiers;
    assert_eq!((frontiers.high_watermark.0, frontiers.durable_end.0), (2, 8));
    // A reader with the old map reads the old log, by the old plan and by a new one.
    let (read, plan) = driver.plan_by(&old, 0, from, until).unwrap();
    assert_eq!((sizes(&driver, &read, &before), sizes(&driver, &read, &plan)), (expected.clone(), expected));
}
