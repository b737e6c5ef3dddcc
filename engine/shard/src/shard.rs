//! One shard: the logs of its partitions and their WAL, owned by one thread at a time. Each turn takes a bounded share of each inbox and
//! lays what is asked for into the gathering commit. One commit is in flight: written, synced, published, answered. The next one gathers
//! meanwhile.
//!
//! ```text
//! inboxes -> backlog -> lay (cores decide) -> gathering --commit--> in flight --synced--> publish, answer, free, evict
//! ```
//! Decisions are the cores': this file executes them, in order. It never waits: `shard_thread` does, for news and for the disk.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustmq_engine_api::chunk::ChunkError;
use rustmq_engine_api::request::{Reply, Request};
use rustmq_engine_core::wal::segments::Purpose;
use rustmq_engine_core::wal::{Control, SlotId};
use rustmq_model::TopicIdPartition;

use crate::answer::Answer;
use crate::append::PartialAppend;
use crate::disk::{CommitTurn, DiskError, SlotFile, Step};
use crate::event::{Event, EventSender};
use crate::folder::{FolderError, WalFolder};
use crate::inboxes::Inboxes;
use crate::metrics::Metrics;
use crate::partition::{CHECKPOINTS_PART, Partition};
use crate::reads::ReadPool;
use crate::relocation::{Looks, MOVE_PAUSE, Moving};
use crate::slots::{Preparation, SlotDemand, SlotJob, SlotPreparer};
use crate::wal_writer::{Commit, NoRoom, Room, WalWriter};

/// Something to do, and what is left of it when there was no room for all of it.
#[derive(Debug)]
pub(crate) enum Job {
    Request(Request),
    Append(PartialAppend),
}

/// The shard cannot go on with this job until a segment is ready, or the next commit starts.
pub(crate) struct Stalled(pub Job);

struct InFlight {
    number: u64,
    batches: Vec<crate::wal_writer::LaidBatch>,
    end: rustmq_engine_core::wal::WalPosition,
    bytes: usize,
    holds_frames: bool,
    answers: Vec<Answer>,
    started: Instant,
    /// Until it ends, readers take turns.
    _turn: Option<CommitTurn>,
}

/// How a shard works, apart from what it holds.
#[derive(Clone, Debug)]
pub(crate) struct ShardTuning {
    pub idle_proof_after: Duration,
    pub retention_interval: Duration,
    pub quick_commit: Duration,
    /// What may gather for one commit, and one frame more: then the shard lays nothing before the next one.
    pub gathered_bytes_max: usize,
    pub io: crate::dio::DirectIo,
}

/// The threads and queues around a shard.
pub(crate) struct Surroundings {
    pub events: EventSender,
    pub reads: ReadPool,
    pub slots: SlotPreparer,
    pub directory: Arc<rustmq_engine_api::Directory>,
    pub gauges: Arc<rustmq_engine_api::status::ShardGauges>,
    pub metrics: Metrics,
}

/// What a shard alone touches.
pub(crate) struct Holdings {
    pub wal: WalWriter,
    pub partitions: HashMap<TopicIdPartition, Partition>,
}

pub(crate) struct Shard {
    pub(crate) number: usize,
    pub(crate) folder: WalFolder,
    pub(crate) tuning: ShardTuning,
    pub(crate) around: Surroundings,
    pub(crate) wal: WalWriter,
    pub(crate) partitions: HashMap<TopicIdPartition, Partition>,
    backlog: VecDeque<Job>,
    gathered_answers: Vec<Answer>,
    in_flight: Option<InFlight>,
    /// Nothing after the newest group says that it is durable.
    unproven: bool,
    /// Slots that the preparation thread has. A shard ends only without any: the thread writes to them.
    preparing: usize,
    slot_demand: SlotDemand,
    pub(crate) poisoned: Option<String>,
    /// What is being read back to be moved.
    pub(crate) moving: Option<Moving>,
    /// Commits started so far: the number of the newest.
    commits_started: u64,
    /// Partitions that retention has yet to look at in this interval.
    pub(crate) retention_due: Vec<TopicIdPartition>,
    /// When freeing the oldest segment may be possible or worth it.
    pub(crate) looks: Looks,
    /// When the shard has been idle for long enough to prove what it wrote last.
    idle_at: Instant,
    retention_at: Instant,
    closing: Option<Option<Reply<()>>>,
    settling: Option<Settling>,
    head: Option<Head>,
    ended: bool,
    /// The last field, and so dropped after the folder's lock: whoever finds the inbox closed may start again at once.
    pub(crate) inboxes: Inboxes,
}

