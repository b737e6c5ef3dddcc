//! The kind of coordinator for consumer groups, whose topic is `__consumer_offsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustmq_broker_core::coordinator::{CoordinatorError, CoordinatorState};
use rustmq_broker_core::groups::config::{ConsumerGroupConfig, PROTOCOLS_PER_MEMBER};
use rustmq_broker_core::groups::consumer::assignor::Assignor;
use rustmq_broker_core::groups::consumer::topics::{TopicCatalogue, TopicFacts};
use rustmq_broker_core::groups::request::GroupListing;
use rustmq_broker_core::groups::task::{AssignmentResult, AssignmentTask};
use rustmq_broker_core::groups::{
    GroupConfig, GroupError, GroupEvent, GroupId, GroupRequest, GroupState, Groups, ReplyOutcome,
};
use rustmq_controller_core::configs::EffectiveBrokerConfig;
use rustmq_model::{LeaderEpoch, PartitionId, TopicId, TopicName, TransactionMarker};
use tokio::sync::Semaphore;

use super::Coordinators;
use super::kind::CoordinatorKind;
use super::shard::{CoordinatorShard, ReplyWait};

/// All group coordinators of this broker.
pub(crate) type GroupCoordinators = Coordinators<GroupKind>;

pub(crate) struct GroupKind {
    config: GroupConfig,
    /// The topics of the cluster. Only the metadata follower changes them, before it tells the
    /// coordinators.
    topics: Mutex<TopicCatalogue>,
    /// One place for each target assignment that is computed at a time.
    assignment_places: Arc<Semaphore>,
}

impl GroupKind {
    pub(crate) fn new(settings: &EffectiveBrokerConfig) -> Self {
        let places = std::thread::available_parallelism().map_or(1, NonZero::get);
        let assignment_places = Arc::new(Semaphore::new(places));
        Self { config: group_config(settings), topics: Mutex::default(), assignment_places }
    }
}

impl CoordinatorKind for GroupKind {
    type Machine = Groups;

    const NAME: &'static str = "groups";

    fn machine(&self, _leader_epoch: LeaderEpoch, batch_bytes_max: usize) -> Groups {
        let protocol_bytes_max = batch_bytes_max.saturating_mul(PROTOCOLS_PER_MEMBER);
        let config = GroupConfig { protocol_bytes_max, batch_bytes_max, ..self.config.clone() };
        Groups::with_topics(config, self.topics.lock().clone())
    }

    fn all_topics(&self) -> Option<GroupEvent> {
        Some(GroupEvent::TopicsChanged { catalogue: self.topics.lock().clone(), changed: None })
    }

    fn topics(machine: &Groups) -> BTreeSet<(TopicName, TopicId)> {
        machine.committed_topics()
    }

    fn topics_missing(topics: BTreeSet<(TopicName, TopicId)>) -> Option<GroupEvent> {
        Some(GroupEvent::TopicsMissing(topics))
    }

    /// Computes a target assignment on a thread for long work. A group whose turn does not come in
    /// time gives its task up, and begins another one.
    fn run_task(&self, work: AssignmentTask) -> BoxFuture<'static, AssignmentResult> {
        let places = Arc::clone(&self.assignment_places);
        async move {
            let lost = work.lost();
            let place = places.acquire_owned().await;
            let computed = tokio::task::spawn_blocking(move || {
                let _place = place;
                work.run()
            });
            computed.await.unwrap_or_else(|error| {
                tracing::error!(%error, "the target assignment of a group was not computed: it is tried again");
                lost
            })
        }
        .boxed()
    }
}

impl GroupCoordinators {
    /// The coordinator of a group, if it runs here.
    pub(crate) fn of_group(&self, group: &GroupId) -> Result<Arc<CoordinatorShard<Groups>>, GroupError> {
        Ok(self.shard_of(group.as_str())?)
    }

    /// Whether a group is coordinated here. It is not while its coordinator has resigned by itself
    /// and no new one has begun.
    pub(crate) fn coordinates(&self, group: &GroupId) -> bool {
        self.of_group(group).is_ok_and(|shard| shard.state() != CoordinatorState::Resigned)
    }

