//! The leader role of a replica: its pushes to the followers, its proposals to change the ISR, and
//! its high watermark.

use std::collections::BTreeMap;

use rustmq_model::{BrokerId, Instant, LeaderEpoch, Offset};

use super::ack_level::{AckLevel, synced_by};
use super::actions::{Action, Ignored, WaitRefusal};
use super::assignment::{Assignment, Change, InSyncChange, Member, Proposal, ProposalRefusal};
use super::divergence::Resets;
use super::in_sync::InSync;
use super::limits::ReplicationLimits;
use super::log_view::LogView;
use super::message::{Ack, Answer, Conversation, Handshake, Hello, Message, Push};
use super::progress::{Progress, Reading};

#[derive(Debug)]
pub(super) struct Leader {
    me: BrokerId,
    epoch: LeaderEpoch,
    /// Where the log ended when the epoch began. All records that earlier leaders committed lie
    /// below: this replica was in their ISR.
    epoch_start: Offset,
    limits: ReplicationLimits,
    followers: BTreeMap<BrokerId, Progress>,
    in_sync: InSync,
    /// The end of the log that the followers' lag was updated with last.
    end: Offset,
}

impl Leader {
    pub(super) fn new(
        now: Instant,
        me: BrokerId,
        assignment: &Assignment,
        limits: ReplicationLimits,
        end: Offset,
    ) -> Self {
        let in_sync = InSync::new(assignment);
        let followers = BTreeMap::new();
        let mut leader = Self { me, epoch: assignment.leader_epoch, epoch_start: end, limits, followers, in_sync, end };
        leader.add_replicas(now, assignment);
        leader
    }

    /// Adds new followers. None is removed within the epoch: [`Assignment::replicas`].
    fn add_replicas(&mut self, now: Instant, assignment: &Assignment) {
        for broker in assignment.replicas.iter().filter(|broker| **broker != self.me) {
            self.followers.entry(*broker).or_insert_with(|| Progress::new(now, self.end));
        }
    }

    pub(super) const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    pub(super) const fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    pub(super) fn replica_count(&self) -> usize {
        self.followers.len() + 1
    }

    pub(super) const fn in_sync(&self) -> &InSync {
        &self.in_sync
    }

    /// The controller has changed the partition within this leadership. Returns which waits to
    /// refuse if the ISR is too small now.
    pub(super) fn on_assignment(&mut self, now: Instant, assignment: &Assignment) -> Option<WaitRefusal> {
        self.in_sync.on_assignment(assignment);
        self.add_replicas(now, assignment);
        (!self.in_sync.is_enough()).then_some(WaitRefusal::NotEnoughReplicasAfterAppend)
    }

    /// The controller has refused a proposal.
    pub(super) fn on_refused(
        &mut self,
        now: Instant,
        proposal: &Proposal,
        refusal: ProposalRefusal,
    ) -> Result<(), Ignored> {
        let Change::InSync(change) = proposal.change else { return Ok(()) };
        if !self.in_sync.is_pending(change, proposal.partition_epoch) {
            return Err(Ignored::StaleAssignment);
        }
        self.in_sync.on_refused(refusal, now);
        if let InSyncChange::Join(member) = change
            && let Some(progress) = self.followers.get_mut(&member.broker)
        {
            progress.next_join_at = Some(now.plus(self.limits.retry_interval));
        }
        Ok(())
    }

    pub(super) fn on_hello(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        from: BrokerId,
        hello: &Hello,
        high_watermark: Offset,
    ) -> Result<Option<Answer>, Ignored> {
        let is_member = self.in_sync.maximal().any(|broker| broker == from);
        let resets = if is_member { Resets::Withheld } else { Resets::Allowed };
        let progress = self.followers.get_mut(&from).ok_or(Ignored::WrongSender)?;
        if !hello.is_sound(log.end) {
            return Err(Ignored::Malformed);
        }
        progress.on_hello(log, hello, resets, high_watermark, now.plus(self.limits.retry_interval))
    }

    pub(super) fn on_ack(&mut self, now: Instant, log: &LogView<'_>, from: BrokerId, ack: &Ack) -> Result<(), Ignored> {
        self.on_log_end(now, log.end);
        let progress = self.followers.get_mut(&from).ok_or(Ignored::WrongSender)?;
        progress.on_ack(now, self.end, ack)
    }

