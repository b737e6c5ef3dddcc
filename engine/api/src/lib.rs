//! The storage engine as the rest of the process uses it: the [`Engine`] handle,
//! [`PartitionReader`], and the messages and state that they share with the shards.
//!
//! [`Engine`] and [`PartitionReader`] are for users. [`request`], [`published`], [`views`],
//! [`delivery`] and [`status`] are the same interface seen by the crate that runs the shards. This
//! crate opens no files, starts no threads and maps no memory. `engine/core` names the requests,
//! answers and errors of a shard; this crate exports those names, so that its users do not depend
//! on the core. The feature `testing` adds an engine in memory, and the suite that every engine
//! passes.
//!
//! A long poll registers its waiter before it reads, and waits only after a read that found
//! nothing: whatever is published in between ends the wait.
//!
//! ```
//! use std::sync::Arc;
//!
//! use rustmq_engine_api::{
//!     Awaited, FetchWaiter, PartitionReader, ReadBatches, ReadError, ReadRequest,
//! };
//!
//! async fn poll(
//!     reader: &PartitionReader,
//!     request: ReadRequest,
//! ) -> Result<ReadBatches, ReadError> {
//!     let waiter = FetchWaiter::new();
//!     let frontier = request.isolation.frontier();
//!     loop {
//!         let above = frontier.of(&reader.frontiers());
//!         reader.watch(&waiter, Awaited { from: request.from, frontier, above });
//!         let read = reader.read(request).await?;
//!         if !read.batches.is_empty() {
//!             return Ok(read);
//!         }
//!         waiter.wait().await;
//!     }
//! }
//!
//! // A wake-up that comes before the wait is not lost.
//! let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! let waiter = FetchWaiter::new();
//! waiter.wake();
//! runtime.block_on(waiter.wait());
//! # let _ = poll;
//! # let _: Arc<FetchWaiter> = waiter;
//! # Ok::<(), std::io::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod delivery;
mod engine;
mod error;
pub mod published;
mod read;
mod reader;
pub mod request;
mod shard_handle;
pub mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod time_search;
pub mod views;
mod waiter;

pub use engine::{AppendWait, Directory, Engine, VerificationWait};
pub use error::ShutdownError;
pub use read::{AbortedTransaction, Isolation, ReadBatches, ReadRequest};
pub use reader::{PartitionReader, READ_WAIT_MAX};
pub use rustmq_engine_core::log::{
    AppendFrontier, BatchRejection, EpochEnd, Frontiers, ReadFrontier, TransactionRejection, VerificationGuard,
};
pub use rustmq_engine_core::shard::error::{AppendError, DeleteError, EngineStopped, OpenError, ReadError, TrimError};
pub use rustmq_engine_core::shard::failure::{ReadFailure, ReadFailureCause, WalFailure};
pub use rustmq_engine_core::shard::request::{
    Append, AppendSource, Appended, LogConfig, OpenPartition, ProducerState, TrimTo, Verification, Verify,
};
pub use shard_handle::ShardHandle;
pub use status::{EngineStatus, ShardStatus};
pub use time_search::FoundOffset;
pub use waiter::{Awaited, FetchWaiter};
