//! The bytes of versions 1 and 2 of the WAL, in fixtures that are never edited: this build writes
//! those of version 2, and reads both.

use bytes::Bytes;
use rustmq_engine_core::wal::recovery::{CorruptionPolicy, RecoveryError, ResumePoint, read_index};
use rustmq_engine_core::wal::scan::{ReplayEvent, SegmentPlace};
use rustmq_engine_core::wal::{
    CheckpointPiece, Control, DamagedRange, FormatVersion, GroupKind, GroupWriter, IndexEntry, RecoveredWal, Recovery,
    RecoveryOptions, SegmentGeneration, SegmentHeader, SegmentIndex, SegmentShape, SlotId, Trailer, Unknown, WalId,
    WalPosition, WalSession,
};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{LeaderEpoch, Offset, PartitionId, ProducerId, Timestamp, TopicId, TopicIdPartition};

const WAL: WalId = WalId(*b"0123456789abcdef");
const GENERATION: SegmentGeneration = SegmentGeneration(1);
const PARTITION: TopicIdPartition =
    TopicIdPartition { topic_id: TopicId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff), partition: PartitionId(2) };

fn shape() -> SegmentShape {
    SegmentShape::new(512, 16 * 512).expect("a legal shape")
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_700_000_000_000), Some(b"key"), Some(b"value"), &[("header", Some(b"x"))]);
    builder.push(Timestamp(1_700_000_000_001), None, None, &[]);
    builder.build()
}

/// An optional tagged field of a later build.
const OPTIONAL: &[u8] = &[5, 0, 4, 0, 0, 0, b'p', b'a', b'r', b't'];

/// A sealed segment with every kind of frame.
fn segment() -> Vec<u8> {
    let mut image = vec![0; shape().length() as usize];
    let version = FormatVersion::V2;
    SegmentHeader { version, wal: WAL, generation: GENERATION, session: WalSession(3), shape: shape(), before: 0 }
        .encode(&mut image[..512]);
    let mut index = SegmentIndex::default();
    let mut at = WalPosition { generation: GENERATION, offset: shape().first_group() };
    let mut durable = WalPosition::default();
    let controls = [
        Control::Open { epoch: LeaderEpoch(5), log_start: Offset(100) },
        Control::EpochStart { epoch: LeaderEpoch(6), start: Offset(100) },
        Control::Expiry { decided_at: Offset(100), producers: vec![ProducerId(7), ProducerId(8)] },
    ];
    let mut writer = GroupWriter::new(WAL, WalSession(3), at, shape());
    let region = &mut image[at.offset as usize..];
    for control in &controls {
        writer.put_control(region, PARTITION, control);
        index.record_control(PARTITION, at, control);
    }
    let range = writer.put_batch(region, PARTITION, &batch(), Offset(100), LeaderEpoch(6));
    let header = BatchHeader::parse(&region[range.clone()]).expect("a batch was written");
    index.record_batch(PARTITION, at.offset, &header, false);
    let moved = [&region[range], OPTIONAL].concat();
    let group = writer.finish(region, GroupKind::Data, durable);

    (at, durable) = (group.end(), group.end());
    let region = &mut image[at.offset as usize..];
    let group = GroupWriter::new(WAL, WalSession(3), at, shape()).finish(region, GroupKind::Proof, durable);

    (at, durable) = (group.end(), group.end());
    let region = &mut image[at.offset as usize..];
    let mut writer = GroupWriter::new(WAL, WalSession(4), at, shape());
    let piece = CheckpointPiece { begun_at: writer.next_frame(), number: 0, count: 1 };
    writer.put_checkpoint(region, PARTITION, &piece, b"a checkpoint");
    index.record_checkpoint(PARTITION, at, &piece);
    writer.put_relocated(region, PARTITION, &moved);
    index.record_batch(PARTITION, at.offset, &header, true);
    for control in [Control::Trim { log_start: Offset(101) }, Control::Truncate { end: Offset(102) }] {
        writer.put_control(region, PARTITION, &control);
        index.record_control(PARTITION, at, &control);
    }
    let gone = TopicIdPartition { partition: PartitionId(9), ..PARTITION };
    writer.put_control(region, gone, &Control::Close);
    index.record_control(gone, at, &Control::Close);
    let damaged = DamagedRange { first: Offset(90), end: Offset(95), max_timestamp: Timestamp(1_600_000_000_000) };
    writer.put_damaged(region, PARTITION, &damaged);
    index.record_damaged(PARTITION, at.offset, &damaged);
    let group = writer.finish(region, GroupKind::Data, durable);

    (at, durable) = (group.end(), group.end());
    let region = &mut image[at.offset as usize..];
    let mut writer = GroupWriter::new(WAL, WalSession(4), at, shape());
    writer.put_index(region, &index.encode());
    let group = writer.finish(region, GroupKind::Index, durable);
    let (index_group, end) = (at.offset, group.end().offset);
    let trailer = Trailer { generation: GENERATION, session: WalSession(4), index_group, end };
    trailer.encode(WAL, &mut image[shape().trailer() as usize..]);
    image
}

