//! The options, the results and the errors of a recovery.

use std::collections::BTreeMap;
use std::ops::Range;

use rustmq_model::{Offset, TopicIdPartition};

use crate::wal::damage::GroupDamage;
use crate::wal::format_version::Unknown;
use crate::wal::index::{SegmentIndex, Trailer};
use crate::wal::position::{SegmentGeneration, SegmentShape, SlotId, WalId, WalPosition, WalSession};
use crate::wal::scan::{Hole, ReplayItem};
use crate::wal::segment_header::{SegmentHeader, SegmentHeaderError};

#[derive(Clone, Debug)]
pub struct RecoveryOptions {
    pub wal: WalId,
    /// The layout of new segments: the device's block size and the WAL's segment size.
    pub shape: SegmentShape,
    /// Every slot file of the folder, with its length in bytes.
    pub slots: Vec<(SlotId, u64)>,
    /// The number of bytes in a read of a scan; a larger group is read as a whole.
    pub window: u32,
    pub policy: CorruptionPolicy,
}

/// The treatment of damage before the proven end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorruptionPolicy {
    Refuse,
    /// As `Refuse`, but checkpoints have not superseded the holes of a repair yet: a partition that
    /// lost its only base begins at the first of its frames that are left.
    Repaired,
    /// `--repair`: lists the headers and holes to write, and keeps the frames after them, also
    /// those that follow no base.
    Repair,
}

/// A read to execute. Offset and length are multiples of the segment's block size, which may be
/// smaller than the device's. At the end of a file, fewer bytes are returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    pub slot: SlotId,
    pub offset: u32,
    pub length: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    #[error(
        "slot {slot:05}, offset {offset}: the WAL is corrupt, though it is proven durable up to {proven}: {damage}; \
         --repair keeps all sound groups"
    )]
    Corruption { slot: SlotId, offset: u32, proven: WalPosition, damage: GroupDamage },
    #[error(
        "slot {slot:05}, offset 0: the segment's header is lost, but the slot holds groups of generation {generation}, which is in use; --repair rebuilds it"
    )]
    HeaderLost { slot: SlotId, generation: SegmentGeneration },
    #[error(
        "slot {slot:05}, offset 0: the header of generation {generation} is lost, and its block size is unknown (the first sound group \
         is at offset {offset}): restore the slot file from a copy"
    )]
    BlockSizeUnknown { slot: SlotId, generation: SegmentGeneration, offset: u32 },
    #[error("slot {slot:05} belongs to another WAL")]
    ForeignSegment { slot: SlotId },
    #[error("slot {slot:05}: {error}")]
    Header { slot: SlotId, error: SegmentHeaderError },
    #[error(
        "slot {slot:05}, offset {offset}: there is {unknown}: a newer RustMQ wrote it, and this one does not know it. Start that one, or a later one; \
         it is not damage, and a repair leaves it"
    )]
    Newer { slot: SlotId, offset: u32, unknown: Unknown },
    #[error("slots {first:05} and {second:05} both hold generation {generation}")]
    DuplicateGeneration { first: SlotId, second: SlotId, generation: SegmentGeneration },
    #[error(
        "slot {slot:05}, offset {length}: the file ends here, but its segment has {expected} bytes: restore the whole file; \
         --repair keeps the rest"
    )]
    ShortFile { slot: SlotId, length: u64, expected: u32 },
    #[error(
        "the segment of generation {missing} is in use, but no slot holds it: restore the missing slot file (slots without a sound \
         header: {})",
        listed(headerless)
    )]
    MissingGeneration { missing: SegmentGeneration, headerless: Vec<SlotId> },
    #[error("slot {slot:05}: the oldest segment is empty, though earlier segments were freed")]
    EmptySegment { slot: SlotId },
    #[error("partition {partition} has frames in generation {generation}, but no checkpoint or open frame before them")]
    MissingBase { partition: TopicIdPartition, generation: SegmentGeneration },
}

fn listed(slots: &[SlotId]) -> String {
    let names: Vec<_> = slots.iter().map(|slot| format!("slot {slot:05}, offset 0")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join("; ") }
}

