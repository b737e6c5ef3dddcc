//! Opens, leads, trims and closes partitions: validates the requests and stages the changes.
//! The shard's own state changes when the frame is staged; readers see the change once it is
//! durable ([`super::placement_change`]). A deleted partition is unlisted at once.

use std::collections::BTreeMap;

use rustmq_model::{Offset, TopicIdPartition};

use super::actions::{Action, Actions, NewView};
use super::commit_builder::NoRoom;
use super::error::{AppendError, CutError, DeleteError, OpenError, TrimError};
use super::failure::WalFailure;
use super::host::{Host, ReaderMemory};
use super::partitions::{PartitionKey, Partitions};
use super::placement_change::{Placement, PlacementChange};
use super::request::{OpenPartition, TrimTo};
use super::staging::Staging;
use crate::log::{EpochStart, LogLimits, PartitionLog, RejectedEpoch, Replicas};
use crate::wal::segments::Purpose;
use crate::wal::{Control, LocationMap};

/// Why a change is not staged.
pub(super) enum NotStaged<E> {
    /// The caller tries again when there may be room.
    Await,
    Error(E),
}

/// The settings of a new log.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewLog {
    pub limits: LogLimits,
    pub replicas: Replicas,
}

/// Creates the partition, or leads it in a leader epoch that is not lower.
pub(super) fn open<H: Host>(
    open: OpenPartition,
    new: NewLog,
    partitions: &mut Partitions,
    staging: &mut Staging<H::Memory>,
    actions: &mut Actions<H>,
) -> Result<PlacementChange, NotStaged<OpenError>> {
    if let Some(failure) = staging.poisoned() {
        return Err(NotStaged::Error(OpenError::Storage(failure.clone())));
    }
    match partitions.key(open.id) {
        Some(key) => lead(key, open, partitions, staging),
        None => create(open, new, partitions, staging, actions),
    }
}

fn create<H: Host>(
    open: OpenPartition,
    NewLog { limits, replicas }: NewLog,
    partitions: &mut Partitions,
    staging: &mut Staging<H::Memory>,
    actions: &mut Actions<H>,
) -> Result<PlacementChange, NotStaged<OpenError>> {
    let OpenPartition { id, leader_epoch, config } = open;
    let control = Control::Open { epoch: leader_epoch, log_start: Offset::ZERO };
    let room = staging.room(control.payload_length(), Purpose::Append, partitions)?;
    let mut log = PartitionLog::open(limits, leader_epoch, Offset::ZERO);
    log.follow_watermark(replicas.first_rule(Offset::ZERO));
    let partition = partitions.insert(id, log, config, 0);
    room.put_control(id, &control);
    actions.push(Action::CreateView(Box::new(NewView::of(partition, LocationMap::default(), BTreeMap::new()))));
    Ok(PlacementChange::of(partition, Placement::Lead(partition.leadership())))
}

