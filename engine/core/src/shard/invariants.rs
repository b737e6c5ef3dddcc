//! The relations between the parts of a shard that hold between any two calls to it. Each is a
//! function with the argument for it; relations within one part are checked by that part. Tests
//! check all of them after each turn, the simulator after some; production does not, since the time
//! grows with the partitions and the waits.

use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;
use super::machine::{REQUESTS_MAX, Shard};
use super::partitions::PartitionKey;
use super::placement_change::Placement;
use super::wait_queue::Wait;

impl<H: Host> Shard<H> {
    /// Panics if the machine's state is inconsistent, with the relation that is broken.
    pub fn check_invariants(&self) {
        self.table().check_invariants();
        self.partitions.iter().for_each(|partition| partition.log.check_invariants());
        self.waiting.check_invariants();
        self.commits.check_invariants(self.table().durable());
        self.cuts.check_invariants();
        self.retention.check_invariants();
        self.cleaner.check_invariants(self.last_commit());
        assert!(self.backlog.len() <= REQUESTS_MAX, "the queue of requests is bounded");
        check_lost_commits(self);
        check_follow_up(self);
        check_undurable_batches(self);
        check_append_waits(self);
        check_staged_waits(self);
        check_closing_partitions(self);
        check_trims(self);
        check_cuts(self);
        check_moves(self);
    }

    /// The newest commit that will begin without another request: one more than have begun if
    /// frames are staged. A poisoned shard drops those frames.
    fn last_commit(&self) -> u64 {
        let is_next_certain = !self.staging.is_empty() || self.poisoned().is_some();
        self.commits.begun() + u64::from(is_next_certain)
    }
}

/// The follow-up of a commit is due only once the commit is durable: readers must see its batches
/// before older ones are evicted, and the new places of moved batches before their segment is
/// freed.
fn check_follow_up<H: Host>(shard: &Shard<H>) {
    let is_durable = |number| number <= shard.commits.last_ended();
    assert!(shard.durable.is_none_or(is_durable), "the follow-up of a commit comes after the commit");
}

/// The batches between a log's durable end and its log end are staged or in flight, in order and
/// without a gap: the log end moves when a batch is staged, the durable end when its commit is
/// durable, and both when a cut is staged. A batch that were in neither place would never become
/// durable, and its append would wait for ever.
///
/// A poisoned shard has dropped its staged batches, and refused their appends.
fn check_undurable_batches<H: Host>(shard: &Shard<H>) {
    if shard.poisoned().is_some() {
        return;
    }
    let mut ends: BTreeMap<PartitionKey, _> =
        shard.partitions.iter().map(|partition| (partition.key, partition.frontiers().durable_end)).collect();
    let in_flight = shard.commits.batches();
    let in_flight = in_flight.map(|staged| (staged.key, staged.version, staged.batch.base..staged.batch.next));
    for (key, version, offsets) in in_flight.chain(shard.staging.builder().staged_offsets()) {
        // Batches of a closed partition, or from before a cut, belong to no log any more.
        if shard.partitions.at(key).is_some_and(|partition| partition.version == version) {
            let end = ends.insert(key, offsets.end).expect("each open partition has an end");
            assert_eq!(end, offsets.start, "the batches that are not durable follow each other");
        }
    }
    for partition in shard.partitions.iter() {
        assert_eq!(ends[&partition.key], partition.log.end(), "each batch of {} is in a commit", partition.id);
    }
}

/// An append waits for an end that its log has assigned, and that the frontier has not passed: the
/// waits are taken whenever a frontier moves, and refused whenever the log loses its end. A closed
/// partition keeps its waits until its close is durable. A poisoned shard refuses the close, while
/// batches before it may be in flight.
fn check_append_waits<H: Host>(shard: &Shard<H>) {
    for (key, frontier, queue) in shard.waiting.append_queues().filter(|(_, _, queue)| !queue.is_empty()) {
        let may_wait = shard.partitions.is_in_use(key) || shard.poisoned().is_some() && shard.commits.is_in_flight();
        assert!(may_wait, "a partition that is gone has no waits");
        let Some(partition) = shard.partitions.at(key) else { continue };
        let (passed, end) = (frontier.of(partition.log.frontiers()), partition.log.end());
        let is_to_come = |wait: &Wait| passed < wait.end && wait.end <= end;
        assert!(queue.iter().all(is_to_come), "appends to {} wait above {passed} and up to {end}", partition.id);
    }
}

