//! Group requests of front ends: finds the coordinator of a group, checks topics, and makes member
//! ids.
//!
//! A function that is not `async` takes effect in the call and returns a future that only waits, so
//! that the requests of one connection keep their order.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::groups::consumer::description::ConsumerGroupDescription;
use rustmq_broker_core::groups::consumer::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer, HeartbeatTiming};
use rustmq_broker_core::groups::request::{
    GroupDescription, GroupListing, HeartbeatRequest, JoinRequest, Joined, LeaveRequest, LeftMember, OffsetCommit,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetSelection, PartitionOutcomes, SyncRequest, Synced,
};
use rustmq_broker_core::groups::{
    CommittedOffset, GroupError, GroupId, GroupRequest, InstanceId, MemberId, ReplyOutcome,
};
use rustmq_controller_core::configs::EffectiveGroupConfig;
use rustmq_model::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId, TopicName, TopicPartition};

use crate::coordination::GroupWait;
use crate::refusals::Refusals;
use crate::session::Session;
use crate::topics::AutoCreationError;
use crate::view::{OFFSETS_TOPIC, TopicRef, UnknownPartition, UnknownTopic};

/// Offsets to commit for a group.
#[derive(Clone, Debug)]
pub struct GroupCommit {
    pub group: GroupId,
    /// Empty for a consumer outside group membership.
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    /// Negative for a consumer outside group membership.
    pub generation: i32,
    /// The request's version knows the epochs of consumer groups' members.
    pub supports_member_epochs: bool,
    /// The retention time of these offsets, if the request has one.
    pub retention: Option<Duration>,
    pub offsets: Vec<CommitEntry>,
}

#[derive(Clone, Debug)]
pub struct CommitEntry {
    pub topic: TopicRef,
    pub partition: PartitionId,
    /// Stored without a check, even if it is negative.
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
}

#[derive(Clone, Debug)]
pub enum OffsetsWanted {
    All,
    These(Vec<(TopicRef, PartitionId)>),
}

/// The committed offset of a group for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    pub topic: TopicRef,
    pub partition: PartitionId,
    pub committed: Result<Option<CommittedOffset>, OffsetFetchError>,
}

/// Why the committed offset of one partition is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetFetchError {
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    /// An open transaction may still change it (KIP-447).
    #[error("An open transaction may still change the committed offset: try again.")]
    Unstable,
}

impl OffsetFetchError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownTopic(error) => error.kind(),
            Self::Unstable => ErrorKind::Retry,
        }
    }
}

/// The offsets that a fetch shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stability {
    Any,
    /// Only those that no open transaction may still change.
    Stable,
}

/// A committed offset as its coordinator has it.
struct CoordinatedOffset {
    partition: TopicPartition,
    committed: Option<CommittedOffset>,
    is_unstable: bool,
}

impl CoordinatedOffset {
    fn shown(self) -> Result<Option<CommittedOffset>, OffsetFetchError> {
        if self.is_unstable { Err(OffsetFetchError::Unstable) } else { Ok(self.committed) }
    }
}

/// Why the coordinator of a group cannot be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindCoordinatorError {
    /// The error may be temporary: clients ask again.
    #[error(transparent)]
    NoTopic(AutoCreationError),
    #[error("no coordinator serves the group or transactional id now; try again")]
    NotAvailable,
}

impl FindCoordinatorError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// Why the committed offset of one partition is neither stored nor deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupOffsetError {
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    #[error(transparent)]
    UnknownPartition(#[from] UnknownPartition),
    /// The group's coordinator has refused it. The inner error has the reason.
    #[error(transparent)]
    Group(#[from] GroupError),
}

impl GroupOffsetError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownTopic(error) => error.kind(),
            Self::UnknownPartition(error) => error.kind(),
            Self::Group(error) => error.kind(),
        }
    }
}

impl Session {
    /// Finds the broker that coordinates a group. The first call creates the topic of committed
    /// offsets.
    ///
    /// # Errors
    /// This fails with a [`FindCoordinatorError`] if the topic of committed offsets cannot be
    /// created, or if no coordinator serves the group now. Both may be temporary.
    pub async fn find_coordinator(&self, group: &GroupId) -> Result<BrokerId, FindCoordinatorError> {
        self.ensure_coordinator_topic(OFFSETS_TOPIC).await?;
        if self.broker.coordinators.coordinates(group) {
            Ok(self.broker.id)
        } else {
            Err(FindCoordinatorError::NotAvailable)
        }
    }

