//! The requests to a group coordinator and its answers, without a wire format.
//!
//! A [`GroupRequest`] is answered by a [`ReplyOutcome`] under its token; reads (fetch offsets,
//! describe, list) are answered at once.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::{LeaderEpoch, Offset, ProducerKey, TopicId, TopicName, TopicPartition, TransactionMarker};

use super::consumer::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use super::consumer::topics::TopicCatalogue;
use super::error::GroupError;
use super::identity::{GroupId, InstanceId, MemberId};
use super::state::{ClassicState, GroupState};
pub use super::transactions::guard::CommitGuard;

/// A request to the group coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRequest {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(HeartbeatRequest),
    ConsumerHeartbeat(ConsumerHeartbeat),
    Leave(LeaveRequest),
    CommitOffsets(OffsetCommitRequest),
    CommitTransactionalOffsets(TransactionalCommitRequest),
    /// The transaction coordinator ends the transaction of a producer in this partition.
    WriteMarker(TransactionMarker),
    DeleteOffsets(OffsetDeleteRequest),
    DeleteGroup(GroupId),
}

impl GroupRequest {
    /// Checks the group id. The empty id is legal in commits of offsets and in deletions only.
    ///
    /// # Errors
    /// [`GroupError::InvalidGroupId`]
    pub fn check_group_id(&self) -> Result<(), GroupError> {
        let (group, may_be_empty) = match self {
            Self::Join(request) => (&request.group, false),
            Self::Sync(request) => (&request.group, false),
            Self::Heartbeat(request) => (&request.group, false),
            Self::ConsumerHeartbeat(request) => (&request.group, false),
            Self::Leave(request) => (&request.group, false),
            Self::CommitOffsets(request) => (&request.group, true),
            Self::CommitTransactionalOffsets(request) => (&request.commit.group, false),
            Self::WriteMarker(_) => return Ok(()),
            Self::DeleteOffsets(request) => (&request.group, false),
            Self::DeleteGroup(group) => (group, true),
        };
        if group.is_empty() && !may_be_empty { Err(GroupError::InvalidGroupId) } else { group.check_length() }
    }

    /// The answer that refuses the whole request.
    pub(crate) fn refused(&self, error: GroupError) -> ReplyOutcome {
        match self {
            Self::Join(_) => ReplyOutcome::Join(Err(error)),
            Self::Sync(_) => ReplyOutcome::Sync(Err(error)),
            Self::Heartbeat(_) => ReplyOutcome::Heartbeat(Err(error)),
            Self::ConsumerHeartbeat(_) => ReplyOutcome::ConsumerHeartbeat(Err(error)),
            Self::Leave(_) => ReplyOutcome::Leave(Err(error)),
            Self::WriteMarker(_) => ReplyOutcome::Marker(Err(error)),
            Self::CommitOffsets(_) | Self::CommitTransactionalOffsets(_) => ReplyOutcome::OffsetCommit(Err(error)),
            Self::DeleteOffsets(_) => ReplyOutcome::OffsetDelete(Err(error)),
            Self::DeleteGroup(_) => ReplyOutcome::DeleteGroup(Err(error)),
        }
    }
}

/// A fact for the group coordinator from outside of its log.
#[derive(Clone, Debug)]
pub enum GroupEvent {
    /// A topic was deleted: offsets that were committed under its name are removed.
    TopicDeleted(TopicName),
    /// These topics, by name and id, no longer exist, and offsets are committed for them. This
    /// reports deletions that the coordinator has missed: during its load, or before an earlier
    /// coordinator had written the tombstones.
    TopicsMissing(BTreeSet<(TopicName, TopicId)>),
    /// The topics of the cluster, of which these were made, have grown, or were deleted; none for
    /// all of them. The driver reports all topics right after the load.
    TopicsChanged { catalogue: TopicCatalogue, changed: Option<Vec<TopicName>> },
}

