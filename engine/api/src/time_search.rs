//! Offsets by timestamp, exact to the record: the sparse index that the shard publishes says where to start, batch headers say which batch, and
//! only that one is looked through, on a thread for what may take long.

use bytes::Bytes;
use rustmq_engine_core::shard::error::ReadError;
use rustmq_model::batch::{BatchHeader, TimestampType};
use rustmq_model::{LeaderEpoch, Offset, Timestamp, record};
use tokio::sync::Semaphore;

use crate::published::PartitionState;
use crate::read::{Isolation, ReadRequest};
use crate::reader::PartitionReader;

/// Batches are looked through in portions of this many bytes.
const PORTION_BYTES: usize = 1 << 20;
/// The most that the one batch may decompress to. A larger one answers with its first offset, which is not too late.
const RECORDS_BYTES_MAX: usize = 256 << 20;

/// Searches that decompress at the same time, over all shards: the processors are for all.
static INFLATING: Semaphore = Semaphore::const_new(2);

/// The record that a search by time found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub leader_epoch: LeaderEpoch,
}

/// The batch with the largest timestamp so far.
struct Candidate {
    largest: Timestamp,
    header: BatchHeader,
    batch: Bytes,
    /// Its records below this are not in the log any more.
    from: Offset,
}

impl PartitionReader {
    /// The first record below the high watermark with at least this timestamp.
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

    /// The first record from the log start to the high watermark that has the largest timestamp of these (KIP-734).
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
                    // The header speaks of records below the log start, too.
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
            // What was read from disk counts against the readers' memory, which the next portion waits for: none of it is kept meanwhile.
            if let Some(Candidate { batch, .. }) = &mut best {
                *batch = Bytes::copy_from_slice(batch);
            }
        }
        let Some(Candidate { largest, header, batch, from }) = best else { return Ok(None) };
        find_record(&header, &batch, from, largest).await
    }

    /// The next batches to look through; moves `from` up if the log start has passed it meanwhile.
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

/// The largest timestamp of the batch's records from `from` on. Records that cannot be read have that of the batch, as in [`find_record`].
async fn largest_record(header: &BatchHeader, batch: &Bytes, from: Offset) -> Result<Option<Timestamp>, ReadError> {
    let mut largest = None;
    let pass = look_through(header, batch, from, move |_, timestamp| {
        largest = largest.max(Some(timestamp));
        largest
    });
    Ok(pass.await?.unwrap_or(Some(header.max_timestamp)))
}

/// The first record of the batch, from `from` on, that has at least this timestamp. Records that cannot be read (compressed ones may be stored
/// unchecked) count as one with the batch's largest timestamp.
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

/// Shows `each` record of the batch from `from` on, and answers what it said of the last, or `None` where the records cannot be read. Keeps none of
/// them: a small batch may inflate to many.
async fn look_through<T: Send + 'static>(
    header: &BatchHeader,
    batch: &Bytes,
    from: Offset,
    mut each: impl FnMut(Offset, Timestamp) -> Option<T> + Send + 'static,
) -> Result<Option<Option<T>>, ReadError> {
    let permit = INFLATING.acquire().await.expect("it is never closed");
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
    // The end of the process takes the thread away.
    pass.await.map_err(|_| ReadError::Closed)
}
