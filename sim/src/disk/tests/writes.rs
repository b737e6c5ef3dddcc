//! Tests of the fault model: the promises of writes and syncs, and the survivors of a crash.

use std::collections::BTreeSet;
use std::time::Duration;

use super::bench::{Bench, OTHER, SECTORS, SEEDS, SLOT, STEADY, fixed, nanos, seen, write, write_synced};
use crate::disk::{Crash, Harm, Operation, SECTOR, Speed};
use crate::rng::{Chance, Delay};

/// Checks that all patterns come up: whole, nothing, a beginning, an end, and others.
fn check_any_subset(patterns: &BTreeSet<Vec<u8>>, old: u8, new: u8) {
    let with = |places: &[usize]| -> Vec<u8> {
        (0..SECTORS as usize).map(|place| if places.contains(&place) { new } else { old }).collect()
    };
    for places in [&[][..], &[0, 1, 2, 3, 4, 5], &[0, 1, 2], &[3, 4, 5], &[0, 2, 4], &[5]] {
        assert!(
            patterns.contains(&with(places)),
            "the new sectors are never {places:?}, in {} patterns",
            patterns.len()
        );
    }
    assert!(patterns.iter().flatten().all(|value| [old, new].contains(value)), "each sector is old or new");
}

#[test]
fn synced_writes_survive_a_cut() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.fill(0..SECTORS, 2).unwrap();
        bench.sync().unwrap();
        bench.cut();
        bench.values()
    });
    assert_eq!(survivors, BTreeSet::from([vec![2; 6]]));
}

#[test]
fn a_cut_keeps_any_subset_of_unsynced_sectors() {
    let written = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.fill(0..SECTORS, 2).unwrap();
        assert_eq!(bench.values(), [2; 6], "reads show the write");
        bench.cut();
        bench.values()
    });
    check_any_subset(&written, 1, 2);
    for operation in [write(0..SECTORS, 2), write_synced(0..SECTORS, 2)] {
        let in_flight = seen(|seed| {
            let mut bench = Bench::new(seed);
            bench.start(operation.clone());
            bench.cut();
            bench.values()
        });
        check_any_subset(&in_flight, 1, 2);
    }
}

#[test]
fn a_cut_during_a_sync_keeps_any_subset_too() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.fill(0..SECTORS, 2).unwrap();
        bench.start(Operation::Sync { slot: SLOT });
        bench.cut();
        bench.values()
    });
    check_any_subset(&survivors, 1, 2);
}

#[test]
fn any_of_several_writes_to_a_sector_may_survive() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.fill(0..1, 2).unwrap();
        bench.fill(0..1, 3).unwrap();
        bench.cut();
        bench.values()[0]
    });
    assert_eq!(survivors, BTreeSet::from([1, 2, 3]));
}

#[test]
fn a_sync_covers_only_writes_that_were_done_when_it_began() {
    let survivors = seen(|seed| {
        let speed = Speed { write: fixed(100), sync: fixed(1_000), ..STEADY };
        let mut bench = Bench::empty(seed, u64::MAX, speed);
        bench.make(SLOT);
        bench.run(write_synced(0..SECTORS, 1)).unwrap();
        bench.fill(0..1, 2).unwrap();
        // One write begins before the sync, one while it runs; both are done before it ends.
        bench.start(write(1..2, 2));
        let sync = bench.start(Operation::Sync { slot: SLOT });
        bench.start(write(2..3, 2));
        bench.wait(sync).unwrap();
        assert!(bench.next().is_none());
        bench.cut();
        bench.values()[..3].to_vec()
    });
    assert!(survivors.iter().all(|values| values[0] == 2), "a write that was done is covered");
    for place in [1, 2] {
        let values: BTreeSet<_> = survivors.iter().map(|values| values[place]).collect();
        assert_eq!(values, BTreeSet::from([1, 2]), "sector {place} may be lost, or not");
    }
}

#[test]
fn a_sync_covers_its_file_alone() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.make(OTHER);
        bench.fill(0..SECTORS, 2).unwrap();
        bench.run(Operation::Sync { slot: OTHER }).unwrap();
        bench.cut();
        bench.values()
    });
    check_any_subset(&survivors, 1, 2);
}

#[test]
fn a_write_with_its_own_sync_covers_itself_alone() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.fill(0..1, 2).unwrap();
        bench.run(write_synced(1..3, 2)).unwrap();
        bench.cut();
        bench.values()[..3].to_vec()
    });
    assert_eq!(survivors, BTreeSet::from([vec![1, 2, 2], vec![2, 2, 2]]));
}

#[test]
fn a_read_during_a_write_shows_old_or_new_and_new_stays() {
    let speed = Speed { write: fixed(10_000), read: fixed(100), ..STEADY };
    let reads = seen(|seed| {
        let mut bench = Bench::empty(seed, u64::MAX, speed);
        bench.make(SLOT);
        bench.fill(0..SECTORS, 1).unwrap();
        let in_flight = bench.start(write(0..SECTORS, 2));
        let (first, second) = (bench.values(), bench.values());
        assert!(first.iter().zip(&second).all(|(first, second)| first <= second), "{first:?}, then {second:?}");
        bench.wait(in_flight).unwrap();
        assert_eq!(bench.values(), [2; 6]);
        first
    });
    check_any_subset(&reads, 1, 2);
}

