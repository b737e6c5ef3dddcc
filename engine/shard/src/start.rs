//! Starts the engine: opens the folder, chooses the driver, recovers all WALs in parallel, and
//! starts a thread for each shard.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use rustmq_engine_api::status::ShardFigures;
use rustmq_engine_api::views::Views;
use rustmq_engine_api::{Directory, Engine, ShardHandle};
use rustmq_engine_core::log::{Gaps, Replicas};
use rustmq_engine_core::shard::starting::{PartitionReplayError, log_limits, replay_partitions};
use rustmq_engine_core::shard::{CommitBuilder, NoMemory, Shard, ShardConfig, SyncPolicy};
use rustmq_engine_core::wal::position::SegmentShapeError;
use rustmq_engine_core::wal::recovery::{CorruptionPolicy, DroppedTail};
use rustmq_engine_core::wal::segments::SEGMENTS_MIN;
use rustmq_engine_core::wal::{SegmentShape, SegmentTable, SegmentTableConfig};
use rustmq_engine_memory::ChunkPool;
use rustmq_model::ByteSize;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::{Driver, DriverKind, EngineConfig};
use crate::direct_io::DirectIo;
use crate::disk::Disk;
use crate::driver::{DriverParts, Inboxes, ShardDriver, ShardServices};
use crate::event::EventSender;
use crate::folder::{self, Folder, FolderError, FolderOptions, WalFolder};
use crate::memory_watch::{MemoryWatch, WatchedShard};
use crate::metrics::Metrics;
use crate::read_pool::{ReadLimits, ReadPool};
use crate::recovery::{RecoverError, Recovered, recover};
use crate::shard_reads::{ShardReads, WeakShardReads};
use crate::shard_thread;
use crate::slot_files::SlotFiles;
use crate::slots::SlotPreparer;
use crate::standby::Standby;
use crate::tail_chunks::{Gauges, TailChunks};

/// How long a shard's own commit may hold up requests that need no commit; then the standby takes
/// the shard over. The standby checks at this interval, so twice the delay may pass. Longer than
/// most commits that a shard executes itself take on a healthy disk.
const TAKEOVER_DELAY: Duration = Duration::from_millis(5);
/// The capacity of a shard's event queue. Senders wait for room; the shard always drains the queue.
const EVENTS_MAX: usize = 1024;
const CHUNK_MIN: u64 = 64 << 10;
const CHUNK_MAX: u64 = 4 << 20;
/// The number of chunks that the tail memory of a shard is divided into, unless a chunk would pass
/// the bounds above.
const CHUNKS_PER_BUDGET: u64 = 8;

const _: () = {
    assert!(CHUNK_MIN <= CHUNK_MAX);
};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error(transparent)]
    Replay(#[from] PartitionReplayError),
    #[error(transparent)]
    Shape(#[from] SegmentShapeError),
    #[error(
        "a WAL capacity of {capacity} is too small for {wals} WALs with segments of {segment_size}: at least {least} is needed"
    )]
    Capacity { capacity: ByteSize, wals: usize, segment_size: ByteSize, least: ByteSize },
    #[error(
        "io_uring is configured, but the kernel does not allow it: {error}. Use the epoll driver, or allow the io_uring system calls"
    )]
    Uring { error: io::Error },
    #[error("{path}: cannot be written: {error}", path = path.display())]
    Probe { path: PathBuf, error: io::Error },
    #[error("a thread of the storage engine cannot be started: {error}")]
    Thread { error: io::Error },
    #[error(transparent)]
    Memory { error: NoMemory },
    #[error("a thread of the storage engine ended while it started")]
    Ended,
}

