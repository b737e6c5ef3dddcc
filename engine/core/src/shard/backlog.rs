//! Requests that were accepted and are not staged yet, in order. The first one without room holds
//! up those behind it: so requests take effect in the order in which they came.

use std::collections::VecDeque;

use rustmq_model::TopicIdPartition;

use super::appends::PartialAppend;
use super::host::Host;
use super::request::{LogConfig, OpenPartition, TrimTo, Verify};

/// The progress of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    /// It waits until a segment is ready or the next commit begins.
    Stalled,
}

#[derive(Debug)]
pub(super) enum Job<H: Host> {
    Open { partitions: Vec<OpenPartition>, reply: H::OpenReply },
    Configure { id: TopicIdPartition, config: LogConfig, reply: H::DoneReply },
    Append(PartialAppend<H>),
    Verify { batches: Vec<Verify>, reply: H::VerifyReply },
    DescribeProducers { id: TopicIdPartition, reply: H::ProducersReply },
    Trim { id: TopicIdPartition, to: TrimTo, reply: H::TrimReply },
    Delete { ids: Vec<TopicIdPartition>, reply: H::DeleteReply },
    Close { reply: H::DoneReply },
}

#[derive(Debug)]
pub(super) struct Backlog<H: Host>(VecDeque<Job<H>>);

impl<H: Host> Default for Backlog<H> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<H: Host> Backlog<H> {
    pub(super) fn push(&mut self, job: Job<H>) {
        self.0.push_back(job);
    }

    pub(super) fn pop(&mut self) -> Option<Job<H>> {
        self.0.pop_front()
    }

    /// The job continues before all others.
    pub(super) fn put_back(&mut self, job: Job<H>) {
        self.0.push_front(job);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
