//! The oracle: derives the required and the allowed content of the logs from the clients' requests
//! and answers alone. It does not trust the machine's own reports. Panics if a promise is broken.
//!
//! ```text
//! asked --published--> placed (durable) --> answered        asked --refused--> gone for good
//!   |                    crash: it is there, in its order, with its bytes
//!   +--crash or poison: whole or not at all, and in the order in which it was asked
//! ```

mod cuts;
mod life;
mod proofs;
mod restart;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_core::log::{AbortedIndex, Frontiers};
use rustmq_engine_core::shard::error::{AppendError, DeleteError, OpenError, TrimError};
use rustmq_engine_core::shard::request::{Appended, CutTo, LogConfig, TrimTo};
use rustmq_engine_core::shard::{PartitionKey, SyncPolicy, TailBatch};
use rustmq_engine_core::wal::{SegmentTable, SlotId};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Instant, LeaderEpoch, Offset, Timestamp, TopicIdPartition};

use super::batches::{BatchId, Batches};
use super::host::RequestNumber;
use super::log_reader::{LogReader, Piece};
use super::reads::headers;
use super::start::WAL;
use crate::disk::Disk;
use cuts::RequestedCut;
pub use cuts::{CutEnd, ShownCut};
use life::{Life, Placed};
pub use proofs::Moment;
use proofs::{Loss, Proofs};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Append {
        batch: BatchId,
        wall: Timestamp,
        /// The only batch of its request: if it was refused, the client was told so.
        is_alone: bool,
    },
    Open,
    Delete,
    Trim(TrimTo),
}

/// A request without an answer, or with an error that does not tell its outcome.
#[derive(Clone, Copy, Debug)]
struct Pending {
    number: RequestNumber,
    asked: Asked,
    /// The offset of a batch that is already published.
    placed: Option<Offset>,
    /// The batch is answered, and readers will not see it: its log was cut back, or the partition
    /// is about to be deleted. A start may find the batch if that change is not durable.
    is_cut: bool,
}

/// One partition, across all lives of the node.
#[derive(Debug)]
struct Model {
    /// Lives of the partition, oldest first. At most one follows a life whose end is not durable.
    lives: Vec<Life>,
    /// Lives whose end was durable. Harm to the end of the log may bring one back.
    ended: Vec<Life>,
    /// In the order of the requests.
    pending: VecDeque<Pending>,
    /// Retention may move the log start.
    may_retain: bool,
    /// The least time after which a producer may be forgotten.
    expiry: Duration,
    /// The unanswered cut of the newest life.
    cut: Option<RequestedCut>,
    /// A cut that was requested while `cut` was unanswered: it replaces that cut, or is refused.
    rival: Option<RequestedCut>,
}

impl Model {
    const fn new() -> Self {
        Self {
            lives: Vec::new(),
            ended: Vec::new(),
            pending: VecDeque::new(),
            may_retain: false,
            expiry: Duration::MAX,
            cut: None,
            rival: None,
        }
    }

    fn take(&mut self, number: RequestNumber, is_it: impl Fn(&Asked) -> bool) -> Pending {
        let at = self.pending.iter().position(|pending| pending.number == number && is_it(&pending.asked));
        let at = at.unwrap_or_else(|| panic!("request {number} is answered once"));
        self.pending.remove(at).expect("it was found there")
    }
}

#[derive(Debug)]
pub struct Oracle {
    pub batches: Batches,
    pub proofs: Proofs,
    models: BTreeMap<TopicIdPartition, Model>,
    keys: BTreeMap<PartitionKey, TopicIdPartition>,
    /// Requests from this one on came after the log had failed: nothing of them may ever be found.
    poisoned_from: Option<RequestNumber>,
    /// Epochs in which another replica led.
    heard: BTreeSet<(TopicIdPartition, LeaderEpoch)>,
    /// Epochs in which a client has sent a batch.
    sent_in: BTreeSet<(TopicIdPartition, LeaderEpoch)>,
    /// The epoch of each view that readers were shown.
    epochs: BTreeMap<PartitionKey, LeaderEpoch>,
}

