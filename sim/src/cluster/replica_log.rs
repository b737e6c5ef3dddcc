//! One replica's log: the real [`PartitionLog`], the stored batches, and the state before them,
//! which is the base of cuts. The same code applies a frame of the medium when it is written and
//! again after a crash. A log that was dropped begins anew with the state that the tier has for its
//! start; a real log cannot get that state yet.
//!
//! `PartitionLog` does not accept a follower's appends yet, which come with offsets and epochs. So
//! it replays all batches, which counts them as durable; the durable end is computed here from the
//! medium.

use std::rc::Rc;

use rustmq_engine_core::log::{
    Admission, AppendDecision, AppendRejection, EpochStart, Gaps, LogLimits, MarkerTrace, PartitionLog, ReplayedMarker,
    WatermarkRule,
};
use rustmq_engine_core::replication::{LogView, Starts};
use rustmq_model::{LeaderEpoch, Offset, Timestamp, TransactionVersion};

use super::batches::Batch;
use super::medium::Frame;

/// The epoch in which each log is opened. No leader has it.
const OPENED_IN: LeaderEpoch = LeaderEpoch(0);

#[derive(Clone, Copy, Debug)]
struct Stored {
    batch: Batch,
    frame: usize,
}

#[derive(Debug)]
pub struct ReplicaLog {
    core: PartitionLog,
    /// The state at [`Self::local_start`].
    before: PartitionLog,
    stored: Vec<Stored>,
    starts: Starts,
    high_watermark: Offset,
    reset_noted: Option<Offset>,
}

/// A log without any batch.
pub fn empty() -> PartitionLog {
    let mut core = PartitionLog::open(LogLimits::default(), OPENED_IN, Offset::ZERO);
    core.follow_watermark(WatermarkRule::Acknowledged(Offset::ZERO));
    core
}

/// Appends a batch that has its offset and its epoch.
pub fn append(core: &mut PartitionLog, batch: &Batch) {
    let Batch { header, marker } = batch;
    let is_its_own = core.epochs().last().is_none_or(|last| last.epoch <= header.leader_epoch);
    assert!(is_its_own, "a batch is not in a later epoch than its own");
    // The frames here have no index, so that the log remembers the aborted transactions.
    let marker = marker.map(|marker| ReplayedMarker { marker, trace: MarkerTrace::Plain });
    core.replay_batch(header, marker, Gaps::Refused).expect("batches follow each other");
}

/// Commits the records below `high_watermark`, and deletes those below `log_start`.
pub fn settle(core: &mut PartitionLog, high_watermark: Offset, log_start: Offset) {
    core.follow_watermark(WatermarkRule::Acknowledged(high_watermark));
    let log_start = log_start.min(core.frontiers().high_watermark);
    if let Some(start) = core.trim(log_start).expect("it is not above the high watermark") {
        core.on_trim_durable(start);
    }
}

impl ReplicaLog {
    fn new(before: PartitionLog) -> Self {
        let start = before.end();
        let starts = Starts { log_start: before.decided_log_start(), tier_end: Offset::ZERO };
        let (core, stored) = (before.clone(), Vec::new());
        Self { core, before, stored, starts, high_watermark: start, reset_noted: None }
    }

    /// Recovers the log from its frames.
    pub fn recover(frames: &[Frame]) -> Self {
        let mut log = Self::new(empty());
        frames.iter().enumerate().for_each(|(number, frame)| log.apply(number, frame));
        // A start does not know how much of the log the other replicas had.
        log.high_watermark = log.local_start().max(log.starts.local());
        settle(&mut log.core, log.high_watermark, log.starts.log_start);
        log.core.check_invariants();
        log
    }

    pub fn apply(&mut self, number: usize, frame: &Frame) {
        match frame {
            Frame::Batch(batch) => {
                append(&mut self.core, batch);
                self.stored.push(Stored { batch: *batch, frame: number });
            }
            Frame::EpochStart(EpochStart { epoch, .. }) => {
                let begun = self.core.prepare_lead(*epoch).expect("a leader's epoch is newer than its log");
                self.core.lead(begun.expect("it has not begun before"));
            }
            Frame::Starts(starts) => self.move_starts(*starts),
            Frame::Truncate(to) => self.truncate(*to),
            Frame::ResetNoted(start) => {
                *self = Self::new(empty());
                self.reset_noted = Some(*start);
            }
            Frame::Reset(before) => *self = Self::new(PartitionLog::clone(before)),
        }
    }

    /// Rebuilds the producers' state from the stored batches and the state before them.
    fn rebuilt(&self) -> PartitionLog {
        let mut core = self.before.clone();
        self.stored.iter().for_each(|stored| append(&mut core, &stored.batch));
        core
    }

