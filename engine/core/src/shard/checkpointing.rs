//! Writes checkpoints into the log. A checkpoint that fits into a single frame is written at once.
//! A larger one is encoded whole when it begins and written in pieces, one per commit, so that no
//! request waits for all of it; frames written in between are replayed on top of it at a restart.
//!
//! ```text
//! none --begin--> under way --its last piece is staged--> none
//!                     '--its partition is closed, cut back or reset, or the log fails--> none
//! ```
//! Only one is under way at a time, which bounds the memory. A request for another one waits.

use rustmq_model::TopicIdPartition;

use super::partitions::{LogVersion, Partition, PartitionKey, Partitions};
use crate::log::Frontiers;
use crate::wal::{CheckpointPiece, SegmentShape, WalPosition};

/// A piece takes at most a segment's length divided by this.
const PIECES_A_SEGMENT: usize = 16;

/// The state of a requested checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Staged,
    /// It continues without another request.
    UnderWay,
    /// Another checkpoint is under way.
    Awaits,
}

/// A checkpoint with pieces that are not staged.
#[derive(Debug)]
struct UnderWay {
    key: PartitionKey,
    id: TopicIdPartition,
    /// The version of the encoded log.
    version: LogVersion,
    frontiers: Frontiers,
    bytes: Vec<u8>,
    /// The number of staged pieces.
    staged: u32,
    count: u32,
    /// The position of the first piece.
    begun_at: Option<WalPosition>,
}

/// The next piece to stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextPiece<'a> {
    pub id: TopicIdPartition,
    pub begun_at: Option<WalPosition>,
    pub number: u32,
    pub count: u32,
    pub bytes: &'a [u8],
    /// The frontiers of the encoded log.
    pub frontiers: &'a Frontiers,
}

impl NextPiece<'_> {
    /// The length of its frame's payload, in bytes.
    pub(super) const fn payload_length(&self) -> usize {
        CheckpointPiece::payload_length(self.bytes.len())
    }
}

/// The checkpoint under way, and the piece in the next commit; see the module.
#[derive(Debug)]
pub(super) struct Checkpointing {
    piece_bytes_max: usize,
    under_way: Option<UnderWay>,
    /// The next commit has a piece already: another one goes with a later commit.
    has_staged: bool,
}

impl Checkpointing {
    /// Limits pieces to `piece_bytes_max` bytes, and to their part of a segment of this shape.
    pub(super) const fn new(piece_bytes_max: usize, shape: SegmentShape) -> Self {
        let segment_part = shape.length() as usize / PIECES_A_SEGMENT;
        let piece_bytes_max = if piece_bytes_max < segment_part { piece_bytes_max } else { segment_part };
        Self { piece_bytes_max, under_way: None, has_staged: false }
    }

    /// Whether a checkpoint of this size fits into one frame.
    pub(super) const fn is_small(&self, bytes: usize) -> bool {
        bytes <= self.piece_bytes_max
    }

    /// The largest payload of a piece's frame, in bytes.
    pub(super) const fn payload_max(&self) -> usize {
        CheckpointPiece::payload_length(self.piece_bytes_max)
    }

    /// Whether a checkpoint may begin in the next commit.
    pub(super) const fn is_free(&self) -> bool {
        self.under_way.is_none() && !self.has_staged
    }

    /// The partition whose checkpoint is under way.
    pub(super) fn key(&self) -> Option<PartitionKey> {
        self.under_way.as_ref().map(|under_way| under_way.key)
    }

    /// The bytes of the checkpoint under way that are not staged.
    pub(super) fn bytes_left(&self) -> i64 {
        let left = |under_way: &UnderWay| under_way.bytes.len() - under_way.staged as usize * self.piece_bytes_max;
        i64::try_from(self.under_way.as_ref().map_or(0, left)).expect("a checkpoint is in memory")
    }

    /// Encodes the partition's state as it is now. The first piece must be staged before the state
    /// changes.
    pub(super) fn begin(&mut self, partition: &Partition) {
        assert!(self.is_free(), "one checkpoint is under way at a time");
        let bytes = partition.checkpoint();
        let count = u32::try_from(bytes.len().div_ceil(self.piece_bytes_max)).expect("a checkpoint has fewer bytes");
        let (key, id, version, frontiers) = (partition.key, partition.id, partition.version, partition.frontiers());
        self.under_way = Some(UnderWay { key, id, version, frontiers, bytes, staged: 0, count, begun_at: None });
    }

    /// The next piece for the next commit, if any.
    pub(super) fn next(&self) -> Option<NextPiece<'_>> {
        let UnderWay { id, frontiers, bytes, staged, count, begun_at, .. } =
            self.under_way.as_ref().filter(|_| !self.has_staged)?;
        let from = *staged as usize * self.piece_bytes_max;
        let until = bytes.len().min(from + self.piece_bytes_max);
        let (begun_at, number, count) = (*begun_at, *staged, *count);
        Some(NextPiece { id: *id, begun_at, number, count, bytes: &bytes[from..until], frontiers })
    }

    /// The piece is staged; its checkpoint began at `begun_at`.
    pub(super) fn on_staged(&mut self, begun_at: WalPosition) {
        let under_way = self.under_way.as_mut().expect("a piece of it was staged");
        under_way.staged += 1;
        under_way.begun_at = Some(begun_at);
        self.has_staged = true;
        self.under_way.take_if(|under_way| under_way.staged == under_way.count);
    }

    /// The gathered frames go to the disk.
    pub(super) const fn on_commit(&mut self) {
        self.has_staged = false;
    }

    /// Whether the encoded log is outdated: its partition is closed, or was cut or reset. A cut
    /// writes its own checkpoint, and a checkpoint of the longer log must not follow it.
    pub(super) fn is_stale(&self, partitions: &Partitions) -> bool {
        self.under_way
            .as_ref()
            .is_some_and(|old| partitions.at(old.key).is_none_or(|partition| partition.version != old.version))
    }

    /// Abandons the checkpoint. Its staged pieces stay in the log, and recovery ignores them.
    pub(super) fn abandon(&mut self) {
        self.under_way = None;
    }
}
