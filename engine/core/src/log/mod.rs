//! The partition log: what one partition's log holds, said without its bytes. Offsets, leader
//! epochs, idempotent producers, transactions and a time index; which append is taken, and what
//! each append, sync, trim and truncation changes.
//!
//! Reading order: [`partition`] is the machine, [`append`] its answers to appends, [`cutting`] how
//! it loses its end, [`replay`] how a restart rebuilds it from what [`checkpoint`] and the WAL's
//! frames say, [`frontiers`] what it shows of itself; [`producers`], [`transactions`],
//! [`aborted_index`], [`epochs`] and [`time_index`] are its parts. No batches are kept here: where
//! their bytes are is known to [`crate::wal`] and to the shard.

pub mod aborted_index;
pub mod append;
pub mod checkpoint;
pub mod cutting;
pub mod end_marker;
pub mod epochs;
pub mod frontiers;
pub mod limits;
pub mod partition;
pub mod producers;
pub mod rejection;
pub mod replay;
pub mod time_index;
pub mod transactions;

pub use aborted_index::{AbortedIndex, AbortedTransaction};
pub use append::AppendDecision;
pub use checkpoint::CheckpointError;
pub use cutting::RejectedTruncation;
pub use end_marker::{EndMarker, EndMarkerError, TransactionEnd};
pub use epochs::{EpochEnd, EpochStart, end_offset_for};
pub use frontiers::{AppendFrontier, Frontiers, ReadFrontier, Replicas, WatermarkRule};
pub use limits::LogLimits;
pub use partition::{PartitionLog, RejectedEpoch, RejectedTrim};
pub use rejection::AppendRejection;
pub use replay::{Gaps, ReplayError};
pub use time_index::TimeIndex;

#[cfg(test)]
pub(crate) mod tests;