    /// Updates the followers' lag. The first input after an append brings the new end of the log.
    fn on_log_end(&mut self, now: Instant, end: Offset) {
        let before = std::mem::replace(&mut self.end, end);
        if end > before {
            self.followers.values_mut().for_each(|progress| {
                let acked = progress.acked();
                progress.lag.on_append(now, acked, before, end);
            });
        }
    }

    /// The driver has read the batches. They go out behind the returned push.
    pub(super) fn on_batches_read(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        read: &BatchesRead,
        high_watermark: Offset,
    ) -> Result<Push, Ignored> {
        let progress = self.followers.get_mut(&read.follower).ok_or(Ignored::WrongCompletion)?;
        if progress.handshake() != read.handshake {
            return Err(Ignored::WrongCompletion);
        }
        let pushing = progress.pushing().ok_or(Ignored::WrongCompletion)?;
        pushing.reading = Reading::Idle;
        // The window may have been rewound meanwhile, or advanced by an acknowledgement.
        if pushing.window.next() != read.first {
            return Err(Ignored::WrongCompletion);
        }
        if read.end <= read.first {
            pushing.reading = Reading::Failed { again_at: now.plus(self.limits.retry_interval) };
            return Err(Ignored::WrongCompletion);
        }
        pushing.window.on_pushed(now, read.end, read.bytes);
        pushing.heartbeat_at = now.plus(self.limits.heartbeat_interval);
        let conversation = Conversation { epoch: self.epoch, handshake: read.handshake };
        let previous_epoch = log.epoch_before(read.first);
        Ok(Push { conversation, first: read.first, end: read.end, previous_epoch, high_watermark })
    }

    /// The highest value that the high watermark may have: the least synced end of all replicas
    /// that may be in sync. `None` while the end of one of them is unknown, or while too few are in
    /// sync.
    pub(super) fn watermark(&self, durable_end: Offset) -> Option<Offset> {
        if !self.in_sync.is_enough() {
            return None;
        }
        self.in_sync.maximal().map(|broker| self.synced(broker, durable_end)).min().flatten()
    }

    fn synced(&self, broker: BrokerId, durable_end: Offset) -> Option<Offset> {
        if broker == self.me { Some(durable_end) } else { self.followers.get(&broker).and_then(Progress::acked) }
    }

    /// The end below which every record is as safe as `level` promises.
    pub(super) fn acknowledged(&self, level: AckLevel, durable_end: Offset, high_watermark: Offset) -> Option<Offset> {
        match level {
            AckLevel::Leader => Some(durable_end),
            AckLevel::All => Some(high_watermark),
            AckLevel::None | AckLevel::Majority | AckLevel::Custom(_) => {
                let count = level.sync_count(self.replica_count())?;
                let acked = self.followers.values().filter_map(Progress::acked);
                if count == 0 { Some(self.end) } else { synced_by(count, &acked.chain([durable_end])) }
            }
        }
    }

