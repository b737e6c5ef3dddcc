//! What is asked of the disk, and what it answers.

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Instant;

use super::folder::Name;

/// Operations are counted from 1, over crashes too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// Slots are of whole sectors, and so is what is read or written of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes the slot's file if there is none, as long as this if it is shorter, and holds its space. What is added reads as zeros.
    Reserve {
        slot: SlotId,
        length: u32,
    },
    /// Takes the file's name away. The file is gone once that is durable.
    Remove {
        slot: SlotId,
    },
    /// Lies within what is reserved.
    Write {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
    /// Of one file: its sectors and its length.
    Sync {
        slot: SlotId,
    },
    /// Both in one. It makes nothing durable but what it writes, and the length that this needs.
    WriteSynced {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
    /// A file that ends early gives fewer bytes.
    Read {
        slot: SlotId,
        offset: u32,
        length: u32,
    },
    /// The slots' files that the folder names, with their lengths.
    List,
    /// Makes the folder's names durable: of slots and of notes.
    SyncFolder,
    /// A small file beside the slots. It is written under another name, synced, and renamed over the old one.
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

/// An operation has begun. The schedule tells the disk at `done_at` ([`super::Disk::complete`]).
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
    /// None if there is no such file.
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
    /// What the trace calls it.
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

    /// The name that is gone afterwards.
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
