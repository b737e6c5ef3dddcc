//! The operations of the disk, and their results.

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Instant;

use super::folder::Name;

/// Counts operations from 1, across crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// An operation. Slots have whole sectors, and so do reads and writes of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates the slot's file if it is missing, extends it to this length if it is shorter, and
    /// reserves its space. The added bytes read as zeros.
    Reserve {
        slot: SlotId,
        length: u32,
    },
    /// Removes the file's name. The file is gone once that is durable.
    Remove {
        slot: SlotId,
    },
    /// Writes within the reserved length.
    Write {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
    /// Syncs the sectors and the length of one file.
    Sync {
        slot: SlotId,
    },
    /// Writes, and syncs this write alone. Makes nothing else durable except the length that the
    /// write needs.
    WriteSynced {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
    /// Reads. A shorter file gives fewer bytes.
    Read {
        slot: SlotId,
        offset: u32,
        length: u32,
    },
    /// Lists the slots in the folder, with their lengths.
    List,
    /// Makes all names in the folder durable, of slots and of notes.
    SyncFolder,
    /// Writes a small file beside the slots: under another name, then synced, then renamed over the
    /// old file.
    PutNote {
        name: &'static str,
        bytes: Bytes,
    },
    ReadNote {
        name: &'static str,
    },
    RemoveNote {
        name: &'static str,
    },
}

/// An operation has started. The schedule calls [`super::Disk::complete`] at `done_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    pub id: OperationId,
    pub done_at: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Read(Bytes),
    Slots(Vec<(SlotId, u32)>),
    /// `None` if there is no such file.
    Note(Option<Bytes>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum DiskError {
    #[error("the device answers with an error (EIO)")]
    Io,
    #[error("no space is left (ENOSPC)")]
    Full,
    #[error("there is no such file (ENOENT)")]
    NotFound,
}

impl Operation {
    /// The operation's name in the trace.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "reserve",
            Self::Remove { .. } => "remove",
            Self::Write { .. } => "write",
            Self::Sync { .. } => "sync",
            Self::WriteSynced { .. } => "write-synced",
            Self::Read { .. } => "read",
            Self::List => "list",
            Self::SyncFolder => "sync-folder",
            Self::PutNote { .. } => "put-note",
            Self::ReadNote { .. } => "read-note",
            Self::RemoveNote { .. } => "remove-note",
        }
    }

    /// The name that the operation removes.
    pub(super) const fn removes(&self) -> Option<Name> {
        match self {
            Self::Remove { slot } => Some(Name::Slot(*slot)),
            Self::RemoveNote { name } => Some(Name::Note(name)),
            _ => None,
        }
    }

    pub(super) const fn slot(&self) -> Option<SlotId> {
        match self {
            Self::Reserve { slot, .. }
            | Self::Remove { slot }
            | Self::Write { slot, .. }
            | Self::Sync { slot }
            | Self::WriteSynced { slot, .. }
            | Self::Read { slot, .. } => Some(*slot),
            Self::List | Self::SyncFolder | Self::PutNote { .. } | Self::ReadNote { .. } | Self::RemoveNote { .. } => {
                None
            }
        }
    }
}
