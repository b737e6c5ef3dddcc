//! Checks the logs that a start found: they must have all acknowledged batches, but for those that
//! harm excuses ([`Loss`]), and may have others that clients asked for.

use std::collections::BTreeMap;

use rustmq_engine_core::log::Frontiers;
use rustmq_engine_core::shard::request::TrimTo;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Instant, Offset, Timestamp, TopicIdPartition};

use super::life::{Life, Placed};
use super::{Asked, Harms, Loss, Model, Moment, Oracle, Pending};
use crate::disk::Disk;
use crate::node::batches::{BatchId, Batches};
use crate::node::host::RequestNumber;
use crate::node::log_reader::{LogReader, Piece};
use crate::node::start::{Recovered, WAL};

/// The outcomes of requests that were not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub found: usize,
    pub lost: usize,
    pub forgotten_producers: usize,
}

/// The newest request that was found, and the oldest that was not. The log is a sequence, so every
/// found request precedes every lost one.
#[derive(Debug, Default)]
struct Order {
    found: Option<RequestNumber>,
    lost: Option<RequestNumber>,
}

impl Order {
    fn note_found(&mut self, number: RequestNumber) {
        self.found = self.found.max(Some(number));
    }

    fn note_lost(&mut self, number: RequestNumber) {
        self.lost = Some(self.lost.map_or(number, |lost| lost.min(number)));
    }
}

impl Oracle {
    /// Checks a start, after recovery has made the found logs durable and before the node serves.
    pub fn on_recovered(
        &mut self,
        recovered: &Recovered,
        disk: &mut Disk,
        started: &BTreeMap<SlotId, Instant>,
        wall: Timestamp,
    ) -> Findings {
        self.keys.clear();
        self.poisoned_from = None;
        self.proofs.on_start();
        let loss = self.proofs.loss(disk.harms());
        let (mut findings, mut order) = (Findings::default(), Order::default());
        for partition in recovered.partitions.iter() {
            assert!(self.models.contains_key(&partition.id), "{} was never opened", partition.id);
        }
        let ids: Vec<_> = self.models.keys().copied().collect();
        let mut restarts = Vec::new();
        {
            let harmed: Vec<_> = disk.harms().iter().map(|harmed| harmed.slot).collect();
            let excused: BTreeMap<_, _> =
                harmed.into_iter().map(|slot| (slot, Harms { disk, started }.excuse(slot))).collect();
            let mut reader = LogReader::new(WAL, &recovered.table, disk);
            for id in ids {
                let pieces = recovered.partitions.find(id).map(|partition| {
                    let positions = *partition.log.frontiers();
                    assert_eq!(positions.durable_end, partition.log.end(), "{id}: a start ends with a durable log");
                    reader.read(id, positions.log_start..positions.durable_end)
                });
                for piece in pieces.iter().flatten() {
                    if let Piece::Damaged { offsets, slot } = piece {
                        let is_excused = excused.get(slot).copied().unwrap_or(false);
                        assert!(is_excused, "{id}: {offsets:?} is damaged in slot {}, which nothing harmed", slot.0);
                    }
                }
                restarts.push((id, pieces));
            }
        }
        for (id, pieces) in restarts {
            let restart = Restart { id, pieces, loss };
            self.restart_one(restart, recovered, wall, &mut findings, &mut order);
        }
        if let (Some(found), Some(lost), false) = (order.found, order.lost, loss.is_any()) {
            assert!(found <= lost, "request {found} was found, but the earlier request {lost} was lost");
        }
        findings
    }

