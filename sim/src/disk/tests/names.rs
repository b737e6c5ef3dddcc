//! Tests of the fault model: names, lengths and notes.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::bench::{Bench, OTHER, SECTORS, SLOT, STEADY, seen, write_synced};
use crate::disk::{Crash, DiskError, Faults, Operation, SECTOR};
use crate::rng::Chance;

const NAME: &str = "wal.json";

fn put(text: &'static str) -> Operation {
    Operation::PutNote { name: NAME, bytes: Bytes::from_static(text.as_bytes()) }
}

#[test]
fn a_slot_is_durable_after_a_sync_of_its_file_and_of_the_folder() {
    let survivors = |syncs_file: bool, syncs_folder: bool| {
        seen(|seed| {
            let mut bench = Bench::empty(seed, u64::MAX, STEADY);
            bench.run(Operation::Reserve { slot: SLOT, length: SECTORS * SECTOR }).unwrap();
            if syncs_file {
                bench.run(Operation::Sync { slot: SLOT }).unwrap();
            }
            if syncs_folder {
                bench.run(Operation::SyncFolder).unwrap();
            }
            bench.cut();
            bench.slots().first().map(|(_, length)| length / SECTOR)
        })
    };
    assert_eq!(survivors(true, true), BTreeSet::from([Some(6)]));
    assert_eq!(survivors(true, false), BTreeSet::from([None, Some(6)]), "the name may be lost, but not the length");
    assert_eq!(survivors(false, true), BTreeSet::from([Some(0), Some(6)]), "the length may be lost, but not the name");
    assert_eq!(survivors(false, false), BTreeSet::from([None, Some(0), Some(6)]));
}

#[test]
fn a_write_with_its_own_sync_makes_the_length_durable() {
    let survivors = seen(|seed| {
        let mut bench = Bench::empty(seed, u64::MAX, STEADY);
        bench.run(Operation::Reserve { slot: SLOT, length: SECTORS * SECTOR }).unwrap();
        bench.run(Operation::SyncFolder).unwrap();
        bench.run(write_synced(5..6, 2)).unwrap();
        bench.cut();
        bench.values()
    });
    assert_eq!(survivors, BTreeSet::from([vec![0, 0, 0, 0, 0, 2]]));
}

#[test]
fn sectors_beyond_a_lost_length_come_back_as_zeros() {
    let survivors = seen(|seed| {
        let mut bench = Bench::empty(seed, u64::MAX, STEADY);
        bench.run(Operation::Reserve { slot: SLOT, length: SECTORS * SECTOR }).unwrap();
        bench.run(Operation::SyncFolder).unwrap();
        bench.fill(0..SECTORS, 2).unwrap();
        bench.cut();
        let is_short = bench.values().is_empty();
        bench.run(Operation::Reserve { slot: SLOT, length: SECTORS * SECTOR }).unwrap();
        assert!(!is_short || bench.values() == [0; 6]);
        (is_short, bench.values()[0])
    });
    assert_eq!(survivors, BTreeSet::from([(true, 0), (false, 0), (false, 2)]));
}

#[test]
fn a_removed_slot_may_come_back_with_its_content_until_the_folder_is_synced() {
    let survivors = |is_synced: bool, crash| {
        seen(|seed| {
            let mut bench = Bench::new(seed);
            bench.run(Operation::Remove { slot: SLOT }).unwrap();
            assert_eq!(bench.try_values(SLOT), Err(DiskError::NotFound));
            if is_synced {
                bench.run(Operation::SyncFolder).unwrap();
            }
            bench.crash(crash);
            bench.try_values(SLOT)
        })
    };
    let (gone, back) = (Err(DiskError::NotFound), Ok(vec![1; 6]));
    assert_eq!(survivors(false, Crash::Power), BTreeSet::from([gone.clone(), back]));
    assert_eq!(survivors(true, Crash::Power), BTreeSet::from([gone.clone()]));
    assert_eq!(survivors(false, Crash::Process), BTreeSet::from([gone]), "only a cut brings a name back");
    let after_a_kill = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.run(Operation::Remove { slot: SLOT }).unwrap();
        bench.crash(Crash::Process);
        bench.cut();
        bench.try_values(SLOT).is_ok()
    });
    assert_eq!(after_a_kill, BTreeSet::from([false, true]));
}

