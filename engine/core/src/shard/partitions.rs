//! The partitions of a shard, by id and by key. A key names one open partition: a partition that is
//! deleted and opened again under the same id gets another key.
//!
//! ```text
//! insert -> open --close--> closing (the close is staged) --forget--> gone, its slot is reused
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use super::request::LogConfig;
use crate::log::{
    AbortedIndex, AbortedTransaction, EpochStart, Frontiers, PartitionLog, RejectedEpoch, Verifications, WatermarkRule,
};

/// Names a partition as long as it is open, and never another one: a slot and the slot's
/// generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    slot: u32,
    generation: u32,
}

impl PartitionKey {
    /// The key of no partition.
    pub(super) const NONE: Self = Self { slot: u32::MAX, generation: 0 };

    /// An index below the largest number of partitions open at one time: a driver can index a
    /// vector with it. At any time only one key in use has this slot.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

/// Identifies the bytes that a partition's offsets name. After a truncation or a reset the same
/// offsets name other bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogVersion {
    resets: u32,
    truncations: u32,
}

impl LogVersion {
    pub(super) const ZERO: Self = Self { resets: 0, truncations: 0 };

    /// Whether no reset lies between the two versions: then they agree on all committed batches.
    pub(super) const fn is_same_log(self, other: Self) -> bool {
        self.resets == other.resets
    }
}

/// The epoch in which a partition is served, and its epoch history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub epoch: LeaderEpoch,
    /// The epoch starts in the log, oldest first. The current epoch may be missing, and a log that
    /// no broker began to lead has none.
    pub history: Arc<[EpochStart]>,
}

/// One partition: its log, its retention, and the state published to readers.
#[derive(Debug)]
pub struct Partition {
    pub id: TopicIdPartition,
    pub key: PartitionKey,
    pub log: PartitionLog,
    /// The transactions that their coordinator is asked about.
    pub(super) verifications: Verifications,
    pub version: LogVersion,
    pub config: LogConfig,
    /// The bytes of the batches between log start and durable end, as published to readers.
    size_bytes: u64,
    /// The aborted transactions that no frontiers let readers reach yet.
    unpublished_aborted: AbortedIndex,
    /// The newest epoch in which another broker leads. Published at once.
    followed: LeaderEpoch,
    /// The frontiers that readers see while a cut is staged and not durable.
    uncut: Option<Frontiers>,
}