    /// Creates the topic of coordinators, unless it exists.
    pub(crate) async fn ensure_coordinator_topic(&self, topic: &'static str) -> Result<(), FindCoordinatorError> {
        if self.topic_id(topic).is_some() {
            return Ok(());
        }
        match self.auto_create(vec![topic.to_owned()]).await.into_values().next() {
            None => Ok(()),
            Some(error) => {
                tracing::warn!(topic, %error, "a topic of coordinators was not created");
                Err(FindCoordinatorError::NoTopic(error))
            }
        }
    }

    /// Joins a group. `new_member` is overwritten here.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the coordinator refuses the member.
    pub fn join_group(&self, request: JoinRequest) -> GroupWait<Joined> {
        let stem = request.instance.as_ref().map_or(request.client.id.as_str(), InstanceId::as_str);
        let new_member = MemberId::from(format!("{stem}-{}", uuid::Uuid::new_v4()));
        let request = JoinRequest { new_member, ..request };
        let group = request.group.clone();
        self.broker.coordinators.request(&group, GroupRequest::Join(request), |outcome| match outcome {
            ReplyOutcome::Join(answer) => Some(answer),
            _ => None,
        })
    }

    /// Waits for the assignment of the current generation, which the leader's request carries.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the coordinator refuses the member.
    pub fn sync_group(&self, request: SyncRequest) -> GroupWait<Synced> {
        let group = request.group.clone();
        self.broker.coordinators.request(&group, GroupRequest::Sync(request), |outcome| match outcome {
            ReplyOutcome::Sync(answer) => Some(answer),
            _ => None,
        })
    }

    /// Renews the session of a member.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the coordinator refuses the member. [`GroupError::RebalanceInProgress`] tells
    /// the member to join again.
    pub fn heartbeat(&self, request: &HeartbeatRequest) -> GroupWait<()> {
        self.broker.coordinators.request(&request.group, GroupRequest::Heartbeat(request.clone()), |outcome| {
            match outcome {
                ReplyOutcome::Heartbeat(answer) => Some(answer),
                _ => None,
            }
        })
    }

    /// Removes members from a group. The answer has an outcome for each member, in the order of the
    /// request.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the coordinator refuses the whole request. Otherwise each member has a result
    /// of its own.
    pub fn leave_group(&self, request: LeaveRequest) -> GroupWait<Vec<LeftMember>> {
        let group = request.group.clone();
        self.broker.coordinators.request(&group, GroupRequest::Leave(request), |outcome| match outcome {
            ReplyOutcome::Leave(answer) => Some(answer),
            _ => None,
        })
    }

    /// Commits offsets. The future resolves once they are stored, with an outcome for each entry in
    /// the order of the request. Each partition that does not exist has an error of its own.
    pub fn commit_offsets(
        &self,
        commit: GroupCommit,
    ) -> impl Future<Output = Vec<Result<(), GroupOffsetError>>> + Send + use<> {
        let GroupCommit { group, member, instance, generation, supports_member_epochs, retention, offsets } = commit;
        let judge = |entry: CommitEntry| -> Result<OffsetCommit, GroupOffsetError> {
            let (partition, topic_id) = self.existing(&entry.topic, entry.partition)?;
            let CommitEntry { offset, leader_epoch, metadata, .. } = entry;
            Ok(OffsetCommit { partition, topic_id, offset, leader_epoch, metadata })
        };
        let (accepted, refusals) = Refusals::split(offsets.into_iter().map(judge));
        let wait = (!accepted.is_empty()).then(|| {
            let (coordinated, offsets) = (group.clone(), accepted);
            let request =
                OffsetCommitRequest { group, member, instance, generation, supports_member_epochs, retention, offsets };
            self.broker.coordinators.request(
                &coordinated,
                GroupRequest::CommitOffsets(request),
                |outcome| match outcome {
                    ReplyOutcome::OffsetCommit(answer) => Some(answer),
                    _ => None,
                },
            )
        });
        async move {
            let outcomes = match wait {
                Some(wait) => wait.await,
                None => Ok(PartitionOutcomes::new()),
            };
            refusals.join(outcomes.map(of_each).map_err(GroupOffsetError::Group))
        }
    }

    /// The committed offsets of a group; `None` for a partition without one. Offsets of deleted
    /// topics are not shown.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the group id is too long.
    pub fn fetch_offsets(&self, group: &GroupId, wanted: OffsetsWanted) -> Result<Vec<FetchedOffset>, GroupError> {
        self.offsets_of(group, wanted, Stability::Any)
    }

