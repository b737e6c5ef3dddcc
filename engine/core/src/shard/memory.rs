//! The memory that a driver lends: chunks, each filled once from front to back, that are written to the disk and read by consumers. Where it
//! comes from, and when a chunk that nobody holds is used again, is the driver's matter.

use std::fmt::Debug;

use bytes::Bytes;

/// Where chunks come from.
pub trait Memory: Debug {
    type Chunk: Chunk;

    /// A chunk with room for `length` bytes at least.
    fn take(&mut self, length: usize) -> Result<Self::Chunk, NoMemory>;

    /// Whether a chunk with room for `length` bytes goes beyond what may be taken; of none, whether what is taken already does.
    fn is_short_of(&self, length: usize) -> bool;
}

/// The unique right to fill a chunk.
pub trait Chunk: Debug {
    /// Bytes that are still open.
    fn room(&self) -> usize;

    /// The open part, whatever it holds.
    fn open_part(&mut self) -> &mut [u8];

    /// Freezes the first `length` open bytes and hands them out: they never change again.
    fn freeze(&mut self, length: usize) -> Bytes;
}

/// There is no memory for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a chunk of {length} bytes{}", reason(*os_error))]
pub struct NoMemory {
    pub length: usize,
    /// What the system said, if it was asked.
    pub os_error: Option<i32>,
}

fn reason(os_error: Option<i32>) -> String {
    os_error.map_or_else(String::new, |code| format!(": {}", std::io::Error::from_raw_os_error(code)))
}
