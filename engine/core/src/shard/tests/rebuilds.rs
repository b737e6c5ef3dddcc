//! The reads of a rebuild: no unnecessary ones, and the effect of a failed one on its cut.

use std::collections::BTreeMap;

use rustmq_model::Offset;

use super::driver::{Driver, Setting};
use super::host::Reply;
use crate::log::Replicas;
use crate::shard::error::CutError;
use crate::shard::request::CutTo;
use crate::wal::SlotId;
use crate::wal::group::HEADER_LENGTH;

type Cut = Reply<Result<Offset, CutError>>;

/// Smaller than most groups, in bytes.
const WINDOW: usize = 1_000;

impl Driver {
    /// Writes `count` batches, each in a group of its own, and acknowledges the first. Returns the
    /// positions of the groups.
    fn write(&mut self, count: usize, size: usize) -> Vec<(SlotId, usize)> {
        let mut groups = Vec::new();
        for _ in 0..count {
            self.append(0, &[size]);
            self.settle();
            groups.extend(self.last_group);
        }
        self.acknowledge(0, 1);
        groups
    }

    fn cut_to(&mut self, to: i64) -> Cut {
        let cut = self.cut(0, CutTo::End(Offset(to)));
        self.settle();
        cut
    }

    fn spoil(&mut self, (slot, offset): (SlotId, usize)) {
        self.slots.0.get_mut(&slot).unwrap()[offset + HEADER_LENGTH as usize] ^= 0xFF;
    }
}

/// A restarted log of many segments: the table knows only that each has a base.
fn restarted() -> (Driver, Vec<(SlotId, usize)>) {
    let setting =
        Setting { replicas: Replicas::Several, segments_max: 60, read_bytes_max: WINDOW, ..Setting::default() };
    let mut driver = Driver::with(1, setting);
    let groups = driver.write(60, 1_500);
    assert!(driver.shard.table().segment_count() > 5);
    (again(driver), groups)
}

fn again(driver: Driver) -> Driver {
    let mut driver = driver.restart().unwrap();
    driver.settle();
    driver.acknowledge(0, 1);
    driver
}

fn is_cut_to(cut: &Cut, to: i64) -> bool {
    cut.answer() == Some(&Ok(Offset(to)))
}

#[test]
fn each_segment_is_read_once_and_none_after_the_cut() {
    let (mut driver, groups) = restarted();
    let cut = driver.cut_to(30);
    assert!(is_cut_to(&cut, 30), "{cut:?}");
    let mut furthest = BTreeMap::new();
    for read in &driver.rebuild_reads {
        let last = furthest.insert(read.slot, read.offset);
        // A group larger than the window is read twice.
        assert!(last.is_none_or(|last| last <= read.offset), "slot {} is read twice", read.slot.0);
    }
    let last = driver.rebuild_reads.last().unwrap();
    let after = groups[30..].iter().filter(|(slot, _)| *slot == last.slot).map(|(_, offset)| *offset).min();
    assert!(after.is_none_or(|after| after >= last.offset as usize), "no group after the cut is read");
    assert!(furthest.len() <= 2, "the segments of the base and of the cut are read: {furthest:?}");
}

#[test]
fn damage_after_a_cut_is_harmless_and_damage_before_it_refuses_the_cut() {
    for (group, is_lost) in [(59, false), (45, false), (33, false), (32, true)] {
        for is_unreadable in [false, true] {
            let (mut driver, groups) = restarted();
            let (slot, offset) = groups[group];
            if is_unreadable {
                driver.unreadable.push((slot, offset));
            } else {
                driver.spoil((slot, offset));
            }
            let cut = driver.cut_to(33);
            match cut.answer() {
                Some(Ok(Offset(33))) => assert!(!is_lost, "group {group} is lost"),
                Some(Err(CutError::Unreadable { .. })) => assert!(is_lost && is_unreadable, "group {group}"),
                Some(Err(CutError::Unknown { .. })) => assert!(is_lost && !is_unreadable, "group {group}"),
                answer => panic!("group {group}: {answer:?}"),
            }
        }
    }
}

#[test]
fn damage_after_a_cut_in_the_segment_of_its_base_is_harmless_if_the_base_is_known() {
    let mut driver = Driver::with(1, Setting { replicas: Replicas::Several, ..Setting::default() });
    let groups = driver.write(6, 10);
    assert_eq!(driver.shard.table().segment_count(), 1);
    driver.unreadable.push(groups[5]);
    driver.spoil(groups[4]);
    let cut = driver.cut_to(4);
    assert!(is_cut_to(&cut, 4), "{cut:?}");
    let cut = driver.cut_to(2);
    assert!(is_cut_to(&cut, 2), "{cut:?}");
    assert_eq!(driver.on_disk(0).len(), 2);
}

#[test]
fn a_read_that_fails_once_or_twice_is_tried_again() {
    let (mut driver, _) = restarted();
    let cut = driver.cut(0, CutTo::End(Offset(30)));
    driver.turn();
    let (number, mut rebuild) = driver.rebuilds.pop().unwrap();
    for _ in 1..crate::shard::READ_ATTEMPTS {
        let asked = rebuild.poll_action();
        rebuild.on_read(Err("the path is down".to_owned()));
        assert!(asked.is_some() && rebuild.poll_action() == asked);
    }
    driver.end_rebuild(number, rebuild);
    driver.settle();
    assert!(is_cut_to(&cut, 30), "{cut:?}");
}

#[test]
fn an_unreadable_device_leaves_the_log_uncut_until_it_can_be_read() {
    let (mut driver, groups) = restarted();
    driver.unreadable.extend(driver.slots.0.iter().flat_map(|(slot, bytes)| (0..bytes.len()).map(|at| (*slot, at))));
    let cut = driver.cut_to(30);
    assert!(matches!(cut.answer(), Some(Err(CutError::Unreadable { .. }))), "{cut:?}");
    driver.unreadable.clear();
    let cut = driver.cut_to(30);
    assert!(is_cut_to(&cut, 30), "{cut:?}");
    assert_eq!((driver.on_disk(0).len(), groups.len()), (30, 60));
}

#[test]
fn a_rebuild_reads_segments_of_several_shapes_and_refuses_a_truncated_file() {
    let setting = Setting { replicas: Replicas::Several, read_bytes_max: WINDOW, ..Setting::default() };
    let mut driver = Driver::with(1, setting);
    driver.write(30, 1_500);
    driver.setting.blocks = 48;
    let mut driver = again(driver);
    let groups = driver.write(30, 1_500);
    let mut other = again(driver.killed_now().unwrap());
    let cut = driver.cut_to(45);
    assert!(is_cut_to(&cut, 45), "{cut:?}");
    assert_eq!(driver.on_disk(0).len(), 45);

    other.cut(0, CutTo::End(Offset(45)));
    other.turn();
    let (_, mut rebuild) = other.rebuilds.pop().unwrap();
    while let Some(read) = rebuild.poll_action() {
        let (slot, length) = groups[14];
        let file = &other.slots.0[&read.slot];
        let file = if read.slot == slot { &file[..length + 100] } else { &file[..] };
        let (from, until) = (read.offset as usize, (read.offset + read.length) as usize);
        let bytes = file.get(from..until.min(file.len())).unwrap_or_default();
        rebuild.on_read(Ok(&bytes::Bytes::copy_from_slice(bytes)));
    }
    assert!(matches!(rebuild.finish(), Err(crate::shard::RebuildError::Damaged { .. })));
}
