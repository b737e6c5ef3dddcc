#![allow(clippy::unwrap_used)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_core::log::Frontiers;
use rustmq_engine_core::shard::{BatchPlace, ReadableLog, TailBatch};
use rustmq_engine_core::wal::{Generation, LocationMap, SharedSegments, WalPosition};
use rustmq_model::{Offset, Timestamp, TopicIdPartition};
use tokio::sync::{Semaphore, mpsc};

use super::{PartitionReader, ReadError};
use crate::chunk::ChunkPool;
use crate::published::{PartitionState, Published};
use crate::read::{Isolation, ReadBatches, ReadRequest};
use crate::request::{DiskRead, DiskReads, Submitted};
use crate::shard_handle::ShardHandle;
use crate::status::ShardGauges;

/// Retires the segment of each read while changes are left in `meanwhile`, making one change each
/// time. Then answers no batches.
#[derive(Debug)]
struct Disk {
    meanwhile: Mutex<Vec<fn(&Published)>>,
    published: Mutex<Option<Arc<Published>>>,
    /// The maps of the reads, in order.
    maps: Mutex<Vec<Arc<LocationMap>>>,
}

impl DiskReads for Disk {
    fn submit(&self, read: Box<DiskRead>) -> Submitted {
        self.maps.lock().push(Arc::clone(&read.locations));
        let Some(change) = self.meanwhile.lock().pop() else {
            let _ = read.reply.send(Ok(ReadBatches::default()));
            return Submitted::Taken;
        };
        change(self.published.lock().as_ref().unwrap());
        Submitted::Retired(read)
    }
}

fn batch(base: i64) -> TailBatch {
    let group = WalPosition { generation: Generation(1), offset: 4096 };
    let (base, next, bytes) = (Offset(base), Offset(base + 1), Bytes::from_static(b"0123456789"));
    TailBatch { base, next, max_timestamp: Timestamp(0), bytes, place: BatchPlace::in_group(group) }
}

fn evict(published: &Published, through: i64) {
    published.change(|state| state.log.evict_through(Offset(through), &SharedSegments::default().unindexed()));
}

/// A partition whose first offset has left memory, and one permit for reads from disk.
struct Setup {
    disk: Arc<Disk>,
    published: Arc<Published>,
    permits: Arc<Semaphore>,
    reader: PartitionReader,
}

impl Setup {
    fn new(meanwhile: Vec<fn(&Published)>) -> Self {
        let (meanwhile, published, maps) = (Mutex::new(meanwhile), Mutex::default(), Mutex::default());
        let disk = Arc::new(Disk { meanwhile, published, maps });
        let mut log = ReadableLog::default();
        log.extend((0..4).map(batch));
        let state = PartitionState { frontiers: Frontiers::at(Offset(4)), log, ..PartitionState::default() };
        let published = Published::new(TopicIdPartition::default(), state, Arc::clone(&disk) as Arc<dyn DiskReads>);
        published.change(|state| state.frontiers.log_start = Offset(0));
        evict(&published, 0);
        *disk.published.lock() = Some(Arc::clone(&published));
        let (gauges, permits) = (Arc::new(ShardGauges::new(ChunkPool::default())), Arc::new(Semaphore::new(1)));
        let shard = ShardHandle { inbox: mpsc::channel(1).0, read_permits: Arc::clone(&permits), gauges };
        let reader = PartitionReader::new(Arc::clone(&published), shard);
        Self { disk, published, permits, reader }
    }

    async fn read(&self) -> Result<ReadBatches, ReadError> {
        let isolation = Isolation::ReadUncommitted;
        self.reader.read(ReadRequest { from: Offset(0), max_bytes: 100, at_least_one: true, isolation }).await
    }

    fn maps(&self) -> Vec<Arc<LocationMap>> {
        std::mem::take(&mut *self.disk.maps.lock())
    }

    /// Reads while no permit is free, calls `meanwhile`, and then frees the permit.
    async fn read_late(&self, meanwhile: impl FnOnce()) -> Result<ReadBatches, ReadError> {
        let taken = self.permits.acquire().await.unwrap();
        let mut read = pin!(self.read());
        let waits = poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending()));
        assert!(waits.await);
        meanwhile();
        drop(taken);
        read.await
    }
}

async fn read(meanwhile: Vec<fn(&Published)>) -> (Result<ReadBatches, ReadError>, Vec<Arc<LocationMap>>) {
    let setup = Setup::new(meanwhile);
    (setup.read().await, setup.maps())
}

fn trim_to_2(published: &Published) {
    published.change(|state| {
        state.frontiers.log_start = Offset(2);
        state.trim();
    });
}

#[tokio::test]
async fn a_read_that_waits_for_a_permit_holds_no_map_and_uses_the_current_one_later() {
    let setup = Setup::new(Vec::new());
    let answer = setup.read_late(|| {
        let references = setup.published.read(|state| Arc::strong_count(&state.log.locations()));
        assert_eq!(references, 2, "only the log and this test hold the map");
        evict(&setup.published, 1);
    });
    assert!(answer.await.is_ok());
    assert!(!setup.maps()[0].ends_before(Offset(1)));
}

#[tokio::test]
async fn a_read_that_waits_for_a_permit_gets_nothing_that_was_trimmed_meanwhile() {
    let setup = Setup::new(Vec::new());
    let answer = setup.read_late(|| trim_to_2(&setup.published)).await;
    assert!(matches!(answer, Err(ReadError::OutOfRange { .. })) && setup.maps().is_empty(), "{answer:?}");
}

#[tokio::test]
async fn a_read_whose_segment_is_retired_looks_again_with_the_newest_map() {
    let (answer, maps) = read(vec![|published| evict(published, 2), |published| evict(published, 1)]).await;
    assert!(answer.unwrap().batches.is_empty());
    let ends: Vec<_> = maps.iter().map(|map| (1..4).find(|offset| map.ends_before(Offset(*offset)))).collect();
    assert_eq!(ends, [Some(1), Some(2), Some(3)], "each includes the batches that have left memory since");
}

#[tokio::test]
async fn a_read_whose_segment_is_retired_learns_the_fate_of_its_batches() {
    let (answer, maps) = read(vec![|published| published.change(|state| state.closed = true)]).await;
    assert!(matches!(answer, Err(ReadError::Closed)) && maps.len() == 1, "{answer:?}");
    let (answer, _) = read(vec![trim_to_2]).await;
    assert!(matches!(answer, Err(ReadError::OutOfRange { .. })), "{answer:?}");
    let (answer, maps) = read(vec![|_| {}]).await;
    assert!(
        matches!(answer, Err(ReadError::Storage { .. })) && maps.len() == 1,
        "the newest map is no help: {answer:?}"
    );
}
