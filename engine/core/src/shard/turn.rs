//! The driver's calls for turns, commits and other events, and the order of the machine's steps in
//! each. The decisions of each step are in its own file.

use std::time::Duration;

use bytes::Bytes;
use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use super::actions::{Action, Fact};
use super::appends;
use super::backlog::{Job, Progress};
use super::cleaner::{MoveError, Read};
use super::commit_builder::NoRoom;
use super::commits::{CommitNumber, CommitSteps, Durable, StagedEnds};
use super::cuts::StagedCut;
use super::error::CutError;
use super::failure::WalFailure;
use super::host::Host;
use super::log_rebuild::RebuildError;
use super::machine::Shard;
use super::now::Now;
use super::partitions::PartitionKey;
use super::placement::{self, Deleted, NewLog, NotStaged, Trimmed};
use super::publication;
use super::request::CutLog;
use super::retention::RetentionStep;
use super::waiting::{Answer, Waiting};
use crate::log::{PartitionLog, RejectedEpoch, WatermarkRule};
use crate::wal::segments::OldestSegment;
use crate::wal::{SlotId, WalPosition};

/// How long a segment waits for its readers before the next check, unless a commit ends sooner.
const READERS_PAUSE: Duration = Duration::from_millis(20);

impl<H: Host> Shard<H> {
    // Turns.

    /// To be called before the first turn.
    pub fn begin(&mut self, now: Now) {
        self.actions.shrink();
        // First the segments that were freed before the restart and not started again: the log can
        // continue in their slots.
        self.free_segments(now);
        // A full log then moves data, after the group that puts the WAL session on disk, which goes
        // alone.
        self.cleaner.check_after_staged(now.at, self.staging.is_empty(), &self.commits);
        if self.staging.is_empty() {
            self.check_oldest_segment(now);
        }
    }

    /// Runs the tasks that are due by the clock.
    pub fn handle_time(&mut self, now: Now) {
        // First: it requires that all actions are executed, and the later tasks push some.
        let is_freed = self.free_at.take_if(|at| *at <= now.at).is_some() && self.free_segments(now);
        if now.at >= self.retention.due_at() {
            self.enforce_retention(now);
        }
        let proof = self.commits.proof_due(self.staging.is_empty()).filter(|due| *due <= now.at);
        // A shard that ends stages its proof at the end of the turn.
        if proof.is_some() && !self.is_closing() {
            self.prove(now);
        }
        if self.cleaner.take_due_at(now.at) || is_freed {
            self.check_oldest_segment(now);
        }
    }

    fn enforce_retention(&mut self, now: Now) {
        let Self { retention, partitions, staging, actions, .. } = self;
        let RetentionStep { trims, is_last } = retention.run(now, partitions, staging, actions);
        self.apply_when_durable(trims);
        if is_last {
            self.check_oldest_segment(now);
        }
    }

    /// Stages the waiting requests while there is room. Once a turn, after the reports of all
    /// events.
    pub fn stage(&mut self, now: Now) {
        assert!(self.actions.is_empty(), "what a commit published is shown before older batches are given up");
        if let Some(durable) = self.durable.take() {
            self.follow_up(now, durable);
        }
        // A requested cut may need another segment, and so may a proof.
        let needs_segment =
            !self.cuts.is_empty() || self.commits.is_unproven() && self.table().next_position().is_none();
        let is_ending = self.is_closing() && self.backlog.is_empty() && !needs_segment;
        self.slots.pace(self.staging.table(), is_ending, &mut self.actions);
        if self.poisoned().is_none() {
            if !is_ending {
                self.slots.ask(self.staging.table_mut(), &mut self.actions);
            }
            // The group that puts the WAL session on disk goes alone: after a power cut another
            // group might be there without it, and the next start would take the session again.
            if self.commits.begun() == 0 && !self.staging.is_empty() {
                return;
            }
            self.repair.stage::<H>(&self.commits, &self.partitions, &mut self.staging);
            // A shard that ends does not wait for checkpoints: the next start uses older ones.
            if !is_ending && let Err(error) = self.staging.stage_checkpoints(&self.partitions) {
                // The checkpoints are due again at the next segment, and a piece in the next turn.
                self.actions.note(Fact::NoMemoryForCheckpoints(error));
            }
        }
        self.stage_cuts(now);
        self.stage_backlog(now);
        if self.is_closing() && self.commits.proof_due(self.staging.is_empty()).is_some() {
            self.prove(now);
        }
    }

