//! The kind of coordinator for consumer groups, whose topic is `__consumer_offsets`.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustmq_broker_core::coordinator::{CoordinatorError, CoordinatorState};
use rustmq_broker_core::groups::config::PROTOCOLS_PER_MEMBER;
use rustmq_broker_core::groups::request::GroupListing;
use rustmq_broker_core::groups::{
    ClassicState, GroupConfig, GroupError, GroupEvent, GroupId, GroupRequest, Groups, ReplyOutcome,
};
use rustmq_controller_core::configs::EffectiveBrokerConfig;
use rustmq_model::{LeaderEpoch, TopicId, TopicName};

use super::Coordinators;
use super::kind::CoordinatorKind;
use super::shard::{CoordinatorShard, ReplyWait};

/// All group coordinators of this broker.
pub(crate) type GroupCoordinators = Coordinators<GroupKind>;

pub(crate) struct GroupKind {
    config: GroupConfig,
}

impl GroupKind {
    pub(crate) fn new(settings: &EffectiveBrokerConfig) -> Self {
        Self { config: group_config(settings) }
    }
}

impl CoordinatorKind for GroupKind {
    type Machine = Groups;

    const NAME: &'static str = "groups";

    fn machine(&self, _leader_epoch: LeaderEpoch, batch_bytes_max: usize) -> Groups {
        let protocol_bytes_max = batch_bytes_max.saturating_mul(PROTOCOLS_PER_MEMBER);
        Groups::new(GroupConfig { protocol_bytes_max, ..self.config.clone() })
    }

    fn topics(machine: &Groups) -> BTreeSet<(TopicName, TopicId)> {
        machine.committed_topics()
    }

    fn topics_missing(topics: BTreeSet<(TopicName, TopicId)>) -> Option<GroupEvent> {
        Some(GroupEvent::TopicsMissing(topics))
    }

    fn run_task(&self, work: Infallible) -> BoxFuture<'static, Infallible> {
        match work {}
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

    /// Removes the committed offsets of a deleted topic.
    pub(crate) fn forget_topic(&self, topic: &TopicName) {
        for shard in self.shards() {
            shard.on_event(GroupEvent::TopicDeleted(topic.clone()));
        }
    }

    /// The number of groups in each state.
    pub(crate) fn group_counts(&self) -> BTreeMap<ClassicState, usize> {
        let mut counts: BTreeMap<_, _> = ClassicState::ALL.into_iter().map(|state| (state, 0)).collect();
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
        ..GroupConfig::default()
    }
}
