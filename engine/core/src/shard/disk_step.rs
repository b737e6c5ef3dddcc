//! What a commit asks of the disk. Steps are executed one after the other, and the first that fails ends their commit.

use bytes::Bytes;

use crate::wal::SlotId;

/// One thing to do with the file of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskStep {
    /// Offset and length are whole blocks; the memory is as aligned as its chunk.
    Write {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
    Sync {
        slot: SlotId,
    },
    /// Both in one. It makes nothing durable but what it writes.
    WriteSynced {
        slot: SlotId,
        offset: u32,
        bytes: Bytes,
    },
}

impl DiskStep {
    /// Bytes that it writes.
    #[must_use]
    pub fn written(&self) -> usize {
        match self {
            Self::Write { bytes, .. } | Self::WriteSynced { bytes, .. } => bytes.len(),
            Self::Sync { .. } => 0,
        }
    }
}