/// The results of a start, for the banner and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartReport {
    pub driver: DriverKind,
    /// Whether files are read and written with O_DIRECT, around the page cache.
    pub direct_io: bool,
    pub shards: usize,
    /// The folder's segment size, which may differ from the configured one.
    pub segment_size: ByteSize,
    pub partitions: usize,
    /// The largest record batch that fits into a segment, in bytes.
    pub batch_bytes_max: usize,
    /// The number of WALs whose last groups were dropped. Where commits are synced, a cut of power
    /// tears only groups that were never acknowledged.
    pub torn_tails: usize,
}

/// The report of a shard's thread that is ready.
struct ShardReady {
    partitions: usize,
    torn: bool,
}

/// The configured behaviour of a shard.
#[derive(Clone, Copy, Debug)]
struct ShardTuning {
    idle_proof_after: Duration,
    retention_interval: Duration,
    quick_commit: Duration,
    slow_commit: Duration,
    is_synced: bool,
}

/// Everything that a shard starts with.
struct ShardPlan {
    number: usize,
    folder: WalFolder,
    shape: SegmentShape,
    segments_max: u32,
    io: DirectIo,
    tuning: ShardTuning,
    driver: DriverKind,
    clock: Clock,
    faults: Option<Arc<crate::disk::DiskFaults>>,
    chunks: ChunkPool,
    services: ShardServices,
    standby: Standby<ShardDriver>,
    inboxes: Inboxes,
}

/// The values that are the same for all shards.
struct Layout {
    io: DirectIo,
    shape: SegmentShape,
    segments_max: u32,
    driver: DriverKind,
    clock: Clock,
}