#[test]
fn a_sector_that_a_read_showed_early_does_not_overwrite_a_later_write() {
    let speed = Speed { write: fixed(100), read: fixed(100), sync: fixed(10_000), ..STEADY };
    let shown = seen(|seed| {
        let mut bench = Bench::empty(seed, u64::MAX, speed);
        bench.make(SLOT);
        bench.run(write_synced(0..SECTORS, 1)).unwrap();
        let slow = bench.start(write_synced(0..SECTORS, 2));
        let first = bench.values();
        bench.fill(0..SECTORS, 3).unwrap();
        let second = bench.values();
        bench.wait(slow).unwrap();
        let last = bench.values();
        for (sector, value) in first.iter().enumerate() {
            assert!(*value == 1 || second[sector] == 3, "sector {sector} shows the later write");
            let lasts = if *value == 2 { 3 } else { 2 };
            assert_eq!(
                last[sector], lasts,
                "the slow write reached sector {sector} either before the other write or at its end"
            );
        }
        first
    });
    check_any_subset(&shown, 1, 2);
}

#[test]
fn operations_without_an_order_end_in_any_order_and_either_write_lasts() {
    let ends = seen(|seed| {
        let mut bench = Bench::new(seed);
        let (first, second) = (bench.start(write(0..1, 2)), bench.start(write(0..1, 3)));
        let (done, _) = bench.next().unwrap();
        bench.next().unwrap().1.unwrap();
        assert!(done == first || done == second);
        (done == first, bench.values()[0])
    });
    assert_eq!(ends, BTreeSet::from([(true, 3), (false, 2)]));
}

#[test]
fn durations_are_drawn_and_some_operations_take_seconds() {
    let least_and_most = Delay { least: Duration::from_secs(2), most: Duration::from_secs(9) };
    let speed = Speed { stall: Chance::percent(5), stalled: least_and_most, ..STEADY };
    let mut bench = Bench::empty(1, u64::MAX, speed);
    bench.make(SLOT);
    let lasted = seen(|_| {
        let begun = bench.schedule.now();
        bench.fill(0..1, 2).unwrap();
        bench.schedule.now().since(begun)
    });
    let (usual, stalled): (Vec<_>, Vec<_>) = lasted.iter().partition(|lasted| **lasted < Duration::from_secs(1));
    assert!(usual.iter().all(|lasted| (Duration::from_micros(20)..=Duration::from_micros(300)).contains(*lasted)));
    assert!(stalled.iter().all(|lasted| (Duration::from_secs(2)..Duration::from_secs(10)).contains(*lasted)));
    assert!(usual.len() > 600 && stalled.len() > 20, "{} and {}", usual.len(), stalled.len());
}

#[test]
fn after_a_kill_reads_show_completed_writes_but_none_became_durable() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.fill(0..3, 2).unwrap();
        bench.start(write(3..SECTORS, 2));
        bench.crash(Crash::Process);
        let shown = bench.values();
        assert_eq!(shown[..3], [2; 3]);
        if seed % 2 == 0 {
            // A sync by the next process makes it durable.
            bench.sync().unwrap();
            bench.cut();
            assert_eq!(bench.values(), shown);
        } else {
            bench.cut();
        }
        (seed % 2 == 0, shown[3..].to_vec(), bench.values()[..3].to_vec())
    });
    let in_flight: BTreeSet<_> = survivors.iter().map(|(_, in_flight, _)| in_flight.clone()).collect();
    assert_eq!(in_flight.len(), 8, "reads show any subset of an interrupted write: {in_flight:?}");
    let unsynced: BTreeSet<_> =
        survivors.iter().filter(|(is_synced, ..)| !is_synced).map(|(.., kept)| kept.clone()).collect();
    assert_eq!(unsynced.len(), 8, "a cut keeps any subset of the sectors that reads showed: {unsynced:?}");
}

#[test]
fn operations_that_a_crash_interrupts_report_nothing() {
    for crash in [Crash::Process, Crash::Power] {
        let mut bench = Bench::new(1);
        bench.start(write(0..1, 2));
        bench.start(Operation::Sync { slot: SLOT });
        bench.crash(crash);
        assert!(bench.next().is_none());
        // The next process starts afresh.
        bench.fill(0..1, 3).unwrap();
        assert_eq!(bench.values()[0], 3);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hash = |seed| {
        let mut bench = Bench::new(seed);
        bench.fill(0..SECTORS, 2).unwrap();
        bench.start(write(2..4, 3));
        bench.cut();
        bench.values();
        (bench.trace.hash(), bench.trace.log().map(ToOwned::to_owned))
    };
    assert!((0..SEEDS).all(|seed| hash(seed) == hash(seed)));
    assert_eq!(seen(|seed| hash(seed).0).len() as u64, SEEDS, "each seed goes its own way");
}

#[test]
fn the_content_of_a_read_is_part_of_the_trace() {
    let hash = |flipped| {
        let mut bench = Bench::new(1);
        assert!(bench.disk.harm(nanos(0), SLOT, flipped * SECTOR, Harm::Flipped));
        let before = bench.trace.hash();
        bench.run(Operation::Read { slot: SLOT, offset: 0, length: SECTOR }).unwrap();
        (before, bench.trace.hash())
    };
    let (read, other) = (hash(0), hash(1));
    assert_eq!(read.0, other.0);
    assert_ne!(read.1, other.1);
}
