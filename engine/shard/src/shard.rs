//! One shard: a thread that owns the logs of its partitions and their WAL. It drains its inbox, lays what is asked for into the gathering
//! commit, and has one commit in flight: written, synced, published, answered. The next one gathers meanwhile.
//!
//! ```text
//! inbox -> backlog -> lay (cores decide) -> gathering --commit--> in flight --synced--> publish, answer, free, evict
//! ```
//! Decisions are the cores': this file executes them, in order.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustmq_engine_api::chunk::ChunkError;
use rustmq_engine_api::request::{DiskRead, Reply, Request};
use rustmq_engine_core::wal::segments::Purpose;
use rustmq_engine_core::wal::{Control, Generation};
use rustmq_model::TopicIdPartition;
use tokio::sync::mpsc;

use crate::answer::Answer;
use crate::append::PartialAppend;
use crate::disk::{Disk, DiskError, SlotFile};
use crate::event::{Event, EventSender};
use crate::folder::WalFolder;
use crate::metrics::Metrics;
use crate::partition::{CHECKPOINTS_PART, Partition};
use crate::reads::ReadPool;
use crate::relocation::Looks;
use crate::slots::{Preparation, SlotDemand, SlotJob, SlotPreparer};
use crate::tail::TailMemory;
use crate::wal_writer::{Commit, NoRoom, Room, WalWriter};

/// What may gather for one commit before the shard stops laying until the next commit starts.
const GATHERED_BYTES_MAX: usize = 16 << 20;
/// Requests, and reads, to take from their queues at once.
const DRAINED_MAX: usize = 256;

/// Something to do, and what is left of it when there was no room for all of it.
#[derive(Debug)]
pub(crate) enum Job {
    Request(Request),
    Append(PartialAppend),
}

/// The shard cannot go on with this job until a segment is ready.
pub(crate) struct Stalled(pub Job);

struct InFlight {
    number: u64,
    done: Pin<Box<dyn Future<Output = Result<(), DiskError>>>>,
    batches: Vec<crate::wal_writer::LaidBatch>,
    end: rustmq_engine_core::wal::WalPosition,
    bytes: usize,
    holds_frames: bool,
    answers: Vec<Answer>,
    started: Instant,
}

/// What the shard was woken by.
enum Woken {
    Requests,
    DiskRead(DiskRead),
    Event(Event),
    Committed(Result<(), DiskError>),
    Idle,
    RetentionDue,
    /// Every handle is gone.
    Abandoned,
}

/// What reaches a shard from other threads.
pub(crate) struct Inboxes {
    pub requests: mpsc::Receiver<Request>,
    pub disk_reads: mpsc::Receiver<DiskRead>,
    pub events: mpsc::Receiver<Event>,
}

/// How a shard works, apart from what it holds.
#[derive(Clone, Debug)]
pub(crate) struct ShardTuning {
    pub idle_proof_after: Duration,
    pub retention_interval: Duration,
    pub quick_commit: Duration,
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
    pub tail: TailMemory,
    pub partitions: HashMap<TopicIdPartition, Partition>,
    pub disk: Disk,
}

pub(crate) struct Shard {
    pub(crate) number: usize,
    pub(crate) folder: WalFolder,
    pub(crate) tuning: ShardTuning,
    pub(crate) around: Surroundings,
    pub(crate) wal: WalWriter,
    pub(crate) tail: TailMemory,
    pub(crate) partitions: HashMap<TopicIdPartition, Partition>,
    pub(crate) disk: Rc<Disk>,
    backlog: VecDeque<Job>,
    gathered_answers: Vec<Answer>,
    in_flight: Option<InFlight>,
    /// Nothing after the newest group says that it is durable.
    unproven: bool,
    /// The last preparation of a slot failed: who waits for one is refused.
    pub(crate) slot_failing: bool,
    /// Slots that the preparation thread has. A shard ends only without any: the thread writes to them.
    preparing: usize,
    slot_demand: SlotDemand,
    pub(crate) poisoned: Option<String>,
    /// Whose batches are being read back to be moved, and from which segment.
    pub(crate) moving: Option<(TopicIdPartition, Generation)>,
    /// Commits started so far: the number of the newest.
    commits_started: u64,
    /// Partitions that retention has yet to look at in this interval.
    pub(crate) retention_due: Vec<TopicIdPartition>,
    /// When freeing the oldest segment may be possible or worth it.
    pub(crate) looks: Looks,
    /// When the shard has been idle for long enough to prove what it wrote last.
    idle_at: monoio::time::Instant,
    closing: Option<Option<Reply<()>>>,
    settling: Option<Settling>,
}

