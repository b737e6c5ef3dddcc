//! One shard as its threads hold it: the machine that decides, and everything that executing its
//! decisions needs. A turn takes a bounded share of each inbox, so that no inbox delays the others,
//! however full it is. Nothing here waits; `shard_thread` waits for events, requests and the disk.
//! The driver decides nothing about a log; `execute` carries out the machine's decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use rustmq_engine_api::Directory;
use rustmq_engine_api::delivery::submit;
use rustmq_engine_api::request::Request;
use rustmq_engine_api::status::ShardFigures;
use rustmq_engine_api::views::Channels;
use rustmq_engine_core::shard::failure::WalFailure;
use rustmq_engine_core::shard::{CommitNumber, CommitSteps, Now, Shard};
use rustmq_engine_core::wal::SlotId;
use rustmq_engine_memory::ChunkPool;
use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::clock::Clock;
use crate::direct_io::DirectIo;
use crate::disk::{CommitTurn, DiskError, DiskWork};
use crate::event::{Event, EventSender};
use crate::folder::WalFolder;
use crate::metrics::Metrics;
use crate::read_pool::ReadPool;
use crate::shard_reads::ShardReads;
use crate::slot_files::SlotFiles;
use crate::slots::{self, SlotPreparer};
use crate::tail_chunks::Gauges;

/// The most events that a turn takes; the rest waits for the next turn.
const EVENTS_PER_TURN: usize = 256;

/// A machine whose recent batches are in chunks.
pub(crate) type Machine = Shard<Channels<ChunkPool>>;

/// The queues through which other threads reach a shard.
pub(crate) struct Inboxes {
    pub requests: mpsc::Receiver<Request>,
    pub events: mpsc::Receiver<Event>,
}

/// The threads and queues that a shard uses.
pub(crate) struct ShardServices {
    pub events: EventSender,
    pub reads: ReadPool,
    pub slots: SlotPreparer,
    pub directory: Arc<Directory>,
    pub gauges: Arc<Gauges>,
    pub metrics: Metrics,
}

/// A commit that is being executed.
struct InFlight {
    number: CommitNumber,
    bytes: usize,
    started: Instant,
    /// While it lives, readers take turns at the disk.
    _turn: Option<CommitTurn>,
}

pub(crate) struct ShardDriver {
    pub(crate) number: usize,
    pub(crate) folder: WalFolder,
    pub(crate) io: DirectIo,
    pub(crate) services: ShardServices,
    pub(crate) machine: Machine,
    pub(crate) files: SlotFiles,
    /// Gives readers the same files.
    pub(crate) reads: Arc<ShardReads>,
    /// How fast slots are prepared. The preparing thread polls it.
    pub(crate) urgency: Arc<AtomicU8>,
    /// Whether a commit ends with a sync.
    pub(crate) is_synced: bool,
    pub(crate) clock: Clock,
    in_flight: Vec<InFlight>,
    has_ended: bool,
    /// The last field, and therefore dropped after the folder's lock: a thread that finds the inbox
    /// closed may start the engine again at once.
    pub(crate) inboxes: Inboxes,
}

impl Drop for ShardDriver {
    /// A panic must not look like a slow disk: ends everything that waits for this shard, and
    /// reports the reason in the status.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        self.services.gauges.poison("the shard's thread has panicked");
        self.machine.memory_mut().end();
        self.report();
    }
}

/// The parts of a driver.
pub(crate) struct DriverParts {
    pub number: usize,
    pub folder: WalFolder,
    pub io: DirectIo,
    pub services: ShardServices,
    pub machine: Machine,
    pub files: SlotFiles,
    pub reads: Arc<ShardReads>,
    pub is_synced: bool,
    pub clock: Clock,
    pub inboxes: Inboxes,
}

impl ShardDriver {
    /// Builds the driver, and creates the views of the recovered partitions.
    pub(crate) fn new(parts: DriverParts) -> Self {
        let DriverParts { number, folder, io, services, machine, files, reads, is_synced, clock, inboxes } = parts;
        let urgency = Arc::new(AtomicU8::new(slots::PACED));
        let (in_flight, has_ended) = (Vec::new(), false);
        let mut driver = Self {
            number,
            folder,
            io,
            services,
            machine,
            files,
            reads,
            urgency,
            is_synced,
            clock,
            in_flight,
            has_ended,
            inboxes,
        };
        driver.execute_all();
        driver
    }

    /// Runs once, before the first turn.
    pub(crate) fn begin(&mut self) {
        self.machine.begin(self.clock.now());
        self.execute_all();
        self.report();
    }

    pub(crate) fn turn(&mut self) {
        let now = self.clock.now();
        // The turn compares times instead of using timers: timers fire only when the thread waits,
        // which under load it may never do.
        self.machine.handle_time(now);
        self.execute_all();
        for _ in 0..EVENTS_PER_TURN {
            let Ok(event) = self.inboxes.events.try_recv() else { break };
            self.on_event(event);
        }
        self.take_requests();
        self.machine.stage(now);
        self.execute_all();
        self.count_appended();
    }

