//! The end of a shard.

use std::time::Duration;

use rustmq_model::Offset;

use super::driver::{Driver, Preparing, Setting, writes};
use crate::log::Gaps;
use crate::shard::error::{AppendError, DeleteError, OpenError, TrimError};
use crate::shard::request::{LogConfig, TrimTo};
use crate::shard::{DiskStep, Urgency};
use crate::wal::SlotId;
use crate::wal::group::HEADER_LENGTH;
use crate::wal::recovery::RecoveryError;
use crate::wal::segments::SEGMENTS_MIN;

#[test]
fn a_close_proves_a_commit_in_flight() {
    let in_flight = || {
        let mut driver = Driver::with(1, Setting::default());
        driver.append(0, &[10]);
        driver.turn();
        assert!(driver.begin_commit());
        driver
    };
    let mut killed = in_flight();
    killed.end_commit();
    killed.damage_last_group();
    assert_eq!(
        killed.restart().unwrap().shown(0).frontiers.durable_end,
        Offset(0),
        "no proof says that it ever was whole"
    );

    let mut closed = in_flight();
    closed.close();
    closed.turn();
    assert!(!closed.shard.is_finished());
    closed.end_commit();
    closed.settle();
    closed.finish();
    closed.damage_last_group();
    assert!(closed.restart().is_err());
}

#[test]
fn a_close_proves_the_last_commit_even_after_a_request_that_wrote_nothing() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10]);
    assert!(driver.commit());
    let trimmed = driver.trim(0, TrimTo::Offset(Offset(0)));
    driver.turn();
    assert_eq!(trimmed.answer(), Some(&Ok(Offset(0))));
    driver.close();
    driver.settle();
    driver.finish();
    driver.damage_last_group();
    assert!(driver.restart().is_err(), "acknowledged records are lost");
}

const PROOF_AFTER: Duration = Duration::from_secs(1);

/// A crash cuts off a roll, behind the sync of the old segment or of the next one's header. The
/// commit before the roll, and the groups that the roll's commit put into the old segment, are
/// whole, and no group names them. Returns the start after that, and the place of the earlier
/// commit.
fn started_within_a_roll(is_header_written: bool) -> (Driver, (SlotId, usize)) {
    let mut driver = Driver::with(1, Setting { proof_after: PROOF_AFTER, ..Setting::default() });
    driver.append(0, &[1_000]);
    driver.turn();
    assert!(driver.begin_commit());
    let place = writes(&driver.in_flight[0]).next().unwrap();
    // They gather while the first commit is in flight.
    driver.append(0, &[3_000; 6]);
    driver.turn();
    driver.end_commit();
    assert!(driver.begin_commit());
    let steps = driver.in_flight.pop_front().unwrap().steps;
    let mut syncs = steps.iter().enumerate().filter(|(_, step)| matches!(step, DiskStep::Sync { .. }));
    let (last, _) = syncs.nth(usize::from(is_header_written)).expect("a roll syncs the old segment and the new one");
    driver.slots.execute(&steps[..=last]);
    let driver = driver.restart().unwrap();
    assert_eq!(driver.shard.table().next_position(), None, "the log goes on in a new segment");
    assert_eq!(driver.shown(0).frontiers.durable_end, Offset(4));
    (driver, place)
}

/// Whether a start refuses damage in this place, or passes over it for now: it is no torn tail.
fn is_kept(mut driver: Driver, (slot, offset): (SlotId, usize)) -> bool {
    driver.slots.0.get_mut(&slot).unwrap()[offset + HEADER_LENGTH as usize] ^= 1;
    match driver.restart() {
        Ok(driver) => driver.shown(0).frontiers.durable_end == Offset(4),
        Err(error) => matches!(error, RecoveryError::Corruption { .. }),
    }
}

#[test]
fn a_start_that_goes_on_in_a_new_segment_proves_what_it_found() {
    for is_header_written in [false, true] {
        let (killed, place) = started_within_a_roll(is_header_written);
        assert!(!is_kept(killed, place), "nothing proves it yet");

        let (mut idle, place) = started_within_a_roll(is_header_written);
        idle.settle();
        idle.turn_in(PROOF_AFTER);
        idle.settle();
        assert!(is_kept(idle, place));

        let (mut closed, place) = started_within_a_roll(is_header_written);
        closed.close();
        closed.settle();
        closed.finish();
        assert!(is_kept(closed, place));
    }
}

#[test]
fn a_start_begins_no_segment_for_a_log_that_is_proven() {
    let count_after_idle = |mut driver: Driver| {
        driver.settle();
        driver.turn_in(PROOF_AFTER * 2);
        driver.settle();
        driver.shard.table().segment_count()
    };
    let setting = Setting { proof_after: PROOF_AFTER, ..Setting::default() };
    assert_eq!(count_after_idle(Driver::new(setting)), 0);
    let mut closed = Driver::with(1, setting);
    closed.append(0, &[10]);
    closed.close();
    closed.settle();
    closed.finish();
    // The log goes on in a new segment of the new length.
    closed.setting.blocks *= 2;
    let started = closed.restart().unwrap();
    assert_eq!(started.shard.table().next_position(), None);
    assert_eq!(count_after_idle(started), 1);
}