/// Starts the engine. Blocks during recovery; returns when every partition can be read.
///
/// # Errors
/// [`StartError`] says which part of the start failed. No thread of the failed start is left.
pub fn start(config: &EngineConfig, metrics: &Metrics) -> Result<(Engine, StartReport), StartError> {
    let (folder, layout) = open_folder(config)?;
    let shards = folder.wals.len();
    let mut threads = Vec::with_capacity(shards);
    let started = start_shards(config, metrics, &folder, &layout, &mut threads);
    let found = started.and_then(|(engine, readiness)| Ok((engine, await_shards(&readiness, shards)?)));
    let (engine, (partitions, torn_tails)) = found.inspect_err(|_| {
        // No handle is left, so the shards that have started end. A failed start must not touch the
        // folder after it returns.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    })?;
    let report = StartReport {
        driver: layout.driver,
        direct_io: layout.io.direct,
        shards,
        segment_size: ByteSize(folder.segment_size),
        partitions,
        batch_bytes_max: layout.shape.payload_max() as usize,
        torn_tails,
    };
    tracing::info!(
        driver = layout.driver.as_str(),
        shards,
        partitions = report.partitions,
        "the storage engine is ready"
    );
    Ok((engine, report))
}

/// Opens or creates the folder and determines the values that hold for all of its WALs.
fn open_folder(config: &EngineConfig) -> Result<(Folder, Layout), StartError> {
    let folder = Folder::open_or_create(FolderOptions {
        dir: &config.dir,
        segment_size: config.settings.segment_size.0,
        wal_count: config.settings.shard_count(),
        must_exist: config.must_exist,
        owner: config.owner.as_ref(),
    })?;
    let io = DirectIo::probe(&config.dir, &folder::meta_path(&config.dir))
        .map_err(|error| StartError::Probe { path: config.dir.clone(), error })?;
    let shape = SegmentShape::new(u64::from(io.block_size), folder.segment_size)?;
    let segment_size = ByteSize(folder.segment_size);
    if folder.segment_size != config.settings.segment_size.0 {
        let configured = config.settings.segment_size;
        tracing::warn!(%segment_size, %configured, "the folder keeps the WAL segment size that it was created with");
    }
    let segments_max = segments_max(config.capacity, folder.wals.len(), segment_size)?;
    let driver = choose_driver(config.settings.driver)?;
    if !io.direct {
        tracing::warn!(dir = %config.dir.display(), "the file system has no O_DIRECT: the WAL goes through the page cache");
    }
    Ok((folder, Layout { io, shape, segments_max, driver, clock: Clock::start() }))
}

/// One shard without its thread, and the engine's handle to it, for tests that make turns and
/// commits themselves.
#[cfg(test)]
pub(crate) fn shard_without_thread(config: &EngineConfig) -> Result<(Engine, Box<ShardDriver>, Disk), StartError> {
    let (folder, layout) = open_folder(config)?;
    let (engine, mut plans) = plan_shards(config, &Metrics::default(), &folder, &layout)?;
    let Built { shard, disk, .. } = build(plans.remove(0))?;
    Ok((engine, shard, disk))
}

type Readiness = std_mpsc::Receiver<Result<ShardReady, StartError>>;

/// Waits for every shard. Returns the number of partitions and of dropped torn tails.
fn await_shards(readiness: &Readiness, shards: usize) -> Result<(usize, usize), StartError> {
    let (mut partitions, mut torn_tails) = (0, 0);
    for _ in 0..shards {
        let ready = readiness.recv().map_err(|_| StartError::Ended)??;
        partitions += ready.partitions;
        torn_tails += usize::from(ready.torn);
    }
    Ok((partitions, torn_tails))
}

/// Starts a thread for each WAL. The threads recover in parallel and report when they are ready.
fn start_shards(
    config: &EngineConfig,
    metrics: &Metrics,
    folder: &Folder,
    layout: &Layout,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(Engine, Readiness), StartError> {
    let (engine, plans) = plan_shards(config, metrics, folder, layout)?;
    let (ready, readiness) = std_mpsc::channel();
    for plan in plans {
        threads.push(spawn(plan, ready.clone()).map_err(|error| StartError::Thread { error })?);
    }
    Ok((engine, readiness))
}

/// Builds the queues and threads around each shard, and the handle to them.
fn plan_shards(
    config: &EngineConfig,
    metrics: &Metrics,
    folder: &Folder,
    layout: &Layout,
) -> Result<(Engine, Vec<ShardPlan>), StartError> {
    let wals = folder.wals.len();
    let thread_error = |error| StartError::Thread { error };
    let memory_bytes = usize::try_from(config.read_memory.0).unwrap_or(usize::MAX);
    let limits = ReadLimits {
        threads: config.settings.read_threads,
        reads_max: config.read_queue,
        memory_bytes,
        damage_timeout: config.damage_timeout,
    };
    let reads = ReadPool::start(limits, wals, metrics).map_err(thread_error)?;
    let directory = Arc::new(Directory::default());
    let limit = config.tail_memory.limit();
    let (mut handles, mut plans) = (Vec::with_capacity(wals), Vec::with_capacity(wals));
    let mut watched = Vec::with_capacity(wals);
    for (number, wal) in folder.wals.iter().enumerate() {
        let (inbox, requests) = mpsc::channel(config.inbox.max(1));
        let (events, event_inbox) = EventSender::channel(EVENTS_MAX);
        let chunks = tail_chunks(limit.full, wals);
        watched.push(WatchedShard { chunks: chunks.clone(), events: events.clone() });
        let gauges = Arc::new(Gauges::new(TailChunks(chunks.clone())));
        let read_permits = reads.permits();
        let figures = Arc::clone(&gauges) as Arc<dyn ShardFigures>;
        handles.push(ShardHandle { inbox, read_permits, figures });
        let services = ShardServices {
            events,
            reads: reads.clone(),
            slots: SlotPreparer::start(number).map_err(thread_error)?,
            directory: Arc::clone(&directory),
            gauges,
            metrics: metrics.clone(),
        };
        plans.push(ShardPlan {
            number,
            folder: wal.clone(),
            shape: layout.shape,
            segments_max: layout.segments_max,
            io: layout.io,
            tuning: ShardTuning {
                idle_proof_after: config.idle_proof_after,
                retention_interval: config.retention_interval,
                quick_commit: config.quick_commit,
                slow_commit: config.slow_commit,
                is_synced: config.settings.fsync_on_write,
            },
            driver: layout.driver,
            clock: layout.clock,
            faults: config.faults.clone(),
            chunks,
            services,
            standby: start_standby(number).map_err(thread_error)?,
            inboxes: Inboxes { requests, events: event_inbox },
        });
    }
    let watch = MemoryWatch { shards: watched, limit, tail_memory: config.tail_memory.clone() };
    watch.start().map_err(thread_error)?;
    Ok((Engine::new(handles, directory), plans))
}

fn start_standby(shard: usize) -> io::Result<Standby<ShardDriver>> {
    let name = format!("rustmq-standby-{shard}");
    Standby::start(name, TAKEOVER_DELAY, ShardDriver::turn)
}

/// The pool of memory for the recent batches of one shard out of `wals`.
fn tail_chunks(memory: ByteSize, wals: usize) -> ChunkPool {
    let budget = memory.0 / wals as u64;
    let chunk = (budget / CHUNKS_PER_BUDGET).clamp(CHUNK_MIN, CHUNK_MAX);
    ChunkPool::new(usize::try_from(chunk).expect("clamped to a few megabytes"), budget)
}

fn segments_max(capacity: ByteSize, wals: usize, segment_size: ByteSize) -> Result<u32, StartError> {
    let each = capacity.0 / wals as u64 / segment_size.0;
    let least = ByteSize(u64::from(SEGMENTS_MIN) * segment_size.0 * wals as u64);
    if each < u64::from(SEGMENTS_MIN) {
        return Err(StartError::Capacity { capacity, wals, segment_size, least });
    }
    Ok(u32::try_from(each).unwrap_or(u32::MAX))
}

fn choose_driver(driver: Driver) -> Result<DriverKind, StartError> {
    if driver == Driver::Epoll {
        return Ok(DriverKind::Epoll);
    }
    // Probes with a whole runtime: a sandbox may allow the system calls and still refuse the
    // operations.
    let probed = RuntimeBuilder::<IoUringDriver>::new().with_entries(16).build().map(drop);
    match probed {
        Ok(()) => Ok(DriverKind::Uring),
        Err(error) if driver == Driver::Uring => Err(StartError::Uring { error }),
        Err(error) => {
            tracing::warn!(%error, "io_uring is not available: shards use epoll and a disk thread each");
            Ok(DriverKind::Epoll)
        }
    }
}

fn spawn(plan: ShardPlan, ready: std_mpsc::Sender<Result<ShardReady, StartError>>) -> io::Result<JoinHandle<()>> {
    let name = format!("rustmq-shard-{}", plan.number);
    std::thread::Builder::new().name(name).spawn(move || match plan.driver {
        DriverKind::Uring => match RuntimeBuilder::<IoUringDriver>::new().enable_timer().build() {
            Ok(mut runtime) => runtime.block_on(serve(plan, ready)),
            Err(error) => report_failure(&ready, StartError::Uring { error }),
        },
        DriverKind::Epoll => match RuntimeBuilder::<LegacyDriver>::new().enable_timer().build() {
            Ok(mut runtime) => runtime.block_on(serve(plan, ready)),
            Err(error) => report_failure(&ready, StartError::Thread { error }),
        },
    })
}

fn report_failure(ready: &std_mpsc::Sender<Result<ShardReady, StartError>>, error: StartError) {
    // Sending fails only if the start has already failed for another reason.
    let _ = ready.send(Err(error));
}

async fn serve(plan: ShardPlan, ready: std_mpsc::Sender<Result<ShardReady, StartError>>) {
    match build(plan) {
        Err(error) => report_failure(&ready, error),
        Ok(Built { shard, disk, standby, readiness }) => {
            if ready.send(Ok(readiness)).is_err() {
                return;
            }
            drop(ready);
            // A task of its own, because other threads can wake only tasks.
            monoio::spawn(shard_thread::run(shard, disk, standby)).await;
        }
    }
}

fn warn_of_torn_tail(shard: usize, folder: &WalFolder, dropped: &DroppedTail) {
    let DroppedTail { slot, offset, damage, groups } = dropped;
    tracing::warn!(
        shard,
        path = %folder.slot_path(*slot).display(),
        offset,
        %damage,
        sound_groups_after_it = groups,
        "a torn group at the log's end was dropped: no later group proves that it was complete"
    );
}

struct Built {
    shard: Box<ShardDriver>,
    disk: Disk,
    standby: Standby<ShardDriver>,
    readiness: ShardReady,
}

/// Recovers the WAL and builds the shard over it.
fn build(plan: ShardPlan) -> Result<Built, StartError> {
    let ShardPlan {
        inboxes,
        number,
        folder,
        shape,
        segments_max,
        io,
        tuning,
        driver,
        clock,
        faults,
        chunks,
        services,
        standby,
    } = plan;
    let (repaired, policy) = if folder.was_repaired()? {
        (Gaps::Repaired, CorruptionPolicy::Repaired)
    } else {
        (Gaps::Refused, CorruptionPolicy::Refuse)
    };
    let Recovered { wal, files, .. } = recover(&folder, io, shape, policy)?;
    for dropped in &wal.dropped {
        warn_of_torn_tail(number, &folder, dropped);
    }
    let now = clock.now();
    let limits = log_limits(shape);
    let mut table = SegmentTable::new(SegmentTableConfig { wal: folder.id, shape, segments_max }, &wal);
    let replicas = Replicas::Sole;
    let partitions = replay_partitions(&wal, repaired, limits, replicas, now.wall, &mut table)?;
    let capacity = u64::from(segments_max) * u64::from(shape.length());
    services.gauges.wal_capacity_bytes.store(capacity, Ordering::Relaxed);
    let disk = match driver {
        DriverKind::Uring => Disk::over_uring(tuning.quick_commit, faults),
        DriverKind::Epoll => {
            let names = [format!("rustmq-disk-{number}"), format!("rustmq-disk2-{number}")];
            Disk::over_threads(names, tuning.quick_commit, faults).map_err(|error| StartError::Thread { error })?
        }
    };
    let syncs = if tuning.is_synced { SyncPolicy::EachCommit } else { SyncPolicy::Never };
    let (files, segments) = (SlotFiles::new(files), table.shared().clone());
    let reads = ShardReads::new(folder.id, io.block_size, segments, files.clone(), services.reads.clone());
    let views = Views::new(chunks, Arc::new(WeakShardReads::of(&reads)));
    let builder = CommitBuilder::new(folder.id, table, views, syncs);
    let readiness = ShardReady { partitions: partitions.len(), torn: !wal.dropped.is_empty() };
    let config = ShardConfig {
        proof_after: tuning.idle_proof_after,
        retention_interval: tuning.retention_interval,
        slow_commit: tuning.slow_commit,
        gathered_bytes_max: ShardConfig::GATHERED_BYTES_MAX,
        waits_max: ShardConfig::WAITS_MAX,
        read_bytes_max: services.reads.read_bytes_max(),
        checkpoint_piece_bytes_max: ShardConfig::CHECKPOINT_PIECE_BYTES_MAX,
        limits,
        replicas,
    };
    let mut machine = Shard::new(config, builder, partitions, now).map_err(|error| StartError::Memory { error })?;
    if repaired == Gaps::Repaired {
        machine.checkpoint_after_repair();
    }
    let is_synced = tuning.is_synced;
    let parts = DriverParts { number, folder, io, services, machine, files, reads, is_synced, clock, inboxes };
    let shard = Box::new(ShardDriver::new(parts));
    Ok(Built { shard, disk, standby, readiness })
}
