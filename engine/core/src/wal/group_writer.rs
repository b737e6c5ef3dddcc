//! Lays frames into a buffer that the caller owns. The buffer is at once what is written to the disk and what readers read, so
//! a batch is copied once, here. Does not allocate, write or decide when a group ends.

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

/// One group being filled. Every call takes the same `region`: the buffer from the group's first byte on.
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

/// A group ready to be written: `padded` bytes of the region, at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedGroup {
    pub position: WalPosition,
    pub length: u32,
    /// Bytes to write: whole blocks.
    pub padded: u32,
    pub frame_count: u32,
}

impl FinishedGroup {
    /// Where the next group stands; the durable end once this one is synced.
    #[must_use]
    pub const fn end(&self) -> WalPosition {
        WalPosition { generation: self.position.generation, offset: self.position.offset + self.padded }
    }
}

impl GroupWriter {
    /// `at` is where the group will stand in its segment: a multiple of the block size.
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

    /// Bytes so far, header included, before padding to a block.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Bytes that the region must have for one more frame with `payload` bytes, the padding to a block included.
    #[must_use]
    pub const fn size_with(&self, payload: usize) -> usize {
        (self.length + frame_size(payload)).next_multiple_of(self.shape.block_size() as usize)
    }

    /// Where the next frame stands in the WAL.
    #[must_use]
    pub fn next_frame(&self) -> WalPosition {
        WalPosition { generation: self.at.generation, offset: self.at.offset + self.frame_offset() }
    }

    fn frame_offset(&self) -> u32 {
        u32::try_from(self.length).expect("a group is shorter than its segment")
    }

    /// Copies a batch, with the parts that follow it if there are any, and writes the two fields
    /// that the log assigns. Answers where in the region the batch lies, without the parts.
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
        let size = bytes.first_chunk().and_then(frame::batch_size).expect("a batch is laid whole");
        payload.start..payload.start + size
    }

    /// Copies a batch that moves within the WAL, unchanged, with the parts that follow it: nobody has to know them.
    pub fn put_relocated(&mut self, region: &mut [u8], partition: TopicIdPartition, bytes: &[u8]) -> Range<usize> {
        self.put(region, FrameKind::RelocatedBatch, partition, bytes.len(), |payload| payload.copy_from_slice(bytes))
    }

    /// What stands for batches that should move, and cannot be read.
    pub fn put_damaged(&mut self, region: &mut [u8], partition: TopicIdPartition, range: &DamagedRange) {
        let length = DamagedRange::PAYLOAD_LENGTH;
        self.put(region, FrameKind::DamagedRange, partition, length, |payload| range.encode(payload));
    }

    pub fn put_control(&mut self, region: &mut [u8], partition: TopicIdPartition, control: &Control) {
        let length = control.payload_length();
        self.put(region, control.kind(), partition, length, |payload| control.encode(payload));
    }

    /// A piece of a checkpoint, which is in the partition log's encoding.
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

    /// The one frame of an index group; see [`super::segments::SegmentTable::seal`].
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
        assert!(is_sealed, "a batch is laid whole");
        self.length += frame_size(length);
        self.frame_count += 1;
        start + payload.start..start + payload.end
    }

    /// Writes the header and the padding. `durable` is the end of what is synced at this moment.
    pub fn finish(self, region: &mut [u8], kind: GroupKind, durable: WalPosition) -> FinishedGroup {
        assert!(durable <= self.at, "a group is written after what is durable");
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
