//! The checkpoint of a partition log: the content of a checkpoint's pieces, joined
//! (`docs/formats/wal.md`). Writes version 3; reads versions 1 to 3. Little-endian.
//!
//! A checkpoint holds the whole state as of its first piece. Batches that the log had appended but
//! not synced come before that piece in the WAL, and so are durable with it. Unknown tagged fields
//! are not kept: they describe a state that will have changed when the log is checkpointed again.

use bytes::{Buf, BufMut, TryGetError};
use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::aborted_index::AbortedTransaction;
use super::epochs::{EpochHistory, EpochStart};
use super::frontiers::{Frontiers, WatermarkRule};
use super::limits::LogLimits;
use super::partition::PartitionLog;
use super::producers::{BATCHES_MAX, Producer, ProducerBatch, Producers, RecentBatches};
use super::time_index::{TimeEntry, TimeIndex};
use super::transactions::{EndedTransaction, Transactions};
use crate::tagged_fields::{self, TaggedFieldsError};

/// The version that this build writes.
pub const VERSION: u16 = 3;
/// Up to version 2, a checkpoint lists every aborted transaction. From version 3 on, it lists those
/// that no segment's index has.
///
/// Version 1 lacks the last offset of each producer, and has no tagged fields.
const FIRST_VERSION: u16 = 1;
/// Written for a producer without an open transaction.
const NO_OFFSET: i64 = -1;

const FIXED_LENGTH: usize = 2 + 3 * 8 + 4 * 4 + (4 * 8 + 4);
const EPOCH_LENGTH: usize = 12;
const PRODUCER_LENGTH: usize = FIRST_PRODUCER_LENGTH + 8;
const FIRST_PRODUCER_LENGTH: usize = 8 + 2 + 4 + 8 + 8 + 1;
const BATCH_LENGTH: usize = 4 + 4 + 3 * 8;
/// The length of one aborted transaction, in bytes.
const ABORTED_LENGTH: usize = 4 * 8;
const ENDED_LENGTH: usize = 8 + 2 + 2 * 8;
const TIME_LENGTH: usize = 16;
/// The most bytes of one producer: its own fields, the number of its batches, and these.
pub(crate) const PRODUCER_LENGTH_MAX: usize = PRODUCER_LENGTH + 1 + BATCHES_MAX * BATCH_LENGTH;

const _: () = assert!(BATCHES_MAX < 1 << 8, "a producer's count of batches is one byte");

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(
        "checkpoint version {found} is not known: a newer RustMQ wrote it; this one reads versions up to {VERSION}"
    )]
    Version { found: u16 },
    #[error(
        "the checkpoint has the critical tagged field {tag:#06x}: a newer RustMQ wrote it, and this one does not know it"
    )]
    UnknownTaggedField { tag: u16 },
    #[error("the checkpoint ends early")]
    Truncated,
    #[error("the checkpoint has {count} bytes after its end")]
    Trailing { count: usize },
    #[error("the checkpoint contradicts itself: {reason}")]
    Unsound { reason: &'static str },
}

impl From<TryGetError> for CheckpointError {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

impl PartitionLog {
    /// The length of the checkpoint that [`Self::encode_checkpoint`] writes, in bytes.
    #[must_use]
    pub fn checkpoint_length(&self) -> usize {
        let batches: usize = self.producers.iter().map(|(_, producer)| producer.batches.len()).sum();
        FIXED_LENGTH
            + EPOCH_LENGTH * self.epochs().len()
            + PRODUCER_LENGTH * self.producers.len()
            + BATCH_LENGTH * batches
            + ABORTED_LENGTH * self.transactions.unindexed.len()
            + ENDED_LENGTH * self.transactions.ended.len()
            + TIME_LENGTH * self.times.entries.len()
    }

    /// Writes the whole state. `out` must have room for [`Self::checkpoint_length`] bytes.
    pub fn encode_checkpoint(&self, out: &mut impl BufMut) {
        out.put_u16_le(VERSION);
        [self.decided_start, self.end(), self.frontiers.high_watermark]
            .iter()
            .for_each(|offset| out.put_i64_le(offset.0));
        put_count(out, self.epochs().len());
        for entry in self.epochs() {
            out.put_i32_le(entry.epoch.0);
            out.put_i64_le(entry.start.0);
        }
        put_count(out, self.producers.len());
        self.producers.iter().for_each(|(id, producer)| put_producer(out, id, producer));
        put_count(out, self.transactions.unindexed.len());
        for aborted in self.transactions.unindexed.iter() {
            out.put_i64_le(aborted.producer_id.0);
            out.put_i64_le(aborted.first_offset.0);
            out.put_i64_le(aborted.last_offset.0);
            out.put_i64_le(aborted.last_stable.0);
        }
        put_count(out, self.transactions.ended.len());
        for ended in &self.transactions.ended {
            out.put_i64_le(ended.producer_id.0);
            out.put_i16_le(ended.producer_epoch.0);
            out.put_i64_le(ended.first_offset.0);
            out.put_i64_le(ended.last_offset.0);
        }
        out.put_i64_le(self.times.largest.0);
        out.put_i64_le(self.times.inexact_below.0);
        out.put_u64_le(self.times.interval_bytes);
        out.put_u64_le(self.times.bytes_since);
        put_count(out, self.times.entries.len());
        for entry in &self.times.entries {
            out.put_i64_le(entry.largest.0);
            out.put_i64_le(entry.offset.0);
        }
    }

