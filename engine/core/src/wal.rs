//! The write-ahead log (`docs/formats/wal.md`): the format of its bytes, recovery at a restart, and
//! the decisions about segments: which one is used next, freed or relocated.
//!
//! Reading order: [`position`], [`format_version`], [`segment_header`], [`group`], [`frame_kind`],
//! [`frame`], [`marker_field`], [`control`], [`checkpoint_piece`], [`extents`] and [`index`] are
//! the format; [`damage`] names the ways in which bytes violate it. [`group_writer`] writes frames
//! into a buffer; [`scan`] reads the groups of a segment; [`recovery`] reads a whole WAL;
//! [`segments`] decides about segments while the WAL runs. The writer shares [`shared_segments`]
//! and [`location_map`] with readers, and [`read_check`] verifies the groups that they read.
//! Nothing here opens files: bytes come from the caller and go to it.

pub mod checkpoint_piece;
pub mod control;
pub mod damage;
pub mod extents;
pub mod format_version;
pub mod frame;
mod frame_kind;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
pub mod group;
pub mod group_writer;
pub mod index;
pub(crate) mod little_endian;
pub mod location_map;
pub mod marker_field;
pub mod position;
pub mod read_check;
pub mod recovery;
pub mod retention;
pub mod scan;
pub mod segment_header;
pub mod segments;
pub mod shared_segments;
mod slots;
pub mod spans;

pub use checkpoint_piece::{CheckpointPiece, CheckpointPieces};
pub use control::{Control, DamagedRange};
pub use damage::{FrameDamage, GroupDamage, GroupError};
pub use extents::{Extent, Extents, RUNS_AHEAD, ReadRange};
pub use format_version::{FormatVersion, Unknown};
pub use frame::{BatchKind, Frame, FrameSeed};
pub use frame_kind::FrameKind;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzzing::{fuzz_wal_frames, fuzz_wal_reader};
pub use group::{GroupHeader, GroupKind, GroupSpan};
pub use group_writer::{FinishedGroup, GroupWriter};
pub use index::{IndexEntry, SegmentIndex, Trailer};
pub use location_map::{LocationMap, NotLocated, PlacedBatches};
pub use marker_field::{MARKER_FIELD_LENGTH_MAX, marker_field, read_marker_field};
pub use position::{SegmentGeneration, SegmentShape, SlotId, WalId, WalPosition, WalSession};
pub use recovery::{RecoveredWal, Recovery, RecoveryOptions};
pub use segment_header::{SegmentHeader, SegmentHeaderError};
pub use segments::{SegmentTable, SegmentTableConfig};
pub use shared_segments::{SegmentHold, SharedSegment, SharedSegments, UnindexedSegments};

#[cfg(test)]
mod tests;