/// One protocol that a member offers: for consumers an assignor's name and the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// The client of a member, as the group's record and its description show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientIdentity {
    pub id: String,
    /// Kafka's form is a slash and the address: `/127.0.0.1`.
    pub host: String,
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    pub group: GroupId,
    /// Empty for a member that has no id yet.
    pub member: MemberId,
    /// The id for the member if it has none: client or instance id, a dash, a random UUID.
    pub new_member: MemberId,
    pub instance: Option<InstanceId>,
    pub client: ClientIdentity,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    /// Request version 4 and up: a dynamic member must join with an id that an earlier answer gave
    /// it (KIP-394).
    pub requires_known_member_id: bool,
    /// Request version 9 and up: the answer may tell a returning static leader to skip the
    /// assignment (KIP-814).
    pub supports_skip_assignment: bool,
}

/// The answer to a join that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: MemberId,
    pub member: MemberId,
    pub skip_assignment: bool,
    /// All members of the group for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
}

/// One member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    pub group: GroupId,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub generation: i32,
    /// Sent from request version 5 on.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// The leader's assignments; empty in the requests of other members.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// The answer to a sync that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    pub group: GroupId,
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub generation: i32,
}

/// LeaveGroup, batched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveRequest {
    pub group: GroupId,
    pub members: Vec<LeavingMember>,
}

/// One member that leaves, or that an administrator removes by its instance id (with an empty
/// member id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    /// The client's reason (KIP-800), which is only logged.
    pub reason: Option<String>,
}

/// The result of one leaving member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub outcome: Result<(), GroupError>,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    pub group: GroupId,
    /// Empty for a simple consumer.
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    /// Negative for a simple consumer.
    pub generation: i32,
    /// Request version 9 and up: members of consumer groups may commit (KIP-848).
    pub supports_member_epochs: bool,
    /// The retention time of these offsets in request versions 2 to 4. None applies the broker's
    /// retention.
    pub retention: Option<Duration>,
    pub offsets: Vec<OffsetCommit>,
}

/// TxnOffsetCommit. The caller has checked that the transaction coordinator knows the partition of
/// the group as one of the transaction, and that the transactional id owns the producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionalCommitRequest {
    pub producer: ProducerKey,
    /// Taken before that check ([`Groups::commit_guard`](super::Groups::commit_guard)).
    pub guard: CommitGuard,
    /// Negative generation, no member and no instance: a producer that states no group metadata.
    pub commit: OffsetCommitRequest,
}

/// One offset to commit. The caller has checked that the topic exists: a coordinator knows no
/// topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommit {
    pub partition: TopicPartition,
    pub topic_id: TopicId,
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
}

/// The results of a commit or of a deletion, by partition, in the request's order.
pub type PartitionOutcomes = Vec<(TopicPartition, Result<(), GroupError>)>;

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteRequest {
    pub group: GroupId,
    pub partitions: Vec<TopicPartition>,
}

/// The answers, by kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyOutcome {
    Join(Result<Joined, GroupError>),
    Sync(Result<Synced, GroupError>),
    Heartbeat(Result<(), GroupError>),
    ConsumerHeartbeat(Result<ConsumerHeartbeatAnswer, GroupError>),
    Leave(Result<Vec<LeftMember>, GroupError>),
    OffsetCommit(Result<PartitionOutcomes, GroupError>),
    Marker(Result<(), GroupError>),
    OffsetDelete(Result<PartitionOutcomes, GroupError>),
    DeleteGroup(Result<(), GroupError>),
}

/// The answer to a group request, under the request's token.
pub type Reply = crate::coordinator::Reply<ReplyOutcome>;

/// The selection of offsets in a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetSelection {
    All,
    Given(Vec<TopicPartition>),
}

/// A group as DescribeGroups shows it. A group that does not exist is `Dead`, and all other fields
/// are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub group: GroupId,
    pub state: ClassicState,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<MemberDescription>,
}

impl GroupDescription {
    /// The description of a group that does not exist.
    #[must_use]
    pub fn dead(group: &GroupId) -> Self {
        Self {
            group: group.clone(),
            state: ClassicState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}

/// One member as DescribeGroups shows it. Metadata is empty unless the group is stable; the
/// assignment is the last one that was stored, also while the group rebalances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    pub member: MemberId,
    pub instance: Option<InstanceId>,
    pub client: ClientIdentity,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// A group as ListGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group: GroupId,
    pub protocol_type: String,
    pub state: GroupState,
}
