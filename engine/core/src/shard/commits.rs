//! Which commits are under way, and whether something proves what is durable. One is written at a time, and up to two while the disk is slow; the
//! next one gathers meanwhile. They may end in any order, and are counted in the order in which they began: what is durable is the unbroken beginning of the log.
//!
//! ```text
//! begin --> in flight --on_written--> written --all before it are, too--> durable (take_durable)
//!               '----------- lose -----'----> lost, however it ends
//! unproven --prove--> proven --durable, with frames--> unproven
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rustmq_model::{Instant, Offset};

use super::commit::{Commit, StagedBatch};
use super::disk_pace::DiskPace;
use super::disk_step::DiskStep;
use super::partitions::{LogVersion, PartitionKey, Partitions};
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

/// Where the batches in flight end, in each partition that has some.
#[derive(Debug, Default)]
pub(super) struct StagedEnds(BTreeMap<usize, Offset>);

impl StagedEnds {
    /// Of batches in the order of the log. Those that their logs have no more end nowhere.
    fn of<'a>(batches: impl Iterator<Item = &'a StagedBatch>, partitions: &Partitions) -> Self {
        let kept = batches.filter(|staged| partitions.is_version(staged.key, staged.version));
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

/// A commit that is durable, as all before it are.
#[derive(Debug)]
pub(super) struct Durable {
    pub number: CommitNumber,
    /// In the order of the log.
    pub batches: Vec<StagedBatch>,
    pub end: WalPosition,
    pub holds_frames: bool,
}

#[derive(Debug)]
struct InFlight {
    began: Instant,
    bytes: usize,
    /// Nothing else may be in flight with it.
    is_alone: bool,
    is_written: bool,
    commit: Durable,
}

#[derive(Debug)]
pub(super) struct Commits {
    /// Commits begun so far: the number of the newest.
    begun: CommitNumber,
    /// Two at most, the older one first.
    in_flight: VecDeque<InFlight>,
    /// Nothing of what is in flight counts.
    are_lost: bool,
    pace: DiskPace,
    /// When one was written last.
    written_at: Instant,
    /// Nothing after the newest group says that it is durable.
    is_unproven: bool,
    /// When the shard has been idle for long enough to prove what it wrote last.
    proof_at: Instant,
    proof_after: Duration,
}

impl Commits {
    pub(super) fn new(now: Instant, proof_after: Duration, slow_commit: Duration) -> Self {
        Self {
            begun: 0,
            in_flight: VecDeque::new(),
            are_lost: false,
            pace: DiskPace::new(slow_commit),
            written_at: now,
            is_unproven: true,
            proof_at: now.plus(proof_after),
            proof_after,
        }
    }

    pub(super) const fn begun(&self) -> CommitNumber {
        self.begun
    }

    pub(super) fn is_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether the first commit, which puts the run on disk, is durable.
    pub(super) fn is_first_durable(&self) -> bool {
        self.begun > self.in_flight.len() as CommitNumber
    }

    /// Whether a commit may begin now; one that `rolls` starts a segment.
    ///
    /// One that rolls goes alone: the new segment's groups say that the one before is durable to its end, and only the syncs within the commit see to
    /// that. So does the first: a group of a run must not be on disk without the one that proves the run, or a later start takes the same run again.
    pub(super) fn admits(&self, rolls: bool) -> bool {
        match self.in_flight.len() {
            0 => true,
            1 => self.pace.is_slow() && !rolls && !self.in_flight[0].is_alone,
            _ => false,
        }
    }

    fn batches(&self) -> impl Iterator<Item = &StagedBatch> {
        self.in_flight.iter().flat_map(|in_flight| &in_flight.commit.batches)
    }

    /// Bytes of the partition's batches in flight, in this version of its log.
    pub(super) fn staged_bytes(&self, key: PartitionKey, version: LogVersion) -> u64 {
        let batches = self.batches().filter(|staged| (staged.key, staged.version) == (key, version));
        batches.map(|staged| staged.batch.bytes.len()).sum::<usize>() as u64
    }

    /// What can still become durable when nothing more is committed.
    pub(super) fn in_flight_ends(&self, partitions: &Partitions) -> StagedEnds {
        StagedEnds::of(self.batches(), partitions)
    }

    /// What may still become durable when nothing more is committed is staged before this; `None` if nothing is in flight.
    pub(super) fn in_flight_end(&self) -> Option<WalPosition> {
        self.in_flight.back().map(|in_flight| in_flight.commit.end)
    }

    /// The commit that makes everything durable which was staged so far; `None` if all of it is.
    pub(super) fn last_needed(&self, is_staging_empty: bool) -> Option<CommitNumber> {
        match (is_staging_empty, self.is_in_flight()) {
            (false, _) => Some(self.begun + 1),
            (true, true) => Some(self.begun),
            (true, false) => None,
        }
    }

    pub(super) fn begin(&mut self, now: Instant, commit: Commit, rolls: bool) -> CommitSteps {
        assert!(self.admits(rolls), "two commits are in flight at most, and only such as may be");
        let Commit { steps, batches, end, bytes, holds_frames } = commit;
        self.begun += 1;
        let number = self.begun;
        self.in_flight.push_back(InFlight {
            began: now,
            bytes,
            is_alone: rolls || number == 1,
            is_written: false,
            commit: Durable { number, batches, end, holds_frames },
        });
        CommitSteps { number, steps, bytes, holds_frames }
    }

    fn at(&self, number: CommitNumber) -> usize {
        let at = self.in_flight.iter().position(|in_flight| in_flight.commit.number == number);
        at.expect("a commit ends once, and only one in flight")
    }

    /// It has ended well. It counts once those before it have, too: [`Self::take_durable`].
    pub(super) fn on_written(&mut self, now: Instant, number: CommitNumber) {
        let at = self.at(number);
        self.in_flight[at].is_written = true;
        // A disk that takes one after the other has begun with this one when it was done with the last: two in flight do not make it slow.
        let began = self.in_flight[at].began.max(self.written_at);
        self.written_at = now;
        self.pace.note(self.in_flight[at].bytes, now.since(began));
        if self.are_lost {
            self.in_flight.remove(at);
        }
    }

    /// The oldest one in flight, if all of it is on disk. Commits count from the front alone: a later one may be whole where this one is torn, and a
    /// start drops it then.
    pub(super) fn take_durable(&mut self) -> Option<Durable> {
        self.in_flight.pop_front_if(|oldest| oldest.is_written).map(|oldest| oldest.commit)
    }

    /// It has ended badly, after [`Self::lose`].
    pub(super) fn on_failed(&mut self, number: CommitNumber) {
        assert!(self.are_lost, "a commit that fails takes all others with it");
        self.in_flight.remove(self.at(number));
    }

    pub(super) const fn are_lost(&self) -> bool {
        self.are_lost
    }

    /// Nothing of what is in flight counts from here on, however it ends.
    pub(super) fn lose(&mut self) {
        self.are_lost = true;
        self.in_flight.retain(|in_flight| !in_flight.is_written);
        self.in_flight.iter_mut().for_each(|in_flight| in_flight.commit.batches.clear());
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
        (self.is_unproven && !self.is_in_flight() && is_staging_empty).then_some(self.proof_at)
    }
}
