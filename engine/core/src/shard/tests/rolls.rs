//! A new segment begins with checkpoints.

use std::time::Duration;

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::requests::{batch_of, id};
use super::slots::shape;
use crate::log::PartitionLog;
use crate::shard::request::{LogConfig, TrimTo};
use crate::shard::starting::log_limits;
use crate::wal::Control;
use crate::wal::recovery::CorruptionPolicy;
use crate::wal::scan::ReplayEvent;

/// Partition 0's newest checkpoint, and the frame after it.
fn checkpoint_and_next(driver: &Driver) -> (PartitionLog, ReplayEvent) {
    let shape = shape(driver.setting.blocks);
    let recovered = driver.slots.recover(shape, CorruptionPolicy::Refuse).unwrap();
    let events = recovered.partitions[&id(0)].iter().map(|item| item.event.clone()).collect::<Vec<_>>();
    let ReplayEvent::Checkpoint(checkpoint) = &events[0] else { panic!("a segment was rolled: {events:?}") };
    (PartitionLog::restore(log_limits(shape), checkpoint).unwrap(), events[1].clone())
}

/// Makes `change` at every distance from the end of a segment, and checks the checkpoint and the
/// frame wherever that starts a new segment.
fn check_at_rolls(change: impl Fn(&mut Driver), is_new: impl Fn(&PartitionLog, &ReplayEvent) -> bool) {
    let mut rolled = 0;
    for before in 0..40 {
        let mut driver = Driver::with(1, Setting::default());
        driver.append_all(0, vec![batch_of(7)]);
        for _ in 0..before {
            driver.append(0, &[1]);
            driver.settle();
        }
        let segments = driver.shard.table().segment_count();
        change(&mut driver);
        driver.turn();
        let has_rolled = driver.shard.table().segment_count() > segments;
        driver.settle();
        if has_rolled {
            rolled += 1;
            let (log, event) = checkpoint_and_next(&driver);
            assert!(is_new(&log, &event), "{event:?} is already part of {log:?}");
        }
        let state =
            |driver: &Driver| driver.shard.partitions.find(id(0)).map(|open| (open.frontiers(), open.leadership()));
        let expected = state(&driver);
        assert_eq!(state(&driver.restart().unwrap()), expected);
    }
    assert!(rolled > 0, "no roll was met");
}

#[test]
fn a_checkpoint_at_a_roll_does_not_include_the_frame_that_rolled() {
    check_at_rolls(
        |driver| drop(driver.append(0, &[3_000; 4])),
        |log, event| matches!(event, ReplayEvent::Batch(header, _) if header.base_offset == log.end()),
    );
    check_at_rolls(
        |driver| drop(driver.open(&[0], 5)),
        |log, event| matches!(event, ReplayEvent::Control(Control::EpochStart { epoch, .. }) if *epoch > log.leader_epoch()),
    );
    check_at_rolls(
        |driver| drop(driver.trim(0, TrimTo::Offset(Offset(1)))),
        |log, event| matches!(event, ReplayEvent::Control(Control::Trim { log_start }) if *log_start > log.decided_log_start()),
    );
    check_at_rolls(
        |driver| {
            let producer_expiry = Duration::from_secs(1);
            driver.configure(0, LogConfig { producer_expiry, ..LogConfig::unlimited() });
            driver.turn();
            driver.turn_in(driver.setting.retention_interval);
        },
        |log, event| {
            let is_known = |producers: &Vec<_>| producers.iter().all(|id| log.producers().find(*id).is_some());
            matches!(event, ReplayEvent::Control(Control::Expiry { producers, .. }) if is_known(producers))
        },
    );
}
