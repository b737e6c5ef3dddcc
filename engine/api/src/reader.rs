//! Reads one partition: from memory on the caller's thread, or from disk through the engine's read
//! threads. Never copies a batch that is in memory, and never waits for a batch that is not written
//! yet.

use std::sync::Arc;
use std::time::Duration;

use rustmq_engine_core::log::{AbortedIndex, EpochEnd, Frontiers, end_offset_for};
use rustmq_engine_core::shard::error::ReadError;
use rustmq_engine_core::shard::failure::{ReadFailure, ReadFailureCause};
use rustmq_engine_core::shard::request::ColdRead;
use rustmq_engine_core::wal::LocationMap;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::published::{PartitionState, Published};
use crate::read::{AbortedTransaction, Isolation, ReadBatches, ReadRequest};
use crate::request::{DiskRead, Submitted};
use crate::shard_handle::ShardHandle;
use crate::waiter::{Awaited, FetchWaiter};

/// How long a read from disk waits for a permit and for memory, unless its reader sets another
/// bound. Answers that no client takes are dropped after about a second, so only a stopped disk
/// makes a read wait this long.
pub const READ_WAIT_MAX: Duration = Duration::from_secs(30);

/// A partition as its readers see it. Cheap to clone. Remains valid when the partition is deleted,
/// and then reports that.
#[derive(Clone, Debug)]
pub struct PartitionReader {
    pub(crate) published: Arc<Published>,
    pub(crate) shard: ShardHandle,
}

/// The outcome of looking for a read's batches in memory.
enum InMemory {
    Answer(ReadBatches),
    OnDisk(OnDisk),
}

/// A read whose first batch has left memory, with the location map. All fields are from one moment.
struct OnDisk {
    read: ColdRead,
    frontiers: Frontiers,
    locations: Arc<LocationMap>,
    /// `None` where nothing is to be filtered out.
    aborted: Option<Arc<AbortedIndex>>,
}

impl PartitionReader {
    pub(crate) const fn new(published: Arc<Published>, shard: ShardHandle) -> Self {
        Self { published, shard }
    }

    #[must_use]
    pub fn id(&self) -> TopicIdPartition {
        self.published.id
    }

    #[must_use]
    pub fn frontiers(&self) -> Frontiers {
        self.published.read(|state| state.frontiers)
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.published.read(|state| state.leadership.epoch)
    }

    /// The frontiers and the leader epoch at one moment.
    #[must_use]
    pub fn frontiers_and_epoch(&self) -> (Frontiers, LeaderEpoch) {
        self.published.read(|state| (state.frontiers, state.leadership.epoch))
    }

