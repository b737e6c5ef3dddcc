//! Tests of the fault model: errors and their effects.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, OTHER, SECTORS, SLOT, STEADY, nanos, seen, write, write_synced};
use crate::disk::{Crash, DiskError, Faults, Harm, Operation, Outcome, SECTOR};
use crate::rng::{Chance, Delay};

const NAME: &str = "wal.json";

fn every_operation() -> Vec<Operation> {
    vec![
        Operation::Reserve { slot: OTHER, length: SECTOR },
        Operation::Remove { slot: SLOT },
        write(0..2, 2),
        Operation::Sync { slot: SLOT },
        write_synced(0..2, 2),
        Operation::Read { slot: SLOT, offset: 0, length: SECTOR },
        Operation::List,
        Operation::SyncFolder,
        Operation::PutNote { name: NAME, bytes: Bytes::from_static(b"new") },
        Operation::ReadNote { name: NAME },
        Operation::RemoveNote { name: NAME },
    ]
}

#[test]
fn any_operation_may_fail_and_none_does_without_faults() {
    let often = Chance::percent(50);
    let faults = Faults { read: often, write: often, sync: often, folder_sync: often, ..Faults::NONE };
    for operation in every_operation() {
        let results = |faults| {
            seen(|seed| {
                let mut bench = Bench::new(seed);
                bench.run(Operation::PutNote { name: NAME, bytes: Bytes::new() }).unwrap();
                bench.with(faults).run(operation.clone()).map(|_| ())
            })
        };
        assert_eq!(results(faults), BTreeSet::from([Ok(()), Err(DiskError::Io)]), "{operation:?}");
        assert_eq!(results(Faults::NONE), BTreeSet::from([Ok(())]), "{operation:?}");
    }
}

#[test]
fn operations_on_missing_files_fail_with_not_found() {
    let missing = [
        Operation::Remove { slot: OTHER },
        Operation::Sync { slot: OTHER },
        Operation::Read { slot: OTHER, offset: 0, length: SECTOR },
        Operation::Write { slot: OTHER, offset: 0, bytes: Bytes::from(vec![0; 512]) },
        Operation::WriteSynced { slot: OTHER, offset: 0, bytes: Bytes::from(vec![0; 512]) },
        Operation::RemoveNote { name: NAME },
    ];
    for operation in missing {
        assert_eq!(Bench::new(1).run(operation.clone()), Err(DiskError::NotFound), "{operation:?}");
    }
    assert_eq!(Bench::new(1).run(Operation::ReadNote { name: NAME }), Ok(Outcome::Note(None)));
}

#[test]
fn a_failed_write_writes_any_subset_of_its_sectors() {
    for (operation, faults) in [
        (write(0..3, 2), Faults { write: Chance::ALWAYS, ..Faults::NONE }),
        (write_synced(0..3, 2), Faults { sync: Chance::ALWAYS, ..Faults::NONE }),
    ] {
        let shown = seen(|seed| {
            let mut bench = Bench::new(seed).with(faults);
            bench.run(operation.clone()).unwrap_err();
            bench.values()[..3].to_vec()
        });
        assert_eq!(shown.len(), 8, "{shown:?}");
    }
}

#[test]
fn a_failed_sync_may_lose_sectors_that_reads_show_and_later_syncs_skip() {
    let after = |operation: fn(&mut Bench), rewrites: bool| {
        seen(|seed| {
            let mut bench = Bench::new(seed).with(Faults { sync: Chance::ALWAYS, ..Faults::NONE });
            operation(&mut bench);
            bench.disk.faults = Faults::NONE;
            let shown = bench.values();
            if rewrites {
                bench.fill(0..SECTORS, shown[0]).unwrap();
            }
            bench.sync().unwrap();
            bench.cut();
            assert!(!rewrites || bench.values() == [shown[0]; 6], "a sector that is written again is covered again");
            (shown[0], bench.values()[0])
        })
    };
    let write_and_sync = |bench: &mut Bench| {
        bench.fill(0..SECTORS, 2).unwrap();
        bench.sync().unwrap_err();
    };
    assert_eq!(after(write_and_sync, false), BTreeSet::from([(2, 1), (2, 2)]));
    assert_eq!(after(write_and_sync, true), BTreeSet::from([(2, 2)]));
    let write_through = |bench: &mut Bench| assert!(bench.run(write_synced(0..SECTORS, 2)).is_err());
    assert_eq!(after(write_through, false), BTreeSet::from([(1, 1), (2, 1), (2, 2)]));
}