    fn restart_one(
        &mut self,
        Restart { id, pieces, loss }: Restart,
        recovered: &Recovered,
        wall: Timestamp,
        findings: &mut Findings,
        order: &mut Order,
    ) {
        let now = self.proofs.ended();
        let model = self.models.get_mut(&id).expect("the id is from the models");
        let expiry = model.expiry;
        let lives = std::mem::take(&mut model.lives);
        let Some(partition) = recovered.partitions.find(id) else {
            return model.end(id, lives, now, loss, order);
        };
        let mut durable = lives.into_iter().find(|life| life.is_durable);
        let pieces = pieces.expect("an open partition was read");
        let found = batches_of(&pieces, &self.batches);
        let first = found.first().map(|(_, batch)| *batch);
        if loss.is_any() && !durable.as_ref().is_some_and(|life| life.may_hold(&found)) && !model.may_open(first) {
            durable = model.restore_ended(&found, loss).or(durable);
        }
        let mut life = match durable {
            // Two empty logs look alike: neither the life nor the outcome of the pending requests
            // can be told.
            Some(life) if partition.log.end() == Offset(0) && is_empty_and_followed(&life, model) => {
                model.drop_pending(order);
                life
            }
            Some(life) if !is_next_life(&life, model, partition.log.frontiers(), &found, loss) => {
                // The deletion was lost. All requests after it were for later lives, and are lost
                // with it.
                if let Some(at) = model.pending.iter().position(|pending| pending.asked == Asked::Delete) {
                    order.note_lost(model.pending[at].number);
                    model.pending.truncate(at);
                }
                life
            }
            durable => {
                let opened = opening_of(model, first);
                let opened = opened.unwrap_or_else(|| panic!("{id} was found, but nobody opened it"));
                let is_free = durable.is_none() || model.pending.iter().take(opened).any(|p| p.asked == Asked::Delete);
                assert!(is_free, "{id}: a later life was found, but nobody deleted the one before it");
                model.ended.extend(durable.map(|life| life.deleted_at(now)));
                if first.is_some() {
                    order.note_found(model.pending[opened].number);
                    model.pending.drain(..=opened);
                } else {
                    // An empty log does not tell which of several openings made it.
                    model.drop_pending(order);
                }
                Life::opened_at(now)
            }
        };
        (life.key, life.is_durable, life.is_closed) = (None, true, false);
        model.settle_cut(&mut life, partition);
        let positions = *partition.log.frontiers();
        let end = pieces.iter().fold(positions.log_start, |at, piece| piece.continue_from(id, at));
        assert_eq!(end, positions.durable_end, "{id}: the disk lacks a part of the log");
        check_start(id, &life, model, positions.log_start, loss);
        life.set_start(positions.log_start, now);
        if positions.durable_end < life.end {
            life.lose_from(id, positions.durable_end, loss);
        }
        let pending = std::mem::take(&mut model.pending).into();
        let mut filling = Filling { id, life, pending, wall, now, findings, order };
        pieces.iter().for_each(|piece| filling.take_piece(piece, &self.batches));
        filling.take_up_to(positions.durable_end, &self.batches);
        let mut life = filling.finish();
        assert_eq!(life.end, positions.durable_end, "{id}: the last batches are missing");
        let offsets = positions.log_start..positions.durable_end;
        life.check_aborted(&recovered.table.recovered_aborted(id), &offsets, &self.batches);
        if !loss.is_any() && life.check_producers(&partition.log, &self.batches, wall, expiry) {
            findings.forgotten_producers += 1;
        }
        life.recovered_end = life.end;
        model.lives.push(life);
        self.check_epochs(partition);
    }
}

struct Restart {
    id: TopicIdPartition,
    pieces: Option<Vec<Piece>>,
    loss: Loss,
}

/// Whether a later life without appends may have followed this one.
fn is_empty_and_followed(life: &Life, model: &Model) -> bool {
    let after = model.pending.iter().skip_while(|pending| pending.asked != Asked::Delete);
    life.end == Offset(0) && after.into_iter().any(|pending| pending.asked == Asked::Open)
}

/// Whether the found log is of a life that was opened after this one was deleted.
fn is_next_life(
    life: &Life,
    model: &Model,
    &Frontiers { log_start, durable_end: end, .. }: &Frontiers,
    found: &[(Offset, BatchId)],
    loss: Loss,
) -> bool {
    let Some(deleted) = model.pending.iter().position(|pending| pending.asked == Asked::Delete) else { return false };
    // All batches of a log may be trimmed, or unreadable.
    let is_trimmed_like_this = end > Offset(0) && log_start >= life.start_min(loss);
    let is_of_this = if found.is_empty() { is_trimmed_like_this } else { life.may_hold(found) };
    if end < life.end {
        // Harm may have destroyed the end of this life, and the deletion with it.
        return !(loss.is_any() && is_of_this);
    }
    let Some((_, first)) = found.first() else { return false };
    !is_of_this && model.pending.iter().skip(deleted).any(|pending| appended(pending) == Some(*first))
}

