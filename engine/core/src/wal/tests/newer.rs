//! Extensions of a newer build: optional ones are ignored, critical ones are refused with a clear
//! error, and none counts as damage.

use bytes::Bytes;
use rustmq_model::{LeaderEpoch, Offset, ProducerId};

use super::disk::{BLOCK, Disk, Shard, WAL, batch, partition, shape};
use crate::tagged_fields::CRITICAL;
use crate::tagged_fields::tests::tagged_field;
use crate::wal::read_check::{self, GroupCheck};
use crate::wal::recovery::{CorruptionPolicy, RecoveryError};
use crate::wal::scan::{ReplayEvent, SegmentPlace};
use crate::wal::{
    Control, FinishedGroup, FormatVersion, GroupError, GroupHeader, GroupKind, GroupWriter, SlotId, Unknown,
    WalPosition, WalSession, frame, group,
};

const CRC_AT: usize = 28;

/// A change that turns a frame or a group of this build into one of a later build.
type Change<'a> = &'a dyn Fn(&mut [u8]);

/// A group with one expiry frame, changed as a later build might: `change` gets the header and
/// payload of the frame.
fn foreign(at: WalPosition, session: WalSession, durable: WalPosition, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut region = vec![0; 4 * BLOCK];
    let mut writer = GroupWriter::new(WAL, session, at, shape(32));
    let control = Control::Expiry { decided_at: Offset(3), producers: vec![ProducerId(0); 4] };
    writer.put_control(&mut region, partition(0), &control);
    let FinishedGroup { length, padded, .. } = writer.finish(&mut region, GroupKind::Data, durable);
    let frame_at = group::HEADER_LENGTH as usize;
    change(&mut region[frame_at..length as usize]);
    reseal(at, session, &mut region[frame_at..]);
    region.truncate(padded as usize);
    region
}

/// Corrects the checksum of the first frame of a group.
fn reseal(at: WalPosition, session: WalSession, frame: &mut [u8]) {
    let payload = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize;
    let seed = [&WAL.0[..], &at.generation.0.to_le_bytes(), &session.0.to_le_bytes()].concat();
    let offset = (at.offset + group::HEADER_LENGTH).to_le_bytes();
    let checked = [&seed[..], &offset, &frame[..CRC_AT], &frame[32..32 + payload]].concat();
    frame[CRC_AT..32].copy_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
}

/// Changes the header of a group, and corrects its checksum.
fn reseal_header(group: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(&mut group[..64]);
    let crc = crc32c::crc32c(&[&WAL.0[..], &group[..60]].concat());
    group[60..64].copy_from_slice(&crc.to_le_bytes());
}

/// Turns the group into one of format version 3.
fn of_version_3(group: &mut [u8]) {
    reseal_header(group, |header| header[48..50].copy_from_slice(&3_u16.to_le_bytes()));
}

/// Turns the group into one of an unknown kind.
fn of_kind_9(group: &mut [u8]) {
    reseal_header(group, |header| header[44..48].copy_from_slice(&9_u32.to_le_bytes()));
}

/// Turns the frame into one of an unknown kind.
fn kind(frame: &mut [u8]) {
    frame[4] = 12;
}

fn version(frame: &mut [u8]) {
    frame[32] = 2;
}

/// Replaces the producers of an expiry frame by a tagged field.
fn with_field(tag: u16) -> impl Fn(&mut [u8]) {
    move |frame| {
        frame[41..45].fill(0);
        frame[45..77].copy_from_slice(&tagged_field(tag, &[0xAB; 26]));
    }
}

/// A log of one partition with two batches, and the position where it goes on.
fn log() -> (Shard, WalPosition) {
    let mut shard = Shard::open(Disk::default(), shape(32), 8).unwrap();
    shard.open_partition(partition(0));
    (0..2).for_each(|fill| assert!(shard.append(partition(0), &batch(1, 100, fill))));
    shard.commit();
    let at = shard.table.next_position().unwrap();
    (shard, at)
}

fn put(disk: &mut Disk, at: WalPosition, bytes: &[u8]) {
    let slot = disk.0.get_mut(&SlotId(0)).unwrap();
    slot[at.offset as usize..at.offset as usize + bytes.len()].copy_from_slice(bytes);
}

const POLICIES: [CorruptionPolicy; 3] =
    [CorruptionPolicy::Refuse, CorruptionPolicy::Repaired, CorruptionPolicy::Repair];

