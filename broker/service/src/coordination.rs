//! The coordinators that run here: for each kind, one for each partition of its internal topic that
//! this broker leads.
//!
//! The machines of `rustmq-broker-core` make all decisions of a coordinator. This module gives them
//! their clock, their log and their callers, in the same way for every kind ([`kind`]): [`shard`]
//! guards one machine and its callers; [`driver`] is the task that loads it ([`load`],
//! [`log_reader`]) and executes its appends and trims. [`groups`] is the kind for consumer groups,
//! [`transactions`] that for transactions.

mod driver;
mod groups;
mod kind;
mod load;
mod log_reader;
mod shard;
#[cfg(test)]
mod tests;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustmq_broker_core::coordinator::{CoordinatorError, CoordinatorMachine, coordinator_partition};
use rustmq_broker_core::groups::consumer::topics::TopicFacts;
use rustmq_broker_core::replicas::ReplicaRole;
use rustmq_engine_api::{Engine, PartitionReader};
use rustmq_model::{LeaderEpoch, PartitionId, TopicId, TopicIdPartition, TopicName};
use tokio::task::JoinSet;

pub use self::groups::GroupWait;
pub(crate) use self::groups::{GroupCoordinators, GroupKind};
use self::kind::CoordinatorKind;
use self::shard::{CoordinatorShard, ShardLimits};
pub use self::transactions::TransactionWait;
pub(crate) use self::transactions::{TransactionCoordinators, TransactionKind};
use crate::clock::Clock;
use crate::config::BrokerLimits;
use crate::failure::FailureNotice;
use crate::view::{ClusterView, OFFSETS_TOPIC, TRANSACTIONS_TOPIC, TopicEntry};

/// The coordinators of every kind.
pub(crate) struct LocalCoordinators {
    pub(crate) groups: Arc<GroupCoordinators>,
    pub(crate) transactions: Arc<TransactionCoordinators>,
}

impl LocalCoordinators {
    /// A topic has changed, or is new.
    pub(crate) fn follow(&self, entry: &TopicEntry) {
        match entry.topic.name.as_str() {
            OFFSETS_TOPIC => self.groups.follow(entry),
            TRANSACTIONS_TOPIC => self.transactions.follow(entry),
            _ => {}
        }
        let partition_count = usize::try_from(entry.topic.partition_count()).unwrap_or(0);
        self.groups.show_topic(&entry.topic.name, TopicFacts { id: entry.topic.id, partition_count });
    }

    /// A topic is deleted.
    pub(crate) fn on_deleted(&self, id: TopicId, topic: &TopicName) {
        match topic.as_str() {
            OFFSETS_TOPIC => self.groups.resign(),
            TRANSACTIONS_TOPIC => self.transactions.resign(),
            _ => {}
        }
        self.groups.forget_topic(id, topic);
    }
}

/// All coordinators of one kind on this broker.
pub(crate) struct Coordinators<K: CoordinatorKind> {
    kind: Arc<K>,
    engine: Engine,
    /// Shows which topics exist. Never locked together with a coordinator.
    view: Arc<RwLock<ClusterView>>,
    limits: BrokerLimits,
    clock: Clock,
    phase: RwLock<Phase<K::Machine>>,
    failure: FailureNotice,
    tasks: Mutex<JoinSet<()>>,
}

enum Phase<M: CoordinatorMachine> {
    /// The internal topic does not exist.
    Idle,
    Serving(Serving<M>),
    /// The broker stops, and no coordinator starts again.
    Ended,
}

/// The internal topic and its coordinators.
struct Serving<M: CoordinatorMachine> {
    topic: TopicId,
    /// The number of partitions that keys are hashed over.
    partition_count: i32,
    shards: BTreeMap<PartitionId, Arc<CoordinatorShard<M>>>,
}

impl<K: CoordinatorKind> Coordinators<K> {
    pub(crate) fn new(
        kind: K,
        engine: Engine,
        view: Arc<RwLock<ClusterView>>,
        limits: BrokerLimits,
        failure: FailureNotice,
    ) -> Arc<Self> {
        let tasks = Mutex::new(JoinSet::new());
        let (clock, phase) = (Clock::new(), RwLock::new(Phase::Idle));
        Arc::new(Self { kind: Arc::new(kind), engine, view, limits, clock, phase, failure, tasks })
    }