    /// Reads a checkpoint that [`Self::encode_checkpoint`] wrote. The log is as it was then, and
    /// all of it is durable.
    ///
    /// # Errors
    /// [`CheckpointError`] if the checkpoint is truncated or unsound, or if a newer RustMQ wrote
    /// it.
    pub fn restore(limits: LogLimits, mut checkpoint: &[u8]) -> Result<Self, CheckpointError> {
        let input = &mut checkpoint;
        let version = input.try_get_u16_le()?;
        if !(FIRST_VERSION..=VERSION).contains(&version) {
            return Err(CheckpointError::Version { found: version });
        }
        let (log_start, end, high_watermark) = (take_offset(input)?, take_offset(input)?, take_offset(input)?);
        let starts = take_list(input, EPOCH_LENGTH, take_epoch)?;
        let producers = take_producers(input, version)?;
        let unindexed = take_list(input, ABORTED_LENGTH, take_aborted)?;
        if !unindexed.is_sorted_by(|one, next| one.last_offset < next.last_offset) {
            return Err(CheckpointError::Unsound { reason: "the aborted transactions are out of order" });
        }
        let unindexed = unindexed.into_iter().collect();
        let ended = take_list(input, ENDED_LENGTH, take_ended)?;
        let times = take_times(input)?;
        check_tagged_fields(input, version)?;
        let unsound = |reason| CheckpointError::Unsound { reason };
        let open = producers.iter().filter_map(|(id, producer)| producer.open_transaction.map(|first| (first, id)));
        let open = open.collect();
        let epochs = EpochHistory::from_starts(starts).ok_or(unsound("the leader epochs are out of order"))?;
        let mut frontiers = Frontiers { high_watermark, ..Frontiers::at(log_start) };
        frontiers.move_end(end);
        let mut log = Self {
            limits,
            frontiers,
            watermark: WatermarkRule::Sole,
            is_being_cut: false,
            decided_start: log_start,
            leader_epoch: epochs.latest().unwrap_or(LeaderEpoch::NONE),
            epochs,
            producers,
            transactions: Transactions { open, ended, unindexed },
            times,
        };
        log.update_last_stable();
        log.soundness().map_err(unsound)?;
        Ok(log)
    }
}

fn check_tagged_fields(tagged_fields: &[u8], version: u16) -> Result<(), CheckpointError> {
    if version == FIRST_VERSION && !tagged_fields.is_empty() {
        return Err(CheckpointError::Trailing { count: tagged_fields.len() });
    }
    tagged_fields::check_skippable(tagged_fields).map_err(|error| match error {
        TaggedFieldsError::Truncated => CheckpointError::Truncated,
        TaggedFieldsError::Critical { tag } => CheckpointError::UnknownTaggedField { tag },
    })
}

fn put_count(out: &mut impl BufMut, count: usize) {
    out.put_u32_le(u32::try_from(count).expect("every list of a log is bounded far below 2^32"));
}

fn put_producer(out: &mut impl BufMut, id: ProducerId, producer: &Producer) {
    out.put_i64_le(id.0);
    out.put_i16_le(producer.epoch.0);
    out.put_i32_le(producer.coordinator_epoch);
    out.put_i64_le(producer.last_timestamp.0);
    out.put_i64_le(producer.last_offset.0);
    out.put_i64_le(producer.open_transaction.map_or(NO_OFFSET, |first| first.0));
    out.put_u8(u8::try_from(producer.batches.len()).expect("the count of batches fits into a byte"));
    for batch in producer.batches.iter() {
        out.put_i32_le(batch.base_sequence.0);
        out.put_i32_le(batch.last_sequence.0);
        out.put_i64_le(batch.base_offset.0);
        out.put_i64_le(batch.last_offset.0);
        out.put_i64_le(batch.timestamp.0);
    }
}

/// Reads a list whose entries take at least `length` bytes each. Its count is checked against the
/// remaining bytes before anything is allocated.
fn take_list<T>(
    input: &mut &[u8],
    length: usize,
    mut take: impl FnMut(&mut &[u8]) -> Result<T, CheckpointError>,
) -> Result<Vec<T>, CheckpointError> {
    let count = usize::try_from(input.try_get_u32_le()?).map_err(|_| CheckpointError::Truncated)?;
    if count > input.remaining() / length {
        return Err(CheckpointError::Truncated);
    }
    (0..count).map(|_| take(input)).collect()
}

fn take_offset(input: &mut &[u8]) -> Result<Offset, CheckpointError> {
    let offset = input.try_get_i64_le()?;
    // The largest number is no offset, so that every offset has a successor.
    if (0..i64::MAX).contains(&offset) {
        Ok(Offset(offset))
    } else {
        Err(CheckpointError::Unsound { reason: "an offset is out of range" })
    }
}

fn take_epoch(input: &mut &[u8]) -> Result<EpochStart, CheckpointError> {
    Ok(EpochStart { epoch: LeaderEpoch(input.try_get_i32_le()?), start: take_offset(input)? })
}

fn take_producers(input: &mut &[u8], version: u16) -> Result<Producers, CheckpointError> {
    let mut producers = Producers::default();
    let length = if version == FIRST_VERSION { FIRST_PRODUCER_LENGTH } else { PRODUCER_LENGTH };
    for (id, producer) in take_list(input, length, |input| take_producer(input, version))? {
        if producers.insert(id, producer).is_some() {
            return Err(CheckpointError::Unsound { reason: "a producer is listed twice" });
        }
    }
    Ok(producers)
}

fn take_producer(input: &mut &[u8], version: u16) -> Result<(ProducerId, Producer), CheckpointError> {
    let id = ProducerId(input.try_get_i64_le()?);
    let epoch = ProducerEpoch(input.try_get_i16_le()?);
    let coordinator_epoch = input.try_get_i32_le()?;
    let last_timestamp = Timestamp(input.try_get_i64_le()?);
    let last_offset = if version == FIRST_VERSION { None } else { Some(Offset(input.try_get_i64_le()?)) };
    let open_transaction = match input.try_get_i64_le()? {
        NO_OFFSET => None,
        first if first >= 0 => Some(Offset(first)),
        _ => return Err(CheckpointError::Unsound { reason: "a transaction begins below 0" }),
    };
    let count = usize::from(input.try_get_u8()?);
    if count > BATCHES_MAX {
        return Err(CheckpointError::Unsound { reason: "a producer has more than five batches" });
    }
    let mut batches = RecentBatches::default();
    for _ in 0..count {
        batches.push(take_batch(input)?);
    }
    // Version 1 lacks it. The end of the producer's last batch is a lower bound, and frames that
    // are replayed in the order of the log need no more.
    let last_offset = last_offset.unwrap_or_else(|| batches.last_offset());
    Ok((id, Producer { epoch, coordinator_epoch, last_timestamp, last_offset, open_transaction, batches }))
}

fn take_batch(input: &mut &[u8]) -> Result<ProducerBatch, CheckpointError> {
    let base_sequence = Sequence(input.try_get_i32_le()?);
    let last_sequence = Sequence(input.try_get_i32_le()?);
    if base_sequence.0 < 0 || last_sequence.0 < 0 {
        return Err(CheckpointError::Unsound { reason: "a sequence is below 0" });
    }
    let (base_offset, last_offset) = (take_offset(input)?, take_offset(input)?);
    let timestamp = Timestamp(input.try_get_i64_le()?);
    Ok(ProducerBatch { base_sequence, last_sequence, base_offset, last_offset, timestamp })
}

fn take_aborted(input: &mut &[u8]) -> Result<AbortedTransaction, CheckpointError> {
    let producer_id = ProducerId(input.try_get_i64_le()?);
    let (first_offset, last_offset, last_stable) = (take_offset(input)?, take_offset(input)?, take_offset(input)?);
    Ok(AbortedTransaction { producer_id, first_offset, last_offset, last_stable })
}

fn take_ended(input: &mut &[u8]) -> Result<EndedTransaction, CheckpointError> {
    let producer_id = ProducerId(input.try_get_i64_le()?);
    let producer_epoch = ProducerEpoch(input.try_get_i16_le()?);
    let (first_offset, last_offset) = (take_offset(input)?, take_offset(input)?);
    Ok(EndedTransaction { producer_id, producer_epoch, first_offset, last_offset })
}

fn take_times(input: &mut &[u8]) -> Result<TimeIndex, CheckpointError> {
    let largest = Timestamp(input.try_get_i64_le()?);
    let inexact_below = take_offset(input)?;
    let (interval_bytes, bytes_since) = (input.try_get_u64_le()?, input.try_get_u64_le()?);
    let entry =
        |input: &mut &[u8]| Ok(TimeEntry { largest: Timestamp(input.try_get_i64_le()?), offset: take_offset(input)? });
    let entries = take_list(input, TIME_LENGTH, entry)?;
    Ok(TimeIndex { entries, largest, inexact_below, interval_bytes, bytes_since })
}
