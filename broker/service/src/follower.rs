//! Follows the controller's metadata: opens and closes partitions in the engine as it says, and
//! then shows the change in the view.
//!
//! One task does all of this in the order of the metadata log. Whoever has submitted a command asks
//! it to catch up before answering, so that what was answered can be used at once. It decides
//! nothing about the metadata itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustmq_controller_api::{Subscription, Update};
use rustmq_controller_core::configs::{EffectiveBrokerConfig, StaticConfigs};
use rustmq_controller_core::{BrokerConfigScope, ClusterState, Delta, Topic};
use rustmq_engine_api::{DeleteError, Engine, LogConfig, OpenPartition};
use rustmq_model::{BrokerId, PartitionId, TopicId, TopicIdPartition};
use tokio::sync::{mpsc, oneshot, watch};

use crate::broker::stopped;
use crate::coordination::Coordinators;
use crate::view::{ClusterView, OFFSETS_TOPIC, Replica, TopicEntry, log_config};

/// What the engine refused is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Answered when the view holds everything that was submitted before.
pub(crate) type CatchUp = oneshot::Sender<()>;

pub(crate) struct Follower {
    pub(crate) broker: BrokerId,
    pub(crate) static_configs: Arc<StaticConfigs>,
    pub(crate) engine: Engine,
    pub(crate) view: Arc<RwLock<ClusterView>>,
    pub(crate) coordinators: Arc<Coordinators>,
    /// Topics with partitions that the engine refused to open.
    pub(crate) unopened: BTreeSet<TopicId>,
    /// Partitions that the engine refused to delete.
    pub(crate) undeleted: BTreeSet<TopicIdPartition>,
}

impl Follower {
    /// Runs until the controller ends, or the broker.
    pub(crate) async fn run(
        mut self,
        mut subscription: Subscription,
        mut requests: mpsc::Receiver<CatchUp>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut retry = tokio::time::interval(RETRY_INTERVAL);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let has_failures = !self.unopened.is_empty() || !self.undeleted.is_empty();
            // A request to catch up is answered only when nothing is left to follow. The others
            // come before both, because changes may come without end, and they do not: the stop
            // comes once, and the clock at its pace.
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                _ = retry.tick(), if has_failures => self.retry().await,
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
        let known: Vec<TopicId> = self.view.read().entries().map(|entry| entry.topic.id).collect();
        for id in known.into_iter().filter(|id| state.topic_by_id(*id).is_none()) {
            self.hide(id);
        }
        {
            let mut view = self.view.write();
            view.state = ClusterState::clone(state);
            let layers = view.state.broker_layers(self.broker, &self.static_configs);
            view.settings = Arc::new(EffectiveBrokerConfig::resolve(&layers));
        }
        let topics: Vec<Arc<Topic>> = state.topics().cloned().collect();
        self.show(&topics).await;
        let orphans = self.engine.partitions().into_iter().filter(|id| state.partition(*id).is_none());
        self.delete(orphans.collect()).await;
    }

    async fn apply(&mut self, deltas: &[Delta]) {
        // Many topics that one command made are opened in one go.
        let mut changed: Vec<Arc<Topic>> = Vec::new();
        for delta in deltas {
            self.view.write().state.replay(delta);
            match delta {
                Delta::TopicCreated(topic)
                | Delta::PartitionsAdded { topic, .. }
                | Delta::TopicConfigChanged(topic) => {
                    changed.push(Arc::clone(topic));
                }
                Delta::PartitionChanged { topic_id, .. } => {
                    changed.extend(self.view.read().state.topic_by_id(*topic_id).cloned());
                }
                Delta::TopicDeleted { id, name } => {
                    self.show(&std::mem::take(&mut changed)).await;
                    let gone = self.hide(*id);
                    self.coordinators.forget_topic(name);
                    self.delete(gone).await;
                }
                Delta::BrokerConfigChanged { scope, .. } => self.reconfigure(*scope).await,
                Delta::ClusterBootstrapped { .. } | Delta::BrokerRegistered(_) | Delta::ProducerIdsAllocated { .. } => {
                }
            }
        }
        self.show(&changed).await;
    }

    /// Opens what is to be open here of these topics, all in one go, and shows them.
    async fn show(&mut self, topics: &[Arc<Topic>]) {
        let plans: Vec<Plan> = topics.iter().filter_map(|topic| self.plan(topic)).collect();
        let opens: Vec<OpenPartition> = plans.iter().flat_map(|plan| plan.opens.iter().copied()).collect();
        let opened = if opens.is_empty() { Vec::new() } else { self.engine.open(opens).await };
        let mut opened = opened.into_iter();
        for plan in plans {
            let Plan { mut entry, opens, configure } = plan;
            for (open, result) in opens.iter().zip(opened.by_ref()) {
                let index = usize::try_from(open.id.partition.0).expect("partition ids of a topic are not negative");
                entry.replicas[index] = match result {
                    Ok(reader) => Replica::Open(reader),
                    Err(error) => {
                        tracing::warn!(partition = %open.id, %error, "a partition was not opened: it is tried again");
                        self.unopened.insert(entry.topic.id);
                        Replica::Failed(error.into())
                    }
                };
            }
            for (id, config) in configure {
                // An error says that the engine has stopped: then its retention has too.
                let _ = self.engine.configure(id, config).await;
            }
            let entry = Arc::new(entry);
            if entry.topic.name.as_str() == OFFSETS_TOPIC {
                self.coordinators.take_up(&entry);
            }
            self.view.write().put(entry);
        }
    }