impl Drop for Shard {
    /// A panic must not look like a slow disk: what waits for this shard is ended, and the status says why.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.around.gauges.poison("the shard's thread has panicked");
        for partition in self.partitions.values() {
            partition.published.publish(|state| state.closed = true);
        }
        self.report();
    }
}

/// The checkpoints that the newest segment begins with, as long as some are left to lay.
struct Head {
    /// Bytes that they may still take.
    room: usize,
    /// The last one that was looked at: they go in order.
    last: Option<TopicIdPartition>,
}

/// What is left to do after a repair: a checkpoint of every partition, so that no later start replays over a hole.
enum Settling {
    /// These have none yet.
    Checkpoints(Vec<TopicIdPartition>),
    /// On disk once this commit is.
    Laid { commit: u64 },
    /// They are on disk, and another thread notes that in the folder. The shard ends only when it has.
    Forgetting,
}

impl Shard {
    pub(crate) fn new(
        number: usize,
        folder: WalFolder,
        tuning: ShardTuning,
        around: Surroundings,
        holdings: Holdings,
        inboxes: Inboxes,
    ) -> Self {
        let Holdings { wal, partitions } = holdings;
        let now = Instant::now();
        Self {
            number,
            folder,
            idle_at: now + tuning.idle_proof_after,
            retention_at: now + tuning.retention_interval,
            tuning,
            around,
            wal,
            partitions,
            inboxes,
            backlog: VecDeque::new(),
            gathered_answers: Vec::new(),
            in_flight: None,
            unproven: true,
            preparing: 0,
            slot_demand: SlotDemand::new(),
            poisoned: None,
            moving: None,
            commits_started: 0,
            retention_due: Vec::new(),
            looks: Looks::default(),
            closing: None,
            settling: None,
            head: None,
            ended: false,
        }
    }

    /// The WAL was repaired: every partition gets a checkpoint, and then the repair is forgotten.
    pub(crate) fn settle_repair(&mut self) {
        self.settling = Some(Settling::Checkpoints(self.partitions.keys().copied().collect()));
    }

    /// Before the first turn.
    pub(crate) fn begin(&mut self) {
        // Segments that were freed, and not started again before the restart, first: their slots are there to go on in.
        self.free_segments();
        // Of a full log, what is to be moved: after the group that puts the run on disk, which goes alone.
        self.relocate_after_laid();
        if self.wal.is_empty() {
            self.relocate();
        }
        self.report();
    }

    /// One turn: what the clock asks for, and of each inbox a bounded share, so that none holds up the others however full it is. Never
    /// waits, neither for the disk nor for anything else.
    pub(crate) fn turn(&mut self, now: Instant) {
        // By the clock and not by timers: those fire only when the thread waits, which it may never do under load.
        if now >= self.retention_at {
            self.retention_at = now + self.enforce_retention();
        }
        if self.is_idle() && now >= self.idle_at {
            self.on_idle();
        }
        if self.looks.take_due_at(now) {
            self.relocate();
        }
        self.take_events();
        self.take_disk_reads();
        self.take_time_searches();
        self.take_requests();
        self.prepare_slots();
        self.lay_settling_checkpoints();
        if let Err(error) = self.lay_head_checkpoints() {
            // They are due again at the next segment.
            tracing::warn!(shard = self.number, %error, "no memory for checkpoints");
        }
        self.lay_backlog();
    }

    /// When the clock asks for the next turn.
    pub(crate) fn turn_due(&self) -> Instant {
        let due = if self.is_idle() { self.idle_at.min(self.retention_at) } else { self.retention_at };
        self.looks.due_at().map_or(due, |look| due.min(look))
    }

    /// Nothing is under way, and nothing proves the newest group yet.
    fn is_idle(&self) -> bool {
        self.unproven && self.in_flight.is_none() && self.wal.is_empty() && self.poisoned.is_none()
    }