/// A segment with a checkpoint in two pieces, each in a group of its own, with other frames between
/// them.
fn pieces() -> Vec<u8> {
    let mut image = vec![0; shape().length() as usize];
    let version = FormatVersion::V2;
    SegmentHeader { version, wal: WAL, generation: GENERATION, session: WalSession(3), shape: shape(), before: 0 }
        .encode(&mut image[..512]);
    let mut at = WalPosition { generation: GENERATION, offset: shape().first_group() };
    let mut writer = GroupWriter::new(WAL, WalSession(3), at, shape());
    let region = &mut image[at.offset as usize..];
    writer.put_control(region, PARTITION, &Control::Open { epoch: LeaderEpoch(5), log_start: Offset(100) });
    let begun_at = writer.next_frame();
    writer.put_checkpoint(region, PARTITION, &CheckpointPiece { begun_at, number: 0, count: 2 }, b"the first half, ");
    writer.put_batch(region, PARTITION, &batch(), Offset(100), LeaderEpoch(6));
    at = writer.finish(region, GroupKind::Data, WalPosition::default()).end();
    let mut writer = GroupWriter::new(WAL, WalSession(3), at, shape());
    let region = &mut image[at.offset as usize..];
    writer.put_control(region, PARTITION, &Control::Trim { log_start: Offset(101) });
    writer.put_checkpoint(region, PARTITION, &CheckpointPiece { begun_at, number: 1, count: 2 }, b"the second half");
    writer.put_control(region, PARTITION, &Control::Truncate { end: Offset(102) });
    writer.finish(region, GroupKind::Data, at);
    image
}

fn recover(image: &[u8]) -> Result<RecoveredWal, RecoveryError> {
    recover_slots(&[image], CorruptionPolicy::Refuse)
}

fn recover_slots(images: &[&[u8]], policy: CorruptionPolicy) -> Result<RecoveredWal, RecoveryError> {
    let slots = (0..).zip(images).map(|(slot, image)| (SlotId(slot), image.len() as u64)).collect();
    let options = RecoveryOptions { wal: WAL, shape: shape(), slots, window: 4_096, policy };
    let mut recovery = Recovery::new(options);
    while let Some(read) = recovery.poll_action() {
        let bytes = images[read.slot.0 as usize].get(read.offset as usize..).unwrap_or_default();
        recovery.on_read(&Bytes::copy_from_slice(&bytes[..bytes.len().min(read.length as usize)]))?;
    }
    recovery.finish()
}

#[test]
fn a_segment_is_written_byte_for_byte_as_in_version_2() {
    let (written, golden) = (segment(), include_bytes!("fixtures/v2/segment.bin"));
    let differs = written.iter().zip(golden).position(|(a, b)| a != b);
    assert_eq!((written.len(), differs), (golden.len(), None), "the first byte that differs");
}

