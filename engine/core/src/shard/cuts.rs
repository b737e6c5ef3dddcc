//! Cuts of logs: truncations, where another leader's log diverges, and resets, where no part of the
//! log is usable. A log does not remember its producers and transactions at an earlier offset, so a
//! truncation first rebuilds them from the WAL ([`super::log_rebuild`]).
//!
//! ```text
//! truncation: asked --all staged before is durable--> rebuilding --> rebuilt --room--> staged
//!                                                     '--failed: refused, the log stays uncut
//! reset:      asked --room--> staged
//! both:       staged --durable--> published, answered
//! ```
//! A log takes no appends once a cut of it is requested, so none of its batches is in flight when a
//! truncation is staged. Batches in flight at a reset belong to another version. A truncation and
//! its checkpoint share a group: a start finds the state after the cut, or the log uncut. A staged
//! cut is a [`super::placement_change`] like others. Cuts bypass the backlog: an append may stall
//! there until the watermark moves, and only the cut lets it move.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_model::{Instant, LeaderEpoch, Offset, Timestamp};

use super::actions::{Action, Actions};
use super::commit_builder::NoRoom;
use super::error::{AppendError, CutError};
use super::failure::WalFailure;
use super::host::Host;
use super::log_rebuild::{LogPrefix, LogRebuild, RebuildError};
use super::now::Now;
use super::partitions::{PartitionKey, Partitions};
use super::placement::NotStaged;
use super::placement_change::{Placement, PlacementChange};
use super::request::{CutLog, CutTo};
use super::staging::Staging;
use super::waiting::WaitingAnswers;
use crate::log::{Frontiers, LogLimits, PartitionLog, RejectedTruncation};
use crate::wal::segments::{GroupRange, Purpose};
use crate::wal::{Control, SegmentHold, WalPosition};

/// How long a cut waits for room before it is tried again, unless an event comes sooner: no event
/// reports free memory.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// The steps of a cut before it is staged.
#[derive(Debug)]
enum Step {
    /// The log is read back up to `to` once the group at `last`, the newest one staged before, is
    /// durable.
    AwaitingDurable {
        to: Offset,
        last: Option<WalPosition>,
    },
    Rebuilding {
        number: u64,
    },
    Rebuilt(Box<Rebuilt>),
    Resetting {
        at: Offset,
    },
}

/// The remaining log, which waits for room.
#[derive(Debug)]
struct Rebuilt {
    log: PartitionLog,
    inherited: Option<Inherited>,
    /// The length of the checkpoint after the last [`Self::inherit`], in bytes.
    checkpoint_bytes: usize,
}

/// The state taken over from the log that is cut: trims of it continue meanwhile.
#[derive(Debug, PartialEq, Eq)]
struct Inherited {
    frontiers: Frontiers,
    log_start: Offset,
}

