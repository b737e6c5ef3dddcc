//! Tests with several segments: sealing, reads through an index, freeing, relocation,
//! back-pressure.

use rustmq_model::Offset;

use super::disk::{Disk, Read, Shard, batch, partition, shape, state_of};
use crate::wal::Control;
use crate::wal::recovery::CorruptionPolicy;
use crate::wal::segments::{LocatedExtents, OldestSegment, RESERVE};

fn opened(segments_max: u32) -> Shard {
    let mut shard = Shard::open(Disk::default(), shape(32), segments_max).unwrap();
    shard.prove();
    shard.open_partition(partition(0));
    shard.open_partition(partition(1));
    shard.commit();
    shard
}

fn fill(shard: &mut Shard, number: i32, batches: usize) {
    for fill in 0..batches {
        assert!(shard.append(partition(number), &batch(2, 300, u8::try_from(fill % 250).unwrap())));
        shard.commit();
    }
}

fn is_indexed(shard: &Shard) -> bool {
    let location = shard.location(partition(0), Offset(0));
    matches!(location.extents, LocatedExtents::Indexed(_))
}

#[test]
fn sealed_segments_are_read_through_their_index_also_after_a_restart() {
    let mut shard = opened(16);
    fill(&mut shard, 0, 100);
    assert!(shard.table.generations().count() > 4);
    shard.check_served();
    assert!(is_indexed(&shard));
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(state_of(&recovered), shard.state);
    let mut again = Shard::open(shard.disk.clone(), shape(32), 16).unwrap();
    again.served = shard.served.clone();
    again.check_served();
    let bytes = |shard: &Shard| shard.table.bytes_from(partition(0), Offset(0));
    assert_eq!(bytes(&again), bytes(&shard));
}

#[test]
fn a_segment_is_not_read_through_an_index_that_is_not_on_disk_yet() {
    let mut shard = opened(16);
    fill(&mut shard, 0, 3);
    shard.half_roll();
    shard.check_served();
    shard.sync();
    assert!(is_indexed(&shard));
    shard.check_served();
}

#[test]
fn trims_free_segments_once_they_are_synced_and_a_held_one_stays() {
    let mut shard = opened(16);
    fill(&mut shard, 0, 100);
    let before = shard.table.generations().count();
    let oldest = shard.table.generations().next().unwrap();
    let log_start = shard.end_offset(partition(0));
    assert!(shard.control(partition(0), Control::Trim { log_start }));
    assert!(shard.control(partition(1), Control::Trim { log_start: Offset(0) }));
    shard.checkpoint(partition(0));
    shard.checkpoint(partition(1));
    assert_eq!(shard.table.poll_free(|_| Offset(i64::MAX)), OldestSegment::Needed, "the trim is not synced");
    let hold = shard.table.shared().hold(oldest);
    assert!(hold.is_some());
    shard.commit();
    assert_eq!(shard.table.poll_free(|_| Offset(i64::MAX)), OldestSegment::Held);
    drop(hold);
    assert_eq!(shard.clean(), before - 1);
    assert_eq!(shard.table.generations().count(), 1);
}

#[test]
fn a_trim_that_is_not_synced_hides_nothing() {
    let mut shard = opened(16);
    fill(&mut shard, 0, 100);
    let oldest = shard.table.generations().next().unwrap();
    let in_oldest = |shard: &Shard| is_indexed(shard) && shard.location(partition(0), Offset(0)).generation == oldest;
    let log_start = shard.end_offset(partition(0));
    assert!(shard.control(partition(0), Control::Trim { log_start }));
    assert!(in_oldest(&shard));
    shard.finish_group(crate::wal::GroupKind::Data);
    assert!(in_oldest(&shard));
    shard.sync();
    assert_eq!(shard.locate(partition(0), Offset(0)), None);
}

#[test]
fn a_group_proves_only_what_was_synced() {
    let mut shard = opened(16);
    let synced = shard.table.provable();
    assert!(shard.append(partition(0), &batch(1, 100, 1)));
    shard.finish_group(crate::wal::GroupKind::Data);
    let end = shard.table.next_position().unwrap();
    shard.table.on_durable(end);
    assert_eq!((shard.table.durable(), shard.table.provable()), (end, synced));
    shard.table.on_synced(end);
    assert_eq!(shard.table.provable(), end);
}