impl Drop for Shard {
    /// A panic must not look like a slow disk: what waits for this shard is ended, and the status says why.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let reason = "the shard's thread has panicked".to_owned();
        *self.around.gauges.poisoned.lock() = Some(reason);
        for partition in self.partitions.values() {
            partition.published.publish(|state| state.closed = true);
        }
        self.report();
    }
}

/// What is left to do after a repair: a checkpoint of every partition, so that no later start replays over a hole.
enum Settling {
    /// These have none yet.
    Checkpoints(Vec<TopicIdPartition>),
    /// On disk once this commit is.
    Laid { commit: u64 },
}

impl Shard {
    pub(crate) fn new(
        number: usize,
        folder: WalFolder,
        tuning: ShardTuning,
        around: Surroundings,
        holdings: Holdings,
    ) -> Self {
        let Holdings { wal, tail, partitions, disk } = holdings;
        Self {
            number,
            folder,
            idle_at: monoio::time::Instant::now() + tuning.idle_proof_after,
            tuning,
            around,
            wal,
            tail,
            partitions,
            disk: Rc::new(disk),
            backlog: VecDeque::new(),
            gathered_answers: Vec::new(),
            in_flight: None,
            unproven: true,
            slot_failing: false,
            preparing: 0,
            slot_demand: SlotDemand::new(),
            poisoned: None,
            moving: None,
            commits_started: 0,
            retention_due: Vec::new(),
            looks: Looks::default(),
            closing: None,
            settling: None,
        }
    }

    /// The WAL was repaired: every partition gets a checkpoint, and then the repair is forgotten.
    pub(crate) fn settle_repair(&mut self) {
        self.settling = Some(Settling::Checkpoints(self.partitions.keys().copied().collect()));
    }