/// The harm that the disk has done. It excuses that harmed places cannot be read; [`Proofs`] says
/// which content may be lost along with them.
#[derive(Clone, Copy, Debug)]
pub struct Harms<'a> {
    pub disk: &'a Disk,
    /// When the newest segment of each slot was started.
    pub started: &'a BTreeMap<SlotId, Instant>,
}

impl Harms<'_> {
    /// Whether a sector of the slot was harmed since its segment was started.
    pub fn excuse(&self, slot: SlotId) -> bool {
        let since = self.started.get(&slot).copied().unwrap_or_default();
        self.disk.harms().iter().any(|harmed| harmed.slot == slot && harmed.at >= since)
    }
}

impl Oracle {
    pub fn new(syncs: SyncPolicy, proof_after: Duration) -> Self {
        Self {
            batches: Batches::default(),
            proofs: Proofs::new(syncs, proof_after),
            models: BTreeMap::new(),
            keys: BTreeMap::new(),
            poisoned_from: None,
            heard: BTreeSet::new(),
            sent_in: BTreeSet::new(),
            epochs: BTreeMap::new(),
        }
    }

    fn model(&mut self, id: TopicIdPartition) -> &mut Model {
        self.models.entry(id).or_insert_with(Model::new)
    }

    fn life(&mut self, key: PartitionKey) -> &mut Life {
        let id = self.keys.get(&key).expect("a view is created before it is used");
        let lives = &mut self.models.get_mut(id).expect("the view has a partition").lives;
        lives.iter_mut().find(|life| life.key == Some(key)).expect("a view is not used after it is closed")
    }

    /// The partition of a view.
    pub fn id(&self, key: PartitionKey) -> TopicIdPartition {
        self.keys[&key]
    }

    // Requests of clients.

    pub fn on_asked(&mut self, number: RequestNumber, id: TopicIdPartition, asked: Asked) {
        self.model(id).pending.push_back(Pending { number, asked, placed: None, is_cut: false });
    }

    pub fn on_configured(&mut self, id: TopicIdPartition, config: &LogConfig) {
        let model = self.model(id);
        model.may_retain |= config.retention_time.is_some() || config.retention_bytes.is_some();
        model.expiry = model.expiry.min(config.producer_expiry);
    }

    /// The log has failed. Requests from `next` on come after that.
    pub fn on_poison(&mut self, next: RequestNumber) {
        self.poisoned_from.get_or_insert(next);
    }

    // The readers' view.

    pub fn on_view(&mut self, key: PartitionKey, id: TopicIdPartition, frontiers: Frontiers) {
        self.keys.insert(key, id);
        self.epochs.remove(&key);
        let model = self.model(id);
        if let Some(life) = model.lives.iter_mut().find(|life| life.key.is_none()) {
            life.key = Some(key);
            assert_eq!(
                (life.start, life.end),
                (frontiers.log_start, frontiers.durable_end),
                "{id}: the view has the log's frontiers"
            );
        } else {
            assert_eq!(frontiers.durable_end, Offset::ZERO, "{id}: a new partition is empty");
            model.lives.push(Life::new(key));
        }
    }

    pub fn on_published(&mut self, key: PartitionKey, batch: &TailBatch, now: Timestamp) {
        let header = BatchHeader::parse(&batch.bytes).expect("only batches are published");
        let made = self.batches.identify(&header, &batch.bytes);
        let id = self.keys[&key];
        assert_eq!((header.base_offset, header.next_offset()), (batch.base, batch.next));
        let poisoned_from = self.poisoned_from;
        let model = self.model(id);
        let is_it = |pending: &&mut Pending| {
            let is_made = matches!(pending.asked, Asked::Append { batch, .. } if batch == made);
            is_made && pending.placed.is_none()
        };
        // A batch that was answered for a cut is still on its way while that cut is not made. A
        // copy without an answer comes first.
        let pending = model.pending.iter_mut().filter(is_it).min_by_key(|pending| pending.is_cut);
        let pending = pending.unwrap_or_else(|| panic!("{id}: no client asked for batch {}", made.0));
        pending.placed = Some(batch.base);
        let Asked::Append { wall, .. } = pending.asked else { unreachable!("it is an append") };
        assert!(poisoned_from.is_none_or(|from| pending.number < from), "{id}: a refused batch is published");
        let expiry = self.models[&id].expiry;
        let placed = Placed { batch: made, next: batch.next, wall, until: now, durable: self.proofs.ended() };
        self.life(key).append(placed, batch.base, expiry);
    }

