//! The host of the simulated machine: a reply handle is the number of a request, memory is vectors.

use rustmq_engine_core::shard::Host;

use super::memory::NodeMemory;

/// Numbers the requests in the order in which clients send them, across all lives.
pub type RequestNumber = u64;

#[derive(Debug)]
pub struct NodeHost;

impl Host for NodeHost {
    type Memory = NodeMemory;
    type OpenReply = RequestNumber;
    type AppendReply = RequestNumber;
    type VerifyReply = RequestNumber;
    type ProducersReply = RequestNumber;
    type TrimReply = RequestNumber;
    type DeleteReply = RequestNumber;
    type CutReply = RequestNumber;
    type DoneReply = RequestNumber;
}
