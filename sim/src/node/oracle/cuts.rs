//! Checks the cuts of a log, and the logs that a start may find while a cut is not answered.

use rustmq_engine_core::log::Frontiers;
use rustmq_engine_core::shard::PartitionKey;
use rustmq_engine_core::shard::error::CutError;
use rustmq_engine_core::shard::partitions::Partition;
use rustmq_engine_core::shard::request::{CutLog, CutTo};
use rustmq_model::{LeaderEpoch, Offset, Timestamp, TopicIdPartition};

use super::life::Life;
use super::{Asked, Model, Oracle};
use crate::node::host::RequestNumber;

/// A cut without an answer, or with an error that does not tell its outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestedCut {
    number: RequestNumber,
    pub to: CutTo,
    is_shown: bool,
}

/// The state of a partition's cuts after one of them was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutEnd {
    /// No cut is in progress any more.
    Over,
    /// Another cut replaced this one, and is in progress.
    Replaced,
    /// This cut was refused, because another one is in progress.
    Refused,
}

/// The effect of a cut that readers were shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownCut {
    pub is_reset: bool,
    pub took_durable: bool,
    /// It took batches that were there when the node started.
    pub took_recovered: bool,
}

impl Oracle {
    /// The offset below which no replica may lose a batch. `None` unless the partition certainly
    /// exists; a cut of its log may be in progress.
    pub fn committed(&self, id: TopicIdPartition, shown: Option<Offset>) -> Option<Offset> {
        let model = self.models.get(&id)?;
        let [life] = &model.lives[..] else { return None };
        let is_certain = life.is_durable && !life.is_closed;
        let may_go = model.pending.iter().any(|pending| pending.asked == Asked::Delete);
        // A watermark inside a batch keeps the whole batch, as long as the node knows the
        // watermark.
        let is_known = shown.is_some_and(|shown| shown >= life.committed);
        let committed = if is_known { life.committed } else { life.batch_end(life.committed) };
        (is_certain && !may_go).then_some(committed)
    }

    /// The start of the batch that contains the offset, or the offset itself.
    pub fn boundary(&self, id: TopicIdPartition, at: Offset) -> Option<Offset> {
        let life = self.models.get(&id)?.lives.last()?;
        Some(life.boundary(at))
    }

    /// Whether a cut of the partition's log is unanswered.
    pub fn is_being_cut(&self, id: TopicIdPartition) -> bool {
        self.models.get(&id).is_some_and(|model| model.cut.is_some())
    }

    pub fn on_cut_asked(&mut self, number: RequestNumber, CutLog { id, leader_epoch, to }: CutLog) {
        let model = self.model(id);
        let asked = RequestedCut { number, to, is_shown: false };
        let place = if model.cut.is_none() { &mut model.cut } else { &mut model.rival };
        assert!(place.replace(asked).is_none(), "{id}: a cut has more than one unanswered rival");
        if !self.sent_in.contains(&(id, leader_epoch)) {
            self.heard.insert((id, leader_epoch));
        }
    }

    /// A client sends a batch with this epoch, so the epoch may now appear in the log.
    pub fn on_sent_in(&mut self, id: TopicIdPartition, epoch: LeaderEpoch) {
        self.heard.remove(&(id, epoch));
        self.sent_in.insert((id, epoch));
    }

    /// Checks the epoch that readers are shown.
    pub fn on_epoch_shown(&mut self, key: PartitionKey, epoch: LeaderEpoch) {
        let before = self.epochs.insert(key, epoch);
        assert!(before.is_none_or(|before| before <= epoch), "the epoch goes back from {before:?} to {epoch}");
    }

    /// Checks a cut when readers see it.
    pub fn on_cut_shown(
        &mut self,
        key: PartitionKey,
        frontiers: &Frontiers,
        partition: &Partition,
        now: Timestamp,
    ) -> ShownCut {
        let id = self.keys[&key];
        let cut = self.models.get_mut(&id).and_then(|model| model.cut.as_mut());
        let cut = cut.unwrap_or_else(|| panic!("{id} is cut without a request"));
        assert!(!cut.is_shown, "{id} is cut twice");
        cut.is_shown = true;
        let to = cut.to;
        let expiry = self.models[&id].expiry;
        let life = self.life(key);
        let before = life.end;
        match to {
            CutTo::End(to) => {
                let end = life.boundary(to);
                assert_eq!(frontiers.durable_end, end, "{id} is cut back to {to}");
                assert!(end >= life.committed || to < life.committed, "{id}: the cut takes committed batches");
                life.truncate(end);
            }
            CutTo::EmptyAt(at) => {
                assert_eq!(*frontiers, Frontiers::at(at), "{id} starts empty");
                life.reset(at);
            }
        }
        let is_reset = matches!(to, CutTo::EmptyAt(_));
        let (took_durable, took_recovered) = (life.end < before, life.end < life.recovered_end);
        life.recovered_end = life.recovered_end.min(life.end);
        life.committed = life.committed.max(frontiers.high_watermark);
        // A batch that was cut off never returns.
        self.models.get_mut(&id).expect("it was found").pending.retain(|pending| !pending.is_cut);
        let life = self.models[&id].lives.iter().find(|life| life.key == Some(key)).expect("it was found");
        life.check_producers(&partition.log, &self.batches, now, expiry);
        self.check_epochs(partition);
        ShownCut { is_reset, took_durable: took_durable && !is_reset, took_recovered: took_recovered && !is_reset }
    }

