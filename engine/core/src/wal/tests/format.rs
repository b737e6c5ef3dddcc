//! Tests of the limits and codecs of the format, without a log.

use proptest::prelude::*;
use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::disk::{BLOCK, WAL, partition, shape};
use crate::log::{AbortedTransaction, EndMarker, MarkerTrace, ReplayedMarker};
use crate::wal::index::IndexError;
use crate::wal::scan::ReplayEvent;
use crate::wal::{
    CheckpointPiece, Control, DamagedRange, FormatVersion, GroupKind, GroupWriter, SegmentGeneration, SegmentIndex,
    SegmentShape, WalPosition, WalSession, frame,
};
use rustmq_model::TransactionEnd;

const GENERATION: SegmentGeneration = SegmentGeneration(4);

fn parsed(index: &[u8]) -> Result<SegmentIndex, IndexError> {
    SegmentIndex::parse(FormatVersion::V2, GENERATION, index)
}

#[test]
fn shapes_are_bounded() {
    let check =
        |block, length, legal: bool| assert_eq!(SegmentShape::new(block, length).is_ok(), legal, "{block} {length}");
    check(4_096, 64 << 20, true);
    check(512, 16 * 512, true);
    check(512, 15 * 512, false);
    check(1_000, 64 << 20, false);
    check(256, 64 << 20, false);
    check(131_072, 64 << 20, false);
    check(4_096, (64 << 20) + 512, false);
    check(4_096, 1 << 32, false);
    assert!(SegmentShape::new(4_096, 64 << 20).unwrap().payload_max() > (31 << 20));
}

#[test]
fn control_frames_read_back_as_they_were_written() {
    let controls = [
        Control::Open { epoch: LeaderEpoch(1), log_start: Offset(5) },
        Control::EpochStart { epoch: LeaderEpoch(2), start: Offset(9) },
        Control::Truncate { end: Offset(7) },
        Control::Trim { log_start: Offset(6) },
        Control::Expiry { decided_at: Offset(8), producers: vec![ProducerId(1), ProducerId(i64::MAX)] },
        Control::Expiry { decided_at: Offset(0), producers: vec![] },
        Control::Close,
    ];
    let at = WalPosition { generation: SegmentGeneration(4), offset: 512 };
    let mut region = vec![0xEE; 4_096];
    let mut writer = GroupWriter::new(WAL, WalSession(2), at, shape(32));
    for control in &controls {
        let needed = writer.size_with(control.payload_length());
        writer.put_control(&mut region[..needed], partition(3), control);
    }
    let group = writer.finish(&mut region, GroupKind::Data, WalPosition::default());
    assert_eq!(group.padded as usize % BLOCK, 0);
    let header = crate::wal::GroupHeader::parse_at(WAL, shape(32), at, &region).unwrap();
    let found: Vec<_> = frame::frames(WAL, &header, &region).map(|frame| frame.unwrap().body).collect();
    let written: Vec<_> = controls.into_iter().map(frame::FrameBody::Control).collect();
    assert_eq!(found, written);
    let elsewhere = WalPosition { generation: SegmentGeneration(5), offset: 512 };
    assert!(crate::wal::GroupHeader::parse_at(WAL, shape(32), elsewhere, &region).is_err());
}

