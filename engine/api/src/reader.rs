//! Reading one partition: from memory on the caller's thread, or through the engine's read threads. Never copies a batch that is in
//! memory, and never waits for one that is not written yet.

use std::sync::Arc;
use std::time::Duration;

use rustmq_engine_core::log::{AbortedIndex, Frontiers};
use rustmq_engine_core::shard::error::ReadError;
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

/// How long a read from disk waits for a place and for memory, unless its reader says so. Answers that no client takes are let go of within
/// about a second, so that only a disk that has stopped makes it as long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One partition, as readers see it. Cheap to clone; stays valid, and says so, when the partition is deleted.
#[derive(Clone, Debug)]
pub struct PartitionReader {
    pub(crate) published: Arc<Published>,
    pub(crate) shard: ShardHandle,
}

/// What memory says about a read.
enum InMemory {
    Answer(ReadBatches),
    OnDisk(OnDisk),
}

/// What has left memory, and where it is. All of one moment.
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

    /// Both of one moment.
    #[must_use]
    pub fn frontiers_and_epoch(&self) -> (Frontiers, LeaderEpoch) {
        self.published.read(|state| (state.frontiers, state.leadership.epoch))
    }

    /// Bytes of the batches between log start and durable end.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.published.read(|state| state.size_bytes)
    }

    /// Whether the partition was deleted or the engine has stopped.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.published.read(|state| state.closed)
    }

    /// Batches from `request.from` on. What is in memory is answered without waiting; an offset between the limit of the isolation and the end
    /// of the log answers no batches. As [`Self::read_within`] with [`PATIENCE`].
    pub async fn read(&self, request: ReadRequest) -> Result<ReadBatches, ReadError> {
        self.read_within(request, PATIENCE).await
    }

    /// As [`Self::read`], with a bound for how long a read from disk waits for a place in the queue and for memory, in turn with others: then it
    /// is refused as [`ReadError::Busy`]. One that does not ask for at least one batch waits for neither, and answers none.
    pub async fn read_within(&self, request: ReadRequest, patience: Duration) -> Result<ReadBatches, ReadError> {
        match self.published.read(|state| self.read_memory(state, request))? {
            InMemory::Answer(batches) => Ok(batches),
            InMemory::OnDisk(found) => {
                let room_by = Instant::now() + patience;
                match self.place(request.at_least_one, room_by).await? {
                    Some(place) => self.read_disk(request, found, room_by, place).await,
                    None => Ok(ReadBatches { frontiers: found.frontiers, ..ReadBatches::default() }),
                }
            }
        }
    }

    async fn read_disk(
        &self,
        request: ReadRequest,
        found: OnDisk,
        room_by: Instant,
        place: OwnedSemaphorePermit,
    ) -> Result<ReadBatches, ReadError> {
        let (reply, answer) = oneshot::channel();
        let OnDisk { read, mut frontiers, locations, mut aborted } = found;
        let mut asked = Box::new(DiskRead { read, locations, room_by: room_by.into_std(), place, reply });
        while let Submitted::Retired(retired) = self.published.disk.submit(asked) {
            // Its batches have moved since, or are not in the log any more: either was shown before.
            asked = retired;
            match self.published.read(|state| self.read_memory(state, request))? {
                InMemory::Answer(batches) => return Ok(batches),
                InMemory::OnDisk(found) if Arc::ptr_eq(&found.locations, &asked.locations) => {
                    let read = found.read;
                    return Err(ReadError::Storage { reason: format!("{read} is in no segment that is in use") });
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

    /// A place among the reads from disk; `None` if there is none and the read does not wait.
    async fn place(&self, waits: bool, room_by: Instant) -> Result<Option<OwnedSemaphorePermit>, ReadError> {
        let places = &self.shard.read_places;
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Ok(Some(place));
        }
        if !waits {
            return Ok(None);
        }
        let place = timeout_at(room_by, Arc::clone(places).acquire_owned()).await.map_err(|_| ReadError::Busy)?;
        place.map(Some).map_err(|_| ReadError::Closed)
    }

    /// As [`Self::read`], but only from memory: `None` when that needs the disk.
    pub fn read_in_memory(&self, request: ReadRequest) -> Result<Option<ReadBatches>, ReadError> {
        Ok(match self.published.read(|state| self.read_memory(state, request))? {
            InMemory::Answer(batches) => Some(batches),
            InMemory::OnDisk(..) => None,
        })
    }

    fn read_memory(&self, state: &PartitionState, request: ReadRequest) -> Result<InMemory, ReadError> {
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
            return Ok(InMemory::Answer(answer));
        }
        let is_filtered = isolation == Isolation::ReadCommitted && !state.aborted.is_empty();
        let Some(batches) = state.log.batches_from(from) else {
            let read = ColdRead { id: self.published.id, from, until, max_bytes, at_least_one };
            let aborted = is_filtered.then(|| Arc::clone(&state.aborted));
            return Ok(InMemory::OnDisk(OnDisk { read, frontiers, locations: state.log.locations(), aborted }));
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
        if is_filtered {
            answer.aborted = filtered_out(&state.aborted, from, end);
        }
        Ok(InMemory::Answer(answer))
    }

    /// Registers `waiter` for one wake-up by the next publication that has what is awaited, by another leadership or by the partition's
    /// end. Registration ends with the wake-up or when the waiter is dropped. Register before reading, wait after it.
    pub fn watch(&self, waiter: &Arc<FetchWaiter>, awaited: Awaited) {
        self.published.watch(waiter, awaited);
    }

    /// Where leader epoch `epoch` ended, for KIP-320's truncation check: the largest epoch of the log that is not above it, and the offset
    /// at which the next one began, or the log's end. One that is older than the log ended where the log begins. `None` for one above the
    /// latest that the log knows of.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.published.read(|state| {
            let found = state.leadership.end_offset_for(epoch, state.frontiers.durable_end);
            found.map(|found| (found.epoch, found.end))
        })
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
