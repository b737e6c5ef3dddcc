//! One consumer group: its heartbeats, its timeouts, and the one append that it has in flight.
//!
//! ```text
//!   heartbeats --> queue --> draft --> append --> committed: answers
//!   timeouts, topics ----------^          '-----> failed: the image goes back, errors
//! ```
//! While an append is in flight, heartbeats that may change something wait in the queue; then they
//! are decided together, in one append. So memory never has decisions that stand on a lost append,
//! and a storm of joins computes few assignments.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustmq_model::{Instant, TopicName};

use super::deadlines::Deadlines;
use super::draft::{Accepted, Draft, is_revoking};
use super::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use super::image::{Change, GroupImage, MemberImage, Undo};
use super::member::{CurrentAssignment, MemberState};
use super::target::ResolvedPatterns;
use super::topics::TopicCatalogue;
use crate::coordinator::{AppendId, CoordinatorRecord, Now, ReplyToken, RewritePoint};
use crate::groups::classic::GroupAction;
use crate::groups::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::identity::{GroupId, MemberId};
use crate::groups::request::{OffsetCommit, OffsetCommitRequest, Reply, ReplyOutcome};
use crate::groups::state::ConsumerState;

/// The most patterns of a group's members that are distinct.
const PATTERNS_MAX: usize = 100;
/// The most heartbeats that one append decides.
const DRAFT_HEARTBEATS_MAX: usize = 1000;
/// The next attempt to fence a member after the append that did so has failed.
const FENCE_RETRY: Duration = Duration::from_secs(1);

/// A heartbeat that waits for the append in flight.
#[derive(Debug)]
struct Waiting {
    token: ReplyToken,
    request: ConsumerHeartbeat,
}

#[derive(Debug)]
struct InFlight {
    changes: Vec<Change>,
    undo: Vec<Undo>,
    replies: Vec<Reply>,
}

/// A consumer group. The module describes how it decides.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    id: GroupId,
    config: Arc<GroupConfig>,
    catalogue: TopicCatalogue,
    patterns: ResolvedPatterns,
    image: GroupImage,
    in_flight: Option<InFlight>,
    queue: VecDeque<Waiting>,
    sessions: Deadlines,
    rebalances: Deadlines,
    /// Topics have changed since the group's epoch was last compared with them.
    is_refresh_due: bool,
    is_deleting: bool,
    actions: VecDeque<GroupAction>,
}

impl ConsumerGroup {
    pub(crate) fn new(id: GroupId, config: Arc<GroupConfig>, catalogue: TopicCatalogue) -> Self {
        Self {
            id,
            config,
            catalogue,
            patterns: ResolvedPatterns::default(),
            image: GroupImage::default(),
            in_flight: None,
            queue: VecDeque::new(),
            sessions: Deadlines::default(),
            rebalances: Deadlines::default(),
            is_refresh_due: false,
            is_deleting: false,
            actions: VecDeque::new(),
        }
    }

    pub(crate) const fn id(&self) -> &GroupId {
        &self.id
    }

    pub(crate) const fn image(&self) -> &GroupImage {
        &self.image
    }