impl Rebuilt {
    /// Takes over the frontiers and the log start of the current log, unless they are taken over
    /// already.
    fn inherit(&mut self, log: &PartitionLog, now: Timestamp) -> Result<(), RejectedTruncation> {
        let inherited = Inherited { frontiers: *log.frontiers(), log_start: log.decided_log_start() };
        if self.inherited.as_ref() != Some(&inherited) {
            // It ends below the requested offset if that lies inside a batch.
            log.prepare_truncation(self.log.end())?;
            self.log.continue_cut(log, now);
            self.checkpoint_bytes = self.log.checkpoint_length();
            self.inherited = Some(inherited);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct RequestedCut<H: Host> {
    /// The epoch in which the cut was requested. A later leadership of this broker supersedes the
    /// cut.
    leader_epoch: LeaderEpoch,
    step: Step,
    reply: H::CutReply,
}

/// A read under way, whether or not its cut still is.
#[derive(Debug)]
struct Rebuilding {
    number: u64,
    key: PartitionKey,
    /// Holds the segments of the read until it ends.
    holds: Vec<SegmentHold>,
}

/// A cut that is staged.
#[derive(Debug)]
pub(super) struct StagedCut<H: Host> {
    pub change: PlacementChange,
    pub end: Offset,
    pub reply: H::CutReply,
}

/// The cuts that are requested and not staged: at most one per partition, and one read per shard.
#[derive(Debug)]
pub(super) struct Cuts<H: Host> {
    requested: BTreeMap<PartitionKey, RequestedCut<H>>,
    rebuilding: Option<Rebuilding>,
    newest_read: u64,
    read_bytes_max: usize,
    /// When to retry a cut that found no room.
    due_at: Option<Instant>,
}

impl<H: Host> Cuts<H> {
    pub(super) const fn new(read_bytes_max: usize) -> Self {
        Self { requested: BTreeMap::new(), rebuilding: None, newest_read: 0, read_bytes_max, due_at: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requested.is_empty()
    }

    /// Whether no cut is requested and no read for one is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.rebuilding.is_none()
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at.filter(|_| !self.is_empty())
    }

    /// Decides on a cut that a leader requests. The log keeps its batches until the cut is staged.
    /// At once, its watermark stops and it takes no appends.
    pub(super) fn request(
        &mut self,
        CutLog { id, leader_epoch, to }: CutLog,
        reply: H::CutReply,
        partitions: &mut Partitions,
        staging: &Staging<H::Memory>,
        waiting: &mut WaitingAnswers<H>,
        actions: &mut Actions<H>,
    ) {
        let key = partitions.key(id).expect("the caller found it");
        let log = &mut partitions.at_mut(key).expect("its id has this key").log;
        match decide(log, to, staging.last_staged(), self.requested.get(&key).map(|cut| &cut.step)) {
            Err(error) => actions.push(Action::AnswerCut { reply, result: Err(error) }),
            Ok(Decision::Nothing { end }) => actions.push(Action::AnswerCut { reply, result: Ok(end) }),
            Ok(Decision::Cut { step, remaining_end }) => {
                refuse_waits(key, remaining_end, waiting, actions);
                if let Some(before) = self.requested.insert(key, RequestedCut { leader_epoch, step, reply }) {
                    actions.push(Action::AnswerCut { reply: before.reply, result: Err(CutError::Superseded) });
                }
            }
        }
    }

    /// A leader of this epoch is followed: refuses a cut requested in an earlier epoch. Returns
    /// whether there was one.
    pub(super) fn on_followed(&mut self, key: PartitionKey, epoch: LeaderEpoch, actions: &mut Actions<H>) -> bool {
        let is_older = self.requested.get(&key).is_some_and(|cut| cut.leader_epoch < epoch);
        is_older && self.refuse(key, CutError::Superseded, actions)
    }

    /// The broker itself leads the partition: the log stays uncut, even if the cut was requested in
    /// this epoch. Returns whether there was such a cut.
    pub(super) fn on_led(&mut self, key: PartitionKey, epoch: LeaderEpoch, actions: &mut Actions<H>) -> bool {
        let is_older = self.requested.get(&key).is_some_and(|cut| cut.leader_epoch <= epoch);
        is_older && self.refuse(key, CutError::Superseded, actions)
    }

    pub(super) fn on_closed(&mut self, key: PartitionKey, actions: &mut Actions<H>) {
        self.refuse(key, CutError::UnknownPartition, actions);
    }

    /// Refuses the partition's cut, and returns whether there was one. The caller ends the cut of
    /// its log: see [`PartitionLog::end_cut`].
    fn refuse(&mut self, key: PartitionKey, error: CutError, actions: &mut Actions<H>) -> bool {
        let Some(cut) = self.requested.remove(&key) else { return false };
        actions.push(Action::AnswerCut { reply: cut.reply, result: Err(error) });
        true
    }

    /// The WAL has failed: refuses all cuts. Returns the partitions whose logs stay uncut.
    pub(super) fn refuse_all(&mut self, failure: &WalFailure, actions: &mut Actions<H>) -> Vec<PartitionKey> {
        let keys = self.keys();
        for key in &keys {
            self.refuse(*key, CutError::Storage(failure.clone()), actions);
        }
        keys
    }

    /// The partitions with a requested cut.
    pub(super) fn keys(&self) -> Vec<PartitionKey> {
        self.requested.keys().copied().collect()
    }

    /// Whether a cut of the partition's log is requested and not staged.
    pub(super) fn is_requested(&self, key: PartitionKey) -> bool {
        self.requested.contains_key(&key)
    }

    /// Panics if a cut and the read for it disagree.
    pub(super) fn check_invariants(&self) {
        let numbers: Vec<u64> = self
            .requested
            .values()
            .filter_map(|cut| match cut.step {
                Step::Rebuilding { number } => Some(number),
                Step::AwaitingDurable { .. } | Step::Rebuilt(_) | Step::Resetting { .. } => None,
            })
            .collect();
        let under_way = self.rebuilding.as_ref().map(|read| read.number);
        // A read may outlive its cut: its result is dropped. A cut that waited for no read would
        // wait for ever.
        assert!(numbers.iter().all(|number| Some(*number) == under_way), "a cut waits for the read that is under way");
        assert!(numbers.len() <= 1, "one read is for one cut");
        assert!(under_way.is_none_or(|number| number <= self.newest_read), "reads are numbered from 1 on");
    }

    /// Starts to read back a log that is durable by now. One at a time: the next one starts after
    /// that cut is staged.
    pub(super) fn begin_rebuild(
        &mut self,
        partitions: &Partitions,
        staging: &Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) {
        let is_any_rebuilt = self.requested.values().any(|cut| matches!(cut.step, Step::Rebuilt(_)));
        if self.rebuilding.is_some() || is_any_rebuilt {
            return;
        }
        let table = staging.table();
        let durable = table.durable();
        let durable_cut = self.requested.iter_mut().find_map(|(key, cut)| match cut.step {
            Step::AwaitingDurable { to, last } if last.is_none_or(|last| last < durable) => Some((*key, to, cut)),
            _ => None,
        });
        let Some((key, to, cut)) = durable_cut else { return };
        let partition = partitions.at(key).expect("a cut of a closed partition is refused with its close");
        let range = table.replay_range(partition.id, to);
        let hold = |range: &GroupRange| table.shared().hold(range.place.generation).expect("the segment is in use");
        let holds = range.segments.iter().map(hold).collect();
        self.newest_read += 1;
        let number = self.newest_read;
        cut.step = Step::Rebuilding { number };
        self.rebuilding = Some(Rebuilding { number, key, holds });
        let prefix = LogPrefix { id: partition.id, until: to, limits: partition.log.limits() };
        let rebuild = LogRebuild::new(prefix, range, self.read_bytes_max);
        actions.push(Action::Rebuild { number, rebuild: Box::new(rebuild) });
    }

    /// A read has ended. Returns the partition whose cut this refuses.
    pub(super) fn on_rebuilt(
        &mut self,
        number: u64,
        log: Result<PartitionLog, RebuildError>,
        actions: &mut Actions<H>,
    ) -> Option<PartitionKey> {
        let Rebuilding { key, holds, .. } = self.rebuilding.take_if(|read| read.number == number)?;
        drop(holds);
        let is_wanted =
            |cut: &&mut RequestedCut<H>| matches!(cut.step, Step::Rebuilding { number: of } if of == number);
        let cut = self.requested.get_mut(&key).filter(is_wanted)?;
        match log {
            Ok(log) => {
                cut.step = Step::Rebuilt(Box::new(Rebuilt { log, inherited: None, checkpoint_bytes: 0 }));
                None
            }
            Err(error) => {
                self.refuse(key, error.into(), actions);
                Some(key)
            }
        }
    }

    /// Stages the partition's cut if it is ready and there is room.
    pub(super) fn stage(
        &mut self,
        key: PartitionKey,
        now: Now,
        partitions: &mut Partitions,
        staging: &mut Staging<H::Memory>,
        waiting: &mut WaitingAnswers<H>,
        actions: &mut Actions<H>,
    ) -> Result<Option<StagedCut<H>>, CutError> {
        self.due_at.take_if(|at| *at <= now.at);
        let Some(cut) = self.requested.get_mut(&key) else { return Ok(None) };
        let staged = match &mut cut.step {
            Step::AwaitingDurable { .. } | Step::Rebuilding { .. } => return Ok(None),
            Step::Rebuilt(rebuilt) => stage_truncation(key, rebuilt, now.wall, partitions, staging),
            Step::Resetting { at } => stage_reset(key, *at, partitions, staging),
        };
        match staged {
            Ok(Staged { change, end, remaining_end }) => {
                refuse_waits(key, remaining_end, waiting, actions);
                let cut = self.requested.remove(&key).expect("it was found");
                Ok(Some(StagedCut { change, end, reply: cut.reply }))
            }
            Err(NotStaged::Await) => {
                self.due_at.get_or_insert(now.at.plus(ROOM_PAUSE));
                Ok(None)
            }
            Err(NotStaged::Error(error)) => {
                self.refuse(key, error.clone(), actions);
                Err(error)
            }
        }
    }
}

impl From<RebuildError> for CutError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::NoBase { .. } | RebuildError::Damaged { .. } | RebuildError::Unsound { .. } => {
                Self::Unknown(error)
            }
            RebuildError::Unreadable { .. } | RebuildError::NotRead { .. } => Self::Unreadable(error),
        }
    }
}

