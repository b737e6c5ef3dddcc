//! The status of the process: whether it starts, serves or stops, its failed parts, and its
//! metrics. The process updates it, and HTTP shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::health::{Health, HealthCollector};

/// The phase of the process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting = 0,
    Serving = 1,
    Stopping = 2,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// The status that the handlers show and the process updates.
pub struct Status {
    pub started: Instant,
    phase: AtomicU8,
    pub health: Arc<Health>,
    pub registry: Mutex<Registry>,
}

impl Status {
    pub fn new() -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Starting as u8);
        let health = Arc::new(Health::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(HealthCollector(Arc::clone(&health))));
        Arc::new(Self { started: Instant::now(), phase, health, registry: Mutex::new(registry) })
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }
}
