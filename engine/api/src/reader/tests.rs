#![allow(clippy::unwrap_used)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_core::log::{AbortedTransaction, Frontiers};
use rustmq_engine_core::shard::{BatchPlace, ReadableLog, TailBatch};
use rustmq_engine_core::wal::{LocationMap, SegmentGeneration, SharedSegments, WalPosition};
use rustmq_model::{Offset, ProducerId, Timestamp, TopicIdPartition};
use tokio::sync::{Semaphore, mpsc};

use super::{PartitionReader, ReadError};
use crate::published::{PartitionState, Published};
use crate::read::{Isolation, ReadBatches, ReadRequest};
use crate::request::{DiskRead, DiskReads, Submitted};
use crate::shard_handle::ShardHandle;
use crate::status::ShardGauges;
use crate::testing::NoTailMemory;
use crate::waiter::{Awaited, FetchWaiter};

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
    let group = WalPosition { generation: SegmentGeneration(1), offset: 4096 };
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
        let permits = Arc::new(Semaphore::new(1));
        let reader = PartitionReader::new(Arc::clone(&published), shard(Arc::clone(&permits)));
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

fn shard(read_permits: Arc<Semaphore>) -> ShardHandle {
    let figures = Arc::new(ShardGauges::new(NoTailMemory));
    ShardHandle { inbox: mpsc::channel(1).0, read_permits, figures }
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

/// The batch of a transaction, and what ends it, are at the same offset here: each makes the last
/// stable offset go on by one.
fn aborted(at: i64) -> AbortedTransaction {
    let (first_offset, last_offset, last_stable) = (Offset(at), Offset(at), Offset(at + 1));
    AbortedTransaction { producer_id: ProducerId(at), first_offset, last_offset, last_stable }
}

#[test]
fn a_reader_that_comes_upon_an_aborted_batch_is_told_so_however_soon_it_comes() {
    const BATCHES: i64 = 5_000;
    const READERS: i64 = 2;
    const TRIES_IN_A_ROW: u32 = 1_000;
    let disk = Disk { meanwhile: Mutex::default(), published: Mutex::default(), maps: Mutex::default() };
    let published = Published::new(TopicIdPartition::default(), PartitionState::default(), Arc::new(disk));
    let reader = PartitionReader::new(Arc::clone(&published), shard(Arc::new(Semaphore::new(1))));
    let read_count = AtomicI64::new(0);
    let read_all = || {
        let isolation = Isolation::ReadCommitted;
        let (mut from, mut tries) = (Offset(0), 0);
        while from < Offset(BATCHES) {
            let request = ReadRequest { from, max_bytes: 1, at_least_one: true, isolation };
            let found = match reader.read_in_memory(request) {
                Ok(Some(found)) if !found.batches.is_empty() => found,
                _ => {
                    tries += 1;
                    // All of them may have one processor.
                    if tries % TRIES_IN_A_ROW == 0 {
                        std::thread::yield_now();
                    }
                    continue;
                }
            };
            let named: Vec<_> = found.aborted.iter().map(|aborted| aborted.first_offset).collect();
            // Counted before it is looked at: the writer waits for each of them.
            read_count.fetch_add(1, Ordering::Relaxed);
            assert_eq!(named, [from]);
            from = from.plus(1);
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read_all)).collect();
        for at in 0..BATCHES {
            let frontiers = Frontiers { log_start: Offset(0), local_start: Offset(0), ..Frontiers::at(Offset(at + 1)) };
            published.publish_batches(frontiers, 0, vec![aborted(at)], [batch(at)]);
            // So that they wait for the next one when it is published.
            while read_count.load(Ordering::Relaxed) < READERS * (at + 1)
                && !readers.iter().any(|reader| reader.is_finished())
            {
                std::thread::yield_now();
            }
        }
    });
}

/// Reads on the thread that wakes it.
struct WokenReader {
    reader: PartitionReader,
    request: ReadRequest,
    found: Mutex<Option<ReadBatches>>,
}

