//! The budgets that all connections of a gateway share.

use rustmq_net::{Budget, RequestMemory, ResponseMemory};

use crate::config::GatewayConfig;

/// All of its memory that has a budget; clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    pub requests: RequestMemory,
    pub responses: ResponseMemory,
    /// Fetched bytes that slow clients have not taken.
    pub fetch_copies: Budget,
}

impl Memory {
    pub fn new(config: &GatewayConfig) -> Self {
        Self {
            requests: RequestMemory::new(config.request_memory_max),
            responses: ResponseMemory::new(config.response_memory_max),
            fetch_copies: Budget::new(config.fetch_copy_max),
        }
    }
}