/// A segment in use.
#[derive(Clone, Debug)]
pub struct RecoveredSegment {
    pub slot: SlotId,
    pub generation: SegmentGeneration,
    pub shape: SegmentShape,
    /// The end of its content.
    pub end: u32,
    pub index: SegmentIndex,
    /// The trailer of the index on disk; `None` if the index was rebuilt and exists only in memory.
    pub trailer: Option<Trailer>,
}

/// The place of the next group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// At this position in the newest segment.
    InSegment(WalPosition),
    /// In a new segment: there is none yet, or the newest one takes no more groups.
    NewSegment,
}

/// Content after the end of the log. It is not replayed. Where commits are synced, it was never
/// acknowledged, unless damage hit the newest commits, whose end no group on the disk names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DroppedTail {
    pub slot: SlotId,
    pub offset: u32,
    pub damage: GroupDamage,
    /// The number of sound groups after the damage.
    pub groups: u32,
}

/// A partition that lost its only base (checkpoint, open or close) to damage, and with it the
/// offsets from `from` to `until`. It begins at `until`; a partition without any frame that tells
/// its state is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseLost {
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// The results of a recovery. Before it serves, the caller lengthens `short_files`, writes
/// `headers`, `holes` and zeros over `void_trailers`, syncs the newest segment, whose last groups
/// may never have been synced, and writes and syncs a proof group of `session`, so that `session`
/// is never used again.
#[derive(Clone, Debug)]
pub struct RecoveredWal {
    pub wal: WalId,
    /// The session that starts now.
    pub session: WalSession,
    /// Oldest first, without gaps.
    pub segments: Vec<RecoveredSegment>,
    pub resume_at: ResumePoint,
    /// The end of the durable log, once the newest segment is synced.
    pub durable: WalPosition,
    /// The end of the synced log, as the newest segment's groups name it.
    pub proven: WalPosition,
    /// Whether they name the end of all frames. Damage to others would be taken for a torn tail.
    pub is_proven: bool,
    /// The events that each open partition is rebuilt from, in order: a checkpoint or an open
    /// frame, then the frames after it.
    pub partitions: BTreeMap<TopicIdPartition, Vec<ReplayItem>>,
    /// Slots with the headers of the next generations, but without a group. The next segments must
    /// be started in these slots, in this order; otherwise their headers would collide with others
    /// of the same generation.
    pub started_empty: Vec<SlotId>,
    /// Empty unless a repair is requested, or checkpoints have not superseded one yet.
    pub bases_lost: Vec<BaseLost>,
    /// Slots without a segment.
    pub free_slots: Vec<SlotId>,
    /// Newest segment first.
    pub dropped: Vec<DroppedTail>,
    /// The holes that a repair writes. Empty unless a repair is requested.
    pub holes: Vec<(SlotId, SegmentShape, Hole)>,
    /// Files that a repair extends to the length of their segments. Empty unless a repair is
    /// requested.
    pub short_files: Vec<(SlotId, SegmentShape)>,
    /// Headers that a repair rebuilds. Empty unless a repair is requested.
    pub headers: Vec<(SlotId, SegmentHeader)>,
    /// Segments whose trailer a repair overwrites with zeros, since their index names content that
    /// a hole covers. Empty unless a repair is requested.
    pub void_trailers: Vec<(SlotId, SegmentShape)>,
}

impl RecoveredWal {
    /// Whether the log ignores this place of a slot. A power cut leaves such places. If the device
    /// cannot read one, the start is refused: the place may have held acknowledged content.
    #[must_use]
    pub fn passes_over(&self, slot: SlotId, offset: u64) -> bool {
        let Some(at) = self.segments.iter().position(|segment| segment.slot == slot) else { return true };
        at + 1 == self.segments.len() && offset >= u64::from(self.segments[at].end)
    }

    /// The bytes of the newest segment that no group proves to be synced, its header among them if
    /// it has no proven group. A failed sync may have left them in the page cache alone, where they
    /// count as clean: reads show them, and a later sync does nothing for them. So they are written
    /// again before they count as durable.
    #[must_use]
    pub fn unproven(&self) -> Option<(SlotId, Range<u32>)> {
        let newest = self.segments.last()?;
        let from = if self.proven.generation == newest.generation { self.proven.offset } else { 0 };
        (from < newest.end).then_some((newest.slot, from..newest.end))
    }
}