impl Partition {
    /// The durable log start.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log.frontiers().log_start
    }

    #[must_use]
    pub const fn frontiers(&self) -> Frontiers {
        *self.log.frontiers()
    }

    /// The frontiers for readers: a staged cut shows only once it is durable.
    #[must_use]
    pub(super) fn shown_frontiers(&self) -> Frontiers {
        self.uncut.unwrap_or(self.frontiers())
    }

    pub(super) const fn is_cut_staged(&self) -> bool {
        self.uncut.is_some()
    }

    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The staged leadership, which may not be durable yet. Readers, and followers that compare
    /// their logs, see it once it is durable: a restart must not take it back.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership { epoch: self.log.leader_epoch(), history: self.log.epochs().into() }
    }

    /// The leadership to publish once `durable` is: another broker may lead by now.
    pub(super) fn shown_leadership(&self, durable: Leadership) -> Leadership {
        Leadership { epoch: durable.epoch.max(self.followed), ..durable }
    }

    /// Another broker leads in this epoch. Returns whether the epoch is new.
    pub(super) fn follow(&mut self, epoch: LeaderEpoch) -> Result<bool, RejectedEpoch> {
        let is_new = epoch > self.log.leader_epoch();
        self.log.follow(epoch)?;
        self.verifications.clear();
        if is_new {
            self.followed = epoch;
        }
        Ok(is_new)
    }

    /// Replaces the log with `remaining`, its part before the cut.
    pub(super) fn truncate(&mut self, remaining: PartitionLog) {
        self.uncut.get_or_insert(*self.log.frontiers());
        self.version.truncations = self.version.truncations.wrapping_add(1);
        self.log = remaining;
        self.unpublished_aborted.truncate(self.log.end());
        self.verifications.clear();
    }

    /// Drops the log, which starts again at `at`.
    pub(super) fn reset(&mut self, at: Offset) {
        self.uncut.get_or_insert(*self.log.frontiers());
        self.version.resets = self.version.resets.wrapping_add(1);
        self.log.reset(at);
        self.unpublished_aborted = AbortedIndex::default();
        self.verifications.clear();
    }

    /// A truncation or reset became durable; `size_bytes` remain.
    pub(super) const fn on_cut_durable(&mut self, size_bytes: u64) {
        (self.size_bytes, self.uncut) = (size_bytes, None);
    }

    /// Batches up to `end` became durable.
    pub(super) fn on_durable(&mut self, end: Offset, bytes: u64) {
        self.log.on_durable(end);
        self.size_bytes += bytes;
    }

    /// A transaction was aborted; its marker is staged next.
    pub(super) fn on_aborted(&mut self, aborted: AbortedTransaction) {
        self.unpublished_aborted.extend([aborted]);
    }

    /// Takes the aborted transactions that the current frontiers let readers reach and that were
    /// not taken before. All of them end below the high watermark: as long as one does not, the
    /// last stable offset stays at or below its first record.
    pub(super) fn newly_aborted(&mut self) -> Vec<AbortedTransaction> {
        let high_watermark = self.frontiers().high_watermark;
        self.unpublished_aborted.take_below(high_watermark)
    }

    /// A trim became durable; `size_bytes` remain.
    pub(super) fn on_trim_durable(&mut self, log_start: Offset, size_bytes: u64) {
        self.log.on_trim_durable(log_start);
        let log_start = self.log_start();
        if let Some(uncut) = &mut self.uncut {
            uncut.raise_log_start(log_start);
        }
        self.size_bytes = size_bytes;
    }

    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut checkpoint = Vec::with_capacity(self.log.checkpoint_length());
        self.log.encode_checkpoint(&mut checkpoint);
        checkpoint
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    /// `None` once the partition is closed. The slot is reused only after the close is durable.
    partition: Option<Partition>,
    /// The log's version at the close.
    closed_in: LogVersion,
    /// The watermark rule at the close.
    closed_rule: WatermarkRule,
}

#[derive(Debug, Default)]
pub struct Partitions {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_id: HashMap<TopicIdPartition, PartitionKey>,
    /// The same in the order of the ids: iteration is deterministic.
    in_order: BTreeMap<TopicIdPartition, PartitionKey>,
}

impl Partitions {
    /// Opens a partition that is not open. `size_bytes` counts its durable batches.
    pub fn insert(
        &mut self,
        id: TopicIdPartition,
        log: PartitionLog,
        config: LogConfig,
        size_bytes: u64,
    ) -> &mut Partition {
        let number = self.free.pop().unwrap_or_else(|| {
            let (closed_in, closed_rule) = (LogVersion::default(), WatermarkRule::Sole);
            self.slots.push(Slot { generation: 0, partition: None, closed_in, closed_rule });
            u32::try_from(self.slots.len() - 1).expect("partitions are counted in 32 bits")
        });
        let slot = &mut self.slots[number as usize];
        let key = PartitionKey { slot: number, generation: slot.generation };
        let before = (self.by_id.insert(id, key), self.in_order.insert(id, key));
        assert_eq!(before, (None, None), "{id} is already open");
        let (version, followed) = (LogVersion::default(), LeaderEpoch::NONE);
        slot.partition.insert(Partition {
            id,
            key,
            log,
            verifications: Verifications::default(),
            version,
            config,
            size_bytes,
            unpublished_aborted: AbortedIndex::default(),
            followed,
            uncut: None,
        })
    }

    /// The close is staged: the partition is unfindable. Its key stays in use until
    /// [`Self::forget`].
    pub fn close(&mut self, key: PartitionKey) -> Option<Partition> {
        let slot = self.slots.get_mut(key.slot()).filter(|slot| slot.generation == key.generation)?;
        let partition = slot.partition.take()?;
        (slot.closed_in, slot.closed_rule) = (partition.version, partition.log.watermark_rule());
        self.by_id.remove(&partition.id);
        self.in_order.remove(&partition.id);
        Some(partition)
    }

