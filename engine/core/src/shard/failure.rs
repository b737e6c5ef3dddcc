//! Failures of the disk, of threads and of memory, as the errors of requests carry them.

use std::io;

use super::memory::NoMemory;

/// Why the write-ahead log takes a request no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalFailure {
    /// A write or a sync failed, which the detail names with its file. The log acknowledges nothing
    /// more until the process restarts.
    #[error("{detail}")]
    Disk { kind: io::ErrorKind, detail: String },
    /// No further segment becomes ready. The log acknowledges nothing more until the process
    /// restarts.
    #[error("the thread that prepares segments has panicked")]
    PreparationLost,
    /// The log goes on, and later requests may find memory.
    #[error(transparent)]
    Memory(#[from] NoMemory),
}

/// Why stored data cannot be read back now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ReadFailure {
    pub cause: ReadFailureCause,
    /// Names the file and the offset in it where there is one.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFailureCause {
    /// The disk does not return the data that was written there.
    Damage,
    /// The disk fails in another way, which may be temporary.
    Device,
    /// The failure is not the disk's: memory or descriptors are missing, a thread has panicked, or
    /// a newer RustMQ wrote the frames.
    Process,
    /// No segment in use has the data: the log's own account is wrong.
    Location,
}
