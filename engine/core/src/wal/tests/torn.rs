//! Torn tails and corruption within one segment: cut at every byte, every subset of the last group's blocks, every byte flipped.

use super::disk::{BLOCK, Disk, Shard, Write, batch, partition, shape, state_of};
use crate::wal::frame::frame_size;
use crate::wal::group::GroupHeader;
use crate::wal::recovery::{CorruptionPolicy, RecoveryError};
use crate::wal::{Control, RecoveredWal, SegmentHeader, SegmentShape, SlotId};
use rustmq_model::{LeaderEpoch, Offset};

/// Four groups in one segment; with each, the end of its bytes and the state as of it.
fn recorded() -> (Shard, Vec<(usize, super::disk::State)>) {
    let mut shard = Shard::open(Disk::default(), shape(64), 8).unwrap();
    let mut ends = Vec::new();
    let mut end = |shard: &mut Shard| {
        shard.commit();
        ends.push((shard.table.next_position().unwrap().offset as usize, shard.state.clone()));
    };
    shard.open_partition(partition(0));
    shard.open_partition(partition(1));
    end(&mut shard);
    assert!(shard.append(partition(0), &batch(3, 100, 1)));
    assert!(shard.append(partition(1), &batch(1, 700, 2)));
    end(&mut shard);
    assert!(shard.control(partition(1), Control::EpochStart { epoch: LeaderEpoch(4), start: Offset(1) }));
    assert!(shard.append(partition(0), &batch(2, 10, 3)));
    end(&mut shard);
    assert!(shard.append(partition(0), &batch(1, 1_400, 4)));
    assert!(shard.append(partition(1), &batch(2, 500, 5)));
    assert!(shard.append(partition(0), &batch(1, 900, 6)));
    end(&mut shard);
    (shard, ends)
}

#[test]
fn a_log_cut_at_any_byte_keeps_the_groups_before_the_cut() {
    let (shard, ends) = recorded();
    let whole = &shard.disk.0[&SlotId(0)];
    for cut in 0..=ends.last().unwrap().0 {
        let expected =
            ends.iter().rev().find(|(end, _)| *end <= cut).map(|(_, state)| state.clone()).unwrap_or_default();
        let mut zeroed = whole.clone();
        zeroed[cut..].fill(0);
        let short = Disk([(SlotId(0), whole[..cut].to_vec())].into());
        if cut > 0 {
            // Its file has its whole length before a segment is started. An empty one is what a preparation that was cut off leaves.
            let refused = short.recover(shape(64), CorruptionPolicy::Refuse);
            let named = matches!(refused, Err(RecoveryError::ShortFile { length, .. }) if length == cut as u64);
            assert!(named, "cut at {cut}: {refused:?}");
        }
        for (disk, policy) in
            [(Disk([(SlotId(0), zeroed)].into()), CorruptionPolicy::Refuse), (short, CorruptionPolicy::Repair)]
        {
            let found = state_of(&disk.recover(shape(64), policy).unwrap());
            // The last block's padding can be cut without harm.
            let next = ends.iter().find(|(end, _)| *end > cut && *end - cut < BLOCK).map(|(_, state)| state);
            assert!(found == expected || Some(&found) == next, "cut at {cut}");
        }
    }
}

#[test]
fn a_place_is_passed_over_where_the_log_would_go_on_over_it() {
    let (shard, ends) = recorded();
    let recovered = shard.disk.recover(shape(64), CorruptionPolicy::Refuse).unwrap();
    let end = ends.last().unwrap().0 as u64;
    let in_first = |offset| recovered.passes_over(SlotId(0), offset);
    assert_eq!([0, end - 1, end].map(in_first), [false, false, true]);
    assert!(recovered.passes_over(SlotId(1), 0), "no segment is in it");
}

#[test]
fn nothing_in_older_segments_is_passed_over_and_all_of_a_segment_without_a_group_is() {
    let (mut shard, _) = rolled(32);
    shard.half_roll();
    shard.sync();
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    let (tail, older) = recovered.segments.split_last().unwrap();
    assert!(older.len() > 2);
    let places = [0, u64::from(tail.end) - 1, u64::from(tail.end), u64::from(tail.shape.trailer())];
    for segment in older {
        let at_its_end = u64::from(segment.end);
        assert!(!recovered.passes_over(segment.slot, at_its_end), "the next segment says that it ends there");
        assert_eq!(places.map(|place| recovered.passes_over(segment.slot, place)), [false; 4]);
    }
    assert_eq!(places.map(|place| recovered.passes_over(tail.slot, place)), [false, false, true, true]);
    let [started] = recovered.started_empty[..] else { panic!("{:?}", recovered.started_empty) };
    assert_eq!(places.map(|place| recovered.passes_over(started, place)), [true; 4]);
}

