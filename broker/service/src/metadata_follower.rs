//! Follows the controller's metadata: opens, configures and deletes the replicas of this broker in
//! the engine, and then shows the change in the view.
//!
//! One task does this in the order of the metadata log. After a command, its submitter waits until
//! the task has caught up, so that a client can use the result at once. [`LocalReplicas`] makes the
//! decisions.

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
use crate::coordination::LocalCoordinators;
use crate::view::{ClusterView, TopicEntry};

/// Answered when the view shows all commands that were submitted before.
pub(crate) type CatchUp = oneshot::Sender<()>;

pub(crate) struct MetadataFollower {
    replicas: LocalReplicas<PartitionReader, OpenError>,
    engine: Engine,
    view: Arc<RwLock<ClusterView>>,
    coordinators: LocalCoordinators,
    clock: Clock,
}

impl MetadataFollower {
    pub(crate) fn new(
        broker: BrokerId,
        static_configs: Arc<StaticConfigs>,
        engine: Engine,
        view: Arc<RwLock<ClusterView>>,
        coordinators: LocalCoordinators,
    ) -> Self {
        let replicas = LocalReplicas::new(broker, static_configs);
        Self { replicas, engine, view, coordinators, clock: Clock::new() }
    }

    /// Runs until the controller or the broker stops.
    pub(crate) async fn run(
        mut self,
        mut subscription: Subscription,
        mut requests: mpsc::Receiver<CatchUp>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let timeout = self.clock.sleep_until(self.replicas.poll_timeout());
            // A catch-up request comes last: it is answered only when no update is left. The stop
            // and the timeout come first: updates may come without end and would starve them, while
            // the stop comes once and timeouts have pauses.
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
                    // An error means that the caller has gone.
                    let _ = caught_up.send(());
                }
            }
        }
    }

    /// Takes a whole state: at the start, and after changes were missed. Replicas of the engine
    /// that the state does not know are deleted.
    pub(crate) async fn adopt(&mut self, state: &Arc<ClusterState>) {
        self.view.write().state = ClusterState::clone(state);
        self.replicas.handle_snapshot(state, self.engine.partitions());
        self.execute().await;
    }

    async fn apply(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            self.view.write().state.replay(delta);
        }
        // A read lock suffices, and readers go on: a change of broker-wide configs goes through
        // every topic.
        self.replicas.handle_deltas(&self.view.read().state, deltas);
        self.execute().await;
    }

    async fn execute(&mut self) {
        while let Some(action) = self.replicas.poll_action() {
            match action {
                ReplicaAction::Open(opens) => self.open(&opens).await,
                ReplicaAction::Configure { id, config } => {
                    // An error means that the engine has stopped: it needs no configuration then.
                    let _ = self.engine.configure(id, log_config(config)).await;
                }
                ReplicaAction::Show(shown) => self.show(*shown),
                ReplicaAction::Hide { id, name } => self.hide(id, &name),
                ReplicaAction::Delete(ids) => self.delete(ids).await,
                ReplicaAction::ShowSettings(settings) => self.view.write().settings = settings,
            }
        }
    }

    /// The engine opens leaders and followers in the same way: it does not replicate yet.
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
        self.coordinators.follow(&entry);
        self.view.write().put(entry);
    }

    fn hide(&self, id: TopicId, name: &TopicName) {
        self.view.write().remove(id);
        self.coordinators.on_deleted(id, name);
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

/// The engine's configuration for a replica's log.
const fn log_config(config: ReplicaConfig) -> LogConfig {
    let ReplicaConfig { retention_time, retention_bytes, producer_expiry } = config;
    LogConfig { retention_time, retention_bytes, producer_expiry }
}