    /// As [`Self::fetch_offsets`], and [`OffsetFetchError::Unstable`] for a partition whose offset
    /// an open transaction may still change (KIP-447).
    ///
    /// # Errors
    /// As [`Self::fetch_offsets`].
    pub fn fetch_stable_offsets(
        &self,
        group: &GroupId,
        wanted: OffsetsWanted,
    ) -> Result<Vec<FetchedOffset>, GroupError> {
        self.offsets_of(group, wanted, Stability::Stable)
    }

    fn offsets_of(
        &self,
        group: &GroupId,
        wanted: OffsetsWanted,
        stability: Stability,
    ) -> Result<Vec<FetchedOffset>, GroupError> {
        let wanted = match wanted {
            OffsetsWanted::All => {
                let mut all = self.coordinated_offsets(group, &OffsetSelection::All, stability)?;
                all.retain(|one| one.committed.is_some());
                let fetched = all.into_iter().map(|one| FetchedOffset {
                    topic: TopicRef::Name(one.partition.topic.as_str().to_owned()),
                    partition: one.partition.partition,
                    committed: one.shown(),
                });
                return Ok(fetched.collect());
            }
            OffsetsWanted::These(wanted) => wanted,
        };
        let named = |(topic, partition): &(TopicRef, PartitionId)| {
            let topic = match topic {
                TopicRef::Name(name) => TopicName::new(name).ok()?,
                TopicRef::Id(id) => self.topic_name(*id)?,
            };
            Some(TopicPartition { topic, partition: *partition })
        };
        let names: Vec<Option<TopicPartition>> = wanted.iter().map(named).collect();
        let selection = OffsetSelection::Given(names.iter().flatten().cloned().collect());
        let offsets = self.coordinated_offsets(group, &selection, stability)?;
        let offsets: HashMap<TopicPartition, _> =
            offsets.into_iter().map(|one| (one.partition.clone(), one.shown())).collect();
        let fetched = wanted.into_iter().zip(names).map(|((topic, partition), name)| {
            let committed = match (&topic, name) {
                (_, Some(name)) => offsets.get(&name).cloned().unwrap_or(Ok(None)),
                (TopicRef::Id(id), None) => Err(UnknownTopic::Id(*id).into()),
                (TopicRef::Name(_), None) => Ok(None),
            };
            FetchedOffset { topic, partition, committed }
        });
        Ok(fetched.collect())
    }

    /// Hides the offsets of deleted topics: their tombstones may not be stored yet.
    fn coordinated_offsets(
        &self,
        group: &GroupId,
        selection: &OffsetSelection,
        stability: Stability,
    ) -> Result<Vec<CoordinatedOffset>, GroupError> {
        let mut offsets: Vec<_> = self.broker.coordinators.of_group(group)?.read(|groups| {
            let fetched = groups.fetch_offsets(group, selection)?;
            let offsets = fetched.into_iter().map(|(partition, committed)| {
                let is_unstable = stability == Stability::Stable && groups.is_unstable(group, &partition);
                CoordinatedOffset { partition, committed, is_unstable }
            });
            Ok::<_, GroupError>(offsets.collect())
        })??;
        let view = self.broker.view.read();
        for CoordinatedOffset { partition, committed, is_unstable } in &mut offsets {
            if committed.as_ref().is_some_and(|committed| view.is_gone(&partition.topic, committed.topic_id)) {
                (*committed, *is_unstable) = (None, false);
            }
        }
        Ok(offsets)
    }

    /// Takes the heartbeat of a member of a consumer group (KIP-848). `timing` is overwritten here
    /// with that of the group's configs.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the coordinator refuses the member.
    pub fn consumer_heartbeat(&self, request: ConsumerHeartbeat) -> GroupWait<ConsumerHeartbeatAnswer> {
        let group = request.group.clone();
        let request = ConsumerHeartbeat { timing: Some(self.heartbeat_timing(&group)), ..request };
        self.broker.coordinators.request(&group, GroupRequest::ConsumerHeartbeat(request), |outcome| match outcome {
            ReplyOutcome::ConsumerHeartbeat(answer) => Some(answer),
            _ => None,
        })
    }

    fn heartbeat_timing(&self, group: &GroupId) -> HeartbeatTiming {
        let view = self.broker.view.read();
        let layers = view.state.group_layers(group.as_str(), self.broker.id, &self.broker.config.kafka);
        let config = EffectiveGroupConfig::resolve(&layers);
        HeartbeatTiming {
            interval: Duration::from_millis(u64::from(config.heartbeat_interval_ms)),
            session_timeout: Duration::from_millis(u64::from(config.session_timeout_ms)),
        }
    }