    /// Counts staged batches at once: their commit may take long, or fail.
    fn count_appended(&mut self) {
        let appended = self.machine.take_appended();
        if appended.batches > 0 {
            self.services.metrics.appended_batches.inc_by(appended.batches);
            self.services.metrics.appended_bytes.inc_by(appended.bytes);
        }
    }

    /// When the machine's next timeout is due.
    pub(crate) fn turn_due(&self) -> Instant {
        self.clock.point(self.machine.poll_timeout())
    }

    fn take_requests(&mut self) {
        while self.machine.takes_requests() {
            match self.inboxes.requests.try_recv() {
                Ok(request) => submit(&mut self.machine, request),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.on_handles_gone(),
            }
        }
    }

    pub(crate) fn on_handles_gone(&mut self) {
        self.machine.on_handles_gone();
        self.execute_all();
    }

    /// Starts a commit of everything that has gathered. `None` if nothing has, or if no other
    /// commit may be in flight now. The executor reports the end through [`Self::on_committed`].
    pub(crate) fn start_commit(&mut self) -> Option<DiskWork> {
        let CommitSteps { number, steps, bytes, holds_frames } = self.machine.poll_commit(self.clock.now())?;
        // A commit that only proves an idle log delays nobody, so readers need not take turns.
        let turn = holds_frames.then(|| self.services.reads.turns().begin_commit(bytes));
        self.in_flight.push(InFlight { number, bytes, started: Instant::now(), _turn: turn });
        Some(DiskWork { number, steps, files: self.files.clone() })
    }

    /// Stages the backlog while a commit is executed, so that the next commit gathers.
    pub(crate) fn stage_next(&mut self) {
        self.machine.stage_backlog(self.clock.now());
        self.execute_all();
        self.count_appended();
    }

    pub(crate) fn on_committed(&mut self, number: CommitNumber, result: Result<(), DiskError>) {
        let at = self.in_flight.iter().position(|commit| commit.number == number);
        let commit = self.in_flight.swap_remove(at.expect("a commit ends only while it is in flight"));
        if result.is_ok() {
            let metrics = &self.services.metrics;
            metrics.commits.inc();
            metrics.committed_bytes.inc_by(commit.bytes as u64);
            metrics.commit_seconds.observe(commit.started.elapsed().as_secs_f64());
        }
        let now = self.clock.now();
        self.machine.on_committed(now, number, result.map_err(WalFailure::from));
        self.execute_all();
        self.report();
    }

    /// Handles a message of another thread.
    pub(crate) fn on_event(&mut self, event: Event) {
        self.handle_event(self.clock.now(), event);
        self.execute_all();
        self.report();
    }

    fn handle_event(&mut self, now: Now, event: Event) {
        match event {
            Event::SlotReserved { slot, file } => {
                // The file comes first: the machine may at once request something that needs it.
                self.files.insert(slot, file);
                self.reads.set_files(self.files.clone());
                self.machine.on_slot_reserved(now, slot);
            }
            Event::SlotFilled { slot } => self.machine.on_slot_filled(now, slot),
            Event::SlotFailed { slot } => {
                self.drop_file(slot);
                self.machine.on_slot_failed(now, slot);
            }
            Event::PreparerPanicked => self.machine.on_preparation_lost(),
            Event::MoveRead { number, batches } => self.machine.on_moved(now, number, batches),
            Event::LogRebuilt { number, log } => self.machine.on_rebuilt(number, log.map(|log| *log)),
            Event::RepairForgotten(forgotten) => {
                self.machine.on_repair_forgotten(forgotten.map_err(|error| error.to_string()));
            }
            Event::SyncFailed(error) => self.machine.on_sync_failed(&error.into()),
            Event::TailBudgetSet => self.machine.on_memory_budget_set(),
        }
    }

    /// Forgets a slot's file, which may have been removed.
    pub(crate) fn drop_file(&mut self, slot: SlotId) {
        self.files.remove(slot);
        self.reads.set_files(self.files.clone());
    }

    /// Ends the shard after its last turn. Drops everything that waits, which tells the waiters
    /// that the shard has stopped.
    pub(crate) fn end(mut self) {
        self.has_ended = true;
        self.machine.memory_mut().end();
        let closing = self.machine.take_closing();
        // The drop releases the folder's lock: whoever gets the answer may start the engine again
        // at once.
        drop(self);
        for reply in closing {
            // The requester of the shutdown may have stopped waiting.
            let _ = reply.send(());
        }
    }

    pub(crate) fn report(&self) {
        let gauges = &self.services.gauges;
        let table = self.machine.table();
        let segment = u64::from(table.shape().length());
        let used = table.segment_count() as u64 * segment;
        gauges.wal_bytes.store(self.files.len() as u64 * segment, Ordering::Relaxed);
        gauges.wal_used_bytes.store(used, Ordering::Relaxed);
        gauges.partitions.store(self.machine.partition_count() as u64, Ordering::Relaxed);
        gauges.full.store(table.is_full(), Ordering::Relaxed);
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        self.services.metrics.set_status(number, &gauges.status());
    }
}

#[cfg(test)]
mod tests;
