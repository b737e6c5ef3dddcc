//! The tests' host: answers are cells that the test reads.

use std::sync::{Arc, OnceLock};

use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use super::memory::VecMemory;
use crate::shard::error::{AppendError, CutError, DeleteError, OpenError, TrimError};
use crate::shard::request::{Appended, ProducerState, Verification};
use crate::shard::{Host, PartitionKey};

/// The answer to one request, set once. Requests are numbered in the order in which they were made.
#[derive(Clone, Debug)]
pub struct Reply<T> {
    pub number: usize,
    answer: Arc<OnceLock<T>>,
}

impl<T> Reply<T> {
    pub fn new(number: usize) -> Self {
        Self { number, answer: Arc::default() }
    }

    pub fn set(&self, answer: T) {
        assert!(self.answer.set(answer).is_ok(), "request {} is answered once", self.number);
    }

    pub fn answer(&self) -> Option<&T> {
        self.answer.get()
    }

    pub fn is_answered(&self) -> bool {
        self.answer.get().is_some()
    }
}

#[derive(Debug)]
pub struct TestHost;

impl Host for TestHost {
    type Memory = VecMemory;
    type OpenReply = Reply<Vec<Result<PartitionKey, OpenError>>>;
    type AppendReply = Reply<Vec<Result<Appended, AppendError>>>;
    type VerifyReply = Reply<Vec<Result<Verification, AppendError>>>;
    type ProducersReply = Reply<Option<Vec<ProducerState>>>;
    type TrimReply = Reply<Result<Offset, TrimError>>;
    type DeleteReply = Reply<Vec<Result<(), DeleteError>>>;
    type CutReply = Reply<Result<Offset, CutError>>;
    type DoneReply = Reply<()>;
}

/// The actions that readers and clients see, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Poison,
    View(PartitionKey),
    List(PartitionKey),
    Unlist(TopicIdPartition),
    /// Batches up to this offset.
    Batches(PartitionKey, Offset),
    LogStart(PartitionKey, Offset),
    Leadership(PartitionKey, LeaderEpoch),
    /// A cut to this offset.
    Cut(PartitionKey, Offset),
    Closed(PartitionKey),
    /// The answer to the request with this number.
    Answer(usize),
}
