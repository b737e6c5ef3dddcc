//! The group coordinators that run here: one for each partition of `__consumer_offsets` that this
//! broker leads.
//!
//! What a group does is decided by the machines of `rustmq-broker-core`. Here they get their clock,
//! their log and their callers: [`shard`] guards one machine and its callers, [`driver`] is the
//! task that loads it ([`log_reader`]), appends for it and keeps its log short.

mod driver;
mod log_reader;
mod shard;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustmq_broker_core::groups::config::PROTOCOLS_PER_MEMBER;
use rustmq_broker_core::groups::{ClassicState, GroupConfig, GroupError, GroupId, coordinator_partition};
use rustmq_controller_core::configs::EffectiveBrokerConfig;
use rustmq_engine_api::Engine;
use rustmq_model::{PartitionId, TopicId, TopicIdPartition, TopicName};
use tokio::task::JoinSet;

pub(crate) use self::shard::CoordinatorShard;
pub use self::wait::GroupWait;
use crate::clock::Clock;
use crate::config::BrokerLimits;
use crate::failure::FailureNotice;
use crate::view::{ClusterView, TopicEntry};

/// All coordinators of this broker.
pub(crate) struct Coordinators {
    engine: Engine,
    /// Says which topics are there. Never locked together with a coordinator.
    view: Arc<RwLock<ClusterView>>,
    config: GroupConfig,
    limits: BrokerLimits,
    clock: Clock,
    serving: RwLock<Option<Serving>>,
    failure: FailureNotice,
    tasks: Mutex<JoinSet<()>>,
}

/// The topic of committed offsets, as it is now.
struct Serving {
    topic: TopicId,
    /// What group ids are hashed over.
    partition_count: i32,
    shards: BTreeMap<PartitionId, Arc<CoordinatorShard>>,
}

impl Coordinators {
    pub(crate) fn new(
        engine: Engine,
        view: Arc<RwLock<ClusterView>>,
        settings: &EffectiveBrokerConfig,
        limits: BrokerLimits,
        failure: FailureNotice,
    ) -> Arc<Self> {
        Arc::new(Self {
            engine,
            view,
            config: group_config(settings),
            limits,
            clock: Clock::new(),
            serving: RwLock::new(None),
            failure,
            tasks: Mutex::new(JoinSet::new()),
        })
    }

    /// Starts a coordinator for each open partition of the topic that has none yet.
    pub(crate) fn take_up(&self, entry: &TopicEntry) {
        let mut serving = self.serving.write();
        let topic = entry.topic.id;
        let serving = serving.get_or_insert_with(|| Serving { topic, partition_count: 0, shards: BTreeMap::new() });
        serving.topic = topic;
        serving.partition_count = entry.topic.partition_count();
        for (partition, reader) in entry.open_replicas() {
            if serving.shards.contains_key(&partition) {
                continue;
            }
            let id = TopicIdPartition { topic_id: topic, partition };
            let record_bytes_max = usize::try_from(entry.config.max_message_bytes).unwrap_or(usize::MAX);
            let protocol_bytes_max = record_bytes_max.saturating_mul(PROTOCOLS_PER_MEMBER);
            let config = GroupConfig { protocol_bytes_max, ..self.config.clone() };
            let shard = CoordinatorShard::new(id, reader.clone(), config, self.clock, self.limits);
            let shard = Arc::new(shard);
            serving.shards.insert(partition, Arc::clone(&shard));
            let (engine, view) = (self.engine.clone(), Arc::clone(&self.view));
            let driver = driver::Driver::new(shard, engine, view, self.limits, record_bytes_max);
            self.tasks.lock().spawn(self.failure.clone().tell_panic("a coordinator of groups", driver.run()));
        }
    }

    /// The topic is gone, or the broker stops: everyone who waits is told to look for the
    /// coordinator again.
    pub(crate) fn give_up(&self) {
        let Some(serving) = self.serving.write().take() else { return };
        for shard in serving.shards.values() {
            shard.unload();
        }
    }

    pub(crate) async fn shutdown(&self) {
        self.give_up();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// The coordinator of a group, if it runs here.
    pub(crate) fn shard_of(&self, group: &GroupId) -> Result<Arc<CoordinatorShard>, GroupError> {
        let serving = self.serving.read();
        let serving = serving.as_ref().filter(|serving| serving.partition_count > 0);
        let serving = serving.ok_or(GroupError::NotCoordinator)?;
        let partition = coordinator_partition(group.as_str(), serving.partition_count);
        serving.shards.get(&partition).cloned().ok_or(GroupError::NotCoordinator)
    }

    pub(crate) fn shards(&self) -> Vec<Arc<CoordinatorShard>> {
        let serving = self.serving.read();
        serving.iter().flat_map(|serving| serving.shards.values().cloned()).collect()
    }

    /// A topic was deleted: its committed offsets go too.
    pub(crate) fn forget_topic(&self, topic: &TopicName) {
        for shard in self.shards() {
            shard.forget_topic(topic);
        }
    }

    /// How many groups are in each state.
    pub(crate) fn group_counts(&self) -> BTreeMap<ClassicState, usize> {
        let mut counts: BTreeMap<_, _> = ClassicState::ALL.into_iter().map(|state| (state, 0)).collect();
        for shard in self.shards() {
            for (state, count) in shard.group_counts() {
                *counts.entry(state).or_default() += count;
            }
        }
        counts
    }
}

fn group_config(settings: &EffectiveBrokerConfig) -> GroupConfig {
    let millis = |millis: u32| Duration::from_millis(u64::from(millis));
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    GroupConfig {
        initial_rebalance_delay: millis(settings.group_initial_rebalance_delay_ms),
        session_timeout_min: millis(settings.group_session_timeout_ms_min),
        session_timeout_max: millis(settings.group_session_timeout_ms_max),
        size_max: count(settings.group_members_max),
        offsets_retention: Duration::from_secs(u64::from(settings.offsets_retention_minutes) * 60),
        offsets_retention_check_interval: Duration::from_millis(settings.offsets_retention_check_ms),
        offset_metadata_length_max: count(settings.offset_metadata_bytes_max),
        ..GroupConfig::default()
    }
}
