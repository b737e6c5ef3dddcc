//! One classic consumer group as a state machine: its members, its generation, and the requests
//! that wait.
//!
//! Eager and cooperative groups are the same here, since only the members know the difference.
//! `offsets` keeps the committed offsets; `machine` writes records, sets the timers of all groups,
//! and answers requests for unknown groups.
//!
//! The states are drawn at [`ClassicState`]. Two rules explain most of the code:
//! - A join waits until every known member has joined again, or until the longest rebalance timeout
//!   is over. Then dynamic members that have not joined are dropped, static members stay (KIP-345),
//!   and a new generation begins.
//! - A sync waits until the leader's assignment is *stored*: only stored state survives the
//!   coordinator.

mod departure;
mod invariants;
mod join;
mod rebalance;
mod sync;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::{Instant, Timestamp};

use super::config::GroupConfig;
use super::consumer::target::TargetInput;
use super::error::GroupError;
use super::identity::{GroupId, InstanceId, MemberId};
use super::member::{Member, milliseconds_i32};
use super::offsets::RetentionStart;
use super::protocol::ProtocolSupport;
use super::records::{GroupMetadata, MemberMetadata};
use super::request::{
    ClientIdentity, GroupDescription, GroupListing, HeartbeatRequest, MemberDescription, OffsetCommitRequest, Protocol,
    Reply, ReplyOutcome,
};
use super::state::{ClassicState, GroupState};
use super::subscription::{CONSUMER_PROTOCOL_TYPE, subscribed_topics};
use crate::coordinator::{CoordinatorRecord, Now, ReplyToken};

/// An action of a group for the machine of all groups.
#[derive(Debug)]
pub enum GroupAction {
    Reply(Reply),
    /// Write this as the group's record, and report the result with the purpose.
    Store {
        metadata: GroupMetadata,
        purpose: StorePurpose,
    },
    /// Append these records of a consumer group as one batch, and report the result.
    StoreRecords(Vec<CoordinatorRecord>),
    /// Compute the target of a consumer group, and report it.
    ComputeTarget(TargetInput),
}

/// The purpose of a write of the group's record, with the data to complete or undo it.
#[derive(Clone, Debug)]
pub enum StorePurpose {
    /// The leader's assignment of a generation.
    Assignment { generation: i32, assignments: BTreeMap<MemberId, Bytes> },
    /// A generation without members. A leave that caused it is answered after it.
    Empty { reply: Option<Reply> },
    /// A static member came back under a new id into a stable group.
    StaticReplaced(StaticReplacement),
}

/// The return of a static member, with the data to answer or undo it.
#[derive(Clone, Debug)]
pub struct StaticReplacement {
    token: ReplyToken,
    generation: i32,
    member: MemberId,
    replaced: MemberId,
    replaced_member: Box<MemberBefore>,
    leader_before: Option<MemberId>,
    supports_skip_assignment: bool,
}

/// The properties of a static member before its return.
#[derive(Clone, Debug)]
struct MemberBefore {
    session_timeout: Duration,
    rebalance_timeout: Duration,
    protocols: Vec<Protocol>,
}

/// The timer that ends the join phase.
#[derive(Clone, Copy, Debug)]
enum JoinTimer {
    /// The first members of an empty group wait for others. A member that joins meanwhile extends
    /// the wait, by at most `remaining` in all.
    Initial { at: Instant, delay: Duration, remaining: Duration },
    /// The time until which known members can join again.
    Rejoin { at: Instant },
}

impl JoinTimer {
    fn at(self) -> Instant {
        match self {
            Self::Initial { at, .. } | Self::Rejoin { at } => at,
        }
    }
}

/// A classic group. The module describes its rules.
#[derive(Debug)]
pub struct ClassicGroup {
    id: GroupId,
    config: Arc<GroupConfig>,
    state: ClassicState,
    /// The time when the group entered its state; none for groups from records of an old version.
    state_since: Option<Timestamp>,
    /// The rebalance began in an empty group: it lasts for its whole delay, even when all known
    /// members have joined.
    is_initial_rebalance: bool,
    /// A member has joined during the initial rebalance since its timer was last set.
    is_joined_during_delay: bool,
    protocol_type: Option<String>,
    protocol: Option<String>,
    generation: i32,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    static_members: BTreeMap<InstanceId, MemberId>,
    /// Ids that were handed out to members that have not joined yet, with the times at which the
    /// ids lapse.
    pending_members: BTreeMap<MemberId, Instant>,
    /// Members of this generation that have sent no sync yet.
    unsynced_members: BTreeSet<MemberId>,
    support: ProtocolSupport,
    /// Topics of all members; none if the group is not one of consumers, or if a subscription
    /// cannot be decoded.
    subscribed_topics: Option<BTreeSet<String>>,
    join_timer: Option<JoinTimer>,
    sync_deadline: Option<Instant>,
    /// The generation whose assignment is being written.
    storing_generation: Option<i32>,
    /// The number of returned static members that wait for the group's record.
    storing_replacements: usize,
    actions: VecDeque<GroupAction>,
}