#[test]
fn a_segment_of_either_version_is_read() {
    let images: [&[u8]; 2] = [include_bytes!("fixtures/v1/segment.bin"), include_bytes!("fixtures/v2/segment.bin")];
    for image in images {
        let recovered = recover(image).expect("the fixture is sound");
        assert_eq!(recovered.session, WalSession(5));
        assert_eq!(recovered.resume_at, ResumePoint::NewSegment);
        let events: Vec<_> = recovered.partitions[&PARTITION].iter().map(|item| item.event.clone()).collect();
        let expected = [
            ReplayEvent::Checkpoint(Bytes::from_static(b"a checkpoint")),
            ReplayEvent::Control(Control::Trim { log_start: Offset(101) }),
            ReplayEvent::Control(Control::Truncate { end: Offset(102) }),
        ];
        assert_eq!(events, expected);
        assert_eq!(recovered.partitions.len(), 1);
    }
}

/// The index of a sealed segment, and its trailer.
fn stored_index(image: &[u8]) -> (SegmentIndex, Trailer) {
    let trailer = Trailer::parse(WAL, shape(), GENERATION, &image[shape().trailer() as usize..]);
    let trailer = trailer.expect("the segment is sealed");
    let place = SegmentPlace { wal: WAL, shape: shape(), generation: GENERATION };
    let group = &image[trailer.index_group as usize..trailer.end as usize];
    (read_index(place, trailer.index_group, group).expect("the index is sound"), trailer)
}

#[test]
fn an_index_of_version_1_equals_one_of_version_2_but_for_the_place_of_a_base_within_its_group() {
    let (first, trailer) = stored_index(include_bytes!("fixtures/v1/segment.bin"));
    let (second, _) = stored_index(include_bytes!("fixtures/v2/segment.bin"));
    assert_eq!(first.entries().len(), 2);
    for ((id, first), (other, second)) in first.entries().iter().zip(second.entries()) {
        assert_eq!(id, other);
        let base_begins = WalPosition { generation: GENERATION, offset: first.base_group };
        assert_eq!(first.base_begins, base_begins, "{id}");
        assert!(first.base_group > 0 && first.base_group < trailer.index_group, "{id}");
        assert!(second.base_begins >= base_begins, "{id}");
        // The fixture of version 1 has no damaged range.
        let extents = second.extents.iter().filter(|extent| !extent.is_damaged).copied().collect();
        assert_eq!(*first, IndexEntry { base_begins, extents, ..second.clone() }, "{id}");
    }
}

#[test]
fn a_hole_in_a_segment_of_version_1_has_that_version_even_if_no_group_is_left() {
    let mut old = include_bytes!("fixtures/v1/segment.bin").to_vec();
    let (_, trailer) = stored_index(&old);
    old[512..trailer.end as usize].fill(0xEE);
    let mut new = vec![0; shape().length() as usize];
    let generation = GENERATION.next();
    SegmentHeader {
        version: FormatVersion::V2,
        wal: WAL,
        generation,
        session: WalSession(5),
        shape: shape(),
        before: 1,
    }
    .encode(&mut new[..512]);
    let at = WalPosition { generation, offset: shape().first_group() };
    let mut writer = GroupWriter::new(WAL, WalSession(5), at, shape());
    let region = &mut new[at.offset as usize..];
    writer.put_control(region, PARTITION, &Control::Trim { log_start: Offset(101) });
    writer.finish(region, GroupKind::Data, WalPosition { generation: GENERATION, offset: trailer.end });
    let recovered = recover_slots(&[&old, &new], CorruptionPolicy::Repair).expect("it can be repaired");
    let holes: Vec<_> = recovered.holes.iter().map(|(slot, _, hole)| (slot.0, hole.offset, hole.version)).collect();
    assert_eq!(holes, [(0, 512, FormatVersion::V1)]);
}

