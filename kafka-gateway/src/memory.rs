//! The memory budgets that all connections of a gateway share.

use rustmq_net::{Budget, RequestMemory, ResponseMemory};

use crate::config::GatewayConfig;

/// The budgets of a gateway. Clones share them.
#[derive(Clone, Debug)]
pub struct Memory {
    pub requests: RequestMemory,
    pub responses: ResponseMemory,
    /// For copies of fetched bytes that slow clients have not received.
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