#[test]
fn a_full_log_that_goes_on_in_a_new_segment_keeps_it_for_what_frees_space() {
    let (driver, _) = started_within_a_roll(true);
    let mut setting = driver.setting;
    setting.segments_max = SEGMENTS_MIN;
    let mut driver = Driver { setting, ..driver }.restart().unwrap();
    driver.setting.preparing = Preparing::Refused;
    driver.settle();
    for _ in 0..10 {
        driver.turn_in(PROOF_AFTER);
        driver.settle();
    }
    assert_eq!(driver.shard.table().segment_count(), 1, "the slot of the cut-off segment is one of the reserve");
    driver.close();
    driver.settle();
    driver.finish();
}

#[test]
fn all_close_requests_are_answered_at_the_end() {
    let mut driver = Driver::with(1, Setting::default());
    let first = driver.close();
    let appended = driver.append(0, &[10]);
    let second = driver.close();
    driver.settle();
    assert!(!first.is_answered() && !second.is_answered());
    assert!(appended.answer().unwrap()[0].is_ok(), "accepted requests are completed");
    driver.finish();
    assert!(first.is_answered() && second.is_answered());
}

#[test]
fn a_shard_ends_only_after_its_preparations_have_ended() {
    let mut driver = Driver::with(1, Setting::default());
    driver.setting.preparing = Preparing::ByTest;
    driver.append(0, &[7_000; 3]);
    driver.settle();
    driver.turn();
    assert!(!driver.preparations.is_empty(), "a slot must replace the used one");
    let asked = driver.preparations_asked;
    driver.close();
    driver.settle();
    assert!(!driver.shard.is_finished());
    assert_eq!((driver.urgency, driver.preparations_asked), (Urgency::Ending, asked), "no further slot is requested");
    driver.prepare();
    driver.settle();
    driver.finish();
}

#[test]
fn a_shard_ends_only_when_the_folder_has_forgotten_the_repair() {
    let mut driver = Driver::with(2, Setting::default());
    driver.setting.gaps = Gaps::Repaired;
    let mut driver = driver.restart().unwrap();
    driver.turn();
    assert!(driver.begin_commit());
    assert!(!driver.in_flight[0].holds_frames, "the group that puts the WAL session on disk goes alone");
    driver.end_commit();
    driver.settle();
    assert!(driver.forgets_repair);
    driver.close();
    driver.settle();
    assert!(!driver.shard.is_finished());
    driver.shard.on_repair_forgotten(Err("the folder is read-only".to_owned()));
    driver.turn();
    driver.finish();
}

#[test]
fn a_sync_that_fails_before_the_folder_forgets_the_repair_is_final() {
    let mut driver = Driver::with(1, Setting::default());
    driver.setting.gaps = Gaps::Repaired;
    let mut driver = driver.restart().unwrap();
    driver.settle();
    assert!(driver.forgets_repair);
    driver.fail_sync();
    let appended = driver.append(0, &[10]);
    driver.turn();
    assert!(matches!(appended.answer().unwrap()[..], [Err(AppendError::Storage { .. })]));
    assert!(!driver.begin_commit());
    driver.close();
    driver.settle();
    driver.finish();
}

#[test]
fn a_shard_whose_log_has_failed_refuses_everything_at_once_and_can_end() {
    let mut driver = Driver::with(1, Setting::default());
    driver.append(0, &[10]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.fail_commit();
    let appended = driver.append(0, &[10, 10]);
    let opened = driver.open(&[0, 1], 0);
    let (trimmed, deleted) = (driver.trim(0, TrimTo::HighWatermark), driver.delete(&[0]));
    let configured = driver.configure(0, LogConfig::unlimited());
    driver.turn();
    let is_storage = |error: &AppendError| matches!(error, AppendError::Storage { .. });
    assert!(appended.answer().unwrap().iter().all(|result| result.as_ref().is_err_and(is_storage)));
    assert!(opened.answer().unwrap().iter().all(|result| matches!(result, Err(OpenError::Storage { .. }))));
    assert!(matches!(trimmed.answer(), Some(Err(TrimError::Storage { .. }))));
    assert!(matches!(deleted.answer().unwrap()[..], [Err(DeleteError::Storage { .. })]));
    assert!(configured.is_answered());
    let closed = driver.close();
    driver.settle();
    driver.finish();
    assert!(closed.is_answered());
}

#[test]
fn a_proof_that_finds_no_memory_is_tried_again() {
    for closes in [false, true] {
        let setting = Setting { piece: 512, proof_after: Duration::from_secs(60), ..Setting::default() };
        let mut driver = Driver::with(1, setting);
        driver.append(0, &[10]);
        assert!(driver.commit());
        let memory = driver.shard.memory_mut();
        memory.fails_after = Some(memory.taken());
        if closes {
            driver.close();
            driver.turn();
        } else {
            driver.turn_in(Duration::from_secs(60));
        }
        assert!(driver.shard.memory_mut().fails_after.is_none(), "the proof takes memory");
        assert!(!closes || !driver.shard.is_finished(), "the last commit is not proved");
        let pause = driver.shard.poll_timeout().since(driver.now.at);
        assert!(!pause.is_zero() && pause < Duration::from_secs(1), "{pause:?}");
        driver.turn_in(pause);
        driver.settle();
        if closes {
            driver.finish();
        }
        driver.damage_last_group();
        assert!(driver.restart().is_err(), "acknowledged records are lost");
    }
}
