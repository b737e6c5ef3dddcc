//! The replicas of this broker: follows the controller's metadata, and decides which replicas to
//! open, lead, follow, configure and delete (`docs/adr/0024-metadata-follower.md`).
//!
//! [`LocalReplicas`] knows no logs: an open replica is a handle of type `R`, which the driver
//! provides, and a failed open is an error of type `E`. A topic is shown when each of its replicas
//! on this broker is open or has failed to open. The states of a replica:
//!
//! ```text
//!   Unused -- the metadata gives it to this broker --> Opening -- opened --> Open
//!     ^                                                 |   ^                 |
//!     |                                          refused|   | after a pause,  | another role
//!     |                                                 v   | or another role | or epoch
//!     |                                               Failed --> Opening <----+
//!     +--- given to other brokers (from any state)
//! ```
//!
//! A driver calls [`LocalReplicas::handle_snapshot`] once, and [`LocalReplicas::handle_deltas`]
//! after each batch of changes, with the state of the metadata after the batch. After each input it
//! calls [`LocalReplicas::poll_action`] until there is no more action, and completes each action
//! before the next. It calls [`LocalReplicas::handle_timeout`] at the time of
//! [`LocalReplicas::poll_timeout`].
//!
//! Data are deleted when the metadata no longer has their topic. A replica that the metadata gives
//! to other brokers is no longer used; its log stays open in the engine, and its data stay until
//! the topic is deleted.

mod action;
mod replica;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustmq_controller_core::configs::{EffectiveBrokerConfig, EffectiveTopicConfig, StaticConfigs};
use rustmq_controller_core::{BrokerConfigScope, ClusterState, Delta, Topic};
use rustmq_model::{BrokerId, Instant, PartitionId, TopicId, TopicIdPartition};

pub use self::action::{Assignment, OpenReplica, Replica, ReplicaAction, ReplicaConfig, ReplicaRole, ShownTopic};
use self::replica::{LocalReplica, Step};

/// The pause before failed opens and deletions are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The replicas of this broker. The module describes how to drive them.
#[derive(Debug)]
pub struct LocalReplicas<R, E> {
    broker: BrokerId,
    static_configs: Arc<StaticConfigs>,
    settings: Arc<EffectiveBrokerConfig>,
    topics: BTreeMap<TopicId, FollowedTopic<R, E>>,
    /// Replicas that failed to open.
    unopened: BTreeSet<TopicIdPartition>,
    /// Replicas whose deletion is not done, and whether it has failed.
    deletions: BTreeMap<TopicIdPartition, Deletion>,
    retry_at: Option<Instant>,
    /// Actions that come before `to_delete` and `to_open`, each of which becomes one request. In
    /// this order a topic is hidden before its data are deleted, and deletions make room before
    /// opens.
    actions: VecDeque<ReplicaAction<R, E>>,
    to_delete: Vec<TopicIdPartition>,
    to_open: Vec<OpenReplica>,
}

#[derive(Debug)]
struct FollowedTopic<R, E> {
    topic: Arc<Topic>,
    config: EffectiveTopicConfig,
    /// By partition id.
    replicas: Vec<LocalReplica<R, E>>,
    /// The number of replicas that are being opened.
    opening: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletion {
    UnderWay,
    Refused,
}

impl<R: Clone, E: Clone> LocalReplicas<R, E> {
    /// A broker that knows nothing of the cluster yet.
    #[must_use]
    pub fn new(broker: BrokerId, static_configs: Arc<StaticConfigs>) -> Self {
        let settings = resolve_settings(&ClusterState::default(), broker, &static_configs);
        Self {
            broker,
            static_configs,
            settings,
            topics: BTreeMap::new(),
            unopened: BTreeSet::new(),
            deletions: BTreeMap::new(),
            retry_at: None,
            actions: VecDeque::new(),
            to_delete: Vec::new(),
            to_open: Vec::new(),
        }
    }

    /// Takes a whole state: at the start, and after changes were missed. `on_disk` lists the
    /// replicas with data on disk: those that the state does not know are deleted.
    pub fn handle_snapshot(&mut self, state: &ClusterState, on_disk: Vec<TopicIdPartition>) {
        let gone: Vec<TopicId> = self.topics.keys().copied().filter(|id| state.topic_by_id(*id).is_none()).collect();
        for id in gone {
            self.remove_topic(id);
        }
        self.change_settings(state);
        for topic in state.topics() {
            self.change_topic(state, topic.id);
        }
        for id in on_disk {
            match self.topics.get_mut(&id.topic_id).and_then(|topic| replica_mut(&mut topic.replicas, id.partition)) {
                Some(replica) => replica.on_data_found(),
                None if !self.deletions.contains_key(&id) => self.delete(id),
                None => {}
            }
        }
    }