    /// Runs until shutdown, or until every handle is gone.
    pub(crate) async fn run(mut self, mut inboxes: Inboxes) {
        let mut drained = Vec::with_capacity(DRAINED_MAX);
        let mut retention_at = monoio::time::Instant::now() + self.tuning.retention_interval;
        // Segments that were freed, and not started again before the restart, first: their slots are there to go on in.
        self.free_segments();
        // Of a full log, what is to be moved: after the group that puts the run on disk, which goes alone.
        self.relocate_after_laid();
        if self.wal.is_empty() {
            self.relocate();
        }
        self.report();
        loop {
            // By the clock: timers fire only when the thread waits, which it may never do under load.
            if monoio::time::Instant::now() >= retention_at {
                let pause = self.enforce_retention();
                retention_at = monoio::time::Instant::now() + pause;
            }
            self.take_disk_reads(&mut inboxes.disk_reads);
            self.prepare_slots();
            self.lay_settling_checkpoints();
            self.work();
            if self.start_commit() {
                // The next one gathers meanwhile.
                self.work();
            }
            if self.finished() {
                break;
            }
            match self.woken(&mut inboxes, &mut drained, retention_at).await {
                Woken::Requests => self.backlog.extend(drained.drain(..).map(Job::Request)),
                Woken::Event(event) => {
                    self.on_event(event);
                    while let Ok(event) = inboxes.events.try_recv() {
                        self.on_event(event);
                    }
                }
                Woken::DiskRead(read) => self.read(read),
                Woken::Committed(result) => self.on_committed(result),
                Woken::Idle => self.on_idle(),
                // The clock says so too, above.
                Woken::RetentionDue => {}
                Woken::Abandoned => self.close(None),
            }
        }
        inboxes.requests.close();
        inboxes.disk_reads.close();
        for partition in self.partitions.values() {
            partition.published.publish(|state| state.closed = true);
        }
        let closing = self.closing.take();
        // With the folder's lock: whoever is answered may start again at once.
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

    async fn woken(
        &mut self,
        inboxes: &mut Inboxes,
        drained: &mut Vec<Request>,
        retention_at: monoio::time::Instant,
    ) -> Woken {
        let takes_requests = self.backlog.is_empty() && self.closing.is_none();
        let idle = self.in_flight.is_none() && self.unproven && self.poisoned.is_none();
        let in_flight = self.in_flight.as_mut();
        let Inboxes { requests, disk_reads, events } = inboxes;
        tokio::select! {
            biased;
            result = async { (&mut in_flight.expect("asked only with one in flight").done).await }, if in_flight.is_some() => {
                Woken::Committed(result)
            }
            Some(event) = events.recv() => Woken::Event(event),
            // The clock before requests, which may never stop.
            () = monoio::time::sleep_until(self.idle_at), if idle => Woken::Idle,
            () = monoio::time::sleep_until(retention_at) => Woken::RetentionDue,
            count = requests.recv_many(drained, DRAINED_MAX), if takes_requests => {
                if count == 0 { Woken::Abandoned } else { Woken::Requests }
            }
            Some(read) = disk_reads.recv(), if self.closing.is_none() => Woken::DiskRead(read),
        }
    }

    fn finished(&self) -> bool {
        let quiet = self.in_flight.is_none() && self.wal.is_empty() && self.backlog.is_empty();
        self.closing.is_some() && quiet && self.preparing == 0
    }

    /// On every round, so that neither reads nor requests that come without end hold up the others.
    fn take_disk_reads(&mut self, disk_reads: &mut mpsc::Receiver<DiskRead>) {
        if self.closing.is_some() {
            return;
        }
        for read in std::iter::from_fn(|| disk_reads.try_recv().ok()).take(DRAINED_MAX) {
            self.read(read);
        }
    }

    /// Lays what waits, as far as there is room.
    fn work(&mut self) {
        while let Some(job) = self.backlog.pop_front() {
            if self.wal.gathered_bytes() >= GATHERED_BYTES_MAX {
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
            Request::SearchFrom { id, timestamp, reply } => self.search_from(id, timestamp, reply),
            Request::Shutdown { reply } => self.close(Some(reply)),
        }
        Ok(())
    }

    fn close(&mut self, reply: Option<Reply<()>>) {
        // A second request to end is answered, by dropping it, when the shard has ended.
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(reply);
        self.on_idle();
    }

    /// Starts a commit of everything that has gathered, unless one is in flight. Whether it did.
    fn start_commit(&mut self) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        // An end that comes while a commit was in flight still proves it.
        if self.closing.is_some() && self.unproven && self.wal.is_empty() {
            self.on_idle();
        }
        let Some(Commit { steps, batches, end, bytes, holds_frames }) = self.wal.take_commit() else { return false };
        let disk = Rc::clone(&self.disk);
        let done = Box::pin(async move { disk.execute(steps).await });
        let answers = std::mem::take(&mut self.gathered_answers);
        self.commits_started += 1;
        let number = self.commits_started;
        let started = Instant::now();
        self.in_flight = Some(InFlight { number, done, batches, end, bytes, holds_frames, answers, started });
        true
    }

    fn on_committed(&mut self, result: Result<(), DiskError>) {
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
            self.idle_at = monoio::time::Instant::now() + self.tuning.idle_proof_after;
        }
        self.publish(commit.batches);
        for answer in commit.answers {
            self.complete(answer);
        }
        self.free_segments();
        self.evict();
        self.on_settled(commit.number);
        if self.looks.take_due(commit.number) {
            self.relocate();
        }
        self.report();
    }

