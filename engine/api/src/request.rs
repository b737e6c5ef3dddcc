//! What is asked of a shard. The handle's side of the one crossing between the two runtimes; the shard drains a bounded queue of
//! these in one go. Every request is answered, or its reply is dropped because the shard has ended.
//! The words of requests and answers are the core's; here they get their queues and replies.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use rustmq_engine_core::shard::error::{AppendError, DeleteError, OpenError, ReadError, TrimError};
pub use rustmq_engine_core::shard::request::ColdRead;
use rustmq_engine_core::shard::request::{Append, Appended, LogConfig, OpenPartition, TrimTo};
use rustmq_engine_core::wal::LocationMap;
use rustmq_model::{Offset, TopicIdPartition};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::published::Published;
use crate::read::ReadBatches;

pub type Reply<T> = oneshot::Sender<T>;

#[derive(Debug)]
pub enum Request {
    /// Answered when every one of them is synced.
    Open {
        partitions: Vec<OpenPartition>,
        reply: Reply<Vec<Result<Arc<Published>, OpenError>>>,
    },
    Configure {
        id: TopicIdPartition,
        config: LogConfig,
        reply: Reply<()>,
    },
    /// Answered when every one of them is durable or refused.
    Append {
        appends: Vec<Append>,
        reply: Reply<Vec<Result<Appended, AppendError>>>,
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
    /// Write the proof group, sync, answer, end.
    Shutdown {
        reply: Reply<()>,
    },
}

/// A read of what has left memory.
#[derive(Debug)]
pub struct DiskRead {
    pub read: ColdRead,
    /// Where the partition's batches are, as its reader found it.
    pub locations: Arc<LocationMap>,
    /// Refused as busy if there is no memory for it by then.
    pub room_by: Instant,
    /// One of the places that bound how many such reads there are, given back with the answer.
    pub place: OwnedSemaphorePermit,
    pub reply: Reply<Result<ReadBatches, ReadError>>,
}

/// What became of a read that was handed over.
#[derive(Debug)]
pub enum Submitted {
    /// It is answered, or its reply is dropped because the shard has ended.
    Taken,
    /// The segment is in use no more: a newer map says where the batches are.
    Retired(Box<DiskRead>),
}

/// Who reads what has left memory, on threads of its own: it holds the segment from when it takes a read until it has answered. The shard is not asked.
pub trait DiskReads: Debug + Send + Sync {
    fn submit(&self, read: Box<DiskRead>) -> Submitted;
}
