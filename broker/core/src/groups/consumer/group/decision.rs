//! One decision of a group: several heartbeats and timeouts together, from their draft to the
//! result of the append.

use std::collections::BTreeSet;
use std::time::Duration;

use rustmq_model::Instant;

use super::{
    ASSIGNING_MAX, ConsumerGroup, DRAFT_HEARTBEATS_MAX, InFlight, PATTERNS_MAX, REFRESH_RETRY, RETRY, Stage, Waiting,
    encode, take_back,
};
use crate::coordinator::{AppendId, CoordinatorRecord, Now, TaskId};
use crate::groups::classic::GroupAction;
use crate::groups::config::GroupConfig;
use crate::groups::consumer::draft::{Accepted, Draft};
use crate::groups::consumer::image::{Change, GroupImage, Undo};
use crate::groups::consumer::member_request::MemberRequest;
use crate::groups::consumer::target::{ComputedTarget, TargetInput, preferred_assignor};
use crate::groups::error::GroupError;
use crate::groups::identity::MemberId;
use crate::groups::request::{Reply, ReplyOutcome};

/// The heartbeats and timeouts of one decision, and the changes that they make.
#[derive(Debug)]
struct Decision {
    batch: Vec<Waiting>,
    /// The progress of each request of the batch.
    accepted: Vec<Accepted>,
    /// The members whose time was over.
    due: Vec<MemberId>,
    is_refresh: bool,
    changes: Vec<Change>,
    undo: Vec<Undo>,
}

/// A decision that waits for the group's new target.
#[derive(Debug)]
pub(super) struct Assigning {
    decision: Decision,
    /// The task that computes the target, once it is started. Other tasks compute for decisions
    /// that were given up.
    task: Option<TaskId>,
    deadline: Instant,
}

