//! What the simulation lends the machine: answers are numbers of requests, memory is vectors.

use rustmq_engine_core::shard::Host;

use super::memory::NodeMemory;

/// A request. They are numbered in the order in which they are asked, over all lives.
pub type RequestNumber = u64;

#[derive(Debug)]
pub struct NodeHost;

impl Host for NodeHost {
    type Memory = NodeMemory;
    type OpenReply = RequestNumber;
    type AppendReply = RequestNumber;
    type TrimReply = RequestNumber;
    type DeleteReply = RequestNumber;
    type CutReply = RequestNumber;
    type DoneReply = RequestNumber;
}