    /// Stages the requests that came while a commit was handed over.
    pub fn stage_backlog(&mut self, now: Now) {
        while let Some(job) = self.backlog.pop() {
            // A poisoned shard refuses everything at once.
            if self.staging.is_full() && self.poisoned().is_none() {
                self.backlog.put_back(job);
                return;
            }
            if let Some(stalled) = self.stage_job(now, job) {
                self.backlog.put_back(stalled);
                return;
            }
        }
    }

    /// Stages a job. Returns it if it cannot continue now.
    fn stage_job(&mut self, now: Now, job: Job<H>) -> Option<Job<H>> {
        match job {
            Job::Append(mut append) => {
                let Self { partitions, staging, appended, .. } = self;
                if self.waiting.batches() >= self.config.waits_max && staging.poisoned().is_none() {
                    return Some(Job::Append(append));
                }
                if append.stage(partitions, staging, now, appended) == Progress::Stalled {
                    return Some(Job::Append(append));
                }
                let is_refused = append.is_refused();
                let waiting = append.into_waiting();
                if is_refused { self.complete(Waiting::Append(waiting)) } else { self.answer_when_passed(waiting) }
            }
            Job::Open { partitions, reply } => {
                // A stalled request restarts from the beginning: partitions that are open by then
                // stay as they are.
                let mut results = Vec::with_capacity(partitions.len());
                for open in &partitions {
                    let new = NewLog { limits: self.config.limits, replicas: self.config.replicas };
                    let actions = &mut self.actions;
                    match placement::open(*open, new, &mut self.partitions, &mut self.staging, actions) {
                        Ok(led) => {
                            if self.cuts.on_led(led.key, open.leader_epoch, &mut self.actions) {
                                self.keep_uncut(led.key);
                            }
                            results.push(Ok(led));
                        }
                        Err(NotStaged::Await) => return Some(Job::Open { partitions, reply }),
                        Err(NotStaged::Error(error)) => results.push(Err(error)),
                    }
                }
                let keys =
                    results.iter().map(|result| result.as_ref().map(|led| led.key).map_err(Clone::clone)).collect();
                self.answer_when_durable(results.into_iter().flatten(), Answer::Open { results: keys, reply });
            }
            Job::Configure { id, config, reply } => {
                if let Some(partition) = self.partitions.key(id).and_then(|key| self.partitions.at_mut(key)) {
                    partition.config = config;
                }
                self.actions.push(Action::AnswerConfigure { reply });
            }
            Job::Verify { batches, reply } => {
                let results = batches.iter().map(|batch| appends::verify(batch, &self.partitions)).collect();
                self.actions.push(Action::AnswerVerify { reply, results });
            }
            Job::DescribeProducers { id, reply } => {
                let producers = appends::describe_producers(id, &self.partitions);
                self.actions.push(Action::AnswerProducers { reply, producers });
            }
            Job::Trim { id, to, reply } => match placement::trim(id, to, &mut self.partitions, &mut self.staging) {
                Ok(Trimmed { log_start, change }) => {
                    self.answer_when_durable(change, Answer::Trim { log_start, reply });
                }
                Err(NotStaged::Await) => return Some(Job::Trim { id, to, reply }),
                Err(NotStaged::Error(error)) => self.actions.push(Action::AnswerTrim { reply, result: Err(error) }),
            },
            Job::Delete { ids, reply } => {
                let Some(Deleted { closed, results }) =
                    placement::delete(&ids, &mut self.partitions, &mut self.staging, &mut self.actions)
                else {
                    return Some(Job::Delete { ids, reply });
                };
                for change in &closed {
                    self.cleaner.on_closed(change.key);
                    self.cuts.on_closed(change.key, &mut self.actions);
                }
                self.answer_when_durable(closed, Answer::Delete { results, reply });
            }
            Job::Close { reply } => self.close(Some(reply)),
        }
        None
    }

    // Ends.

    /// Every handle is gone: no more requests come.
    pub fn on_handles_gone(&mut self) {
        self.close(None);
    }