#[test]
fn a_damaged_index_of_a_sealed_segment_is_made_anew_by_a_start_and_covered_by_a_repair() {
    let (shard, _) = rolled(32);
    let whole = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    let (sealed, trailer) = whole.segments.iter().find_map(|found| Some((found, found.trailer?))).unwrap();
    let mut disk = shard.disk;
    disk.0.get_mut(&sealed.slot).unwrap()[trailer.index_group as usize + 100] ^= 1;
    let same = |found: &RecoveredWal| {
        assert_eq!(found.partitions, whole.partitions);
        assert_eq!(found.go_on, whole.go_on);
        let again = found.segments.iter().find(|segment| segment.slot == sealed.slot).unwrap();
        assert_eq!(again.index.entries(), sealed.index.entries());
        assert_eq!(again.trailer, None, "nobody reads the index that is damaged");
    };
    same(&disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap());

    let repaired = disk.recover(shape(32), CorruptionPolicy::Repair).unwrap();
    let holes: Vec<_> = repaired.holes.iter().map(|(slot, _, hole)| (*slot, hole.offset)).collect();
    assert_eq!(holes, [(sealed.slot, trailer.index_group)]);
    write_repair(&mut disk, &repaired);
    same(&disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap());
    assert_eq!(disk.recover(shape(32), CorruptionPolicy::Repair).unwrap().holes, [], "it is covered");

    // The scan also finds a damaged batch before it, and that is refused.
    let at = disk.0[&sealed.slot].windows(300).position(|window| window == [8; 300]).unwrap();
    disk.0.get_mut(&sealed.slot).unwrap()[at] ^= 1;
    let refused = disk.recover(shape(32), CorruptionPolicy::Refuse);
    assert!(matches!(refused, Err(RecoveryError::Corruption { .. })), "{refused:?}");
}

#[test]
fn any_subset_of_the_last_groups_blocks_gives_the_whole_group_or_none_of_it() {
    let (mut shard, _) = recorded();
    let before = shard.state.clone();
    assert!(shard.append(partition(0), &batch(1, 1_800, 7)));
    assert!(shard.append(partition(1), &batch(4, 300, 8)));
    assert!(shard.append(partition(0), &batch(1, 500, 9)));
    shard.finish_group(crate::wal::GroupKind::Data);
    let (write, after) = shard.in_flight.pop().unwrap();
    assert_eq!(write.bytes.len(), 8 * BLOCK, "the group has eight blocks");
    for stale in [0u8, 0xA5] {
        let mut old = shard.disk.clone();
        let garbage = Write { bytes: vec![stale; write.bytes.len()], ..write.clone() };
        old.write_some(&garbage, |_| true);
        for subset in 0..256u32 {
            let mut disk = old.clone();
            disk.write_some(&write, |block| subset & 1 << block != 0);
            let recovered = disk.recover(shape(64), CorruptionPolicy::Refuse).unwrap();
            let expected = if subset == 255 { &after } else { &before };
            assert_eq!(&state_of(&recovered), expected, "subset {subset:08b}");
            // Nothing but zeros where the group would start says nothing; anything else in a slot that was never used before does.
            let told = subset != 255 && (subset & 1 != 0 || stale != 0);
            assert_eq!(recovered.dropped.is_some(), told, "subset {subset:08b}");
        }
    }
}

