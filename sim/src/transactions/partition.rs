//! One partition: the durable part of its log, and its leader with the real [`PartitionLog`] and
//! the real guards of verifications.
//!
//! The leader stands for a replicated one: a batch is committed when it is synced. When a leader
//! ends, the next one has all committed batches, and any prefix of the others.

use rustmq_engine_core::log::{
    AbortedIndex, Admission, AppendDecision, AppendRejection, EpochStart, Gaps, LogLimits, MarkerTrace, PartitionLog,
    ReplayedMarker, Replicas, VerificationDecision, VerificationGuard, Verifications, WatermarkRule,
};
use rustmq_model::{LeaderEpoch, Offset, ProducerKey, Timestamp, TopicPartition, TransactionMarker};

use super::batches::Batch;
use super::environment::Waiter;
use crate::Rng;

/// The epoch in which each log is opened. No leader has it.
const OPENED_IN: LeaderEpoch = LeaderEpoch(0);

/// One leadership of one partition. A topic that is made again has another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    pub incarnation: u32,
    pub epoch: LeaderEpoch,
}

#[derive(Clone, Debug)]
enum Frame {
    Batch(Batch),
    EpochStart(EpochStart),
    Trim(Offset),
}

/// The leader of a partition.
#[derive(Debug)]
pub struct Leader {
    pub broker: usize,
    pub term: Term,
    core: PartitionLog,
    /// The aborted transactions, which the indexes of the segments would have.
    aborted: AbortedIndex,
    verifications: Verifications,
    batches: Vec<Batch>,
    waiting: Vec<(Offset, Waiter)>,
    is_syncing: bool,
}

#[derive(Debug)]
pub struct Partition {
    pub name: TopicPartition,
    frames: Vec<Frame>,
    synced: usize,
    last_term: Term,
    exists: bool,
    leader: Option<Leader>,
    /// Every committed batch below this offset was handed out by [`Self::take_committed`].
    observed: Offset,
}

impl Partition {
    pub fn new(name: TopicPartition) -> Self {
        let last_term = Term { incarnation: 0, epoch: OPENED_IN };
        Self { name, frames: Vec::new(), synced: 0, last_term, exists: true, leader: None, observed: Offset::ZERO }
    }

    pub const fn exists(&self) -> bool {
        self.exists
    }

    pub const fn incarnation(&self) -> u32 {
        self.last_term.incarnation
    }

    pub const fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref()
    }

    pub const fn leader_mut(&mut self) -> Option<&mut Leader> {
        self.leader.as_mut()
    }

    /// The leader of this term, if it still leads.
    pub fn leader_of(&mut self, term: Term) -> Option<&mut Leader> {
        self.leader.as_mut().filter(|leader| leader.term == term)
    }

    /// Stores a batch before the first leader.
    pub fn store_first(&mut self, batch: Batch) {
        let end = self.frames.last().map_or(Offset::ZERO, |frame| match frame {
            Frame::Batch(batch) => batch.end(),
            Frame::EpochStart(_) | Frame::Trim(_) => unreachable!("there was no leader"),
        });
        self.frames.push(Frame::Batch(batch.placed(end, OPENED_IN)));
        self.synced = self.frames.len();
    }

    /// Another broker leads, or the same one again: it recovers the log from its frames.
    pub fn elect(&mut self, broker: usize, now: Timestamp) -> Term {
        assert!(self.exists && self.leader.is_none(), "a partition has one leader");
        let mut core = PartitionLog::open(LogLimits::default(), OPENED_IN, Offset::ZERO);
        let mut batches = Vec::new();
        for frame in &self.frames {
            match frame {
                Frame::Batch(batch) => {
                    // The frames here have no index: the log remembers the aborted transactions.
                    let trace = MarkerTrace::Plain;
                    let marker = batch.marker.map(|marker| ReplayedMarker { marker, trace });
                    core.replay_batch(&batch.header, marker, Gaps::Refused).expect("batches follow each other");
                    batches.push(batch.clone());
                }
                Frame::EpochStart(begun) => {
                    core.replay_epoch_start(*begun, Gaps::Refused).expect("an epoch begins at the end");
                }
                Frame::Trim(start) => core.replay_trim(*start, Gaps::Refused).expect("it is within the log"),
            }
        }
        core.finish_replay(Replicas::Several, now);
        // A new leader does not know how much of its log the replicas have.
        core.follow_watermark(WatermarkRule::Acknowledged(self.observed));
        self.last_term.epoch = LeaderEpoch(self.last_term.epoch.0 + 1);
        let begun = core.prepare_lead(self.last_term.epoch).expect("the epoch is new").expect("it has not begun");
        core.lead(begun);
        self.frames.push(Frame::EpochStart(begun));
        core.check_invariants();
        let term = self.last_term;
        let leadership = u64::try_from(term.epoch.0).expect("epochs are positive");
        let (verifications, waiting) = (Verifications::of_leadership(leadership), Vec::new());
        let aborted = core.unindexed_aborted().clone();
        self.leader = Some(Leader { broker, term, core, aborted, verifications, batches, waiting, is_syncing: false });
        term
    }

    /// The leader ends. A prefix of the batches that are not committed stays. Returns the number of
    /// lost frames.
    pub fn depose(&mut self, rng: &mut Rng) -> usize {
        self.leader = None;
        let unsynced = self.frames.len() - self.synced;
        let kept = rng.below(unsynced + 1);
        self.frames.truncate(self.synced + kept);
        self.synced = self.frames.len();
        unsynced - kept
    }

    /// The topic is deleted, with everything that was in it.
    pub fn delete(&mut self) {
        (self.leader, self.exists) = (None, false);
        self.frames.clear();
        (self.synced, self.observed) = (0, Offset::ZERO);
    }

    /// A topic of the same name is made.
    pub fn make_again(&mut self) {
        self.exists = true;
        self.last_term.incarnation += 1;
    }

    /// The beginning of the next sync, if one is needed: the number of frames that it makes
    /// durable.
    pub fn begin_sync(&mut self) -> Option<usize> {
        let leader = self.leader.as_mut().filter(|leader| !leader.is_syncing)?;
        leader.is_syncing = self.frames.len() > self.synced;
        leader.is_syncing.then_some(self.frames.len())
    }

    /// A sync has ended.
    pub fn on_synced(&mut self, until: usize) {
        let leader = self.leader.as_mut().expect("the caller has checked the term");
        leader.is_syncing = false;
        leader.core.follow_watermark(WatermarkRule::Sole);
        for frame in &self.frames[self.synced..until] {
            match frame {
                Frame::Batch(batch) => drop(leader.core.on_durable(batch.end())),
                Frame::Trim(start) => drop(leader.core.on_trim_durable(*start)),
                Frame::EpochStart(_) => {}
            }
        }
        self.synced = until;
        leader.core.check_invariants();
    }

    /// Those that wait for a part of the log that is committed now.
    pub fn take_woken(&mut self) -> Vec<Waiter> {
        let Some(leader) = &mut self.leader else { return Vec::new() };
        let high_watermark = leader.core.frontiers().high_watermark;
        leader.waiting.extract_if(.., |(until, _)| *until <= high_watermark).map(|(_, waiter)| waiter).collect()
    }

    /// The batches that were committed since the last call.
    pub fn take_committed(&mut self) -> Vec<Batch> {
        let Some(leader) = &self.leader else { return Vec::new() };
        let until = leader.core.frontiers().high_watermark;
        let committed = leader.between(self.observed, until).cloned().collect();
        self.observed = self.observed.max(until);
        committed
    }

    /// Appends a batch that the log has accepted.
    pub fn append(&mut self, batch: Batch, marker: Option<&TransactionMarker>, now: Timestamp) {
        let leader = self.leader.as_mut().expect("the log has accepted the batch");
        let base_offset = leader.core.end();
        match marker {
            Some(marker) => {
                let trace = leader.core.commit_marker(&batch.header, marker.into(), base_offset, now);
                leader.aborted.extend(trace.aborted());
                leader.verifications.on_marker(marker);
            }
            None => {
                leader.core.commit_append(&batch.header, base_offset, now);
            }
        }
        let batch = batch.placed(base_offset, leader.term.epoch);
        leader.batches.push(batch.clone());
        self.frames.push(Frame::Batch(batch));
    }

    /// Trims the log, below the high watermark. Returns whether it does not start there already.
    pub fn trim(&mut self, below: Offset) -> bool {
        let leader = self.leader.as_mut().expect("the caller has checked the term");
        let start = leader.core.trim(below).expect("the caller trims committed records");
        self.frames.extend(start.map(Frame::Trim));
        start.is_some()
    }
}

