//! Finds offsets by timestamp, exact to the record. The published sparse index says where to start,
//! batch headers say which batch, and only that batch is inspected, on a blocking thread because
//! this may take long.

use bytes::Bytes;
use rustmq_engine_core::shard::error::ReadError;
use rustmq_model::batch::{BatchHeader, TimestampType};
use rustmq_model::{LeaderEpoch, Offset, Timestamp, record};
use tokio::sync::Semaphore;

use crate::published::PartitionState;
use crate::read::{Isolation, ReadRequest};
use crate::reader::PartitionReader;

/// How many bytes of batches a search reads at a time.
const PORTION_BYTES: usize = 1 << 20;
/// The most bytes that the inspected batch may decompress to. A search answers the first offset of
/// a larger batch, which is not too late.
const RECORDS_BYTES_MAX: usize = 256 << 20;
const _: () = assert!(PORTION_BYTES < RECORDS_BYTES_MAX);

/// Bounds the searches that decompress at the same time, over all shards: the other threads need
/// the processors, too.
static DECOMPRESSION_PERMITS: Semaphore = Semaphore::const_new(2);

/// The record that a search by time found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

/// The batch with the largest timestamp found so far.
struct Candidate {
    largest: Timestamp,
    header: BatchHeader,
    batch: Bytes,
    /// The log has dropped the batch's records below this offset.
    from: Offset,
}

impl PartitionReader {
    /// Finds the first record below the high watermark whose timestamp is at least `timestamp`.
    ///
    /// # Errors
    /// As [`PartitionReader::read`].
    pub async fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<FoundOffset>, ReadError> {
        let mut from = self.published.read(|state| state.search_from(timestamp));
        loop {
            let batches = self.portion(&mut from).await?;
            if batches.is_empty() {
                return Ok(None);
            }
            for (header, batch) in batches {
                if header.max_timestamp >= timestamp {
                    let found = find_record(&header, &batch, from, timestamp).await?;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                from = from.max(header.next_offset());
            }
        }
    }

    /// Finds the first of the records with the largest timestamp between log start and high
    /// watermark (KIP-734).
    ///
    /// # Errors
    /// As [`PartitionReader::read`].
    pub async fn max_timestamp(&self) -> Result<Option<FoundOffset>, ReadError> {
        let mut from = self.published.read(PartitionState::search_largest_from);
        let mut best: Option<Candidate> = None;
        loop {
            let batches = self.portion(&mut from).await?;
            if batches.is_empty() {
                break;
            }
            for (header, batch) in batches {
                let largest = if header.base_offset < from {
                    // The header also counts records below the log start.
                    largest_record(&header, &batch, from).await?
                } else {
                    Some(header.max_timestamp)
                };
                if let Some(largest) = largest
                    && best.as_ref().is_none_or(|best| largest > best.largest)
                {
                    best = Some(Candidate { largest, header, batch, from });
                }
                from = from.max(header.next_offset());
            }
            // Batches read from disk count against the readers' memory, and the next portion waits
            // for that memory: so the candidate is copied and the rest dropped.
            if let Some(Candidate { batch, .. }) = &mut best {
                *batch = Bytes::copy_from_slice(batch);
            }
        }
        let Some(Candidate { largest, header, batch, from }) = best else { return Ok(None) };
        find_record(&header, &batch, from, largest).await
    }

    /// The next batches to inspect. Raises `from` if the log start has passed it meanwhile.
    async fn portion(&self, from: &mut Offset) -> Result<Vec<(BatchHeader, Bytes)>, ReadError> {
        loop {
            let isolation = Isolation::ReadUncommitted;
            let request = ReadRequest { from: *from, max_bytes: PORTION_BYTES, at_least_one: true, isolation };
            match self.read(request).await {
                Err(ReadError::OutOfRange { frontiers, .. }) if *from < frontiers.log_start => {
                    *from = frontiers.log_start;
                }
                Err(error) => return Err(error),
                Ok(read) => {
                    let parse = |batch: Bytes| BatchHeader::parse(&batch).ok().map(|header| (header, batch));
                    return Ok(read.batches.into_iter().filter_map(parse).collect());
                }
            }
        }
    }
}

/// The largest timestamp of the batch's records from `from` on. Unreadable records count as in
/// [`find_record`].
async fn largest_record(header: &BatchHeader, batch: &Bytes, from: Offset) -> Result<Option<Timestamp>, ReadError> {
    let mut largest = None;
    let pass = look_through(header, batch, from, move |_, timestamp| {
        largest = largest.max(Some(timestamp));
        largest
    });
    Ok(pass.await?.unwrap_or(Some(header.max_timestamp)))
}

/// The first record of the batch, from `from` on, whose timestamp is at least `at_least`.
/// Unreadable records (the broker may have stored compressed ones unchecked) count as one record
/// with the batch's largest timestamp.
async fn find_record(
    header: &BatchHeader,
    batch: &Bytes,
    from: Offset,
    at_least: Timestamp,
) -> Result<Option<FoundOffset>, ReadError> {
    let mut found = None;
    let pass = look_through(header, batch, from, move |offset, timestamp| {
        found = found.or((timestamp >= at_least).then_some((offset, timestamp)));
        found
    });
    let found = pass.await?.unwrap_or(Some((header.base_offset.max(from), header.max_timestamp)));
    let leader_epoch = header.leader_epoch;
    Ok(found.map(|(offset, timestamp)| FoundOffset { offset, timestamp, leader_epoch }))
}

/// Passes each record of the batch from `from` on to `each`, and returns the last result of `each`,
/// or `None` if the records cannot be read. Collects no records: a small batch may decompress to
/// very many.
async fn look_through<T: Send + 'static>(
    header: &BatchHeader,
    batch: &Bytes,
    from: Offset,
    mut each: impl FnMut(Offset, Timestamp) -> Option<T> + Send + 'static,
) -> Result<Option<Option<T>>, ReadError> {
    let permit = DECOMPRESSION_PERMITS.acquire().await.expect("it is never closed");
    let (header, batch) = (*header, batch.clone());
    let is_stamped = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    let pass = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut last = None;
        let looked = record::inspect(&batch, &header, RECORDS_BYTES_MAX, |record| {
            let offset = header.base_offset.plus(i64::from(record.index));
            if offset >= from {
                last = each(offset, if is_stamped { header.max_timestamp } else { record.timestamp });
            }
        });
        looked.is_ok().then_some(last)
    });
    // The join fails only when the process ends and the runtime drops the task.
    pass.await.map_err(|_| ReadError::Closed)
}
