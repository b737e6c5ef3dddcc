//! The state that all connections of a gateway share.

use std::sync::Arc;

use rustmq_broker_service::Broker;

use crate::config::GatewayConfig;
use crate::fetch_sessions::FetchSessions;
use crate::memory::Memory;
use crate::metrics::Metrics;

/// The state that all connections of a gateway share.
pub struct Shared {
    pub config: GatewayConfig,
    pub broker: Arc<Broker>,
    pub metrics: Metrics,
    pub memory: Memory,
    pub fetch_sessions: FetchSessions,
}

impl Shared {
    pub fn new(config: GatewayConfig, broker: Arc<Broker>) -> Self {
        let memory = Memory::new(&config);
        let metrics = Metrics::new(memory.clone());
        Self {
            memory,
            fetch_sessions: FetchSessions::new(config.fetch_sessions_max, metrics.fetch_sessions.clone()),
            config,
            broker,
            metrics,
        }
    }
}
