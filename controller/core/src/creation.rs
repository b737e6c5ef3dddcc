//! Creates topics and partitions: checks requests, and assigns replicas to brokers.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustmq_model::{BrokerId, PartitionId, Timestamp, TopicId, TopicName};

use crate::configs::{self, ConfigError};
use crate::placement::Ring;
use crate::{
    ClusterState, Configs, CreatedTopic, Delta, ExtendedTopic, NewPartitions, NewTopic, Partition, PartitionLimits,
    Placement, Rejection, Topic,
};

impl ClusterState {
    pub(crate) fn create_topics(
        &mut self,
        topics: &[NewTopic],
        limits: PartitionLimits,
        now: Timestamp,
        deltas: &mut Vec<Delta>,
    ) -> Vec<Result<CreatedTopic, Rejection>> {
        let repeats = count_names(topics.iter().map(|topic| topic.name.as_str()));
        topics
            .iter()
            .map(|topic| {
                refuse_repeated(&repeats, &topic.name)?;
                let created = self.plan_topic(topic, limits, now)?;
                let replication_factor = created.partitions[0].replicas.len();
                let report = CreatedTopic {
                    name: created.name.clone(),
                    id: created.id,
                    partitions: created.partition_count(),
                    replication_factor: i16::try_from(replication_factor).expect("judged when it was planned"),
                    configs: created.configs.clone(),
                };
                self.commit(Delta::TopicCreated(Arc::new(created)), deltas);
                Ok(report)
            })
            .collect()
    }

    fn plan_topic(&self, topic: &NewTopic, limits: PartitionLimits, now: Timestamp) -> Result<Topic, Rejection> {
        let name = TopicName::new(&topic.name)
            .map_err(|error| Rejection::InvalidTopicName { name: topic.name.clone(), reason: error.to_string() })?;
        self.refuse_taken(&name, topic.id)?;
        let assignments = match &topic.placement {
            Placement::Count { partitions, replication_factor } => {
                let count = u32::try_from(*partitions).ok().filter(|count| *count > 0);
                let count = count.ok_or(Rejection::InvalidPartitions { wanted: *partitions })?;
                let replication_factor = self.checked_replication_factor(*replication_factor)?;
                // Checked before anything is allocated, because the count comes from a client.
                self.refuse_excess(u64::from(count), u64::from(count), limits)?;
                let ring = Ring::new(self.brokers.values(), topic.id);
                (0..count as usize).map(|partition| ring.replicas(partition, replication_factor)).collect()
            }
            Placement::Manual(assignments) => {
                let count = assignments.len() as u64;
                self.refuse_excess(count, count, limits)?;
                self.checked_assignments(assignments)?
            }
        };
        let configs = explicit_configs(&topic.configs)?;
        let partitions = assignments.into_iter().map(Partition::new).collect();
        Ok(Topic { id: topic.id, name, partitions, configs, created_at: now })
    }

    fn refuse_taken(&self, name: &TopicName, id: TopicId) -> Result<(), Rejection> {
        if self.topic_ids.contains_key(name) {
            return Err(Rejection::TopicAlreadyExists { name: name.clone() });
        }
        if let Some(existing) = name.unified().and_then(|unified| self.unified_names.get(&unified)) {
            return Err(Rejection::NameCollision { name: name.clone(), existing: existing.clone() });
        }
        if id == TopicId::ZERO || self.topics.contains_key(&id) {
            return Err(Rejection::TopicIdInUse { id });
        }
        Ok(())
    }

    fn checked_replication_factor(&self, wanted: i16) -> Result<usize, Rejection> {
        let brokers = self.broker_count();
        let fits = |factor: &u16| *factor > 0 && u32::from(*factor) <= brokers;
        let factor = u16::try_from(wanted).ok().filter(fits);
        factor.map(usize::from).ok_or(Rejection::InvalidReplicationFactor { wanted, brokers })
    }

    /// Checks the limits for a topic of `topic_total` partitions, of which `added` are new.
    fn refuse_excess(&self, topic_total: u64, added: u64, limits: PartitionLimits) -> Result<(), Rejection> {
        if topic_total > u64::from(limits.per_topic_max) {
            return Err(Rejection::TooManyPartitionsInTopic { wanted: topic_total, max: limits.per_topic_max });
        }
        let wanted = self.partition_count.saturating_add(added);
        if wanted > u64::from(limits.per_cluster_max) {
            return Err(Rejection::TooManyPartitionsInCluster { wanted, max: limits.per_cluster_max });
        }
        Ok(())
    }

