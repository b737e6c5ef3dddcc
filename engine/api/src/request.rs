//! The requests to a shard: the only crossing between the two runtimes. The handle sends them
//! through a bounded queue, which the shard drains in portions. Every request is answered, unless
//! the shard has ended and dropped its reply. The core defines the requests' and answers' contents;
//! this module adds queues and replies.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use rustmq_engine_core::shard::error::{AppendError, DeleteError, OpenError, ReadError, TrimError};
pub use rustmq_engine_core::shard::request::ColdRead;
use rustmq_engine_core::shard::request::{
    Append, Appended, LogConfig, OpenPartition, ProducerState, TrimTo, Verification, Verify,
};
use rustmq_engine_core::wal::LocationMap;
use rustmq_model::{Offset, TopicIdPartition};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::published::Published;
use crate::read::ReadBatches;

pub type Reply<T> = oneshot::Sender<T>;

#[derive(Debug)]
pub enum Request {
    /// Answered when the opening of every partition is synced.
    Open {
        partitions: Vec<OpenPartition>,
        reply: Reply<Vec<Result<Arc<Published>, OpenError>>>,
    },
    Configure {
        id: TopicIdPartition,
        config: LogConfig,
        reply: Reply<()>,
    },
    /// Answered when every batch is durable or refused.
    Append {
        appends: Vec<Append>,
        reply: Reply<Vec<Result<Appended, AppendError>>>,
    },
    /// Answered at once, in the order of the requests.
    Verify {
        batches: Vec<Verify>,
        reply: Reply<Vec<Result<Verification, AppendError>>>,
    },
    /// Answered at once; `None` unless the partition is open.
    DescribeProducers {
        id: TopicIdPartition,
        reply: Reply<Option<Vec<ProducerState>>>,
    },
    Trim {
        id: TopicIdPartition,
        to: TrimTo,
        reply: Reply<Result<Offset, TrimError>>,
    },
    Delete {
        ids: Vec<TopicIdPartition>,
        reply: Reply<Vec<Result<(), DeleteError>>>,
    },
    /// Writes the proof group, syncs, answers, and ends the shard.
    Shutdown {
        reply: Reply<()>,
    },
}

/// A read of batches that have left memory.
#[derive(Debug)]
pub struct DiskRead {
    pub read: ColdRead,
    /// The partition's location map, as the reader found it.
    pub locations: Arc<LocationMap>,
    /// If no memory is free by then, the read is refused as busy.
    pub deadline: Instant,
    /// Bounds the number of reads from disk. Released with the answer.
    pub permit: OwnedSemaphorePermit,
    pub reply: Reply<Result<ReadBatches, ReadError>>,
}

/// The outcome of handing over a read.
#[derive(Debug)]
pub enum Submitted {
    /// The read will be answered, unless the shard has ended and dropped its reply.
    Taken,
    /// The segment has been retired: a newer map says where the batches are.
    Retired(Box<DiskRead>),
}

/// Reads batches that have left memory, without blocking the caller and without asking the shard.
/// The implementer keeps the batches readable from taking a read until its answer.
pub trait DiskReads: Debug + Send + Sync {
    fn submit(&self, read: Box<DiskRead>) -> Submitted;
}