    /// After the last turn: what still waits is dropped, which tells it that the shard has stopped.
    pub(crate) fn end(mut self) {
        self.ended = true;
        for partition in self.partitions.values() {
            partition.published.publish(|state| state.closed = true);
        }
        let closing = self.closing.take();
        // With the folder's lock: whoever is answered may start again at once, too.
        drop(self);
        if let Some(Some(reply)) = closing {
            // Whoever asked for the shutdown may have stopped waiting.
            let _ = reply.send(());
        }
    }

    /// Plans the group that puts this run on disk, for the first commit.
    pub(crate) fn prove_run(&mut self) -> Result<(), ChunkError> {
        self.unproven = false;
        self.wal.put_proof()
    }

    pub(crate) fn is_finished(&self) -> bool {
        let quiet = self.in_flight.is_none() && self.wal.is_empty() && self.backlog.is_empty();
        let alone = self.preparing == 0 && !matches!(self.settling, Some(Settling::Forgetting));
        self.closing.is_some() && quiet && alone
    }

    /// Whether requests are taken: those taken before come first.
    pub(crate) fn takes_requests(&self) -> bool {
        self.backlog.is_empty() && self.closing.is_none()
    }

    pub(crate) const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(crate) fn backlog_length(&self) -> usize {
        self.backlog.len()
    }

    pub(crate) fn queue(&mut self, request: Request) {
        self.backlog.push_back(Job::Request(request));
    }

    /// Lays what waits, as far as there is room.
    pub(crate) fn lay_backlog(&mut self) {
        while let Some(job) = self.backlog.pop_front() {
            if self.is_gathered_full() {
                self.backlog.push_front(job);
                return;
            }
            let result = match job {
                Job::Append(append) => self.append(append),
                Job::Request(Request::Append { appends, reply }) => self.append(PartialAppend::new(appends, reply)),
                Job::Request(request) => self.handle(request),
            };
            if let Err(Stalled(job)) = result {
                self.backlog.push_front(job);
                return;
            }
        }
    }

    fn handle(&mut self, request: Request) -> Result<(), Stalled> {
        match request {
            Request::Open { partitions, reply } => return self.open(partitions, reply),
            Request::Configure { id, config, reply } => self.configure(id, config, reply),
            Request::Append { appends, reply } => return self.append(PartialAppend::new(appends, reply)),
            Request::Trim { id, to, reply } => return self.trim(id, to, reply),
            Request::Delete { ids, reply } => return self.delete(ids, reply),
            Request::Shutdown { reply } => self.close(Some(reply)),
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, reply: Option<Reply<()>>) {
        // A second request to end is answered, by dropping it, when the shard has ended.
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(reply);
        self.on_idle();
    }

    /// Starts a commit of everything that has gathered, unless one is in flight or nothing has. Whoever executes the steps says so to
    /// [`Self::on_committed`].
    pub(crate) fn start_commit(&mut self) -> Option<Vec<Step>> {
        if self.in_flight.is_some() || self.poisoned.is_some() {
            return None;
        }
        // An end that comes while a commit was in flight still proves it.
        if self.closing.is_some() && self.unproven && self.wal.is_empty() {
            self.on_idle();
        }
        let Commit { steps, batches, end, bytes, holds_frames } = self.wal.take_commit()?;
        let answers = std::mem::take(&mut self.gathered_answers);
        self.commits_started += 1;
        let number = self.commits_started;
        let started = Instant::now();
        // What only proves that the log is idle is in nobody's way.
        let turn = holds_frames.then(|| self.around.reads.turns().begin_commit(bytes));
        self.in_flight = Some(InFlight { number, batches, end, bytes, holds_frames, answers, started, _turn: turn });
        Some(steps)
    }

    pub(crate) fn on_committed(&mut self, result: Result<(), DiskError>) {
        let commit = self.in_flight.take().expect("a commit ends only while one is in flight");
        if let Err(error) = result {
            self.poison(&error.to_string());
            commit.answers.into_iter().for_each(|answer| self.refuse(answer));
            return;
        }
        let metrics = &self.around.metrics;
        metrics.commits.inc();
        metrics.committed_bytes.inc_by(commit.bytes as u64);
        metrics.commit_seconds.observe(commit.started.elapsed().as_secs_f64());
        self.wal.on_committed(commit.end);
        if commit.holds_frames {
            self.unproven = true;
            self.idle_at = Instant::now() + self.tuning.idle_proof_after;
        }
        self.publish(commit.batches);
        for answer in commit.answers {
            self.complete(answer);
        }
        self.free_segments();
        self.wal.tail.make_room(0);
        self.on_settled(commit.number);
        if self.looks.take_due(commit.number) {
            self.relocate();
        }
        self.report();
    }

    /// Makes durable batches readable. They come in the order of the log; partitions are independent of each other.
    fn publish(&mut self, mut batches: Vec<crate::wal_writer::LaidBatch>) {
        batches.sort_by_key(|laid| laid.id);
        let mut rest = batches.into_iter().peekable();
        while let Some(first) = rest.next() {
            let id = first.id;
            let mut run = vec![first];
            while let Some(next) = rest.next_if(|next| next.id == id) {
                run.push(next);
            }
            // A partition that was deleted meanwhile has no readers.
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            for last in run.chunk_by(|one, next| one.chunk == next.chunk).filter_map(<[_]>::last) {
                self.wal.tail.note(last.chunk, &partition.published, last.batch.base);
            }
            partition.publish(run.into_iter().map(|laid| laid.batch).collect());
        }
    }

    /// Partitions were closed: what of theirs is on its way to the disk, or back from it, concerns nobody any more.
    pub(crate) fn forget_laid(&mut self, gone: &HashSet<TopicIdPartition>) {
        self.wal.forget_laid(gone);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.batches.retain(|laid| !gone.contains(&laid.id));
        }
        self.moving.take_if(|moving| gone.contains(&moving.batches.partition));
    }

