//! Which commit is under way, and whether something proves the one before. One commit is written at a time; the next one gathers meanwhile.
//!
//! ```text
//! idle --begin--> in flight --finish--> idle        unproven --prove--> proven --finish with frames--> unproven
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_model::{Instant, Offset};

use super::commit::{Commit, StagedBatch};
use super::disk_step::DiskStep;
use super::partitions::{Cut, LogVersion, PartitionKey, Partitions};
use crate::wal::WalPosition;

/// Number of a commit, from 1 on.
pub type CommitNumber = u64;

/// What the driver executes: all steps in order, until the first that fails.
#[derive(Debug)]
pub struct CommitSteps {
    pub number: CommitNumber,
    pub steps: Vec<DiskStep>,
    pub bytes: usize,
    /// It holds frames. One that only proves what is durable, or only starts a segment, is in nobody's way.
    pub holds_frames: bool,
}

/// Where the batches of a commit end, in each partition that it has some of.
#[derive(Debug, Default)]
pub(super) struct StagedEnds(BTreeMap<usize, Offset>);

impl StagedEnds {
    /// Of batches in the order of the log. Those that their logs have no more end nowhere.
    pub(super) fn of(batches: &[StagedBatch], partitions: &Partitions) -> Self {
        let kept = batches.iter().filter(|staged| partitions.is_version(staged.key, staged.version));
        Self(kept.map(|staged| (staged.key.slot(), staged.batch.next)).collect())
    }

    #[cfg(test)]
    pub(super) fn at(ends: &[(PartitionKey, Offset)]) -> Self {
        Self(ends.iter().map(|(key, end)| (key.slot(), *end)).collect())
    }

    /// By the slot of the partition's key: no other partition has it before a commit that is later.
    pub(super) fn end_at(&self, slot: usize) -> Option<Offset> {
        self.0.get(&slot).copied()
    }
}

/// A commit that is done.
#[derive(Debug)]
pub(super) struct Finished {
    /// In the order of the log.
    pub batches: Vec<StagedBatch>,
    pub end: WalPosition,
    pub holds_frames: bool,
}

#[derive(Debug)]
struct InFlight {
    number: CommitNumber,
    commit: Finished,
}

#[derive(Debug)]
pub(super) struct Commits {
    /// Commits begun so far: the number of the newest.
    begun: CommitNumber,
    in_flight: Option<InFlight>,
    /// Nothing after the newest group says that it is durable.
    is_unproven: bool,
    /// When the shard has been idle for long enough to prove what it wrote last.
    proof_at: Instant,
    proof_after: Duration,
}

impl Commits {
    pub(super) fn new(now: Instant, proof_after: Duration) -> Self {
        Self { begun: 0, in_flight: None, is_unproven: true, proof_at: now.plus(proof_after), proof_after }
    }

    pub(super) const fn begun(&self) -> CommitNumber {
        self.begun
    }

    pub(super) const fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// A log was cut back: what it keeps of what is in flight is of the new version.
    pub(super) fn on_cut(&mut self, cut: &Cut) {
        self.in_flight
            .iter_mut()
            .flat_map(|in_flight| &mut in_flight.commit.batches)
            .for_each(|staged| staged.on_cut(cut));
    }

    /// Where the partition's batches in flight, in this version of its log, begin and end.
    pub(super) fn staged(&self, key: PartitionKey, version: LogVersion) -> impl Iterator<Item = (Offset, Offset)> {
        let batches = self.in_flight.iter().flat_map(|in_flight| &in_flight.commit.batches);
        let batches = batches.filter(move |staged| (staged.key, staged.version) == (key, version));
        batches.map(|staged| (staged.batch.base, staged.batch.next))
    }

    /// What can still become durable when nothing more is committed.
    pub(super) fn in_flight_ends(&self, partitions: &Partitions) -> StagedEnds {
        let batches = self.in_flight.as_ref().map_or(&[][..], |in_flight| &in_flight.commit.batches);
        StagedEnds::of(batches, partitions)
    }

    /// What may still become durable when nothing more is committed is staged before this; `None` if nothing is in flight.
    pub(super) fn in_flight_end(&self) -> Option<WalPosition> {
        self.in_flight.as_ref().map(|in_flight| in_flight.commit.end)
    }

    /// The commit that makes everything durable which was staged so far; `None` if all of it is.
    pub(super) const fn last_needed(&self, is_staging_empty: bool) -> Option<CommitNumber> {
        match (is_staging_empty, self.in_flight.is_some()) {
            (false, _) => Some(self.begun + 1),
            (true, true) => Some(self.begun),
            (true, false) => None,
        }
    }

    pub(super) fn begin(&mut self, commit: Commit) -> CommitSteps {
        assert!(self.in_flight.is_none(), "one commit is in flight at a time");
        let Commit { steps, batches, end, bytes, holds_frames } = commit;
        self.begun += 1;
        let number = self.begun;
        self.in_flight = Some(InFlight { number, commit: Finished { batches, end, holds_frames } });
        CommitSteps { number, steps, bytes, holds_frames }
    }

    /// It has ended, well or not.
    pub(super) fn finish(&mut self, number: CommitNumber) -> Finished {
        let in_flight = self.in_flight.take().expect("a commit ends only while one is in flight");
        assert_eq!(in_flight.number, number, "the commit that ends is the one in flight");
        in_flight.commit
    }

    /// What a commit wrote is durable; if it held frames, nothing proves that yet.
    pub(super) fn on_durable(&mut self, now: Instant, holds_frames: bool) {
        if holds_frames {
            self.is_unproven = true;
            self.proof_at = now.plus(self.proof_after);
        }
    }

    pub(super) const fn is_unproven(&self) -> bool {
        self.is_unproven
    }

    /// A proof is staged, or has no place.
    pub(super) const fn on_proof_staged(&mut self) {
        self.is_unproven = false;
    }

    /// When a proof is due, if nothing is staged before.
    pub(super) fn proof_due(&self, is_staging_empty: bool) -> Option<Instant> {
        (self.is_unproven && self.in_flight.is_none() && is_staging_empty).then_some(self.proof_at)
    }
}