    /// Does the work that is due after an input or a timeout.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        high_watermark: Offset,
        actions: &mut impl Extend<Action>,
    ) {
        self.on_log_end(now, log.end);
        let (epoch, limits) = (self.epoch, self.limits);
        for (follower, progress) in &mut self.followers {
            progress.next_join_at = progress.next_join_at.filter(|from| *from > now);
            actions.extend(serve(now, log, epoch, &limits, *follower, progress));
            actions.extend(heartbeat(now, epoch, &limits, high_watermark, *follower, progress));
        }
        let repeat_at = now.plus(limits.retry_interval);
        let mut change = self.in_sync.repeat(now, repeat_at);
        if !self.in_sync.has_pending()
            && let Some(next) = self.next_change(now, high_watermark)
        {
            self.in_sync.propose(next, repeat_at);
            change = Some(next);
        }
        let partition_epoch = self.in_sync.partition_epoch();
        let propose =
            |change| Action::Propose(Proposal { leader_epoch: epoch, partition_epoch, change: Change::InSync(change) });
        actions.extend(change.map(propose));
    }

    /// The next replica to leave the ISR or to join it.
    fn next_change(&self, now: Instant, high_watermark: Offset) -> Option<InSyncChange> {
        let lags = |progress: &Progress| {
            let is_in_sync = progress.lag.is_in_sync(now, progress.acked(), self.end, self.limits.lag_time_max);
            progress.is_withheld() || !is_in_sync
        };
        let mut members = self.followers.iter().filter(|(broker, _)| self.in_sync.is_committed(**broker));
        if let Some((broker, _)) = members.find(|(_, progress)| lags(progress)) {
            return Some(InSyncChange::Leave(*broker));
        }
        // An earlier leader may have committed records below the epoch's start which this leader's
        // high watermark has not reached.
        let required = high_watermark.max(self.epoch_start);
        let mut others = self.followers.iter().filter(|(broker, _)| !self.in_sync.is_committed(**broker));
        let (broker, progress) = others.find(|(_, progress)| {
            progress.acked() >= Some(required) && progress.next_join_at.is_none() && !lags(progress)
        })?;
        Some(InSyncChange::Join(Member { broker: *broker, broker_epoch: progress.handshake().broker_epoch }))
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        let of_follower = |(broker, progress): (&BrokerId, &Progress)| {
            let lag_time_max = self.limits.lag_time_max;
            let is_member = self.in_sync.is_committed(*broker);
            let lags = is_member && progress.acked() < Some(self.end);
            let may_ask = !self.in_sync.has_pending();
            [
                progress.due_at(&self.limits),
                (may_ask && lags).then(|| progress.lag.deadline(lag_time_max)),
                progress.next_join_at,
            ]
        };
        self.followers.iter().flat_map(of_follower).chain([self.in_sync.repeat_at()]).flatten().min()
    }

    pub(super) fn check_invariants(&self, high_watermark: Offset) {
        let names_me = self.in_sync.is_committed(self.me);
        assert!(names_me && !self.followers.contains_key(&self.me), "a leader is in sync, and not its own follower");
        self.followers.values().for_each(|progress| progress.check_invariants(self.end, &self.limits));
        assert!(self.epoch_start <= self.end && high_watermark <= self.end, "a leader's log was cut");
    }
}

/// The result of [`Action::ReadBatches`]. `end` is `first` if the batches are gone, or cannot be
/// read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchesRead {
    pub follower: BrokerId,
    pub handshake: Handshake,
    pub first: Offset,
    /// One past the last.
    pub end: Offset,
    pub bytes: usize,
}

/// The next action for one follower, apart from heartbeats.
fn serve(
    now: Instant,
    log: &LogView<'_>,
    epoch: LeaderEpoch,
    limits: &ReplicationLimits,
    follower: BrokerId,
    progress: &mut Progress,
) -> Option<Action> {
    let handshake = progress.handshake();
    let conversation = Conversation { epoch, handshake };
    if let Some(answer) = progress.repeat_answer(now, limits) {
        return Some(Action::Send { to: follower, message: Message::Answer(answer) });
    }
    let acked = progress.acked()?;
    let pushing = progress.pushing()?;
    if pushing.window.resend_at(limits).is_some_and(|at| at <= now) {
        pushing.window.rewind(now, acked);
    }
    let next = pushing.window.next();
    if next < log.local_start {
        progress.end();
        return Some(Action::Send { to: follower, message: Message::Void(conversation) });
    }
    pushing.reading.end_pause(now);
    if next >= log.end || pushing.reading != Reading::Idle {
        return None;
    }
    let bytes_max = pushing.window.room(limits)?;
    pushing.reading = Reading::InFlight;
    Some(Action::ReadBatches { follower, handshake, first: next, bytes_max })
}

/// The heartbeat for one follower, if one is due. A read that begins now does not replace it: the
/// read may take long, or return nothing.
fn heartbeat(
    now: Instant,
    epoch: LeaderEpoch,
    limits: &ReplicationLimits,
    high_watermark: Offset,
    follower: BrokerId,
    progress: &mut Progress,
) -> Option<Action> {
    let conversation = Conversation { epoch, handshake: progress.handshake() };
    let pushing = progress.pushing().filter(|pushing| pushing.heartbeat_at <= now)?;
    pushing.heartbeat_at = now.plus(limits.heartbeat_interval);
    let next = pushing.window.next();
    let push = Push { conversation, first: next, end: next, previous_epoch: None, high_watermark };
    Some(Action::Send { to: follower, message: Message::Push(push) })
}
