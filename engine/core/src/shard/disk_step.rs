//! The disk operations of a commit. They are executed one after the other; the first failure ends
//! the commit.

use bytes::Bytes;

use crate::wal::SlotId;

/// One operation on the file of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskStep {
    /// Offset and length are whole blocks. The memory is aligned as its chunk is.
    Write {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
    Sync {
        slot: SlotId,
    },
    /// A write and its sync in one operation. It makes only its own bytes durable.
    WriteSynced {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
}

impl DiskStep {
    /// The number of bytes that the step writes.
    #[must_use]
    pub fn written(&self) -> usize {
        match self {
            Self::Write { bytes, .. } | Self::WriteSynced { bytes, .. } => bytes.len(),
            Self::Sync { .. } => 0,
        }
    }
}