    /// The groups of all coordinators. A coordinator that has resigned has none.
    pub(crate) fn list(&self) -> Result<Vec<GroupListing>, GroupError> {
        let mut groups = Vec::new();
        for shard in self.shards() {
            match shard.read(Groups::list) {
                Ok(listed) => groups.extend(listed),
                Err(CoordinatorError::Resigned) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(groups)
    }

    /// Makes a request. `answer` extracts the outcome of this kind of request.
    pub(crate) fn request<T>(
        &self,
        group: &GroupId,
        request: GroupRequest,
        answer: fn(ReplyOutcome) -> Option<Result<T, GroupError>>,
    ) -> GroupWait<T> {
        GroupWait(match self.of_group(group) {
            Ok(shard) => State::Waiting { reply: shard.request(request), answer },
            Err(error) => State::Refused(Some(error)),
        })
    }

    /// Ends the transaction of a producer in a partition of `__consumer_offsets`. Answered when the
    /// marker is durable.
    pub(crate) fn write_marker(&self, partition: PartitionId, marker: TransactionMarker) -> GroupWait<()> {
        GroupWait(match self.shard_at(partition) {
            Ok(shard) => State::Waiting {
                reply: shard.request(GroupRequest::WriteMarker(marker)),
                answer: |outcome| match outcome {
                    ReplyOutcome::Marker(answer) => Some(answer),
                    _ => None,
                },
            },
            Err(error) => State::Refused(Some(error.into())),
        })
    }

    /// Removes the committed offsets of a deleted topic, and takes it from consumer groups.
    pub(crate) fn forget_topic(&self, id: TopicId, topic: &TopicName) {
        let catalogue = {
            let mut topics = self.kind().topics.lock();
            // A new topic may have the name already.
            if topics.find(topic.as_str()).is_some_and(|facts| facts.id == id) {
                topics.remove(topic.as_str());
            }
            topics.clone()
        };
        for shard in self.shards() {
            shard.on_event(GroupEvent::TopicDeleted(topic.clone()));
        }
        self.tell(&catalogue, topic);
    }

    /// Tells consumer groups that a topic was made, or has grown.
    pub(crate) fn show_topic(&self, topic: &TopicName, facts: TopicFacts) {
        let catalogue = {
            let mut topics = self.kind().topics.lock();
            if topics.find(topic.as_str()) == Some(facts) {
                return;
            }
            topics.insert(topic.clone(), facts);
            topics.clone()
        };
        self.tell(&catalogue, topic);
    }

    fn tell(&self, catalogue: &TopicCatalogue, topic: &TopicName) {
        for shard in self.shards() {
            let changed = Some(vec![topic.clone()]);
            shard.on_event(GroupEvent::TopicsChanged { catalogue: catalogue.clone(), changed });
        }
    }

    /// The number of groups in each state.
    pub(crate) fn group_counts(&self) -> BTreeMap<GroupState, usize> {
        let mut counts: BTreeMap<_, _> = GroupState::all().map(|state| (state, 0)).collect();
        for counted in self.shards().iter().filter_map(|shard| shard.read(Groups::group_counts).ok()) {
            for (state, count) in counted {
                *counts.entry(state).or_default() += count;
            }
        }
        counts
    }
}

/// The pending answer to a group request that has taken effect. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "the answer says whether the request was granted"]
pub struct GroupWait<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    /// None once the error was returned.
    Refused(Option<GroupError>),
    Waiting {
        reply: ReplyWait<ReplyOutcome>,
        answer: fn(ReplyOutcome) -> Option<Result<T, GroupError>>,
    },
}

impl<T> Future for GroupWait<T> {
    type Output = Result<T, GroupError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(GroupError::NotCoordinator))),
            State::Waiting { reply, answer } => Pin::new(reply)
                .poll(context)
                .map(|outcome| answer(outcome?).expect("a request is answered with an outcome of its own kind")),
        }
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
        consumer: ConsumerGroupConfig {
            session_timeout: millis(settings.consumer_group_session_timeout_ms),
            heartbeat_interval: millis(settings.consumer_group_heartbeat_interval_ms),
            size_max: count(settings.consumer_group_members_max),
            assignors: assignors(&settings.consumer_group_assignors),
        },
        ..GroupConfig::default()
    }
}

/// The assignors of the setting; all of them if it names none that exists.
fn assignors(names: &[String]) -> Vec<Assignor> {
    let named: Vec<Assignor> = names.iter().filter_map(|name| Assignor::from_name(name)).collect();
    if named.is_empty() { Assignor::ALL.to_vec() } else { named }
}