#[test]
fn a_flipped_byte_before_the_proven_end_is_refused_and_repair_keeps_the_rest() {
    let (mut shard, ends) = recorded();
    shard.prove();
    shard.sync();
    let whole = shard.state.clone();
    let mut refused = 0;
    for at in BLOCK..ends.last().unwrap().0 {
        let mut disk = shard.disk.clone();
        disk.0.get_mut(&SlotId(0)).unwrap()[at] ^= 0x10;
        match disk.recover(shape(64), CorruptionPolicy::Refuse) {
            Ok(recovered) => assert_eq!(state_of(&recovered), whole, "byte {at} is padding"),
            Err(RecoveryError::Corruption { slot, offset, .. }) => {
                refused += 1;
                let group = ends.iter().map(|(end, _)| *end).filter(|end| *end <= at).max().unwrap_or(BLOCK);
                assert_eq!((slot, offset as usize), (SlotId(0), group), "byte {at}");
                let repaired = disk.recover(shape(64), CorruptionPolicy::Repair).unwrap();
                assert_eq!(repaired.holes.len(), 1);
                for (slot, _, hole) in &repaired.holes {
                    let mut block = vec![0; BLOCK];
                    hole.encode(super::disk::WAL, &mut block);
                    disk.write_some(&Write::of(*slot, hole.offset as usize, block), |_| true);
                }
                // The first group opens the partitions.
                assert_eq!(repaired.bases_lost.is_empty(), group > BLOCK, "byte {at}");
                let again = disk.recover(shape(64), CorruptionPolicy::Repaired).unwrap();
                assert_eq!(again.partitions, repaired.partitions, "byte {at}");
                assert_eq!(again.go_on, repaired.go_on);
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(refused > 5_000, "most bytes are checked: {refused}");
}

#[test]
fn a_lost_header_of_a_segment_in_use_is_refused_and_repair_rebuilds_it() {
    let (shard, _) = recorded();
    for at in 0..64 {
        let mut disk = shard.disk.clone();
        disk.0.get_mut(&SlotId(0)).unwrap()[at] ^= 0x01;
        let refused = disk.recover(shape(64), CorruptionPolicy::Refuse);
        assert!(matches!(refused, Err(RecoveryError::HeaderLost { slot: SlotId(0), .. })), "byte {at}: {refused:?}");
        assert_rebuilt(disk, &shard);
    }
}

fn assert_rebuilt(mut disk: Disk, shard: &Shard) {
    let repaired = disk.recover(shard.shape, CorruptionPolicy::Repair).unwrap();
    assert_eq!(repaired.headers.len(), 1);
    write_headers(&mut disk, &repaired.headers);
    assert_eq!(state_of(&disk.recover(shard.shape, CorruptionPolicy::Refuse).unwrap()), shard.durable_state);
}

fn write_headers(disk: &mut Disk, headers: &[(SlotId, SegmentHeader)]) {
    for (slot, header) in headers {
        let mut block = vec![0; header.shape.block_size() as usize];
        header.encode(&mut block);
        disk.write_some(&Write::of(*slot, 0, block), |_| true);
    }
}

/// A log of several segments, and their slots, oldest first.
fn rolled(blocks: u64) -> (Shard, Vec<SlotId>) {
    let mut shard = Shard::open(Disk::default(), shape(blocks), 20).unwrap();
    shard.prove();
    // One partition has all of its frames in what becomes the oldest segment; others go on.
    for number in 0..2 {
        shard.open_partition(partition(number));
        shard.append(partition(number), &batch(1, 1_000, 7));
    }
    while shard.table.generations().count() < 4 {
        assert!(shard.append(partition(1), &batch(1, 1_000, 8)));
        shard.commit();
    }
    let slots = shard.table.generations().map(|generation| shard.table.slot(generation).unwrap()).collect();
    (shard, slots)
}

#[test]
fn no_segment_in_use_is_lost_unnoticed() {
    let (shard, slots) = rolled(32);
    for (place, slot) in slots.iter().enumerate() {
        let mut rotten = shard.disk.clone();
        rotten.0.get_mut(slot).unwrap()[..BLOCK].fill(0);
        assert_lost(&rotten, &shard, *slot);
        assert_rebuilt(rotten, &shard);

        let mut missing = shard.disk.clone();
        missing.0.remove(slot);
        let refused = missing.recover(shard.shape, CorruptionPolicy::Refuse);
        // That the newest is missing, nothing on the disk can tell.
        let newest = place + 1 == slots.len();
        assert_eq!(matches!(refused, Err(RecoveryError::MissingGeneration { .. })), !newest, "{place}: {refused:?}");
    }
}

#[test]
fn a_segment_that_is_lost_after_another_headers_repair_is_noticed() {
    let (shard, slots) = rolled(32);
    let lose = |disk: &mut Disk, slot: SlotId| disk.0.get_mut(&slot).unwrap()[..BLOCK].fill(0);
    for first in &slots {
        for second in slots.iter().filter(|second| *second != first) {
            let mut mended = shard.disk.clone();
            lose(&mut mended, *first);
            let repaired = mended.recover(shard.shape, CorruptionPolicy::Repair).unwrap();
            write_headers(&mut mended, &repaired.headers);
            lose(&mut mended, *second);
            assert_lost(&mended, &shard, *second);
            assert_rebuilt(mended, &shard);

            // Both at once, and a repair that is cut off between them.
            let mut cut_off = shard.disk.clone();
            lose(&mut cut_off, *first);
            lose(&mut cut_off, *second);
            let repaired = cut_off.recover(shard.shape, CorruptionPolicy::Repair).unwrap();
            let written = repaired.headers.iter().find(|(slot, _)| slot == first).copied().unwrap();
            write_headers(&mut cut_off, &[written]);
            assert_lost(&cut_off, &shard, *second);
            assert_rebuilt(cut_off, &shard);
        }
    }
}

fn assert_lost(disk: &Disk, shard: &Shard, slot: SlotId) {
    let refused = disk.recover(shard.shape, CorruptionPolicy::Refuse);
    let lost = matches!(&refused, Err(RecoveryError::HeaderLost { slot: named, .. }) if *named == slot);
    assert!(lost, "{slot:?}: {refused:?}");
}

/// As [`rolled`], with several groups in each segment, and where each one's groups stand.
fn rolled_with_groups() -> (Shard, Vec<(SlotId, Vec<usize>)>) {
    // Long enough for blocks four times as large.
    let (mut shard, _) = rolled(64);
    for _ in 0..3 {
        assert!(shard.append(partition(1), &batch(1, 1_000, 9)));
        shard.commit();
    }
    let recovered = shard.disk.recover(shard.shape, CorruptionPolicy::Refuse).unwrap();
    let groups = |slot: SlotId| {
        let bytes = &shard.disk.0[&slot];
        let starts = (BLOCK..bytes.len() - BLOCK).step_by(BLOCK);
        starts.filter(|at| GroupHeader::parse(super::disk::WAL, &bytes[*at..]).is_ok()).collect::<Vec<_>>()
    };
    let slots: Vec<_> = recovered.segments.iter().map(|segment| (segment.slot, groups(segment.slot))).collect();
    assert!(slots.iter().all(|(_, groups)| groups.len() > 2), "{slots:?}");
    (shard, slots)
}

#[test]
fn a_segment_is_not_lost_unnoticed_while_the_header_of_any_group_is_left() {
    let (shard, slots) = rolled_with_groups();
    for (slot, groups) in &slots {
        for lost in (1..=groups.last().unwrap() / BLOCK).map(|blocks| blocks * BLOCK) {
            let mut rotten = shard.disk.clone();
            rotten.0.get_mut(slot).unwrap()[..lost].fill(0);
            let refused = rotten.recover(shard.shape, CorruptionPolicy::Refuse);
            let named = matches!(&refused, Err(RecoveryError::HeaderLost { slot: named, .. }) if named == slot);
            assert!(named, "{slot:?} without its first {lost} bytes: {refused:?}");
        }
        for cut in 1..64 {
            let mut short = shard.disk.clone();
            short.0.get_mut(slot).unwrap().truncate(cut);
            let refused = short.recover(shard.shape, CorruptionPolicy::Refuse);
            let named = matches!(&refused, Err(RecoveryError::ShortFile { slot: named, .. }) if named == slot);
            assert!(named, "{slot:?} cut at {cut}: {refused:?}");
        }
    }
}

#[test]
fn a_lost_header_is_noticed_also_if_the_first_group_that_is_left_stands_far_behind() {
    let mut shard = Shard::open(Disk::default(), shape(1_024), 8).unwrap();
    shard.open_partition(partition(0));
    assert!(shard.append(partition(0), &batch(1, 200_000, 7)));
    shard.commit();
    assert!(shard.append(partition(0), &batch(1, 10, 8)));
    shard.commit();
    let bytes = shard.disk.0.get_mut(&SlotId(0)).unwrap();
    for at in [0, BLOCK] {
        bytes[at] ^= 1;
    }
    let refused = shard.disk.recover(shard.shape, CorruptionPolicy::Refuse);
    assert!(matches!(refused, Err(RecoveryError::HeaderLost { slot: SlotId(0), .. })), "{refused:?}");
}

#[test]
fn a_rebuilt_header_keeps_every_group_that_is_sound() {
    let (shard, slots) = rolled_with_groups();
    let batches = |recovered: &RecoveredWal, slot: SlotId| {
        let segment = recovered.segments.iter().find(|segment| segment.slot == slot).unwrap();
        segment.index.entries().values().map(|entry| entry.extents.len()).sum::<usize>()
    };
    let whole = shard.disk.recover(shard.shape, CorruptionPolicy::Repair).unwrap();
    // The oldest segment's first group is what everything else follows.
    for (slot, groups) in &slots[1..] {
        assert!(
            groups[1].is_power_of_two() && groups[1] > BLOCK,
            "a place that could pass for a block size: {groups:?}"
        );
        let mut disk = shard.disk.clone();
        // The header, and the first block of the first group.
        disk.0.get_mut(slot).unwrap()[..2 * BLOCK].fill(0);
        let repaired = disk.recover(shard.shape, CorruptionPolicy::Repair).unwrap();
        assert_eq!(repaired.headers.len(), 1);
        assert_eq!(repaired.headers[0].1.shape, shard.shape);
        let holes: Vec<_> = repaired.holes.iter().map(|(slot, _, hole)| (*slot, hole.offset, hole.length)).collect();
        assert_eq!(holes, [(*slot, 512, u32::try_from(groups[1]).unwrap() - 512)]);
        assert_eq!(batches(&repaired, *slot), batches(&whole, *slot) - 1, "{slot:?}");
        write_repair(&mut disk, &repaired);
        let again = disk.recover(shard.shape, CorruptionPolicy::Refuse).unwrap();
        assert_eq!(again.partitions, repaired.partitions);
        assert_eq!(again.go_on, repaired.go_on);
    }
}

#[test]
fn a_segments_end_is_proven_by_its_trailer_also_where_its_index_is_damaged() {
    let (shard, slots) = rolled_with_groups();
    let (slot, groups) = &slots[1];
    let (next, next_groups) = &slots[2];
    let mut disk = shard.disk.clone();
    // The index and the group before it, and the group that names their end.
    for (slot, at) in [(slot, groups[groups.len() - 1]), (slot, groups[groups.len() - 2]), (next, next_groups[0])] {
        disk.0.get_mut(slot).unwrap()[at] ^= 1;
    }
    let refused = disk.recover(shard.shape, CorruptionPolicy::Refuse);
    let expected = u32::try_from(groups[groups.len() - 2]).unwrap();
    let is_named = matches!(refused, Err(RecoveryError::Corruption { slot: named, offset, .. })
        if named == *slot && offset == expected);
    assert!(is_named, "{refused:?}");
}

#[test]
fn a_header_whose_block_size_cannot_be_told_is_not_rebuilt() {
    let (shard, slots) = rolled_with_groups();
    let (slot, groups) = &slots[2];
    let mut disk = shard.disk.clone();
    disk.0.get_mut(slot).unwrap()[..2 * BLOCK].fill(0);
    // The device asks for other blocks now: the first group that is left could be the first of a segment with those.
    let other = SegmentShape::new(groups[1] as u64, u64::from(shard.shape.length()) * 8).unwrap();
    let refused = disk.recover(other, CorruptionPolicy::Repair);
    assert!(
        matches!(refused, Err(RecoveryError::BlockSizeUnknown { offset, .. }) if offset as usize == groups[1]),
        "{refused:?}"
    );
}

pub(super) fn write_repair(disk: &mut Disk, repaired: &RecoveredWal) {
    for (slot, shape) in &repaired.void_trailers {
        disk.write_some(&Write::of(*slot, shape.trailer() as usize, vec![0; BLOCK]), |_| true);
    }
    write_headers(disk, &repaired.headers);
    for (slot, _, hole) in &repaired.holes {
        let mut block = vec![0; BLOCK];
        hole.encode(super::disk::WAL, &mut block);
        disk.write_some(&Write::of(*slot, hole.offset as usize, block), |_| true);
    }
}

/// A log of which segments are freed: some of their slots are started again, and some stay free.
/// With the slots as they were used first.
fn freed() -> (Shard, Vec<SlotId>) {
    let (mut shard, _) = rolled(32);
    while shard.table.generations().count() < 8 {
        assert!(shard.append(partition(1), &batch(1, 1_000, 8)));
        shard.commit();
    }
    let slots = shard.table.generations().map(|generation| shard.table.slot(generation).unwrap()).collect();
    for number in 0..2 {
        let log_start = shard.end_offset(partition(number));
        shard.control(partition(number), Control::Trim { log_start });
        shard.checkpoint(partition(number));
    }
    shard.commit();
    assert!(shard.clean() > 4);
    let in_use = shard.table.generations().count();
    while shard.table.generations().count() < in_use + 2 {
        assert!(shard.append(partition(1), &batch(1, 1_000, 9)));
        shard.commit();
    }
    (shard, slots)
}

#[test]
fn a_freed_segment_that_is_missing_is_no_loss() {
    let (shard, slots) = freed();
    let used: Vec<_> = shard.table.generations().filter_map(|generation| shard.table.slot(generation)).collect();
    let free: Vec<_> = slots.iter().filter(|slot| !used.contains(slot)).copied().collect();
    assert!(free.len() > 1, "{free:?}");
    // All of them, and any of them, whatever is left of those before it.
    for gone in free.iter().map(std::slice::from_ref).chain([&free[..]]) {
        let mut disk = shard.disk.clone();
        gone.iter().for_each(|slot| drop(disk.0.remove(slot)));
        assert_eq!(state_of(&disk.recover(shard.shape, CorruptionPolicy::Refuse).unwrap()), shard.durable_state);
    }
}

#[test]
fn no_segment_in_use_counts_as_freed_for_what_a_rebuilt_header_says() {
    let (shard, _) = freed();
    let generations: Vec<_> = shard.table.generations().collect();
    let slot = |generation| shard.table.slot(generation).unwrap();
    let mut disk = shard.disk.clone();
    disk.0.remove(&slot(generations[0]));
    disk.0.get_mut(&slot(*generations.last().unwrap())).unwrap()[..BLOCK].fill(0);
    let refused = disk.recover(shard.shape, CorruptionPolicy::Repair);
    let is_named =
        matches!(refused, Err(RecoveryError::MissingGeneration { missing, .. }) if missing == generations[0]);
    assert!(is_named, "{generations:?}: {refused:?}");
}

/// Freed segments come back where the newest header is lost, and none in use is lost for it.
#[test]
fn the_newest_header_of_a_log_with_freed_segments_is_rebuilt() {
    let (shard, _) = freed();
    let newest = shard.table.generations().last().and_then(|newest| shard.table.slot(newest)).unwrap();
    let oldest = shard.table.generations().next().unwrap();
    let mut disk = shard.disk.clone();
    disk.0.get_mut(&newest).unwrap()[..BLOCK].fill(0);
    let repaired = disk.recover(shard.shape, CorruptionPolicy::Repair).unwrap();
    let (_, header) = repaired.headers[0];
    assert!(header.floor() <= oldest, "{header:?}, in use from {oldest:?} on");
    assert_lost(&disk, &shard, newest);
    assert_rebuilt(disk, &shard);
}

#[test]
fn blocks_of_an_earlier_runs_torn_group_never_complete_a_later_one() {
    let (shard, _) = recorded();
    // The same frames in the same place, laid by two openings. The first frame ends with the first block, so that no frame is half
    // of one opening and half of the other.
    let to_the_block = BLOCK - 64;
    let first_frame =
        |fill| (1..BLOCK).map(|size| batch(1, size, fill)).find(|bytes| frame_size(bytes.len()) == to_the_block);
    let lay = |mut shard: Shard, fill: u8| {
        assert!(shard.append(partition(0), &first_frame(fill).unwrap()));
        assert!(shard.append(partition(0), &batch(1, 300, fill)));
        shard.finish_group(crate::wal::GroupKind::Data);
        let (write, _) = shard.in_flight.pop().unwrap();
        (shard, write)
    };
    let (_, first) = lay(shard.clone(), 1);
    let mut disk = shard.disk.clone();
    disk.write_some(&first, |block| block > 0);
    let mut reopened = shard.clone();
    reopened.disk = disk;
    // A later session at the very same place, which the proof group prevents: the seed alone must hold.
    let session = shard.table.session().next();
    reopened.table.set_session(session);
    let (mut reopened, second) = lay(reopened, 2);
    reopened.disk.write_some(&second, |block| block == 0);
    let recovered = reopened.disk.recover(shape(64), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(state_of(&recovered), shard.state);
}