#[test]
fn a_checkpoint_in_pieces_is_written_byte_for_byte_and_takes_the_place_of_its_first_piece() {
    let golden = include_bytes!("fixtures/v2/pieces.bin");
    assert!(pieces() == golden);
    let recovered = recover(golden).expect("the fixture is sound");
    let mut events = recovered.partitions[&PARTITION].iter().map(|item| item.event.clone());
    let whole = Bytes::from_static(b"the first half, the second half");
    assert_eq!(events.next(), Some(ReplayEvent::Checkpoint(whole)));
    assert!(matches!(events.next(), Some(ReplayEvent::Batch(header, None)) if header.base_offset == Offset(100)));
    assert_eq!(events.next(), Some(ReplayEvent::Control(Control::Trim { log_start: Offset(101) })));
    assert_eq!(events.next(), Some(ReplayEvent::Control(Control::Truncate { end: Offset(102) })));
    assert_eq!(events.next(), None);
}

#[test]
fn damage_before_the_proven_end_is_refused_in_either_version() {
    let images: [&[u8]; 2] = [include_bytes!("fixtures/v1/corrupt.bin"), include_bytes!("fixtures/v2/corrupt.bin")];
    for image in images {
        let refused = recover(image);
        assert!(matches!(refused, Err(RecoveryError::Corruption { offset: 512, .. })), "{refused:?}");
    }
}

#[test]
fn a_torn_tail_of_either_version_is_dropped_and_only_version_2_takes_more_groups() {
    let images: [&[u8]; 2] = [include_bytes!("fixtures/v1/torn.bin"), include_bytes!("fixtures/v2/torn.bin")];
    for (image, takes_more) in images.into_iter().zip([false, true]) {
        let recovered = recover(image).expect("a torn tail is not corruption");
        let tail = recovered.dropped.first().expect("something was dropped");
        let at = WalPosition { generation: GENERATION, offset: tail.offset };
        let expected = if takes_more { ResumePoint::InSegment(at) } else { ResumePoint::NewSegment };
        assert_eq!((recovered.resume_at, recovered.durable), (expected, at));
        assert_eq!(recovered.partitions[&PARTITION].len(), 4);
    }
}

#[test]
fn an_expiry_of_version_1_forgets_all_producers_that_it_names() {
    let recovered = recover(include_bytes!("fixtures/v1/torn.bin")).expect("a torn tail is not corruption");
    let expected = Control::Expiry { decided_at: Offset(i64::MAX), producers: vec![ProducerId(7), ProducerId(8)] };
    let mut events = recovered.partitions[&PARTITION].iter().map(|item| &item.event);
    assert!(events.any(|event| *event == ReplayEvent::Control(expected.clone())));
}

#[test]
fn a_later_version_is_refused_by_name() {
    let refused = recover(include_bytes!("fixtures/v2/version-3.bin"));
    assert!(matches!(refused, Err(RecoveryError::Header { slot: SlotId(0), .. })), "{refused:?}");
    let text = refused.expect_err("it was refused just above").to_string();
    assert!(text.contains("version 3") && text.contains("newer RustMQ"), "{text}");
}

#[test]
fn each_group_names_its_version() {
    // A header of version 2 over groups of version 1, which no build writes.
    let recovered = recover(include_bytes!("fixtures/v1/version-2.bin")).expect("the groups are sound");
    assert_eq!(recovered.partitions[&PARTITION].len(), 3);
}

#[test]
fn an_unknown_extension_is_refused_with_its_place() {
    let check = |image: &[u8], unknown| {
        let refused = recover(image);
        let newer = RecoveryError::Newer { slot: SlotId(0), offset: 512, unknown };
        assert_eq!(refused.map(|recovered| recovered.session), Err(newer));
    };
    check(include_bytes!("fixtures/v2/unknown-kind.bin"), Unknown::Kind { code: 99 });
    check(include_bytes!("fixtures/v2/critical-part.bin"), Unknown::TaggedField { code: 1, tag: 0x8005 });
}
