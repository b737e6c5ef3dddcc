//! Offsets by timestamp, exact to the record: the shard's sparse index says where to start, batch headers say which batch, and only
//! that one is decompressed, on the caller's thread.

use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, Timestamp, record};
use tokio::sync::{Semaphore, oneshot};

use crate::error::ReadError;
use crate::reader::{Isolation, PartitionReader, ReadRequest};
use crate::request::{TimeSearch, TimeTarget};

/// Batches are looked through in portions of this many bytes.
const PORTION_BYTES: usize = 1 << 20;
/// The most that the one batch may decompress to. A larger one answers with its first offset, which is not too late.
const RECORDS_BYTES_MAX: usize = 256 << 20;

/// Searches that decompress at the same time, over all shards: each may take as much memory as one batch inflates to.
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
    batch: bytes::Bytes,
    /// Its records below this are not in the log any more.
    from: Offset,
}

impl PartitionReader {
    /// The first record below the high watermark with at least this timestamp.
    pub async fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<FoundOffset>, ReadError> {
        let Some(mut from) = self.search_from(TimeTarget::AtLeast(timestamp)).await? else { return Ok(None) };
        loop {
            let batches = self.portion(&mut from).await?;
            if batches.is_empty() {
                return Ok(None);
            }
            for (header, batch) in batches {
                if header.max_timestamp >= timestamp {
                    let found = find_record(&header, &batch, from, |record| record >= timestamp).await;
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
        let Some(mut from) = self.search_from(TimeTarget::Largest).await? else { return Ok(None) };
        let mut best: Option<Candidate> = None;
        loop {
            let batches = self.portion(&mut from).await?;
            if batches.is_empty() {
                break;
            }
            for (header, batch) in batches {
                let largest = if header.base_offset < from {
                    // The header speaks of records below the log start, too.
                    largest_record(&header, &batch, from).await
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
                *batch = bytes::Bytes::copy_from_slice(batch);
            }
        }
        let Some(Candidate { largest, header, batch, from }) = best else { return Ok(None) };
        Ok(find_record(&header, &batch, from, |record| record >= largest).await)
    }

    async fn search_from(&self, target: TimeTarget) -> Result<Option<Offset>, ReadError> {
        let (reply, answer) = oneshot::channel();
        let search = TimeSearch { id: self.id(), target, reply };
        self.shard.time_searches.send(search).await.map_err(|_| ReadError::Closed)?;
        let start = answer.await.map_err(|_| ReadError::Closed)?;
        let log_start = self.offsets().log_start;
        Ok(start.map(|start| start.max(log_start)))
    }

    /// The next batches to look through; moves `from` up if the log start has passed it meanwhile.
    async fn portion(&self, from: &mut Offset) -> Result<Vec<(BatchHeader, bytes::Bytes)>, ReadError> {
        loop {
            let isolation = Isolation::ReadUncommitted;
            let request = ReadRequest { from: *from, max_bytes: PORTION_BYTES, at_least_one: true, isolation };
            match self.read(request).await {
                Err(ReadError::OutOfRange { offsets, .. }) if *from < offsets.log_start => *from = offsets.log_start,
                Err(error) => return Err(error),
                Ok(read) => {
                    let parse = |batch: bytes::Bytes| BatchHeader::parse(&batch).ok().map(|header| (header, batch));
                    return Ok(read.batches.into_iter().filter_map(parse).collect());
                }
            }
        }
    }
}

/// The largest timestamp of the batch's records from `from` on. Records that cannot be read have that of the batch, as in [`find_record`].
async fn largest_record(header: &BatchHeader, batch: &bytes::Bytes, from: Offset) -> Option<Timestamp> {
    let _permit = INFLATING.acquire().await.expect("it is never closed");
    let Ok(records) = record::read(batch, RECORDS_BYTES_MAX) else { return Some(header.max_timestamp) };
    records.into_iter().filter(|record| record.offset >= from).map(|record| record.timestamp).max()
}

/// The first record of the batch, from `from` on, that fits. Records that cannot be read (compressed ones may be stored unchecked) count as
/// one with the batch's largest timestamp.
async fn find_record(
    header: &BatchHeader,
    batch: &bytes::Bytes,
    from: Offset,
    fits: impl Fn(Timestamp) -> bool,
) -> Option<FoundOffset> {
    let leader_epoch = header.leader_epoch;
    let _permit = INFLATING.acquire().await.expect("it is never closed");
    let Ok(records) = record::read(batch, RECORDS_BYTES_MAX) else {
        let offset = header.base_offset.max(from);
        return Some(FoundOffset { offset, timestamp: header.max_timestamp, leader_epoch });
    };
    let found = records.into_iter().find(|record| record.offset >= from && fits(record.timestamp))?;
    Some(FoundOffset { offset: found.offset, timestamp: found.timestamp, leader_epoch })
}
