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

use rustmq_model::{LeaderEpoch, Offset, Timestamp};

use super::actions::{Action, Actions};
use super::error::{AppendError, CutError};
use super::host::Host;
use super::log_rebuild::{LogPrefix, LogRebuild, RebuildError};
use super::partitions::{PartitionKey, Partitions};
use super::placement::Refusal;
use super::placement_change::{Placement, PlacementChange};
use super::request::{CutLog, CutTo};
use super::staging::Staging;
use super::waiting::WaitingAnswers;
use crate::log::{LogLimits, PartitionLog, RejectedEpoch};
use crate::wal::segments::{GroupRange, Purpose};
use crate::wal::{Control, SegmentHold, WalPosition};

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
    Rebuilt(Box<PartitionLog>),
    Resetting {
        at: Offset,
    },
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
}

impl<H: Host> Cuts<H> {
    pub(super) const fn new(read_bytes_max: usize) -> Self {
        Self { asked: BTreeMap::new(), rebuilding: None, newest_read: 0, read_bytes_max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Judges it, and keeps the log as it is until it is staged.
    pub(super) fn ask(
        &mut self,
        CutLog { id, leader_epoch, to }: CutLog,
        reply: H::CutReply,
        partitions: &mut Partitions,
        staging: &Staging<H::Memory>,
        waiting: &mut WaitingAnswers<H>,
        actions: &mut Actions<H>,
    ) {
        let judged = match partitions.key(id) {
            _ if staging.poisoned().is_some() => {
                Err(CutError::Storage { reason: staging.poisoned().unwrap_or_default().to_owned() })
            }
            None => Err(CutError::UnknownPartition),
            Some(key) => {
                let log = &mut partitions.at_mut(key).expect("its id has this key").log;
                let judged = judge(log, leader_epoch, to, staging.last_staged(), self.asked.get(&key));
                judged.map(|judged| (key, judged))
            }
        };
        match judged {
            Err(error) => actions.push(Action::AnswerCut { reply, result: Err(error) }),
            Ok((_, Judged::Nothing { end })) => actions.push(Action::AnswerCut { reply, result: Ok(end) }),
            Ok((key, Judged::Cut { step, kept })) => {
                refuse_waits(key, kept, waiting, actions);
                if let Some(before) = self.asked.insert(key, AskedCut { leader_epoch, step, reply }) {
                    actions.push(Action::AnswerCut { reply: before.reply, result: Err(CutError::Superseded) });
                }
            }
        }
    }

    /// The broker leads the partition in a later epoch than a cut was asked for: the log stays as it is. Answers whether there was such a cut.
    pub(super) fn on_led(&mut self, key: PartitionKey, epoch: LeaderEpoch, actions: &mut Actions<H>) -> bool {
        let is_older = self.asked.get(&key).is_some_and(|cut| cut.leader_epoch < epoch);
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

    /// The WAL has failed: nothing is cut any more.
    pub(super) fn refuse_all(&mut self, reason: &str, actions: &mut Actions<H>) {
        for (_, cut) in std::mem::take(&mut self.asked) {
            let error = CutError::Storage { reason: reason.to_owned() };
            actions.push(Action::AnswerCut { reply: cut.reply, result: Err(error) });
        }
    }

    /// Partitions with a cut that may go on.
    pub(super) fn keys(&self) -> Vec<PartitionKey> {
        self.asked.keys().copied().collect()
    }

    /// Reads back what is durable by now, one log at a time.
    pub(super) fn begin_rebuild(
        &mut self,
        key: PartitionKey,
        partitions: &Partitions,
        staging: &Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) {
        let (Some(partition), Some(cut)) = (partitions.at(key), self.asked.get_mut(&key)) else { return };
        let Step::Settling { to, last } = cut.step else { return };
        let table = staging.table();
        if self.rebuilding.is_some() || last.is_some_and(|last| last >= table.durable()) {
            return;
        }
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
                cut.step = Step::Rebuilt(Box::new(log));
                None
            }
            Err(error) => {
                self.refuse(key, CutError::Unknown { reason: error.to_string() }, actions);
                Some(key)
            }
        }
    }

    /// Stages what is ready, if there is room now.
    pub(super) fn stage(
        &mut self,
        key: PartitionKey,
        now: Timestamp,
        partitions: &mut Partitions,
        staging: &mut Staging<H::Memory>,
        waiting: &mut WaitingAnswers<H>,
        actions: &mut Actions<H>,
    ) -> Result<Option<StagedCut<H>>, CutError> {
        let Some(cut) = self.asked.get_mut(&key) else { return Ok(None) };
        let staged = match &mut cut.step {
            Step::Settling { .. } | Step::Rebuilding { .. } => return Ok(None),
            Step::Rebuilt(kept) => stage_truncation(key, kept, now, partitions, staging),
            Step::Resetting { at } => stage_reset(key, *at, partitions, staging),
        };
        match staged {
            Ok(Staged { change, end, kept }) => {
                refuse_waits(key, kept, waiting, actions);
                let cut = self.asked.remove(&key).expect("it was found");
                Ok(Some(StagedCut { change, end, reply: cut.reply }))
            }
            Err(Refusal::Await) => Ok(None),
            Err(Refusal::Error(error)) => {
                self.refuse(key, error.clone(), actions);
                Err(error)
            }
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

/// `last` is the newest group that is staged and not durable.
fn judge<H: Host>(
    log: &mut PartitionLog,
    leader_epoch: LeaderEpoch,
    to: CutTo,
    last: Option<WalPosition>,
    asked: Option<&AskedCut<H>>,
) -> Result<Judged, CutError> {
    if let CutTo::EmptyAt(at) = to
        && !(0..i64::MAX).contains(&at.0)
    {
        return Err(CutError::InvalidStart { at });
    }
    let fenced = |RejectedEpoch { given, current }| CutError::FencedLeaderEpoch { given, current };
    log.follow(leader_epoch).map_err(fenced)?;
    // A truncation may never come to its end, where its base cannot be read.
    let is_free = match (asked.map(|asked| &asked.step), to) {
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
    kept: &mut PartitionLog,
    now: Timestamp,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Staged, Refusal<CutError>> {
    let partition = partitions.at(key).expect("a cut of a closed partition is refused with its close");
    let end = kept.end();
    // It is lower than what was asked for where that lies inside of a batch.
    partition.log.prepare_truncation(end).map_err(|rejected| Refusal::Error(rejected.into()))?;
    kept.continue_cut(&partition.log, now);
    let control = Control::Truncate { end };
    let size = Staging::<M>::size_of_truncation(&control, kept.checkpoint_length());
    if size > staging.table().shape().payload_max() as usize {
        let reason = format!("its checkpoint of {size} bytes does not fit a segment");
        return Err(Refusal::Error(CutError::Unknown { reason }));
    }
    let place = staging.room(size, Purpose::Freeing, partitions)?;
    let partition = partitions.at_mut(key).expect("making room closes none");
    partition.truncate(std::mem::replace(kept, PartitionLog::open(LogLimits::default(), LeaderEpoch::NONE, end)));
    place.put_truncation(partition, &control);
    let change = PlacementChange::of(partition, Placement::Cut(partition.leadership()));
    Ok(Staged { change, end, kept: Some(end) })
}

fn stage_reset<M: super::host::ReaderMemory>(
    key: PartitionKey,
    at: Offset,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Staged, Refusal<CutError>> {
    let control = Control::Open { epoch: LeaderEpoch::NONE, log_start: at };
    let place = staging.room(control.payload_length(), Purpose::Freeing, partitions)?;
    let partition = partitions.at_mut(key).expect("a cut of a closed partition is refused with its close");
    partition.reset(at);
    place.put_control(partition.id, &control);
    let change = PlacementChange::of(partition, Placement::Cut(partition.leadership()));
    Ok(Staged { change, end: at, kept: None })
}