    fn truncate(&mut self, to: Offset) {
        let kept = self.stored.partition_point(|stored| stored.batch.end() <= to);
        self.stored.truncate(kept);
        let mut rebuilt = self.rebuilt();
        assert_eq!(rebuilt.end(), to, "a cut is between two batches");
        assert!(self.has_to_cut(to), "a cut removes something");
        self.core.begin_cut();
        rebuilt.continue_cut(&self.core, Timestamp(0));
        self.core = rebuilt;
        self.core.end_cut();
        self.core.check_invariants();
    }

    fn move_starts(&mut self, starts: Starts) {
        self.starts.log_start = self.starts.log_start.max(starts.log_start);
        self.starts.tier_end = self.starts.tier_end.max(starts.tier_end);
        let gone = self.stored.partition_point(|stored| stored.batch.end() <= self.starts.local());
        for stored in self.stored.drain(..gone) {
            append(&mut self.before, &stored.batch);
        }
        let end = self.before.end();
        settle(&mut self.before, end, self.starts.log_start);
        self.raise_high_watermark(self.starts.local());
        settle(&mut self.core, self.high_watermark, self.starts.log_start);
    }

    /// Whether a cut to `to` removes batches or an epoch.
    pub fn has_to_cut(&self, to: Offset) -> bool {
        self.core.prepare_truncation(to).expect("no committed record is cut off")
    }

    pub fn raise_high_watermark(&mut self, to: Offset) {
        self.high_watermark = self.high_watermark.max(to);
        self.core.follow_watermark(WatermarkRule::Acknowledged(self.high_watermark));
    }

    pub const fn core(&self) -> &PartitionLog {
        &self.core
    }

    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    pub const fn reset_noted(&self) -> Option<Offset> {
        self.reset_noted
    }

    pub const fn starts(&self) -> Starts {
        self.starts
    }

    /// The start of the stored batches.
    pub const fn local_start(&self) -> Offset {
        self.before.end()
    }

    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    pub const fn end(&self) -> Offset {
        self.core.end()
    }

    /// The durable end if the first `synced` frames of the medium are durable.
    pub fn durable_end(&self, synced: usize) -> Offset {
        let durable = self.stored.partition_point(|stored| stored.frame < synced);
        durable.checked_sub(1).map_or(self.local_start(), |last| self.stored[last].batch.end())
    }

    pub fn view(&self, synced: usize) -> LogView<'_> {
        let (local_start, end, durable_end) = (self.local_start(), self.end(), self.durable_end(synced));
        LogView { starts: self.starts, local_start, durable_end, end, epochs: self.core.epochs() }
    }

    /// Whole batches from `first` on: at most `bytes_max`, but at least one batch.
    pub fn read(&self, first: Offset, bytes_max: usize) -> Vec<Batch> {
        let from = self.stored.partition_point(|stored| stored.batch.end() <= first);
        let mut left = bytes_max;
        let mut batches = Vec::new();
        for stored in &self.stored[from..] {
            if !batches.is_empty() && stored.batch.header.size > left {
                break;
            }
            left = left.saturating_sub(stored.batch.header.size);
            batches.push(stored.batch);
        }
        batches
    }

    /// The batches with records in `from..until`.
    pub fn between(&self, from: Offset, until: Offset) -> impl Iterator<Item = &Batch> {
        let first = self.stored.partition_point(|stored| stored.batch.end() <= from);
        self.stored[first..].iter().map(|stored| &stored.batch).take_while(move |batch| batch.first() < until)
    }

    /// The stored batches that the frames in `from..until` wrote.
    pub fn written_between(&self, from: usize, until: usize) -> impl Iterator<Item = &Batch> {
        let first = self.stored.partition_point(|stored| stored.frame < from);
        self.stored[first..].iter().take_while(move |stored| stored.frame < until).map(|stored| &stored.batch)
    }

    /// Decides on a client's batch that this replica appends as the leader.
    ///
    /// # Errors
    /// [`AppendRejection`] says why the batch must not be appended.
    pub fn decide_append(&self, batch: &Batch) -> Result<AppendDecision, AppendRejection> {
        match batch.marker {
            Some(marker) => {
                let marker = marker.of(&batch.header, TransactionVersion::V0);
                self.core.prepare_marker(None, &batch.header, &marker)
            }
            None => self.core.prepare_append(None, &batch.header, Admission::Verified),
        }
    }
}

/// The state of a log with just these batches, as a tier's index would have it.
pub fn state_of<'a>(batches: impl Iterator<Item = &'a Batch>, log_start: Offset) -> Rc<PartitionLog> {
    let mut core = empty();
    batches.for_each(|batch| append(&mut core, batch));
    let end = core.end();
    settle(&mut core, end, log_start);
    Rc::new(core)
}
