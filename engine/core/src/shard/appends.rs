//! Appends: the partition's log validates each batch, then it is staged. A request whose batches do
//! not all find room continues later, in order.

use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, ProducerId, ProducerKey, Sequence, TopicIdPartition};

use super::append_waits::AwaitedEnd;
use super::backlog::Progress;
use super::error::AppendError;
use super::host::Host;
use super::now::Now;
use super::partitions::{Partition, Partitions};
use super::placement::NotStaged;
use super::request::{Append, AppendSource, Appended, ProducerState, Verification, Verify};
use super::staging::Staging;
use super::waiting::WaitingAppend;
use crate::log::producers::Producer;
use crate::log::{Admission, AppendDecision, AppendRejection, VerificationDecision};
use crate::wal::segments::Purpose;
use crate::wal::{MARKER_FIELD_LENGTH_MAX, marker_field};

/// The initial capacity for ends: few requests have more partitions, and equal ends are merged.
const ENDS_AT_FIRST: usize = 32;

/// A request that may have staged some of its batches.
#[derive(Debug)]
pub(super) struct PartialAppend<H: Host> {
    appends: Vec<Append>,
    ends: Vec<AwaitedEnd>,
    /// The results of the batches processed so far.
    results: Vec<Result<Appended, AppendError>>,
    reply: H::AppendReply,
}

/// The appends staged since the driver asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendCount {
    pub batches: u64,
    pub bytes: u64,
}

impl<H: Host> PartialAppend<H> {
    pub(super) fn new(appends: Vec<Append>, reply: H::AppendReply) -> Self {
        let count = appends.len();
        Self { appends, ends: Vec::with_capacity(count.min(ENDS_AT_FIRST)), results: Vec::with_capacity(count), reply }
    }

    /// Stages batches while there is room.
    pub(super) fn stage(
        &mut self,
        partitions: &mut Partitions,
        staging: &mut Staging<H::Memory>,
        now: Now,
        count: &mut AppendCount,
    ) -> Progress {
        while let Some(append) = self.appends.get_mut(self.results.len()) {
            let result = match stage_batch(append, partitions, staging, now) {
                Err(NotStaged::Await) => return Progress::Stalled,
                Ok(Outcome::Staged(end, appended)) => {
                    count.batches += 1;
                    count.bytes += append.batch.len() as u64;
                    Ok((end, appended))
                }
                Ok(Outcome::Duplicate(end, appended)) => Ok((end, appended)),
                Err(NotStaged::Error(error)) => Err(error),
            };
            // Its memory counts as the client's request: other requests wait for it.
            drop(std::mem::take(&mut append.batch));
            let end = result.as_ref().map_or(AwaitedEnd::NONE, |(end, _)| *end);
            if !self.ends.last_mut().is_some_and(|last| last.join(end)) {
                self.ends.push(end);
            }
            self.results.push(result.map(|(_, appended)| appended));
        }
        Progress::Done
    }

    pub(super) fn into_waiting(self) -> WaitingAppend<H> {
        WaitingAppend { ends: self.ends, results: self.results, reply: self.reply }
    }

    pub(super) fn is_refused(&self) -> bool {
        self.results.iter().all(Result::is_err)
    }
}

/// The outcome for one batch.
enum Outcome {
    Staged(AwaitedEnd, Appended),
    Duplicate(AwaitedEnd, Appended),
}

fn stage_batch<M: super::host::ReaderMemory>(
    append: &Append,
    partitions: &mut Partitions,
    staging: &mut Staging<M>,
    now: Now,
) -> Result<Outcome, NotStaged<AppendError>> {
    let refused = |error| Err(NotStaged::Error(error));
    let Append { id, leader_epoch, batch, header, source, until: frontier } = append;
    if let Some(failure) = staging.poisoned() {
        return refused(AppendError::Storage(failure.clone()));
    }
    let max = staging.table().shape().payload_max() as usize;
    if payload_length(append) > max || batch.len() != header.size {
        return refused(AppendError::TooLarge { size: batch.len(), max });
    }
    let Some(partition) = partitions.find(*id) else { return refused(AppendError::UnknownPartition) };
    let (key, log_start) = (partition.key, partition.log_start());
    let version = partition.version;
    let until = |end: Offset| AwaitedEnd { key, version, frontier: *frontier, end, batches: 1 };
    let appended = |base_offset: Offset, duplicate_of| Appended { base_offset, log_start, duplicate_of };
    match prepare(partition, *leader_epoch, header, source) {
        Err(rejection) => return refused(refusal(rejection)),
        Ok(AppendDecision::Duplicate { base_offset, timestamp, must_wait_for, .. }) => {
            return Ok(Outcome::Duplicate(until(must_wait_for), appended(base_offset, Some(timestamp))));
        }
        Ok(AppendDecision::Append { .. }) => {}
    }
    let room = staging.room(payload_length(append), Purpose::Append, partitions)?;
    let partition = partitions.at_mut(key).expect("it was found, and making room closes none");
    let base_offset = partition.log.end();
    match source {
        AppendSource::Marker(marker) => {
            let trace = partition.log.commit_marker(header, marker.into(), base_offset, now.wall);
            partition.verifications.on_marker(marker);
            if partition.log.producers().find(marker.producer.id).is_none() {
                partition.verifications.clear();
            }
            trace.aborted().into_iter().for_each(|aborted| partition.on_aborted(aborted));
            let payload = [&batch[..], &marker_field(&trace)].concat();
            room.put_batch(partition, &payload, header, base_offset, now.wall);
        }
        AppendSource::Client(_) | AppendSource::Coordinator => {
            partition.log.commit_append(header, base_offset, now.wall);
            room.put_batch(partition, batch, header, base_offset, now.wall);
        }
    }
    let end = partition.log.end();
    Ok(Outcome::Staged(until(end), appended(base_offset, None)))
}

