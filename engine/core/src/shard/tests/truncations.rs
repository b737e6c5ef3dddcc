//! Truncations of logs at the point where another leader's log diverges: below the durable end, and
//! after a restart.

use rustmq_model::{LeaderEpoch, Offset};

use super::driver::{Driver, Setting};
use super::host::{Event, Reply};
use super::requests::{batch_of, batch_with, begun, transactional_batch_of};
use crate::log::{AppendFrontier, Replicas};
use crate::shard::error::{AppendError, CutError};
use crate::shard::request::{Appended, CutTo, TrimTo};
use crate::wal::group::HEADER_LENGTH;

/// A shard whose partitions have other replicas.
fn replicated(partitions: i32) -> Driver {
    Driver::with(partitions, Setting { replicas: Replicas::Several, ..Setting::default() })
}

impl Driver {
    fn truncate(&mut self, number: i32, to: i64) -> Reply<Result<Offset, CutError>> {
        self.cut(number, CutTo::End(Offset(to)))
    }

    fn durable_end(&self, number: i32) -> i64 {
        self.shown(number).frontiers.durable_end.0
    }

    /// Appends `count` batches of one record, each durable.
    fn fill(&mut self, number: i32, count: usize) {
        for _ in 0..count {
            self.append(number, &[10]);
            self.settle();
        }
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

fn ended(reply: &Reply<Result<Offset, CutError>>) -> Option<i64> {
    reply.answer().map(|result| result.as_ref().map_or(-1, |end| end.0))
}

#[test]
fn durable_batches_are_cut_and_the_cut_is_durable_before_it_is_answered() {
    let mut driver = replicated(1);
    driver.fill(0, 5);
    driver.acknowledge(0, 2);
    let key = driver.key(0);
    let cut = driver.truncate(0, 3);
    driver.turn();
    let refused = driver.append(0, &[10]);
    driver.turn();
    assert_eq!((base(&refused), ended(&cut), driver.durable_end(0)), (CUT_OFF, None, 5));
    assert_eq!(driver.killed_now().unwrap().durable_end(0), 5, "the cut is not on disk");
    driver.events.clear();
    assert!(driver.begin_commit());
    driver.end_commit();
    assert_eq!(driver.events, [Event::Cut(key, Offset(3)), Event::Answer(cut.number)]);
    assert_eq!((ended(&cut), driver.in_memory(0)), (Some(3), vec![0, 1, 2]));
    assert_eq!(driver.killed_now().unwrap().durable_end(0), 3);
    let other = driver.append(0, &[500]);
    driver.settle();
    assert_eq!((base(&other), driver.durable_end(0), driver.in_memory(0)), (Some(3), 4, vec![0, 1, 2, 3]));
    let sizes = driver.on_disk(0);
    assert!(sizes[3] > 500 && driver.shown(0).size_bytes == sizes.iter().sum::<usize>() as u64);
    assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
}

#[test]
fn a_log_is_cut_after_a_restart_and_after_another_cut() {
    let mut driver = replicated(1);
    driver.fill(0, 6);
    driver.acknowledge(0, 2);
    for (to, restarts) in [(5, true), (4, true), (3, false), (2, true)] {
        if restarts {
            driver = driver.restart().unwrap();
        }
        driver.acknowledge(0, 2);
        let cut = driver.truncate(0, to);
        driver.settle();
        assert_eq!((ended(&cut), driver.durable_end(0)), (Some(to), to));
        driver.append(0, &[100, 100, 100]);
        driver.settle();
    }
    let sizes = driver.on_disk(0);
    assert_eq!((sizes.len(), driver.durable_end(0)), (5, 5));
    assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
}

#[test]
fn producers_have_their_state_at_the_cut() {
    let mut driver = replicated(1);
    driver.append_all(0, vec![batch_of(1)]);
    driver.append_all(0, vec![transactional_batch_of(2)]);
    driver.settle();
    let state = |driver: &Driver| {
        let log = &driver.shard.partitions.at(driver.key(0)).unwrap().log;
        let producers = log.producers().iter().map(|(id, producer)| (id, producer.batches, producer.open_transaction));
        (producers.collect::<Vec<_>>(), log.frontiers().last_stable)
    };
    driver.acknowledge(0, 2);
    let before = state(&driver);
    driver.append_all(0, vec![batch_of(3)]);
    driver.settle();
    driver.truncate(0, 2);
    driver.settle();
    assert_eq!(state(&driver), before);
    let (repeated, anew) = (driver.append_all(0, vec![batch_of(1)]), driver.append_all(0, vec![batch_of(3)]));
    driver.settle();
    let duplicate = |reply: &Reply<Vec<Result<Appended, AppendError>>>| {
        reply.answer().unwrap()[0].as_ref().unwrap().duplicate_of.is_some()
    };
    assert_eq!((base(&repeated), base(&anew)), (Some(0), Some(2)));
    assert!(duplicate(&repeated) && !duplicate(&anew), "a batch that was cut off is new");
}

#[test]
fn appends_above_a_cut_are_refused_at_once_and_appends_below_it_wait_on() {
    let setting = Setting { until: AppendFrontier::HighWatermark, replicas: Replicas::Several, ..Setting::default() };
    let mut driver = Driver::with(1, setting);
    let kept = driver.append_all(0, vec![batch_with(2)]);
    let torn = driver.append_all(0, vec![batch_with(3)]);
    let above = driver.append(0, &[10]);
    driver.turn();
    assert!(driver.begin_commit());
    let cut = driver.truncate(0, 4);
    assert_eq!((base(&kept), base(&torn), base(&above)), (None, CUT_OFF, CUT_OFF));
    driver.turn();
    assert!(driver.rebuilds.is_empty(), "the log is read back once it is on disk");
    driver.end_commit();
    driver.settle();
    assert_eq!((ended(&cut), base(&kept)), (Some(2), None), "a log holds whole batches");
    driver.acknowledge(0, 9);
    assert_eq!(base(&kept), Some(0));
    assert_eq!(driver.restart().unwrap().on_disk(0).len(), 1);
}

#[test]
fn an_invalid_cut_is_refused() {
    let mut driver = replicated(2);
    driver.fill(0, 4);
    driver.acknowledge(0, 2);
    let (high_watermark, requested) = (Offset(2), Offset(1));
    let result = |reply: Reply<Result<Offset, CutError>>| reply.answer().cloned();
    let below = driver.truncate(0, 1);
    assert_eq!(result(below), Some(Err(CutError::BelowHighWatermark { requested, high_watermark })));
    let beyond = driver.truncate(0, 4);
    assert_eq!(result(beyond), Some(Ok(Offset(4))));
    driver.open(&[0], 3);
    driver.settle();
    let (given, current) = (LeaderEpoch(2), LeaderEpoch(3));
    let fenced = driver.cut_in(0, 2, CutTo::End(Offset(3)));
    assert_eq!(result(fenced), Some(Err(CutError::FencedLeaderEpoch { given, current })));
    let (first, second) = (driver.cut_in(0, 4, CutTo::End(Offset(3))), driver.cut_in(0, 4, CutTo::End(Offset(2))));
    assert_eq!((first.answer(), result(second)), (None, Some(Err(CutError::UnderWay))));
    driver.delete(&[0]);
    driver.turn();
    assert_eq!(result(first), Some(Err(CutError::UnknownPartition)));
    driver.settle();
    assert!(driver.shard.partition(super::id(0)).is_none());
    driver.truncate(1, 0);
    driver.lose_preparations();
    let lost = driver.truncate(1, 0);
    assert!(matches!(result(lost), Some(Err(CutError::Storage { .. }))));
}

#[test]
fn a_cut_without_a_base_is_refused_and_the_log_continues() {
    let mut driver = replicated(1);
    driver.fill(0, 2);
    let (slot, offset) = driver.last_group.unwrap();
    driver.fill(0, 2);
    driver.acknowledge(0, 1);
    driver.slots.0.get_mut(&slot).unwrap()[offset + HEADER_LENGTH as usize] ^= 0xFF;
    let cut = driver.truncate(0, 3);
    driver.settle();
    assert!(matches!(cut.answer(), Some(Err(CutError::Unknown { .. }))), "{cut:?}");
    driver.fill(0, 1);
    driver.acknowledge(0, 5);
    assert_eq!((driver.durable_end(0), driver.shown(0).frontiers.high_watermark), (5, Offset(5)));
    let reset = driver.cut(0, CutTo::EmptyAt(Offset(5)));
    driver.settle();
    assert_eq!(ended(&reset), Some(5));
}

#[test]
fn the_watermark_stops_while_a_log_is_cut_and_ignores_earlier_acknowledgements() {
    let mut driver = replicated(1);
    driver.fill(0, 4);
    driver.truncate(0, 2);
    driver.acknowledge(0, 4);
    driver.turn();
    driver.turn();
    driver.acknowledge(0, 4);
    assert_eq!(driver.shown(0).frontiers.high_watermark, Offset(0));
    assert!(driver.begin_commit(), "the cut is staged");
    driver.acknowledge(0, 4);
    driver.end_commit();
    driver.fill(0, 2);
    assert_eq!(driver.shown(0).frontiers.high_watermark, Offset(0), "other bytes were acknowledged");
    driver.acknowledge(0, 3);
    assert_eq!(driver.shown(0).frontiers.high_watermark, Offset(3));
}

#[test]
fn acknowledgements_of_cut_batches_do_not_count_for_their_replacements() {
    let mut driver = replicated(1);
    driver.fill(0, 4);
    driver.acknowledge(0, 9);
    driver.append(0, &[10]);
    driver.turn();
    let cut = driver.truncate(0, 4);
    driver.settle();
    assert_eq!(ended(&cut), Some(4));
    driver.fill(0, 1);
    assert_eq!((driver.durable_end(0), driver.shown(0).frontiers.high_watermark), (5, Offset(4)));
}

#[test]
fn trims_continue_while_a_log_is_cut() {
    let mut driver = replicated(1);
    driver.fill(0, 6);
    driver.acknowledge(0, 3);
    let cut = driver.truncate(0, 4);
    driver.turn();
    let trims = [1, 3].map(|to| {
        let trim = driver.trim(0, TrimTo::Offset(Offset(to)));
        driver.turn();
        trim
    });
    driver.settle();
    assert!(trims.iter().all(|trim| matches!(trim.answer(), Some(Ok(_)))));
    let frontiers = driver.shown(0).frontiers;
    assert_eq!((ended(&cut), frontiers.log_start, frontiers.durable_end), (Some(4), Offset(3), Offset(4)));
    assert_eq!(driver.on_disk(0).len(), 1);
    assert_eq!(driver.restart().unwrap().shown(0).frontiers.log_start, Offset(3));
}

#[test]
fn the_epoch_that_a_follower_follows_fences_and_is_not_in_its_history() {
    let mut driver = replicated(1);
    driver.fill(0, 2);
    driver.open(&[0], 1);
    driver.fill(0, 2);
    driver.cut_in(0, 4, CutTo::End(Offset(3)));
    driver.settle();
    let shown = &driver.shown(0).leadership;
    assert_eq!((shown.epoch, &shown.history[..]), (LeaderEpoch(4), &[begun(0, 0), begun(1, 2)][..]));
    driver.cut_in(0, 5, CutTo::End(Offset(2)));
    driver.settle();
    assert_eq!(driver.shown(0).leadership.history[..], [begun(0, 0)], "its first record was cut off");
    let restarted = driver.killed_now().unwrap();
    let restarted = &restarted.shown(0).leadership;
    assert_eq!((restarted.epoch, &restarted.history[..]), (LeaderEpoch(0), &[begun(0, 0)][..]));
}

#[test]
fn an_epoch_that_began_without_a_batch_is_cut_off_at_the_end_of_the_log() {
    let mut driver = replicated(1);
    driver.fill(0, 2);
    driver.open(&[0], 1);
    driver.settle();
    let cut = driver.cut_in(0, 2, CutTo::End(Offset(2)));
    driver.settle();
    assert_eq!((ended(&cut), driver.durable_end(0)), (Some(2), 2));
    assert_eq!(driver.shown(0).leadership.history[..], [begun(0, 0)]);
    assert_eq!(driver.killed_now().unwrap().shown(0).leadership.history[..], [begun(0, 0)]);
}

#[test]
fn a_later_leadership_supersedes_a_cut() {
    let mut driver = replicated(1);
    driver.fill(0, 4);
    driver.acknowledge(0, 4);
    driver.fill(0, 2);
    let cut = driver.cut_in(0, 3, CutTo::End(Offset(4)));
    driver.open(&[0], 4);
    driver.settle();
    assert_eq!(cut.answer(), Some(&Err(CutError::Superseded)));
    driver.fill(0, 1);
    assert_eq!(driver.durable_end(0), 7);
    assert_eq!(driver.restart().unwrap().shown(0).leadership.history[..], [begun(0, 0), begun(4, 6)]);
}

#[test]
fn a_roll_while_a_log_is_cut_changes_nothing() {
    let mut rolls = Vec::new();
    for count in 1..24 {
        let mut driver = replicated(2);
        driver.fill(0, 6);
        driver.acknowledge(0, 2);
        let before = driver.shard.table().segment_count();
        let cut = driver.truncate(0, 3);
        driver.turn();
        let (number, rebuild) = driver.rebuilds.pop().unwrap();
        driver.append(1, &vec![400; count]);
        driver.turn();
        rolls.push(driver.shard.table().segment_count() > before);
        driver.end_rebuild(number, rebuild);
        driver.settle();
        driver.settle();
        assert_eq!((ended(&cut), driver.durable_end(0)), (Some(3), 3));
        driver.fill(0, 1);
        let sizes = driver.on_disk(0);
        assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
    }
    assert!(
        rolls.contains(&true) && rolls.contains(&false),
        "some rolls came between request and staging, and some did not"
    );
}

/// A log of many segments with its high watermark at `watermark`.
fn long(watermark: i64) -> Driver {
    // The read size is smaller than most groups.
    let setting =
        Setting { replicas: Replicas::Several, segments_max: 40, read_bytes_max: 1_000, ..Setting::default() };
    let mut driver = Driver::with(1, setting);
    for _ in 0..60 {
        driver.append(0, &[1_500]);
        driver.settle();
        driver.acknowledge(0, watermark);
    }
    assert!(driver.shard.table().segment_count() > 5);
    driver
}

#[test]
fn a_long_log_is_cut_down_to_its_watermark_from_the_base_below_it() {
    for (watermark, restarts) in [(0, false), (0, true), (29, false), (29, true), (59, true)] {
        let mut driver = long(watermark);
        if restarts {
            driver = driver.restart().unwrap();
            driver.acknowledge(0, watermark);
        }
        let cut = driver.truncate(0, watermark);
        driver.settle();
        assert_eq!(ended(&cut), Some(watermark));
        driver.fill(0, 1);
        let sizes = driver.on_disk(0);
        assert_eq!(sizes.len(), usize::try_from(watermark).unwrap() + 1);
        assert_eq!(driver.restart().unwrap().on_disk(0), sizes);
    }
}

#[test]
fn a_segment_with_the_base_below_the_watermark_is_kept_until_the_watermark_has_passed_another() {
    let mut driver = long(20);
    driver.acknowledge(0, 20);
    driver.trim(0, TrimTo::Offset(Offset(20)));
    driver.settle();
    let kept = driver.shard.table().segment_count();
    let cut = driver.killed_now().map(|mut restarted| {
        restarted.acknowledge(0, 20);
        let cut = restarted.truncate(0, 20);
        restarted.settle();
        ended(&cut)
    });
    assert_eq!(cut.unwrap(), Some(20));
    driver.acknowledge(0, 60);
    driver.trim(0, TrimTo::Offset(Offset(60)));
    driver.settle();
    let freed = driver.shard.table().segment_count();
    assert!(freed <= 2 && kept > freed, "{kept} and {freed} segments");
}

#[test]
fn a_full_log_drops_the_base_of_a_cut_and_then_needs_a_reset() {
    let setting = Setting { replicas: Replicas::Several, segments_max: 10, ..Setting::default() };
    let mut driver = Driver::with(2, setting);
    driver.append(0, &[10, 10]);
    driver.settle();
    loop {
        let appended = driver.append(1, &[1_500]);
        driver.settle();
        driver.acknowledge(1, i64::MAX);
        driver.append(0, &[10]);
        driver.trim(1, TrimTo::HighWatermark);
        driver.settle();
        if base(&appended) == Some(-2) || driver.shard.table().generations().next().unwrap().0 > 8 {
            break;
        }
    }
    assert!(driver.shard.table().generations().next().unwrap().0 > 1, "the segment with the base is freed");
    let cut = driver.truncate(0, 0);
    driver.settle();
    assert!(matches!(cut.answer(), Some(Err(CutError::Unknown { .. }))), "{cut:?}");
}

#[test]
fn closing_a_partition_does_not_acknowledge_batches_that_other_replicas_lack() {
    for (until, answer) in [(AppendFrontier::DurableEnd, Some(0)), (AppendFrontier::HighWatermark, REFUSED)] {
        let mut driver = Driver::with(1, Setting { until, replicas: Replicas::Several, ..Setting::default() });
        let appended = driver.append(0, &[10]);
        driver.delete(&[0]);
        driver.settle();
        assert_eq!(base(&appended), answer);
    }
}

#[test]
fn a_shard_ends_when_a_cut_has_ended() {
    let mut driver = replicated(1);
    driver.fill(0, 3);
    let (cut, closed) = (driver.truncate(0, 1), driver.close());
    driver.turn();
    let (number, rebuild) = driver.rebuilds.pop().unwrap();
    driver.settle();
    assert!(!driver.shard.is_finished());
    driver.end_rebuild(number, rebuild);
    driver.settle();
    assert_eq!((ended(&cut), driver.durable_end(0)), (Some(1), 1));
    driver.finish();
    assert!(closed.is_answered());
}

#[test]
fn segments_that_a_rebuild_reads_are_not_freed_even_in_a_full_log() {
    let setting = Setting { replicas: Replicas::Several, segments_max: 10, ..Setting::default() };
    let mut driver = Driver::with(2, setting);
    driver.append(0, &[10, 10]);
    driver.settle();
    let cut = driver.truncate(0, 1);
    driver.turn();
    let (number, rebuild) = driver.rebuilds.pop().unwrap();
    let oldest_after = |driver: &mut Driver, batches: usize| {
        for _ in 0..batches {
            driver.append(1, &[1_500]);
            driver.settle();
            driver.acknowledge(1, i64::MAX);
            driver.trim(1, TrimTo::HighWatermark);
            driver.settle();
        }
        driver.shard.table().generations().next().unwrap().0
    };
    assert_eq!(oldest_after(&mut driver, 100), 1);
    driver.end_rebuild(number, rebuild);
    driver.settle();
    assert_eq!(ended(&cut), Some(1));
    assert!(oldest_after(&mut driver, 100) > 1);
}
