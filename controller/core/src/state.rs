//! The metadata machine: the state of the cluster, and the changes that commands make.
//!
//! A command is judged, its changes become [`Delta`]s, and the deltas are replayed: nothing else
//! changes the state. So a copy that replays the same deltas has the same state. Topics and brokers
//! are behind `Arc`, so that a clone of the state clones its maps only.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustmq_model::{BrokerId, LeaderEpoch, PartitionId, ProducerId, Timestamp, TopicId, TopicIdPartition, TopicName};
use serde::{Deserialize, Serialize};

use crate::image::ClusterImage;
use crate::{
    Broker, BrokerConfigScope, BrokerRegistration, Command, Configs, DeletedTopic, Delta, Outcome, Partition,
    ProducerIdBlock, Rejection, Topic, TopicSelector,
};

/// The cluster's metadata. Its serialized form has a version number; other versions are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "ClusterImage", try_from = "ClusterImage")]
pub struct ClusterState {
    pub(crate) cluster_id: Option<String>,
    pub(crate) features: BTreeMap<String, i16>,
    pub(crate) features_epoch: i64,
    pub(crate) brokers: BTreeMap<BrokerId, Arc<Broker>>,
    pub(crate) topics: BTreeMap<TopicId, Arc<Topic>>,
    /// An index of `topics`.
    pub(crate) topic_ids: BTreeMap<TopicName, TopicId>,
    /// An index of `topics`: the topics whose names can collide, by their unified names.
    pub(crate) unified_names: BTreeMap<String, TopicName>,
    /// Derived from `topics`: the number that the limit per cluster bounds.
    pub(crate) partition_count: u64,
    pub(crate) broker_defaults: Configs,
    pub(crate) broker_configs: BTreeMap<BrokerId, Configs>,
    pub(crate) group_configs: BTreeMap<String, Configs>,
    pub(crate) next_producer_id: i64,
}

/// The reading side.
impl ClusterState {
    /// None until the cluster is bootstrapped.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// Finalized feature levels by name.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The finalized level of a feature; 0 if it has none.
    #[must_use]
    pub fn feature_level(&self, feature: &str) -> i16 {
        self.features.get(feature).copied().unwrap_or(0)
    }

    /// The number of changes of the finalized features since the bootstrap. It is the same on every
    /// copy of the state, and never falls: a Java client keeps the features with the highest epoch
    /// that it has seen, and ignores others.
    #[must_use]
    pub const fn features_epoch(&self) -> i64 {
        self.features_epoch
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.topic_ids.values().map(|id| &self.topics[id])
    }

    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topic_ids.get(name).and_then(|id| self.topics.get(id))
    }

    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    #[must_use]
    pub fn partition(&self, id: TopicIdPartition) -> Option<&Partition> {
        self.topics.get(&id.topic_id).and_then(|topic| topic.partition(id.partition))
    }

    /// Partitions of all topics together.
    #[must_use]
    pub fn partition_count(&self) -> u64 {
        self.partition_count
    }

    /// The dynamic configs set for every broker.
    #[must_use]
    pub fn broker_defaults(&self) -> &Configs {
        &self.broker_defaults
    }

    /// The dynamic configs set for one broker, if any are.
    #[must_use]
    pub fn broker_configs(&self, id: BrokerId) -> Option<&Configs> {
        self.broker_configs.get(&id)
    }

    /// The configs set for one group; empty if none are.
    #[must_use]
    pub fn group_configs(&self, group: &str) -> &Configs {
        static NONE: Configs = Configs::new();
        self.group_configs.get(group).unwrap_or(&NONE)
    }

    /// The groups that have configs, by id.
    pub fn configured_groups(&self) -> impl ExactSizeIterator<Item = &str> {
        self.group_configs.keys().map(String::as_str)
    }

    pub(crate) fn broker_count(&self) -> u32 {
        u32::try_from(self.brokers.len()).expect("broker ids are i32, so their number fits a u32")
    }
}