    /// Runs a coordinator for each partition of the topic that is led here, under its leader epoch,
    /// and none for the others. A running coordinator gets the topic's current limits. Does nothing
    /// once the broker stops.
    pub(crate) fn follow(&self, entry: &TopicEntry) {
        let topic = entry.topic.id;
        let mut phase = self.phase.write();
        if matches!(*phase, Phase::Idle) {
            *phase = Phase::Serving(Serving { topic, partition_count: 0, shards: BTreeMap::new() });
        }
        let Phase::Serving(serving) = &mut *phase else { return };
        if serving.topic != topic {
            serving.resign_all();
        }
        serving.topic = topic;
        serving.partition_count = entry.topic.partition_count();
        let open = entry.open_replicas().filter(|(_, assignment, _)| assignment.role == ReplicaRole::Leader);
        let led: BTreeMap<PartitionId, (LeaderEpoch, &PartitionReader)> =
            open.map(|(partition, assignment, reader)| (partition, (assignment.leader_epoch, reader))).collect();
        serving.shards.retain(|partition, shard| {
            let goes_on = led.get(partition).is_some_and(|(epoch, _)| *epoch == shard.leader_epoch());
            if !goes_on {
                shard.dismiss();
            }
            goes_on
        });
        let batch_bytes_max = usize::try_from(entry.config.max_message_bytes).unwrap_or(usize::MAX);
        let limits = ShardLimits { coordinator: self.limits.of_coordinator(batch_bytes_max), batch_bytes_max };
        serving.shards.values().for_each(|shard| shard.set_limits(limits));
        for (partition, (leader_epoch, reader)) in led {
            serving.shards.entry(partition).or_insert_with(|| {
                let id = TopicIdPartition { topic_id: topic, partition };
                let shard = Arc::new(CoordinatorShard::new(id, leader_epoch, limits, self.clock));
                let parts = driver::Parts {
                    kind: Arc::clone(&self.kind),
                    shard: Arc::clone(&shard),
                    engine: self.engine.clone(),
                    view: Arc::clone(&self.view),
                    reader: reader.clone(),
                    decompressed_bytes_max: self.limits.decompressed_bytes_max,
                };
                let running = driver::run(parts);
                self.tasks.lock().spawn(self.failure.clone().report_panic("a coordinator", running));
                shard
            });
        }
        // Reap the tasks of coordinators that have ended: they come and go with leaderships.
        while self.tasks.lock().try_join_next().is_some() {}
    }

    /// Ends all coordinators of a deleted topic. Waiting callers have to look for the coordinator
    /// again.
    pub(crate) fn resign(&self) {
        let mut phase = self.phase.write();
        if let Phase::Serving(serving) = &mut *phase {
            serving.resign_all();
            *phase = Phase::Idle;
        }
    }

    /// Ends all coordinators for good: [`Self::follow`] starts none afterwards.
    pub(crate) async fn shutdown(&self) {
        if let Phase::Serving(mut serving) = std::mem::replace(&mut *self.phase.write(), Phase::Ended) {
            serving.resign_all();
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    pub(crate) fn kind(&self) -> &K {
        &self.kind
    }

    /// The coordinator that owns a key, if it runs here.
    pub(crate) fn shard_of(&self, name: &str) -> Result<Arc<CoordinatorShard<K::Machine>>, CoordinatorError> {
        self.shard_at(self.partition_of(name)?)
    }

    /// The partition of the internal topic that a key belongs to, wherever its coordinator runs.
    pub(crate) fn partition_of(&self, name: &str) -> Result<PartitionId, CoordinatorError> {
        let phase = self.phase.read();
        let serving = phase.serving().filter(|serving| serving.partition_count > 0);
        let serving = serving.ok_or(CoordinatorError::Resigned)?;
        Ok(coordinator_partition(name, serving.partition_count))
    }

    /// The coordinator of a partition of the internal topic, if it runs here.
    pub(crate) fn shard_at(
        &self,
        partition: PartitionId,
    ) -> Result<Arc<CoordinatorShard<K::Machine>>, CoordinatorError> {
        let phase = self.phase.read();
        let shard = phase.serving().and_then(|serving| serving.shards.get(&partition));
        shard.cloned().ok_or(CoordinatorError::Resigned)
    }

    pub(crate) fn shards(&self) -> Vec<Arc<CoordinatorShard<K::Machine>>> {
        let phase = self.phase.read();
        phase.serving().into_iter().flat_map(|serving| serving.shards.values().cloned()).collect()
    }
}

impl<M: CoordinatorMachine> Phase<M> {
    const fn serving(&self) -> Option<&Serving<M>> {
        match self {
            Self::Serving(serving) => Some(serving),
            Self::Idle | Self::Ended => None,
        }
    }
}

impl<M: CoordinatorMachine> Serving<M> {
    fn resign_all(&mut self) {
        for shard in std::mem::take(&mut self.shards).into_values() {
            shard.dismiss();
        }
    }
}