    /// The frontiers of a closed partition that is durable up to `end`. Only commits still move
    /// them, and the waiting appends are answered by them.
    #[must_use]
    pub(super) fn frontiers_of_closed(&self, key: PartitionKey, end: Offset) -> Frontiers {
        let rule = self.slots.get(key.slot()).map_or(WatermarkRule::Sole, |slot| slot.closed_rule);
        let frontiers = Frontiers::at(end);
        Frontiers { high_watermark: rule.high_watermark(&frontiers), ..frontiers }
    }

    /// The close has ended: another partition may take the slot.
    pub fn forget(&mut self, key: PartitionKey) {
        let slot = &mut self.slots[key.slot()];
        assert!(
            slot.generation == key.generation && slot.partition.is_none(),
            "a partition is forgotten after its close, and only once"
        );
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
    }

    /// Whether the key is in use: its partition is open, or its close has not ended.
    #[must_use]
    pub fn is_in_use(&self, key: PartitionKey) -> bool {
        self.slots.get(key.slot()).is_some_and(|slot| slot.generation == key.generation)
    }

    /// Whether the partition's log still has this version. Works for a closed partition, too, until
    /// another one takes its slot.
    #[must_use]
    pub(super) fn is_version(&self, key: PartitionKey, version: LogVersion) -> bool {
        self.slots.get(key.slot()).is_some_and(|slot| match &slot.partition {
            Some(open) => open.key == key && open.version == version,
            None => slot.closed_in == version,
        })
    }

    #[must_use]
    pub fn key(&self, id: TopicIdPartition) -> Option<PartitionKey> {
        self.by_id.get(&id).copied()
    }

    #[must_use]
    pub fn find(&self, id: TopicIdPartition) -> Option<&Partition> {
        self.at(self.key(id)?)
    }

    /// `None` if the partition was closed.
    #[must_use]
    pub fn at(&self, key: PartitionKey) -> Option<&Partition> {
        self.slots.get(key.slot()).filter(|slot| slot.generation == key.generation)?.partition.as_ref()
    }

    pub fn at_mut(&mut self, key: PartitionKey) -> Option<&mut Partition> {
        self.slots.get_mut(key.slot()).filter(|slot| slot.generation == key.generation)?.partition.as_mut()
    }

    /// The number of partitions whose close has not ended.
    pub(super) fn closing_count(&self) -> usize {
        self.slots.len() - self.free.len() - self.len()
    }