impl Model {
    /// Handles a partition that was not found.
    fn end(&mut self, id: TopicIdPartition, lives: Vec<Life>, now: Moment, loss: Loss, order: &mut Order) {
        let is_any_staged = lives.iter().any(|life| !life.is_durable);
        let durable = lives.into_iter().find(|life| life.is_durable);
        let deleted = self.pending.iter().find(|pending| pending.asked == Asked::Delete);
        let may_be_gone = |life: &Life| deleted.is_some() || loss.covers(life.opened);
        assert!(durable.as_ref().is_none_or(may_be_gone), "{id} is gone, but nobody deleted it");
        if let (Some(_), Some(deleted)) = (&durable, deleted) {
            order.note_found(deleted.number);
        } else if deleted.is_none()
            // An opening that finds the log full is refused, and its refusal waits for a commit. So
            // only an opening that has created a view is certainly lost.
            && is_any_staged
            && let Some(opened) = self.pending.iter().rfind(|pending| pending.asked == Asked::Open)
        {
            order.note_lost(opened.number);
        }
        self.ended.extend(durable.map(|life| life.deleted_at(now)));
        self.pending.clear();
        self.cut = None;
    }

    /// The log is empty, whichever life it is of: the appends after the last opening are lost.
    fn drop_pending(&mut self, order: &mut Order) {
        let opened = self.pending.iter().rposition(|pending| pending.asked == Asked::Open);
        let is_lost = |pending: &&Pending| {
            matches!(pending.asked, Asked::Append { is_alone: true, .. }) && pending.placed.is_none() && !pending.is_cut
        };
        if let Some(pending) = self.pending.iter().skip(opened.unwrap_or(usize::MAX)).find(is_lost) {
            order.note_lost(pending.number);
        }
        self.pending.clear();
    }

    /// Harm may have destroyed the end of an earlier life and everything after it: that life is
    /// back.
    fn restore_ended(&mut self, found: &[(Offset, BatchId)], loss: Loss) -> Option<Life> {
        let at = self.ended.iter().rposition(|life| loss.covers(life.deleted) && life.may_hold(found))?;
        self.pending.clear();
        self.ended.drain(at..).next()
    }

    /// Whether a pending request may have opened a life that begins with this batch.
    fn may_open(&self, first: Option<BatchId>) -> bool {
        self.pending.iter().any(|pending| match first {
            Some(first) => appended(pending) == Some(first),
            None => pending.asked == Asked::Open,
        })
    }
}

fn batches_of(pieces: &[Piece], batches: &Batches) -> Vec<(Offset, BatchId)> {
    let batch_of = |piece: &Piece| match piece {
        Piece::Batch { header, bytes } => Some((header.base_offset, batches.identify(header, bytes))),
        _ => None,
    };
    pieces.iter().filter_map(batch_of).collect()
}

/// The opening of the life that begins with this batch. Without a batch, the last opening that it
/// may have been.
fn opening_of(model: &Model, first: Option<BatchId>) -> Option<usize> {
    let asked = |what: Asked, at: &usize| model.pending[*at].asked == what;
    let is_first = |pending: &Pending| first.is_some_and(|first| appended(pending) == Some(first));
    let before = model.pending.iter().position(is_first).unwrap_or(model.pending.len());
    let last = (0..before).rev().find(|at| asked(Asked::Open, at))?;
    let deleted = (0..last).rev().find(|at| asked(Asked::Delete, at));
    (deleted.map_or(0, |at| at + 1)..=last).find(|at| asked(Asked::Open, at))
}