impl Leader {
    /// The aborted transactions of the log.
    pub const fn aborted(&self) -> &AbortedIndex {
        &self.aborted
    }

    pub const fn core(&self) -> &PartitionLog {
        &self.core
    }

    pub const fn end(&self) -> Offset {
        self.core.end()
    }

    pub fn wait(&mut self, until: Offset, waiter: Waiter) {
        self.waiting.push((until, waiter));
    }

    /// All batches, also those below the log start.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }

    /// The batches with records in `from..until`.
    pub fn between(&self, from: Offset, until: Offset) -> impl Iterator<Item = &Batch> {
        let first = self.batches.partition_point(|batch| batch.end() <= from);
        self.batches[first..].iter().take_while(move |batch| batch.first() < until)
    }

    /// Begins the verification of a batch. None if it needs none.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the batch must not be appended.
    pub fn begin_verification(&self, batch: &Batch) -> Result<Option<VerificationGuard>, AppendRejection> {
        Ok(match self.core.prepare_verification(None, &batch.header)? {
            VerificationDecision::NotNeeded => None,
            VerificationDecision::Needed => Some(self.verifications.guard(batch.producer())),
        })
    }

    /// The admission of a client's batch that comes with this guard.
    pub fn admission(&self, guard: Option<VerificationGuard>, producer: ProducerKey) -> Admission {
        let is_verified = guard.is_some_and(|guard| self.verifications.admits(guard, producer));
        if is_verified { Admission::Verified } else { Admission::Unverified }
    }

    /// # Errors
    /// [`AppendRejection`] says why the batch must not be appended.
    pub fn decide(&self, batch: &Batch, admission: Admission) -> Result<AppendDecision, AppendRejection> {
        self.core.prepare_append(None, &batch.header, admission)
    }

    /// # Errors
    /// [`AppendRejection`] says why the marker must not be appended.
    pub fn decide_marker(&self, batch: &Batch, marker: &TransactionMarker) -> Result<AppendDecision, AppendRejection> {
        self.core.prepare_marker(None, &batch.header, marker)
    }

    /// The batches of the transaction that a marker of this producer would end.
    pub fn open_batches(&self, producer: ProducerKey) -> impl Iterator<Item = &Batch> {
        let open = self.core.producers().find(producer.id).and_then(|known| known.open_transaction);
        let batches = self.between(open.unwrap_or(self.end()), self.end());
        batches.filter(move |batch| batch.header.producer_id == producer.id)
    }
}