/// A change or an answer waits for a group that is staged or in flight. The group becomes durable
/// with its commit, and the wait completes in that call.
fn check_staged_waits<H: Host>(shard: &Shard<H>) {
    let Some((first, last)) = shard.waiting.staged_range() else { return };
    assert!(shard.table().durable() <= first, "a wait whose group is durable has completed");
    assert!(
        !shard.staging.is_empty() || shard.commits.is_in_flight(),
        "a commit is to come for the group that a wait names"
    );
    let newest = if shard.poisoned().is_some() { shard.commits.in_flight_end() } else { shard.staging.last_staged() };
    assert!(newest.is_some_and(|newest| last <= newest), "a wait names a group that exists");
}

/// Once a commit has failed, no other commit counts: the shard is poisoned, and nothing waits for
/// what will not come.
fn check_lost_commits<H: Host>(shard: &Shard<H>) {
    if shard.commits.are_lost() {
        assert!(shard.poisoned().is_some(), "a shard whose commits are lost takes nothing more");
        assert!(shard.waiting.is_empty(), "nothing waits for a lost commit");
    }
    assert!(shard.poisoned().is_none() || shard.staging.is_empty(), "a poisoned shard gathers nothing");
}

/// A partition that is being closed has one close to come, which frees its slot. Until then the key
/// names no other partition.
fn check_closing_partitions<H: Host>(shard: &Shard<H>) {
    let closes = shard.waiting.changes().filter(|change| matches!(change.what, Placement::Close));
    let closing: Vec<_> = closes.map(|change| change.key).collect();
    let distinct: BTreeSet<_> = closing.iter().collect();
    assert_eq!(distinct.len(), closing.len(), "a partition is closed once");
    assert_eq!(closing.len(), shard.partitions.closing_count(), "each closed partition has a close to come");
    let is_closing = |key: &PartitionKey| shard.partitions.at(*key).is_none() && shard.partitions.is_in_use(*key);
    assert!(closing.iter().all(is_closing), "a close is for a partition that is not found any more");
}

/// The decided log start of a log is visible, or the newest of its trims will make it so. A trim
/// survives a truncation, and ends with a reset. A poisoned shard has dropped the trims.
fn check_trims<H: Host>(shard: &Shard<H>) {
    if shard.poisoned().is_some() {
        return;
    }
    let mut starts: BTreeMap<PartitionKey, _> =
        shard.partitions.iter().map(|partition| (partition.key, partition.log_start())).collect();
    for change in shard.waiting.changes().filter(|change| !change.is_stale(&shard.partitions)) {
        if let Placement::Trim(to) = change.what {
            let start = starts.get_mut(&change.key).expect("the change is not stale");
            *start = (*start).max(to);
        }
    }
    for partition in shard.partitions.iter() {
        let decided = partition.log.decided_log_start();
        assert_eq!(starts[&partition.key], decided, "the log start of {} becomes visible", partition.id);
    }
}

/// A log takes no appends exactly while a cut of it is requested or staged. Readers see the log
/// before the cut exactly while it is staged. A poisoned shard refuses requested cuts, and leaves
/// staged ones as they are.
fn check_cuts<H: Host>(shard: &Shard<H>) {
    let cuts = shard.waiting.changes().filter(|change| matches!(change.what, Placement::Cut(_)));
    let cuts = cuts.filter(|change| shard.partitions.at(change.key).is_some());
    let staged: Vec<_> = cuts.map(|change| change.key).collect();
    let distinct: BTreeSet<_> = staged.iter().copied().collect();
    assert_eq!(distinct.len(), staged.len(), "a log has one cut at a time");
    let requested = shard.cuts.keys();
    assert!(requested.iter().all(|key| shard.partitions.at(*key).is_some()), "a cut is of an open partition");
    for partition in shard.partitions.iter().filter(|_| shard.poisoned().is_none()) {
        let (is_requested, is_staged) = (shard.cuts.is_requested(partition.key), distinct.contains(&partition.key));
        assert!(!(is_requested && is_staged), "a second cut of {} waits for the first", partition.id);
        assert_eq!(
            partition.log.is_being_cut(),
            is_requested || is_staged,
            "the cut of {} comes to an end",
            partition.id
        );
        assert_eq!(partition.is_cut_staged(), is_staged, "readers see {} before its cut", partition.id);
    }
}

/// Batches are read for a move only of an open partition: its close drops the read. While staged
/// moves are not applied, a check of the oldest segment is due, since the rest of the segment still
/// has to move. A poisoned shard moves nothing.
fn check_moves<H: Host>(shard: &Shard<H>) {
    let is_open = |key| shard.partitions.at(key).is_some();
    assert!(shard.cleaner.moving().is_none_or(is_open), "a closed partition moves no batches");
    let must_check = shard.waiting.is_moving() && shard.poisoned().is_none();
    assert!(!must_check || shard.cleaner.is_check_due(), "a segment that is half moved is checked again");
}
