//! The pieces of a checkpoint. Each is a frame of its own, so that no frame is large; the pieces
//! may lie in several groups and segments, with other frames between them. The checkpoint holds the
//! partition's state at its first piece. It counts once its last piece is durable.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::format_version::PAYLOAD_VERSION;
use super::little_endian::{Reader, Writer};
use super::position::{SegmentGeneration, WalPosition};

/// Identifies a checkpoint and one of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPiece {
    /// The position of the first piece's frame. It is unique to the checkpoint.
    pub begun_at: WalPosition,
    /// The number of the piece, from 0.
    pub number: u32,
    /// The number of pieces in the checkpoint, at least 1.
    pub count: u32,
}

/// The bytes of the payload before the bytes of the checkpoint.
const FIXED_LENGTH: usize = 1 + 12 + 3 * 4;

impl CheckpointPiece {
    /// The length of the payload of a piece that holds `bytes` bytes of the checkpoint.
    #[must_use]
    pub const fn payload_length(bytes: usize) -> usize {
        FIXED_LENGTH + bytes
    }

    /// The checkpoint counts once its last piece is durable.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.number + 1 == self.count
    }

    pub(super) fn encode(&self, bytes: &[u8], payload: &mut [u8]) {
        let mut out = Writer::new(payload);
        out.put(&[PAYLOAD_VERSION]);
        out.u64(self.begun_at.generation.0);
        out.u32(self.begun_at.offset);
        out.u32(self.number);
        out.u32(self.count);
        out.u32(u32::try_from(bytes.len()).expect("a payload is shorter than its segment"));
        out.put(bytes);
    }

    /// Reads the piece that stands at `at`. Returns it with the range of its bytes in the payload.
    pub(super) fn parse(at: WalPosition, fields: &mut Reader<'_>) -> Option<(Self, Range<usize>)> {
        let begun_at = WalPosition { generation: SegmentGeneration(fields.u64()?), offset: fields.u32()? };
        let piece = Self { begun_at, number: fields.u32()?, count: fields.u32()? };
        let length = usize::try_from(fields.u32()?).ok()?;
        fields.skip(length)?;
        let is_placed = if piece.number == 0 { begun_at == at } else { begun_at < at };
        (is_placed && piece.number < piece.count).then_some((piece, FIXED_LENGTH..FIXED_LENGTH + length))
    }

    /// A checkpoint of version 1, which has a single frame.
    pub(super) const fn whole(at: WalPosition) -> Self {
        Self { begun_at: at, number: 0, count: 1 }
    }
}

/// Joins the pieces of one checkpoint, which come in the order of the log.
#[derive(Debug)]
pub struct CheckpointPieces {
    begun_at: WalPosition,
    bytes: Vec<Bytes>,
}

impl CheckpointPieces {
    /// Starts with the checkpoint of `piece`; [`Self::take`] takes the piece next.
    #[must_use]
    pub const fn begun_by(piece: &CheckpointPiece) -> Self {
        Self { begun_at: piece.begun_at, bytes: Vec::new() }
    }

    /// Takes the next piece, and ignores pieces of other checkpoints. Returns the whole checkpoint
    /// with its last piece.
    pub fn take(&mut self, piece: &CheckpointPiece, bytes: Bytes) -> Option<Bytes> {
        if (self.begun_at, self.bytes.len()) != (piece.begun_at, piece.number as usize) {
            return None;
        }
        self.bytes.push(bytes);
        piece.is_last().then(|| self.join())
    }

    fn join(&mut self) -> Bytes {
        if self.bytes.len() == 1 {
            return self.bytes.remove(0);
        }
        let mut whole = BytesMut::with_capacity(self.bytes.iter().map(Bytes::len).sum());
        self.bytes.drain(..).for_each(|piece| whole.extend_from_slice(&piece));
        whole.freeze()
    }
}
