//! Tracks the commits in flight, and whether a proof covers the durable groups. One commit is in
//! flight at a time, or up to two while the disk is slow; the next one gathers in the meantime.
//! Commits may end in any order and take effect in the order in which they began: only an unbroken
//! prefix of the log is durable.
//!
//! ```text
//! begin --> in flight --on_written--> written --all before it are written--> durable (take_durable)
//!               '----------- lose -----'----> lost, however it ends
//! unproven --on_proof_staged--> proven --on_durable, with frames--> unproven
//! unproven --delay_proof--> unproven, tried again after a pause
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rustmq_model::{Instant, Offset};

use super::commit::{Commit, StagedBatch};
use super::disk_pace::DiskPace;
use super::disk_step::DiskStep;
use super::partitions::{LogVersion, PartitionKey, Partitions};
use crate::wal::WalPosition;

/// The number of a commit, from 1 on.
pub type CommitNumber = u64;

/// The pause before a proof that found no room is tried again.
const PROOF_PAUSE: Duration = Duration::from_millis(100);

/// The driver's part of a commit: it executes the steps in order until one fails.
#[derive(Debug)]
pub struct CommitSteps {
    pub number: CommitNumber,
    pub steps: Vec<DiskStep>,
    pub bytes: usize,
    /// `false` for a commit that only proves durability or only starts a segment: readers need not
    /// make way for it.
    pub holds_frames: bool,
}

/// The ends of the batches in flight, by partition.
#[derive(Debug, Default)]
pub(super) struct StagedEnds(BTreeMap<usize, Offset>);

impl StagedEnds {
    /// Takes the ends of batches in the order of the log. Batches that their log no longer has do
    /// not count.
    fn of<'a>(batches: impl Iterator<Item = &'a StagedBatch>, partitions: &Partitions) -> Self {
        let current = batches.filter(|staged| partitions.is_version(staged.key, staged.version));
        Self(current.map(|staged| (staged.key.slot(), staged.batch.next)).collect())
    }

    #[cfg(test)]
    pub(super) fn at(ends: &[(PartitionKey, Offset)]) -> Self {
        Self(ends.iter().map(|(key, end)| (key.slot(), *end)).collect())
    }

    /// The end by the slot of the partition's key: no other partition has this slot before a later
    /// commit.
    pub(super) fn end_at(&self, slot: usize) -> Option<Offset> {
        self.0.get(&slot).copied()
    }
}

/// A durable commit; all before it are durable too.
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
    /// No other commit may be in flight with it.
    is_alone: bool,
    is_written: bool,
    commit: Durable,
}

#[derive(Debug)]
pub(super) struct Commits {
    /// The number of commits begun so far, which is the newest one's number.
    begun: CommitNumber,
    /// At most two, the older one first.
    in_flight: VecDeque<InFlight>,
    /// The commits in flight do not count.
    are_lost: bool,
    pace: DiskPace,
    /// The time of the last successful write.
    written_at: Instant,
    /// No later group proves that the newest one is durable.
    is_unproven: bool,
    /// When a shard that stays idle writes a proof.
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

    /// Whether the first commit, which puts the WAL session on disk, is durable.
    pub(super) fn is_first_durable(&self) -> bool {
        self.last_ended() > 0
    }

    /// Whether a commit may begin now; `rolls` says whether it starts a segment.
    ///
    /// A commit that rolls goes alone: the groups of the new segment imply that the segment before
    /// is durable to its end, and only the syncs within that commit ensure it. The first commit
    /// goes alone, too: no group of a session may be on disk without the group that proves the
    /// session, or a later start reuses the session's number.
    pub(super) fn admits(&self, rolls: bool) -> bool {
        match self.in_flight.len() {
            0 => true,
            1 => self.pace.is_slow() && !rolls && !self.in_flight[0].is_alone,
            _ => false,
        }
    }

    /// The batches in flight, in the order of the log.
    pub(super) fn batches(&self) -> impl Iterator<Item = &StagedBatch> {
        self.in_flight.iter().flat_map(|in_flight| &in_flight.commit.batches)
    }

    /// The bytes of the partition's batches in flight, in this version of its log.
    pub(super) fn staged_bytes(&self, key: PartitionKey, version: LogVersion) -> u64 {
        let batches = self.batches().filter(|staged| (staged.key, staged.version) == (key, version));
        batches.map(|staged| staged.batch.bytes.len()).sum::<usize>() as u64
    }

    /// The ends that can still become durable if no further commit begins.
    pub(super) fn in_flight_ends(&self, partitions: &Partitions) -> StagedEnds {
        StagedEnds::of(self.batches(), partitions)
    }

    /// Only groups before this position can still become durable if no further commit begins;
    /// `None` if no commit is in flight.
    pub(super) fn in_flight_end(&self) -> Option<WalPosition> {
        self.in_flight.back().map(|in_flight| in_flight.commit.end)
    }