#[test]
fn a_slot_made_anew_is_the_old_file_or_the_new_one() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.run(Operation::Remove { slot: SLOT }).unwrap();
        bench.run(Operation::Reserve { slot: SLOT, length: SECTORS * SECTOR }).unwrap();
        assert_eq!(bench.values(), [0; 6], "a new file holds nothing of the old one");
        bench.run(write_synced(0..SECTORS, 2)).unwrap();
        bench.cut();
        bench.try_values(SLOT)
    });
    assert_eq!(survivors, BTreeSet::from([Err(DiskError::NotFound), Ok(vec![1; 6]), Ok(vec![2; 6])]));
}

#[test]
fn a_note_is_old_or_new_as_a_whole_and_new_after_a_sync_of_the_folder() {
    let survivors = |is_synced: bool| {
        seen(|seed| {
            let mut bench = Bench::empty(seed, u64::MAX, STEADY);
            bench.run(put("old")).unwrap();
            bench.run(Operation::SyncFolder).unwrap();
            bench.run(put("new")).unwrap();
            if is_synced {
                bench.run(Operation::SyncFolder).unwrap();
            }
            bench.cut();
            bench.note(NAME)
        })
    };
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    assert_eq!(survivors(false), BTreeSet::from([text("old"), text("new")]));
    assert_eq!(survivors(true), BTreeSet::from([text("new")]));
}

#[test]
fn a_removed_note_may_come_back_until_the_folder_is_synced() {
    let survivors = |is_synced: bool| {
        seen(|seed| {
            let mut bench = Bench::empty(seed, u64::MAX, STEADY);
            bench.run(put("old")).unwrap();
            bench.run(Operation::SyncFolder).unwrap();
            bench.run(Operation::RemoveNote { name: NAME }).unwrap();
            assert_eq!(bench.note(NAME), None);
            if is_synced {
                bench.run(Operation::SyncFolder).unwrap();
            }
            bench.cut();
            bench.note(NAME).is_some()
        })
    };
    assert_eq!(survivors(false), BTreeSet::from([false, true]));
    assert_eq!(survivors(true), BTreeSet::from([false]));
}

#[test]
fn a_cut_during_an_operation_leaves_its_name_old_or_new() {
    let survivors = seen(|seed| {
        let mut bench = Bench::new(seed);
        bench.run(put("old")).unwrap();
        bench.run(Operation::SyncFolder).unwrap();
        bench.start(put("new"));
        bench.start(Operation::Reserve { slot: OTHER, length: SECTOR });
        bench.start(Operation::Remove { slot: SLOT });
        bench.cut();
        let names = bench.slots().iter().map(|(slot, _)| *slot).collect::<Vec<_>>();
        let is_new = bench.note(NAME).expect("a note that is replaced is never gone") == "new";
        (is_new, names.contains(&OTHER), names.contains(&SLOT))
    });
    assert_eq!(survivors.len(), 8, "any subset: {survivors:?}");
}

#[test]
fn a_folder_sync_covers_names_that_an_earlier_failed_one_did_not() {
    let survivors = |syncs_again: bool| {
        seen(|seed| {
            let mut bench = Bench::empty(seed, u64::MAX, STEADY);
            bench.run(put("new")).unwrap();
            bench.disk.faults = Faults { folder_sync: Chance::ALWAYS, ..Faults::NONE };
            bench.run(Operation::SyncFolder).unwrap_err();
            bench.disk.faults = Faults::NONE;
            if syncs_again {
                bench.run(Operation::SyncFolder).unwrap();
            }
            bench.cut();
            bench.note(NAME).is_some()
        })
    };
    assert_eq!(survivors(false), BTreeSet::from([false, true]));
    assert_eq!(survivors(true), BTreeSet::from([true]));
}