impl ClassicGroup {
    /// A new group without members.
    #[must_use]
    pub fn new(id: GroupId, config: Arc<GroupConfig>, now: Timestamp) -> Self {
        Self {
            id,
            config,
            state: ClassicState::Empty,
            state_since: Some(now),
            is_initial_rebalance: false,
            is_joined_during_delay: false,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_members: BTreeMap::new(),
            unsynced_members: BTreeSet::new(),
            support: ProtocolSupport::default(),
            subscribed_topics: None,
            join_timer: None,
            sync_deadline: None,
            storing_generation: None,
            storing_replacements: 0,
            actions: VecDeque::new(),
        }
    }

    /// The group of a record: stable, or empty if it has no members. Call [`Self::activate`] when
    /// all records are replayed.
    #[must_use]
    pub fn from_metadata(id: GroupId, config: Arc<GroupConfig>, metadata: GroupMetadata) -> Self {
        let mut group = Self::new(id, config, metadata.state_since);
        group.state_since = (metadata.state_since != Timestamp::NONE).then_some(metadata.state_since);
        group.protocol_type = Some(metadata.protocol_type).filter(|text| !text.is_empty());
        group.generation = metadata.generation;
        if !metadata.members.is_empty() {
            group.state = ClassicState::Stable;
            group.protocol = Some(metadata.protocol.clone().unwrap_or_default());
        }
        for member in metadata.members {
            let session_timeout = milliseconds(member.session_timeout_ms);
            let is_without_rebalance_timeout = member.rebalance_timeout_ms == -1;
            let name = metadata.protocol.clone().unwrap_or_default();
            let loaded = Member {
                instance: member.instance.map(InstanceId::from),
                client: ClientIdentity { id: member.client_id, host: member.client_host },
                session_timeout,
                rebalance_timeout: if is_without_rebalance_timeout {
                    session_timeout
                } else {
                    milliseconds(member.rebalance_timeout_ms)
                },
                protocols: vec![Protocol { name, metadata: member.subscription }],
                assignment: member.assignment,
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
                session_deadline: None,
            };
            group.insert_member(MemberId::from(member.member), loaded);
        }
        if let Some(leader) = metadata.leader.map(MemberId::from).filter(|leader| group.members.contains_key(leader)) {
            group.leader = Some(leader);
        }
        group.subscribed_topics = group.read_subscriptions();
        group
    }

    /// Starts the timers of a loaded group: every member gets a whole session.
    pub fn activate(&mut self, now: Now) {
        for member in self.members.values_mut() {
            member.session_deadline = Some(now.instant.plus(member.session_timeout));
        }
        if self.members.len() > self.config.size_max {
            // The limit was lowered: all members commit their offsets and join again, and those
            // over the limit are refused.
            self.prepare_rebalance(now);
        }
    }

