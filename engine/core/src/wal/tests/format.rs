//! The limits and codecs of the format that need no log.

use proptest::prelude::*;
use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::disk::{BLOCK, WAL, partition, shape};
use crate::wal::index::Extent;
use crate::wal::{Control, Generation, GroupKind, GroupWriter, Run, SegmentIndex, SegmentShape, WalPosition, frame};

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
fn control_frames_read_back_as_they_were_laid() {
    let controls = [
        Control::Open { epoch: LeaderEpoch(1), log_start: Offset(5) },
        Control::EpochStart { epoch: LeaderEpoch(2), start: Offset(9) },
        Control::Truncate { end: Offset(7) },
        Control::Trim { log_start: Offset(6) },
        Control::Expiry { producers: vec![ProducerId(1), ProducerId(i64::MAX)] },
        Control::Expiry { producers: vec![] },
        Control::Close,
    ];
    let at = WalPosition { generation: Generation(4), offset: 512 };
    let mut region = vec![0xEE; 4_096];
    let mut writer = GroupWriter::new(WAL, Run(2), at, shape(32));
    for control in &controls {
        let needed = writer.size_with(control.payload_length());
        writer.put_control(&mut region[..needed], partition(3), control);
    }
    let group = writer.finish(&mut region, GroupKind::Data, WalPosition::default());
    assert_eq!(group.padded as usize % BLOCK, 0);
    let header = crate::wal::GroupHeader::parse_at(WAL, shape(32), at, &region).unwrap();
    let found: Vec<_> = frame::frames(WAL, &header, &region).map(|frame| frame.unwrap().body).collect();
    let laid: Vec<_> = controls.into_iter().map(frame::FrameBody::Control).collect();
    assert_eq!(found, laid);
    let elsewhere = WalPosition { generation: Generation(5), offset: 512 };
    assert!(crate::wal::GroupHeader::parse_at(WAL, shape(32), elsewhere, &region).is_err());
}

proptest! {
    #[test]
    fn an_index_reads_back(batches in proptest::collection::vec((0..5i32, 1..40u32, 0..50i64, 1..5i64), 0..60)) {
        let mut index = SegmentIndex::default();
        for (number, group, first, count) in batches {
            let mut header = rustmq_model::batch::BatchHeader::parse(&super::disk::batch(1, 9, 0)).unwrap();
            header.base_offset = Offset(first);
            header.last_offset_delta = i32::try_from(count - 1).unwrap();
            index.record_batch(partition(number), group * 512, &header, group % 7 == 0);
            if group % 11 == 0 {
                index.record_checkpoint(partition(number), group * 512);
            }
            if group % 13 == 0 {
                index.record_control(partition(number), group * 512, &Control::Truncate { end: Offset(first) });
            }
        }
        let bytes = index.encode();
        prop_assert_eq!(bytes.len(), index.encoded_length());
        let read = SegmentIndex::parse(&bytes);
        prop_assert_eq!(read.as_ref(), Some(&index));
        for cut in 0..bytes.len() {
            prop_assert!(SegmentIndex::parse(&bytes[..cut]).is_none());
        }
    }
}

#[test]
fn an_extent_is_found_by_any_offset_in_it() {
    let extent = |group_offset, first, end| Extent {
        group_offset,
        bytes: 1,
        first: Offset(first),
        end: Offset(end),
        max_timestamp: Timestamp(0),
    };
    let mut entry = crate::wal::IndexEntry {
        extents: vec![extent(1, 10, 20), extent(2, 20, 30), extent(3, 40, 50)],
        ..Default::default()
    };
    let check = |entry: &crate::wal::IndexEntry, offset, group: Option<u32>| {
        assert_eq!(entry.find(Offset(offset)).map(|extent| extent.group_offset), group, "{offset}");
    };
    for (offset, group) in [(0, Some(1)), (10, Some(1)), (19, Some(1)), (20, Some(2)), (35, Some(3)), (50, None)] {
        check(&entry, offset, group);
    }
    entry.extents.push(extent(4, 0, 10));
    for (offset, group) in [(0, Some(4)), (9, Some(4)), (10, Some(1)), (49, Some(3)), (50, None)] {
        check(&entry, offset, group);
    }
}
