//! Writes frames into a buffer of the caller. The buffer is both written to disk and read by
//! consumers, so a batch is copied once, here. Does not allocate, does no I/O, and does not decide
//! when a group ends.

use std::ops::Range;

use rustmq_model::batch;
use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use super::checkpoint_piece::CheckpointPiece;
use super::control::{Control, DamagedRange};
use super::format_version::FormatVersion;
use super::frame::{self, FrameSeed, frame_size};
use super::frame_kind::FrameKind;
use super::group::{GroupHeader, GroupKind, HEADER_LENGTH};
use super::position::{SegmentShape, WalId, WalPosition, WalSession};

/// A group that is being filled. All calls take the same `region`: the buffer from the group's
/// first byte on.
#[derive(Clone, Debug)]
pub struct GroupWriter {
    wal: WalId,
    session: WalSession,
    at: WalPosition,
    shape: SegmentShape,
    seed: FrameSeed,
    length: usize,
    frame_count: u32,
}

/// A finished group: `padded` bytes of the region, to be written at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedGroup {
    pub position: WalPosition,
    pub length: u32,
    /// The number of bytes to write, in whole blocks.
    pub padded: u32,
    pub frame_count: u32,
}

impl FinishedGroup {
    /// The position of the next group, and the durable end once this group is synced.
    #[must_use]
    pub const fn end(&self) -> WalPosition {
        WalPosition { generation: self.position.generation, offset: self.position.offset + self.padded }
    }
}

impl GroupWriter {
    /// Starts a group at `at`, a multiple of the block size.
    #[must_use]
    pub fn new(wal: WalId, session: WalSession, at: WalPosition, shape: SegmentShape) -> Self {
        assert!(at.offset.is_multiple_of(shape.block_size()), "a group starts on a block");
        let seed = FrameSeed::new(wal, at.generation, session);
        Self { wal, session, at, shape, seed, length: HEADER_LENGTH as usize, frame_count: 0 }
    }

    #[must_use]
    pub const fn position(&self) -> WalPosition {
        self.at
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frame_count == 0
    }

    #[must_use]
    pub const fn frame_count(&self) -> u32 {
        self.frame_count
    }

    /// The bytes so far, with the header and without padding to a block.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The bytes that the region needs for one more frame with `payload` bytes, with padding to a
    /// block.
    #[must_use]
    pub const fn size_with(&self, payload: usize) -> usize {
        (self.length + frame_size(payload)).next_multiple_of(self.shape.block_size() as usize)
    }

    /// The bytes that the group takes if it ends now, with padding to a block.
    #[must_use]
    pub const fn padded(&self) -> usize {
        self.length.next_multiple_of(self.shape.block_size() as usize)
    }

    /// The position of the next frame in the WAL.
    #[must_use]
    pub fn next_frame(&self) -> WalPosition {
        WalPosition { generation: self.at.generation, offset: self.at.offset + self.frame_offset() }
    }

    fn frame_offset(&self) -> u32 {
        u32::try_from(self.length).expect("a group is shorter than its segment")
    }

    /// Copies a batch with its tagged fields, and writes the two fields that the log
    /// assigns. Returns the range of the batch in the region, without the tagged fields.
    pub fn put_batch(
        &mut self,
        region: &mut [u8],
        partition: TopicIdPartition,
        bytes: &[u8],
        base_offset: Offset,
        epoch: LeaderEpoch,
    ) -> Range<usize> {
        let payload = self.put(region, FrameKind::Batch, partition, bytes.len(), |payload| {
            payload.copy_from_slice(bytes);
            batch::assign(payload, base_offset, epoch);
        });
        let size = bytes.first_chunk().and_then(frame::batch_size).expect("the caller writes whole batches");
        payload.start..payload.start + size
    }

    /// Copies a relocated batch with its tagged fields, unchanged; this build need not know
    /// the fields.
    pub fn put_relocated(&mut self, region: &mut [u8], partition: TopicIdPartition, bytes: &[u8]) -> Range<usize> {
        self.put(region, FrameKind::RelocatedBatch, partition, bytes.len(), |payload| payload.copy_from_slice(bytes))
    }

    /// Writes the range that replaces unreadable batches.
    pub fn put_damaged(&mut self, region: &mut [u8], partition: TopicIdPartition, range: &DamagedRange) {
        let length = DamagedRange::PAYLOAD_LENGTH;
        self.put(region, FrameKind::DamagedRange, partition, length, |payload| range.encode(payload));
    }

    pub fn put_control(&mut self, region: &mut [u8], partition: TopicIdPartition, control: &Control) {
        let length = control.payload_length();
        self.put(region, control.kind(), partition, length, |payload| control.encode(payload));
    }

    /// Writes a piece of a checkpoint, in the partition log's encoding.
    pub fn put_checkpoint(
        &mut self,
        region: &mut [u8],
        partition: TopicIdPartition,
        piece: &CheckpointPiece,
        bytes: &[u8],
    ) {
        let length = CheckpointPiece::payload_length(bytes.len());
        self.put(region, FrameKind::Checkpoint, partition, length, |payload| piece.encode(bytes, payload));
    }

    /// Writes the only frame of an index group; see [`super::segments::SegmentTable::seal`].
    pub fn put_index(&mut self, region: &mut [u8], index: &[u8]) {
        let nobody = TopicIdPartition::default();
        self.put(region, FrameKind::SegmentIndex, nobody, index.len(), |payload| payload.copy_from_slice(index));
    }

    fn put(
        &mut self,
        region: &mut [u8],
        kind: FrameKind,
        partition: TopicIdPartition,
        length: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Range<usize> {
        let start = self.length;
        let frame = &mut region[start..start + frame_size(length)];
        let payload = frame::HEADER_LENGTH as usize..frame::HEADER_LENGTH as usize + length;
        fill(&mut frame[payload.clone()]);
        let offset = self.next_frame().offset;
        let narrow = u32::try_from(length).expect("a payload is shorter than its segment");
        let is_sealed = frame::seal(self.seed, offset, kind, partition, narrow, frame);
        assert!(is_sealed, "the caller writes whole batches");
        self.length += frame_size(length);
        self.frame_count += 1;
        start + payload.start..start + payload.end
    }

    /// Writes the header and the padding. `durable` is the end of the synced log at this moment.
    pub fn finish(self, region: &mut [u8], kind: GroupKind, durable: WalPosition) -> FinishedGroup {
        assert!(durable <= self.at, "the durable log ends before the group");
        let length = self.frame_offset();
        let padded = self.shape.padded(length);
        assert!(padded <= self.shape.trailer() - self.at.offset, "a group ends before its segment's trailer");
        let header = GroupHeader {
            kind,
            version: FormatVersion::CURRENT,
            length,
            generation: self.at.generation,
            session: self.session,
            offset: self.at.offset,
            frame_count: self.frame_count,
            durable,
        };
        header.encode(self.wal, region);
        region[self.length..padded as usize].fill(0);
        FinishedGroup { position: self.at, length, padded, frame_count: self.frame_count }
    }
}