/// The changing side.
impl ClusterState {
    /// Carries a command out. The same commands give the same results and deltas on every replica.
    ///
    /// A [`Rejection`] rejects the command as a whole, and comes without deltas. Rejections of
    /// single items are in the outcome.
    pub fn apply(&mut self, command: Command) -> (Result<Outcome, Rejection>, Vec<Delta>) {
        let mut deltas = Vec::new();
        let result = match command {
            Command::Bootstrap { cluster_id, features, broker_defaults } => {
                Ok(self.bootstrap(cluster_id, features, broker_defaults, &mut deltas))
            }
            Command::RegisterBroker { broker, now } => self.register_broker(broker, now, &mut deltas),
            Command::CreateTopics { topics, limits, validate_only, now } => {
                let create = |state: &mut Self, deltas: &mut _| state.create_topics(&topics, limits, now, deltas);
                Ok(Outcome::TopicsCreated(self.change_unless(validate_only, &mut deltas, create)))
            }
            Command::DeleteTopics { topics } => Ok(Outcome::TopicsDeleted(self.delete_topics(topics, &mut deltas))),
            Command::CreatePartitions { topics, limits, validate_only } => {
                let extend = |state: &mut Self, deltas: &mut _| state.create_partitions(&topics, limits, deltas);
                Ok(Outcome::PartitionsCreated(self.change_unless(validate_only, &mut deltas, extend)))
            }
            Command::AlterConfigs { alterations, limits, validate_only } => {
                let alter = |state: &mut Self, deltas: &mut _| state.alter_configs(alterations, &limits, deltas);
                Ok(Outcome::ConfigsAltered(self.change_unless(validate_only, &mut deltas, alter)))
            }
            Command::AllocateProducerIds { broker } => self.allocate_producer_ids(broker, &mut deltas),
            Command::UpdateFeatures { updates, validate_only } => {
                let update = |state: &mut Self, deltas: &mut _| state.update_features(updates, deltas);
                self.change_unless(validate_only, &mut deltas, update)
            }
        };
        (result, deltas)
    }

    /// Makes a change. To only validate it, makes it on a copy that is dropped with its deltas, so
    /// that the items of one request are judged together in both cases.
    fn change_unless<R>(
        &mut self,
        validate_only: bool,
        deltas: &mut Vec<Delta>,
        change: impl FnOnce(&mut Self, &mut Vec<Delta>) -> R,
    ) -> R {
        if validate_only { change(&mut self.clone(), &mut Vec::new()) } else { change(self, deltas) }
    }

    /// Applies one delta to a copy of the state. The deltas must come from the copied machine, in
    /// order and without a gap.
    pub fn replay(&mut self, delta: &Delta) {
        match delta {
            Delta::ClusterBootstrapped { cluster_id, features } => {
                self.cluster_id = Some(cluster_id.clone());
                self.features = features.clone();
            }
            Delta::BrokerRegistered(broker) => {
                self.brokers.insert(broker.id, Arc::clone(broker));
            }
            Delta::TopicCreated(topic) | Delta::PartitionsAdded { topic, .. } | Delta::TopicConfigChanged(topic) => {
                self.put_topic(topic);
            }
            Delta::TopicDeleted { id, name } => {
                let gone = self.topics.remove(id);
                self.topic_ids.remove(name.as_str());
                if let Some(unified) = name.unified() {
                    self.unified_names.remove(&unified);
                }
                self.partition_count -= gone.map_or(0, |topic| topic.partitions.len() as u64);
            }
            Delta::PartitionChanged { topic_id, partition, now } => {
                if let Some(topic) = self.topics.get_mut(topic_id)
                    && let Ok(index) = usize::try_from(partition.0)
                    && let Some(slot) = Arc::make_mut(topic).partitions.get_mut(index)
                {
                    *slot = now.clone();
                }
            }
            Delta::BrokerConfigChanged { scope: BrokerConfigScope::Default, configs } => {
                self.broker_defaults = configs.clone();
            }
            Delta::BrokerConfigChanged { scope: BrokerConfigScope::Broker(id), configs } => {
                if configs.is_empty() {
                    self.broker_configs.remove(id);
                } else {
                    self.broker_configs.insert(*id, configs.clone());
                }
            }
            Delta::GroupConfigChanged { group, configs } => {
                if configs.is_empty() {
                    self.group_configs.remove(group);
                } else {
                    self.group_configs.insert(group.clone(), configs.clone());
                }
            }
            Delta::ProducerIdsAllocated { next } => self.next_producer_id = *next,
            Delta::FeaturesChanged { features, epoch } => {
                self.features = features.clone();
                self.features_epoch = *epoch;
            }
        }
    }