    /// Checks the aborted transactions that readers see.
    pub fn check_aborted(&self, key: PartitionKey, found: &AbortedIndex) {
        let life = self.models[&self.keys[&key]].lives.iter().find(|life| life.key == Some(key));
        let life = life.expect("a view is not used after it is closed");
        life.check_aborted(found, &(life.start..life.committed), &self.batches);
    }

    /// Checks the frontiers that readers are shown after a publication.
    pub fn on_shown(&mut self, key: PartitionKey, frontiers: Frontiers) {
        let now = self.proofs.ended();
        let life = self.life(key);
        assert_eq!(frontiers.durable_end, life.end, "readers see published batches, and durable cuts");
        assert!(frontiers.log_start >= life.start, "a log start goes back: {frontiers:?}, from {}", life.start);
        assert!(frontiers.log_start <= frontiers.high_watermark && frontiers.high_watermark <= frontiers.durable_end);
        life.set_start(frontiers.log_start, now);
        life.committed = life.committed.max(frontiers.high_watermark);
    }

    pub fn on_view_closed(&mut self, key: PartitionKey) {
        self.life(key).is_closed = true;
    }

    pub fn on_damaged(&mut self, id: TopicIdPartition, first: Offset, end: Offset) {
        for life in &mut self.model(id).lives {
            life.damaged.push(first..end);
        }
    }

    // Answers to clients.

    pub fn on_appended(
        &mut self,
        number: RequestNumber,
        (id, batch): (TopicIdPartition, BatchId),
        result: &Result<Appended, AppendError>,
    ) {
        let poisoned_from = self.poisoned_from;
        let count = i64::from(self.batches.header(batch).last_offset_delta) + 1;
        // A repeated marker repeats another batch.
        let is_marker = self.batches.header(batch).attributes.is_control();
        let durable = self.proofs.ended();
        let model = self.model(id);
        let pending = model.take(number, |asked| matches!(asked, Asked::Append { batch: of, .. } if *of == batch));
        match result {
            Ok(Appended { base_offset, duplicate_of: None, .. }) => match pending.placed {
                Some(placed) => assert_eq!(
                    placed, *base_offset,
                    "{id}: a batch is acknowledged at another offset than it was published at"
                ),
                None => {
                    let is_closing = model.pending.iter().any(|pending| pending.asked == Asked::Delete);
                    assert!(is_closing, "{id}: batch {} is acknowledged before readers see it", batch.0);
                    // The view is closed, so nobody reads the batch; but if the deletion is lost,
                    // the batch is there.
                    let Asked::Append { wall, .. } = pending.asked else { unreachable!("it is an append") };
                    match model.lives.first_mut().filter(|life| life.end == *base_offset) {
                        Some(life) => {
                            let (next, until) = (base_offset.plus(count), Timestamp(i64::MAX));
                            let placed = Placed { batch, next, wall, until, durable };
                            life.append(placed, *base_offset, model.expiry);
                        }
                        // An earlier batch waits for the other replicas, and is not answered yet.
                        None => model.keep_pending(Pending { is_cut: true, ..pending }),
                    }
                }
            },
            Ok(Appended { base_offset, duplicate_of: Some(_), .. }) => {
                let is_there = |life: &Life| life.batches.get(base_offset).is_some_and(|placed| placed.batch == batch);
                let is_closing = model.pending.iter().any(|pending| pending.asked == Asked::Delete);
                let is_found = is_marker || model.lives.iter().any(is_there);
                assert!(is_found || is_closing, "{id}: batch {} is no duplicate of {base_offset}", batch.0);
            }
            Err(AppendError::Storage { .. }) if poisoned_from.is_some_and(|from| number < from) => {
                model.keep_pending(pending);
            }
            Err(AppendError::CutOff) => {
                // A published batch stays in the log until the cut is shown.
                if pending.placed.is_none() {
                    model.keep_pending(Pending { is_cut: true, ..pending });
                }
            }
            // The batch waited for the other replicas when its partition was closed.
            Err(AppendError::UnknownPartition) => {}
            Err(_) => assert_eq!(pending.placed, None, "{id}: batch {} is refused, but was published", batch.0),
        }
    }

