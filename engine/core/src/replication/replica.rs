//! [`Replica`]: one partition's replica as a machine. It decides about the messages to its peers,
//! the changes of its log, and its high watermark. It holds neither the log nor batches: a view of
//! the log comes with each input, and only the headers of batches pass through.
//!
//! ```text
//!         the assignment names another broker
//!  Idle -------------------------------------> Follower
//!   ^ |   it names this broker epoch
//!   | '--------------------------------------> Leader
//!   |                                            | the controller: that epoch is over
//!   |                                            v
//!   |                                          Fenced
//!   '-- from any role: the next leader epoch, or another registration
//! ```
//! A change of the log (a cut, a reset) is independent of the role. While one is in flight, no role
//! begins and no hello is sent; a change that began in one epoch is completed in the next. So no
//! log leads, or is compared with another, during a change.

use std::collections::VecDeque;
use std::ops::Range;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{BrokerId, Instant, LeaderEpoch, Offset};

use super::ack_level::{AckLevel, ProduceRefusal};
use super::actions::{Action, ChangeFailure, Ignored, WaitRefusal};
use super::assignment::{Assignment, BrokerEpoch, Change, Member, Proposal, ProposalRefusal};
use super::follower::{Follower, Step};
use super::leader::{BatchesRead, Leader};
use super::limits::ReplicationLimits;
use super::log_change::LogChange;
use super::log_view::LogView;
use super::message::{Answer, Conversation, Handshake, Hello, Message, Push};
use super::role::{Role, RoleName};

/// The most actions that wait for the driver: a few for each follower. The driver takes them after
/// each input.
const ACTIONS_MAX: usize = 1_024;

#[derive(Debug)]
pub struct Replica {
    me: Member,
    limits: ReplicationLimits,
    role: Role,
    assignment: Option<Assignment>,
    change: Option<LogChange>,
    high_watermark: Offset,
    /// The number of handshakes begun in this process.
    handshakes: u64,
    lease_until: Instant,
    actions: VecDeque<Action>,
}

impl Replica {
    /// Begins with the log that recovery has found, which starts for readers at `start`.
    /// `reset` is the start of an interrupted reset, which is completed before anything else.
    /// Called once in a process for an assigned replica: handshakes are numbered from here, and a
    /// leader takes a message with an earlier number for a late copy.
    #[must_use]
    pub fn open(me: Member, limits: ReplicationLimits, start: Offset, reset: Option<Offset>) -> Self {
        let mut replica = Self {
            me,
            limits,
            role: Role::Idle,
            assignment: None,
            change: None,
            // Only the leader knows how far the log is committed.
            high_watermark: start,
            handshakes: 0,
            lease_until: Instant::default(),
            actions: VecDeque::new(),
        };
        if let Some(start) = reset {
            replica.begin_reset(start);
        }
        replica
    }

    /// The broker has registered again: it has another epoch, and leads nothing that it led before.
    pub fn handle_registration(&mut self, now: Instant, log: &LogView<'_>, broker_epoch: BrokerEpoch) {
        self.me.broker_epoch = broker_epoch;
        self.leave_role();
        self.advance(now, log);
    }

    /// The controller has granted a lease until `until` by this broker's clock. Its length counts
    /// from the request.
    pub fn handle_lease(&mut self, until: Instant) {
        self.lease_until = self.lease_until.max(until);
    }

    /// The controller has changed the partition.
    ///
    /// # Errors
    /// [`Ignored::StaleAssignment`] if the assignment is not newer than the known one, and
    /// [`Ignored::ReplicaRemoved`] if it removes a replica within the leader epoch.
    pub fn handle_assignment(&mut self, now: Instant, log: &LogView<'_>, given: Assignment) -> Result<(), Ignored> {
        let known = self.assignment.as_ref();
        let is_newer = known.is_none_or(|known| {
            given.partition_epoch > known.partition_epoch && given.leader_epoch >= known.leader_epoch
        });
        if !is_newer {
            return Err(Ignored::StaleAssignment);
        }
        let is_same_epoch = known.is_some_and(|known| known.leader_epoch == given.leader_epoch);
        let stays = |replica| given.replicas.contains(replica);
        let stay_all = known.is_none_or(|known| known.replicas.iter().all(stays));
        if is_same_epoch && !stay_all {
            return Err(Ignored::ReplicaRemoved);
        }
        if !is_same_epoch {
            self.leave_role();
        } else if let Role::Leader(leader) = &mut self.role
            && let Some(refusal) = leader.on_assignment(now, &given)
        {
            self.actions.push_back(Action::RefuseWaits(refusal));
        }
        self.assignment = Some(given);
        self.advance(now, log);
        Ok(())
    }

