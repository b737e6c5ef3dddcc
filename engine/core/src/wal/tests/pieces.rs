//! Recovery of a checkpoint in two pieces from a disk that loses some of its content.

use bytes::Bytes;

use super::disk::{BLOCK, Disk, Shard, batch, partition, shape, state_of};
use super::torn::write_repair;
use crate::wal::recovery::{CorruptionPolicy, RecoveryError};
use crate::wal::scan::ReplayEvent;
use crate::wal::{RecoveredWal, SlotId};

/// A log of two batches, a first piece, a batch, a last piece and a batch, each in a group of its
/// own; with the offsets of the groups.
fn recorded() -> (Shard, Vec<usize>) {
    let mut shard = Shard::open(Disk::default(), shape(64), 8).unwrap();
    let mut places = Vec::new();
    let commit = |shard: &mut Shard, places: &mut Vec<usize>| {
        places.push(shard.table.next_position().unwrap().offset as usize);
        shard.commit();
    };
    shard.open_partition(partition(0));
    commit(&mut shard, &mut places);
    for fill in 0..2 {
        assert!(shard.append(partition(0), &batch(1, 50, fill)));
        commit(&mut shard, &mut places);
    }
    let begun_at = shard.checkpoint_piece(partition(0), None, 0);
    commit(&mut shard, &mut places);
    assert!(shard.append(partition(0), &batch(1, 50, 2)));
    commit(&mut shard, &mut places);
    shard.checkpoint_piece(partition(0), Some(begun_at), 2);
    commit(&mut shard, &mut places);
    assert!(shard.append(partition(0), &batch(1, 50, 3)));
    commit(&mut shard, &mut places);
    shard.prove();
    shard.sync();
    (shard, places)
}

fn recover(disk: &Disk, policy: CorruptionPolicy) -> Result<RecoveredWal, RecoveryError> {
    disk.recover(shape(64), policy)
}

/// The replayed events: the log end in the checkpoint, or `None` after an open frame, and the
/// offsets of the batches.
fn replayed(recovered: &RecoveredWal) -> (Option<i64>, Vec<i64>) {
    let events = state_of(recovered).remove(&partition(0)).unwrap();
    let end = match &events[0] {
        ReplayEvent::Checkpoint(bytes) => Some(i64::from_le_bytes(bytes[8..16].try_into().unwrap())),
        _ => None,
    };
    let batches = events.iter().filter_map(|event| match event {
        ReplayEvent::Batch(header, _) => Some(header.base_offset.0),
        _ => None,
    });
    (end, batches.collect())
}

#[test]
fn batches_between_two_pieces_are_replayed_on_top_of_the_checkpoint() {
    let (shard, _) = recorded();
    let recovered = recover(&shard.disk, CorruptionPolicy::Refuse).unwrap();
    assert_eq!(replayed(&recovered), (Some(2), vec![2, 3]));
    let ReplayEvent::Checkpoint(bytes) = &state_of(&recovered)[&partition(0)][0] else { panic!("a checkpoint") };
    assert_eq!(*bytes, Bytes::from([0_i64.to_le_bytes(), 2_i64.to_le_bytes()].concat()));
}

#[test]
fn a_log_cut_at_any_group_has_the_checkpoint_only_with_its_last_piece() {
    let (shard, places) = recorded();
    let all = [None, None, None, None, None, Some(2), Some(2)];
    for ((at, cut), expected) in places.iter().enumerate().skip(1).zip(all) {
        let mut disk = shard.disk.clone();
        disk.0.get_mut(&SlotId(0)).unwrap()[*cut..].fill(0);
        let (end, batches) = replayed(&recover(&disk, CorruptionPolicy::Refuse).unwrap());
        assert_eq!(end, expected, "cut before group {at}");
        let whole: Vec<_> = (end.unwrap_or(0)..[0, 0, 1, 2, 2, 3, 3][at]).collect();
        assert_eq!(batches, whole, "cut before group {at}");
    }
}

#[test]
fn a_damaged_piece_is_refused_and_a_repair_goes_on_from_the_older_base() {
    for damaged in [3, 5] {
        let (shard, places) = recorded();
        let mut disk = shard.disk;
        disk.0.get_mut(&SlotId(0)).unwrap()[places[damaged] + BLOCK / 4] ^= 1;
        let refused = recover(&disk, CorruptionPolicy::Refuse);
        let is_named =
            matches!(refused, Err(RecoveryError::Corruption { offset, .. }) if offset as usize == places[damaged]);
        assert!(is_named, "{refused:?}");
        let repaired = recover(&disk, CorruptionPolicy::Repair).unwrap();
        assert_eq!((replayed(&repaired), repaired.bases_lost.len()), ((None, vec![0, 1, 2, 3]), 0));
        write_repair(&mut disk, &repaired);
        for policy in [CorruptionPolicy::Refuse, CorruptionPolicy::Repaired] {
            assert_eq!(replayed(&recover(&disk, policy).unwrap()), (None, vec![0, 1, 2, 3]));
        }
    }
}
