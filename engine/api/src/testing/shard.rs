//! One shard of the engine in memory: the real machine, and a loop in place of a driver. Commits
//! write nowhere: the store gets the batches that they make durable.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustmq_engine_core::log::Replicas;
use rustmq_engine_core::shard::failure::WalFailure;
use rustmq_engine_core::shard::starting::log_limits;
use rustmq_engine_core::shard::{
    Action, CommitBuilder, CommitNumber, MoveError, Now, Partitions, Preparation, Publication, PublishedRun,
    RebuildError, Shard, ShardConfig, SyncPolicy,
};
use rustmq_engine_core::wal::recovery::CorruptionPolicy;
use rustmq_engine_core::wal::{
    Recovery, RecoveryOptions, SegmentShape, SegmentTable, SegmentTableConfig, SlotId, WalId,
};
use rustmq_model::{Instant, Timestamp};
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::sync::watch;

use super::heap::HeapMemory;
use super::in_memory::{Device, InMemoryOptions};
use super::store::BatchStore;
use crate::delivery::{DriverAction, deliver, submit};
use crate::engine::Directory;
use crate::request::Request;
use crate::status::ShardGauges;
use crate::views::{Channels, Views};

const BLOCK_BYTES: u64 = 4 << 10;
const SEGMENT_BYTES: u64 = 4 << 20;
const READ_BYTES_MAX: usize = 4 << 20;
const PROOF_AFTER: Duration = Duration::from_millis(50);
const SLOW_COMMIT: Duration = Duration::from_millis(1);

pub(super) struct ShardParts {
    pub number: usize,
    pub options: InMemoryOptions,
    pub memory: HeapMemory,
    pub store: BatchStore,
    pub directory: Arc<Directory>,
    pub gauges: Arc<ShardGauges<HeapMemory>>,
    pub requests: mpsc::Receiver<Request>,
    pub device: watch::Receiver<Device>,
}

/// A report that another thread of a real shard would make later.
enum Event {
    Prepared(SlotId, Preparation),
    MoveRead { number: u64, batches: Result<Vec<Bytes>, MoveError> },
    NotRebuilt { number: u64 },
}

pub(super) struct InMemoryShard {
    number: usize,
    machine: Shard<Channels<HeapMemory>>,
    store: BatchStore,
    directory: Arc<Directory>,
    gauges: Arc<ShardGauges<HeapMemory>>,
    requests: mpsc::Receiver<Request>,
    device: watch::Receiver<Device>,
    events: VecDeque<Event>,
    in_flight: Vec<CommitNumber>,
    clock: Clock,
}

impl InMemoryShard {
    pub(super) fn new(parts: ShardParts) -> Self {
        let ShardParts { number, options, memory, store, directory, gauges, requests, device } = parts;
        let clock = Clock::start();
        let wal = WalId([u8::try_from(number).expect("a test has few shards"); 16]);
        let shape = SegmentShape::new(BLOCK_BYTES, SEGMENT_BYTES).expect("the sizes are legal");
        let policy = CorruptionPolicy::Refuse;
        let recovery = RecoveryOptions { wal, shape, slots: Vec::new(), window: 1 << 20, policy };
        let empty = Recovery::new(recovery).finish().expect("an empty log is sound");
        let segments_max = u32::try_from(options.capacity.0 / SEGMENT_BYTES).unwrap_or(u32::MAX);
        let table = SegmentTable::new(SegmentTableConfig { wal, shape, segments_max }, &empty);
        gauges.wal_capacity_bytes.store(u64::from(segments_max) * SEGMENT_BYTES, Ordering::Relaxed);
        let views = Views::new(memory, Arc::new(store.clone()));
        let gathering = CommitBuilder::new(wal, table, views, SyncPolicy::EachCommit);
        let config = ShardConfig {
            proof_after: PROOF_AFTER,
            retention_interval: options.retention_interval,
            slow_commit: SLOW_COMMIT,
            gathered_bytes_max: ShardConfig::GATHERED_BYTES_MAX,
            waits_max: ShardConfig::WAITS_MAX,
            read_bytes_max: READ_BYTES_MAX,
            checkpoint_piece_bytes_max: ShardConfig::CHECKPOINT_PIECE_BYTES_MAX,
            limits: log_limits(shape),
            replicas: Replicas::Sole,
        };
        let machine = Shard::new(config, gathering, Partitions::default(), clock.now());
        let machine = machine.expect("the heap has memory for the first group");
        let (events, in_flight) = (VecDeque::new(), Vec::new());
        Self { number, machine, store, directory, gauges, requests, device, events, in_flight, clock }
    }

    /// Runs until it is shut down, or until every handle is dropped.
    pub(super) async fn run(mut self) {
        self.execute_all();
        self.machine.begin(self.clock.now());
        self.execute_all();
        loop {
            self.turn();
            if self.machine.is_finished() {
                break;
            }
            self.begin_commits();
            if self.in_flight.is_empty() && self.events.is_empty() {
                self.wait().await;
            } else {
                // Others may act before a commit ends.
                tokio::task::yield_now().await;
                self.end_commits().await;
            }
        }
        self.end();
    }

    fn turn(&mut self) {
        let now = self.clock.now();
        self.machine.handle_time(now);
        self.execute_all();
        while let Some(event) = self.events.pop_front() {
            self.on_event(now, event);
            self.execute_all();
        }
        while self.machine.takes_requests() {
            match self.requests.try_recv() {
                Ok(request) => submit(&mut self.machine, request),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.on_handles_gone(),
            }
        }
        self.machine.stage(now);
        self.execute_all();
        self.report();
    }