#[test]
fn a_critical_extension_is_refused_by_name_whether_it_is_proven_or_not() {
    let tag = CRITICAL | 9;
    let frames: [(Change<'_>, Unknown); 3] = [
        (&kind, Unknown::Kind { code: 12 }),
        (&version, Unknown::Version { code: 8, version: 2 }),
        (&with_field(tag), Unknown::TaggedField { code: 8, tag }),
    ];
    let headers: [(Change<'_>, Unknown); 2] =
        [(&of_version_3, Unknown::GroupVersion { version: 3 }), (&of_kind_9, Unknown::GroupKind { code: 9 })];
    let (_, at) = log();
    let of_frames =
        frames.map(|(change, unknown)| (foreign(at, WalSession(1), WalPosition::default(), change), unknown));
    let of_headers = headers.map(|(change, unknown)| {
        let mut group = foreign(at, WalSession(1), WalPosition::default(), |_| {});
        change(&mut group);
        (group, unknown)
    });
    let cases = of_frames.iter().chain(&of_headers).flat_map(|case| [(case, false), (case, true)]);
    for ((group, unknown), is_proven) in cases {
        let (mut shard, at) = log();
        let unknown = *unknown;
        put(&mut shard.disk, at, group);
        if is_proven {
            let proof = WalPosition { offset: at.offset + u32::try_from(group.len()).unwrap(), ..at };
            let mut region = vec![0; BLOCK];
            GroupWriter::new(WAL, WalSession(1), proof, shape(32)).finish(&mut region, GroupKind::Proof, proof);
            put(&mut shard.disk, proof, &region);
        }
        for policy in POLICIES {
            let refused = shard.disk.recover(shape(32), policy).unwrap_err();
            assert_eq!(refused, RecoveryError::Newer { slot: SlotId(0), offset: at.offset, unknown });
            let text = refused.to_string();
            assert!(text.contains("a newer RustMQ wrote it") && text.contains(&unknown.to_string()), "{text}");
        }
    }
}

#[test]
fn an_optional_part_changes_nothing() {
    let (mut shard, at) = log();
    put(&mut shard.disk, at, &foreign(at, WalSession(1), WalPosition::default(), with_field(9)));
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    let last = recovered.partitions[&partition(0)].last().unwrap();
    let expected = Control::Expiry { decided_at: Offset(3), producers: Vec::new() };
    assert_eq!(last.event, ReplayEvent::Control(expected));
    assert!(recovered.dropped.is_empty());
}

#[test]
fn a_torn_tail_is_dropped_whichever_build_wrote_it() {
    // A group after damage that lies beyond the proven end.
    let (mut shard, at) = log();
    let behind = WalPosition { offset: at.offset + 512, ..at };
    put(&mut shard.disk, at, &[0xEE; BLOCK]);
    put(&mut shard.disk, behind, &foreign(behind, WalSession(1), WalPosition::default(), kind));
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(recovered.dropped.iter().map(|tail| (tail.offset, tail.groups)).collect::<Vec<_>>(), [(at.offset, 1)]);
    // A group of an earlier session, and one of another place.
    for (session, place) in [(WalSession(0), at), (WalSession(1), behind)] {
        let (mut shard, at) = log();
        let mut group = foreign(place, session, WalPosition::default(), |_| {});
        of_version_3(&mut group);
        put(&mut shard.disk, at, &group);
        let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
        assert_eq!(recovered.durable, at, "{session:?} {place}");
    }
    // A frame in a group that is not whole.
    let (mut shard, at) = log();
    let mut region = vec![0; 4 * BLOCK];
    let mut writer = GroupWriter::new(WAL, WalSession(1), at, shape(32));
    (0..2).for_each(|_| writer.put_control(&mut region, partition(0), &Control::Trim { log_start: Offset(1) }));
    let length = writer.finish(&mut region, GroupKind::Data, WalPosition::default()).length as usize;
    let frame_at = group::HEADER_LENGTH as usize;
    region[frame_at + 4] = 12;
    reseal(at, WalSession(1), &mut region[frame_at..]);
    region[length - 1] ^= 1;
    region[length - 10] ^= 1;
    put(&mut shard.disk, at, &region);
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(recovered.dropped.iter().map(|tail| tail.offset).collect::<Vec<_>>(), [at.offset]);
}

#[test]
fn in_version_1_an_unknown_kind_is_damage() {
    let (mut shard, at) = log();
    let mut region = foreign(at, WalSession(1), WalPosition::default(), kind);
    let header = GroupHeader::parse_at(WAL, shape(32), at, &region).unwrap();
    GroupHeader { version: FormatVersion::V1, ..header }.encode(WAL, &mut region);
    put(&mut shard.disk, at, &region);
    let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
    assert_eq!(recovered.dropped.iter().map(|tail| tail.offset).collect::<Vec<_>>(), [at.offset]);
}

#[test]
fn a_segment_of_a_later_version_is_not_taken_for_a_free_slot_when_its_header_is_lost() {
    for (change, unknown) in [
        (of_version_3 as fn(&mut [u8]), Unknown::GroupVersion { version: 3 }),
        (of_kind_9, Unknown::GroupKind { code: 9 }),
    ] {
        let mut shard = Shard::open(Disk::default(), shape(32), 20).unwrap();
        shard.open_partition(partition(0));
        while shard.table.generations().count() < 3 {
            assert!(shard.append(partition(0), &batch(1, 1_000, 8)));
            shard.commit();
        }
        let newest = shard.table.generations().last().unwrap();
        let slot = shard.table.slot(newest).unwrap();
        let bytes = shard.disk.0.get_mut(&slot).unwrap();
        bytes[0] ^= 1;
        let groups = (BLOCK..bytes.len() - BLOCK).step_by(BLOCK);
        let groups: Vec<_> = groups.filter(|at| GroupHeader::parse(WAL, &bytes[*at..]).is_ok()).collect();
        groups.iter().for_each(|at| change(&mut bytes[*at..]));
        for policy in POLICIES {
            let refused = shard.disk.recover(shape(32), policy).map(|recovered| recovered.free_slots);
            assert_eq!(refused, Err(RecoveryError::Newer { slot, offset: 512, unknown }));
        }
        // A segment below the floor is not needed.
        let oldest = shard.table.generations().next().unwrap();
        let freed = shard.disk.0.get_mut(&slot).unwrap();
        let at = WalPosition { generation: crate::wal::SegmentGeneration(oldest.0 - 1), offset: 512 };
        freed.fill(0);
        let mut group = foreign(at, WalSession(1), WalPosition::default(), |_| {});
        change(&mut group);
        freed[512..512 + group.len()].copy_from_slice(&group);
        let recovered = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap();
        assert!(recovered.free_slots.contains(&slot));
    }
}

#[test]
fn a_critical_part_of_an_index_refuses_the_segment() {
    for tag in [9, CRITICAL | 9] {
        let (mut shard, at) = log();
        let index = [shard.table.index_payload().unwrap(), tagged_field(tag, b"of the segment")].concat();
        let mut region = vec![0; 4 * BLOCK];
        let mut writer = GroupWriter::new(WAL, WalSession(1), at, shape(32));
        writer.put_index(&mut region, &index);
        let group = writer.finish(&mut region, GroupKind::Index, at);
        shard.table.advance(group.end());
        put(&mut shard.disk, at, &region[..group.padded as usize]);
        // A crash before the start of the next segment leaves the segment as the tail of the log,
        // with or without its trailer.
        check_index(&shard.disk, at, tag);
        let trailer = shard.table.seal(Some(group)).unwrap();
        let mut block = vec![0; BLOCK];
        trailer.encode(WAL, &mut block);
        put(&mut shard.disk, WalPosition { offset: shape(32).trailer(), ..at }, &block);
        check_index(&shard.disk, at, tag);
        // A segment with a successor is read through its index.
        let started = shard.table.start_segment().unwrap();
        let slot = shard.disk.0.get_mut(&started.slot).unwrap();
        started.header.encode(&mut slot[..BLOCK]);
        let next = shard.table.next_position().unwrap();
        let proof = GroupWriter::new(WAL, WalSession(1), next, shape(32));
        proof.finish(&mut slot[next.offset as usize..], GroupKind::Proof, group.end());
        check_index(&shard.disk, at, tag);
        // Without the trailer the whole segment is scanned.
        put(&mut shard.disk, WalPosition { offset: shape(32).trailer(), ..at }, &[0; BLOCK]);
        check_index(&shard.disk, at, tag);
    }
}

/// Asserts that a start and a repair refuse an index at this place with a tagged field of this tag,
/// if the tag is critical.
fn check_index(disk: &Disk, at: WalPosition, tag: u16) {
    for policy in POLICIES {
        let recovered = disk.recover(shape(32), policy).map(|recovered| recovered.partitions.len());
        let unknown = Unknown::TaggedField { code: 10, tag };
        let newer = RecoveryError::Newer { slot: SlotId(0), offset: at.offset, unknown };
        assert_eq!(recovered, if tag == 9 { Ok(1) } else { Err(newer) }, "{policy:?}");
    }
}

/// Writes a group with `put` and checks it. Returns its bytes, and its first batch without and with
/// its tagged fields.
fn read(at: WalPosition, put: impl FnOnce(&mut GroupWriter, &mut [u8])) -> (Vec<u8>, Option<(Bytes, Bytes)>) {
    let mut region = vec![0; 4 * BLOCK];
    let mut writer = GroupWriter::new(WAL, WalSession(1), at, shape(32));
    put(&mut writer, &mut region);
    writer.finish(&mut region, GroupKind::Data, WalPosition::default());
    let place = SegmentPlace { wal: WAL, shape: shape(32), generation: at.generation };
    let Ok(GroupCheck::Whole(group)) = read_check::check_group(place, at.offset, &region) else {
        return (region, None);
    };
    let found = group.batches_of(partition(0)).next().map(|found| {
        let slice = |range: &std::ops::Range<usize>| Bytes::copy_from_slice(&region[range.clone()]);
        (slice(&found.range), slice(&found.with_tagged_fields))
    });
    (region, found)
}

#[test]
fn the_parts_of_a_batch_move_with_it_and_readers_do_not_see_them() {
    let (_, at) = log();
    let (stored, fields) = (batch(1, 100, 7), [tagged_field(9, b"of the tier"), tagged_field(10, b"")].concat());
    let payload = [&stored[..], &fields].concat();
    let (_, found) = read(at, |writer, region| {
        writer.put_batch(region, partition(0), &payload, Offset(2), LeaderEpoch(3));
    });
    let (alone, with_tagged_fields) = found.unwrap();
    assert_eq!(alone.len(), stored.len());
    assert_eq!(with_tagged_fields[..], [&alone[..], &fields].concat());
    let elsewhere = WalPosition { offset: at.offset + 512, ..at };
    let (mut region, found) = read(elsewhere, |writer, region| {
        writer.put_relocated(region, partition(0), &with_tagged_fields);
    });
    assert_eq!(found, Some((alone, with_tagged_fields)));
    // The frame's checksum covers the tagged fields: the batch's own does not.
    let part_at = group::HEADER_LENGTH as usize + frame::HEADER_LENGTH as usize + stored.len() + 8;
    region[part_at] ^= 1;
    let place = SegmentPlace { wal: WAL, shape: shape(32), generation: at.generation };
    assert!(read_check::check_group(place, elsewhere.offset, &region).is_err());
}

#[test]
fn a_group_with_a_critical_extension_is_neither_damaged_nor_served() {
    let (_, at) = log();
    let place = SegmentPlace { wal: WAL, shape: shape(32), generation: at.generation };
    let check = |group: &[u8], unknown| {
        let checked = read_check::check_group(place, at.offset, group);
        assert_eq!(checked, Err(GroupError::Unknown(unknown)));
    };
    check(&foreign(at, WalSession(1), WalPosition::default(), kind), Unknown::Kind { code: 12 });
    check(&foreign(at, WalSession(1), WalPosition::default(), version), Unknown::Version { code: 8, version: 2 });
    // A batch on each side of the one with the tagged field.
    let mut region = vec![0; 8 * BLOCK];
    let mut writer = GroupWriter::new(WAL, WalSession(1), at, shape(32));
    for (base, fields) in (2..).zip([Vec::new(), tagged_field(CRITICAL | 5, b"sealed"), Vec::new()]) {
        let payload = [&batch(1, 100, 7)[..], &fields].concat();
        writer.put_batch(&mut region, partition(0), &payload, Offset(base), LeaderEpoch(3));
    }
    writer.finish(&mut region, GroupKind::Data, WalPosition::default());
    check(&region, Unknown::TaggedField { code: 1, tag: CRITICAL | 5 });
    of_version_3(&mut region);
    check(&region, Unknown::GroupVersion { version: 3 });
    let size = read_check::group_size(place, at.offset, &region);
    assert_eq!(size, Err(GroupError::Unknown(Unknown::GroupVersion { version: 3 })));
    // The group is damaged if it does not belong there.
    let elsewhere = read_check::check_group(place, at.offset + 512, &region);
    assert!(matches!(elsewhere, Err(GroupError::Damaged(_))), "{elsewhere:?}");
}

#[test]
fn a_batch_with_a_critical_part_is_not_served_and_ends_a_start() {
    let (mut shard, at) = log();
    let payload = [&batch(1, 100, 7)[..], &tagged_field(CRITICAL | 5, b"sealed")].concat();
    let (region, found) = read(at, |writer, region| {
        writer.put_batch(region, partition(0), &payload, Offset(2), LeaderEpoch(3));
    });
    assert_eq!(found, None);
    put(&mut shard.disk, at, &region[..2 * BLOCK]);
    let refused = shard.disk.recover(shape(32), CorruptionPolicy::Refuse).unwrap_err();
    let unknown = Unknown::TaggedField { code: 1, tag: CRITICAL | 5 };
    assert_eq!(refused, RecoveryError::Newer { slot: SlotId(0), offset: at.offset, unknown });
}
