//! Of the fault model: what fails, and what that leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, OTHER, SECTORS, SLOT, STEADY, nanos, seen, write, write_synced};
use crate::dice::{Chance, Delay};
use crate::disk::{Crash, DiskError, Faults, Harm, Operation, Outcome, SECTOR};

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
fn what_is_not_there_is_not_found() {
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
fn of_a_failed_write_any_subset_is_written() {
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
fn what_a_failed_sync_covered_may_be_lost_though_reads_show_it_and_later_syncs_do_not_help() {
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
            assert!(!rewrites || bench.values() == [shown[0]; 6], "what is written again is covered again");
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
fn a_failed_sync_leaves_what_it_did_not_cover_to_the_next() {
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
fn a_kill_shows_either_what_a_failed_sync_lost_or_what_is_on_the_disk() {
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
            assert_eq!(read(sector * SECTOR).is_err(), is_lost, "what is lost is listed, and stays lost");
            bench.fill(sector..sector + 1, 3).unwrap();
        }
        assert_eq!(bench.values(), [3; 6]);
        // The write was not synced: the disk may be as it was.
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
        assert!(wrong.is_sorted(), "what is wrong stays wrong");
        assert_eq!(bench.disk.harms().iter().filter(|harm| harm.harm == Harm::Flipped).count(), wrong[2] as usize);
        wrong[2]
    });
    assert_eq!(flipped, BTreeSet::from([0, 1]));
}

#[test]
fn only_what_was_written_and_is_durable_is_harmed() {
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
        assert!(!(2..SECTORS).any(&mut is_lost), "what is durable is not touched");
        let lost = (is_lost(0), is_lost(1));
        assert_eq!(bench.disk.harms().len(), usize::from(lost.0) + usize::from(lost.1));
        lost
    });
    assert_eq!(lost.len(), 4, "{lost:?}");
}

#[test]
fn the_disk_may_be_full_and_later_not() {
    let full_for = Delay { least: Duration::from_secs(1), most: Duration::from_secs(2) };
    let faults = Faults { full: Chance::percent(20), full_for, ..Faults::NONE };
    let reserve = Operation::Reserve { slot: OTHER, length: SECTORS * SECTOR };
    let tries = seen(|seed| {
        let mut bench = Bench::new(seed).with(faults);
        let first = bench.run(reserve.clone());
        if first.is_err() {
            let note = bench.run(Operation::PutNote { name: NAME, bytes: Bytes::new() });
            assert_eq!(note, Err(DiskError::Full), "it is so for a while");
            assert_eq!(bench.slots(), [(SLOT, SECTORS * SECTOR)]);
        }
        bench.fill(0..SECTORS, 2).expect("what is reserved can be written");
        let mut tries = 1;
        while bench.run(reserve.clone()).is_err() && tries < 100_000 {
            tries += 1;
        }
        assert_eq!(bench.slots().len(), 2, "it ends");
        (first.map(|_| ()), tries > 1)
    });
    assert!(tries.contains(&(Err(DiskError::Full), true)) && tries.contains(&(Ok(()), false)), "{tries:?}");
}

#[test]
fn slots_take_no_more_room_than_there_is_and_give_it_back() {
    let mut bench = Bench::empty(1, u64::from(2 * SECTOR), STEADY);
    let reserve = |slot, length| Operation::Reserve { slot, length };
    bench.run(reserve(SLOT, SECTOR)).unwrap();
    assert_eq!(bench.run(reserve(OTHER, 2 * SECTOR)), Err(DiskError::Full));
    assert_eq!(bench.run(reserve(SLOT, 3 * SECTOR)), Err(DiskError::Full));
    bench.run(reserve(SLOT, 2 * SECTOR)).unwrap();
    bench.run(reserve(SLOT, SECTOR)).expect("it is as long already");
    assert_eq!(bench.slots(), [(SLOT, 2 * SECTOR)]);
    bench.run(Operation::Remove { slot: SLOT }).unwrap();
    bench.run(reserve(OTHER, 2 * SECTOR)).unwrap();
    assert_eq!(bench.slots(), [(OTHER, 2 * SECTOR)]);
}
