//! What recovery is asked, what it answers, and why it refuses.

use std::collections::BTreeMap;

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
    /// How new segments are laid out here: the device's block size, the WAL's segment size.
    pub shape: SegmentShape,
    /// Every slot file of the folder, and its length.
    pub slots: Vec<(SlotId, u64)>,
    /// Bytes to ask for at a time while scanning; a larger group is asked for whole.
    pub window: u32,
    pub policy: CorruptionPolicy,
}

/// What is done about damage before the proven end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorruptionPolicy {
    Refuse,
    /// As `Refuse`, but the damage of a repair is not behind checkpoints yet: a partition whose only base it took begins at what is left.
    Repaired,
    /// `--repair`: list headers and holes to write, keep what follows them, also where it follows no base.
    Repair,
}

/// A read to execute. Offsets and lengths are multiples of the segment's block size, which can be smaller than the device's.
/// A file that ends early gives fewer bytes.
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
         --repair keeps what is sound",
        slot = slot.0
    )]
    Corruption { slot: SlotId, offset: u32, proven: WalPosition, damage: GroupDamage },
    #[error(
        "slot {slot:05}, offset 0: the segment's header is lost, but groups of generation {generation} are there, which is in use; --repair rebuilds it",
        slot = slot.0, generation = generation.0
    )]
    HeaderLost { slot: SlotId, generation: SegmentGeneration },
    #[error(
        "slot {slot:05}, offset 0: the header of generation {generation} is lost, and its block size cannot be told (the first sound group \
         stands at offset {offset}): put the slot file back from a copy",
        slot = slot.0, generation = generation.0
    )]
    BlockSizeUnknown { slot: SlotId, generation: SegmentGeneration, offset: u32 },
    #[error("slot {slot:05} belongs to another WAL", slot = slot.0)]
    ForeignSegment { slot: SlotId },
    #[error("slot {slot:05}: {error}", slot = slot.0)]
    Header { slot: SlotId, error: SegmentHeaderError },
    #[error(
        "slot {slot:05}, offset {offset}: there is {unknown}: a newer RustMQ wrote it, and this one does not know it. Start that one, or a later one; \
         it is not damage, and a repair leaves it",
        slot = slot.0
    )]
    Newer { slot: SlotId, offset: u32, unknown: Unknown },
    #[error("slots {first:05} and {second:05} both hold generation {generation}", first = first.0, second = second.0, generation = generation.0)]
    DuplicateGeneration { first: SlotId, second: SlotId, generation: SegmentGeneration },
    #[error(
        "slot {slot:05}, offset {length}: the file ends here, but its segment has {expected} bytes: put the whole file back; \
         --repair keeps what is there",
        slot = slot.0
    )]
    ShortFile { slot: SlotId, length: u64, expected: u32 },
    #[error(
        "the segment of generation {missing} is in use, but no slot holds it: put the slot file that is missing back (without a sound \
         header: {})",
        listed(headless), missing = missing.0
    )]
    MissingGeneration { missing: SegmentGeneration, headless: Vec<SlotId> },
    #[error("slot {slot:05}: the oldest segment is empty, though one before it was freed", slot = slot.0)]
    EmptySegment { slot: SlotId },
    #[error("partition {partition} has frames in generation {generation} but nothing that they follow", generation = generation.0)]
    MissingBase { partition: TopicIdPartition, generation: SegmentGeneration },
}

fn listed(slots: &[SlotId]) -> String {
    let names: Vec<_> = slots.iter().map(|slot| format!("slot {:05}, offset 0", slot.0)).collect();
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
    /// The index is on disk, found through this trailer; otherwise it was rebuilt and lives in memory only.
    pub trailer: Option<Trailer>,
}

/// Where the log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoOn {
    /// In the newest segment, at this position.
    InSegment(WalPosition),
    /// In a new segment: there is none yet, or the newest takes no more.
    NewSegment,
}

/// What was found behind the end of the log: never acknowledged, and not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DroppedTail {
    pub slot: SlotId,
    pub offset: u32,
    pub damage: GroupDamage,
    /// Sound groups after the damage.
    pub groups: u32,
}

/// A partition that lost its only base (checkpoint, open or close) to damage, and with it these offsets: it begins at `until`. Where nothing
/// is left that says so, it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseLost {
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// Before anything is served the caller lengthens `short_files`, writes `headers`, `holes` and zeros over `void_trailers`, syncs the newest segment (its last groups may never have been synced),
/// and writes and syncs a proof group of `session`, so that `session` is never used again.
#[derive(Clone, Debug)]
pub struct RecoveredWal {
    pub wal: WalId,
    /// The session that starts now.
    pub session: WalSession,
    /// Oldest first, without gaps.
    pub segments: Vec<RecoveredSegment>,
    pub go_on: GoOn,
    /// The end of what is durable once the newest segment is synced.
    pub durable: WalPosition,
    /// What of that the newest segment's groups say was synced.
    pub proven: WalPosition,
    /// What each open partition is rebuilt from, in order: a checkpoint or open, then what followed.
    pub partitions: BTreeMap<TopicIdPartition, Vec<ReplayItem>>,
    /// Slots whose headers name the next generations but that hold no group: the next segments are started in them, in this order, or
    /// their headers would later collide with others of the same generation.
    pub started_empty: Vec<SlotId>,
    /// Empty unless a repair is asked for, or not behind checkpoints yet.
    pub bases_lost: Vec<BaseLost>,
    /// Slots that hold nothing.
    pub free_slots: Vec<SlotId>,
    pub dropped: Option<DroppedTail>,
    /// What a repair writes. Empty unless asked for.
    pub holes: Vec<(SlotId, SegmentShape, Hole)>,
    /// Files that a repair makes as long as their segments. Empty unless asked for.
    pub short_files: Vec<(SlotId, SegmentShape)>,
    /// Headers that a repair puts back. Empty unless asked for.
    pub headers: Vec<(SlotId, SegmentHeader)>,
    /// Segments whose trailer a repair overwrites with zeros, since their index names what a hole took. Empty unless asked for.
    pub void_trailers: Vec<(SlotId, SegmentShape)>,
}

impl RecoveredWal {
    /// Whether the log goes on as if nothing had been written at this place of a slot. A cut of power leaves such places.
    /// One that the device cannot read is not told from a lost one, so it is refused there.
    #[must_use]
    pub fn passes_over(&self, slot: SlotId, offset: u64) -> bool {
        let Some(at) = self.segments.iter().position(|segment| segment.slot == slot) else { return true };
        at + 1 == self.segments.len() && offset >= u64::from(self.segments[at].end)
    }
}
