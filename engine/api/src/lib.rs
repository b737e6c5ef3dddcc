//! What the rest of the process holds of the storage engine: the [`Engine`] handle, [`PartitionReader`], and the memory and
//! messages that it shares with the shards.
//!
//! Reading order: [`Engine`] and [`PartitionReader`] are for users. [`request`], [`published`], [`chunk`] and [`status`] are the
//! other side of the same seam, for the crate that runs the shards. No files and no threads here. What a shard is asked and answers is
//! named in `engine/core`, and the names are this crate's own to those who use it: nobody above needs to know the core.

pub mod chunk;
mod engine;
mod error;
pub mod published;
mod read;
mod reader;
pub mod request;
mod shard_handle;
pub mod status;
mod time_search;
mod waiter;

pub use engine::{AppendWait, Directory, Engine};
pub use error::ShutdownError;
pub use read::{AbortedTransaction, Isolation, ReadBatches, ReadRequest};
pub use reader::{PATIENCE, PartitionReader};
pub use rustmq_engine_core::log::{AppendFrontier, Frontiers, ReadFrontier};
pub use rustmq_engine_core::shard::error::{AppendError, DeleteError, EngineStopped, OpenError, ReadError, TrimError};
pub use rustmq_engine_core::shard::request::{Append, Appended, LogConfig, OpenPartition, TrimTo};
pub use shard_handle::ShardHandle;
pub use status::{DriverKind, EngineStatus, ShardStatus};
pub use time_search::FoundOffset;
pub use waiter::{Awaited, FetchWaiter};
