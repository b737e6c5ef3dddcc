//! The end of a shard.

use std::time::Duration;

use rustmq_model::Offset;

use super::driver::{Driver, Preparing, Setting};
use crate::log::Gaps;
use crate::shard::Urgency;
use crate::shard::error::{AppendError, DeleteError, OpenError, TrimError};
use crate::shard::request::{LogConfig, TrimTo};

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

#[test]
fn all_close_requests_are_answered_at_the_end() {
    let mut driver = Driver::with(1, Setting::default());
    let first = driver.close();
    driver.turn();
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