    fn free_segments(&mut self) -> bool {
        let mut freed = false;
        while self.wal.table.poll_free().is_some() {
            self.around.metrics.freed_segments.inc();
            freed = true;
        }
        freed
    }

    /// Nothing more is acknowledged from here on; what is published can still be read.
    fn poison(&mut self, reason: &str) {
        tracing::error!(shard = self.number, reason, "the write-ahead log failed: nothing more is acknowledged");
        self.poisoned = Some(reason.to_owned());
        self.around.gauges.poison(reason);
        let gathered = std::mem::take(&mut self.gathered_answers);
        gathered.into_iter().for_each(|answer| self.refuse(answer));
        // What has gathered is never written, and nothing more gathers: a later commit would count as durable what this drops.
        let _ = self.wal.take_commit();
        self.head = None;
        self.report();
    }

    fn lay_settling_checkpoints(&mut self) {
        let Some(Settling::Checkpoints(waiting)) = &mut self.settling else { return };
        // The group that puts the run on disk goes alone. Where there is none, the next segment's header does it.
        let committed = self.commits_started > u64::from(self.in_flight.is_some());
        let unplanned = self.commits_started == 0 && self.wal.is_empty();
        if self.poisoned.is_some() || !(committed || unplanned) {
            return;
        }
        let mut waiting = std::mem::take(waiting);
        while let Some(id) = waiting.last().copied() {
            if let Some(partition) = self.partitions.get(&id) {
                let checkpoint = partition.checkpoint();
                let fits = checkpoint.len() <= self.wal.table.shape().payload_max() as usize;
                if !fits || self.room(checkpoint.len(), Purpose::Cleaning).is_err() {
                    break;
                }
                self.wal.put_checkpoint(id, &checkpoint);
            }
            waiting.pop();
        }
        // What found no room is tried again when the shard is woken next.
        let all = waiting.is_empty();
        let commit = self.commits_started + 1;
        self.settling = Some(if all { Settling::Laid { commit } } else { Settling::Checkpoints(waiting) });
    }

    fn on_settled(&mut self, committed: u64) {
        let laid = |settling: &mut Settling| matches!(settling, Settling::Laid { commit } if *commit <= committed);
        if self.settling.take_if(laid).is_none() {
            return;
        }
        // On a thread of its own: it writes and syncs a file, which may take long.
        let (folder, done) = (self.folder.clone(), self.around.events.clone());
        // Where commits sync nothing, all files are synced before the mark goes.
        let unsynced: Vec<_> =
            if self.wal.syncs() { Vec::new() } else { self.wal.files.values().map(Arc::clone).collect() };
        let forget = move || {
            let news = match unsynced.iter().try_for_each(|file| file.sync().map_err(|error| (&file.path, error))) {
                Ok(()) => Event::RepairForgotten(folder.unmark_repaired()),
                Err((path, error)) => Event::SyncFailed { reason: format!("cannot sync {}: {error}", path.display()) },
            };
            // Files and lock before the news: a shard that ends gives them back with it.
            drop((unsynced, folder));
            done.send(news);
        };
        match std::thread::Builder::new().name(format!("rustmq-settle-{}", self.number)).spawn(forget) {
            Ok(_) => self.settling = Some(Settling::Forgetting),
            Err(error) => tracing::warn!(shard = self.number, %error, "the repair cannot be forgotten"),
        }
    }