    pub fn on_cut_answered(
        &mut self,
        number: RequestNumber,
        id: TopicIdPartition,
        result: &Result<Offset, CutError>,
        has_been_full: bool,
    ) -> CutEnd {
        let poisoned_from = self.poisoned_from;
        let model = self.model(id);
        if model.rival.take_if(|rival| rival.number == number).is_some() {
            let is_refused = match result {
                Err(CutError::UnderWay) => true,
                Err(CutError::Storage { .. }) => poisoned_from.is_some(),
                _ => false,
            };
            assert!(is_refused, "{id}: {result:?} for a rival of the cut {:?}", model.cut);
            return CutEnd::Refused;
        }
        let Some(cut) = model.cut.filter(|cut| cut.number == number) else {
            panic!("{id}: cut {number} is answered once");
        };
        match result {
            Ok(end) => {
                let is_there = model.lives.iter().any(|life| life.end == *end);
                let nothing_to_cut = matches!(cut.to, CutTo::End(to) if to >= *end);
                assert!((cut.is_shown && is_there) || nothing_to_cut, "{id}: a cut is answered before readers see it");
            }
            // The cut may be on the disk.
            Err(CutError::Storage { .. }) if poisoned_from.is_some_and(|from| number < from) => return CutEnd::Over,
            Err(CutError::Storage { .. }) => assert!(poisoned_from.is_some(), "{id}: {result:?}"),
            Err(error @ (CutError::Unknown(_) | CutError::CheckpointTooLarge { .. })) => {
                assert!(has_been_full, "{id}: {error}");
            }
            Err(CutError::BelowHighWatermark { .. }) => {
                let is_committed = |to| model.lives.iter().any(|life| life.boundary(to) < life.committed);
                assert!(matches!(cut.to, CutTo::End(to) if is_committed(to)), "{id}: {result:?} for {cut:?}");
            }
            Err(CutError::UnknownPartition | CutError::UnderWay | CutError::InvalidStart { .. }) => {
                panic!("{id}: {result:?} for {cut:?}")
            }
            // The end of the rebuild has checked whether a read failed.
            Err(
                CutError::Superseded
                | CutError::Full
                | CutError::FencedLeaderEpoch { .. }
                | CutError::Unreadable { .. },
            ) => {}
        }
        assert!(result.is_ok() || !cut.is_shown, "{id}: readers see a refused cut");
        model.cut = model.rival.take();
        if model.cut.is_some() { CutEnd::Replaced } else { CutEnd::Over }
    }

    /// Checks that the log has no epoch that this node has only heard of: no batch of its leader
    /// ever arrived.
    pub(super) fn check_epochs(&self, partition: &Partition) {
        let is_heard = |epoch: LeaderEpoch| self.heard.contains(&(partition.id, epoch));
        let epochs = partition.log.epochs();
        assert!(epochs.iter().all(|begun| !is_heard(begun.epoch)), "{}: {epochs:?}", partition.id);
    }
}

impl Model {
    /// Adapts the life to the log that a start found: cut, or unchanged.
    pub(super) fn settle_cut(&mut self, life: &mut Life, partition: &Partition) {
        let Some(RequestedCut { to, is_shown: false, .. }) = self.cut.take() else { return };
        let Frontiers { log_start, durable_end, .. } = *partition.log.frontiers();
        match to {
            CutTo::End(to) if durable_end < life.end => {
                assert_eq!(durable_end, life.boundary(to), "{}: cut back to {to}, or not at all", partition.id);
                life.truncate(durable_end);
            }
            CutTo::EmptyAt(at) if (log_start, durable_end) == (at, at) => {
                let is_new = partition.log.epochs().is_empty() && partition.log.producers().is_empty();
                if is_new || (life.start, life.end) != (at, at) {
                    life.reset(at);
                }
            }
            _ => {}
        }
    }
}