enum Decision {
    /// Batches that end at or below `remaining_end` remain; after a reset none do.
    Cut {
        step: Step,
        remaining_end: Option<Offset>,
    },
    Nothing {
        end: Offset,
    },
}

/// `last` is the newest group that is staged and not durable; `requested` is the step of an earlier
/// cut of this log that is still requested.
fn decide(
    log: &mut PartitionLog,
    to: CutTo,
    last: Option<WalPosition>,
    requested: Option<&Step>,
) -> Result<Decision, CutError> {
    if let CutTo::EmptyAt(at) = to
        && !(0..i64::MAX).contains(&at.0)
    {
        return Err(CutError::InvalidStart { at });
    }
    // A reset supersedes a truncation, which may never end if its base cannot be read.
    let is_free = match (requested, to) {
        (None, _) => !log.is_being_cut(),
        (Some(Step::Resetting { .. }), _) | (Some(_), CutTo::End(_)) => false,
        (Some(_), CutTo::EmptyAt(_)) => true,
    };
    if !is_free {
        return Err(CutError::UnderWay);
    }
    let (step, remaining_end) = match to {
        CutTo::End(to) if !log.prepare_truncation(to)? => return Ok(Decision::Nothing { end: log.end() }),
        CutTo::End(to) => (Step::AwaitingDurable { to, last }, Some(to)),
        CutTo::EmptyAt(at) => (Step::Resetting { at }, None),
    };
    log.begin_cut();
    Ok(Decision::Cut { step, remaining_end })
}