    /// The commit that makes everything staged so far durable; `None` if it already is.
    pub(super) fn last_needed(&self, is_staging_empty: bool) -> Option<CommitNumber> {
        match (is_staging_empty, self.is_in_flight()) {
            (false, _) => Some(self.begun + 1),
            (true, true) => Some(self.begun),
            (true, false) => None,
        }
    }

    pub(super) fn begin(&mut self, now: Instant, commit: Commit, rolls: bool) -> CommitSteps {
        assert!(self.admits(rolls), "at most two commits are in flight, and a second one only if it is admitted");
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
        at.expect("only a commit in flight ends, and only once")
    }

    /// The commit succeeded. It takes effect after all commits before it: see
    /// [`Self::take_durable`].
    pub(super) fn on_written(&mut self, now: Instant, number: CommitNumber) {
        let at = self.at(number);
        self.in_flight[at].is_written = true;
        // A disk that executes commits one after the other starts this one at the end of the last
        // one: two commits in flight must not make it count as slow.
        let began = self.in_flight[at].began.max(self.written_at);
        self.written_at = now;
        self.pace.note(self.in_flight[at].bytes, now.since(began));
        if self.are_lost {
            self.in_flight.remove(at);
        }
    }

    /// The oldest commit in flight, if it is written. Commits take effect from the front alone: a
    /// later one may be whole while this one is torn, and a start then drops the later one.
    pub(super) fn take_durable(&mut self) -> Option<Durable> {
        self.in_flight.pop_front_if(|oldest| oldest.is_written).map(|oldest| oldest.commit)
    }

    /// The commit failed, after [`Self::lose`].
    pub(super) fn on_failed(&mut self, number: CommitNumber) {
        assert!(self.are_lost, "a failed commit makes all others fail");
        self.in_flight.remove(self.at(number));
    }

    pub(super) const fn are_lost(&self) -> bool {
        self.are_lost
    }

    /// From here on the commits in flight do not count, however they end.
    pub(super) fn lose(&mut self) {
        self.are_lost = true;
        self.in_flight.retain(|in_flight| !in_flight.is_written);
        self.in_flight.iter_mut().for_each(|in_flight| in_flight.commit.batches.clear());
    }

    /// A commit is durable. If it held frames, no later group proves that yet.
    pub(super) fn on_durable(&mut self, now: Instant, holds_frames: bool) {
        if holds_frames {
            self.is_unproven = true;
            self.proof_at = now.plus(self.proof_after);
        }
    }

    pub(super) const fn is_unproven(&self) -> bool {
        self.is_unproven
    }

    /// A proof is staged, or has no place in the log.
    pub(super) const fn on_proof_staged(&mut self) {
        self.is_unproven = false;
    }

    /// There is no memory for the proof, or no segment.
    pub(super) fn delay_proof(&mut self, now: Instant) {
        self.proof_at = now.plus(PROOF_PAUSE);
    }

    /// The newest commit that is not in flight any more, nor any before it.
    pub(super) fn last_ended(&self) -> CommitNumber {
        self.begun - self.in_flight.len() as CommitNumber
    }

    /// Panics if the commits in flight are inconsistent, with the log durable up to `durable`.
    pub(super) fn check_invariants(&self, durable: WalPosition) {
        let in_flight = &self.in_flight;
        assert!(in_flight.len() <= 2, "at most two commits are in flight");
        assert!(in_flight.len() < 2 || in_flight.iter().all(|commit| !commit.is_alone), "some commits go alone");
        assert!(
            in_flight.iter().is_sorted_by(|one, next| one.commit.number < next.commit.number),
            "the older commit comes first"
        );
        assert!(in_flight.back().is_none_or(|newest| newest.commit.number <= self.begun), "numbers count the commits");
        // The log's durable end moves when the oldest commit is taken: none ends before it.
        let ends = in_flight.iter().map(|in_flight| in_flight.commit.end);
        assert!(std::iter::once(durable).chain(ends).is_sorted(), "each commit continues the log of the one before");
        assert!(
            in_flight.front().is_none_or(|oldest| !oldest.is_written),
            "the oldest commit takes effect in the call that reports it"
        );
        if self.are_lost {
            assert!(
                in_flight.iter().all(|lost| !lost.is_written && lost.commit.batches.is_empty()),
                "a lost commit takes no effect"
            );
        } else {
            let next = in_flight.back().map_or(self.begun, |newest| newest.commit.number);
            assert_eq!(next, self.begun, "no commit is forgotten");
        }
    }

    /// When a proof is due, if nothing is staged before.
    pub(super) fn proof_due(&self, is_staging_empty: bool) -> Option<Instant> {
        (self.is_unproven && !self.is_in_flight() && is_staging_empty).then_some(self.proof_at)
    }
}
