//! The broker: its parts, its start and its end. Each capability has a file of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use rand::RngExt;
use rustmq_controller_api::{Applied, Controller, SubmitError};
use rustmq_controller_core::configs::EffectiveBrokerConfig;
use rustmq_controller_core::{BrokerRegistration, ClusterState, Command, Configs, Outcome, Rejection};
use rustmq_engine_api::{Engine, PartitionReader};
use rustmq_model::{BrokerId, LeaderEpoch, PartitionId, TopicPartition};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::clock::wall_clock;
use crate::command::CommandError;
use crate::config::{BrokerConfig, BrokerSettings};
use crate::coordination::{GroupCoordinators, GroupKind, LocalCoordinators, TransactionCoordinators, TransactionKind};
use crate::failure::FailureNotice;
use crate::markers::MarkerPort;
use crate::metadata_follower::{CatchUp, MetadataFollower};
use crate::metrics::{LagCollector, Metrics};
use crate::producer_ids::ProducerIdSource;
use crate::validation::CompressedRecords;
use crate::view::{ClusterView, LocateError, Located, TopicRef};

/// The capacity of the queue of catch-up requests to the metadata follower. Callers wait while it
/// is full.
const CATCH_UPS_MAX: usize = 64;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the controller refused '{command}': {source}")]
    Unavailable { command: &'static str, source: SubmitError },
    #[error("the controller refused '{command}': {source}")]
    Rejected { command: &'static str, source: Rejection },
    #[error("the controller refused '{command}': an answer to something else: {outcome:?}")]
    UnexpectedOutcome { command: &'static str, outcome: Box<Outcome> },
}

/// One broker of the cluster. All methods may be called from any task of the runtime that it was
/// started on.
pub struct Broker {
    pub(crate) config: BrokerConfig,
    pub(crate) id: BrokerId,
    pub(crate) engine: Engine,
    pub(crate) controller: Arc<dyn Controller>,
    pub(crate) view: Arc<RwLock<ClusterView>>,
    pub(crate) coordinators: Arc<GroupCoordinators>,
    pub(crate) transactions: Arc<TransactionCoordinators>,
    pub(crate) markers: Arc<MarkerPort>,
    pub(crate) producer_ids: Arc<ProducerIdSource>,
    pub(crate) metrics: Metrics,
    /// The current value of `produce.check_compressed_records`.
    checks_compressed_records: AtomicBool,
    catch_ups: mpsc::Sender<CatchUp>,
    failure: FailureNotice,
    pub(crate) stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Broker {
    /// Registers with the controller, opens the replicas that the metadata gives this broker,
    /// deletes replicas that the metadata does not know, and starts to follow changes. When it
    /// returns, every topic can be used; groups answer as soon as their coordinator is loaded.
    ///
    /// # Errors
    /// [`StartError`] if the controller does not answer, or refuses the registration.
    pub async fn start(
        mut config: BrokerConfig,
        engine: Engine,
        controller: Arc<dyn Controller>,
        registry: &mut Registry,
    ) -> Result<Arc<Self>, StartError> {
        let id = register(&config, &*controller).await?;
        for name in ["broker.id", "node.id"] {
            config.kafka.own.insert(name.to_owned(), id.0.to_string());
        }
        let static_configs = Arc::new(config.kafka.clone());
        let (snapshot, subscription) = controller.subscribe();
        let empty = ClusterState::default();
        let view = Arc::new(RwLock::new(ClusterView::new(id, empty, &static_configs)));
        let (stop, stopped) = watch::channel(false);
        let settings = EffectiveBrokerConfig::resolve(&snapshot.state.broker_layers(id, &static_configs));
        let failure = FailureNotice::default();
        let groups = GroupKind::new(&settings);
        let coordinators =
            GroupCoordinators::new(groups, engine.clone(), Arc::clone(&view), config.limits, failure.clone());
        let markers = Arc::new(MarkerPort::new(engine.clone(), Arc::clone(&view), Arc::clone(&coordinators)));
        let producer_ids = Arc::new(ProducerIdSource::new(id, Arc::clone(&controller)));
        let kind = TransactionKind::new(&settings, Arc::clone(&markers), Arc::clone(&producer_ids));
        let transactions =
            TransactionCoordinators::new(kind, engine.clone(), Arc::clone(&view), config.limits, failure.clone());
        let hosted = LocalCoordinators { groups: Arc::clone(&coordinators), transactions: Arc::clone(&transactions) };
        let mut follower = MetadataFollower::new(id, static_configs, engine.clone(), Arc::clone(&view), hosted);
        follower.adopt(&snapshot.state).await;
        let (catch_ups, catch_up_requests) = mpsc::channel(CATCH_UPS_MAX);
        let mut tasks = JoinSet::new();
        let following = follower.run(subscription, catch_up_requests, stopped);
        tasks.spawn(failure.clone().report_panic("the task that follows the metadata", following));
        let metrics = Metrics::default();
        metrics.register(registry);
        let broker = Arc::new(Self {
            checks_compressed_records: AtomicBool::new(config.settings.check_compressed_records),
            config,
            id,
            engine,
            controller,
            view,
            coordinators,
            transactions,
            markers,
            producer_ids,
            metrics,
            catch_ups,
            failure,
            stop,
            tasks: Mutex::new(tasks),
        });
        registry.register_collector(Box::new(LagCollector::new(&broker)));
        Ok(broker)
    }

    /// Applies the settings that may change while the broker runs. The others keep their values
    /// until the next start.
    pub fn reload(&self, settings: &BrokerSettings) {
        self.checks_compressed_records.store(settings.check_compressed_records, Ordering::Relaxed);
    }

    pub(crate) fn compressed_records(&self) -> CompressedRecords {
        if self.checks_compressed_records.load(Ordering::Relaxed) {
            CompressedRecords::Checked
        } else {
            CompressedRecords::Trusted
        }
    }

    /// Ends long polls, coordinators and the metadata follower. The engine and the controller stay
    /// open: the caller that opened them closes them.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        // Coordinators end first: their callers need not wait for the follower, and a topic that it
        // shows from now on starts no coordinator.
        self.coordinators.shutdown().await;
        self.transactions.shutdown().await;
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// The reason of a failure for good, once there is one: a task that topics or groups depend on
    /// has panicked.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.watch()
    }

    #[must_use]
    pub const fn id(&self) -> BrokerId {
        self.id
    }

    /// The broker-wide configs that are now in force.
    #[must_use]
    pub fn effective_config(&self) -> Arc<EffectiveBrokerConfig> {
        Arc::clone(&self.view.read().settings)
    }

    pub(crate) fn locate(
        &self,
        topic: &TopicRef,
        partition: PartitionId,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Located, LocateError> {
        self.view.read().locate(topic, partition, current_leader_epoch)
    }

    /// Submits a command to the controller, and waits until this broker's view has caught up with
    /// it.
    pub(crate) async fn submit(&self, command: Command) -> Result<Outcome, CommandError> {
        let applied = self.controller.submit(command, None).await?;
        self.follow(applied).await
    }

    /// As [`Self::submit`], for a request with a timeout, which bounds the wait for the command's
    /// turn: fails with `not_begun` if the turn does not come in time. Once the command has begun,
    /// its answer is waited for without a limit.
    pub(crate) async fn submit_within<E: From<CommandError>>(
        &self,
        command: Command,
        start_within: Option<Duration>,
        not_begun: E,
    ) -> Result<Outcome, E> {
        let applied = self.controller.submit(command, start_within).await.map_err(|error| match error {
            SubmitError::Late => not_begun,
            SubmitError::NotLeader | SubmitError::Stopped { .. } => CommandError::Unavailable(error).into(),
        })?;
        Ok(self.follow(applied).await?)
    }

    /// Returns when the view of this broker shows the command's changes.
    async fn follow(&self, applied: Applied) -> Result<Outcome, CommandError> {
        let outcome = applied.result?;
        let (caught_up, wait) = oneshot::channel();
        self.catch_ups.send(caught_up).await.map_err(|_| CommandError::Stopping)?;
        wait.await.map_err(|_| CommandError::Stopping)?;
        Ok(outcome)
    }

    /// Every open partition, with its topic's name.
    pub(crate) fn open_partitions(&self) -> Vec<(TopicPartition, PartitionReader)> {
        let view = self.view.read();
        let entries = view.entries().flat_map(|entry| {
            entry.open_replicas().map(|(partition, _, reader)| {
                (TopicPartition { topic: entry.topic.name.clone(), partition }, reader.clone())
            })
        });
        entries.collect()
    }
}

/// Returns when the broker stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the broker is gone: it has stopped, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn register(config: &BrokerConfig, controller: &dyn Controller) -> Result<BrokerId, StartError> {
    let submit = async |command: &'static str, request: Command| {
        let applied = controller.submit(request, None).await;
        let applied = applied.map_err(|source| StartError::Unavailable { command, source })?;
        applied.result.map_err(|source| StartError::Rejected { command, source })
    };
    // As on a new Apache Kafka cluster, whose descriptions of topics show this config.
    let broker_defaults = Configs::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
    let features = config.features.iter().map(|feature| (feature.name.to_owned(), *feature.levels.end())).collect();
    let bootstrap = Command::Bootstrap { cluster_id: new_cluster_id(), features, broker_defaults };
    submit("bootstrap", bootstrap).await?;
    let registration = BrokerRegistration {
        name: config.settings.name.clone(),
        incarnation: config.incarnation,
        listeners: config.listeners.clone(),
        rack: config.settings.rack.clone(),
    };
    let command = Command::RegisterBroker { broker: registration, now: wall_clock() };
    match submit("register broker", command).await? {
        Outcome::BrokerRegistered { id } => Ok(id),
        other => Err(StartError::UnexpectedOutcome { command: "register broker", outcome: Box::new(other) }),
    }
}

/// 22 characters of URL-safe base64, the form that Kafka gives to cluster ids.
fn new_cluster_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = rand::rng();
    (0..22).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("id", &self.id).finish_non_exhaustive()
    }
}
