//! Follows the controller's metadata: carries out in the engine what the replicas of this broker
//! need, and then shows the change in the view.
//!
//! One task does all of this in the order of the metadata log. Whoever has submitted a command asks
//! it to catch up before answering, so that what was answered can be used at once. What has to be
//! done is decided by [`LocalReplicas`].

use std::sync::Arc;

use parking_lot::RwLock;
use rustmq_broker_core::replicas::{LocalReplicas, OpenReplica, ReplicaAction, ReplicaConfig, ShownTopic};
use rustmq_controller_api::{Subscription, Update};
use rustmq_controller_core::configs::StaticConfigs;
use rustmq_controller_core::{ClusterState, Delta};
use rustmq_engine_api::{DeleteError, Engine, LogConfig, OpenError, OpenPartition, PartitionReader};
use rustmq_model::{BrokerId, TopicId, TopicIdPartition, TopicName};
use tokio::sync::{mpsc, oneshot, watch};

use crate::broker::stopped;
use crate::clock::Clock;
use crate::coordination::GroupCoordinators;
use crate::view::{ClusterView, OFFSETS_TOPIC, TopicEntry};

/// Answered when the view holds everything that was submitted before.
pub(crate) type CatchUp = oneshot::Sender<()>;

pub(crate) struct MetadataFollower {
    replicas: LocalReplicas<PartitionReader, OpenError>,
    engine: Engine,
    view: Arc<RwLock<ClusterView>>,
    coordinators: Arc<GroupCoordinators>,
    clock: Clock,
}

impl MetadataFollower {
    pub(crate) fn new(
        broker: BrokerId,
        static_configs: Arc<StaticConfigs>,
        engine: Engine,
        view: Arc<RwLock<ClusterView>>,
        coordinators: Arc<GroupCoordinators>,
    ) -> Self {
        let replicas = LocalReplicas::new(broker, static_configs);
        Self { replicas, engine, view, coordinators, clock: Clock::new() }
    }

    /// Runs until the controller ends, or the broker.
    pub(crate) async fn run(
        mut self,
        mut subscription: Subscription,
        mut requests: mpsc::Receiver<CatchUp>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let timeout = self.clock.sleep_until(self.replicas.poll_timeout());
            // A request to catch up is answered only when nothing is left to follow. The others
            // come before both, because changes may come without end, and they do not: the stop
            // comes once, and the clock at its pace.
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                () = timeout => {
                    self.replicas.handle_timeout(self.clock.now().instant);
                    self.execute().await;
                }
                update = subscription.next() => match update {
                    Some(Update::Changed(batch)) => self.apply(&batch.deltas).await,
                    Some(Update::Resynchronized(snapshot)) => self.adopt(&snapshot.state).await,
                    None => return,
                },
                Some(caught_up) = requests.recv() => {
                    // An error says that the asker has gone.
                    let _ = caught_up.send(());
                }
            }
        }
    }

    /// Takes a whole state: at the start, and after changes were missed. What the engine has and
    /// the state does not know is deleted.
    pub(crate) async fn adopt(&mut self, state: &Arc<ClusterState>) {
        self.view.write().state = ClusterState::clone(state);
        self.replicas.handle_snapshot(state, self.engine.partitions());
        self.execute().await;
    }

    async fn apply(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            self.view.write().state.replay(delta);
        }
        // Under the lock for readers: a change of broker-wide configs looks at every topic.
        self.replicas.handle_deltas(&self.view.read().state, deltas);
        self.execute().await;
    }

    async fn execute(&mut self) {
        while let Some(action) = self.replicas.poll_action() {
            match action {
                ReplicaAction::Open(opens) => self.open(&opens).await,
                ReplicaAction::Configure { id, config } => {
                    // An error says that the engine has stopped: then its retention has too.
                    let _ = self.engine.configure(id, log_config(config)).await;
                }
                ReplicaAction::Show(shown) => self.show(*shown),
                ReplicaAction::Hide { id, name } => self.hide(id, &name),
                ReplicaAction::Delete(ids) => self.delete(ids).await,
                ReplicaAction::ShowSettings(settings) => self.view.write().settings = settings,
            }
        }
    }

    /// The engine opens leaders and followers alike: it knows of no other broker to follow.
    async fn open(&mut self, opens: &[OpenReplica]) {
        let request = opens.iter().map(|open| OpenPartition {
            id: open.id,
            leader_epoch: open.assignment.leader_epoch,
            config: log_config(open.config),
        });
        let results = self.engine.open(request.collect()).await;
        let now = self.clock.now().instant;
        for (open, result) in opens.iter().zip(results) {
            if let Err(error) = &result {
                tracing::warn!(partition = %open.id, %error, "a partition was not opened: it is tried again");
            }
            self.replicas.on_opened(now, open.id, result);
        }
    }

    fn show(&self, shown: ShownTopic<PartitionReader, OpenError>) {
        let entry = Arc::new(TopicEntry { topic: shown.topic, config: shown.config, replicas: shown.replicas });
        if entry.topic.name.as_str() == OFFSETS_TOPIC {
            self.coordinators.follow(&entry);
        }
        self.view.write().put(entry);
    }

    fn hide(&self, id: TopicId, name: &TopicName) {
        self.view.write().remove(id);
        if name.as_str() == OFFSETS_TOPIC {
            self.coordinators.resign();
        }
        self.coordinators.forget_topic(name);
    }

    async fn delete(&mut self, ids: Vec<TopicIdPartition>) {
        let results = self.engine.delete(ids.clone()).await;
        let now = self.clock.now().instant;
        for (id, result) in ids.into_iter().zip(results) {
            let is_deleted = match result {
                Ok(()) | Err(DeleteError::UnknownPartition | DeleteError::Stopped) => true,
                Err(error @ (DeleteError::Full | DeleteError::Storage { .. })) => {
                    tracing::warn!(partition = %id, %error, "a partition was not deleted: it is tried again");
                    false
                }
            };
            self.replicas.on_deleted(now, id, is_deleted);
        }
    }
}

/// What the engine is told about a replica's log.
const fn log_config(config: ReplicaConfig) -> LogConfig {
    let ReplicaConfig { retention_time, retention_bytes, producer_expiry } = config;
    LogConfig { retention_time, retention_bytes, producer_expiry }
}
