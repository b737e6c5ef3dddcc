//! A broker without a disk, threads and Raft: engine and controller are in memory, and use the real
//! machines for their decisions.

use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use rustmq_controller_api::Controller;
use rustmq_controller_api::testing::{Bounds, InMemoryController};
use rustmq_engine_api::Engine;
use rustmq_engine_api::testing::{InMemoryEngine, InMemoryOptions};

use crate::broker::Broker;
use crate::config::{BrokerConfig, BrokerLimits};
use crate::features::SupportedFeature;
use crate::session::Session;
use crate::testing::operations;

#[derive(Clone, Debug, Default)]
pub struct InMemoryBrokerOptions {
    pub engine: InMemoryOptions,
    pub controller: Bounds,
    /// The `[kafka]` section.
    pub kafka: Vec<(&'static str, &'static str)>,
    pub limits: BrokerLimits,
    pub features: &'static [SupportedFeature],
}

impl InMemoryBrokerOptions {
    #[must_use]
    pub fn with_kafka(kafka: &[(&'static str, &'static str)]) -> Self {
        Self { kafka: kafka.to_vec(), ..Self::default() }
    }
}

/// A running broker, with its engine and its controller.
pub struct InMemoryBroker {
    pub broker: Arc<Broker>,
    /// An anonymous caller.
    pub session: Session,
    pub registry: Registry,
    pub engine: InMemoryEngine,
    pub controller: Arc<InMemoryController>,
    options: InMemoryBrokerOptions,
}

impl InMemoryBroker {
    /// # Panics
    /// If the broker does not start.
    pub async fn start(options: InMemoryBrokerOptions) -> Self {
        let controller = Arc::new(InMemoryController::new(options.controller));
        Self::start_on(InMemoryEngine::start(options.engine), controller, options).await
    }

    async fn start_on(
        engine: InMemoryEngine,
        controller: Arc<InMemoryController>,
        options: InMemoryBrokerOptions,
    ) -> Self {
        let mut registry = Registry::default();
        let config = operations::config(PathBuf::from("/"), &options.kafka, options.limits);
        let config = BrokerConfig { features: options.features, ..config };
        let port = Arc::clone(&controller) as Arc<dyn Controller>;
        let broker = Broker::start(config, Engine::clone(&engine), port, &mut registry).await;
        let broker = broker.expect("the broker starts");
        Self { session: operations::session(&broker), broker, registry, engine, controller, options }
    }

    /// Stops only the broker, and starts another one on the same engine and controller.
    ///
    /// # Panics
    /// If the broker does not start.
    pub async fn restart(self) -> Self {
        let options = self.options.clone();
        self.restart_with(options).await
    }

    /// As [`Self::restart`], with other options of the broker.
    ///
    /// # Panics
    /// If the broker does not start.
    pub async fn restart_with(self, options: InMemoryBrokerOptions) -> Self {
        self.broker.shutdown().await;
        Self::start_on(self.engine, self.controller, options).await
    }

    pub async fn stop(self) {
        self.broker.shutdown().await;
        self.engine.shutdown().await;
        self.controller.close();
    }

    /// The metrics as a page.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut text = String::new();
        let encoded = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        encoded.expect("a string has room");
        text
    }
}
