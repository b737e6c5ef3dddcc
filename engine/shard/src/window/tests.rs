#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::{
    Extent, GroupKind, GroupWriter, SegmentGeneration, SegmentHold, SegmentShape, SharedSegments, SlotId, WalId,
    WalPosition, WalSession,
};
use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicIdPartition};

use super::{PlacedGroup, ScatteredGroups, SegmentFile, Window, WindowError, WindowReach, WindowStart};
use crate::direct_io::DirectIo;
use crate::disk::SlotFile;
use crate::read_memory::ReadMemory;

const WAL: WalId = WalId([7; 16]);
pub(crate) const BLOCK: u32 = 4096;

/// A segment in a file. Each group has one batch, with a record of the length that `sizes` states.
pub(crate) struct TestSegment {
    pub segment: SegmentFile,
    /// The offsets of the groups.
    pub offsets: Vec<u32>,
    folder: tempfile::TempDir,
}

impl TestSegment {
    pub(crate) fn new(generation: u64, sizes: &[usize]) -> Self {
        Self::with_tagged_fields(generation, &sizes.iter().map(|size| (*size, &[][..])).collect::<Vec<_>>())
    }

    /// The same, with tagged fields behind the batches.
    pub(crate) fn with_tagged_fields(generation: u64, batches: &[(usize, &[u8])]) -> Self {
        let own = TopicIdPartition::default();
        let batches = (0..).zip(batches);
        Self::of(generation, batches.map(|(offset, (size, fields))| (own, Offset(offset), payload(*size, fields))))
    }

    /// A segment where every other group has a batch of another partition.
    pub(crate) fn interleaved(generation: u64, sizes: &[usize]) -> Self {
        let own = TopicIdPartition::default();
        let other = TopicIdPartition { partition: PartitionId(1), ..own };
        let batches = (0..).zip(sizes);
        Self::of(
            generation,
            batches.map(|(at, size)| (if at % 2 == 0 { own } else { other }, Offset(at / 2), payload(*size, &[]))),
        )
    }

    fn of(generation: u64, batches: impl Iterator<Item = (TopicIdPartition, Offset, Vec<u8>)>) -> Self {
        let shape = SegmentShape::new(u64::from(BLOCK), 4 << 20).unwrap();
        let mut image = vec![0; shape.length() as usize];
        let mut at = WalPosition { generation: SegmentGeneration(generation), offset: shape.first_group() };
        let mut offsets = Vec::new();
        for (partition, offset, batch) in batches {
            let region = &mut image[at.offset as usize..];
            let mut writer = GroupWriter::new(WAL, WalSession(1), at, shape);
            writer.put_batch(region, partition, &batch, offset, LeaderEpoch(0));
            offsets.push(at.offset);
            at = writer.finish(region, GroupKind::Data, WalPosition::default()).end();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot");
        std::fs::write(&path, &image).unwrap();
        let io = DirectIo { direct: false, block_size: BLOCK };
        let file = Arc::new(SlotFile::open(SlotId(0), path, io).unwrap());
        let place = SegmentPlace { wal: WAL, shape, generation: at.generation };
        let segment = SegmentFile { place, file, end: at.offset, block_size: BLOCK, turns: Arc::default() };
        Self { segment, offsets, folder }
    }

    pub(crate) fn hold(&self) -> SegmentHold {
        let (segments, SegmentPlace { generation, shape, .. }) = (SharedSegments::default(), self.segment.place);
        segments.add(SlotId(0), generation, shape);
        segments.hold(generation).unwrap()
    }

    pub(crate) fn damage(&self, at: u32) {
        let path = self.folder.path().join("slot");
        let mut image = std::fs::read(&path).unwrap();
        image[at as usize] ^= 1;
        std::fs::write(&path, image).unwrap();
    }

    /// Reads these groups as scattered ones, assuming that each has about `size` bytes.
    fn read_scattered(&self, groups: &[usize], size: u32) -> Result<Window, WindowError> {
        let extents: Vec<_> = groups.iter().map(|at| self.extent(*at)).collect();
        let apart = ScatteredGroups::of(&extents, size, 1 << 20).unwrap();
        let memory = ReadMemory::new(64 << 20, Gauge::default(), Arc::default());
        Window::read_scattered(&self.segment, &apart, &|bytes| Ok(memory.take(bytes).unwrap()))
    }

    /// The extent of the batch of a group.
    pub(crate) fn extent(&self, at: usize) -> Extent {
        self.extent_of(at, at)
    }

    pub(crate) fn extent_of(&self, at: usize, offset: usize) -> Extent {
        let offset = i64::try_from(offset).unwrap();
        let (first, end, max_timestamp) = (Offset(offset), Offset(offset + 1), Timestamp(1));
        Extent { group_offset: self.offsets[at], bytes: 1, first, end, max_timestamp, is_damaged: false }
    }

    fn read(&self, offset: u32, reach: WindowReach) -> Result<Window, WindowError> {
        let memory = ReadMemory::new(64 << 20, Gauge::default(), Arc::default());
        let take = |bytes| Ok(memory.take(bytes).unwrap());
        Window::read(&self.segment, WindowStart { offset, first_size: None }, reach, &take)
    }
}

/// A payload: a batch of one record with a value of `size` bytes, and its tagged fields.
fn payload(size: usize, fields: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1), None, Some(&vec![b'v'; size]), &[]);
    [&builder.build()[..], fields].concat()
}