#[test]
fn a_sync_covers_writes_that_an_earlier_failed_sync_did_not_cover() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.disk.faults.sync = Chance::ALWAYS;
        let sync = bench.start(Operation::Sync { slot: SLOT });
        bench.disk.faults = Faults::NONE;
        let late = bench.start(write(0..SECTORS, 2));
        while let Some((done, result)) = bench.next() {
            assert_eq!((done == sync, done == late), (result.is_err(), result.is_ok()));
        }
        bench.sync().unwrap();
        bench.cut();
        bench.values()
    });
    assert_eq!(survivors, BTreeSet::from([vec![2; 6]]));
}

#[test]
fn after_a_kill_reads_show_the_sector_that_a_failed_sync_lost_or_the_durable_one() {
    let shown = seen(|seed| {
        let mut bench = Bench::new(seed).with(Faults { sync: Chance::ALWAYS, ..Faults::NONE });
        bench.fill(0..1, 2).unwrap();
        bench.sync().unwrap_err();
        bench.crash(Crash::Process);
        let shown = bench.values()[0];
        bench.cut();
        (shown, bench.values()[0])
    });
    assert_eq!(shown, BTreeSet::from([(1, 1), (2, 1), (2, 2)]));
}

#[test]
fn a_sector_may_become_unreadable_until_it_is_written_again() {
    let faults = Faults { unreadable: Chance::percent(5), ..Faults::NONE };
    let lost = seen(|seed| {
        let mut bench = Bench::new(seed).with(faults);
        let first = bench.try_values(SLOT);
        bench.disk.faults = Faults::NONE;
        let harmed: Vec<_> = bench.disk.harms().iter().map(|harm| (harm.slot, harm.offset / SECTOR)).collect();
        assert_eq!(first.is_err(), !harmed.is_empty());
        for sector in 0..SECTORS {
            let mut read = |offset| bench.run(Operation::Read { slot: SLOT, offset, length: SECTOR });
            let is_lost = harmed.contains(&(SLOT, sector));
            assert_eq!(read(sector * SECTOR).is_err(), is_lost, "unreadable sectors are listed, and stay unreadable");
            bench.fill(sector..sector + 1, 3).unwrap();
        }
        assert_eq!(bench.values(), [3; 6]);
        // The write was not synced: the cut may restore the old sector.
        bench.cut();
        let again = bench.try_values(SLOT);
        (harmed.len().min(1), again.is_err())
    });
    assert_eq!(lost, BTreeSet::from([(0, false), (1, false), (1, true)]));
}

#[test]
fn a_sector_may_change_a_bit() {
    let flipped = seen(|seed| {
        let mut bench = Bench::new(seed).with(Faults { flipped: Chance::percent(5), ..Faults::NONE });
        let mut read = || match bench.run(Operation::Read { slot: SLOT, offset: 0, length: SECTOR }).unwrap() {
            Outcome::Read(bytes) => bytes.iter().map(|byte| (byte ^ 1).count_ones()).sum::<u32>(),
            other => panic!("a read gives bytes, not {other:?}"),
        };
        let wrong = [read(), read(), read()];
        assert!(wrong.is_sorted(), "a flipped bit stays flipped");
        assert_eq!(bench.disk.harms().iter().filter(|harm| harm.harm == Harm::Flipped).count(), wrong[2] as usize);
        wrong[2]
    });
    assert_eq!(flipped, BTreeSet::from([0, 1]));
}