#[test]
fn a_damaged_range_has_its_encoding_and_an_extent_without_bytes() {
    let range = DamagedRange { first: Offset(258), end: Offset(300), max_timestamp: Timestamp(-1) };
    let at = WalPosition { generation: SegmentGeneration(4), offset: 512 };
    let mut region = vec![0xEE; 4_096];
    let mut writer = GroupWriter::new(WAL, WalSession(2), at, shape(32));
    writer.put_damaged(&mut region, partition(3), &range);
    writer.finish(&mut region, GroupKind::Data, WalPosition::default());
    let header = crate::wal::GroupHeader::parse_at(WAL, shape(32), at, &region).unwrap();
    let frame = frame::frames(WAL, &header, &region).next().unwrap().unwrap();
    assert_eq!(region[64 + 4], 11, "its kind");
    assert_eq!(frame.payload[0], 1, "the version of its payload");
    assert_eq!(frame.payload[1..17], [2, 1, 0, 0, 0, 0, 0, 0, 44, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(frame.payload[17..], [0xFF; 8]);
    assert_eq!(frame.body, frame::FrameBody::Damaged(range));

    let mut index = SegmentIndex::default();
    let mut header = rustmq_model::batch::BatchHeader::parse(&super::disk::batch(1, 9, 0)).unwrap();
    header.base_offset = Offset(300);
    index.record_damaged(partition(3), 512, &range);
    // A later batch does not extend the damaged range.
    index.record_batch(partition(3), 512, &header, true);
    let read = parsed(&index.encode()).unwrap();
    assert_eq!(read, index);
    let extents = &read.entry(partition(3)).unwrap().extents;
    assert_eq!(extents.iter().map(|extent| extent.is_damaged).collect::<Vec<_>>(), [true, false]);
}

proptest! {
    #[test]
    fn an_index_reads_back(batches in proptest::collection::vec((0..5i32, 1..40u32, 0..50i64, 1..5i64), 0..60)) {
        let mut index = SegmentIndex::default();
        for (number, group, first, count) in batches {
            let at = WalPosition { generation: GENERATION, offset: group * 512 };
            let mut header = rustmq_model::batch::BatchHeader::parse(&super::disk::batch(1, 9, 0)).unwrap();
            header.base_offset = Offset(first);
            header.last_offset_delta = i32::try_from(count - 1).unwrap();
            index.record_batch(partition(number), group * 512, &header, group % 7 == 0);
            if group % 5 == 0 {
                let (first_offset, last_offset) = (Offset(first), header.last_offset());
                let (producer_id, last_stable) = (ProducerId(7), Offset(first));
                let aborted = AbortedTransaction { producer_id, first_offset, last_offset, last_stable };
                index.record_aborted(partition(number), aborted);
            }
            if group % 11 == 0 {
                index.record_checkpoint(partition(number), at, &CheckpointPiece { begun_at: at, number: group % 2, count: 2 });
            }
            if group % 13 == 0 {
                index.record_control(partition(number), at, &Control::Truncate { end: Offset(first) });
            }
        }
        let bytes = index.encode();
        prop_assert_eq!(bytes.len(), index.encoded_length());
        let read = parsed(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&index));
        // Without aborted transactions there is no field that holds them.
        let whole = index.entries().values().all(|entry| entry.aborted.is_empty());
        for cut in 0..bytes.len() {
            let is_whole = !whole && cut == bytes.len() - index.aborted_field_length();
            prop_assert_eq!(parsed(&bytes[..cut]).is_ok(), is_whole, "cut at {}", cut);
        }
    }
}

#[test]
fn a_replayed_control_batch_tells_how_it_ends_its_transaction() {
    let control = |kind: u8| {
        let mut builder = rustmq_model::record::BatchBuilder::new(rustmq_model::batch::Codec::None);
        builder.push(Timestamp(1_000), Some(&[0, 0, 0, kind]), Some(&[0, 0, 0, 0, 0, 7]), &[]);
        let mut batch = bytes::BytesMut::from(&builder.build()[..]);
        // The attributes: transactional and control.
        batch[22] |= 0x30;
        rustmq_model::batch::seal(&mut batch);
        batch.freeze()
    };
    let mut shard = super::disk::Shard::open(super::disk::Disk::default(), shape(32), 8).unwrap();
    shard.open_partition(partition(0));
    for kind in 0..3 {
        assert!(shard.append(partition(0), &control(kind)));
    }
    assert!(shard.append(partition(0), &super::disk::batch(1, 9, 0)));
    shard.commit();
    let recovered = shard.disk.recover(shape(32), crate::wal::recovery::CorruptionPolicy::Refuse).unwrap();
    let events = recovered.partitions[&partition(0)].iter().map(|item| &item.event);
    let markers: Vec<_> = events
        .filter_map(|event| match event {
            ReplayEvent::Batch(_, marker) => Some(*marker),
            ReplayEvent::Control(_) | ReplayEvent::Checkpoint(_) => None,
        })
        .collect();
    let marker =
        |end| Some(ReplayedMarker { marker: EndMarker { end, coordinator_epoch: 7 }, trace: MarkerTrace::Plain });
    assert_eq!(markers, [marker(TransactionEnd::Abort), marker(TransactionEnd::Commit), None, None]);
}

#[test]
fn batches_without_a_timestamp_are_given_one_apart_from_others() {
    let header = rustmq_model::batch::BatchHeader::parse(&super::disk::batch(1, 9, 0)).unwrap();
    let mut index = SegmentIndex::default();
    for (first, timestamp) in [(0, -1), (1, -1), (2, 5), (3, 7), (4, -1)] {
        let (base_offset, max_timestamp) = (Offset(first), Timestamp(timestamp));
        let header = rustmq_model::batch::BatchHeader { base_offset, max_timestamp, ..header };
        index.record_batch(partition(0), 512, &header, false);
    }
    index.date(Timestamp(900));
    let extents = &index.entry(partition(0)).unwrap().extents;
    let found: Vec<_> = extents.iter().map(|extent| (extent.end.0, extent.max_timestamp.0)).collect();
    assert_eq!(found, [(2, 900), (4, 7), (5, 900)]);
    assert_eq!(parsed(&index.encode()).as_ref(), Ok(&index));
}