/// The most bytes that the batch takes with its tagged fields.
fn payload_length(append: &Append) -> usize {
    let field = if matches!(append.source, AppendSource::Marker(_)) { MARKER_FIELD_LENGTH_MAX } else { 0 };
    append.batch.len() + field
}

fn prepare(
    partition: &Partition,
    leader_epoch: Option<LeaderEpoch>,
    header: &BatchHeader,
    source: &AppendSource,
) -> Result<AppendDecision, AppendRejection> {
    let admission = match source {
        AppendSource::Marker(marker) => return partition.log.prepare_marker(leader_epoch, header, marker),
        AppendSource::Coordinator => Admission::Coordinator,
        AppendSource::Client(guard) => {
            let producer = ProducerKey { id: header.producer_id, epoch: header.producer_epoch };
            let is_verified = guard.is_some_and(|guard| partition.verifications.admits(guard, producer));
            if is_verified { Admission::Verified } else { Admission::Unverified }
        }
    };
    partition.log.prepare_append(leader_epoch, header, admission)
}

/// Says whether the coordinator must confirm the batch's transaction, and gives the guard.
pub(super) fn verify(verify: &Verify, partitions: &Partitions) -> Result<Verification, AppendError> {
    let Verify { id, leader_epoch, header } = verify;
    let partition = partitions.find(*id).ok_or(AppendError::UnknownPartition)?;
    match partition.log.prepare_verification(*leader_epoch, header).map_err(refusal)? {
        VerificationDecision::NotNeeded => Ok(Verification::NotNeeded),
        VerificationDecision::Needed => {
            let producer = ProducerKey { id: header.producer_id, epoch: header.producer_epoch };
            Ok(Verification::Needed(partition.verifications.guard(producer)))
        }
    }
}

/// The producers that the partition remembers, in the order of their ids. `None` unless it is open.
pub(super) fn describe_producers(id: TopicIdPartition, partitions: &Partitions) -> Option<Vec<ProducerState>> {
    let producers = partitions.find(id)?.log.producers();
    let describe = |(id, producer): (ProducerId, &Producer)| ProducerState {
        id,
        epoch: producer.epoch,
        last_sequence: producer.batches.last().map_or(Sequence::NONE, |last| last.last_sequence),
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: producer.coordinator_epoch,
        transaction_start: producer.open_transaction,
    };
    Some(producers.iter().map(describe).collect())
}

fn refusal(rejection: AppendRejection) -> AppendError {
    match rejection {
        AppendRejection::FencedLeaderEpoch { given, current } => AppendError::FencedLeaderEpoch { given, current },
        AppendRejection::UnknownLeaderEpoch { given, current } => AppendError::UnknownLeaderEpoch { given, current },
        AppendRejection::BeingCut => AppendError::CutOff,
        AppendRejection::OutOfOrderSequence { producer_id, expected, got } => {
            AppendError::OutOfOrderSequence { producer: producer_id, expected, got }
        }
        AppendRejection::InvalidProducerEpoch { producer_id, current, got } => {
            AppendError::InvalidProducerEpoch { producer: producer_id, current, got }
        }
        AppendRejection::ProducerLimit { limit } => AppendError::ProducerLimit { limit },
        AppendRejection::Batch(rejection) => AppendError::InvalidBatch(rejection),
        AppendRejection::Transaction(rejection) => AppendError::InvalidTransaction(rejection),
    }
}
