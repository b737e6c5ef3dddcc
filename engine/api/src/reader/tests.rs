#![allow(clippy::unwrap_used)]

use std::sync::Arc;

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

/// Says so often that the segment is retired, and what happens to the partition meanwhile; then it answers no batches.
#[derive(Debug)]
struct Disk {
    meanwhile: Mutex<Vec<fn(&Published)>>,
    published: Mutex<Option<Arc<Published>>>,
    /// The maps that reads came with.
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

/// Reads from the first offset on, which has left memory.
async fn read(meanwhile: Vec<fn(&Published)>) -> (Result<ReadBatches, ReadError>, Vec<Arc<LocationMap>>) {
    let (meanwhile, published, maps) = (Mutex::new(meanwhile), Mutex::default(), Mutex::default());
    let disk = Arc::new(Disk { meanwhile, published, maps });
    let mut log = ReadableLog::default();
    log.extend((0..4).map(batch));
    let state = PartitionState { frontiers: Frontiers::at(Offset(4)), log, ..PartitionState::default() };
    let published = Published::new(TopicIdPartition::default(), state, Arc::clone(&disk) as Arc<dyn DiskReads>);
    published.change(|state| state.frontiers.log_start = Offset(0));
    evict(&published, 0);
    *disk.published.lock() = Some(Arc::clone(&published));
    let gauges = Arc::new(ShardGauges::new(ChunkPool::default()));
    let shard = ShardHandle { inbox: mpsc::channel(1).0, read_places: Arc::new(Semaphore::new(1)), gauges };
    let request =
        ReadRequest { from: Offset(0), max_bytes: 100, at_least_one: true, isolation: Isolation::ReadUncommitted };
    let answer = PartitionReader::new(published, shard).read(request).await;
    let maps = std::mem::take(&mut *disk.maps.lock());
    (answer, maps)
}

#[tokio::test]
async fn a_read_whose_segment_is_retired_looks_again_with_the_map_of_then() {
    let (answer, maps) = read(vec![|published| evict(published, 2), |published| evict(published, 1)]).await;
    assert!(answer.unwrap().batches.is_empty());
    let ends: Vec<_> = maps.iter().map(|map| (1..4).find(|offset| map.ends_before(Offset(*offset)))).collect();
    assert_eq!(ends, [Some(1), Some(2), Some(3)], "each with what has left memory since");
}

#[tokio::test]
async fn a_read_whose_segment_is_retired_hears_what_became_of_its_batches() {
    let (answer, maps) = read(vec![|published| published.change(|state| state.closed = true)]).await;
    assert!(matches!(answer, Err(ReadError::Closed)) && maps.len() == 1, "{answer:?}");
    let trim = |published: &Published| {
        published.change(|state| {
            state.frontiers.log_start = Offset(2);
            state.trim();
        });
    };
    let (answer, _) = read(vec![trim]).await;
    assert!(matches!(answer, Err(ReadError::OutOfRange { .. })), "{answer:?}");
    let (answer, maps) = read(vec![|_| {}]).await;
    assert!(
        matches!(answer, Err(ReadError::Storage { .. })) && maps.len() == 1,
        "the newest map is no help: {answer:?}"
    );
}
