//! Cuts of logs: truncations, where another leader's log goes another way, and resets, where nothing of the log is of use any more. A log does not remember what its
//! producers and transactions were at a cut, so that is read back first ([`super::log_rebuild`]).
//!
//! ```text
//! truncation: asked --what was staged before is durable--> rebuilding --> rebuilt --there is room--> staged --durable--> shown, answered
//!                                                              '--cannot be told: refused, and the log stays as it was
//! reset:      asked --there is room--> staged --durable--> shown, answered
//! ```
//! A log takes no appends from the moment at which a cut of it is asked for, so nothing of it is in flight when a truncation is staged. What a reset leaves in flight
//! is of another version. Truncation and checkpoint stand in one group: a start finds the state after the cut, or the log uncut. A cut that is staged is a
//! [`super::placement_change`] as others are. It has no place in the backlog: an append may stall there for a watermark that only the cut lets go on.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_model::{Instant, LeaderEpoch, Offset, Timestamp};

use super::actions::{Action, Actions};
use super::error::{AppendError, CutError};
use super::gathering::NoRoom;
use super::host::Host;
use super::log_rebuild::{LogPrefix, LogRebuild, RebuildError};
use super::now::Now;
use super::partitions::{PartitionKey, Partitions};
use super::placement::Refusal;
use super::placement_change::{Placement, PlacementChange};
use super::request::{CutLog, CutTo};
use super::staging::Staging;
use super::waiting::WaitingAnswers;
use crate::log::{Frontiers, LogLimits, PartitionLog, RejectedTruncation};
use crate::wal::segments::{GroupRange, Purpose};
use crate::wal::{Control, SegmentHold, WalPosition};