    /// Takes a batch of changes; `state` is the metadata after all of them. Each topic is handled
    /// once, however many of the changes concern it.
    pub fn handle_deltas(&mut self, state: &ClusterState, deltas: &[Delta]) {
        let (mut changed, mut are_settings_changed) = (BTreeSet::new(), false);
        for delta in deltas {
            match delta {
                Delta::TopicCreated(topic)
                | Delta::PartitionsAdded { topic, .. }
                | Delta::TopicConfigChanged(topic) => {
                    changed.insert(topic.id);
                }
                Delta::PartitionChanged { topic_id, .. } => {
                    changed.insert(*topic_id);
                }
                Delta::TopicDeleted { id, .. } => self.remove_topic(*id),
                Delta::BrokerConfigChanged { scope, .. } => {
                    let scopes = [BrokerConfigScope::Default, BrokerConfigScope::Broker(self.broker)];
                    are_settings_changed |= scopes.contains(scope);
                }
                Delta::ClusterBootstrapped { .. }
                | Delta::BrokerRegistered(_)
                | Delta::ProducerIdsAllocated { .. }
                | Delta::GroupConfigChanged { .. }
                | Delta::FeaturesChanged { .. } => {}
            }
        }
        if are_settings_changed {
            self.change_settings(state);
            // Broker-wide configs are defaults of the topics' configs: all of these are resolved
            // again.
            changed = state.topics().map(|topic| topic.id).collect();
        }
        for id in changed {
            self.change_topic(state, id);
        }
    }

    /// The next action, in order.
    pub fn poll_action(&mut self) -> Option<ReplicaAction<R, E>> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        if !self.to_delete.is_empty() {
            return Some(ReplicaAction::Delete(std::mem::take(&mut self.to_delete)));
        }
        let opens = std::mem::take(&mut self.to_open);
        (!opens.is_empty()).then_some(ReplicaAction::Open(opens))
    }

    /// Takes the result of an [`OpenReplica`].
    pub fn on_opened(&mut self, now: Instant, id: TopicIdPartition, result: Result<R, E>) {
        let Some(topic) = self.topics.get_mut(&id.topic_id) else {
            // Its topic was deleted meanwhile. The replica may have data on disk even if the open
            // has failed.
            self.delete(id);
            return;
        };
        let Some(replica) = replica_mut(&mut topic.replicas, id.partition) else { return };
        if result.is_err() {
            self.unopened.insert(id);
            self.retry_at.get_or_insert(now.plus(RETRY_PAUSE));
        } else {
            self.unopened.remove(&id);
        }
        replica.on_opened(result);
        topic.opening -= 1;
        // Only after the last result of the topic: it may have thousands of partitions.
        if topic.opening == 0 {
            self.settle(id.topic_id);
        }
    }

    /// Takes the result of the deletion of a replica.
    pub fn on_deleted(&mut self, now: Instant, id: TopicIdPartition, is_deleted: bool) {
        if is_deleted {
            self.deletions.remove(&id);
        } else {
            self.deletions.insert(id, Deletion::Refused);
            self.retry_at.get_or_insert(now.plus(RETRY_PAUSE));
        }
    }

