//! The requests that change the members of a consumer group, in either protocol.

use super::heartbeat::ConsumerHeartbeat;
use super::partitions::Assignment;
use super::topics::TopicCatalogue;
use crate::groups::error::GroupError;
use crate::groups::identity::MemberId;
use crate::groups::protocol::kept_protocols;
use crate::groups::request::{JoinRequest, LeaveRequest, ReplyOutcome};
use crate::groups::subscription::{CONSUMER_PROTOCOL_TYPE, Subscription, decode_subscription};

/// A request that a decision of the group answers.
#[derive(Debug)]
pub(super) enum MemberRequest {
    Heartbeat(ConsumerHeartbeat),
    Join(ClassicJoin),
    Leave(LeaveRequest),
}

/// JoinGroup of a member that uses the classic protocol.
#[derive(Debug)]
pub(super) struct ClassicJoin {
    pub(super) request: JoinRequest,
    /// The member's id, also if the request has none.
    pub(super) member: MemberId,
    /// The subscription of the first protocol. The member's topics do not depend on the assignor.
    pub(super) subscription: Subscription,
    /// The partitions that the member has.
    pub(super) owned: Assignment,
}

impl MemberRequest {
    /// The pattern of a heartbeat that states one.
    pub(super) fn pattern(&self) -> Option<&str> {
        match self {
            Self::Heartbeat(request) => request.regex.as_deref().filter(|pattern| !pattern.is_empty()),
            Self::Join(_) | Self::Leave(_) => None,
        }
    }

    /// The answer that refuses the request.
    pub(super) fn refused(&self, error: GroupError) -> ReplyOutcome {
        match self {
            Self::Heartbeat(_) => ReplyOutcome::ConsumerHeartbeat(Err(error)),
            Self::Join(_) => ReplyOutcome::Join(Err(error)),
            Self::Leave(_) => ReplyOutcome::Leave(Err(error)),
        }
    }
}

impl ClassicJoin {
    /// Reads the subscription of a member that joins.
    ///
    /// # Errors
    /// [`GroupError::MemberIdRequired`] for a new member that must join again with its id, and
    /// [`GroupError::InconsistentGroupProtocol`] for a member that is no consumer.
    pub(super) fn read(mut request: JoinRequest, catalogue: &TopicCatalogue) -> Result<Self, GroupError> {
        request.protocols = kept_protocols(request.protocols);
        let first = request.protocols.first().filter(|_| request.protocol_type == CONSUMER_PROTOCOL_TYPE);
        let subscription = first.and_then(|protocol| decode_subscription(&protocol.metadata).ok());
        let subscription = subscription.ok_or(GroupError::InconsistentGroupProtocol)?;
        let is_unknown = request.member.is_empty();
        if is_unknown && request.instance.is_none() && request.requires_known_member_id {
            return Err(GroupError::MemberIdRequired { member_id: request.new_member });
        }
        let owned = subscription.owned.iter().flat_map(|(name, partitions)| {
            let topic = catalogue.find(name).map(|topic| topic.id);
            topic.into_iter().flat_map(|id| partitions.iter().map(move |partition| (id, *partition)))
        });
        let owned = owned.collect();
        let member = if is_unknown { request.new_member.clone() } else { request.member.clone() };
        Ok(Self { request, member, subscription, owned })
    }

    /// The name of the protocol that the member is told to use.
    pub(super) fn protocol(&self) -> Option<&str> {
        self.request.protocols.first().map(|protocol| protocol.name.as_str())
    }
}