/// Refuses the appends with a batch that ends above `remaining_end`: their frontiers will never
/// pass it.
fn refuse_waits<H: Host>(
    key: PartitionKey,
    remaining_end: Option<Offset>,
    waiting: &mut WaitingAnswers<H>,
    actions: &mut Actions<H>,
) {
    for append in waiting.take_above(key, remaining_end) {
        append.refuse(&AppendError::CutOff, actions);
    }
}

struct Staged {
    change: PlacementChange,
    end: Offset,
    remaining_end: Option<Offset>,
}

fn stage_truncation<M: super::host::ReaderMemory>(
    key: PartitionKey,
    rebuilt: &mut Rebuilt,
    now: Timestamp,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Staged, NotStaged<CutError>> {
    let partition = partitions.at(key).expect("a cut of a closed partition is refused with its close");
    rebuilt.inherit(&partition.log, now).map_err(|rejected| NotStaged::Error(rejected.into()))?;
    let Rebuilt { log: remaining, checkpoint_bytes, .. } = rebuilt;
    let end = remaining.end();
    let control = Control::Truncate { end };
    let size = Staging::<M>::size_of_truncation(&control, *checkpoint_bytes);
    if size > staging.table().shape().payload_max() as usize {
        return Err(NotStaged::Error(CutError::CheckpointTooLarge { size }));
    }
    let room = staging.room(size, Purpose::Freeing, partitions).map_err(refusal)?;
    let partition = partitions.at_mut(key).expect("making room closes none");
    partition.truncate(std::mem::replace(remaining, PartitionLog::open(LogLimits::default(), LeaderEpoch::NONE, end)));
    room.put_truncation(partition, &control);
    let change = PlacementChange::of(partition, Placement::Cut(partition.leadership()));
    Ok(Staged { change, end, remaining_end: Some(end) })
}

/// A cut waits for memory as it waits for a segment: a refusal would waste the read.
fn refusal(no_room: NoRoom) -> NotStaged<CutError> {
    match no_room {
        NoRoom::Memory(_) => NotStaged::Await,
        NoRoom::AwaitSlot | NoRoom::AwaitCommit | NoRoom::Full | NoRoom::Poisoned { .. } => no_room.into(),
    }
}

fn stage_reset<M: super::host::ReaderMemory>(
    key: PartitionKey,
    at: Offset,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Staged, NotStaged<CutError>> {
    let control = Control::Open { epoch: LeaderEpoch::NONE, log_start: at };
    let room = staging.room(control.payload_length(), Purpose::Freeing, partitions).map_err(refusal)?;
    let partition = partitions.at_mut(key).expect("a cut of a closed partition is refused with its close");
    partition.reset(at);
    room.put_control(partition.id, &control);
    let change = PlacementChange::of(partition, Placement::Cut(partition.leadership()));
    Ok(Staged { change, end: at, remaining_end: None })
}
