//! Checkpoints on their way into the log. One that fits a single frame is written at once. A larger one is taken whole when it is begun, and written piece by
//! piece, one a commit, so that nobody waits for all of it; the log takes frames meanwhile, which a restart replays on top of it.
//!
//! ```text
//! none --begin--> under way --its last piece is staged--> none
//!                     '--its partition is closed, cut back or reset, or the log fails--> none
//! ```
//! One is under way at a time: so much memory it takes, and no more. Who asks for another waits for it.

use rustmq_model::TopicIdPartition;

use super::partitions::{LogVersion, Partition, PartitionKey, Partitions};
use crate::log::Frontiers;
use crate::wal::{CheckpointPiece, SegmentShape, WalPosition};

/// A piece takes no more than this part of a segment.
const PIECES_A_SEGMENT: usize = 16;

/// What becomes of a checkpoint that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Staged,
    /// It goes on by itself.
    UnderWay,
    /// Another one is under way.
    Awaits,
}

/// A checkpoint of which some pieces are not staged.
#[derive(Debug)]
struct UnderWay {
    key: PartitionKey,
    id: TopicIdPartition,
    /// Of the log that it holds.
    version: LogVersion,
    frontiers: Frontiers,
    bytes: Vec<u8>,
    /// Pieces that are staged.
    staged: u32,
    count: u32,
    /// Where the first of them is.
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
    /// Of the log that the checkpoint holds.
    pub frontiers: &'a Frontiers,
}

impl NextPiece<'_> {
    /// Of its frame.
    pub(super) const fn payload_length(&self) -> usize {
        CheckpointPiece::payload_length(self.bytes.len())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Checkpointing {
    piece_bytes_max: usize,
    under_way: Option<UnderWay>,
    /// What gathers has a piece of it: the next one goes with another commit.
    has_staged: bool,
}

impl Checkpointing {
    /// Pieces have so many bytes at most, or what a segment of this shape bears.
    pub(super) const fn new(piece_bytes_max: usize, shape: SegmentShape) -> Self {
        let bearable = shape.length() as usize / PIECES_A_SEGMENT;
        let piece_bytes_max = if piece_bytes_max < bearable { piece_bytes_max } else { bearable };
        Self { piece_bytes_max, under_way: None, has_staged: false }
    }

    /// Whether the checkpoint needs no more than one frame.
    pub(super) const fn is_small(&self, bytes: usize) -> bool {
        bytes <= self.piece_bytes_max
    }

    /// Of the frame of a piece.
    pub(super) const fn payload_max(&self) -> usize {
        CheckpointPiece::payload_length(self.piece_bytes_max)
    }

    /// Whether one may be begun in the present commit.
    pub(super) const fn is_free(&self) -> bool {
        self.under_way.is_none() && !self.has_staged
    }

    /// Whose checkpoint is under way.
    pub(super) fn key(&self) -> Option<PartitionKey> {
        self.under_way.as_ref().map(|under_way| under_way.key)
    }

    /// Of the one that is under way.
    pub(super) fn bytes_left(&self) -> i64 {
        let left = |under_way: &UnderWay| under_way.bytes.len() - under_way.staged as usize * self.piece_bytes_max;
        i64::try_from(self.under_way.as_ref().map_or(0, left)).expect("a checkpoint is in memory")
    }

    /// Takes the partition's state as it is now. Its first piece is staged before anything that changes it.
    pub(super) fn begin(&mut self, partition: &Partition) {
        assert!(self.is_free(), "one checkpoint is under way at a time");
        let bytes = partition.checkpoint();
        let count = u32::try_from(bytes.len().div_ceil(self.piece_bytes_max)).expect("a checkpoint has fewer bytes");
        let (key, id, version, frontiers) = (partition.key, partition.id, partition.version, partition.frontiers());
        self.under_way = Some(UnderWay { key, id, version, frontiers, bytes, staged: 0, count, begun_at: None });
    }

    /// The piece that goes with the present commit, if one does.
    pub(super) fn next(&self) -> Option<NextPiece<'_>> {
        let UnderWay { id, frontiers, bytes, staged, count, begun_at, .. } =
            self.under_way.as_ref().filter(|_| !self.has_staged)?;
        let from = *staged as usize * self.piece_bytes_max;
        let until = bytes.len().min(from + self.piece_bytes_max);
        let (begun_at, number, count) = (*begun_at, *staged, *count);
        Some(NextPiece { id: *id, begun_at, number, count, bytes: &bytes[from..until], frontiers })
    }

    /// It is staged, of a checkpoint that was begun there.
    pub(super) fn on_staged(&mut self, begun_at: WalPosition) {
        let under_way = self.under_way.as_mut().expect("a piece of it was staged");
        under_way.staged += 1;
        under_way.begun_at = Some(begun_at);
        self.has_staged = true;
        self.under_way.take_if(|under_way| under_way.staged == under_way.count);
    }

    /// What has gathered goes to the disk.
    pub(super) const fn on_commit(&mut self) {
        self.has_staged = false;
    }

    /// Whether the log that it holds is gone: its partition is closed, or was cut back or reset. A cut has a checkpoint of its own, and one of the longer log must
    /// not come after it.
    pub(super) fn is_stale(&self, partitions: &Partitions) -> bool {
        self.under_way
            .as_ref()
            .is_some_and(|of| partitions.at(of.key).is_none_or(|partition| partition.version != of.version))
    }

    /// What is staged of it stays in the log, and is no checkpoint.
    pub(super) fn give_up(&mut self) {
        self.under_way = None;
    }
}
