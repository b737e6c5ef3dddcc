//! The storage engine's decisions, without I/O, clocks or threads. `engine/shard` executes them.
//!
//! - [`log`]: the state of one partition's log, without its bytes.
//! - [`wal`]: the write-ahead log: its format, its recovery, the use of its segments.
//! - [`shard`]: the machine that runs the partitions and the WAL of a shard.
//! - [`replication`]: the machine that replicates one partition.
//! - [`tagged_fields`]: optional fields at the end of frames and checkpoints.
//! - [`tail_budget`]: the memory budget of recent batches.
//! - [`capped_mean`]: a mean of durations, such as those of commits.
//!
//! All of them are driven in the same way. The caller asks for a decision, executes it, and reports
//! the result. For the log of one partition:
//!
//! ```
//! use rustmq_engine_core::log::{Admission, AppendDecision, LogLimits, PartitionLog};
//! use rustmq_model::batch::{BatchHeader, Codec};
//! use rustmq_model::record::BatchBuilder;
//! use rustmq_model::{LeaderEpoch, Offset, Timestamp};
//!
//! let mut log = PartitionLog::open(LogLimits::default(), LeaderEpoch(0), Offset::ZERO);
//! let (now, mut batch) = (Timestamp(1_000), BatchBuilder::new(Codec::None));
//! batch.push(now, None, Some(b"value"), &[]);
//! let header = BatchHeader::parse(&batch.build())?;
//!
//! let decision = log.prepare_append(None, &header, Admission::Verified)?;
//! assert_eq!(decision, AppendDecision::Append { base_offset: Offset(0) });
//! log.commit_append(&header, Offset(0), now);
//! // The caller writes the batch. Readers do not see it before it is durable.
//! assert_eq!((log.end(), log.frontiers().high_watermark), (Offset(1), Offset(0)));
//! log.on_durable(Offset(1));
//! assert_eq!(log.frontiers().high_watermark, Offset(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod capped_mean;
pub mod log;
pub mod replication;
pub mod shard;
pub mod tagged_fields;
pub mod tail_budget;
pub mod wal;