    pub fn on_opened(&mut self, number: RequestNumber, id: TopicIdPartition, result: &Result<PartitionKey, OpenError>) {
        let poisoned_from = self.poisoned_from;
        let now = self.proofs.ended();
        let model = self.model(id);
        let pending = model.take(number, |asked| *asked == Asked::Open);
        match result {
            Ok(key) => {
                if let Some(life) = model.lives.iter_mut().find(|life| life.key == Some(*key) && !life.is_durable) {
                    (life.is_durable, life.opened) = (true, now);
                }
            }
            Err(OpenError::Storage { .. }) if poisoned_from.is_some_and(|from| number < from) => {
                model.keep_pending(pending);
            }
            Err(_) => {}
        }
    }

    pub fn on_deleted(&mut self, number: RequestNumber, id: TopicIdPartition, result: &Result<(), DeleteError>) {
        let poisoned_from = self.poisoned_from;
        let now = self.proofs.ended();
        let model = self.model(id);
        let pending = model.take(number, |asked| *asked == Asked::Delete);
        match result {
            Ok(()) => {
                let at = model.lives.iter().position(|life| life.is_closed);
                let life = model.lives.remove(at.expect("the view is closed before its deletion is answered"));
                model.ended.push(life.deleted_at(now));
            }
            Err(DeleteError::Storage { .. }) if poisoned_from.is_some_and(|from| number < from) => {
                model.keep_pending(pending);
            }
            Err(_) => {}
        }
    }

    pub fn on_trimmed(
        &mut self,
        number: RequestNumber,
        (id, to): (TopicIdPartition, TrimTo),
        result: &Result<Offset, TrimError>,
    ) {
        let poisoned_from = self.poisoned_from;
        let now = self.proofs.ended();
        let model = self.model(id);
        let pending = model.take(number, |asked| *asked == Asked::Trim(to));
        match result {
            Ok(log_start) => {
                let is_reset = model.cut.is_some_and(|cut| matches!(cut.to, CutTo::EmptyAt(_)));
                let is_shown = is_reset || model.lives.iter().any(|life| life.start >= *log_start);
                let is_closing = model.pending.iter().any(|pending| pending.asked == Asked::Delete);
                let is_closed = model.lives.iter().any(|life| life.is_closed);
                assert!(is_shown || is_closed || is_closing, "{id}: a trim is answered before readers see it");
                // Readers of a partition that is about to be deleted are shown no more changes. The
                // deletion may fail.
                let is_deleted_later = |later: &Pending| later.asked == Asked::Delete && later.number > number;
                if !is_shown
                    && model.pending.iter().any(is_deleted_later)
                    && let Some(life) = model.lives.first_mut()
                {
                    life.set_start(*log_start, now);
                }
            }
            Err(TrimError::Storage { .. }) if poisoned_from.is_some_and(|from| number < from) => {
                model.keep_pending(pending);
            }
            Err(_) => {}
        }
    }

    // Reads.

    /// Whether a damage mark covers the offset.
    pub fn is_marked(&mut self, key: PartitionKey, at: Offset) -> bool {
        self.life(key).is_marked(&(at..at.plus(1)))
    }