/// A tagged field of a later build.
pub(crate) fn tagged_field(tag: u16) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &5_u32.to_le_bytes(), b"later"].concat()
}

fn groups(test: &TestSegment, window: &Window) -> Vec<usize> {
    (0..test.offsets.len()).filter(|at| window.group(test.offsets[*at]).is_some()).collect()
}

#[test]
fn a_window_ends_with_a_whole_group_and_knows_the_size_of_the_next() {
    let test = TestSegment::new(1, &[10_000, 30_000, 6_000, 50_000, 200_000, 6_000]);
    let size = |at: usize| test.offsets[at + 1] - test.offsets[at];
    let check = |from: usize, bytes, expected: &[usize], next: Option<u32>| {
        let window = test.read(test.offsets[from], WindowReach::Bytes(bytes)).unwrap();
        assert_eq!(groups(&test, &window), expected, "{from} {bytes}");
        let last = *expected.last().unwrap();
        let end = test.offsets.get(last + 1).copied().unwrap_or(test.segment.end);
        assert_eq!((window.range.clone(), window.next_size), (test.offsets[from]..end, next), "{from} {bytes}");
    };
    // The last group is read to its end, and with it one block for the header of the next.
    check(0, 16_384, &[0], Some(size(1)));
    check(0, 32_768, &[0, 1], Some(size(2)));
    check(2, 16_384, &[2], Some(size(3)));
    // A group that is larger than the window.
    check(4, 4_096, &[4], Some(test.segment.end - test.offsets[5]));
    check(1, 1 << 20, &[1, 2, 3, 4, 5], None);
    let alone = test.read(test.offsets[1], WindowReach::OneGroup).unwrap();
    assert_eq!(groups(&test, &alone), [1]);
}

#[test]
fn groups_beyond_the_durable_end_are_read_only_on_request() {
    let mut test = TestSegment::new(1, &[100, 100, 100]);
    test.segment.end = test.offsets[1];
    let window = test.read(test.offsets[0], WindowReach::Bytes(1 << 20)).unwrap();
    assert_eq!(groups(&test, &window), [0]);
    let window = test.read(test.offsets[2], WindowReach::Bytes(1 << 20)).unwrap();
    assert_eq!(groups(&test, &window), [2]);
}

#[test]
fn a_damaged_group_is_not_served_and_those_beside_it_are() {
    let test = TestSegment::new(1, &[100, 5_000, 100, 100]);
    test.damage(test.offsets[1] + 4_000);
    let window = test.read(test.offsets[0], WindowReach::Bytes(1 << 20)).unwrap();
    assert_eq!(groups(&test, &window), [0, 2, 3]);
    assert!(window.error(test.offsets[1]).is_some() && window.error(test.offsets[0]).is_none());
    // Without this group's header nothing locates the next group.
    test.damage(test.offsets[2] + 4);
    let window = test.read(test.offsets[0], WindowReach::Bytes(1 << 20)).unwrap();
    assert_eq!(groups(&test, &window), [0]);
    let error = test.read(test.offsets[2], WindowReach::Bytes(1 << 20)).unwrap_err();
    assert!(matches!(error, WindowError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_window_is_whole_blocks_of_a_device_with_larger_ones_than_the_segments() {
    let mut test = TestSegment::new(1, &[10_000, 90_000, 100, 100]);
    test.segment.block_size = 65_536;
    for from in [0, 1, 3] {
        let window = test.read(test.offsets[from], WindowReach::Bytes(30_000)).unwrap();
        assert_eq!(groups(&test, &window)[0], from);
        let (group, PlacedGroup { at, .. }) = window.group(test.offsets[from]).unwrap();
        let batch = group.batches_of(TopicIdPartition::default()).next().unwrap();
        let bytes = window.pin(&Arc::default()).slice(at + batch.range.start..at + batch.range.end);
        assert_eq!(bytes.len(), batch.header.size);
        batch.header.validate(&bytes).unwrap();
    }
}

#[test]
fn scattered_groups_are_read_without_the_bytes_between() {
    let sizes: Vec<usize> = (0..9).map(|at| if at % 2 == 0 { 5_000 } else { 300_000 }).collect();
    let mut test = TestSegment::new(1, &sizes);
    for block_size in [BLOCK, 65_536] {
        test.segment.block_size = block_size;
        let window = test.read_scattered(&[0, 2, 4, 8], 5_000).unwrap();
        assert_eq!(groups(&test, &window), [0, 2, 4, 8], "with blocks of {block_size}");
        assert!(window.is_scattered() && window.length() < 5 * 131_072);
        assert_eq!(window.range, test.offsets[8]..test.segment.end);
        let (group, PlacedGroup { at, .. }) = window.group(test.offsets[4]).unwrap();
        let batch = group.batches_of(TopicIdPartition::default()).next().unwrap();
        let bytes = window.pin(&Arc::default()).slice(at + batch.range.start..at + batch.range.end);
        batch.header.validate(&bytes).unwrap();
        assert_eq!(batch.header.base_offset, Offset(4));
    }
    // Groups that cannot be served, or are larger than assumed, are left out.
    test.damage(test.offsets[2] + 4_000);
    test.damage(test.offsets[4] + 4);
    let window = test.read_scattered(&[0, 2, 4, 5, 8], 5_000).unwrap();
    assert_eq!(groups(&test, &window), [0, 8]);
    test.read_scattered(&[1, 8], 5_000).unwrap_err();
    test.read_scattered(&[4, 8], 5_000).unwrap_err();
}