#[test]
fn only_written_durable_sectors_are_harmed() {
    let mut bench = Bench::new(1);
    bench.make(OTHER);
    assert!(!bench.disk.harm(nanos(0), OTHER, 0, Harm::Unreadable), "it was never written");
    assert!(!bench.disk.harm(nanos(0), SLOT, SECTORS * SECTOR, Harm::Unreadable), "there is no such sector");
    bench.fill(0..1, 2).unwrap();
    assert!(!bench.disk.harm(nanos(0), SLOT, 0, Harm::Unreadable), "it is not on the disk");
    bench.sync().unwrap();
    assert!(bench.disk.harm(nanos(0), SLOT, 0, Harm::Unreadable));
    assert_eq!(bench.try_values(SLOT), Err(DiskError::Io));
}

#[test]
fn sectors_that_no_sync_covers_may_be_unreadable_after_a_cut() {
    let faults = Faults { torn_unreadable: Chance::percent(30), ..Faults::NONE };
    let lost = seen(|seed| {
        let mut bench = Bench::new(seed).with(faults);
        bench.fill(0..1, 2).unwrap();
        bench.start(write(1..2, 2));
        bench.cut();
        let mut is_lost =
            |sector| bench.run(Operation::Read { slot: SLOT, offset: sector * SECTOR, length: SECTOR }).is_err();
        assert!(!(2..SECTORS).any(&mut is_lost), "durable sectors stay readable");
        let lost = (is_lost(0), is_lost(1));
        assert_eq!(bench.disk.harms().len(), usize::from(lost.0) + usize::from(lost.1));
        lost
    });
    assert_eq!(lost.len(), 4, "{lost:?}");
}

#[test]
fn the_disk_may_be_full_for_a_while() {
    let full_for = Delay { least: Duration::from_secs(1), most: Duration::from_secs(2) };
    let faults = Faults { full: Chance::percent(20), full_for, ..Faults::NONE };
    let reserve = Operation::Reserve { slot: OTHER, length: SECTORS * SECTOR };
    let tries = seen(|seed| {
        let mut bench = Bench::new(seed).with(faults);
        let first = bench.run(reserve.clone());
        if first.is_err() {
            let note = bench.run(Operation::PutNote { name: NAME, bytes: Bytes::new() });
            assert_eq!(note, Err(DiskError::Full), "the disk stays full for a while");
            assert_eq!(bench.slots(), [(SLOT, SECTORS * SECTOR)]);
        }
        bench.fill(0..SECTORS, 2).expect("a write within the reserved length finds room");
        let mut tries = 1;
        while bench.run(reserve.clone()).is_err() && tries < 100_000 {
            tries += 1;
        }
        assert_eq!(bench.slots().len(), 2, "the disk is full only for a while");
        (first.map(|_| ()), tries > 1)
    });
    assert!(tries.contains(&(Err(DiskError::Full), true)) && tries.contains(&(Ok(()), false)), "{tries:?}");
}

#[test]
fn slots_stay_within_the_capacity_and_free_their_space() {
    let mut bench = Bench::empty(1, u64::from(2 * SECTOR), STEADY);
    let reserve = |slot, length| Operation::Reserve { slot, length };
    bench.run(reserve(SLOT, SECTOR)).unwrap();
    assert_eq!(bench.run(reserve(OTHER, 2 * SECTOR)), Err(DiskError::Full));
    assert_eq!(bench.run(reserve(SLOT, 3 * SECTOR)), Err(DiskError::Full));
    bench.run(reserve(SLOT, 2 * SECTOR)).unwrap();
    bench.run(reserve(SLOT, SECTOR)).expect("the slot is longer already");
    assert_eq!(bench.slots(), [(SLOT, 2 * SECTOR)]);
    bench.run(Operation::Remove { slot: SLOT }).unwrap();
    bench.run(reserve(OTHER, 2 * SECTOR)).unwrap();
    assert_eq!(bench.slots(), [(OTHER, 2 * SECTOR)]);
}
