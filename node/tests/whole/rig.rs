//! A broker over its real engine and controller, on a folder.

use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use rustmq_broker_service::testing::operations;
use rustmq_broker_service::{Broker, BrokerLimits, Session};
use rustmq_controller_raft::{ControllerConfig, RaftController};
use rustmq_engine_api::Engine;
use rustmq_engine_shard::{EngineConfig, EngineSettings, Metrics};
use rustmq_model::ByteSize;

/// A running broker. The folder can be started on again after [`Self::stop`].
pub struct Whole {
    pub broker: Arc<Broker>,
    /// An anonymous caller.
    pub session: Session,
    pub engine: Engine,
    controller: RaftController,
}

impl Whole {
    pub fn engine_config(dir: &Path) -> EngineConfig {
        let settings = EngineSettings {
            shards: Some(2),
            segment_size: ByteSize::mib(16),
            tail_memory: Some(ByteSize::mib(128)),
            ..EngineSettings::default()
        };
        EngineConfig { capacity: ByteSize::mib(512), ..EngineConfig::new(settings, dir.join("wal")) }
    }

    pub async fn start(engine: EngineConfig, dir: &Path, kafka: &[(&str, &str)], limits: BrokerLimits) -> Self {
        let start = move || rustmq_engine_shard::start(&engine, &Metrics::default());
        let (engine, _) = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        let controller = RaftController::open(&dir.join("controller"), ControllerConfig::default()).await.unwrap();
        let config = operations::config(dir.to_owned(), kafka, limits);
        let port = Arc::new(controller.clone());
        let broker = Broker::start(config, engine.clone(), port, &mut Registry::default()).await.unwrap();
        Self { session: operations::session(&broker), broker, engine, controller }
    }

    pub async fn stop(self) {
        self.broker.shutdown().await;
        self.engine.shutdown().await;
        self.controller.shutdown().await;
    }
}