fn appended(pending: &Pending) -> Option<BatchId> {
    match pending.asked {
        Asked::Append { batch, .. } => Some(batch),
        _ => None,
    }
}

fn check_start(id: TopicIdPartition, life: &Life, model: &Model, start: Offset, loss: Loss) {
    assert!(start >= life.start_min(loss), "{id}: the log start goes back from {} to {start}", life.start);
    if loss.is_any() {
        return;
    }
    let is_asked = |pending: &Pending| match pending.asked {
        Asked::Trim(TrimTo::Offset(offset)) => offset == start,
        Asked::Trim(TrimTo::HighWatermark) => true,
        _ => false,
    };
    let is_known = start == life.start || model.may_retain || model.pending.iter().any(is_asked);
    assert!(is_known, "{id}: nobody asked for a log start of {start}");
}

/// A life that is being extended by the batches that a start found.
struct Filling<'a> {
    id: TopicIdPartition,
    life: Life,
    pending: Vec<Pending>,
    wall: Timestamp,
    now: Moment,
    findings: &'a mut Findings,
    order: &'a mut Order,
}

impl Filling<'_> {
    fn take_piece(&mut self, piece: &Piece, batches: &Batches) {
        match piece {
            Piece::Batch { header, bytes } => {
                let found = batches.identify(header, bytes);
                if header.base_offset >= self.life.end {
                    self.take_pending(Some(found), header.base_offset, batches.header(found));
                }
                let placed = self.life.batches.get(&header.base_offset);
                assert!(
                    placed.is_some_and(|placed| placed.batch == found),
                    "{}: batch {} was found at {}, not {placed:?}",
                    self.id,
                    found.0,
                    header.base_offset
                );
            }
            Piece::Marked(range) => {
                self.take_up_to(range.end, batches);
                assert!(
                    self.life.is_marked(range),
                    "{}: the log has {range:?} marked as damaged, but nobody was told",
                    self.id
                );
            }
            Piece::Damaged { offsets, .. } => self.take_up_to(offsets.end, batches),
            Piece::Missing(range) => panic!("{}: {range:?} is in no segment", self.id),
        }
    }

    /// Takes pending batches in their order for offsets that cannot be read.
    fn take_up_to(&mut self, end: Offset, batches: &Batches) {
        while self.life.end < end {
            let next = self.pending.iter().find(|pending| pending.placed.is_none()).and_then(appended);
            let next = next.unwrap_or_else(|| panic!("{}: no client asked for the batches before {end}", self.id));
            self.take_pending(None, self.life.end, batches.header(next));
        }
    }

    /// Takes the next pending batch, or `found`. The batches before `found` may have been refused.
    fn take_pending(&mut self, found: Option<BatchId>, base: Offset, header: &BatchHeader) {
        loop {
            assert!(!self.pending.is_empty(), "{}: no client asked for {found:?}, found at {base}", self.id);
            let pending = self.pending.remove(0);
            let Asked::Append { batch, wall, is_alone } = pending.asked else { continue };
            if pending.placed.is_some() {
                continue;
            }
            if found.is_none_or(|found| found == batch) {
                assert_eq!(base, self.life.end, "{}: a batch does not follow the one before it", self.id);
                let next = base.plus(i64::from(header.last_offset_delta) + 1);
                let placed = Placed { batch, next, wall, until: self.wall, durable: self.now };
                self.life.batches.insert(base, placed);
                self.life.end = next;
                self.findings.found += 1;
                self.order.note_found(pending.number);
                return;
            }
            let is_left_out = is_alone && !pending.is_cut && !self.life.has(batch);
            assert!(!is_left_out, "{}: batch {} is missing before {found:?}", self.id, batch.0);
        }
    }

    fn finish(self) -> Life {
        for pending in &self.pending {
            if let (Asked::Append { is_alone, batch, .. }, None) = (pending.asked, pending.placed)
                // A batch that is sent again is not appended again.
                && !self.life.has(batch)
            {
                self.findings.lost += 1;
                if is_alone && !pending.is_cut {
                    self.order.note_lost(pending.number);
                }
            }
        }
        self.life
    }
}