    /// The image without the changes of the append in flight.
    pub(super) fn committed_image(&self) -> Cow<'_, GroupImage> {
        match &self.in_flight {
            None => Cow::Borrowed(&self.image),
            Some(in_flight) => {
                let mut image = self.image.clone();
                take_back(&mut image, in_flight.undo.clone());
                Cow::Owned(image)
            }
        }
    }

    pub(super) fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// Applies a record of the log.
    pub(crate) fn replay(&mut self, change: Change) {
        self.image.apply(change, None);
    }

    /// Starts the timers of a loaded group: every member gets a whole session, and a whole time to
    /// revoke partitions. The topics are looked at when the driver reports them.
    pub(crate) fn activate(&mut self, now: Now) {
        self.match_timers_to_image(now);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.image.members().is_empty()
    }

    /// Whether the group has no members, and none on their way.
    pub(crate) fn is_unused(&self) -> bool {
        self.is_empty() && self.in_flight.is_none() && !self.is_deleting
    }

    /// Whether nothing is left of the group, and nothing is on its way.
    pub(crate) fn is_blank(&self) -> bool {
        self.image.is_blank() && self.in_flight.is_none() && self.queue.is_empty() && !self.is_deleting
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.queue.len() + self.in_flight.as_ref().map_or(0, |in_flight| in_flight.replies.len())
    }

    pub(crate) fn state(&self) -> ConsumerState {
        self.state_of(&self.committed_image())
    }

    pub(super) fn state_of(&self, image: &GroupImage) -> ConsumerState {
        let target_epoch = image.target_epoch();
        let is_reconciled = |current: Option<&Arc<CurrentAssignment>>| {
            current.is_some_and(|it| it.state == MemberState::Stable && it.epoch == target_epoch)
        };
        if self.is_deleting {
            ConsumerState::Dead
        } else if image.members().is_empty() {
            ConsumerState::Empty
        } else if image.epoch().is_some_and(|group| group.epoch > target_epoch) {
            ConsumerState::Assigning
        } else if image.members().values().all(|member| is_reconciled(member.current())) {
            ConsumerState::Stable
        } else {
            ConsumerState::Reconciling
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<GroupAction> {
        self.actions.pop_front()
    }

    /// The time of the next call of [`Self::handle_timeout`]. There is none while an append is in
    /// flight: its result comes first.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.in_flight.is_some() || self.is_deleting {
            return None;
        }
        let refresh = self.is_refresh_due.then_some(Instant::from_nanos(0));
        [refresh, self.sessions.first(), self.rebalances.first()].into_iter().flatten().min()
    }

    /// Fences the members whose session or rebalance timeout is over, and compares the topics.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        self.advance(now);
    }

    /// Takes a heartbeat whose own checks have passed.
    pub(crate) fn handle_heartbeat(&mut self, now: Now, token: ReplyToken, request: ConsumerHeartbeat) {
        if self.is_deleting {
            self.reply(token, Err(GroupError::CoordinatorNotAvailable));
        } else if self.in_flight.is_some()
            && let Some(answer) = self.answer_of_stable(&request)
        {
            self.extend_session(now, &request);
            self.reply(token, Ok(answer));
        } else {
            self.queue.push_back(Waiting { token, request });
            self.advance(now);
        }
    }

    /// The answer to a keepalive of a member that has its whole target. It needs no decision.
    fn answer_of_stable(&self, request: &ConsumerHeartbeat) -> Option<ConsumerHeartbeatAnswer> {
        let member = self.image.members().get(&request.member)?;
        let current = member.current()?;
        let is_same = member.subscription()?.instance == request.instance || request.instance.is_none();
        let is_stable = current.state == MemberState::Stable
            && current.epoch == request.epoch
            && current.epoch == self.image.target_epoch();
        (request.is_keepalive() && is_same && is_stable).then(|| ConsumerHeartbeatAnswer {
            member: request.member.clone(),
            epoch: request.epoch,
            interval: request.timing(&self.config.consumer).interval,
            assignment: None,
        })
    }

    /// Topics have changed, of all if `changed` is none. The group looks at them in its next
    /// timeout, if some member reads them.
    pub(crate) fn on_topics_changed(&mut self, catalogue: &TopicCatalogue, changed: Option<&[TopicName]>) {
        self.catalogue = catalogue.clone();
        self.patterns.clear();
        let is_read = |topic: &TopicName| {
            self.image
                .members()
                .values()
                .filter_map(|member| member.subscription())
                .any(|subscription| subscription.regex.is_some() || subscription.topics.contains(topic.as_str()))
        };
        self.is_refresh_due |=
            !self.image.members().is_empty() && changed.is_none_or(|changed| changed.iter().any(is_read));
    }

    /// Decides all that waits, one append at a time.
    fn advance(&mut self, now: Now) {
        let mut most = DRAFT_HEARTBEATS_MAX;
        while self.in_flight.is_none() {
            let mut due = self.sessions.due(now.instant);
            due.extend(self.rebalances.due(now.instant));
            if due.is_empty() && self.queue.is_empty() && !self.is_refresh_due {
                return;
            }
            let batch: Vec<Waiting> = self.queue.drain(..most.min(self.queue.len())).collect();
            if let Err(batch) = self.decide(now, &due, batch) {
                most = (batch.len() / 2).max(1);
                self.too_large(now, &due, batch);
            }
        }
    }

    /// Decides a batch of heartbeats together with the fencing of members. Returns the batch if its
    /// records are too large, with the image as it was.
    fn decide(&mut self, now: Now, due: &[MemberId], batch: Vec<Waiting>) -> Result<(), Vec<Waiting>> {
        let config = &self.config.consumer;
        let mut draft = Draft::new(&mut self.image);
        due.iter().for_each(|member| draft.fence(member));
        let mut accepted = Vec::with_capacity(batch.len());
        for waiting in &batch {
            let pattern = waiting.request.regex.as_deref().filter(|pattern| !pattern.is_empty());
            let is_over = self.patterns.len() >= PATTERNS_MAX;
            accepted.push(match pattern.filter(|pattern| is_over && !self.patterns.has(pattern)) {
                Some(_) => Err(GroupError::InvalidRegularExpression {
                    reason: format!("the group has {PATTERNS_MAX} other patterns"),
                }),
                None => draft.accept(&waiting.request, config),
            });
        }
        if draft.needs_epoch() || self.is_refresh_due {
            let topics = draft.subscribed_topics(&self.catalogue, &mut self.patterns);
            draft.renew_target(now, &topics, config);
        }
        let outcomes: Vec<Result<ConsumerHeartbeatAnswer, GroupError>> = batch
            .iter()
            .zip(accepted)
            .map(|(waiting, accepted)| match accepted? {
                Accepted::Left(answer) => Ok(answer),
                Accepted::Member => draft.reconcile(&waiting.request, config),
            })
            .collect();
        let Draft { changes, undo, .. } = draft;
        let records = encode(self.id.as_str(), &changes);
        let bytes: usize = records.iter().flatten().map(CoordinatorRecord::size).sum();
        let Some(records) = records.filter(|_| bytes <= self.config.batch_bytes_max) else {
            take_back(&mut self.image, undo);
            return Err(batch);
        };
        self.is_refresh_due = false;
        self.update_timers(now, &changes);
        if changes.iter().any(|change| matches!(change, Change::Member(_, None))) {
            self.drop_timers_of_the_gone();
        }
        let mut replies = Vec::with_capacity(batch.len());
        for (Waiting { token, request }, outcome) in batch.into_iter().zip(outcomes) {
            if outcome.is_ok() && !request.is_leave() {
                self.extend_session(now, &request);
            }
            replies.push(Reply { token, outcome: ReplyOutcome::ConsumerHeartbeat(outcome) });
        }
        if records.is_empty() {
            self.actions.extend(replies.into_iter().map(GroupAction::Reply));
        } else {
            self.in_flight = Some(InFlight { changes, undo, replies });
            self.actions.push_back(GroupAction::StoreRecords(records));
        }
        Ok(())
    }

    /// A batch that is too large is tried in halves. One heartbeat that is too large by itself is
    /// refused, and a fence or a refresh that is too large comes again later.
    fn too_large(&mut self, now: Now, due: &[MemberId], mut batch: Vec<Waiting>) {
        if batch.len() > 1 {
            batch.into_iter().rev().for_each(|waiting| self.queue.push_front(waiting));
            return;
        }
        self.is_refresh_due = false;
        for member in due {
            self.rebalances.clear(member);
            self.sessions.set(member, now.instant.plus(FENCE_RETRY));
        }
        if let Some(waiting) = batch.pop() {
            self.reply(waiting.token, Err(GroupError::RecordTooLarge));
        }
    }

    pub(crate) fn on_committed(&mut self, now: Now, append: AppendId) {
        let Some(InFlight { changes, replies, .. }) = self.in_flight.take() else { return };
        for change in &changes {
            self.image.set_stored_by(change, append);
        }
        self.actions.extend(replies.into_iter().map(GroupAction::Reply));
        self.advance(now);
    }

    /// The append is lost: nothing has been decided.
    pub(crate) fn on_failed(&mut self, now: Now, error: &GroupError) {
        let Some(InFlight { undo, replies, .. }) = self.in_flight.take() else { return };
        take_back(&mut self.image, undo);
        for Reply { token, .. } in replies {
            self.reply(token, Err(error.clone()));
        }
        self.drop_timers_of_the_gone();
        self.match_timers_to_image(now);
        self.is_refresh_due = !self.image.members().is_empty();
        // The queue waits for the next input: the log may take no appends now.
        let waiting = std::mem::take(&mut self.queue);
        for Waiting { token, .. } in waiting {
            self.reply(token, Err(error.clone()));
        }
    }

    /// Sets the deadlines that are missing, and clears those whose reason was taken back.
    fn match_timers_to_image(&mut self, now: Now) {
        let session = self.config.consumer.session_timeout;
        for (id, member) in self.image.members() {
            if !self.sessions.has(id) {
                self.sessions.set(id, now.instant.plus(session));
            }
            if !member.current().is_some_and(|it| is_revoking(it)) {
                self.rebalances.clear(id);
            } else if !self.rebalances.has(id) {
                self.rebalances.set(id, now.instant.plus(rebalance_timeout(member)));
            }
        }
    }

    /// Follows the changes of current assignments with the timers.
    fn update_timers(&mut self, now: Now, changes: &[Change]) {
        for change in changes {
            let Change::Current(id, current) = change else { continue };
            let member = self.image.members().get(id);
            match (current, member) {
                (Some(current), Some(member)) if is_revoking(current) => {
                    self.rebalances.set(id, now.instant.plus(rebalance_timeout(member)));
                }
                _ => self.rebalances.clear(id),
            }
        }
    }

    /// Forgets the deadlines of members that are gone.
    fn drop_timers_of_the_gone(&mut self) {
        let is_gone = |id: &&MemberId| !self.image.members().contains_key(*id);
        let gone: Vec<_> = self.sessions.members().filter(is_gone).cloned().collect();
        for member in gone {
            self.sessions.clear(&member);
            self.rebalances.clear(&member);
        }
    }

    fn extend_session(&mut self, now: Now, request: &ConsumerHeartbeat) {
        let member = &request.member;
        if self.image.members().contains_key(member) {
            self.sessions.set(member, now.instant.plus(request.timing(&self.config.consumer).session_timeout));
        }
    }

    fn reply(&mut self, token: ReplyToken, outcome: Result<ConsumerHeartbeatAnswer, GroupError>) {
        let outcome = ReplyOutcome::ConsumerHeartbeat(outcome);
        self.actions.push_back(GroupAction::Reply(Reply { token, outcome }));
    }

    /// Checks a commit of offsets. A member may commit with the epoch in which it got the
    /// partition, so that a new epoch does not lose its commits (KIP-1251).
    ///
    /// # Errors
    /// [`GroupError`] for the whole request.
    pub(crate) fn validate_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if self.is_deleting {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if request.generation < 0 && self.is_empty() {
            return Ok(());
        }
        if self.image.members().contains_key(&request.member) && !request.supports_member_epochs {
            return Err(GroupError::UnsupportedVersion);
        }
        self.validate_member_epoch(request)
    }

    /// Checks a commit of a transaction. One that names no member comes from an old producer, and
    /// is accepted as its epoch fences it (KIP-447).
    ///
    /// # Errors
    /// As [`Self::validate_commit`], but in any version of the request.
    pub(crate) fn validate_transactional_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if self.is_deleting {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let is_unnamed = request.member.is_empty() && request.instance.is_none();
        if request.generation < 0 && (self.is_empty() || is_unnamed) {
            return Ok(());
        }
        self.validate_member_epoch(request)
    }

    /// A member commits in its own epoch, or in an earlier one that is not below the epochs in
    /// which its partitions were assigned (KIP-1251).
    fn validate_member_epoch(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        let member = self.image.members().get(&request.member).ok_or(GroupError::UnknownMemberId)?;
        let current = member.current().ok_or(GroupError::UnknownMemberId)?;
        if request.generation == current.epoch {
            return Ok(());
        }
        let is_fresh = |commit: &OffsetCommit| {
            let partition = commit.partition.partition;
            let owned = current.assigned.epoch(commit.topic_id, partition);
            let assigned_in = owned.or_else(|| current.revoking.epoch(commit.topic_id, partition));
            assigned_in.is_some_and(|epoch| request.generation >= epoch)
        };
        if request.generation < current.epoch && request.offsets.iter().all(is_fresh) {
            Ok(())
        } else {
            Err(GroupError::StaleMemberEpoch)
        }
    }

    /// Checks a fetch of offsets by a member.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], [`GroupError::StaleMemberEpoch`].
    pub(crate) fn validate_fetch(&self, member: &MemberId, epoch: i32) -> Result<(), GroupError> {
        let current = self.image.members().get(member).and_then(|member| member.current());
        let current = current.ok_or(GroupError::UnknownMemberId)?;
        if current.epoch == epoch { Ok(()) } else { Err(GroupError::StaleMemberEpoch) }
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.image.members().values().filter_map(|member| member.subscription()).any(|subscription| {
            subscription.topics.contains(topic)
                || subscription.regex.as_deref().is_some_and(|pattern| self.patterns.matches(pattern, topic))
        })
    }

    pub(crate) fn begin_deletion(&mut self) -> Result<Vec<CoordinatorRecord>, GroupError> {
        if !self.is_unused() {
            return Err(GroupError::NonEmptyGroup);
        }
        self.is_deleting = true;
        let tombstones = [Change::TargetEpoch(None), Change::Group(None)];
        Ok(encode(self.id.as_str(), &tombstones).unwrap_or_default())
    }

    pub(crate) fn undo_deletion(&mut self) {
        self.is_deleting = false;
    }

    /// The records that were written before the point; none while the append in flight replaces one
    /// of them.
    pub(crate) fn live_records(&self, point: RewritePoint) -> Option<Vec<CoordinatorRecord>> {
        let undo = self.in_flight.iter().flat_map(|in_flight| &in_flight.undo);
        let is_pending = undo.into_iter().any(|undo| undo.replaces_record() && !point.keeps(undo.stored_by));
        if is_pending {
            return None;
        }
        let changes = self.in_flight.iter().flat_map(|in_flight| &in_flight.changes);
        let pending: BTreeSet<_> = changes.map(Change::name).collect();
        let live = self
            .image
            .stored()
            .filter(|(change, stored_by)| !point.keeps(*stored_by) && !pending.contains(&change.name()));
        live.map(|(change, _)| change.record(self.id.as_str()).ok()).collect()
    }

    pub(crate) fn check_invariants(&self) {
        self.image.check_invariants();
        for (id, member) in self.image.members() {
            assert!(self.sessions.has(id), "every member has a session: {id}");
            let is_revoking = member.current().is_some_and(|current| is_revoking(current));
            assert_eq!(is_revoking, self.rebalances.has(id), "every member that revokes has a time for it: {id}");
        }
        let strangers = self.sessions.members().filter(|id| !self.image.members().contains_key(*id)).count();
        assert_eq!(strangers, 0, "only members have sessions");
        assert!(self.in_flight.is_some() || self.queue.is_empty(), "only an append in flight is waited for");
    }
}

fn rebalance_timeout(member: &MemberImage) -> Duration {
    let millis = member.subscription().map_or(0, |subscription| subscription.rebalance_timeout_ms);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

fn take_back(image: &mut GroupImage, undo: Vec<Undo>) {
    for Undo { change, stored_by } in undo.into_iter().rev() {
        image.apply(change, stored_by);
    }
}

/// The records of the changes; none if one of them cannot be encoded.
fn encode(group: &str, changes: &[Change]) -> Option<Vec<CoordinatorRecord>> {
    changes.iter().map(|change| change.record(group).ok()).collect()
}
