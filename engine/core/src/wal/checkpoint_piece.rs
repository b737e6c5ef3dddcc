//! A checkpoint is a run of pieces, each in a frame of its own, so that no frame is large: they may lie in several groups, and in several segments, with
//! other frames between them. The checkpoint says what its partition was at the place of its first piece. It counts once the last one is durable.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::format_version::PAYLOAD_VERSION;
use super::little_endian::{Reader, Writer};
use super::position::{SegmentGeneration, WalPosition};

/// Which piece of which checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPiece {
    /// Where the frame of the first piece stands. No two checkpoints have the same.
    pub begun_at: WalPosition,
    /// From 0 on.
    pub number: u32,
    /// Pieces of the checkpoint.
    pub count: u32,
}

/// Bytes of the payload before those of the checkpoint.
const FIXED_LENGTH: usize = 1 + 12 + 3 * 4;

impl CheckpointPiece {
    /// Bytes of the payload of a piece with so many bytes of the checkpoint.
    #[must_use]
    pub const fn payload_length(bytes: usize) -> usize {
        FIXED_LENGTH + bytes
    }

    /// The checkpoint counts once this one is durable.
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

    /// Reads the piece that stands at `at`. Answers with it where in the payload its bytes lie.
    pub(super) fn parse(at: WalPosition, fields: &mut Reader<'_>) -> Option<(Self, Range<usize>)> {
        let begun_at = WalPosition { generation: SegmentGeneration(fields.u64()?), offset: fields.u32()? };
        let piece = Self { begun_at, number: fields.u32()?, count: fields.u32()? };
        let length = usize::try_from(fields.u32()?).ok()?;
        fields.skip(length)?;
        let is_placed = if piece.number == 0 { begun_at == at } else { begun_at < at };
        (is_placed && piece.number < piece.count).then_some((piece, FIXED_LENGTH..FIXED_LENGTH + length))
    }

    /// A checkpoint of version 1, which is one frame.
    pub(super) const fn whole(at: WalPosition) -> Self {
        Self { begun_at: at, number: 0, count: 1 }
    }
}

/// The pieces of one checkpoint, as they are read in the order of the log.
#[derive(Debug)]
pub struct CheckpointPieces {
    begun_at: WalPosition,
    bytes: Vec<Bytes>,
}

impl CheckpointPieces {
    /// Of the checkpoint that has this piece; [`Self::take`] takes it next.
    #[must_use]
    pub const fn begun_by(piece: &CheckpointPiece) -> Self {
        Self { begun_at: piece.begun_at, bytes: Vec::new() }
    }

    /// Takes the next piece; what is none of it is passed over. Answers the whole checkpoint with the last one.
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
