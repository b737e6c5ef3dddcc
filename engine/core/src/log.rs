//! The state of one partition's log, without its bytes: offsets, leader epochs, idempotent
//! producers, transactions and a time index. It decides which appends are accepted, and what each
//! append, sync, trim and truncation changes.
//!
//! Reading order: [`partition`] is the machine, [`append`] decides about appends, [`cutting`]
//! truncates and resets the log, [`replay`] rebuilds it at a restart from a [`checkpoint`] and the
//! WAL's frames, [`frontiers`] are the offsets that others see; [`producers`], [`transactions`],
//! [`aborted_index`], [`epochs`] and [`time_index`] are its parts; [`verification`] stands beside
//! it. No batches are kept here: [`crate::wal`] and the shard know where their bytes are.

mod aborted_chunk;
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
pub mod verification;

pub use aborted_index::{AbortedIndex, AbortedTransaction};
pub use append::{Admission, AppendDecision, VerificationDecision};
pub use checkpoint::CheckpointError;
pub use cutting::RejectedTruncation;
pub use end_marker::{EndMarker, EndMarkerError, MarkerTrace};
pub use epochs::{EpochEnd, EpochStart, end_offset_for};
pub(crate) use epochs::{end_before, is_rising};
pub use frontiers::{AppendFrontier, Frontiers, ReadFrontier, Replicas, WatermarkRule};
pub use limits::LogLimits;
pub use partition::{PartitionLog, RejectedEpoch, RejectedTrim};
pub use rejection::{AppendRejection, BatchRejection, TransactionRejection};
pub use replay::{Gaps, ReplayError, ReplayedMarker};
pub use time_index::TimeIndex;
pub use verification::{VerificationGuard, Verifications};

#[cfg(test)]
pub(crate) mod tests;