    #[must_use]
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    #[must_use]
    pub fn state(&self) -> ClassicState {
        self.state
    }

    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether the group has no members, and has handed out no member ids.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        matches!(self.state, ClassicState::Empty) && self.pending_members.is_empty()
    }

    /// The next action, in order.
    pub fn poll_action(&mut self) -> Option<GroupAction> {
        self.actions.pop_front()
    }

    /// The time of the next call of [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.members.values().filter_map(|member| member.session_deadline);
        let pending = self.pending_members.values().copied();
        let timers = self.join_timer.map(JoinTimer::at).into_iter().chain(self.sync_deadline);
        sessions.chain(pending).chain(timers).min()
    }

    /// Handles all timers that are due.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.join_timer.is_some_and(|timer| timer.at() <= now.instant) {
            self.end_join_wait(now);
        }
        if self.sync_deadline.is_some_and(|at| at <= now.instant) {
            self.drop_unsynced_members(now);
        }
        let is_due = |at: Instant| at <= now.instant;
        let lapsed: Vec<_> =
            self.pending_members.iter().filter(|(_, at)| is_due(**at)).map(|(id, _)| id.clone()).collect();
        for id in lapsed {
            self.pending_members.remove(&id);
            self.complete_join_if_all_rejoined(now);
        }
        let silent: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.session_deadline.is_some_and(is_due))
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            self.expire_session(now, &id);
        }
    }

    /// Heartbeat. Answered at once.
    pub fn handle_heartbeat(&mut self, now: Now, token: ReplyToken, request: &HeartbeatRequest) {
        let outcome = self.heartbeat(now, request);
        self.reply(token, ReplyOutcome::Heartbeat(outcome));
    }

    fn heartbeat(&mut self, now: Now, request: &HeartbeatRequest) -> Result<(), GroupError> {
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.validate_generation(&request.member, request.instance.as_ref(), request.generation)?;
        self.extend_session(now, &request.member);
        match self.state {
            ClassicState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Checks a commit of offsets against the group's members and generation. It extends the
    /// member's session.
    ///
    /// # Errors
    /// [`GroupError`] if the commit does not come from a member in the current generation, if the
    /// group waits for the assignment of its leader, or if it is being deleted.
    pub fn validate_commit(&mut self, now: Now, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if request.generation < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        if request.generation < 0 && request.member.is_empty() && request.instance.is_none() {
            // A consumer without membership may commit only where no member does.
            return Err(GroupError::UnknownMemberId);
        }
        self.validate_generation(&request.member, request.instance.as_ref(), request.generation)?;
        match self.state {
            ClassicState::CompletingRebalance => Err(GroupError::RebalanceInProgress),
            _ => {
                self.extend_session(now, &request.member);
                Ok(())
            }
        }
    }

    /// Checks a commit of offsets in a transaction. A commit without member and generation comes
    /// from an old producer, and is accepted as its epoch fences it; and a group that rebalances
    /// takes the offsets of the generation that ends (KIP-447).
    ///
    /// # Errors
    /// [`GroupError`] if the commit names a member that is not in the current generation, or if the
    /// group is being deleted.
    pub fn validate_transactional_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let is_unnamed = request.member.is_empty() && request.instance.is_none();
        if request.generation < 0 && (self.state == ClassicState::Empty || is_unnamed) {
            return Ok(());
        }
        self.validate_generation(&request.member, request.instance.as_ref(), request.generation)
    }

    /// Checks whether single offsets may be deleted: those of a group without members, or of a
    /// consumer group. The caller refuses topics that the group reads.
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`] for a group of another protocol type with members, and
    /// [`GroupError::GroupIdNotFound`] for one that is being deleted.
    pub fn validate_offset_delete(&self) -> Result<(), GroupError> {
        match self.state {
            ClassicState::Dead => Err(GroupError::GroupIdNotFound),
            ClassicState::Empty => Ok(()),
            _ if self.is_of_consumers() => Ok(()),
            _ => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Whether some member reads this topic. True for a consumer group whose subscriptions cannot
    /// be decoded.
    #[must_use]
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics.as_ref().map_or_else(|| self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// The start of the retention time of the group's offsets; none while no offset expires
    /// (KIP-211).
    pub(crate) fn retention_start(&self) -> Option<RetentionStart> {
        match (&self.protocol_type, self.state) {
            // Its tombstones are being written.
            (_, ClassicState::Dead) => None,
            (None, _) => Some(RetentionStart::Commit),
            (Some(_), ClassicState::Empty) => {
                Some(self.state_since.map_or(RetentionStart::Commit, RetentionStart::EmptySince))
            }
            (Some(_), ClassicState::Stable) if self.is_of_consumers() && self.subscribed_topics.is_some() => {
                Some(RetentionStart::Commit)
            }
            _ => None,
        }
    }

    /// Starts the deletion of a group without members. Until its tombstone is stored, the group
    /// refuses requests.
    ///
    /// # Errors
    /// [`GroupError::NonEmptyGroup`] if the group has members, and [`GroupError::GroupIdNotFound`]
    /// if its deletion has begun before.
    pub fn begin_deletion(&mut self, now: Now) -> Result<(), GroupError> {
        match self.state {
            ClassicState::Dead => Err(GroupError::GroupIdNotFound),
            ClassicState::Empty => {
                self.pending_members.clear();
                let since = self.state_since;
                self.enter(now, ClassicState::Dead);
                // A deletion that is undone must not restart the retention time of the group's
                // offsets.
                self.state_since = since;
                Ok(())
            }
            _ => Err(GroupError::NonEmptyGroup),
        }
    }

    /// Undoes a deletion whose tombstone was not stored.
    pub fn undo_deletion(&mut self, now: Now) {
        let since = self.state_since;
        self.enter(now, ClassicState::Empty);
        self.state_since = since;
    }

    #[must_use]
    pub fn description(&self) -> GroupDescription {
        let is_stable = self.state == ClassicState::Stable;
        let protocol = self.protocol.clone().filter(|_| is_stable).unwrap_or_default();
        let members = self
            .members
            .iter()
            .map(|(id, member)| MemberDescription {
                member: id.clone(),
                instance: member.instance.clone(),
                client: member.client.clone(),
                metadata: if is_stable { member.metadata(&protocol) } else { Bytes::new() },
                // This is the assignment of the last stored generation: the members keep it until
                // the rebalance ends.
                assignment: member.assignment.clone(),
            })
            .collect();
        GroupDescription {
            group: self.id.clone(),
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            members,
        }
    }

    #[must_use]
    pub fn listing(&self) -> GroupListing {
        GroupListing {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: GroupState::Classic(self.state),
        }
    }

    /// The group's record with these assignments. A member without one gets an empty assignment.
    fn metadata(&self, assignments: &BTreeMap<MemberId, Bytes>) -> GroupMetadata {
        let protocol = self.protocol.clone();
        let members = self
            .members
            .iter()
            .map(|(id, member)| MemberMetadata {
                member: id.as_str().to_owned(),
                instance: member.instance.as_ref().map(|instance| instance.as_str().to_owned()),
                client_id: member.client.id.clone(),
                client_host: member.client.host.clone(),
                rebalance_timeout_ms: milliseconds_i32(member.rebalance_timeout),
                session_timeout_ms: milliseconds_i32(member.session_timeout),
                subscription: protocol.as_deref().map(|name| member.metadata(name)).unwrap_or_default(),
                assignment: assignments.get(id).cloned().unwrap_or_default(),
            })
            .collect();
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol,
            leader: self.leader.as_ref().map(|leader| leader.as_str().to_owned()),
            state_since: self.state_since.unwrap_or(Timestamp::NONE),
            members,
        }
    }

    fn reply(&mut self, token: ReplyToken, outcome: ReplyOutcome) {
        self.actions.push_back(GroupAction::Reply(Reply { token, outcome }));
    }

    fn enter(&mut self, now: Now, next: ClassicState) {
        assert!(self.state.may_become(next), "a group never goes from {} to {next}", self.state);
        self.state = next;
        self.state_since = Some(now.wall);
    }

    fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    fn is_leader(&self, member: &MemberId) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// Checks that the member exists, and that a static member still holds its instance id.
    fn validate_member(&self, member: &MemberId, instance: Option<&InstanceId>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.static_members.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if current != member => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// Checks the member, and that it sends the current generation.
    fn validate_generation(
        &self,
        member: &MemberId,
        instance: Option<&InstanceId>,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.validate_member(member, instance)?;
        if generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }

    fn extend_session(&mut self, now: Now, member: &MemberId) {
        if let Some(member) = self.members.get_mut(member) {
            member.session_deadline = Some(now.instant.plus(member.session_timeout));
        }
    }

    /// The longest rebalance timeout of all members.
    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Whether every known member waits in a join.
    fn is_everyone_joined(&self) -> bool {
        self.pending_members.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    fn insert_member(&mut self, id: MemberId, member: Member) {
        // Only a damaged record names a member or an instance id twice; the last one counts.
        self.forget_member(&id);
        if let Some(instance) = &member.instance {
            if let Some(holder) = self.static_members.get(instance).cloned() {
                self.forget_member(&holder);
            }
            self.static_members.insert(instance.clone(), id.clone());
        }
        self.support.add(&member.protocols);
        self.members.insert(id.clone(), member);
        self.pending_members.remove(&id);
        if self.leader.is_none() {
            self.leader = Some(id);
        }
    }

    /// Removes a member and all references to it. The caller answers the member's waiting requests.
    fn forget_member(&mut self, id: &MemberId) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.support.remove(&member.protocols);
        if let Some(instance) = &member.instance {
            self.static_members.remove(instance);
        }
        self.unsynced_members.remove(id);
        if self.unsynced_members.is_empty() {
            self.sync_deadline = None;
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.append(&mut subscribed_topics(&member.metadata(protocol)).ok()?);
        }
        Some(topics)
    }
}

fn milliseconds(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests;