    /// The controller has refused a proposal.
    ///
    /// # Errors
    /// [`Ignored`] if this replica does not lead in the proposal's epoch, or the change is not
    /// pending.
    pub fn handle_refusal(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        proposal: &Proposal,
        refusal: ProposalRefusal,
    ) -> Result<(), Ignored> {
        let Role::Leader(leader) = &mut self.role else { return Err(Ignored::WrongRole) };
        if proposal.leader_epoch != leader.epoch() {
            return Err(Ignored::StaleEpoch);
        }
        if refusal == ProposalRefusal::FencedLeaderEpoch {
            self.leave_role();
            self.role = Role::Fenced;
        } else {
            leader.on_refused(now, proposal, refusal)?;
        }
        self.advance(now, log);
        Ok(())
    }

    /// A message of a peer, with the headers of the batches that came with it. Returns which of the
    /// batches to append, before anything else.
    ///
    /// # Errors
    /// [`Ignored`] says why the message was ignored. [`Ignored::PreviousDiffers`] also begins a new
    /// handshake.
    pub fn handle_message(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        from: BrokerId,
        message: &Message,
        batches: &[BatchHeader],
    ) -> Result<Range<usize>, Ignored> {
        self.check_conversation(from, message)?;
        let appended = match message {
            Message::Hello(hello) => self.handle_hello(now, log, from, hello).map(|()| 0..0)?,
            Message::Ack(ack) => {
                let Role::Leader(leader) = &mut self.role else { return Err(Ignored::WrongRole) };
                leader.on_ack(now, log, from, ack)?;
                0..0
            }
            Message::Answer(answer) => self.handle_answer(now, log, answer).map(|()| 0..0)?,
            Message::Push(push) => self.handle_push(now, log, push, batches)?,
            Message::Void(_) => {
                self.begin_handshake(now);
                0..0
            }
        };
        self.advance(now, log);
        Ok(appended)
    }

    /// The leader's log has grown by batches of clients. In other roles this changes nothing.
    pub fn on_appended(&mut self, now: Instant, log: &LogView<'_>) {
        if matches!(self.role, Role::Leader(_)) {
            self.advance(now, log);
        }
    }

    /// More of the log is durable.
    pub fn on_durable(&mut self, now: Instant, log: &LogView<'_>) {
        if let Role::Follower(follower) = &mut self.role
            && let Some(message) = follower.ack_if_moved(log.durable_end)
        {
            self.actions.push_back(Action::Send { to: follower.leader, message });
        }
        self.advance(now, log);
    }

    /// The driver has executed [`Action::ReadBatches`]. Returns the header to send ahead of the
    /// batches.
    ///
    /// # Errors
    /// [`Ignored`] if the batches must not be sent: there are none, or they are not the next ones
    /// any more.
    pub fn on_batches_read(&mut self, now: Instant, log: &LogView<'_>, read: &BatchesRead) -> Result<Push, Ignored> {
        let Role::Leader(leader) = &mut self.role else { return Err(Ignored::WrongRole) };
        let push = leader.on_batches_read(now, log, read, self.high_watermark);
        self.advance(now, log);
        push
    }

    /// The requested cut or reset is durable.
    ///
    /// # Errors
    /// [`Ignored::WrongCompletion`] if none was requested.
    pub fn on_log_changed(&mut self, now: Instant, log: &LogView<'_>) -> Result<(), Ignored> {
        let change = self.change.take().ok_or(Ignored::WrongCompletion)?;
        let is_as_asked = change.check_outcome(log, self.high_watermark);
        if let LogChange::Reset { start, .. } = change {
            self.high_watermark = start;
        }
        let is_changing = self.role.is_changing();
        if is_changing && !is_as_asked {
            // The leader named an offset within a batch, so the shorter log may not be a prefix of
            // the leader's.
            self.begin_handshake(now);
        } else if let Role::Follower(follower) = &mut self.role
            && is_changing
        {
            follower.follow(now);
            let ack = follower.ack(log.durable_end).map(|message| Action::Send { to: follower.leader, message });
            self.actions.extend(ack);
        }
        self.advance(now, log);
        Ok(())
    }

