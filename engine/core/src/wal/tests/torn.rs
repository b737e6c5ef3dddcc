//! Torn tails and corruption within one segment: a cut at every byte, every subset of the last
//! group's blocks, a flip of every byte.

use super::disk::{BLOCK, Disk, Shard, Write, batch, partition, shape, state_of};
use crate::wal::frame::frame_size;
use crate::wal::group::GroupHeader;
use crate::wal::recovery::{CorruptionPolicy, RecoveryError};
use crate::wal::{Control, RecoveredWal, SegmentHeader, SegmentShape, SlotId};
use rustmq_model::{LeaderEpoch, Offset};

/// Four groups in one segment. Returns for each the end of its bytes, and the state as of it.
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
            // A file has its whole length before a segment is started in it. An interrupted
            // preparation leaves an empty file.
            let refused = short.recover(shape(64), CorruptionPolicy::Refuse);
            let named = matches!(refused, Err(RecoveryError::ShortFile { length, .. }) if length == cut as u64);
            assert!(named, "cut at {cut}: {refused:?}");
        }
        for (disk, policy) in
            [(Disk([(SlotId(0), zeroed)].into()), CorruptionPolicy::Refuse), (short, CorruptionPolicy::Repair)]
        {
            let found = state_of(&disk.recover(shape(64), policy).unwrap());
            // A cut within the padding of the last block does no harm.
            let next = ends.iter().find(|(end, _)| *end > cut && *end - cut < BLOCK).map(|(_, state)| state);
            assert!(found == expected || Some(&found) == next, "cut at {cut}");
        }
    }
}

