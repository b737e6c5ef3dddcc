//! Drives a commit builder alone: the test decides when a commit ends.

use std::collections::BTreeMap;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, Timestamp};

use crate::log::{LogLimits, PartitionLog};
use crate::shard::commit_builder::{CommitBuilder, LogIdentity, NoRoom, Room};
use crate::shard::request::LogConfig;
use crate::shard::tests::memory::VecMemory;
use crate::shard::tests::slots::{BLOCK, Slots, WAL, shape};
use crate::shard::tests::{batch, id};
use crate::shard::{Commit, DiskStep, LogVersion, PartitionKey, Partitions, Preparation, StagedBatch, SyncPolicy};
use crate::wal::recovery::{CorruptionPolicy, RecoveredWal, RecoveryError};
use crate::wal::scan::ReplayEvent;
use crate::wal::segments::{Purpose, SEGMENTS_MIN};
use crate::wal::{Control, SegmentTable, SegmentTableConfig};

/// Slots of 16 KiB.
const BLOCKS: usize = 32;
pub(super) const TRAILER: usize = (BLOCKS - 1) * BLOCK;

#[derive(Debug)]
pub(super) struct Driver {
    pub builder: CommitBuilder<VecMemory>,
    pub slots: Slots,
    partitions: Partitions,
    /// The offset after the last staged batch.
    ends: BTreeMap<PartitionKey, i64>,
}

impl Driver {
    /// Starts with partitions 0 and 1 on disk.
    pub(super) fn new(memory: VecMemory, syncs: SyncPolicy) -> Self {
        let shape = shape(BLOCKS as u64);
        let recovered = Slots::default().recover(shape, CorruptionPolicy::Refuse).unwrap();
        let config = SegmentTableConfig { wal: WAL, shape, segments_max: 4 * SEGMENTS_MIN };
        let table = SegmentTable::new(config, &recovered);
        let builder = CommitBuilder::new(WAL, table, memory, syncs);
        let (slots, partitions, ends) = (Slots::default(), Partitions::default(), BTreeMap::new());
        let mut driver = Self { builder, slots, partitions, ends };
        (0..2).for_each(|number| driver.open(number));
        driver.commit();
        driver
    }

    pub(super) fn key(&self, number: i32) -> PartitionKey {
        self.partitions.key(id(number)).unwrap()
    }

    pub(super) fn open(&mut self, number: i32) {
        let control = Control::Open { epoch: LeaderEpoch(3), log_start: Offset(0) };
        self.room(control.payload_length()).unwrap();
        self.builder.stage_control(id(number), &control);
        let log = PartitionLog::open(LogLimits::default(), LeaderEpoch(3), Offset(0));
        let key = self.partitions.insert(id(number), log, LogConfig::unlimited(), 0).key;
        self.ends.insert(key, 0);
    }

    pub(super) fn close(&mut self, number: i32) {
        self.room(Control::Close.payload_length()).unwrap();
        self.builder.stage_control(id(number), &Control::Close);
        self.partitions.close(self.key(number));
    }

    /// Makes room for a frame.
    pub(super) fn room(&mut self, payload: usize) -> Result<(), NoRoom> {
        while let Some(slot) = self.builder.table.poll_reserve() {
            self.slots.prepare(slot, Preparation::Reserved, shape(BLOCKS as u64));
            self.builder.table.on_slot_reserved(slot);
        }
        while self.builder.room(payload, Purpose::Append)? == Room::Rolled {}
        Ok(())
    }

    pub(super) fn append(&mut self, number: i32, size: usize) -> Result<(), NoRoom> {
        self.append_with_tagged_fields(number, size, &[])
    }

    /// Appends a batch with tagged fields, as a later build may write it.
    pub(super) fn append_with_tagged_fields(&mut self, number: i32, size: usize, fields: &[u8]) -> Result<(), NoRoom> {
        let batch = [&batch(size)[..], fields].concat();
        self.room(batch.len())?;
        let (of, header) = (
            LogIdentity { id: id(number), key: self.key(number), version: LogVersion::default() },
            BatchHeader::parse(&batch).unwrap(),
        );
        let end = self.ends.get_mut(&of.key).unwrap();
        let header = BatchHeader { base_offset: Offset(*end), leader_epoch: LeaderEpoch(3), ..header };
        self.builder.stage_batch(of, &batch, &header, Timestamp(1_000));
        *end += 1;
        Ok(())
    }

    /// Writes the commit to disk, and publishes it.
    pub(super) fn finish(&mut self, commit: Commit) {
        self.slots.execute(&commit.steps);
        self.builder.on_committed(commit.end);
        self.builder.on_published(&commit.batches);
        for StagedBatch { key, batch, .. } in commit.batches {
            self.builder.memory_mut().readable.entry(key).or_default().show(batch);
        }
        self.builder.make_room(0);
    }

    /// Makes the next commit, and returns whether there was one.
    pub(super) fn commit(&mut self) -> bool {
        let commit = self.builder.take_commit();
        let is_some = commit.is_some();
        commit.into_iter().for_each(|commit| self.finish(commit));
        is_some
    }

    /// Restarts after a bit flipped in the first group of a commit with these steps.
    pub(super) fn recover_damaged(&self, steps: &[DiskStep]) -> Result<RecoveredWal, RecoveryError> {
        let (DiskStep::Write { slot, offset, bytes } | DiskStep::WriteSynced { slot, offset, bytes }) = &steps[0]
        else {
            panic!("a commit begins with a write: {steps:?}");
        };
        let mut slots = self.slots.clone();
        slots.0.get_mut(slot).unwrap()[*offset as usize + bytes.len() / 2] ^= 1;
        slots.recover(shape(BLOCKS as u64), CorruptionPolicy::Refuse)
    }

    /// The number of consecutive batches that a restart recovers for a partition.
    pub(super) fn recovered(&self, number: i32) -> usize {
        let recovered = self.slots.recover(shape(BLOCKS as u64), CorruptionPolicy::Refuse).unwrap();
        let bases = recovered.partitions[&id(number)].iter().filter_map(|item| match &item.event {
            ReplayEvent::Batch(header, _) => Some(header.base_offset.0),
            _ => None,
        });
        let bases: Vec<_> = bases.collect();
        assert!(bases.iter().copied().eq(0..bases.len() as i64), "batches follow each other: {bases:?}");
        bases.len()
    }
}