    /// How often the log of this view was reset. 0 for a view that is gone.
    pub fn resets(&self, key: PartitionKey) -> u32 {
        let lives = self.keys.get(&key).and_then(|id| self.models.get(id)).into_iter().flat_map(|model| &model.lives);
        lives.filter(|life| life.key == Some(key)).map(|life| life.resets).sum()
    }

    /// Whether the log start moves without a request.
    pub fn is_retained(&mut self, key: PartitionKey, log_start: Offset) -> bool {
        let id = self.keys[&key];
        let is_asked = self.models[&id].pending.iter().any(|pending| matches!(pending.asked, Asked::Trim(_)));
        !is_asked && self.life(key).start < log_start
    }

    /// Checks the batches that a reader was given from an offset on.
    pub fn on_read(&mut self, key: PartitionKey, from: Offset, batches: &[Bytes]) {
        let mut at = from;
        for (header, bytes) in headers(batches) {
            let made = self.batches.identify(&header, bytes);
            // A reader may keep the view for a while after it is closed.
            let Some(id) = self.keys.get(&key) else { return };
            let Some(life) = self.models[id].lives.iter().find(|life| life.key == Some(key)) else { return };
            let is_first = at == from;
            let follows =
                if is_first { header.base_offset <= at && at < header.next_offset() } else { header.base_offset == at };
            assert!(follows, "{id}: a read from {from} gives a batch at {} after offset {at}", header.base_offset);
            let placed = life.batches.get(&header.base_offset).map(|placed| placed.batch);
            assert_eq!(placed, Some(made), "{id}: a read gives another batch at {}", header.base_offset);
            at = header.next_offset();
        }
        assert!(at > from, "a read gives at least one batch");
    }

    /// Checks everything that readers are shown against the disk.
    pub fn audit(&mut self, table: &SegmentTable, disk: &mut Disk, started: &BTreeMap<SlotId, Instant>) {
        let harmed: BTreeSet<_> = disk.harms().iter().map(|harmed| harmed.slot).collect();
        let excused: BTreeSet<_> = harmed.into_iter().filter(|slot| Harms { disk, started }.excuse(*slot)).collect();
        let mut reader = LogReader::new(WAL, table, disk);
        for (id, model) in &self.models {
            // The segment table knows only the newest life.
            let [life] = &model.lives[..] else { continue };
            if life.is_closed
                || model.cut.is_some()
                || model.pending.iter().any(|pending| pending.asked == Asked::Delete)
            {
                continue;
            }
            let mut at = life.start;
            for piece in reader.read(*id, life.start..life.end) {
                at = piece.continue_from(*id, at);
                match piece {
                    Piece::Batch { header, bytes } => {
                        let made = self.batches.identify(&header, &bytes);
                        let placed = life.batches.get(&header.base_offset).map(|placed| placed.batch);
                        assert_eq!(placed, Some(made), "{id}: the log has another batch at {}", header.base_offset);
                    }
                    Piece::Marked(range) => {
                        assert!(
                            life.is_marked(&range),
                            "{id}: the log has {range:?} marked as damaged, but nobody was told"
                        );
                    }
                    Piece::Damaged { offsets, slot } => {
                        let is_excused = excused.contains(&slot);
                        assert!(is_excused, "{id}: {offsets:?} is damaged in slot {}, which nothing harmed", slot.0);
                    }
                    Piece::Missing(_) => unreachable!("a log does not continue over missing offsets"),
                }
            }
            assert_eq!(at, life.end, "{id}: the disk lacks batches that readers see");
        }
    }

    /// Checks, after an orderly end, that no request is unanswered.
    pub fn on_ended(&self) {
        for (id, model) in &self.models {
            let is_answered = model.pending.iter().all(|pending| pending.is_cut);
            assert!(self.poisoned_from.is_some() || is_answered, "{id}: {:?}", model.pending);
        }
    }
}

impl Model {
    /// Keeps the request as pending: its outcome is unknown.
    fn keep_pending(&mut self, pending: Pending) {
        let at = self.pending.partition_point(|other| other.number <= pending.number);
        self.pending.insert(at, pending);
    }
}
