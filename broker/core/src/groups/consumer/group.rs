//! One consumer group: its heartbeats, its timeouts, and the one append that it has in flight.
//!
//! ```text
//!   heartbeats --> queue --> draft --(members or topics changed)--> target task
//!   timeouts, topics ----------^  '------------------.                  |  '--> lost: as failed
//!                                                    v                  v
//!                            committed: answers <-- append <--------- target
//!    failed: the image goes back, errors <-----------'
//! ```
//! While a decision is on its way, heartbeats that may change something wait in the queue; then
//! they are decided together, in one append. So memory never has decisions that stand on a lost
//! append, a target is never older than its members, and a storm of joins computes few assignments.

mod classic_members;
mod commits;
mod decision;
mod timers;

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rustmq_model::{Instant, TopicName};

use self::decision::Assigning;
use super::deadlines::Deadlines;
use super::draft::is_revoking;
use super::heartbeat::{ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use super::image::{Change, GroupImage, Undo};
use super::member::{CurrentAssignment, MemberState};
use super::member_request::MemberRequest;
use super::patterns::ResolvedPatterns;
use super::topics::TopicCatalogue;
use crate::coordinator::{CoordinatorRecord, Now, ReplyToken, RewritePoint};
use crate::groups::classic::GroupAction;
use crate::groups::config::GroupConfig;
use crate::groups::error::GroupError;
use crate::groups::identity::GroupId;
use crate::groups::request::{Reply, ReplyOutcome};
use crate::groups::state::ConsumerState;

/// The most patterns of a group's members that are distinct.
const PATTERNS_MAX: usize = 100;
/// The most heartbeats that one decision takes: with their records it takes milliseconds, in which
/// other groups wait.
const DRAFT_HEARTBEATS_MAX: usize = 250;
/// The time until a decision that nobody asked for is tried again after it has failed.
const RETRY: Duration = Duration::from_secs(1);
/// The time until a new target that does not fit in a batch is tried again.
const REFRESH_RETRY: Duration = Duration::from_secs(60);
/// The time after which a target that is being computed is taken to be lost.
const ASSIGNING_MAX: Duration = Duration::from_secs(30);

/// A request that waits for the decision on its way.
#[derive(Debug)]
struct Waiting {
    token: ReplyToken,
    request: MemberRequest,
}

#[derive(Debug)]
struct InFlight {
    changes: Vec<Change>,
    undo: Vec<Undo>,
    replies: Vec<Reply>,
}

/// The decision that is on its way. Its changes are in the image already.
#[derive(Debug)]
enum Stage {
    Idle,
    /// The decision needs a new target, which is being computed.
    Assigning(Box<Assigning>),
    /// The records of the decision are being appended.
    Storing(Box<InFlight>),
}

/// A consumer group. The module describes how it decides.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    id: GroupId,
    config: Arc<GroupConfig>,
    catalogue: TopicCatalogue,
    patterns: ResolvedPatterns,
    image: GroupImage,
    stage: Stage,
    queue: VecDeque<Waiting>,
    sessions: Deadlines,
    rebalances: Deadlines,
    /// The most heartbeats of the next decision, after a larger one did not fit in a batch.
    batch_max: Option<usize>,
    /// The time to compare the topics with the group's epoch; none if they have not changed since.
    refresh_at: Option<Instant>,
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
            stage: Stage::Idle,
            queue: VecDeque::new(),
            sessions: Deadlines::default(),
            rebalances: Deadlines::default(),
            batch_max: None,
            refresh_at: None,
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

    /// The image without the changes of the decision on its way.
    pub(super) fn committed_image(&self) -> Cow<'_, GroupImage> {
        if self.is_idle() {
            return Cow::Borrowed(&self.image);
        }
        let mut image = self.image.clone();
        take_back(&mut image, self.undo().to_vec());
        Cow::Owned(image)
    }

    /// The way back from the decision on its way.
    fn undo(&self) -> &[Undo] {
        match &self.stage {
            Stage::Idle => &[],
            Stage::Assigning(assigning) => assigning.undo(),
            Stage::Storing(in_flight) => &in_flight.undo,
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
        self.is_empty() && self.is_idle() && !self.is_deleting
    }

    /// Whether nothing is left of the group, and nothing is on its way.
    pub(crate) fn is_blank(&self) -> bool {
        self.image.is_blank() && self.is_idle() && self.queue.is_empty() && !self.is_deleting
    }

    const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    pub(crate) fn waiting_count(&self) -> usize {
        let of_decision = match &self.stage {
            Stage::Idle => 0,
            Stage::Assigning(assigning) => assigning.waiting_count(),
            Stage::Storing(in_flight) => in_flight.replies.len(),
        };
        self.queue.len() + of_decision
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
        match &self.stage {
            _ if self.is_deleting => None,
            Stage::Idle => {
                [self.refresh_at, self.sessions.first(), self.rebalances.first()].into_iter().flatten().min()
            }
            Stage::Assigning(assigning) => Some(assigning.deadline()),
            Stage::Storing(_) => None,
        }
    }

    /// Fences the members whose session or rebalance timeout is over, and compares the topics.
    /// Gives up a target that does not come.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        if matches!(&self.stage, Stage::Assigning(assigning) if assigning.deadline() <= now.instant) {
            self.on_target_lost(now);
        }
        self.advance(now);
    }

    /// Takes a heartbeat whose own checks have passed.
    pub(crate) fn handle_heartbeat(&mut self, now: Now, token: ReplyToken, request: ConsumerHeartbeat) {
        if !self.is_idle()
            && let Some(answer) = self.answer_of_stable(&request)
        {
            self.extend_session(now, &request);
            self.reply(token, ReplyOutcome::ConsumerHeartbeat(Ok(answer)));
        } else {
            self.enqueue(now, token, MemberRequest::Heartbeat(request));
        }
    }

    fn enqueue(&mut self, now: Now, token: ReplyToken, request: MemberRequest) {
        if self.is_deleting {
            self.reply(token, request.refused(GroupError::CoordinatorNotAvailable));
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
        if !self.image.members().is_empty() && changed.is_none_or(|changed| changed.iter().any(is_read)) {
            self.refresh_at = Some(Instant::from_nanos(0));
        }
    }

    fn reply(&mut self, token: ReplyToken, outcome: ReplyOutcome) {
        self.actions.push_back(GroupAction::Reply(Reply { token, outcome }));
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

    pub(crate) const fn is_deleting(&self) -> bool {
        self.is_deleting
    }

    pub(crate) fn undo_deletion(&mut self) {
        self.is_deleting = false;
    }

    /// The records that were written before the point; none while the append in flight replaces one
    /// of them.
    pub(crate) fn live_records(&self, point: RewritePoint) -> Option<Vec<CoordinatorRecord>> {
        let in_flight = match &self.stage {
            Stage::Storing(in_flight) => Some(in_flight),
            Stage::Idle | Stage::Assigning(_) => None,
        };
        let undo = in_flight.iter().flat_map(|in_flight| &in_flight.undo);
        let is_pending = undo.into_iter().any(|undo| undo.replaces_record() && !point.keeps(undo.stored_by));
        if is_pending {
            return None;
        }
        let changes = in_flight.iter().flat_map(|in_flight| &in_flight.changes);
        let pending: BTreeSet<_> = changes.map(Change::name).collect();
        // A decision without an append has no part in the log yet.
        let image = if in_flight.is_some() { Cow::Borrowed(&self.image) } else { self.committed_image() };
        let live =
            image.stored().filter(|(change, stored_by)| !point.keeps(*stored_by) && !pending.contains(&change.name()));
        live.map(|(change, _)| change.record(self.id.as_str()).ok()).collect()
    }

    pub(crate) fn check_invariants(&self) {
        self.image.check_invariants();
        assert!(!self.is_idle() || self.queue.is_empty(), "only a decision on its way is waited for");
        // The deadlines follow a decision when it is complete.
        if matches!(self.stage, Stage::Assigning(_)) {
            return;
        }
        for (id, member) in self.image.members() {
            assert!(self.sessions.has(id), "every member has a session: {id}");
            let is_revoking = member.current().is_some_and(|current| is_revoking(current));
            assert!(!is_revoking || self.rebalances.has(id), "every member that revokes has a time for it: {id}");
            let may_wait = is_revoking || member.is_classic();
            assert!(may_wait || !self.rebalances.has(id), "no other member has a time for its next step: {id}");
        }
        let strangers = self.sessions.members().filter(|id| !self.image.members().contains_key(*id)).count();
        assert_eq!(strangers, 0, "only members have sessions");
    }
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
