//! The memory of recent batches: chunks, which the shard writes to disk and consumers read. Readers
//! hold parts of chunks as `Bytes`, so only the writer names this crate.
//!
//! [`ChunkWriter`] fills a chunk from front to back, [`ChunkPool`] hands out the memory and takes
//! it back, and `mapping` takes it from the system. All `unsafe` code of the storage engine is in
//! `chunk` and `mapping`.
//!
//! ```
//! use rustmq_engine_memory::{ALIGNMENT, ChunkPool, ChunkWriter};
//!
//! let pool = ChunkPool::new(ALIGNMENT, 4 * ALIGNMENT as u64);
//! let mut writer = ChunkWriter::new(ALIGNMENT, &pool)?;
//! writer.open_part()[..5].copy_from_slice(b"batch");
//! let batch = writer.freeze(5);
//! drop(writer);
//! assert_eq!(&batch[..], b"batch");
//!
//! // The frozen bytes keep the chunk out of the pool.
//! assert_eq!(pool.usage().live, ALIGNMENT as u64);
//! drop(batch);
//! assert_eq!(pool.usage().live, 0);
//! # Ok::<(), rustmq_engine_core::shard::NoMemory>(())
//! ```

mod chunk;
mod mapping;
mod pool;

pub use chunk::ChunkWriter;
pub use mapping::ALIGNMENT;
pub use pool::{ChunkPool, ChunkUsage};