    fn on_handles_gone(&mut self) {
        self.machine.on_handles_gone();
        self.execute_all();
    }

    fn begin_commits(&mut self) {
        while let Some(commit) = self.machine.poll_commit(self.clock.now()) {
            self.in_flight.push(commit.number);
            self.machine.stage_backlog(self.clock.now());
            self.execute_all();
        }
    }

    /// Ends the commits in flight, unless the device stalls: then waits for what comes first.
    async fn end_commits(&mut self) {
        let device = *self.device.borrow_and_update();
        let result = match device {
            Device::Working => Ok(()),
            Device::Broken => {
                let detail = "the device is broken on order".to_owned();
                Err(WalFailure::Disk { kind: io::ErrorKind::Other, detail })
            }
            Device::Stalled => {
                if self.events.is_empty() {
                    self.wait().await;
                }
                return;
            }
        };
        for number in std::mem::take(&mut self.in_flight) {
            self.machine.on_committed(self.clock.now(), number, result.clone());
            self.execute_all();
        }
    }

    async fn wait(&mut self) {
        let due = self.clock.point(self.machine.poll_timeout());
        tokio::select! {
            request = self.requests.recv(), if self.machine.awaits_requests() => match request {
                Some(request) => submit(&mut self.machine, request),
                None => self.on_handles_gone(),
            },
            // Fails if the owner of the device has gone: it will not change any more.
            Ok(()) = self.device.changed() => {}
            () = tokio::time::sleep_until(due) => {}
        }
    }

    fn execute_all(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.store_published(&action);
            if let Some(action) = deliver(&mut self.machine, self.number, &self.directory, action) {
                self.execute(action);
            }
        }
    }

    /// Readers may be sent to the store as soon as the action is delivered.
    fn store_published(&self, action: &Action<Channels<HeapMemory>>) {
        match action {
            Action::CreateView(view) => self.store.create(view.id, view.key),
            Action::Publish(Publication { runs, batches }) => {
                let mut batches = batches.iter();
                for PublishedRun { key, count, .. } in runs {
                    self.store.append(*key, batches.by_ref().take(*count));
                }
            }
            Action::PublishFrontiers { key, frontiers, .. } => self.store.trim(*key, frontiers.log_start),
            Action::CloseView { key } => self.store.remove(*key),
            // Nothing else changes what is durable: no request asks for a cut.
            _ => {}
        }
    }

    fn execute(&mut self, action: DriverAction) {
        match action {
            DriverAction::Poison(failure) => self.gauges.poison(&failure.to_string()),
            DriverAction::PrepareSlot { slot, preparation } => {
                self.events.push_back(Event::Prepared(slot, preparation));
            }
            DriverAction::ReadToMove { number, read, .. } => {
                let gone = || MoveError::Later { reason: format!("{} is closed", read.id) };
                let batches = self.store.read(&read).ok_or_else(gone);
                self.events.push_back(Event::MoveRead { number, batches });
            }
            DriverAction::Rebuild { number, .. } => self.events.push_back(Event::NotRebuilt { number }),
            DriverAction::ForgetRepair => unreachable!("the log of a new engine was not repaired"),
            DriverAction::PaceSlots(_) | DriverAction::Note(_) => {}
        }
    }

    fn on_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Prepared(slot, Preparation::Reserved) => self.machine.on_slot_reserved(now, slot),
            Event::Prepared(slot, Preparation::Filled { .. }) => self.machine.on_slot_filled(now, slot),
            Event::MoveRead { number, batches } => self.machine.on_moved(now, number, batches),
            Event::NotRebuilt { number } => {
                let reason = "this engine keeps no earlier states of its logs".to_owned();
                self.machine.on_rebuilt(number, Err(RebuildError::NotRead { reason }));
            }
        }
    }

    fn report(&self) {
        let table = self.machine.table();
        let used = table.segment_count() as u64 * SEGMENT_BYTES;
        self.gauges.wal_bytes.store(used, Ordering::Relaxed);
        self.gauges.wal_used_bytes.store(used, Ordering::Relaxed);
        self.gauges.partitions.store(self.machine.partition_count() as u64, Ordering::Relaxed);
        self.gauges.full.store(table.is_full(), Ordering::Relaxed);
    }

    fn end(mut self) {
        self.machine.check_invariants();
        self.machine.memory_mut().end();
        let closing = self.machine.take_closing();
        // Closes the inbox before the answer.
        drop(self);
        for reply in closing {
            // The requester may have stopped waiting.
            let _ = reply.send(());
        }
    }
}

/// Both clocks follow the runtime's timer, which a test may pause.
struct Clock {
    started: tokio::time::Instant,
    started_wall: Duration,
}

impl Clock {
    fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let started_wall = since_epoch.expect("the clock is set to a time after 1970");
        Self { started: tokio::time::Instant::now(), started_wall }
    }

    fn now(&self) -> Now {
        let elapsed = self.started.elapsed();
        let wall = i64::try_from((self.started_wall + elapsed).as_millis()).expect("the clock is set to a sane time");
        Now { at: Instant::default().plus(elapsed), wall: Timestamp(wall) }
    }

    fn point(&self, at: Instant) -> tokio::time::Instant {
        self.started + at.since(Instant::default())
    }
}
