//! What the rest of the process holds of the storage engine: the [`Engine`] handle, [`PartitionReader`], and the memory and
//! messages that it shares with the shards.
//!
//! Reading order: [`Engine`] and [`PartitionReader`] are for users. [`request`], [`published`], [`chunk`] and [`status`] are the
//! other side of the same seam, for the crate that runs the shards. No files and no threads here.

pub mod chunk;
mod config;
mod engine;
mod error;
pub mod published;
mod reader;
pub mod request;
pub mod status;
mod time_search;
mod waiter;

pub use config::LogConfig;
pub use engine::{Append, AppendWait, Appended, Directory, Engine, OpenPartition, ShardHandle, TrimTo};
pub use error::{AppendError, DeleteError, EngineStopped, OpenError, ReadError, ShutdownError, TrimError};
pub use published::LogOffsets;
pub use reader::{AbortedTransaction, Isolation, PATIENCE, PartitionReader, ReadBatches, ReadRequest};
pub use status::{DriverKind, EngineStatus, ShardStatus};
pub use time_search::FoundOffset;
pub use waiter::FetchWaiter;