    /// A new id for a member of a consumer group whose client has made none.
    #[must_use]
    pub fn new_consumer_member() -> MemberId {
        MemberId::from(uuid::Uuid::new_v4().to_string())
    }

    /// A consumer group with its members.
    ///
    /// # Errors
    /// [`GroupError`] if the group is not coordinated here, if its coordinator is loading, or if
    /// there is no such group or if it is a classic one.
    pub fn describe_consumer_group(&self, group: &GroupId) -> Result<ConsumerGroupDescription, GroupError> {
        self.broker.coordinators.of_group(group)?.read(|groups| groups.describe_consumer_group(group))?
    }

    /// Checks the member that fetches offsets of a consumer group.
    ///
    /// # Errors
    /// [`GroupError`] if the group is not coordinated here, if its coordinator is loading, or if
    /// the member is unknown or states another epoch than its own.
    pub fn check_offset_fetch(&self, group: &GroupId, member: &MemberId, epoch: i32) -> Result<(), GroupError> {
        self.broker.coordinators.of_group(group)?.read(|groups| groups.validate_offset_fetch(group, member, epoch))?
    }

    /// A group with its members. One that does not exist is described as dead.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the group id is too long.
    pub fn describe_group(&self, group: &GroupId) -> Result<GroupDescription, GroupError> {
        self.broker.coordinators.of_group(group)?.read(|groups| groups.describe(group))?
    }

    /// All groups that are coordinated here.
    ///
    /// # Errors
    /// This fails with [`GroupError::CoordinatorLoadInProgress`] while one of the coordinators is
    /// loading.
    pub fn list_groups(&self) -> Result<Vec<GroupListing>, GroupError> {
        self.broker.coordinators.list()
    }

    /// Deletes a group without members, with its offsets.
    ///
    /// # Errors
    /// This fails with a [`GroupError`] if the group is not coordinated here, if its coordinator is
    /// loading, or if the coordinator refuses the deletion. [`GroupError::NonEmptyGroup`] says that
    /// the group has members.
    pub fn delete_group(&self, group: &GroupId) -> GroupWait<()> {
        self.broker.coordinators.request(group, GroupRequest::DeleteGroup(group.clone()), |outcome| match outcome {
            ReplyOutcome::DeleteGroup(answer) => Some(answer),
            _ => None,
        })
    }

    /// Deletes committed offsets. An outcome per partition, in the order of the request.
    ///
    /// # Errors
    /// The outer error refuses the whole request. Otherwise each partition has a result of its own.
    pub fn delete_offsets(
        &self,
        group: GroupId,
        partitions: Vec<(String, PartitionId)>,
    ) -> impl Future<Output = Result<Vec<Result<(), GroupOffsetError>>, GroupError>> + Send + use<> {
        let judge =
            |(topic, partition)| self.existing(&TopicRef::Name(topic), partition).map(|(partition, _)| partition);
        let (accepted, refusals) = Refusals::split(partitions.into_iter().map(judge));
        let coordinated = group.clone();
        let request = OffsetDeleteRequest { group, partitions: accepted };
        let wait =
            self.broker.coordinators.request(
                &coordinated,
                GroupRequest::DeleteOffsets(request),
                |outcome| match outcome {
                    ReplyOutcome::OffsetDelete(answer) => Some(answer),
                    _ => None,
                },
            );
        async move { wait.await.map(|outcomes| refusals.join(Ok(of_each(outcomes)))) }
    }

    pub(crate) fn existing(
        &self,
        topic: &TopicRef,
        partition: PartitionId,
    ) -> Result<(TopicPartition, TopicId), GroupOffsetError> {
        let view = self.broker.view.read();
        let topic = &view.find(topic)?.topic;
        let unknown = || UnknownPartition { topic: topic.name.clone(), partition };
        topic.partition(partition).ok_or_else(unknown)?;
        Ok((TopicPartition { topic: topic.name.clone(), partition }, topic.id))
    }
}

/// The coordinator's outcomes, in the order of the requested partitions.
pub(crate) fn of_each(outcomes: PartitionOutcomes) -> impl Iterator<Item = Result<(), GroupOffsetError>> {
    outcomes.into_iter().map(|(_, outcome)| outcome.map_err(GroupOffsetError::Group))
}
