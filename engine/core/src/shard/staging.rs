//! Room for frames, for everybody who writes one. Where a segment is rolled, the next one begins with the checkpoints that are due.
//!
//! The order in which a frame is written: judge what it says, ask for room, change the partition's log, put the frame. Room comes before the
//! change, since a roll checkpoints the log as it is: a checkpoint that knew of the change would stand before the frame that makes it. Nothing comes
//! between change and frame.

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use super::commit::Commit;
use super::gathering::{BatchOf, Gathering, NoRoom, Room};
use super::host::ReaderMemory;
use super::memory::NoMemory;
use super::partitions::{LogVersion, Partition, PartitionKey, Partitions};
use crate::wal::segments::{MovedBatches, Purpose};
use crate::wal::{Control, DamagedRange, SegmentTable, WalPosition};

/// A new segment's head holds checkpoints in at most this part of it; partitions that are left keep their place in older ones for longer.
pub(super) const CHECKPOINTS_PART: usize = 4;

/// What the next commit gathers, and the rules of who may add to it.
#[derive(Debug)]
pub struct Staging<M: ReaderMemory> {
    gathering: Gathering<M>,
    /// What may gather for one commit, and one frame more: then there is no room before the next one.
    gathered_bytes_max: usize,
    head: Option<Head>,
    /// Segments started since [`Self::take_rolls`].
    rolls: u32,
    /// Why the log takes no more frames, ever.
    poisoned: Option<String>,
}

/// The checkpoints that the newest segment begins with, as long as some are left to stage.
#[derive(Debug)]
struct Head {
    /// Bytes that they may still take.
    room: usize,
    /// The last one that was looked at: they go in order.
    last: Option<TopicIdPartition>,
}

/// Room for one frame.
#[derive(Debug)]
pub struct Place<'a, M: ReaderMemory>(&'a mut Gathering<M>);

impl<M: ReaderMemory> Place<'_, M> {
    /// A batch that the log of `partition` has just taken at `base_offset`.
    pub(super) fn put_batch(
        self,
        partition: &Partition,
        bytes: &[u8],
        header: &BatchHeader,
        base_offset: Offset,
        now: Timestamp,
    ) {
        let header = BatchHeader { base_offset, leader_epoch: partition.log.leader_epoch(), ..*header };
        self.0.stage_batch(
            BatchOf { id: partition.id, key: partition.key, version: partition.version },
            bytes,
            &header,
            now,
        );
    }

    pub(super) fn put_control(self, id: TopicIdPartition, control: &Control) {
        self.0.stage_control(id, control);
    }

    pub(super) fn put_checkpoint(self, id: TopicIdPartition, checkpoint: &[u8]) {
        self.0.stage_checkpoint(id, checkpoint);
    }

    /// A batch that moves within the log. Answers where to.
    pub(super) fn put_relocated(self, id: TopicIdPartition, batch: &Bytes, header: &BatchHeader) -> MovedBatches {
        self.0.stage_relocated(id, batch, header)
    }

    /// What stands for batches that should move, and cannot be read. Answers where it is.
    pub(super) fn put_damaged(self, id: TopicIdPartition, range: &DamagedRange) -> MovedBatches {
        self.0.stage_damaged(id, range)
    }
}

impl<M: ReaderMemory> Staging<M> {
    #[must_use]
    pub const fn new(gathering: Gathering<M>, gathered_bytes_max: usize) -> Self {
        Self { gathering, gathered_bytes_max, head: None, rolls: 0, poisoned: None }
    }

    #[must_use]
    pub const fn table(&self) -> &SegmentTable {
        &self.gathering.table
    }

    pub const fn table_mut(&mut self) -> &mut SegmentTable {
        &mut self.gathering.table
    }

    pub const fn memory_mut(&mut self) -> &mut M {
        self.gathering.memory_mut()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gathering.is_empty()
    }

    /// The newest group that was staged; `None` if all of them are durable.
    #[must_use]
    pub(super) fn last_staged(&self) -> Option<WalPosition> {
        self.gathering.last_staged().filter(|last| *last >= self.table().durable())
    }

