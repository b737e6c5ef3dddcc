//! One shard as its threads hold it: the machine that decides, and what is needed to execute that. A turn takes a bounded share of each inbox, so
//! that none holds up the others however full it is. Nothing here waits: `shard_thread` does, for news and for the disk. No decision about a log
//! is made here; `execute` has what is done about each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use rustmq_engine_api::published::Published;
use rustmq_engine_api::request::{Reply, Request};
use rustmq_engine_api::status::ShardGauges;
use rustmq_engine_api::{AppendError, Appended, DeleteError, Directory, OpenError, TrimError};
use rustmq_engine_core::shard::error::CutError;
use rustmq_engine_core::shard::{CommitNumber, CommitSteps, Host, Now, Shard};
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Offset;
use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::clock::Clock;
use crate::dio::DirectIo;
use crate::disk::{CommitTurn, DiskError, DiskWork};
use crate::event::{Event, EventSender};
use crate::folder::WalFolder;
use crate::metrics::Metrics;
use crate::read_pool::ReadPool;
use crate::shard_reads::ShardReads;
use crate::slot_files::SlotFiles;
use crate::slots::{self, SlotPreparer};
use crate::views::Views;

const EVENTS_PER_TURN: usize = 256;

/// The types of a shard that runs on threads.
#[derive(Debug)]
pub(crate) struct Threaded;

impl Host for Threaded {
    type Memory = Views;
    type OpenReply = Reply<Vec<Result<Arc<Published>, OpenError>>>;
    type AppendReply = Reply<Vec<Result<Appended, AppendError>>>;
    type TrimReply = Reply<Result<Offset, TrimError>>;
    type DeleteReply = Reply<Vec<Result<(), DeleteError>>>;
    type CutReply = Reply<Result<Offset, CutError>>;
    type DoneReply = Reply<()>;
}

/// What reaches a shard from other threads.
pub(crate) struct Inboxes {
    pub requests: mpsc::Receiver<Request>,
    pub events: mpsc::Receiver<Event>,
}

/// The threads and queues around a shard.
pub(crate) struct Surroundings {
    pub events: EventSender,
    pub reads: ReadPool,
    pub slots: SlotPreparer,
    pub directory: Arc<Directory>,
    pub gauges: Arc<ShardGauges>,
    pub metrics: Metrics,
}

/// A commit that is being executed.
struct UnderWay {
    number: CommitNumber,
    bytes: usize,
    started: Instant,
    /// Until it ends, readers take turns.
    _turn: Option<CommitTurn>,
}

pub(crate) struct ShardDriver {
    pub(crate) number: usize,
    pub(crate) folder: WalFolder,
    pub(crate) io: DirectIo,
    pub(crate) around: Surroundings,
    pub(crate) machine: Shard<Threaded>,
    pub(crate) files: SlotFiles,
    /// The same files, for readers.
    pub(crate) reads: Arc<ShardReads>,
    /// How fast slots are prepared: their thread looks at it.
    pub(crate) urgency: Arc<AtomicU8>,
    /// Whether a commit ends with a sync.
    pub(crate) is_synced: bool,
    pub(crate) clock: Clock,
    under_way: Vec<UnderWay>,
    has_ended: bool,
    /// The last field, and so dropped after the folder's lock: whoever finds the inbox closed may start again at once.
    pub(crate) inboxes: Inboxes,
}

impl Drop for ShardDriver {
    /// A panic must not look like a slow disk: what waits for this shard is ended, and the status says why.
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        self.around.gauges.poison("the shard's thread has panicked");
        self.machine.memory_mut().end();
        self.report();
    }
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub number: usize,
    pub folder: WalFolder,
    pub io: DirectIo,
    pub around: Surroundings,
    pub machine: Shard<Threaded>,
    pub files: SlotFiles,
    pub reads: Arc<ShardReads>,
    pub is_synced: bool,
    pub clock: Clock,
    pub inboxes: Inboxes,
}

