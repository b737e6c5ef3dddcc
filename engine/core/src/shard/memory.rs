//! The memory that a driver provides: chunks, each filled once from front to back, written to disk
//! and read by consumers. The driver decides where chunks come from, and when it reuses one that
//! nobody holds.

use std::fmt::Debug;

use bytes::Bytes;

/// Allocates chunks.
pub trait Memory: Debug {
    type Chunk: Chunk;

    /// Allocates a chunk with room for at least `length` bytes.
    ///
    /// # Errors
    /// If the system has no memory for it.
    fn take(&mut self, length: usize) -> Result<Self::Chunk, NoMemory>;

    /// Whether a chunk of `length` bytes would exceed the memory limit. Zero asks whether the
    /// memory in use already exceeds it.
    fn is_short_of(&self, length: usize) -> bool;
}

/// The unique right to fill a chunk.
pub trait Chunk: Debug {
    /// The size of the open part, in bytes.
    fn room(&self) -> usize;

    /// The open part. Its content is unspecified.
    fn open_part(&mut self) -> &mut [u8];

    /// Freezes the first `length` open bytes and returns them: they never change again.
    fn freeze(&mut self, length: usize) -> Bytes;
}

/// There is no memory for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a chunk of {length} bytes{}", reason(*os_error))]
pub struct NoMemory {
    pub length: usize,
    /// The system's error code, if the allocation reached the system.
    pub os_error: Option<i32>,
}

fn reason(os_error: Option<i32>) -> String {
    os_error.map_or_else(String::new, |code| format!(": {}", std::io::Error::from_raw_os_error(code)))
}