/// How long a cut waits for room before it is looked at again, unless something happens sooner: nothing tells of memory.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// What a cut goes through before it is staged.
#[derive(Debug)]
enum Step {
    /// The log is read back up to `to` once all that was staged is durable: up to and with the group at `last`.
    Settling {
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

/// What is left of a log, and waits for room.
#[derive(Debug)]
struct Rebuilt {
    log: PartitionLog,
    settled: Option<Settled>,
    /// Of the log as it is settled.
    checkpoint_bytes: usize,
}

/// What was taken over from the log that is cut: trims of it go on.
#[derive(Debug, PartialEq, Eq)]
struct Settled {
    frontiers: Frontiers,
    log_start: Offset,
}

impl Rebuilt {
    /// Makes it go on from the log as it is now. Nothing, if that was done.
    fn settle(&mut self, log: &PartitionLog, now: Timestamp) -> Result<(), RejectedTruncation> {
        let settled = Settled { frontiers: *log.frontiers(), log_start: log.decided_log_start() };
        if self.settled.as_ref() != Some(&settled) {
            // It ends lower than what was asked for where that lies inside of a batch.
            log.prepare_truncation(self.log.end())?;
            self.log.continue_cut(log, now);
            self.checkpoint_bytes = self.log.checkpoint_length();
            self.settled = Some(settled);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct AskedCut<H: Host> {
    /// The cut was asked for in this one. A later leadership of this broker takes its place.
    leader_epoch: LeaderEpoch,
    step: Step,
    reply: H::CutReply,
}

/// A read that is under way, whether or not its cut still is.
#[derive(Debug)]
struct Rebuilding {
    number: u64,
    key: PartitionKey,
    /// Of the segments that it reads, until it ends.
    holds: Vec<SegmentHold>,
}

/// A cut that is staged.
#[derive(Debug)]
pub(super) struct StagedCut<H: Host> {
    pub change: PlacementChange,
    pub end: Offset,
    pub reply: H::CutReply,
}

/// The cuts that are asked for and not staged: one a partition, and one read a shard.
#[derive(Debug)]
pub(super) struct Cuts<H: Host> {
    asked: BTreeMap<PartitionKey, AskedCut<H>>,
    rebuilding: Option<Rebuilding>,
    newest_read: u64,
    read_bytes_max: usize,
    /// There was no room for one.
    due_at: Option<Instant>,
}

impl<H: Host> Cuts<H> {
    pub(super) const fn new(read_bytes_max: usize) -> Self {
        Self { asked: BTreeMap::new(), rebuilding: None, newest_read: 0, read_bytes_max, due_at: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Nothing is read for a cut either.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.rebuilding.is_none()
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at.filter(|_| !self.is_empty())
    }

    /// Judges a cut that a leader asks for. The log keeps what it has until the cut is staged. Its watermark
    /// stands still at once, and it takes no appends.
    pub(super) fn ask(
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
        match judge(log, to, staging.last_staged(), self.asked.get(&key).map(|cut| &cut.step)) {
            Err(error) => actions.push(Action::AnswerCut { reply, result: Err(error) }),
            Ok(Judged::Nothing { end }) => actions.push(Action::AnswerCut { reply, result: Ok(end) }),
            Ok(Judged::Cut { step, kept }) => {
                refuse_waits(key, kept, waiting, actions);
                if let Some(before) = self.asked.insert(key, AskedCut { leader_epoch, step, reply }) {
                    actions.push(Action::AnswerCut { reply: before.reply, result: Err(CutError::Superseded) });
                }
            }
        }
    }

    /// A leader of this epoch is followed: what was asked for in an earlier one is not done. Answers whether there was such a cut.
    pub(super) fn on_followed(&mut self, key: PartitionKey, epoch: LeaderEpoch, actions: &mut Actions<H>) -> bool {
        let is_older = self.asked.get(&key).is_some_and(|cut| cut.leader_epoch < epoch);
        is_older && self.refuse(key, CutError::Superseded, actions)
    }

    /// The broker leads the partition itself: the log stays as it is, also if the cut was asked for in this very epoch. Answers whether there was such a cut.
    pub(super) fn on_led(&mut self, key: PartitionKey, epoch: LeaderEpoch, actions: &mut Actions<H>) -> bool {
        let is_older = self.asked.get(&key).is_some_and(|cut| cut.leader_epoch <= epoch);
        is_older && self.refuse(key, CutError::Superseded, actions)
    }

    pub(super) fn on_closed(&mut self, key: PartitionKey, actions: &mut Actions<H>) {
        self.refuse(key, CutError::UnknownPartition, actions);
    }

    /// Answers whether there was one to refuse. Its log is no longer about to be cut: see [`PartitionLog::end_cut`].
    fn refuse(&mut self, key: PartitionKey, error: CutError, actions: &mut Actions<H>) -> bool {
        let Some(cut) = self.asked.remove(&key) else { return false };
        actions.push(Action::AnswerCut { reply: cut.reply, result: Err(error) });
        true
    }

    /// The WAL has failed: nothing is cut any more. Answers whose logs stay as they are.
    pub(super) fn refuse_all(&mut self, reason: &str, actions: &mut Actions<H>) -> Vec<PartitionKey> {
        let keys = self.keys();
        for key in &keys {
            self.refuse(*key, CutError::Storage { reason: reason.to_owned() }, actions);
        }
        keys
    }

    /// Partitions with a cut that may go on.
    pub(super) fn keys(&self) -> Vec<PartitionKey> {
        self.asked.keys().copied().collect()
    }

    /// Reads back what is durable by now, one log at a time: the next one when that is staged.
    pub(super) fn begin_rebuild(
        &mut self,
        partitions: &Partitions,
        staging: &Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) {
        let is_any_rebuilt = self.asked.values().any(|cut| matches!(cut.step, Step::Rebuilt(_)));
        if self.rebuilding.is_some() || is_any_rebuilt {
            return;
        }
        let table = staging.table();
        let durable = table.durable();
        let settled = self.asked.iter_mut().find_map(|(key, cut)| match cut.step {
            Step::Settling { to, last } if last.is_none_or(|last| last < durable) => Some((*key, to, cut)),
            _ => None,
        });
        let Some((key, to, cut)) = settled else { return };
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

    /// A read has ended. Answers whose cut it refused.
    pub(super) fn on_rebuilt(
        &mut self,
        number: u64,
        log: Result<PartitionLog, RebuildError>,
        actions: &mut Actions<H>,
    ) -> Option<PartitionKey> {
        let Rebuilding { key, holds, .. } = self.rebuilding.take_if(|read| read.number == number)?;
        drop(holds);
        let is_wanted = |cut: &&mut AskedCut<H>| matches!(cut.step, Step::Rebuilding { number: of } if of == number);
        let cut = self.asked.get_mut(&key).filter(is_wanted)?;
        match log {
            Ok(log) => {
                cut.step = Step::Rebuilt(Box::new(Rebuilt { log, settled: None, checkpoint_bytes: 0 }));
                None
            }
            Err(error) => {
                self.refuse(key, error.into(), actions);
                Some(key)
            }
        }
    }

    /// Stages what is ready, if there is room now.
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
        let Some(cut) = self.asked.get_mut(&key) else { return Ok(None) };
        let staged = match &mut cut.step {
            Step::Settling { .. } | Step::Rebuilding { .. } => return Ok(None),
            Step::Rebuilt(rebuilt) => stage_truncation(key, rebuilt, now.wall, partitions, staging),
            Step::Resetting { at } => stage_reset(key, *at, partitions, staging),
        };
        match staged {
            Ok(Staged { change, end, kept }) => {
                refuse_waits(key, kept, waiting, actions);
                let cut = self.asked.remove(&key).expect("it was found");
                Ok(Some(StagedCut { change, end, reply: cut.reply }))
            }
            Err(Refusal::Await) => {
                self.due_at.get_or_insert(now.at.plus(ROOM_PAUSE));
                Ok(None)
            }
            Err(Refusal::Error(error)) => {
                self.refuse(key, error.clone(), actions);
                Err(error)
            }
        }
    }
}

impl From<RebuildError> for CutError {
    fn from(error: RebuildError) -> Self {
        let reason = error.to_string();
        match error {
            RebuildError::NoBase { .. } | RebuildError::Damaged { .. } | RebuildError::Unsound { .. } => {
                Self::Unknown { reason }
            }
            RebuildError::Unreadable { .. } | RebuildError::NotRead { .. } => Self::Unreadable { reason },
        }
    }
}

enum Judged {
    /// Batches that end at or below `kept` stay; after a reset none do.
    Cut {
        step: Step,
        kept: Option<Offset>,
    },
    Nothing {
        end: Offset,
    },
}

/// `last` is the newest group that is staged and not durable; `asked`, how far a cut is that was asked for in the same epoch.
fn judge(
    log: &mut PartitionLog,
    to: CutTo,
    last: Option<WalPosition>,
    asked: Option<&Step>,
) -> Result<Judged, CutError> {
    if let CutTo::EmptyAt(at) = to
        && !(0..i64::MAX).contains(&at.0)
    {
        return Err(CutError::InvalidStart { at });
    }
    // A truncation may never come to its end, where its base cannot be read.
    let is_free = match (asked, to) {
        (None, _) => !log.is_being_cut(),
        (Some(Step::Resetting { .. }), _) | (Some(_), CutTo::End(_)) => false,
        (Some(_), CutTo::EmptyAt(_)) => true,
    };
    if !is_free {
        return Err(CutError::UnderWay);
    }
    let (step, kept) = match to {
        CutTo::End(to) if !log.prepare_truncation(to)? => return Ok(Judged::Nothing { end: log.end() }),
        CutTo::End(to) => (Step::Settling { to, last }, Some(to)),
        CutTo::EmptyAt(at) => (Step::Resetting { at }, None),
    };
    log.begin_cut();
    Ok(Judged::Cut { step, kept })
}

/// Appends with a batch that ends above what is kept will never be what they waited for.
fn refuse_waits<H: Host>(
    key: PartitionKey,
    kept: Option<Offset>,
    waiting: &mut WaitingAnswers<H>,
    actions: &mut Actions<H>,
) {
    for append in waiting.take_above(key, kept) {
        append.refuse(&AppendError::CutOff, actions);
    }
}

struct Staged {
    change: PlacementChange,
    end: Offset,
    kept: Option<Offset>,
}

fn stage_truncation<M: super::host::ReaderMemory>(
    key: PartitionKey,
    rebuilt: &mut Rebuilt,
    now: Timestamp,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Staged, Refusal<CutError>> {
    let partition = partitions.at(key).expect("a cut of a closed partition is refused with its close");
    rebuilt.settle(&partition.log, now).map_err(|rejected| Refusal::Error(rejected.into()))?;
    let Rebuilt { log: kept, checkpoint_bytes, .. } = rebuilt;
    let end = kept.end();
    let control = Control::Truncate { end };
    let size = Staging::<M>::size_of_truncation(&control, *checkpoint_bytes);
    if size > staging.table().shape().payload_max() as usize {
        let reason = format!("its checkpoint of {size} bytes does not fit a segment");
        return Err(Refusal::Error(CutError::Unknown { reason }));
    }
    let place = staging.room(size, Purpose::Freeing, partitions).map_err(refusal)?;
    let partition = partitions.at_mut(key).expect("making room closes none");
    partition.truncate(std::mem::replace(kept, PartitionLog::open(LogLimits::default(), LeaderEpoch::NONE, end)));
    place.put_truncation(partition, &control);
    let change = PlacementChange::of(partition, Placement::Cut(partition.leadership()));
    Ok(Staged { change, end, kept: Some(end) })
}

/// A cut waits for memory as it does for a segment: it would have to be read back anew.
fn refusal(no_room: NoRoom) -> Refusal<CutError> {
    match no_room {
        NoRoom::Memory(_) => Refusal::Await,
        NoRoom::AwaitSlot | NoRoom::AwaitCommit | NoRoom::Full | NoRoom::Poisoned { .. } => no_room.into(),
    }
}

fn stage_reset<M: super::host::ReaderMemory>(
    key: PartitionKey,
    at: Offset,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Staged, Refusal<CutError>> {
    let control = Control::Open { epoch: LeaderEpoch::NONE, log_start: at };
    let place = staging.room(control.payload_length(), Purpose::Freeing, partitions).map_err(refusal)?;
    let partition = partitions.at_mut(key).expect("a cut of a closed partition is refused with its close");
    partition.reset(at);
    place.put_control(partition.id, &control);
    let change = PlacementChange::of(partition, Placement::Cut(partition.leadership()));
    Ok(Staged { change, end: at, kept: None })
}