    /// What has to be done before a topic can be shown. None if it is gone, by a later change that
    /// was followed already.
    fn plan(&self, topic: &Arc<Topic>) -> Option<Plan> {
        let view = self.view.read();
        let config = view.topic_config(topic, &self.static_configs)?;
        let log = log_config(&config, &view.settings);
        let before = view.with_id(topic.id);
        let is_reconfigured = before.is_some_and(|before| before.log != log);
        let mut plan = Plan {
            entry: TopicEntry {
                topic: Arc::clone(topic),
                config,
                log,
                replicas: Vec::with_capacity(topic.partitions.len()),
            },
            opens: Vec::new(),
            configure: Vec::new(),
        };
        for (partition, state) in (0..).map(PartitionId).zip(&topic.partitions) {
            let id = TopicIdPartition { topic_id: topic.id, partition };
            let open_before = before.and_then(|before| match before.replica(partition)? {
                Replica::Open(reader) if before.topic.partition(partition)?.leader_epoch == state.leader_epoch => {
                    Some(reader.clone())
                }
                Replica::Open(_) | Replica::Opening | Replica::Failed(_) | Replica::Elsewhere => None,
            });
            plan.entry.replicas.push(match open_before {
                _ if !state.replicas.contains(&self.broker) => Replica::Elsewhere,
                Some(reader) => {
                    plan.configure.extend(is_reconfigured.then_some((id, log)));
                    Replica::Open(reader)
                }
                None => {
                    plan.opens.push(OpenPartition { id, leader_epoch: state.leader_epoch, config: log });
                    Replica::Opening
                }
            });
        }
        Some(plan)
    }

    /// Takes a topic out of the view. Answers the partitions that the engine may still have of it.
    fn hide(&self, id: TopicId) -> Vec<TopicIdPartition> {
        let Some(entry) = self.view.write().remove(id) else { return Vec::new() };
        if entry.topic.name.as_str() == OFFSETS_TOPIC {
            self.coordinators.give_up();
        }
        // With those that it refused to open: it may have them on disk all the same.
        let replicas = (0..).map(PartitionId).zip(&entry.replicas);
        let here = replicas.filter(|(_, replica)| !matches!(replica, Replica::Elsewhere));
        here.map(|(partition, _)| TopicIdPartition { topic_id: id, partition }).collect()
    }

    async fn delete(&mut self, ids: Vec<TopicIdPartition>) {
        if ids.is_empty() {
            return;
        }
        let results = self.engine.delete(ids.clone()).await;
        for (id, result) in ids.into_iter().zip(results) {
            match result {
                Ok(()) | Err(DeleteError::UnknownPartition | DeleteError::Stopped) => {
                    self.undeleted.remove(&id);
                }
                Err(error @ (DeleteError::Full | DeleteError::Storage { .. })) => {
                    tracing::warn!(partition = %id, %error, "a partition was not deleted: it is tried again");
                    self.undeleted.insert(id);
                }
            }
        }
    }

    /// Broker-wide configs are behind the topics': all of them are resolved anew.
    async fn reconfigure(&mut self, scope: BrokerConfigScope) {
        if scope != BrokerConfigScope::Default && scope != BrokerConfigScope::Broker(self.broker) {
            return;
        }
        let topics: Vec<Arc<Topic>> = {
            let mut view = self.view.write();
            let layers = view.state.broker_layers(self.broker, &self.static_configs);
            view.settings = Arc::new(EffectiveBrokerConfig::resolve(&layers));
            view.state.topics().cloned().collect()
        };
        self.show(&topics).await;
    }

    async fn retry(&mut self) {
        let unopened = std::mem::take(&mut self.unopened);
        let topics: Vec<Arc<Topic>> = {
            let view = self.view.read();
            unopened.iter().filter_map(|id| view.state.topic_by_id(*id).cloned()).collect()
        };
        self.show(&topics).await;
        self.delete(self.undeleted.iter().copied().collect()).await;
    }
}

/// What showing a topic takes.
struct Plan {
    entry: TopicEntry,
    opens: Vec<OpenPartition>,
    configure: Vec<(TopicIdPartition, LogConfig)>,
}