    /// Makes durable batches readable. They come in the order of the log; partitions are independent of each other.
    fn publish(&mut self, mut batches: Vec<crate::wal_writer::LaidBatch>) {
        for laid in &batches {
            self.tail.note(laid.chunk, laid.id, laid.batch.base);
        }
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
            partition.publish(run.into_iter().map(|laid| laid.batch).collect());
        }
    }

    /// Partitions were closed: what of theirs is on its way to the disk, or back from it, concerns nobody any more.
    pub(crate) fn forget_laid(&mut self, gone: &HashSet<TopicIdPartition>) {
        self.wal.forget_laid(gone);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.batches.retain(|laid| !gone.contains(&laid.id));
        }
        self.moving.take_if(|(id, _)| gone.contains(id));
    }

    fn free_segments(&mut self) -> bool {
        let mut freed = false;
        while self.wal.table.poll_free().is_some() {
            self.around.metrics.freed_segments.inc();
            freed = true;
        }
        freed
    }

    fn evict(&mut self) {
        while let Some(last) = self.tail.poll_evict() {
            for (id, base) in last {
                if let Some(partition) = self.partitions.get(&id) {
                    partition.published.change(|state| state.evict_through(base));
                }
            }
        }
    }

    /// Nothing more is acknowledged from here on; what is published can still be read.
    fn poison(&mut self, reason: &str) {
        tracing::error!(shard = self.number, reason, "the write-ahead log failed: nothing more is acknowledged");
        self.poisoned = Some(reason.to_owned());
        *self.around.gauges.poisoned.lock() = Some(reason.to_owned());
        let gathered = std::mem::take(&mut self.gathered_answers);
        gathered.into_iter().for_each(|answer| self.refuse(answer));
        // What has gathered is never written.
        let _ = self.wal.take_commit();
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
        match self.folder.unmark_repaired() {
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

    fn on_event(&mut self, event: Event) {
        match event {
            Event::SlotPrepared { slot, file } => {
                self.preparing -= 1;
                self.slot_failing = false;
                self.wal.files.insert(slot, file);
                self.wal.table.on_slot_prepared(slot);
                // What was to be moved may have waited for it.
                self.relocate();
            }
            Event::SlotFailed { slot } => {
                self.preparing -= 1;
                self.slot_failing = true;
                self.wal.table.on_slot_failed(slot);
            }
            Event::Released { generation } => {
                self.wal.table.release(generation);
                if self.free_segments() {
                    self.relocate();
                }
            }
            Event::MoveRead { partition, generation, batches } => self.on_move_read(partition, generation, batches),
        }
        self.report();
    }

    fn prepare_slots(&mut self) {
        let ending = self.closing.is_some() && self.backlog.is_empty();
        self.slot_demand.tell(self.wal.table.is_slot_ready(), ending);
        if ending || self.poisoned.is_some() {
            return;
        }
        // The first segment of a new WAL is waited for: it is only reserved.
        let waited_for = self.wal.files.is_empty();
        while let Some(slot) = self.wal.table.poll_prepare() {
            let first = waited_for && slot.0 == 0;
            let preparation = if first { Preparation::Reserved } else { self.slot_demand.preparation() };
            let job = SlotJob {
                slot,
                path: self.folder.slot_path(slot),
                length: u64::from(self.wal.table.shape().length()),
                io: self.tuning.io,
                preparation,
                urgency: self.slot_demand.urgency(),
                done: self.around.events.clone(),
            };
            if !self.around.slots.submit(job) {
                self.wal.table.on_slot_failed(slot);
                return;
            }
            self.preparing += 1;
        }
    }

    /// Makes room for a frame, with the checkpoints that a new segment begins with.
    pub(crate) fn room(&mut self, payload: usize, purpose: Purpose) -> Result<(), NoRoom> {
        loop {
            match self.wal.room(payload, purpose) {
                Ok(Room::Here) => return Ok(()),
                Ok(Room::Rolled) => {
                    self.slot_demand.on_rolled();
                    self.relocate_after_laid();
                    self.checkpoint_changed()?;
                }
                Err(NoRoom::AwaitSlot) if self.slot_failing => return Err(NoRoom::Full),
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks at the oldest segment when everything that was laid so far is durable.
    pub(crate) fn relocate_after_laid(&mut self) {
        self.looks.after(self.commits_started + u64::from(!self.wal.is_empty()));
    }

    fn checkpoint_changed(&mut self) -> Result<(), ChunkError> {
        let mut room = self.wal.table.shape().length() as usize / CHECKPOINTS_PART;
        for id in self.wal.table.checkpoints_due() {
            let Some(partition) = self.partitions.get(&id) else { continue };
            let checkpoint = partition.checkpoint();
            if checkpoint.len() > room {
                continue;
            }
            room -= checkpoint.len();
            match self.wal.room(checkpoint.len(), Purpose::Cleaning) {
                Ok(Room::Here) => self.wal.put_checkpoint(id, &checkpoint),
                Err(NoRoom::Memory(error)) => return Err(error),
                // They stay due.
                Ok(Room::Rolled) | Err(NoRoom::AwaitSlot | NoRoom::Full) => break,
            }
        }
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
    pub(crate) fn file_of(&self, slot: rustmq_engine_core::wal::SlotId) -> Option<Arc<SlotFile>> {
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
        gauges.full.store(table.is_full() || self.slot_failing, Ordering::Relaxed);
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        self.around.metrics.set_status(number, &gauges.status());
    }
}