    /// Nothing more is staged, but for what makes room, before the next commit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.gathering.gathered_bytes() >= self.gathered_bytes_max
    }

    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// From here on nothing is staged. What has gathered is never written: a later commit would count as durable what this drops.
    pub(super) fn poison(&mut self, reason: String) {
        self.poisoned.get_or_insert(reason);
        let _ = self.gathering.take_commit();
        self.head = None;
    }

    /// Room for a frame with `payload` bytes.
    pub(super) fn room(
        &mut self,
        payload: usize,
        purpose: Purpose,
        partitions: &Partitions,
    ) -> Result<Place<'_, M>, NoRoom> {
        loop {
            if let Some(reason) = &self.poisoned {
                return Err(NoRoom::Poisoned { reason: reason.clone() });
            }
            if purpose != Purpose::Freeing && self.is_full() {
                return Err(NoRoom::AwaitCommit);
            }
            match self.gathering.room(payload, purpose)? {
                Room::Here => break,
                Room::Rolled => {
                    self.on_rolled();
                    self.stage_head(partitions)?;
                }
            }
        }
        Ok(Place(&mut self.gathering))
    }

    fn on_rolled(&mut self) {
        self.rolls += 1;
        let room = self.table().shape().length() as usize / CHECKPOINTS_PART;
        self.head = Some(Head { room, last: None });
    }

    /// Whether what has gathered starts a segment.
    pub(super) const fn has_rolled(&self) -> bool {
        self.rolls > 0
    }

    /// How many segments were started since this was asked last.
    pub(super) const fn take_rolls(&mut self) -> u32 {
        std::mem::replace(&mut self.rolls, 0)
    }

    /// Stages the checkpoints that the newest segment begins with, as far as this commit takes them; the rest comes with the next one.
    pub(super) fn stage_head(&mut self, partitions: &Partitions) -> Result<(), NoMemory> {
        let Some(mut head) = self.head.take() else { return Ok(()) };
        while !self.is_full() {
            let Some(id) = self.table().checkpoint_due_after(head.last) else { return Ok(()) };
            head.last = Some(id);
            let Some(partition) = partitions.find(id) else { continue };
            if partition.log.checkpoint_length() > head.room {
                continue;
            }
            let checkpoint = partition.checkpoint();
            match self.gathering.room(checkpoint.len(), Purpose::Cleaning) {
                Ok(Room::Here) => self.gathering.stage_checkpoint(id, &checkpoint),
                Ok(Room::Rolled) => {
                    self.on_rolled();
                    return self.stage_head(partitions);
                }
                Err(NoRoom::Memory(error)) => return Err(error),
                // They stay due.
                Err(_) => return Ok(()),
            }
            head.room -= checkpoint.len();
        }
        self.head = Some(head);
        Ok(())
    }

    /// Plans a group that proves what is durable, if there is a place for it: else the next segment proves as much.
    pub(super) fn stage_proof(&mut self) -> Result<(), NoMemory> {
        if self.poisoned.is_none() && self.table().admits_proof() { self.gathering.stage_proof() } else { Ok(()) }
    }

    /// Plans the group that puts the run on disk: before anything else of it.
    pub(super) fn stage_run(&mut self) -> Result<(), NoMemory> {
        self.gathering.stage_proof()
    }

    pub(super) fn take_commit(&mut self) -> Option<Commit> {
        self.gathering.take_commit()
    }

    /// Bytes of the partition's batches that no commit has taken yet.
    #[must_use]
    pub(super) fn staged_bytes(&self, partition: &Partition) -> u64 {
        self.gathering.staged_bytes(partition.key, partition.version)
    }

    /// The same batches: where each begins and ends.
    pub(super) fn staged(&self, key: PartitionKey, version: LogVersion) -> impl Iterator<Item = (Offset, Offset)> {
        self.gathering.staged(key, version)
    }

    pub(super) const fn gathering_mut(&mut self) -> &mut Gathering<M> {
        &mut self.gathering
    }
}