    /// The requested cut or reset has failed. After a pause, a new handshake follows a failed cut,
    /// and the driver is asked again for a failed reset.
    ///
    /// # Errors
    /// [`Ignored::WrongCompletion`] if none was requested.
    pub fn on_change_failed(&mut self, now: Instant, log: &LogView<'_>, failure: ChangeFailure) -> Result<(), Ignored> {
        match self.change.as_mut().ok_or(Ignored::WrongCompletion)? {
            LogChange::Reset { again_at, .. } => *again_at = Some(now.plus(self.limits.retry_interval)),
            LogChange::Truncate { .. } => {
                self.change = None;
                let (is_changing, handshake) = (self.role.is_changing(), self.next_handshake());
                if let Role::Follower(follower) = &mut self.role
                    && is_changing
                {
                    follower.on_cut_failed(now, handshake, failure);
                }
            }
        }
        self.advance(now, log);
        Ok(())
    }

    /// [`Action::MoveStarts`] is executed.
    pub fn on_starts_moved(&mut self, now: Instant, log: &LogView<'_>) {
        self.advance(now, log);
    }

    pub fn handle_timeout(&mut self, now: Instant, log: &LogView<'_>) {
        if matches!(&self.role, Role::Follower(follower) if follower.is_leader_silent(now)) {
            self.begin_handshake(now);
        }
        self.actions.extend(self.change.as_mut().and_then(|change| change.retry(now)));
        self.advance(now, log);
    }

    /// The time of the next [`Self::handle_timeout`]. A call at that time does everything that is
    /// due, so that the next time is later, or there is none.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // No message is sent before the change is complete.
        self.change.map_or_else(|| self.role.due_at(), LogChange::due_at)
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Checks whether an append with `level` is accepted. Returns the epoch to append in.
    ///
    /// # Errors
    /// [`ProduceRefusal`] says why the append is refused.
    pub fn admit(&self, now: Instant, level: AckLevel) -> Result<LeaderEpoch, ProduceRefusal> {
        let leader = self.leader().ok_or(ProduceRefusal::NotLeader)?;
        if now >= self.lease_until {
            return Err(ProduceRefusal::LeaseExpired);
        }
        let replicas = leader.replica_count();
        if let AckLevel::Custom(requested) = level
            && requested > replicas
        {
            return Err(ProduceRefusal::TooFewReplicas { requested, replicas });
        }
        let in_sync = leader.in_sync();
        if level == AckLevel::All && !in_sync.is_enough() {
            let (in_sync, required) = (in_sync.certain_count(), in_sync.required());
            return Err(ProduceRefusal::NotEnoughReplicas { in_sync, required });
        }
        Ok(leader.epoch())
    }

    /// The end up to which appends with `level` may be answered. `None` if none may be, for
    /// instance because another replica may lead.
    #[must_use]
    pub fn acknowledged(&self, now: Instant, log: &LogView<'_>, level: AckLevel) -> Option<Offset> {
        let leader = self.leader().filter(|_| now < self.lease_until)?;
        leader.acknowledged(level, log.durable_end, self.high_watermark)
    }

    /// Proposes to move a start. Returns whether it did: only the leader may, and only up to the
    /// high watermark.
    pub fn propose_start(&mut self, change: Change) -> bool {
        let high_watermark = self.high_watermark;
        let is_committed = match change {
            Change::LogStart(start) => start <= high_watermark,
            Change::TierEnd { from, to } => from < to && to <= high_watermark,
            Change::InSync(_) => false,
        };
        let Some(leader) = self.leader().filter(|_| is_committed) else { return false };
        let (leader_epoch, partition_epoch) = (leader.epoch(), leader.in_sync().partition_epoch());
        self.actions.push_back(Action::Propose(Proposal { leader_epoch, partition_epoch, change }));
        self.check_actions();
        true
    }

    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The end to report to consumers. `None` (`OFFSET_NOT_AVAILABLE`) until the high watermark has
    /// reached every end that earlier leaders may have reported.
    #[must_use]
    pub fn latest(&self) -> Option<Offset> {
        let leader = self.leader()?;
        (self.high_watermark >= leader.epoch_start()).then_some(self.high_watermark)
    }

    /// The epoch in which this replica leads.
    #[must_use]
    pub fn leading(&self) -> Option<LeaderEpoch> {
        self.leader().map(Leader::epoch)
    }

    #[must_use]
    pub const fn role(&self) -> RoleName {
        self.role.name()
    }