    /// Replays a change that was just decided, and adds it to the command's deltas.
    pub(crate) fn commit(&mut self, delta: Delta, deltas: &mut Vec<Delta>) {
        self.replay(&delta);
        deltas.push(delta);
    }

    fn put_topic(&mut self, topic: &Arc<Topic>) {
        self.partition_count += topic.partitions.len() as u64;
        self.topic_ids.insert(topic.name.clone(), topic.id);
        if let Some(unified) = topic.name.unified() {
            self.unified_names.insert(unified, topic.name.clone());
        }
        let before = self.topics.insert(topic.id, Arc::clone(topic));
        self.partition_count -= before.map_or(0, |topic| topic.partitions.len() as u64);
    }

    fn bootstrap(
        &mut self,
        cluster_id: String,
        features: BTreeMap<String, i16>,
        broker_defaults: Configs,
        deltas: &mut Vec<Delta>,
    ) -> Outcome {
        if let Some(id) = &self.cluster_id {
            return Outcome::Bootstrapped { cluster_id: id.clone() };
        }
        self.commit(Delta::ClusterBootstrapped { cluster_id: cluster_id.clone(), features }, deltas);
        if !broker_defaults.is_empty() {
            let scope = BrokerConfigScope::Default;
            self.commit(Delta::BrokerConfigChanged { scope, configs: broker_defaults }, deltas);
        }
        Outcome::Bootstrapped { cluster_id }
    }

    fn register_broker(
        &mut self,
        registration: BrokerRegistration,
        now: Timestamp,
        deltas: &mut Vec<Delta>,
    ) -> Result<Outcome, Rejection> {
        let known = self.brokers.values().find(|broker| broker.registration.name == registration.name).cloned();
        let id = match &known {
            Some(broker) => broker.id,
            // Brokers are never removed, so that the id after the highest one was never used.
            None => match self.brokers.last_key_value() {
                None => BrokerId(0),
                Some((last, _)) => BrokerId(last.0.checked_add(1).ok_or(Rejection::BrokerIdsExhausted)?),
            },
        };
        let lost = known.is_some_and(|broker| broker.registration.incarnation != registration.incarnation);
        self.commit(Delta::BrokerRegistered(Arc::new(Broker { id, registration, registered_at: now })), deltas);
        if lost {
            self.demote_after_loss(id, deltas);
        }
        Ok(Outcome::BrokerRegistered { id })
    }

    /// Removes a broker with a new data folder from the ISRs of its partitions.
    fn demote_after_loss(&mut self, broker: BrokerId, deltas: &mut Vec<Delta>) {
        let mut changes = Vec::new();
        for topic in self.topics.values() {
            for (partition, state) in (0..).map(PartitionId).zip(&topic.partitions) {
                if let Some(now) = state.after_loss_on(broker) {
                    changes.push(Delta::PartitionChanged { topic_id: topic.id, partition, now });
                }
            }
        }
        for change in changes {
            self.commit(change, deltas);
        }
    }