    /// The total size of the batches between log start and durable end, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.published.read(|state| state.size_bytes)
    }

    /// Whether the partition was deleted or the engine has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.published.read(|state| state.closed)
    }

    /// Reads batches from `request.from` on. Batches in memory are answered without waiting. An
    /// offset between the isolation's frontier and the end of the log answers no batches. A read
    /// from disk waits at most [`READ_WAIT_MAX`], as in [`Self::read_within`].
    ///
    /// # Errors
    /// [`ReadError`] says why: the offset is out of range, the partition is closed, the read
    /// threads are busy, or the disk fails.
    pub async fn read(&self, request: ReadRequest) -> Result<ReadBatches, ReadError> {
        self.read_within(request, READ_WAIT_MAX).await
    }

    /// Reads as [`Self::read`] does, but a read from disk waits at most `wait_max` for a permit and
    /// for memory, each in its turn. A read that does not ask for at least one batch waits for
    /// neither, and answers none.
    ///
    /// # Errors
    /// As [`Self::read`]; [`ReadError::Busy`] when `wait_max` has passed.
    pub async fn read_within(&self, request: ReadRequest, wait_max: Duration) -> Result<ReadBatches, ReadError> {
        let frontiers = match self.look_up(request)? {
            InMemory::Answer(batches) => return Ok(batches),
            InMemory::OnDisk(found) => found.frontiers,
        };
        let deadline = Instant::now() + wait_max;
        match self.permit(request.at_least_one, deadline).await? {
            Some(permit) => self.read_disk(request, deadline, permit).await,
            None => Ok(ReadBatches { frontiers, ..ReadBatches::default() }),
        }
    }

    fn look_up(&self, request: ReadRequest) -> Result<InMemory, ReadError> {
        let (found, end, aborted) = self.published.read(|state| {
            let (found, end) = self.read_memory(state, request)?;
            let is_filtered = request.isolation == Isolation::ReadCommitted && !state.aborted.is_empty();
            Ok((found, end, is_filtered.then(|| Arc::clone(&state.aborted))))
        })?;
        // Without the lock: after a long transaction there may be many aborts to look at.
        Ok(match (found, aborted) {
            (InMemory::Answer(answer), Some(index)) => {
                InMemory::Answer(ReadBatches { aborted: filtered_out(&index, request.from, end), ..answer })
            }
            (InMemory::OnDisk(found), aborted) => InMemory::OnDisk(OnDisk { aborted, ..found }),
            (found, None) => found,
        })
    }

    async fn read_disk(
        &self,
        request: ReadRequest,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    ) -> Result<ReadBatches, ReadError> {
        // Looked up after the wait for the permit: the log may have been trimmed since, and a
        // reader that holds a map while it waits would cost the writer a copy at each change.
        let OnDisk { read, mut frontiers, locations, mut aborted } = match self.look_up(request)? {
            InMemory::Answer(batches) => return Ok(batches),
            InMemory::OnDisk(found) => found,
        };
        let (reply, answer) = oneshot::channel();
        let mut asked = Box::new(DiskRead { read, locations, deadline: deadline.into_std(), permit, reply });
        while let Submitted::Retired(retired) = self.published.disk.submit(asked) {
            // The batches have moved since, or the log has dropped them. The change was published
            // before the segment retired.
            asked = retired;
            match self.look_up(request)? {
                InMemory::Answer(batches) => return Ok(batches),
                InMemory::OnDisk(found) if Arc::ptr_eq(&found.locations, &asked.locations) => {
                    let read = found.read;
                    let detail = format!("{read} is in no segment that is in use");
                    return Err(ReadError::Storage(ReadFailure { cause: ReadFailureCause::Location, detail }));
                }
                InMemory::OnDisk(found) => {
                    (asked.read, asked.locations) = (found.read, found.locations);
                    (frontiers, aborted) = (found.frontiers, found.aborted);
                }
            }
        }
        let mut batches = answer.await.map_err(|_| ReadError::Closed)??;
        batches.frontiers = frontiers;
        if let (Some(index), Some(last)) = (aborted, batches.batches.last()) {
            // They were checked when they were read. It may name more than lie in them.
            let end = BatchHeader::parse(last).map_or(frontiers.last_stable, |last| last.next_offset());
            batches.aborted = filtered_out(&index, request.from, end);
        }
        Ok(batches)
    }

    /// Takes a permit for a read from disk; `None` if there is none and the read does not wait.
    async fn permit(&self, waits: bool, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, ReadError> {
        let permits = &self.shard.read_permits;
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Ok(Some(permit));
        }
        if !waits {
            return Ok(None);
        }
        let permit = timeout_at(deadline, Arc::clone(permits).acquire_owned()).await.map_err(|_| ReadError::Busy)?;
        permit.map(Some).map_err(|_| ReadError::Closed)
    }

    /// Reads as [`Self::read`] does, but only from memory: `None` if the read needs the disk.
    ///
    /// # Errors
    /// [`ReadError`] if the offset is out of range or the partition is closed.
    pub fn read_in_memory(&self, request: ReadRequest) -> Result<Option<ReadBatches>, ReadError> {
        Ok(match self.look_up(request)? {
            InMemory::Answer(batches) => Some(batches),
            InMemory::OnDisk(..) => None,
        })
    }

    /// Answers also where the batches in memory end that it found.
    fn read_memory(&self, state: &PartitionState, request: ReadRequest) -> Result<(InMemory, Offset), ReadError> {
        let frontiers = state.frontiers;
        let ReadRequest { from, max_bytes, at_least_one, isolation } = request;
        if state.closed {
            return Err(ReadError::Closed);
        }
        if from < frontiers.log_start || from > frontiers.durable_end {
            return Err(ReadError::OutOfRange { requested: from, frontiers });
        }
        let until = isolation.frontier().of(&frontiers);
        let mut answer = ReadBatches { frontiers, ..ReadBatches::default() };
        if from >= until || (max_bytes == 0 && !at_least_one) {
            return Ok((InMemory::Answer(answer), from));
        }
        let Some(batches) = state.log.batches_from(from) else {
            let read = ColdRead { id: self.published.id, from, until, max_bytes, at_least_one };
            let found = OnDisk { read, frontiers, locations: state.log.locations(), aborted: None };
            return Ok((InMemory::OnDisk(found), from));
        };
        let (mut room, mut end) = (max_bytes, from);
        for batch in batches.take_while(|batch| batch.next <= until) {
            let first = at_least_one && answer.batches.is_empty();
            if batch.bytes.len() > room && !first {
                break;
            }
            room = room.saturating_sub(batch.bytes.len());
            answer.batches.push(batch.bytes.clone());
            end = batch.next;
        }
        Ok((InMemory::Answer(answer), end))
    }

    /// Registers `waiter` for one wake-up by the next publication that meets `awaited`, by a change
    /// of leadership, or by the partition's end. The wake-up ends the registration, as does
    /// dropping the waiter. Register before reading, wait after it: see [`FetchWaiter`].
    pub fn watch(&self, waiter: &Arc<FetchWaiter>, awaited: Awaited) {
        self.published.watch(waiter, awaited);
    }

    /// Where leader epoch `epoch` ended in the durable log, for KIP-320's truncation check. An
    /// epoch older than the log ended where the log begins. `None` for an epoch above the latest
    /// one that the log knows.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.published.read(|state| end_offset_for(&state.leadership.history, epoch, state.frontiers.durable_end))
    }
}

/// What a read_committed client has to filter out of the batches between two offsets.
fn filtered_out(index: &AbortedIndex, from: Offset, end: Offset) -> Vec<AbortedTransaction> {
    let overlapping = index.overlapping(from..end);
    overlapping
        .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset })
        .collect()
}

#[cfg(test)]
mod tests;