    /// Panics if the machine contradicts itself or its log.
    pub fn check_invariants(&self, log: &LogView<'_>) {
        let is_resetting = matches!(self.change, Some(LogChange::Reset { .. }));
        let is_within = log.local_start <= self.high_watermark && self.high_watermark <= log.durable_end;
        assert!(is_within || is_resetting, "the high watermark {} is outside of {log:?}", self.high_watermark);
        match &self.role {
            Role::Leader(leader) => {
                assert!(self.change.is_none(), "a log leads during a change");
                leader.check_invariants(self.high_watermark);
            }
            Role::Follower(_) => {
                let is_in_flight = !self.role.is_changing() || self.change.is_some();
                assert!(is_in_flight, "a follower waits for a change that is not in flight");
            }
            Role::Idle | Role::Fenced => {}
        }
    }

    fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Idle | Role::Fenced | Role::Follower(_) => None,
        }
    }

    /// Checks that the message is of this replica's epoch, from a permitted sender, and of the
    /// current handshake.
    fn check_conversation(&self, from: BrokerId, message: &Message) -> Result<(), Ignored> {
        let Conversation { epoch, handshake } = message.conversation();
        let known = self.assignment.as_ref().ok_or(Ignored::WrongRole)?;
        match epoch.cmp(&known.leader_epoch) {
            std::cmp::Ordering::Less => return Err(Ignored::StaleEpoch),
            // Only the controller knows whether there is such an epoch.
            std::cmp::Ordering::Greater => return Err(Ignored::FutureEpoch),
            std::cmp::Ordering::Equal => {}
        }
        match (&self.role, message) {
            (Role::Leader(_), Message::Hello(_) | Message::Ack(_)) => {
                if known.replicas.contains(&from) && from != self.me.broker {
                    Ok(())
                } else {
                    Err(Ignored::WrongSender)
                }
            }
            (Role::Follower(follower), Message::Answer(_) | Message::Push(_) | Message::Void(_)) => {
                if from != follower.leader {
                    return Err(Ignored::WrongSender);
                }
                // No message may touch the log before its change is complete.
                if self.change.is_some() {
                    return Err(Ignored::WrongState);
                }
                match handshake.cmp(&follower.conversation.handshake) {
                    std::cmp::Ordering::Less => Err(Ignored::StaleHandshake),
                    std::cmp::Ordering::Equal => Ok(()),
                    std::cmp::Ordering::Greater => Err(Ignored::UnknownHandshake),
                }
            }
            _ => Err(Ignored::WrongRole),
        }
    }

    fn handle_hello(&mut self, now: Instant, log: &LogView<'_>, from: BrokerId, hello: &Hello) -> Result<(), Ignored> {
        let Role::Leader(leader) = &mut self.role else { return Err(Ignored::WrongRole) };
        let answer = leader.on_hello(now, log, from, hello, self.high_watermark)?;
        self.actions.extend(answer.map(|answer| Action::Send { to: from, message: Message::Answer(answer) }));
        Ok(())
    }

    fn handle_answer(&mut self, now: Instant, log: &LogView<'_>, answer: &Answer) -> Result<(), Ignored> {
        let known = self.assignment.as_ref().filter(|known| !known.in_sync.contains(&self.me.broker));
        let reset_max = known.map(|known| known.starts.local());
        let Role::Follower(follower) = &mut self.role else { return Err(Ignored::WrongRole) };
        match follower.handle_answer(now, log, answer, self.high_watermark, reset_max)? {
            Step::SayHello => {}
            Step::Truncate { to } => self.begin_change(LogChange::Truncate { to }),
            Step::Reset { start } => self.begin_reset(start),
            Step::Follow => {
                let ack = follower.ack(log.durable_end).map(|message| Action::Send { to: follower.leader, message });
                self.actions.extend(ack);
            }
        }
        Ok(())
    }

    fn handle_push(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        push: &Push,
        batches: &[BatchHeader],
    ) -> Result<Range<usize>, Ignored> {
        let Role::Follower(follower) = &mut self.role else { return Err(Ignored::WrongRole) };
        let (leader, taken) = (follower.leader, follower.handle_push(now, log, push, batches));
        if taken == Err(Ignored::PreviousDiffers) {
            self.begin_handshake(now);
        } else if taken.as_ref().is_ok_and(Range::is_empty)
            && let Some(message) = follower.ack(log.durable_end)
        {
            // An earlier acknowledgement may have been lost.
            self.actions.push_back(Action::Send { to: leader, message });
        }
        if taken.is_err() {
            self.advance(now, log);
        }
        taken
    }

    fn next_handshake(&mut self) -> Handshake {
        self.handshakes += 1;
        Handshake { broker_epoch: self.me.broker_epoch, count: self.handshakes }
    }

    fn begin_handshake(&mut self, now: Instant) {
        let handshake = self.next_handshake();
        if let Role::Follower(follower) = &mut self.role {
            follower.begin_handshake(now, handshake);
        }
    }

    fn begin_reset(&mut self, start: Offset) {
        self.begin_change(LogChange::Reset { start, again_at: None });
    }

    fn begin_change(&mut self, change: LogChange) {
        assert!(self.change.is_none(), "one change of the log at a time");
        self.change = Some(change);
        self.actions.push_back(change.action());
    }

    fn leave_role(&mut self) {
        if matches!(self.role, Role::Leader(_)) {
            self.actions.push_back(Action::RefuseWaits(WaitRefusal::NotLeader));
        }
        self.role = Role::Idle;
    }

    fn check_actions(&self) {
        assert!(self.actions.len() <= ACTIONS_MAX, "the driver does not execute the actions");
    }

    /// Does the work that is due after an input or a timeout.
    fn advance(&mut self, now: Instant, log: &LogView<'_>) {
        if self.change.is_none() {
            self.advance_role(now, log);
        }
        self.check_actions();
    }

    fn advance_role(&mut self, now: Instant, log: &LogView<'_>) {
        self.enter_role(now, log);
        if self.change.is_some() || self.follow_starts(log) {
            return;
        }
        self.raise_high_watermark(log);
        match &mut self.role {
            Role::Leader(leader) => leader.advance(now, log, self.high_watermark, &mut self.actions),
            Role::Follower(follower) => {
                let hello = follower.hello(now, log, self.high_watermark);
                self.actions.extend(hello.map(|message| Action::Send { to: follower.leader, message }));
            }
            Role::Idle | Role::Fenced => {}
        }
    }

    /// Asks the driver to move the log's starts to the controller's, once the log is known to agree
    /// with the leader's, and to be durable up to there. Moved earlier, the log would keep the
    /// state of producers from records that other replicas never had. Returns whether it asked.
    fn follow_starts(&mut self, log: &LogView<'_>) -> bool {
        let Some(starts) = self.assignment.as_ref().map(|assignment| assignment.starts) else { return false };
        let is_agreed = matches!(self.role(), RoleName::Leader | RoleName::Following);
        let is_behind = log.starts.log_start < starts.log_start || log.starts.tier_end < starts.tier_end;
        if !is_agreed || !is_behind || starts.local() > log.durable_end {
            return false;
        }
        self.high_watermark = self.high_watermark.max(starts.local());
        self.actions.push_back(Action::MoveStarts(starts));
        true
    }

    fn enter_role(&mut self, now: Instant, log: &LogView<'_>) {
        let Some(assignment) = &self.assignment else { return };
        let epoch = assignment.leader_epoch;
        if !matches!(self.role, Role::Idle) || !assignment.replicas.contains(&self.me.broker) {
            return;
        }
        let Some(leader) = assignment.leader else { return };
        let committed_end = assignment.starts.local();
        if leader == self.me && committed_end > log.end {
            // Only an unclean election causes this: the log lacks committed records. Those below
            // the start are in the tier or deleted, so the log starts anew there.
            self.begin_reset(committed_end);
        } else if leader == self.me {
            self.role = Role::Leader(Leader::new(now, self.me.broker, assignment, self.limits, log.end));
            self.actions.push_back(Action::BeginEpoch { epoch });
        } else if leader.broker != self.me.broker {
            let handshake = self.next_handshake();
            self.role = Role::Follower(Follower::new(now, leader.broker, epoch, handshake, self.limits));
        }
    }

    fn raise_high_watermark(&mut self, log: &LogView<'_>) {
        let to = match &self.role {
            Role::Leader(leader) => leader.watermark(log.durable_end),
            Role::Follower(follower) => follower.watermark(log.durable_end),
            Role::Idle | Role::Fenced => None,
        };
        if let Some(to) = to.filter(|to| *to > self.high_watermark) {
            self.high_watermark = to;
            self.actions.push_back(Action::RaiseHighWatermark { to });
        }
    }
}