    fn checked_assignments(&self, assignments: &BTreeMap<i32, Vec<BrokerId>>) -> Result<Vec<Vec<BrokerId>>, Rejection> {
        let Some(first) = assignments.values().next() else {
            return Err(Rejection::InvalidPartitions { wanted: 0 });
        };
        for (expected, (partition, replicas)) in (0..).zip(assignments) {
            if *partition != expected {
                let reason = format!("partition ids must run from 0 without a gap, and {expected} is missing");
                return Err(Rejection::InvalidReplicaAssignment { partition: *partition, reason });
            }
            self.check_assignment(*partition, replicas, first.len())?;
        }
        Ok(assignments.values().cloned().collect())
    }

    fn check_assignment(&self, partition: i32, replicas: &[BrokerId], factor: usize) -> Result<(), Rejection> {
        let refuse = |reason: String| Err(Rejection::InvalidReplicaAssignment { partition, reason });
        if replicas.is_empty() {
            return refuse("it names no replica".to_owned());
        }
        if replicas.len() != factor {
            return refuse(format!("it has {} replicas where the topic has {factor}", replicas.len()));
        }
        for (index, broker) in replicas.iter().enumerate() {
            if replicas[..index].contains(broker) {
                return refuse(format!("it names broker {} more than once", broker.0));
            }
            if !self.brokers.contains_key(broker) {
                return refuse(format!("broker {} is not registered", broker.0));
            }
        }
        Ok(())
    }

    pub(crate) fn create_partitions(
        &mut self,
        topics: &[NewPartitions],
        limits: PartitionLimits,
        deltas: &mut Vec<Delta>,
    ) -> Vec<Result<ExtendedTopic, Rejection>> {
        let repeats = count_names(topics.iter().map(|topic| topic.name.as_str()));
        topics
            .iter()
            .map(|wanted| {
                refuse_repeated(&repeats, &wanted.name)?;
                let (topic, first) = self.plan_partitions(wanted, limits)?;
                let report =
                    ExtendedTopic { name: topic.name.clone(), id: topic.id, partitions: topic.partition_count() };
                self.commit(Delta::PartitionsAdded { topic: Arc::new(topic), first }, deltas);
                Ok(report)
            })
            .collect()
    }

    fn plan_partitions(
        &self,
        wanted: &NewPartitions,
        limits: PartitionLimits,
    ) -> Result<(Topic, PartitionId), Rejection> {
        let unknown = || Rejection::UnknownTopic { name: wanted.name.clone() };
        let topic = self.topic(&wanted.name).ok_or_else(unknown)?;
        let current = topic.partition_count();
        if wanted.count <= 0 {
            return Err(Rejection::InvalidPartitions { wanted: wanted.count });
        }
        let Some(added) = usize::try_from(wanted.count - current).ok().filter(|added| *added > 0) else {
            return Err(Rejection::NotAnIncrease { name: topic.name.clone(), current, wanted: wanted.count });
        };
        self.refuse_excess((topic.partitions.len() + added) as u64, added as u64, limits)?;
        let factor = topic.partitions[0].replicas.len();
        let mut extended = Topic::clone(topic);
        if let Some(assignments) = &wanted.assignments {
            if assignments.len() != added {
                let reason = format!("{added} partitions are added, and {} are assigned", assignments.len());
                return Err(Rejection::InvalidReplicaAssignment { partition: current, reason });
            }
            for (partition, replicas) in (current..).zip(assignments) {
                self.check_assignment(partition, replicas, factor)?;
            }
            extended.partitions.extend(assignments.iter().cloned().map(Partition::new));
        } else {
            let ring = Ring::new(self.brokers.values(), topic.id);
            let places = topic.partitions.len()..topic.partitions.len() + added;
            extended.partitions.extend(places.map(|partition| Partition::new(ring.replicas(partition, factor))));
        }
        Ok((extended, PartitionId(current)))
    }
}

fn explicit_configs(configs: &BTreeMap<String, Option<String>>) -> Result<Configs, Rejection> {
    let mut explicit = Configs::new();
    for (name, value) in configs {
        let Some(value) = value else {
            let reason = "a null value is not supported when a topic is created".to_owned();
            return Err(Rejection::InvalidConfig { name: name.clone(), value: None, reason });
        };
        let kept = configs::parse_topic_config(name, value).map_err(ConfigError::into_rejection)?;
        explicit.insert(name.clone(), kept);
    }
    configs::check_topic_configs_together(&explicit).map_err(ConfigError::into_rejection)?;
    Ok(explicit)
}

pub(crate) fn count_names<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

pub(crate) fn refuse_repeated(counts: &BTreeMap<&str, u32>, name: &str) -> Result<(), Rejection> {
    if counts.get(name).is_some_and(|count| *count > 1) {
        return Err(Rejection::DuplicateItem { name: name.to_owned() });
    }
    Ok(())
}