    /// The keys in the order of ids.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = PartitionKey> {
        self.in_order.values().copied()
    }

    /// The partitions in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.keys().filter_map(|key| self.at(key))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use rustmq_model::batch::BatchHeader;
    use rustmq_model::{LeaderEpoch, Offset, Timestamp};

    use super::{Partition, PartitionKey, Partitions};
    use crate::log::tests::batches::{marker, transactional};
    use crate::log::{AbortedIndex, AbortedTransaction, Admission, EndMarker, LogLimits, PartitionLog, WatermarkRule};
    use crate::shard::request::LogConfig;
    use crate::shard::tests::id;
    use rustmq_model::{TransactionEnd, TransactionVersion};

    fn open(partitions: &mut Partitions, number: i32) -> PartitionKey {
        let log = PartitionLog::open(LogLimits::default(), LeaderEpoch(0), Offset::ZERO);
        partitions.insert(id(number), log, LogConfig::unlimited(), 0).key
    }

    /// An event in a partition before its frontiers are published.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// The producer writes.
        Write(i64),
        /// The producer's transaction ends.
        End(i64, TransactionEnd),
        /// All batches are synced, and acknowledged up to this many offsets below the end.
        Acknowledge(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let end = prop_oneof![3 => Just(TransactionEnd::Abort), 1 => Just(TransactionEnd::Commit)];
        prop_oneof![
            3 => (1..5_i64).prop_map(Step::Write),
            2 => (1..5_i64, end).prop_map(|(id, end)| Step::End(id, end)),
            2 => (0..6_i64).prop_map(Step::Acknowledge),
        ]
    }

    fn take(partition: &mut Partition, sequences: &mut [i32; 5], step: Step) -> Option<AbortedTransaction> {
        let log = &mut partition.log;
        let (base, now) = (log.end(), Timestamp(1_000));
        match step {
            Step::Write(id) => {
                let sequence = &mut sequences[usize::try_from(id).unwrap()];
                let header: BatchHeader = transactional(id, 0, *sequence, 1);
                log.prepare_append(None, &header, Admission::Verified).unwrap();
                log.commit_append(&header, base, now);
                *sequence += 1;
            }
            Step::End(id, end) => {
                let (header, marker) = (marker(id, 0), EndMarker { end, coordinator_epoch: 1 });
                if log.prepare_marker(None, &header, &marker.of(&header, TransactionVersion::V0)).is_ok() {
                    let aborted = log.commit_marker(&header, marker, base, now).aborted();
                    aborted.into_iter().for_each(|aborted| partition.on_aborted(aborted));
                    return aborted;
                }
            }
            Step::Acknowledge(behind) => {
                log.follow_watermark(WatermarkRule::Acknowledged(Offset((base.0 - behind).max(0))));
                partition.on_durable(base, 0);
            }
        }
        None
    }

    proptest! {
        #[test]
        fn an_abort_is_published_before_the_last_stable_offset_passes_it(
            steps in proptest::collection::vec(step(), 0..80),
        ) {
            let (mut partitions, mut sequences) = (Partitions::default(), [0; 5]);
            let key = open(&mut partitions, 0);
            let partition = partitions.at_mut(key).unwrap();
            let (mut all, mut shown) = (AbortedIndex::default(), AbortedIndex::default());
            for step in steps {
                all.extend(take(partition, &mut sequences, step));
                let newly = partition.newly_aborted();
                prop_assert!(newly.iter().all(|one| !shown.iter().any(|known| known == *one)), "it is published once");
                shown.extend(newly);
                let last_stable = partition.frontiers().last_stable;
                for aborted in all.iter().filter(|aborted| aborted.first_offset < last_stable) {
                    prop_assert!(shown.iter().any(|known| known == aborted), "{aborted:?} below {last_stable}");
                }
            }
            partition.log.follow_watermark(WatermarkRule::Sole);
            partition.on_durable(partition.log.end(), 0);
            shown.extend(partition.newly_aborted());
            prop_assert_eq!(all, shown, "none is left out");
        }
    }

    #[test]
    fn a_slot_is_reused_only_after_its_partition_is_forgotten_and_an_old_key_finds_nothing() {
        let mut partitions = Partitions::default();
        let (first, other) = (open(&mut partitions, 5), open(&mut partitions, 3));
        assert_eq!(partitions.close(first).map(|partition| partition.id), Some(id(5)));
        assert!(
            partitions.close(first).is_none() && partitions.at(first).is_none() && partitions.find(id(5)).is_none()
        );
        let second = open(&mut partitions, 5);
        assert_ne!(second.slot(), first.slot(), "the close of the first has not ended");
        partitions.forget(first);
        let third = open(&mut partitions, 4);
        assert_eq!(third.slot(), first.slot());
        assert_ne!(third, first);
        assert!(
            partitions.at(first).is_none() && partitions.at_mut(first).is_none() && partitions.close(first).is_none()
        );
        assert_eq!(partitions.at(third).map(|partition| partition.id), Some(id(4)));
        assert_eq!(partitions.keys().collect::<Vec<_>>(), [other, third, second], "in the order of ids");
        assert!(partitions.at(PartitionKey::NONE).is_none());
    }

    #[test]
    #[should_panic(expected = "once")]
    fn a_partition_is_not_forgotten_twice() {
        let mut partitions = Partitions::default();
        let key = open(&mut partitions, 0);
        partitions.close(key);
        partitions.forget(key);
        partitions.forget(key);
    }
}