impl Wake for WokenReader {
    fn wake(self: Arc<Self>) {
        *self.found.lock() = self.reader.read_in_memory(self.request).unwrap();
    }
}

#[test]
fn who_is_woken_by_a_last_stable_offset_beyond_an_abort_finds_the_abort() {
    let disk = Disk { meanwhile: Mutex::default(), published: Mutex::default(), maps: Mutex::default() };
    let published = Published::new(TopicIdPartition::default(), PartitionState::default(), Arc::new(disk));
    let reader = PartitionReader::new(Arc::clone(&published), shard(Arc::new(Semaphore::new(1))));
    let found_at = |from: i64, publish: &dyn Fn()| {
        let (from, isolation) = (Offset(from), Isolation::ReadCommitted);
        let request = ReadRequest { from, max_bytes: 1, at_least_one: true, isolation };
        let woken = Arc::new(WokenReader { reader: reader.clone(), request, found: Mutex::default() });
        let waiter = FetchWaiter::new();
        reader.watch(&waiter, Awaited { from, frontier: isolation.frontier(), above: from });
        let mut wait = pin!(waiter.wait());
        let waker = Waker::from(Arc::clone(&woken));
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        publish();
        let found = woken.found.lock().take().unwrap();
        (found.batches.len(), found.aborted.iter().map(|aborted| aborted.first_offset.0).collect::<Vec<_>>())
    };
    let stable = Frontiers { log_start: Offset(0), local_start: Offset(0), ..Frontiers::at(Offset(1)) };
    let found = found_at(0, &|| published.publish_batches(stable, 0, vec![aborted(0)], [batch(0)]));
    assert_eq!(found, (1, vec![0]));
    // What another transaction or another replica has held up becomes stable without new batches.
    let unstable = Frontiers { last_stable: Offset(1), ..Frontiers::at(Offset(2)) };
    let unstable = Frontiers { log_start: Offset(0), local_start: Offset(0), ..unstable };
    published.publish_batches(unstable, 0, Vec::new(), [batch(1)]);
    let stable = Frontiers { last_stable: Offset(2), ..unstable };
    let found = found_at(1, &|| published.publish_frontiers(stable, 0, vec![aborted(1)]));
    assert_eq!(found, (1, vec![1]));
}

#[test]
fn only_who_reads_committed_records_is_told_of_aborts_and_only_of_those_in_its_answer() {
    let disk = Disk { meanwhile: Mutex::default(), published: Mutex::default(), maps: Mutex::default() };
    let published = Published::new(TopicIdPartition::default(), PartitionState::default(), Arc::new(disk));
    let reader = PartitionReader::new(Arc::clone(&published), shard(Arc::new(Semaphore::new(1))));
    let frontiers = Frontiers { log_start: Offset(0), local_start: Offset(0), ..Frontiers::at(Offset(6)) };
    published.publish_batches(frontiers, 0, [1, 3, 4].map(aborted).to_vec(), (0..6).map(batch));
    let named = |from, max_bytes, isolation| {
        let request = ReadRequest { from: Offset(from), max_bytes, at_least_one: true, isolation };
        let found = reader.read_in_memory(request).unwrap().unwrap();
        found.aborted.iter().map(|aborted| aborted.producer_id.0).collect::<Vec<_>>()
    };
    assert_eq!(named(0, 100, Isolation::ReadCommitted), [1, 3, 4]);
    assert_eq!(named(0, 40, Isolation::ReadCommitted), [1, 3], "its answer ends before the last");
    assert_eq!(named(2, 20, Isolation::ReadCommitted), [3]);
    assert_eq!(named(5, 100, Isolation::ReadCommitted), [0; 0]);
    assert_eq!(named(0, 100, Isolation::ReadUncommitted), [0; 0]);
    published.publish_frontiers(Frontiers { log_start: Offset(2), ..frontiers }, 0, Vec::new());
    assert_eq!(named(2, 100, Isolation::ReadCommitted), [3, 4]);
    published.read(|state| assert_eq!(state.aborted.iter().count(), 2, "a trim forgets"));
}