#[test]
fn the_last_groups_are_unproven_and_without_groups_the_header_is() {
    let (shard, ends) = recorded();
    let end = |group: usize| u32::try_from(ends[group].0).unwrap();
    let whole = shard.disk.recover(shape(64), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(whole.unproven(), Some((SlotId(0), end(2)..end(3))));
    let mut content = shard.disk.0[&SlotId(0)].clone();
    let first_group = shape(64).first_group();
    content[first_group as usize..].fill(0);
    let empty = Disk([(SlotId(0), content)].into()).recover(shape(64), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(empty.unproven(), Some((SlotId(0), 0..first_group)));
}

#[test]
fn places_behind_the_end_of_the_log_are_ignored() {
    let (shard, ends) = recorded();
    let recovered = shard.disk.recover(shape(64), CorruptionPolicy::Refuse).unwrap();
    let end = ends.last().unwrap().0 as u64;
    let in_first = |offset| recovered.passes_over(SlotId(0), offset);
    assert_eq!([0, end - 1, end].map(in_first), [false, false, true]);
    assert!(recovered.passes_over(SlotId(1), 0), "the slot holds no segment");
}

#[test]
fn no_place_of_an_older_segment_is_ignored_and_every_place_of_an_empty_segment_is() {
    let (mut shard, _) = rolled(32);
    shard.half_roll();
    shard.sync();
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    let (tail, older) = recovered.segments.split_last().unwrap();
    assert!(older.len() > 2);
    let places = [0, u64::from(tail.end) - 1, u64::from(tail.end), u64::from(tail.shape.trailer())];
    for segment in older {
        let at_its_end = u64::from(segment.end);
        assert!(!recovered.passes_over(segment.slot, at_its_end), "the next segment names its end");
        assert_eq!(places.map(|place| recovered.passes_over(segment.slot, place)), [false; 4]);
    }
    assert_eq!(places.map(|place| recovered.passes_over(tail.slot, place)), [false, false, true, true]);
    let [started] = recovered.started_empty[..] else { panic!("{:?}", recovered.started_empty) };
    assert_eq!(places.map(|place| recovered.passes_over(started, place)), [true; 4]);
}

#[test]
fn a_damaged_index_of_a_sealed_segment_is_rebuilt_by_a_start_and_covered_by_a_repair() {
    let (shard, _) = rolled(32);
    let whole = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    let (sealed, trailer) = whole.segments.iter().find_map(|found| Some((found, found.trailer?))).unwrap();
    let mut disk = shard.disk;
    disk.0.get_mut(&sealed.slot).unwrap()[trailer.index_group as usize + 100] ^= 1;
    let same = |found: &RecoveredWal| {
        assert_eq!(found.partitions, whole.partitions);
        assert_eq!(found.resume_at, whole.resume_at);
        let again = found.segments.iter().find(|segment| segment.slot == sealed.slot).unwrap();
        assert_eq!(again.index.entries(), sealed.index.entries());
        assert_eq!(again.trailer, None, "the damaged index is not used");
    };
    same(&disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap());

    let repaired = disk.recover(shape(32), CorruptionPolicy::Repair).unwrap();
    let holes: Vec<_> = repaired.holes.iter().map(|(slot, _, hole)| (*slot, hole.offset)).collect();
    assert_eq!(holes, [(sealed.slot, trailer.index_group)]);
    write_repair(&mut disk, &repaired);
    same(&disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap());
    assert_eq!(disk.recover(shape(32), CorruptionPolicy::Repair).unwrap().holes, [], "a hole covers it");

    // The scan also finds a damaged batch before the index, and that is refused.
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
            // Zeros at the place of the group tell nothing; other content in a slot without an
            // earlier use does.
            let told = subset != 255 && (subset & 1 != 0 || stale != 0);
            assert_eq!(!recovered.dropped.is_empty(), told, "subset {subset:08b}");
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
                assert_eq!(again.resume_at, repaired.resume_at);
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
    // All frames of one partition lie in the segment that becomes the oldest; the other partition
    // has later frames too.
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
        // Nothing on the disk tells that the newest segment is missing.
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

            // Both are lost at once, and a repair is interrupted between them.
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

/// As [`rolled`], with several groups in each segment, and the offsets of the groups by segment.
fn rolled_with_groups() -> (Shard, Vec<(SlotId, Vec<usize>)>) {
    // The length also suits blocks of four times the size.
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
fn a_lost_header_is_noticed_even_if_the_first_remaining_group_is_far_behind() {
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
    // All other groups depend on the first group of the oldest segment.
    for (slot, groups) in &slots[1..] {
        assert!(
            groups[1].is_power_of_two() && groups[1] > BLOCK,
            "an offset that may be taken for a block size: {groups:?}"
        );
        let mut disk = shard.disk.clone();
        // Zeroes the header and the first block of the first group.
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
        assert_eq!(again.resume_at, repaired.resume_at);
    }
}

#[test]
fn a_trailer_proves_the_end_of_its_segment_even_if_the_index_is_damaged() {
    let (shard, slots) = rolled_with_groups();
    let (slot, groups) = &slots[1];
    let (next, next_groups) = &slots[2];
    let mut disk = shard.disk.clone();
    // Damages the index, the group before it, and the group that names their end.
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
fn a_header_with_an_ambiguous_block_size_is_not_rebuilt() {
    let (shard, slots) = rolled_with_groups();
    let (slot, groups) = &slots[2];
    let mut disk = shard.disk.clone();
    disk.0.get_mut(slot).unwrap()[..2 * BLOCK].fill(0);
    // The device now requires other blocks: the first group that is left could be the first one of
    // a segment with such blocks.
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

/// A log with freed segments: some of their slots are started again, and some stay free. Returns
/// also the slots in the order of their first use.
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
    // All freed slots are missing, or any one of them, whatever is left of the earlier ones.
    for gone in free.iter().map(std::slice::from_ref).chain([&free[..]]) {
        let mut disk = shard.disk.clone();
        gone.iter().for_each(|slot| drop(disk.0.remove(slot)));
        assert_eq!(state_of(&disk.recover(shard.shape, CorruptionPolicy::Refuse).unwrap()), shard.durable_state);
    }
}

#[test]
fn a_rebuilt_header_does_not_turn_a_segment_in_use_into_a_freed_one() {
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

/// Freed segments come back if the newest header is lost; no segment in use is lost.
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
fn blocks_of_a_torn_group_never_complete_a_group_of_a_later_session() {
    let (shard, _) = recorded();
    // Two sessions write the same frames at the same place. The first frame ends with the first
    // block, so that no frame has bytes of both sessions.
    let to_the_block = BLOCK - 64;
    let first_frame =
        |fill| (1..BLOCK).map(|size| batch(1, size, fill)).find(|bytes| frame_size(bytes.len()) == to_the_block);
    let write_group = |mut shard: Shard, fill: u8| {
        assert!(shard.append(partition(0), &first_frame(fill).unwrap()));
        assert!(shard.append(partition(0), &batch(1, 300, fill)));
        shard.finish_group(crate::wal::GroupKind::Data);
        let (write, _) = shard.in_flight.pop().unwrap();
        (shard, write)
    };
    let (_, first) = write_group(shard.clone(), 1);
    let mut disk = shard.disk.clone();
    disk.write_some(&first, |block| block > 0);
    let mut reopened = shard.clone();
    reopened.disk = disk;
    // A later session writes at the same place, which the proof group normally prevents: here only
    // the seed tells the sessions apart.
    let session = shard.table.session().next();
    reopened.table.set_session(session);
    let (mut reopened, second) = write_group(reopened, 2);
    reopened.disk.write_some(&second, |block| block == 0);
    let recovered = reopened.disk.recover(shape(64), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(state_of(&recovered), shard.state);
}

#[test]
fn a_torn_first_group_of_a_segment_is_reported() {
    let (mut shard, _) = recorded();
    shard.half_roll();
    shard.sync();
    assert!(shard.append(partition(0), &batch(1, 300, 7)));
    let first = shard.table.next_position().unwrap();
    let slot = shard.table.slot(first.generation).unwrap();
    shard.commit();
    assert_eq!(first.offset, SegmentShape::first_group(shard.shape));
    let mut disk = shard.disk;
    disk.0.get_mut(&slot).unwrap()[first.offset as usize] ^= 1;
    let found = disk.recover(shard.shape, CorruptionPolicy::Refuse).unwrap();
    assert_eq!(found.started_empty, [slot]);
    assert_eq!((found.dropped[0].slot, found.dropped[0].offset), (slot, first.offset));
}