    /// The time of the next call of [`Self::handle_timeout`].
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries failed opens and deletions again.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.retry_at = None;
        let mut topics = BTreeSet::new();
        for id in std::mem::take(&mut self.unopened) {
            let topic = self.topics.get_mut(&id.topic_id);
            if let Some(replica) = topic.and_then(|topic| replica_mut(&mut topic.replicas, id.partition)) {
                replica.forget_refusal();
                topics.insert(id.topic_id);
            }
        }
        for id in topics {
            self.settle(id);
        }
        let refused = self.deletions.iter().filter(|(_, deletion)| **deletion == Deletion::Refused);
        let refused: Vec<TopicIdPartition> = refused.map(|(id, _)| *id).collect();
        for id in refused {
            self.delete(id);
        }
    }

    fn change_settings(&mut self, state: &ClusterState) {
        self.settings = resolve_settings(state, self.broker, &self.static_configs);
        self.actions.push_back(ReplicaAction::ShowSettings(Arc::clone(&self.settings)));
    }

    fn change_topic(&mut self, state: &ClusterState, id: TopicId) {
        let Some(topic) = state.topic_by_id(id) else { return };
        let layers = state.topic_layers(&topic.name, self.broker, &self.static_configs);
        let config = EffectiveTopicConfig::resolve(&layers.expect("the topic was just found"));
        let followed = self.topics.entry(id).or_insert_with(|| FollowedTopic {
            topic: Arc::clone(topic),
            config: config.clone(),
            replicas: Vec::new(),
            opening: 0,
        });
        followed.topic = Arc::clone(topic);
        followed.config = config;
        followed.replicas.resize_with(topic.partitions.len(), LocalReplica::unused);
        for (replica, partition) in followed.replicas.iter_mut().zip(&topic.partitions) {
            replica.want(Assignment::of(partition, self.broker));
        }
        self.settle(id);
    }

    /// Moves the replicas of a topic towards their assignments, and shows the topic if no replica
    /// is being opened.
    fn settle(&mut self, id: TopicId) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        let config = ReplicaConfig::of(&topic.config, &self.settings);
        let mut steps = Vec::new();
        for (partition, replica) in (0..).map(PartitionId).zip(&mut topic.replicas) {
            steps.extend(replica.advance(config).map(|step| (TopicIdPartition { topic_id: id, partition }, step)));
        }
        topic.opening += steps.iter().filter(|(_, step)| matches!(step, Step::Open(_))).count();
        let shown = (topic.opening == 0).then(|| topic.shown());
        for (id, step) in steps {
            match step {
                Step::Open(assignment) => self.to_open.push(OpenReplica { id, assignment, config }),
                Step::Configure => self.actions.push_back(ReplicaAction::Configure { id, config }),
            }
        }
        self.actions.extend(shown.map(|shown| ReplicaAction::Show(Box::new(shown))));
    }

    /// Hides the topic and deletes all of its data on disk, also those of replicas that failed to
    /// open and of replicas that moved to other brokers. A replica that is being opened is deleted
    /// after its open.
    fn remove_topic(&mut self, id: TopicId) {
        let Some(FollowedTopic { topic, replicas, .. }) = self.topics.remove(&id) else { return };
        self.actions.push_back(ReplicaAction::Hide { id, name: topic.name.clone() });
        for (partition, replica) in (0..).map(PartitionId).zip(&replicas) {
            let id = TopicIdPartition { topic_id: id, partition };
            self.unopened.remove(&id);
            if replica.may_have_data() && !replica.is_opening() {
                self.delete(id);
            }
        }
    }

    fn delete(&mut self, id: TopicIdPartition) {
        self.deletions.insert(id, Deletion::UnderWay);
        self.to_delete.push(id);
    }

    /// # Panics
    /// If the replicas contradict each other.
    pub fn check_invariants(&self) {
        for (id, topic) in &self.topics {
            assert_eq!(*id, topic.topic.id, "a topic is kept under its id");
            assert_eq!(topic.replicas.len(), topic.topic.partitions.len(), "each partition has its place");
            let opening = topic.replicas.iter().filter(|replica| replica.is_opening()).count();
            assert_eq!(topic.opening, opening, "the replicas that are being opened are counted");
            for (partition, replica) in (0..).map(PartitionId).zip(&topic.replicas) {
                let id = TopicIdPartition { topic_id: *id, partition };
                assert!(!replica.is_failed() || self.unopened.contains(&id), "what was refused is tried again");
                assert!(!self.deletions.contains_key(&id), "a replica of the metadata is not deleted");
            }
        }
        let has_refused = self.deletions.values().any(|deletion| *deletion == Deletion::Refused);
        let is_waiting = !self.unopened.is_empty() || has_refused;
        assert!(!is_waiting || self.retry_at.is_some(), "what was refused has a time to be tried again");
    }
}

impl<R: Clone, E: Clone> FollowedTopic<R, E> {
    fn shown(&self) -> ShownTopic<R, E> {
        ShownTopic {
            topic: Arc::clone(&self.topic),
            config: self.config.clone(),
            replicas: self.replicas.iter().map(LocalReplica::shown).collect(),
        }
    }
}

fn replica_mut<R, E>(replicas: &mut [LocalReplica<R, E>], partition: PartitionId) -> Option<&mut LocalReplica<R, E>> {
    usize::try_from(partition.0).ok().and_then(|index| replicas.get_mut(index))
}

fn resolve_settings(
    state: &ClusterState,
    broker: BrokerId,
    static_configs: &StaticConfigs,
) -> Arc<EffectiveBrokerConfig> {
    Arc::new(EffectiveBrokerConfig::resolve(&state.broker_layers(broker, static_configs)))
}