    /// A topic that is selected twice, for example by its name and by its id, is not deleted: the
    /// request contradicts itself.
    fn delete_topics(
        &mut self,
        selectors: Vec<TopicSelector>,
        deltas: &mut Vec<Delta>,
    ) -> Vec<Result<DeletedTopic, Rejection>> {
        let select = |selector| match selector {
            TopicSelector::Name(name) => self.topic(&name).ok_or(Rejection::UnknownTopic { name }),
            TopicSelector::Id(id) => self.topic_by_id(id).ok_or(Rejection::UnknownTopicId { id }),
        };
        let select = |selector| select(selector).map(|topic| DeletedTopic { name: topic.name.clone(), id: topic.id });
        let selected: Vec<_> = selectors.into_iter().map(select).collect();
        let mut counts: BTreeMap<TopicId, u32> = BTreeMap::new();
        for topic in selected.iter().flatten() {
            *counts.entry(topic.id).or_default() += 1;
        }
        let mut delete = |topic: DeletedTopic| {
            if counts[&topic.id] > 1 {
                return Err(Rejection::DuplicateItem { name: topic.name.as_str().to_owned() });
            }
            self.commit(Delta::TopicDeleted { id: topic.id, name: topic.name.clone() }, deltas);
            Ok(topic)
        };
        selected.into_iter().map(|topic| topic.and_then(&mut delete)).collect()
    }

    fn allocate_producer_ids(&mut self, broker: BrokerId, deltas: &mut Vec<Delta>) -> Result<Outcome, Rejection> {
        if !self.brokers.contains_key(&broker) {
            return Err(Rejection::UnknownBroker { broker });
        }
        let count = ProducerIdBlock::COUNT;
        let first = self.next_producer_id;
        let next = first.checked_add(i64::from(count)).ok_or(Rejection::ProducerIdsExhausted)?;
        self.commit(Delta::ProducerIdsAllocated { next }, deltas);
        Ok(Outcome::ProducerIdsAllocated(ProducerIdBlock { first: ProducerId(first), count }))
    }

    /// Panics, naming the fault, if the state contradicts itself. For tests and simulation.
    pub fn check_invariants(&self) {
        assert_eq!(self.topics.len(), self.topic_ids.len(), "every topic has one name");
        let mut partition_count = 0;
        for (name, id) in &self.topic_ids {
            let topic = &self.topics[id];
            assert_eq!((&topic.name, topic.id), (name, *id), "a topic is found under its own name and id");
            assert!(!topic.partitions.is_empty(), "topic {name} has partitions");
            partition_count += topic.partitions.len() as u64;
            for partition in &topic.partitions {
                self.check_partition(name, partition);
            }
        }
        assert_eq!(partition_count, self.partition_count, "partitions are counted");
        let unified = self.topic_ids.keys().filter_map(|name| Some((name.unified()?, name.clone())));
        assert_eq!(unified.collect::<BTreeMap<_, _>>(), self.unified_names, "names that can collide are found unified");
        assert!(self.group_configs.values().all(|configs| !configs.is_empty()), "a group with an entry has configs");
        assert!(self.broker_configs.keys().all(|id| self.brokers.contains_key(id)), "configs are of brokers");
    }

    fn check_partition(&self, name: &TopicName, partition: &Partition) {
        let Partition { replicas, isr, leader, leader_epoch, partition_epoch } = partition;
        assert!(!replicas.is_empty(), "{name}: a partition has a replica");
        assert!(replicas.iter().all(|id| self.brokers.contains_key(id)), "{name}: replicas are registered");
        assert!((1..replicas.len()).all(|index| !replicas[..index].contains(&replicas[index])), "{name}: no repeats");
        assert!(isr.iter().all(|id| replicas.contains(id)), "{name}: the ISR is of replicas");
        assert!(leader.is_none_or(|id| isr.contains(&id)), "{name}: the leader is in sync");
        assert_eq!(leader.is_none(), isr.is_empty(), "{name}: offline means that nobody is in sync");
        assert!(*leader_epoch >= LeaderEpoch(0) && *partition_epoch >= leader_epoch.0, "{name}: epochs only rise");
    }
}