#[test]
fn a_quiet_partition_in_the_oldest_segment_moves_and_frees_it() {
    let mut shard = opened(10);
    fill(&mut shard, 1, 3);
    for _ in 0..60 {
        fill(&mut shard, 0, 4);
        let log_start = shard.end_offset(partition(0));
        assert!(shard.control(partition(0), Control::Trim { log_start }));
        shard.clean();
        shard.check_served();
    }
    assert!(shard.table.generations().next().unwrap().0 > 10, "the oldest segments were freed");
    assert_eq!(shard.served[&partition(1)].len(), 3);
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(state_of(&recovered), shard.state);
}

#[test]
fn a_full_wal_refuses_appends_takes_trims_and_comes_back() {
    let mut shard = opened(8);
    let one = batch(2, 300, 1);
    let mut appended = 0;
    while shard.append(partition(0), &one) {
        shard.commit();
        appended += 1;
        assert!(appended < 1_000);
    }
    assert!(shard.table.is_full());
    let log_start = shard.end_offset(partition(0));
    assert!(shard.control(partition(0), Control::Trim { log_start }));
    shard.clean();
    assert!(!shard.table.is_full());
    assert!(shard.append(partition(0), &one));
    shard.commit();
    shard.check_served();
}

/// No more slots are prepared: the disk is full, though the WAL is below its capacity.
#[test]
fn a_full_disk_refuses_appends_takes_trims_and_comes_back_also_after_a_restart() {
    const ROOM: usize = 8;
    let mut shard = Shard::open_on_small_disk(Disk::default(), shape(32), 1_000, ROOM).unwrap();
    shard.prove();
    shard.open_partition(partition(0));
    shard.open_partition(partition(1));
    fill(&mut shard, 1, 3);
    let one = batch(2, 300, 1);
    for restart in 0..6 {
        let mut appended = 0;
        while shard.append(partition(0), &one) {
            shard.commit();
            appended += 1;
            assert!(appended < 1_000, "the disk has room for {ROOM} slots");
        }
        assert!(appended > 0, "restart {restart}: no batch was accepted");
        assert!(shard.table.is_full());
        assert_eq!(shard.table.segments_left(), RESERVE, "the reserve is left");
        // Small trims, which free nothing, do not let new data into the reserve.
        for trims in 1..20 {
            let log_start = Offset(super::disk::log_start(&shard.state[&partition(0)]).0 + trims % 2);
            assert!(shard.control(partition(0), Control::Trim { log_start }), "trim {trims} is refused");
            shard.commit();
            if shard.append(partition(0), &one) {
                shard.commit();
            }
        }
        let served = shard.served.clone();
        shard = Shard::open_on_small_disk(shard.disk, shape(32), 1_000, ROOM).unwrap();
        shard.served = served;
        shard.prove();
        shard.sync();
        let log_start = shard.end_offset(partition(0));
        assert!(shard.control(partition(0), Control::Trim { log_start }), "restart {restart}: a trim is refused");
        for _ in 0..4 {
            shard.clean();
        }
        assert!(!shard.table.is_full(), "restart {restart}: {} segments are left", shard.table.segments_left());
        shard.check_served();
        assert_eq!(shard.disk.0.len(), ROOM);
    }
}

#[test]
fn the_smallest_wal_comes_back_though_a_quiet_partition_pins_its_oldest_segment() {
    let mut shard = opened(crate::wal::segments::SEGMENTS_MIN);
    fill(&mut shard, 1, 2);
    let one = batch(2, 1_500, 1);
    while shard.append(partition(0), &one) {
        shard.commit();
    }
    assert!(shard.table.is_full());
    let log_start = shard.end_offset(partition(0));
    assert!(shard.control(partition(0), Control::Trim { log_start }));
    for _ in 0..4 {
        shard.clean();
    }
    assert!(shard.append(partition(0), &one), "new data finds room again");
    shard.commit();
    shard.check_served();
    assert_eq!(shard.served[&partition(1)].len(), 2);
}

