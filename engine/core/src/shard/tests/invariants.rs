//! Relations between the parts of a shard are found to be broken when they are.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::TestHost;
use super::requests::id;
use crate::log::{AppendFrontier, Frontiers, Replicas, WatermarkRule};
use crate::shard::placement_change::{Placement, PlacementChange};
use crate::shard::request::TrimTo;
use crate::shard::waiting::Waiting;
use crate::shard::{Partition, Shard};
use crate::wal::{SegmentGeneration, WalPosition};

/// A shard with an acknowledged batch and a batch in flight in partition 0, a staged batch in
/// partition 1, a batch in partition 2 that only its durable end has passed, and a staged close of
/// partition 3.
fn busy() -> Driver {
    let setting = Setting { replicas: Replicas::Several, until: AppendFrontier::HighWatermark, ..Setting::default() };
    let mut driver = Driver::with(4, setting);
    driver.append(0, &[10]);
    driver.append(2, &[10]);
    driver.settle();
    driver.acknowledge(0, 1);
    driver.append(0, &[10]);
    driver.turn();
    assert!(driver.begin_commit());
    driver.append(1, &[10]);
    driver.trim(0, TrimTo::Offset(Offset(1)));
    driver.delete(&[3]);
    driver.turn();
    driver
}

fn partition(shard: &mut Shard<TestHost>, number: i32) -> &mut Partition {
    let key = shard.partitions.key(id(number)).unwrap();
    shard.partitions.at_mut(key).unwrap()
}

/// `change` breaks the relation that this text states.
fn check(broken: &str, change: impl FnOnce(&mut Shard<TestHost>)) {
    let Driver { mut shard, .. } = busy();
    shard.check_invariants();
    change(&mut shard);
    let panicked = catch_unwind(AssertUnwindSafe(|| shard.check_invariants())).expect_err(broken);
    let message = panicked.downcast_ref::<String>().cloned();
    let message = message.or_else(|| panicked.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap();
    assert!(message.contains(broken), "{message}");
}

#[test]
fn a_broken_relation_is_named() {
    check("the follow-up of a commit comes after the commit", |shard| shard.durable = Some(shard.commits.begun()));
    check("the batches that are not durable follow each other", |shard| {
        partition(shard, 0).log.on_durable(Offset(2));
    });
    check("is in a commit", |shard| {
        let _ = shard.staging.builder_mut().take_commit();
    });
    check("wait above 1 and up to 1", |shard| {
        partition(shard, 2).log.follow_watermark(WatermarkRule::Acknowledged(Offset(1)));
    });
    check("answered within the same call", |shard| {
        let key = shard.partitions.key(id(2)).unwrap();
        shard.waiting.advance(key, &Frontiers::at(Offset(1)));
    });
    check("a wait names a group that exists", |shard| {
        let change = PlacementChange::of(partition(shard, 0), Placement::Trim(Offset::ZERO));
        let at = WalPosition { generation: SegmentGeneration(u64::MAX), offset: 0 };
        shard.waiting.push(at, Waiting::Change(change));
    });
    check("a shard whose commits are lost takes nothing more", |shard| shard.commits.lose());
    check("each closed partition has a close to come", |shard| {
        let key = shard.partitions.key(id(1)).unwrap();
        shard.partitions.close(key);
    });
    check("becomes visible", |shard| {
        let high_watermark = WatermarkRule::Acknowledged(Offset(1));
        let Partition { log, .. } = partition(shard, 2);
        log.follow_watermark(high_watermark);
        log.trim(Offset(1)).unwrap();
        let key = shard.partitions.key(id(2)).unwrap();
        shard.waiting.take_above(key, None);
    });
    check("comes to an end", |shard| partition(shard, 0).log.begin_cut());
    check("a check waits for a commit", |shard| shard.cleaner.check_after(shard.commits.begun() + 2));
}