    fn on_repair_forgotten(&mut self, forgotten: Result<(), FolderError>) {
        self.settling = None;
        match forgotten {
            Ok(()) => {
                tracing::info!(shard = self.number, "every partition has a checkpoint behind the repaired damage");
            }
            // The next start does it all again.
            Err(error) => tracing::warn!(shard = self.number, %error, "the repair cannot be forgotten"),
        }
    }

    fn on_idle(&mut self) {
        self.unproven = false;
        if self.poisoned.is_none()
            && self.wal.table.admits_proof()
            && let Err(error) = self.wal.put_proof()
        {
            tracing::warn!(shard = self.number, %error, "no memory to prove the last group");
        }
    }

    pub(crate) fn on_event(&mut self, event: Event) {
        match event {
            Event::SlotReserved { slot, file } => {
                self.preparing -= 1;
                self.wal.files.insert(slot, file);
                self.wal.table.on_slot_reserved(slot);
                // What was to be moved may have waited for it.
                self.relocate();
            }
            Event::SlotFilled { slot } => {
                self.preparing -= 1;
                self.wal.table.on_slot_filled(slot);
                self.relocate();
            }
            Event::SlotFailed { slot } => {
                self.preparing -= 1;
                self.wal.files.remove(&slot);
                self.wal.table.on_slot_failed(slot);
                // On a full disk more is worth moving.
                self.relocate();
            }
            Event::PreparerPanicked => {
                // With all that it was given: there will be no segment after those that are ready.
                self.preparing = 0;
                self.poison("the thread that prepares segments has panicked");
            }
            Event::Released => {
                for (generation, count) in self.around.events.take_released() {
                    (0..count).for_each(|_| self.wal.table.release(generation));
                }
                // The gauges are written only where they change: reads end by the thousand.
                if !self.free_segments() {
                    return;
                }
                self.relocate();
            }
            Event::MoveRead { partition, generation, batches } => self.on_move_read(partition, generation, batches),
            Event::RepairForgotten(forgotten) => self.on_repair_forgotten(forgotten),
            Event::SyncFailed { reason } => {
                self.settling = None;
                self.poison(&reason);
            }
            Event::TailBudgetSet => self.wal.tail.make_room(0),
        }
        self.report();
    }

    fn prepare_slots(&mut self) {
        let ending = self.closing.is_some() && self.backlog.is_empty();
        self.slot_demand.tell(self.wal.table.is_slot_ready(), ending);
        if ending || self.poisoned.is_some() {
            return;
        }
        while let Some(slot) = self.wal.table.poll_reserve() {
            if !self.prepare_slot(slot, Preparation::Reserved) {
                return;
            }
        }
        let Some(over) = self.slot_demand.filled_over() else { return };
        while let Some(slot) = self.wal.table.poll_fill() {
            if !self.prepare_slot(slot, Preparation::Filled { over }) {
                return;
            }
        }
    }

    /// Whether the thread has taken the job.
    fn prepare_slot(&mut self, slot: SlotId, preparation: Preparation) -> bool {
        let job = SlotJob {
            slot,
            path: self.folder.slot_path(slot),
            length: u64::from(self.wal.table.shape().length()),
            io: self.tuning.io,
            preparation,
            urgency: self.slot_demand.urgency(),
            done: self.around.events.clone(),
        };
        let is_taken = self.around.slots.submit(job);
        if is_taken {
            self.preparing += 1;
        } else {
            self.wal.files.remove(&slot);
            self.wal.table.on_slot_failed(slot);
        }
        is_taken
    }

    fn is_gathered_full(&self) -> bool {
        self.wal.gathered_bytes() >= self.tuning.gathered_bytes_max
    }