    fn close(&mut self, reply: Option<H::DoneReply>) {
        self.closing.get_or_insert_default().extend(reply);
    }

    /// Whether the shard has ended, after the driver has executed every action: nothing is under
    /// way, and a proof covers the durable groups.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let is_quiet = !self.commits.is_in_flight() && self.staging.is_empty() && self.backlog.is_empty();
        let is_proved = !self.commits.is_unproven() || self.poisoned().is_some();
        self.is_closing()
            && is_quiet
            && is_proved
            && self.cuts.is_idle()
            && self.slots.under_way() == 0
            && !self.repair.is_forgetting()
            && self.durable.is_none()
            && self.actions.is_empty()
    }

    /// Takes the replies to answer when the shard has ended.
    pub fn take_closing(&mut self) -> Vec<H::DoneReply> {
        self.closing.take().unwrap_or_default()
    }

    // Commits.

    /// Begins a commit of everything gathered. `None` if that is nothing, or if a commit in flight
    /// excludes another one.
    pub fn poll_commit(&mut self, now: Now) -> Option<CommitSteps> {
        assert!(self.actions.is_empty(), "actions are executed before a commit begins");
        if self.poisoned().is_some() || !self.commits.admits(self.staging.has_rolled()) {
            return None;
        }
        let commit = self.staging.take_commit()?;
        let rolls = self.staging.take_rolls();
        let commit = self.commits.begin(now.at, commit, rolls > 0);
        if rolls > 0 {
            self.slots.on_rolls(now.at, rolls);
            self.cleaner.check_after(commit.number);
        }
        Some(commit)
    }

    /// A commit has ended; two may end in any order. After an error neither it nor any other commit
    /// in flight counts, and nothing more is staged.
    pub fn on_committed(&mut self, now: Now, number: CommitNumber, result: Result<(), WalFailure>) {
        match result {
            Ok(()) => self.commits.on_written(now.at, number),
            Err(failure) => {
                // Only the first failure is reported. The other commits in flight may end in any
                // way.
                if !self.commits.are_lost() {
                    self.lose(&failure);
                }
                self.commits.on_failed(number);
            }
        }
        while let Some(durable) = self.commits.take_durable() {
            self.on_durable(now, durable);
        }
    }

    fn on_durable(&mut self, now: Now, Durable { number, batches, end, holds_frames }: Durable) {
        self.staging.builder_mut().on_committed(end);
        self.commits.on_durable(now.at, holds_frames);
        let Self { partitions, waiting, staging, .. } = self;
        if let Some(publication) = publication::publish(batches, partitions, waiting, staging.builder_mut()) {
            self.actions.push(Action::Publish(publication));
        }
        self.complete_due();
        self.durable = Some(number);
    }

    /// Runs the tasks that a durable commit enables, after readers see its batches: only then may
    /// older batches be evicted.
    fn follow_up(&mut self, now: Now, durable: CommitNumber) {
        self.free_segments(now);
        self.staging.builder_mut().make_room(0);
        self.repair.on_durable(durable, &mut self.actions);
        if self.cleaner.take_due(durable) {
            self.check_oldest_segment(now);
        }
    }

    /// Stages nothing more from here on; published batches stay readable. Commits in flight still
    /// end, and count if they succeed.
    fn poison(&mut self, failure: &WalFailure) {
        self.staging.poison(failure.clone());
        self.actions.push(Action::Poison(failure.clone()));
        for key in self.cuts.refuse_all(failure, &mut self.actions) {
            self.keep_uncut(key);
        }
        let end = self.commits.in_flight_end().unwrap_or_default();
        let in_flight = self.commits.in_flight_ends(&self.partitions);
        self.refuse_lost(failure, end, &in_flight);
    }

    /// Poisons the shard after a disk failure: commits in flight do not count either. The system
    /// may report a failure to one sync alone although it concerns the bytes of another, which then
    /// succeeds.
    fn lose(&mut self, failure: &WalFailure) {
        // Requests that had gathered are refused first.
        self.poison(failure);
        self.commits.lose();
        self.refuse_lost(failure, WalPosition::default(), &StagedEnds::default());
    }

    /// The log has failed: refuses all waits except for groups before `end` and for batches up to
    /// these ends, which can still become durable.
    fn refuse_lost(&mut self, failure: &WalFailure, end: WalPosition, batches: &StagedEnds) {
        for waiting in self.waiting.take_lost(end, batches) {
            waiting.refuse(failure, &mut self.partitions, &mut self.actions);
        }
    }

    fn prove(&mut self, now: Now) {
        match self.staging.stage_proof() {
            Ok(()) => self.commits.on_proof_staged(),
            Err(no_room) => {
                self.commits.delay_proof(now.at);
                if let NoRoom::Memory(error) = no_room {
                    self.actions.note(Fact::NoMemoryForProof(error));
                }
            }
        }
    }

    // Replication.

    /// Another leader's log diverges: cuts off the end of this one, or all of it. Answered once
    /// that is durable.
    ///
    /// A log holds whole batches. If the end lies inside a batch, which the other log may divide
    /// differently, the whole batch goes, and the answer says so: a refusal would make each caller
    /// repeat the same request.
    pub fn handle_cut(&mut self, cut: CutLog, reply: H::CutReply) {
        match self.follow(cut.id, cut.leader_epoch) {
            Ok(()) => {
                let Self { cuts, partitions, staging, waiting, actions, .. } = self;
                cuts.request(cut, reply, partitions, staging, waiting, actions);
            }
            Err(error) => self.actions.push(Action::AnswerCut { reply, result: Err(error) }),
        }
    }

    /// Another broker leads the partition in this epoch. Even if its request fails, readers see the
    /// epoch, and requests of an earlier leader are refused.
    fn follow(&mut self, id: TopicIdPartition, epoch: LeaderEpoch) -> Result<(), CutError> {
        if let Some(failure) = self.poisoned() {
            return Err(CutError::Storage(failure.clone()));
        }
        let key = self.partitions.key(id).ok_or(CutError::UnknownPartition)?;
        let partition = self.partitions.at_mut(key).expect("its id has this key");
        let fenced = |RejectedEpoch { given, current }| CutError::FencedLeaderEpoch { given, current };
        if partition.follow(epoch).map_err(fenced)? {
            self.actions.push(Action::PublishEpoch { key, epoch });
            if self.cuts.on_followed(key, epoch, &mut self.actions) {
                self.keep_uncut(key);
            }
        }
        Ok(())
    }

    /// Ends an [`Action::Rebuild`].
    pub fn on_rebuilt(&mut self, number: u64, log: Result<PartitionLog, RebuildError>) {
        let refused = self.cuts.on_rebuilt(number, log, &mut self.actions);
        refused.into_iter().for_each(|key| self.keep_uncut(key));
    }

    fn stage_cuts(&mut self, now: Now) {
        if self.cuts.is_empty() {
            return;
        }
        for key in self.cuts.keys() {
            let Self { cuts, partitions, staging, waiting, actions, .. } = self;
            match cuts.stage(key, now, partitions, staging, waiting, actions) {
                Ok(None) => {}
                Ok(Some(StagedCut { change, end, reply })) => {
                    self.answer_when_durable([change], Answer::Cut { end, reply });
                }
                Err(_) => self.keep_uncut(key),
            }
        }
        self.cuts.begin_rebuild(&self.partitions, &self.staging, &mut self.actions);
    }

    /// A requested cut of the log is not made: the log continues.
    fn keep_uncut(&mut self, key: PartitionKey) {
        let Some(partition) = self.partitions.at_mut(key) else { return };
        if partition.log.end_cut() {
            self.show_frontiers(key);
        }
    }

    /// Reports how far the partition's other replicas have acknowledged its log. Ignored if the
    /// partition is not open, or is being cut: the report concerns the log before the cut.
    pub fn handle_watermark(&mut self, id: TopicIdPartition, acknowledged: Offset) {
        let Some(key) = self.partitions.key(id) else { return };
        let partition = self.partitions.at_mut(key).expect("its id has this key");
        if partition.log.is_being_cut() {
            return;
        }
        if partition.log.follow_watermark(WatermarkRule::Acknowledged(acknowledged)) {
            self.show_frontiers(key);
        }
    }

    /// Frontiers have moved without a commit: publishes them and answers the appends that waited
    /// for them.
    fn show_frontiers(&mut self, key: PartitionKey) {
        let Some(partition) = self.partitions.at_mut(key) else { return };
        let (frontiers, size_bytes) = (partition.frontiers(), partition.size_bytes());
        let aborted = partition.newly_aborted();
        self.actions.push(Action::PublishFrontiers { key, frontiers, size_bytes, aborted });
        self.waiting.advance(key, &frontiers);
        self.waiting.order_reached();
        self.complete_due();
    }

    fn complete_due(&mut self) {
        while let Some(waiting) = self.waiting.take_due(self.staging.table().durable()) {
            self.complete(waiting);
        }
    }

    // Segments.

    pub fn on_slot_reserved(&mut self, now: Now, slot: SlotId) {
        self.slots.on_ended();
        self.staging.table_mut().on_slot_reserved(slot);
        // A move may have waited for the slot.
        self.check_oldest_segment(now);
    }

    pub fn on_slot_filled(&mut self, now: Now, slot: SlotId) {
        self.slots.on_ended();
        self.staging.table_mut().on_slot_filled(slot);
        self.check_oldest_segment(now);
    }

    pub fn on_slot_failed(&mut self, now: Now, slot: SlotId) {
        self.slots.on_ended();
        self.staging.table_mut().on_slot_failed(slot);
        // A log on a full disk drops bases that only a cut would need, and then more moves pay.
        self.free_at = Some(now.at);
        self.check_oldest_segment(now);
    }

    /// The thread that prepares slots is gone, and its preparations are lost: no further segment
    /// will become ready.
    pub fn on_preparation_lost(&mut self) {
        self.slots.on_lost();
        self.poison(&WalFailure::PreparationLost);
    }

    /// Frees segments, after readers see the log's current locations: no reader then finds a free
    /// segment.
    fn free_segments(&mut self, now: Now) -> bool {
        assert!(self.actions.is_empty(), "readers are shown where batches are before their segment is freed");
        let mut count = 0;
        let Self { staging, partitions, .. } = self;
        let high_watermark =
            |id| partitions.find(id).map_or(Offset(i64::MAX), |partition| partition.log.frontiers().high_watermark);
        let oldest = loop {
            match staging.table_mut().poll_free(high_watermark) {
                OldestSegment::Freed(_) => count += 1,
                oldest => break oldest,
            }
        };
        if count > 0 {
            self.actions.note(Fact::SegmentsFreed { count });
        }
        self.free_at = (oldest == OldestSegment::Held).then(|| now.at.plus(READERS_PAUSE));
        count > 0
    }

    pub(super) fn check_oldest_segment(&mut self, now: Now) {
        let Self { cleaner, commits, partitions, staging, waiting, actions, .. } = self;
        if waiting.is_moving() {
            return cleaner.check_after_staged(now.at, staging.is_empty(), commits);
        }
        let moves = cleaner.check(now.at, commits, partitions, staging, actions);
        self.apply_when_durable(moves);
    }

    /// Ends an [`Action::ReadToMove`].
    pub fn on_moved(&mut self, now: Now, number: u64, batches: Result<Vec<Bytes>, MoveError>) {
        let Self { cleaner, commits, partitions, staging, actions, .. } = self;
        let moves = cleaner.on_read(now.at, Read { number, batches }, commits, partitions, staging, actions);
        self.apply_when_durable(moves);
    }

    /// The driver has removed the folder's note of the repair, or failed to.
    pub fn on_repair_forgotten(&mut self, result: Result<(), String>) {
        self.repair.on_forgotten();
        self.actions.note(match result {
            Ok(()) => Fact::RepairForgotten,
            Err(reason) => Fact::RepairRemembered { reason },
        });
    }

    /// A sync outside the commits has failed. Its bytes count as lost, and so do the commits in
    /// flight: a later sync may succeed without those bytes, and there may be none.
    pub fn on_sync_failed(&mut self, failure: &WalFailure) {
        self.repair.on_forgotten();
        self.lose(failure);
    }

    /// The memory limit has changed: a smaller one applies at once, even while the shard is idle.
    pub fn on_memory_budget_set(&mut self) {
        self.staging.builder_mut().make_room(0);
    }
}
