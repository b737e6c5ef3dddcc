//! The decisions of one append: what several heartbeats change together.
//!
//! Changes apply to the image at once, so that a later heartbeat of the same append sees those of
//! an earlier one. The draft keeps the way back.

mod classic;

use std::sync::Arc;
use std::time::Duration;

use super::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use super::image::{Change, GroupImage, Undo};
use super::member::{CurrentAssignment, LEFT_STATIC_EPOCH, MemberState, MemberSubscription};
use super::member_request::MemberRequest;
use super::partitions::{Assignment, OwnedPartitions};
use super::reconcile::{Target, next_assignment};
use super::records::{GroupEpoch, TargetEpoch};
use super::target::preferred_assignor;
use crate::coordinator::Now;
use crate::groups::config::ConsumerGroupConfig;
use crate::groups::error::GroupError;
use crate::groups::identity::{InstanceId, MemberId};
use crate::groups::request::ReplyOutcome;

/// A request whose member still needs its assignment, or that has its answer.
#[derive(Debug)]
pub(super) enum Accepted {
    Member,
    Answered(ReplyOutcome),
}

#[derive(Debug)]
pub(super) struct Draft<'a> {
    image: &'a mut GroupImage,
    pub(super) changes: Vec<Change>,
    pub(super) undo: Vec<Undo>,
    /// Members or their subscriptions have changed: the group needs a new epoch.
    needs_epoch: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(image: &'a mut GroupImage) -> Self {
        Self { image, changes: Vec::new(), undo: Vec::new(), needs_epoch: false }
    }

    /// Goes on with a draft whose changes are in the image already.
    pub(super) const fn resume(image: &'a mut GroupImage, changes: Vec<Change>, undo: Vec<Undo>) -> Self {
        Self { image, changes, undo, needs_epoch: false }
    }

    fn change(&mut self, change: Change) {
        self.undo.push(self.image.apply(change.clone(), None));
        self.changes.push(change);
    }

    /// Takes a request: finds or makes its member, and updates the member's data.
    pub(super) fn accept(&mut self, request: &MemberRequest, config: &ConsumerGroupConfig) -> Accepted {
        let accepted = match request {
            MemberRequest::Heartbeat(request) if request.is_leave() => {
                self.leave(request).map(|answer| Accepted::Answered(ReplyOutcome::ConsumerHeartbeat(Ok(answer))))
            }
            MemberRequest::Heartbeat(request) => self.accept_heartbeat(request, config).map(|()| Accepted::Member),
            MemberRequest::Join(join) => self.accept_join(join, config).map(|()| Accepted::Member),
            MemberRequest::Leave(request) => {
                Ok(Accepted::Answered(ReplyOutcome::Leave(Ok(self.leave_classic(request)))))
            }
        };
        accepted.unwrap_or_else(|error| Accepted::Answered(request.refused(error)))
    }

    fn accept_heartbeat(
        &mut self,
        request: &ConsumerHeartbeat,
        config: &ConsumerGroupConfig,
    ) -> Result<(), GroupError> {
        let is_known = self.image.members().contains_key(&request.member)
            || request.instance.as_ref().is_some_and(|instance| self.image.member_of_instance(instance).is_some());
        if !is_known && request.is_join() && self.image.members().len() >= config.size_max {
            return Err(GroupError::GroupMaxSizeReached { size_max: config.size_max });
        }
        let is_new = match &request.instance {
            None => self.find_dynamic(request)?,
            Some(instance) => self.find_static(request, instance)?,
        };
        let none = Arc::default();
        let before = self.image.members().get(&request.member).and_then(|member| member.subscription());
        let before: Arc<MemberSubscription> = Arc::clone(before.unwrap_or(&none));
        let after = request.update(&before);
        self.update(&request.member, is_new, after, config);
        Ok(())
    }

    /// Stores the subscription of a member if it has changed.
    fn update(&mut self, id: &MemberId, is_new: bool, after: MemberSubscription, config: &ConsumerGroupConfig) {
        let none = Arc::default();
        let before = self.image.members().get(id).and_then(|member| member.subscription());
        let before: Arc<MemberSubscription> = Arc::clone(before.unwrap_or(&none));
        if is_new || *before != after {
            let preferred = preferred_assignor(self.image, &config.assignors);
            self.needs_epoch |= is_new || before.topics != after.topics || before.regex != after.regex;
            self.change(Change::Member(id.clone(), Some(Arc::new(after))));
            self.needs_epoch |= preferred != preferred_assignor(self.image, &config.assignors);
        }
    }

    /// Whether the member is new.
    fn find_dynamic(&self, request: &ConsumerHeartbeat) -> Result<bool, GroupError> {
        match self.image.members().get(&request.member) {
            None if request.is_join() => Ok(true),
            None => Err(GroupError::UnknownMemberId),
            Some(member) => check_epoch(request, member.current().map(AsRef::as_ref)).map(|()| false),
        }
    }

    /// A static member that comes back under a new id takes the place of the old one.
    fn find_static(&mut self, request: &ConsumerHeartbeat, instance: &InstanceId) -> Result<bool, GroupError> {
        let Some(holder) = self.image.member_of_instance(instance).cloned() else {
            return if request.is_join() {
                Ok(!self.image.members().contains_key(&request.member))
            } else {
                Err(GroupError::UnknownMemberId)
            };
        };
        let member = &self.image.members()[&holder];
        let current = member.current().cloned();
        if !request.is_join() {
            if holder != request.member {
                return Err(GroupError::FencedInstanceId);
            }
            return check_epoch(request, current.as_deref()).map(|()| false);
        }
        let has_left = current.as_ref().is_none_or(|current| current.epoch == LEFT_STATIC_EPOCH);
        if holder == request.member && !has_left {
            return Ok(false);
        }
        let is_classic = member.subscription().is_some_and(|subscription| subscription.classic.is_some());
        if !has_left && !is_classic {
            return Err(GroupError::UnreleasedInstanceId);
        }
        self.take_over(&holder, &request.member);
        Ok(false)
    }

    /// Gives the place of a static member to its new id.
    fn take_over(&mut self, holder: &MemberId, id: &MemberId) {
        let Some(member) = self.image.members().get(holder).cloned() else { return };
        if holder != id {
            self.remove(holder);
        }
        self.change(Change::Member(id.clone(), member.subscription().cloned()));
        self.change(Change::Target(id.clone(), member.target().cloned()));
        let current = member.current().map(|it| CurrentAssignment { epoch: 0, previous_epoch: 0, ..(**it).clone() });
        self.change(Change::Current(id.clone(), current.map(Arc::new)));
    }

    fn leave(&mut self, request: &ConsumerHeartbeat) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        if let Some(instance) = &request.instance {
            let holder = self.image.member_of_instance(instance).ok_or(GroupError::UnknownMemberId)?;
            if *holder != request.member {
                return Err(GroupError::FencedInstanceId);
            }
        }
        let member = self.image.members().get(&request.member).ok_or(GroupError::UnknownMemberId)?;
        if request.is_temporary_leave() {
            let joining = CurrentAssignment::joining();
            let current = member.current().map_or(&joining, AsRef::as_ref);
            let left =
                CurrentAssignment { epoch: LEFT_STATIC_EPOCH, revoking: OwnedPartitions::default(), ..current.clone() };
            self.change(Change::Current(request.member.clone(), Some(Arc::new(left))));
        } else {
            self.fence(&request.member);
        }
        Ok(ConsumerHeartbeatAnswer {
            member: request.member.clone(),
            epoch: request.epoch,
            interval: Duration::ZERO,
            assignment: None,
        })
    }

    /// Removes a member, whose partitions are free from now on.
    pub(super) fn fence(&mut self, member: &MemberId) {
        if self.image.members().contains_key(member) {
            self.remove(member);
            self.needs_epoch = true;
        }
    }

    fn remove(&mut self, id: &MemberId) {
        let Some(member) = self.image.members().get(id) else { return };
        let parts = [
            member.current().map(|_| Change::Current(id.clone(), None)),
            member.target().map(|_| Change::Target(id.clone(), None)),
            member.subscription().map(|_| Change::Member(id.clone(), None)),
        ];
        parts.into_iter().flatten().for_each(|change| self.change(change));
    }

    /// Whether the group needs a new epoch because of the members.
    pub(super) const fn needs_epoch(&self) -> bool {
        self.needs_epoch
    }

    /// Starts a new epoch, in which the targets of these members change.
    pub(super) fn renew_target(&mut self, now: Now, metadata_hash: i64, changed: Vec<(MemberId, Arc<Assignment>)>) {
        let epoch = self.image.epoch().map_or(0, |group| group.epoch).saturating_add(1);
        self.change(Change::Group(Some(GroupEpoch { epoch, metadata_hash })));
        for (id, target) in changed {
            self.change(Change::Target(id, Some(target)));
        }
        self.change(Change::TargetEpoch(Some(TargetEpoch { epoch, computed_at: now.wall })));
    }

    /// Takes the member's next step, and answers the heartbeat.
    pub(super) fn reconcile(
        &mut self,
        request: &ConsumerHeartbeat,
        config: &ConsumerGroupConfig,
    ) -> Result<ConsumerHeartbeatAnswer, GroupError> {
        let (before, next) = self.step(&request.member, request.owned.as_ref())?;
        let assigned = next.assigned.assignment();
        let is_shown = request.is_full() || assigned != before.assigned.assignment();
        Ok(ConsumerHeartbeatAnswer {
            member: request.member.clone(),
            epoch: next.epoch,
            interval: request.timing(config).interval,
            assignment: is_shown.then_some(assigned),
        })
    }

    /// Takes the next step of a member that states these partitions. Returns its assignments before
    /// and after.
    fn step(
        &mut self,
        id: &MemberId,
        owned: Option<&Assignment>,
    ) -> Result<(Arc<CurrentAssignment>, Arc<CurrentAssignment>), GroupError> {
        let none = Assignment::default();
        // A later request of the same append may have removed the member.
        let member = self.image.members().get(id).ok_or(GroupError::UnknownMemberId)?;
        let before = member.current().cloned().unwrap_or_else(|| Arc::new(CurrentAssignment::joining()));
        let target =
            Target { epoch: self.image.target_epoch(), assignment: member.target().map_or(&none, AsRef::as_ref) };
        let is_free = |topic, partition| self.image.owner(topic, partition).is_none_or(|it| it == id);
        let next = Arc::new(next_assignment(&before, target, owned, is_free)?);
        if next != before || member.current().is_none() {
            self.change(Change::Current(id.clone(), Some(Arc::clone(&next))));
        }
        Ok((before, next))
    }
}

/// A member states its epoch. It may state the one before if the answer with the new one was lost
/// and it has nothing but what it was given.
fn check_epoch(request: &ConsumerHeartbeat, current: Option<&CurrentAssignment>) -> Result<(), GroupError> {
    let Some(current) = current else { return Ok(()) };
    if request.is_join() || request.epoch == current.epoch {
        return Ok(());
    }
    let is_subset = |owned: &Assignment| owned.iter().all(|(topic, id)| current.assigned.epoch(topic, id).is_some());
    let is_retry = request.epoch < current.epoch
        && request.epoch == current.previous_epoch
        && request.owned.as_ref().is_some_and(is_subset);
    if is_retry { Ok(()) } else { Err(GroupError::FencedMemberEpoch) }
}

/// Whether the member has to revoke partitions.
pub(super) fn is_revoking(current: &CurrentAssignment) -> bool {
    current.state == MemberState::UnrevokedPartitions
}