fn lead<M: ReaderMemory>(
    key: PartitionKey,
    open: OpenPartition,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<PlacementChange, NotStaged<OpenError>> {
    let OpenPartition { id, leader_epoch, config } = open;
    let partition = partitions.at_mut(key).expect("the caller found it");
    partition.config = config;
    let begun = partition.log.prepare_lead(leader_epoch);
    let begun = begun.map_err(|RejectedEpoch { given, current }| {
        NotStaged::Error(OpenError::FencedLeaderEpoch { given, current })
    })?;
    if let Some(EpochStart { epoch, start }) = begun {
        let control = Control::EpochStart { epoch, start };
        let room = staging.room(control.payload_length(), Purpose::Append, partitions)?;
        let partition = partitions.at_mut(key).expect("making room closes none");
        partition.log.lead(EpochStart { epoch, start });
        partition.verifications.clear();
        room.put_control(id, &control);
    }
    let partition = partitions.at(key).expect("making room closes none");
    Ok(PlacementChange::of(partition, Placement::Lead(partition.leadership())))
}

/// The outcome of a trim.
#[derive(Debug)]
pub(super) struct Trimmed {
    /// The new log start, which may not be durable yet.
    pub log_start: Offset,
    /// `None` if the log already starts there or above, or will once an earlier trim is durable.
    pub change: Option<PlacementChange>,
}

/// Trims the log of an open partition.
pub(super) fn trim<M: ReaderMemory>(
    id: TopicIdPartition,
    to: TrimTo,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Trimmed, NotStaged<TrimError>> {
    if let Some(failure) = staging.poisoned() {
        return Err(NotStaged::Error(TrimError::Storage(failure.clone())));
    }
    let partition = partitions.find(id).ok_or(NotStaged::Error(TrimError::UnknownPartition))?;
    let high_watermark = partition.log.frontiers().high_watermark;
    let requested = match to {
        TrimTo::HighWatermark => high_watermark,
        TrimTo::Offset(offset) => offset,
    };
    if requested > high_watermark {
        return Err(NotStaged::Error(TrimError::AboveHighWatermark { requested, high_watermark }));
    }
    let (key, log_start) = (partition.key, partition.log.decided_log_start().max(requested));
    Ok(Trimmed { log_start, change: trim_to(key, requested, partitions, staging)? })
}

/// Trims to an offset that the caller compared with the high watermark.
pub(super) fn trim_to<M: ReaderMemory>(
    key: PartitionKey,
    requested: Offset,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<Option<PlacementChange>, NoRoom> {
    if requested <= partitions.at(key).expect("the caller found it").log.decided_log_start() {
        return Ok(None);
    }
    let control = Control::Trim { log_start: requested };
    let room = staging.room(control.payload_length(), Purpose::Freeing, partitions)?;
    let partition = partitions.at_mut(key).expect("making room closes none");
    let moved = partition.log.trim(requested).expect("the caller compared it with the high watermark");
    assert_eq!(moved, Some(requested), "it is above the log start");
    room.put_control(partition.id, &control);
    Ok(Some(PlacementChange::of(partition, Placement::Trim(requested))))
}

/// The outcome of a deletion.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// One change for each partition that was open.
    pub closed: Vec<PlacementChange>,
    pub results: Vec<Result<(), DeleteError>>,
}

/// Closes partitions: they are unfindable from here on. Waits for a segment before the first close,
/// so that the request does not stall half-way: `None` if it must wait.
pub(super) fn delete<H: Host>(
    ids: &[TopicIdPartition],
    partitions: &mut Partitions,
    staging: &mut Staging<H::Memory>,
    actions: &mut Actions<H>,
) -> Option<Deleted> {
    let is_any_open = ids.iter().any(|id| partitions.key(*id).is_some());
    if is_any_open
        && let Err(NoRoom::AwaitSlot) = staging.room(Control::Close.payload_length(), Purpose::Freeing, partitions)
    {
        return None;
    }
    let mut deleted = Deleted::default();
    for id in ids {
        let result = close(*id, partitions, staging);
        deleted.results.push(result.map(|change| {
            actions.push(Action::Unlist { id: *id });
            deleted.closed.push(change);
        }));
    }
    Some(deleted)
}

fn close<M: ReaderMemory>(
    id: TopicIdPartition,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
) -> Result<PlacementChange, DeleteError> {
    if let Some(failure) = staging.poisoned() {
        return Err(DeleteError::Storage(failure.clone()));
    }
    let key = partitions.key(id).ok_or(DeleteError::UnknownPartition)?;
    let room = match staging.room(Control::Close.payload_length(), Purpose::Freeing, partitions) {
        Ok(room) => room,
        // Retriable: a segment will be ready.
        Err(NoRoom::AwaitSlot | NoRoom::AwaitCommit | NoRoom::Full) => return Err(DeleteError::Full),
        Err(NoRoom::Memory(error)) => return Err(DeleteError::Storage(error.into())),
        Err(NoRoom::Poisoned(failure)) => return Err(DeleteError::Storage(failure)),
    };
    room.put_control(id, &Control::Close);
    let partition = partitions.close(key).expect("it was found, and making room closes none");
    Ok(PlacementChange::of(&partition, Placement::Close))
}

/// Converts the lack of room into an operation's error.
pub(super) trait WithoutRoom {
    const FULL: Self;
    fn storage(failure: WalFailure) -> Self;
}

impl WithoutRoom for AppendError {
    const FULL: Self = Self::Full;
    fn storage(failure: WalFailure) -> Self {
        Self::Storage(failure)
    }
}

impl WithoutRoom for OpenError {
    const FULL: Self = Self::Full;
    fn storage(failure: WalFailure) -> Self {
        Self::Storage(failure)
    }
}

impl WithoutRoom for TrimError {
    const FULL: Self = Self::Full;
    fn storage(failure: WalFailure) -> Self {
        Self::Storage(failure)
    }
}

impl WithoutRoom for CutError {
    const FULL: Self = Self::Full;
    fn storage(failure: WalFailure) -> Self {
        Self::Storage(failure)
    }
}

impl<E: WithoutRoom> From<NoRoom> for NotStaged<E> {
    fn from(no_room: NoRoom) -> Self {
        match no_room {
            NoRoom::AwaitSlot | NoRoom::AwaitCommit => Self::Await,
            NoRoom::Full => Self::Error(E::FULL),
            NoRoom::Memory(error) => Self::Error(E::storage(error.into())),
            NoRoom::Poisoned(failure) => Self::Error(E::storage(failure)),
        }
    }
}