/// Damages the batch at the offset on the disk.
fn damage(shard: &mut Shard, number: i32, offset: i64) {
    let needle = shard.served[&partition(number)][&offset].clone();
    let slots = shard.disk.0.values_mut();
    let mut places = slots.filter_map(|slot| {
        let at = slot.windows(needle.len()).position(|window| *window == needle[..])?;
        Some(&mut slot[at + 100])
    });
    *places.next().expect("the batch is on the disk") ^= 1;
    assert!(places.next().is_none(), "the batch is on the disk once");
}

#[test]
fn an_unreadable_batch_holds_up_no_segment_and_is_reported_until_it_is_trimmed() {
    let mut shard = opened(10);
    for fill in [1, 2, 3] {
        assert!(shard.append(partition(1), &batch(2, 300, fill)));
        shard.commit();
    }
    fill(&mut shard, 0, 20);
    damage(&mut shard, 1, 2);
    shard.served.get_mut(&partition(1)).unwrap().remove(&2);
    let check = |shard: &Shard| {
        assert_eq!(shard.try_read(partition(1), Offset(3)), Read::Damaged { until: Offset(4) });
        assert_eq!(shard.table.damaged(partition(1), Offset(0)).collect::<Vec<_>>(), [(Offset(2), Offset(4))]);
        assert_eq!(shard.table.gaps(partition(1), Offset(0)..shard.end_offset(partition(1))), []);
        shard.check_served();
    };
    for round in 0..60 {
        fill(&mut shard, 0, 4);
        let log_start = shard.end_offset(partition(0));
        assert!(shard.control(partition(0), Control::Trim { log_start }));
        shard.clean();
        shard.check_served();
        if round == 30 {
            assert!(shard.damaged_written > 2, "the damaged range was relocated {} times", shard.damaged_written - 1);
            check(&shard);
            let served = shard.served.clone();
            shard = Shard::open(shard.disk, shape(32), 10).unwrap();
            shard.served = served;
            shard.prove();
            shard.sync();
            check(&shard);
        }
    }
    assert!(shard.table.generations().next().unwrap().0 > 10, "the oldest segments were freed");
    assert!(
        shard.damaged_written > 1,
        "after the restart the damaged range was relocated {} times",
        shard.damaged_written
    );
    check(&shard);
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(state_of(&recovered), shard.state);
    assert!(shard.control(partition(1), Control::Trim { log_start: Offset(4) }));
    shard.commit();
    assert_eq!(shard.table.damaged(partition(1), Offset(4)).count(), 0);
    assert_eq!(shard.try_read(partition(1), Offset(3)), shard.try_read(partition(1), Offset(4)));
    shard.check_served();
}

#[test]
fn batches_below_the_log_start_are_not_relocated() {
    let mut shard = opened(10);
    fill(&mut shard, 1, 5);
    while !shard.table.is_full() {
        fill(&mut shard, 0, 1);
    }
    let log_start = shard.end_offset(partition(0));
    assert!(shard.control(partition(0), Control::Trim { log_start }));
    assert!(shard.control(partition(1), Control::Trim { log_start: Offset(7) }));
    shard.commit();
    let plan = shard.table.relocation().expect("the oldest segment holds two live batches");
    let moves = plan.batches.iter().filter(|moved| moved.partition == partition(1)).collect::<Vec<_>>();
    assert_eq!(moves.iter().map(|moved| (moved.from, moved.until)).collect::<Vec<_>>(), [(Offset(7), Offset(10))]);
    let oldest = plan.generation;
    shard.clean();
    shard.clean();
    assert!(shard.table.generations().next().unwrap() > oldest, "dead batches do not hold up their segment");
    assert_eq!(shard.try_read(partition(1), Offset(7)), Read::Batch(shard.read(partition(1), Offset(6)).unwrap()));
    shard.check_served();
}

#[test]
fn a_deleted_partition_does_not_come_back() {
    let mut shard = opened(16);
    fill(&mut shard, 0, 60);
    assert!(shard.control(partition(0), Control::Close));
    shard.commit();
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(recovered.partitions.keys().collect::<Vec<_>>(), [&partition(1)]);
    shard.checkpoint(partition(1));
    assert!(shard.clean() > 2);
}