    /// Makes room for a frame, with the checkpoints that a new segment begins with. Trims and closes, of a few bytes each, find it also when the
    /// gathering commit is full, so that a request to delete many partitions is not left half done.
    pub(crate) fn room(&mut self, payload: usize, purpose: Purpose) -> Result<(), NoRoom> {
        loop {
            if purpose != Purpose::Freeing && self.is_gathered_full() {
                return Err(NoRoom::AwaitCommit);
            }
            match self.wal.room(payload, purpose) {
                Ok(Room::Here) => return Ok(()),
                Ok(Room::Rolled) => {
                    self.on_rolled();
                    self.lay_head_checkpoints()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn on_rolled(&mut self) {
        self.slot_demand.on_rolled();
        self.relocate_after_laid();
        let room = self.wal.table.shape().length() as usize / CHECKPOINTS_PART;
        self.head = Some(Head { room, last: None });
    }

    /// Looks at the oldest segment when everything that was laid so far is durable.
    pub(crate) fn relocate_after_laid(&mut self) {
        if self.wal.is_empty() && self.in_flight.is_none() {
            // There is no commit that it could wait for.
            self.looks.at(Instant::now() + MOVE_PAUSE);
        }
        self.looks.after(self.commits_started + u64::from(!self.wal.is_empty()));
    }

    /// Lays the checkpoints that the newest segment begins with, as far as this commit takes them; the rest comes with the next one.
    fn lay_head_checkpoints(&mut self) -> Result<(), ChunkError> {
        let Some(mut head) = self.head.take() else { return Ok(()) };
        while !self.is_gathered_full() {
            let Some(id) = self.wal.table.checkpoint_due_after(head.last) else { return Ok(()) };
            head.last = Some(id);
            let Some(partition) = self.partitions.get(&id) else { continue };
            if partition.log.checkpoint_length() > head.room {
                continue;
            }
            let checkpoint = partition.checkpoint();
            match self.wal.room(checkpoint.len(), Purpose::Cleaning) {
                Ok(Room::Here) => self.wal.put_checkpoint(id, &checkpoint),
                Ok(Room::Rolled) => {
                    self.on_rolled();
                    return self.lay_head_checkpoints();
                }
                Err(NoRoom::Memory(error)) => return Err(error),
                // They stay due.
                Err(NoRoom::AwaitSlot | NoRoom::AwaitCommit | NoRoom::Full) => return Ok(()),
            }
            head.room -= checkpoint.len();
        }
        self.head = Some(head);
        Ok(())
    }

    /// Lays a control frame.
    pub(crate) fn put_control(
        &mut self,
        id: TopicIdPartition,
        control: &Control,
        purpose: Purpose,
    ) -> Result<(), NoRoom> {
        self.room(control.payload_length(), purpose)?;
        self.wal.put_control(id, control);
        Ok(())
    }

    /// Answers once everything that was laid so far is durable: at once if it is.
    pub(crate) fn answer_when_durable(&mut self, answer: Answer) {
        if self.poisoned.is_some() {
            // Nothing waits any more, but what was laid before the failure never became durable.
            self.refuse(answer);
        } else if !self.wal.is_empty() {
            self.gathered_answers.push(answer);
        } else if let Some(in_flight) = &mut self.in_flight {
            in_flight.answers.push(answer);
        } else {
            self.complete(answer);
        }
    }

    /// The file and place of a segment in use.
    pub(crate) fn file_of(&self, slot: SlotId) -> Option<Arc<SlotFile>> {
        self.wal.files.get(&slot).map(Arc::clone)
    }

    fn report(&self) {
        let gauges = &self.around.gauges;
        let table = &self.wal.table;
        let segment = u64::from(table.shape().length());
        let used = table.segment_count() as u64 * segment;
        gauges.wal_bytes.store(self.wal.files.len() as u64 * segment, Ordering::Relaxed);
        gauges.wal_used_bytes.store(used, Ordering::Relaxed);
        gauges.partitions.store(self.partitions.len() as u64, Ordering::Relaxed);
        gauges.full.store(table.is_full(), Ordering::Relaxed);
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        self.around.metrics.set_status(number, &gauges.status());
    }
}

#[cfg(test)]
mod tests;