impl ShardDriver {
    /// Shows the partitions that recovery found.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { number, folder, io, around, machine, files, reads, is_synced, clock, inboxes } = parts;
        let urgency = Arc::new(AtomicU8::new(slots::PACED));
        let (under_way, has_ended) = (Vec::new(), false);
        let mut driver = Self {
            number,
            folder,
            io,
            around,
            machine,
            files,
            reads,
            urgency,
            is_synced,
            clock,
            under_way,
            has_ended,
            inboxes,
        };
        driver.execute_all();
        driver
    }

    /// Before the first turn.
    pub(crate) fn begin(&mut self) {
        self.machine.begin(self.clock.now());
        self.execute_all();
        self.report();
    }

    pub(crate) fn turn(&mut self) {
        let now = self.clock.now();
        // By the clock and not by timers: those fire only when the thread waits, which it may never do under load.
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

    /// What was staged is counted at once: its commit may take long, or fail.
    fn count_appended(&mut self) {
        let appended = self.machine.take_appended();
        if appended.batches > 0 {
            self.around.metrics.appended_batches.inc_by(appended.batches);
            self.around.metrics.appended_bytes.inc_by(appended.bytes);
        }
    }

    /// When the clock asks for the next turn.
    pub(crate) fn turn_due(&self) -> Instant {
        self.clock.point(self.machine.poll_timeout())
    }

    fn take_requests(&mut self) {
        while self.machine.takes_requests() {
            match self.inboxes.requests.try_recv() {
                Ok(request) => self.queue(request),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.on_handles_gone(),
            }
        }
    }

    pub(crate) fn on_handles_gone(&mut self) {
        self.machine.on_handles_gone();
        self.execute_all();
    }

    /// Hands a request over. It is staged in the next turn.
    pub(crate) fn queue(&mut self, request: Request) {
        match request {
            Request::Open { partitions, reply } => self.machine.handle_open(partitions, reply),
            Request::Configure { id, config, reply } => self.machine.handle_configure(id, config, reply),
            Request::Append { appends, reply } => self.machine.handle_append(appends, reply),
            Request::Trim { id, to, reply } => self.machine.handle_trim(id, to, reply),
            Request::Delete { ids, reply } => self.machine.handle_delete(ids, reply),
            Request::Shutdown { reply } => self.machine.handle_close(reply),
        }
    }

    /// Starts a commit of everything that has gathered, unless nothing has, or no other is to be in flight now. Whoever executes it says so
    /// to [`Self::on_committed`].
    pub(crate) fn start_commit(&mut self) -> Option<DiskWork> {
        let CommitSteps { number, steps, bytes, holds_frames } = self.machine.poll_commit(self.clock.now())?;
        // What only proves that the log is idle is in nobody's way.
        let turn = holds_frames.then(|| self.around.reads.turns().begin_commit(bytes));
        self.under_way.push(UnderWay { number, bytes, started: Instant::now(), _turn: turn });
        Some(DiskWork { number, steps, files: self.files.clone() })
    }

    /// Stages what has come while a commit was handed over: the next one gathers.
    pub(crate) fn stage_next(&mut self) {
        self.machine.stage_backlog(self.clock.now());
        self.execute_all();
        self.count_appended();
    }

    pub(crate) fn on_committed(&mut self, number: CommitNumber, result: Result<(), DiskError>) {
        let at = self.under_way.iter().position(|commit| commit.number == number);
        let commit = self.under_way.swap_remove(at.expect("a commit ends only while it is under way"));
        if result.is_ok() {
            let metrics = &self.around.metrics;
            metrics.commits.inc();
            metrics.committed_bytes.inc_by(commit.bytes as u64);
            metrics.commit_seconds.observe(commit.started.elapsed().as_secs_f64());
        }
        let now = self.clock.now();
        self.machine.on_committed(now, number, result.map_err(|error| error.to_string()));
        self.execute_all();
        self.report();
    }

    /// What another thread has to tell.
    pub(crate) fn on_event(&mut self, event: Event) {
        self.tell(self.clock.now(), event);
        self.execute_all();
        self.report();
    }

    fn tell(&mut self, now: Now, event: Event) {
        match event {
            Event::SlotReserved { slot, file } => {
                // First: the machine may ask at once for what needs the file.
                self.files.insert(slot, file);
                self.reads.set_files(self.files.clone());
                self.machine.on_slot_reserved(now, slot);
            }
            Event::SlotFilled { slot } => self.machine.on_slot_filled(now, slot),
            Event::SlotFailed { slot } => {
                self.lose_file(slot);
                self.machine.on_slot_failed(now, slot);
            }
            Event::PreparerPanicked => self.machine.on_preparation_lost(),
            Event::MoveRead { number, batches } => self.machine.on_moved(now, number, batches),
            Event::LogRebuilt { number, log } => self.machine.on_rebuilt(number, log.map(|log| *log)),
            Event::RepairForgotten(forgotten) => {
                self.machine.on_repair_forgotten(forgotten.map_err(|error| error.to_string()));
            }
            Event::SyncFailed { reason } => self.machine.on_sync_failed(&reason),
            Event::TailBudgetSet => self.machine.on_memory_budget_set(),
        }
    }

    /// The file of a slot may be gone.
    pub(crate) fn lose_file(&mut self, slot: SlotId) {
        self.files.remove(slot);
        self.reads.set_files(self.files.clone());
    }

    /// After the last turn: what still waits is dropped, which tells it that the shard has stopped.
    pub(crate) fn end(mut self) {
        self.has_ended = true;
        self.machine.memory_mut().end();
        let closing = self.machine.take_closing();
        // With the folder's lock: whoever is answered may start again at once, too.
        drop(self);
        for reply in closing {
            // Whoever asked for the shutdown may have stopped waiting.
            let _ = reply.send(());
        }
    }

    pub(crate) fn report(&self) {
        let gauges = &self.around.gauges;
        let table = self.machine.table();
        let segment = u64::from(table.shape().length());
        let used = table.segment_count() as u64 * segment;
        gauges.wal_bytes.store(self.files.len() as u64 * segment, Ordering::Relaxed);
        gauges.wal_used_bytes.store(used, Ordering::Relaxed);
        gauges.partitions.store(self.machine.partition_count() as u64, Ordering::Relaxed);
        gauges.full.store(table.is_full(), Ordering::Relaxed);
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        self.around.metrics.set_status(number, &gauges.status());
    }
}

#[cfg(test)]
mod tests;