impl Assigning {
    pub(super) fn undo(&self) -> &[Undo] {
        &self.decision.undo
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.decision.batch.len()
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// The records of a decision do not fit in one batch. The image is as it was before.
struct TooLarge(Box<Decision>);

impl ConsumerGroup {
    /// Decides all that waits, one decision at a time.
    pub(super) fn advance(&mut self, now: Now) {
        while self.is_idle() && !self.is_deleting {
            let due = self.due_members(now);
            let is_refresh_due = self.refresh_at.is_some_and(|at| at <= now.instant);
            if due.is_empty() && self.queue.is_empty() && !is_refresh_due {
                return;
            }
            let most = self.batch_max.unwrap_or(DRAFT_HEARTBEATS_MAX);
            let batch: Vec<Waiting> = self.queue.drain(..most.min(self.queue.len())).collect();
            self.begin(now, due, batch);
        }
    }

    /// Drafts the changes of heartbeats, and of members whose time is over. Completes the decision,
    /// or asks for the target that it needs.
    fn begin(&mut self, now: Now, due: Vec<MemberId>, batch: Vec<Waiting>) {
        let config = &self.config.consumer;
        let mut patterns = known_patterns(&self.image, &batch);
        let mut draft = Draft::new(&mut self.image);
        due.iter().for_each(|member| draft.fence(member));
        let accept = |Waiting { request, .. }: &Waiting| match check_pattern_count(&mut patterns, request.pattern()) {
            Ok(()) => draft.accept(request, config),
            Err(error) => Accepted::Answered(request.refused(error)),
        };
        let accepted = batch.iter().map(accept).collect();
        let needs_epoch = draft.needs_epoch();
        let Draft { changes, undo, .. } = draft;
        let is_refresh = self.refresh_at.is_some_and(|at| needs_epoch || at <= now.instant);
        if is_refresh {
            self.refresh_at = None;
        }
        let decision = Decision { batch, accepted, due, is_refresh, changes, undo };
        if needs_epoch || is_refresh {
            self.assign(now, decision, needs_epoch);
        } else {
            self.complete(now, decision, None);
        }
    }

    fn assign(&mut self, now: Now, decision: Decision, needs_epoch: bool) {
        let known_hash = match self.image.epoch() {
            // A group without an epoch has had no members.
            _ if needs_epoch => None,
            epoch => Some(epoch.map_or(0, |group| group.metadata_hash)),
        };
        let assignor = preferred_assignor(&self.image, &self.config.consumer.assignors);
        let input = TargetInput::of(&self.image, &self.catalogue, &self.patterns, assignor, known_hash);
        let deadline = now.instant.plus(ASSIGNING_MAX);
        self.stage = Stage::Assigning(Box::new(Assigning { decision, task: None, deadline }));
        self.actions.push_back(GroupAction::ComputeTarget(input));
    }

    /// The task has begun that computes the target of the decision on its way.
    pub(crate) fn on_target_started(&mut self, task: TaskId) {
        if let Stage::Assigning(assigning) = &mut self.stage {
            assigning.task = Some(task);
        }
    }

    /// A task has ended; without a target if its result is lost.
    pub(crate) fn on_target(&mut self, now: Now, task: TaskId, target: Option<ComputedTarget>) {
        if !matches!(&self.stage, Stage::Assigning(assigning) if assigning.task == Some(task)) {
            return;
        }
        match target {
            None => self.on_target_lost(now),
            Some(target) => {
                if let Stage::Assigning(assigning) = self.leave_stage() {
                    self.complete(now, assigning.decision, Some(target));
                }
            }
        }
        self.advance(now);
    }

    fn leave_stage(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Idle)
    }

    /// Gives up the decision whose target does not come.
    pub(super) fn on_target_lost(&mut self, now: Now) {
        let Stage::Assigning(assigning) = self.leave_stage() else { return };
        let Decision { batch, due, undo, .. } = assigning.decision;
        take_back(&mut self.image, undo);
        self.postpone(now, &due);
        self.refresh_after(now, RETRY);
        for Waiting { token, request } in batch {
            self.reply(token, request.refused(GroupError::CoordinatorNotAvailable));
        }
        self.match_timers_to_image(now);
    }

    fn complete(&mut self, now: Now, decision: Decision, target: Option<ComputedTarget>) {
        match self.finish(now, decision, target) {
            Ok(()) => self.batch_max = None,
            Err(TooLarge(decision)) => self.try_smaller(now, *decision),
        }
    }

    /// Takes the next step of each member that has sent a heartbeat, and appends all changes.
    fn finish(&mut self, now: Now, decision: Decision, target: Option<ComputedTarget>) -> Result<(), TooLarge> {
        let Decision { batch, accepted, due, is_refresh, changes, undo } = decision;
        let mut draft = Draft::resume(&mut self.image, changes, undo);
        if let Some(target) = target {
            if !target.catalogue.is_older_than(&self.catalogue) {
                self.patterns = target.patterns;
            }
            if let Some(changed) = target.changed {
                draft.renew_target(now, target.hash, changed);
            }
        }
        let step = |(waiting, accepted): (&Waiting, &Accepted)| outcome(&mut draft, waiting, accepted, &self.config);
        let outcomes: Vec<ReplyOutcome> = batch.iter().zip(&accepted).map(step).collect();
        let Draft { changes, undo, .. } = draft;
        let records = encode(self.id.as_str(), &changes);
        let bytes: usize = records.iter().flatten().map(CoordinatorRecord::size).sum();
        let Some(records) = records.filter(|_| bytes <= self.config.batch_bytes_max) else {
            take_back(&mut self.image, undo);
            let (changes, undo) = (Vec::new(), Vec::new());
            return Err(TooLarge(Box::new(Decision { batch, accepted, due, is_refresh, changes, undo })));
        };
        self.update_timers(now, &changes);
        if changes.iter().any(|change| matches!(change, Change::Member(_, None))) {
            self.drop_timers_of_the_gone();
        }
        let mut replies = Vec::with_capacity(batch.len());
        for (Waiting { token, request }, outcome) in batch.into_iter().zip(outcomes) {
            match (&request, &outcome) {
                (MemberRequest::Heartbeat(request), ReplyOutcome::ConsumerHeartbeat(Ok(_))) if !request.is_leave() => {
                    self.extend_session(now, request);
                }
                (MemberRequest::Join(join), ReplyOutcome::Join(Ok(_))) => self.await_sync(now, &join.member),
                _ => {}
            }
            replies.push(Reply { token, outcome });
        }
        if records.is_empty() {
            self.actions.extend(replies.into_iter().map(GroupAction::Reply));
        } else {
            self.stage = Stage::Storing(Box::new(InFlight { changes, undo, replies }));
            self.actions.push_back(GroupAction::StoreRecords(records));
        }
        Ok(())
    }

    /// A batch that is too large is tried in halves. One heartbeat that is too large by itself is
    /// refused, and a fence or a refresh that is too large comes again later.
    fn try_smaller(&mut self, now: Now, decision: Decision) {
        let Decision { mut batch, due, is_refresh, .. } = decision;
        if batch.len() > 1 {
            self.batch_max = Some(batch.len() / 2);
            batch.into_iter().rev().for_each(|waiting| self.queue.push_front(waiting));
            if is_refresh {
                self.refresh_after(now, Duration::ZERO);
            }
            return;
        }
        self.batch_max = None;
        self.postpone(now, &due);
        if is_refresh {
            self.refresh_after(now, REFRESH_RETRY);
        }
        if let Some(waiting) = batch.pop() {
            self.reply(waiting.token, waiting.request.refused(GroupError::RecordTooLarge));
        }
        self.match_timers_to_image(now);
    }

    /// The topics are compared a little later. A group without members reads none.
    fn refresh_after(&mut self, now: Now, delay: Duration) {
        self.refresh_at = (!self.image.members().is_empty()).then(|| now.instant.plus(delay));
    }

    pub(crate) fn on_committed(&mut self, now: Now, append: AppendId) {
        if let Stage::Storing(in_flight) = self.leave_stage() {
            let InFlight { changes, replies, .. } = *in_flight;
            for change in &changes {
                self.image.set_stored_by(change, append);
            }
            self.actions.extend(replies.into_iter().map(GroupAction::Reply));
            self.advance(now);
        }
    }

    /// The append is lost: nothing has been decided.
    pub(crate) fn on_failed(&mut self, now: Now, error: &GroupError) {
        let Stage::Storing(in_flight) = self.leave_stage() else { return };
        let InFlight { undo, replies, .. } = *in_flight;
        take_back(&mut self.image, undo);
        for Reply { token, outcome } in replies {
            self.reply(token, failed(&outcome, error));
        }
        self.drop_timers_of_the_gone();
        self.match_timers_to_image(now);
        self.refresh_after(now, RETRY);
        // The queue waits for the next input: the log may take no appends now.
        let waiting = std::mem::take(&mut self.queue);
        for Waiting { token, request } in waiting {
            self.reply(token, request.refused(error.clone()));
        }
    }
}

/// The patterns of a group's members, if a heartbeat states one.
fn known_patterns(image: &GroupImage, batch: &[Waiting]) -> BTreeSet<String> {
    let subscriptions = image.members().values().filter_map(|member| member.subscription());
    let patterns = subscriptions.filter_map(|subscription| subscription.regex.clone());
    if batch.iter().any(|waiting| waiting.request.pattern().is_some()) { patterns.collect() } else { BTreeSet::new() }
}

/// A group has a bounded number of patterns. One that a heartbeat of the same batch replaces counts
/// as well.
fn check_pattern_count(patterns: &mut BTreeSet<String>, pattern: Option<&str>) -> Result<(), GroupError> {
    let Some(pattern) = pattern else { return Ok(()) };
    if patterns.contains(pattern) {
        return Ok(());
    }
    if patterns.len() >= PATTERNS_MAX {
        let reason = format!("the group has {PATTERNS_MAX} other patterns");
        return Err(GroupError::InvalidRegularExpression { reason });
    }
    patterns.insert(pattern.to_owned());
    Ok(())
}

/// The answer to a request, with the next step of its member.
fn outcome(draft: &mut Draft<'_>, waiting: &Waiting, accepted: &Accepted, config: &GroupConfig) -> ReplyOutcome {
    match (accepted, &waiting.request) {
        (Accepted::Answered(outcome), _) => outcome.clone(),
        (Accepted::Member, MemberRequest::Heartbeat(request)) => {
            ReplyOutcome::ConsumerHeartbeat(draft.reconcile(request, &config.consumer))
        }
        (Accepted::Member, MemberRequest::Join(join)) => ReplyOutcome::Join(draft.reconcile_classic(join)),
        (Accepted::Member, request @ MemberRequest::Leave(_)) => request.refused(GroupError::UnknownMemberId),
    }
}

/// The answer to a request whose append is lost.
fn failed(outcome: &ReplyOutcome, error: &GroupError) -> ReplyOutcome {
    match outcome {
        ReplyOutcome::Join(_) => ReplyOutcome::Join(Err(error.clone())),
        ReplyOutcome::Leave(_) => ReplyOutcome::Leave(Err(error.clone())),
        _ => ReplyOutcome::ConsumerHeartbeat(Err(error.clone())),
    }
}
