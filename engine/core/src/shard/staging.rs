//! Makes room for frames. Where this starts a new segment, the segment begins with the checkpoints
//! that are due.
//!
//! The order for every frame: validate it, make room, change the partition's log, put the frame.
//! Room comes before the change, since a new segment may begin with a checkpoint of the log: a
//! checkpoint that included the change would precede the frame that makes it. Nothing may come
//! between change and frame. A close alone puts its frame first: it leaves no log to checkpoint.

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use super::checkpointing::{Checkpointing, NextPiece, Progress};
use super::commit::Commit;
use super::commit_builder::{CommitBuilder, LogIdentity, NoRoom, Room};
use super::failure::WalFailure;
use super::host::ReaderMemory;
use super::memory::NoMemory;
use super::partitions::{Partition, PartitionKey, Partitions};
use crate::wal::frame::frame_size;
use crate::wal::segments::{MovedBatches, Purpose};
use crate::wal::{CheckpointPiece, Control, DamagedRange, SegmentShape, SegmentTable, WalPosition};

/// The checkpoints at the heads of new segments take the log's length divided by this; the
/// remaining partitions keep older segments in use for longer.
const CHECKPOINTS_PART: i64 = 4;

/// The builder of the next commit, and the limits on it.
#[derive(Debug)]
pub struct Staging<M: ReaderMemory> {
    builder: CommitBuilder<M>,
    /// The bytes that may gather for one commit; the last frame may exceed it.
    gathered_bytes_max: usize,
    checkpoints: Checkpointing,
    head: Head,
    /// The number of segments started since [`Self::take_rolls`].
    rolls: u32,
    /// The reason, once the log takes no more frames.
    poisoned: Option<WalFailure>,
}

/// The checkpoints at the head of the newest segment, until they are staged. A segment that begins
/// with many leaves less room to the next ones.
#[derive(Debug, Default)]
struct Head {
    is_staging: bool,
    /// The bytes that they may still take. A negative value is taken from the share of the next
    /// segments.
    room: i64,
    /// The last partition that was visited: they are visited in order, and the next segment
    /// continues after it.
    last: Option<TopicIdPartition>,
    /// The partition before the first that this segment visited.
    end: Option<TopicIdPartition>,
    /// The visit has wrapped around to the beginning of the order.
    has_wrapped: bool,
}

/// The checkpoint bytes that each segment adds to the allowance.
fn share_of(shape: SegmentShape) -> i64 {
    i64::from(shape.length()) / CHECKPOINTS_PART
}

impl Head {
    fn begin(&mut self, shape: SegmentShape) {
        let last = self.last;
        *self =
            Self { is_staging: true, room: self.room.min(0) + share_of(shape), last, end: last, has_wrapped: false };
    }

    /// The next partition whose checkpoint is due. Visits each once per segment.
    fn next(&mut self, table: &SegmentTable) -> Option<TopicIdPartition> {
        let mut due = table.checkpoint_due_after(self.last);
        if due.is_none() && !self.has_wrapped {
            (self.has_wrapped, self.last) = (true, None);
            due = table.checkpoint_due_after(None);
        }
        due.filter(|due| !self.has_wrapped || Some(*due) <= self.end)
    }
}

/// The outcome for a checkpoint that is due at a segment's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// The checkpoint is staged, begun, or not worth its space here.
    Passed,
    /// Another segment was started, which begins with its own checkpoints.
    Rolled,
    /// Another checkpoint is under way, and will end soon.
    Awaits,
}

/// The room that [`Staging::room`] has made for one frame.
#[derive(Debug)]
pub struct ReservedRoom<'a, M: ReaderMemory>(&'a mut CommitBuilder<M>);

impl<M: ReaderMemory> ReservedRoom<'_, M> {
    /// Puts a batch that the partition's log has just taken at `base_offset`, with its tagged
    /// fields.
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
            LogIdentity { id: partition.id, key: partition.key, version: partition.version },
            bytes,
            &header,
            now,
        );
    }

    pub(super) fn put_control(self, id: TopicIdPartition, control: &Control) {
        self.0.stage_control(id, control);
    }

    /// Puts a checkpoint that fits into one frame.
    fn put_checkpoint(self, partition: &Partition, checkpoint: &[u8]) {
        let (id, frontiers) = (partition.id, &partition.frontiers());
        self.0.stage_piece(NextPiece { id, begun_at: None, number: 0, count: 1, bytes: checkpoint, frontiers });
    }

    /// Puts a truncation and the checkpoint of the remaining log, after the log was cut. Both share
    /// a group: a restart finds both or neither.
    pub(super) fn put_truncation(self, partition: &Partition, truncation: &Control) {
        self.0.stage_control(partition.id, truncation);
        self.put_checkpoint(partition, &partition.checkpoint());
    }

    /// Puts a moved batch, and returns its new place.
    pub(super) fn put_relocated(self, id: TopicIdPartition, batch: &Bytes, header: &BatchHeader) -> MovedBatches {
        self.0.stage_relocated(id, batch, header)
    }

    /// Puts a mark for batches that should move and cannot be read, and returns its place.
    pub(super) fn put_damaged(self, id: TopicIdPartition, range: &DamagedRange) -> MovedBatches {
        self.0.stage_damaged(id, range)
    }
}

impl<M: ReaderMemory> Staging<M> {
    #[must_use]
    pub fn new(builder: CommitBuilder<M>, gathered_bytes_max: usize, piece_bytes_max: usize) -> Self {
        let checkpoints = Checkpointing::new(piece_bytes_max, builder.table.shape());
        Self { builder, gathered_bytes_max, checkpoints, head: Head::default(), rolls: 0, poisoned: None }
    }

    #[must_use]
    pub const fn table(&self) -> &SegmentTable {
        &self.builder.table
    }

    pub const fn table_mut(&mut self) -> &mut SegmentTable {
        &mut self.builder.table
    }

    pub const fn memory_mut(&mut self) -> &mut M {
        self.builder.memory_mut()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// The newest staged group; `None` if all of them are durable.
    #[must_use]
    pub(super) fn last_staged(&self) -> Option<WalPosition> {
        self.builder.last_staged().filter(|last| *last >= self.table().durable())
    }

    /// Whether only frames that free space may still be staged before the next commit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.builder.gathered_bytes() >= self.gathered_bytes_max
    }

    #[must_use]
    pub const fn poisoned(&self) -> Option<&WalFailure> {
        self.poisoned.as_ref()
    }

    /// Nothing is staged from here on. The gathered frames are never written: a later commit would
    /// count dropped ones as durable.
    pub(super) fn poison(&mut self, failure: WalFailure) {
        self.poisoned.get_or_insert(failure);
        let _ = self.builder.take_commit();
        self.head = Head::default();
        self.checkpoints.abandon();
    }

    /// Makes room for a frame with `payload` bytes.
    pub(super) fn room(
        &mut self,
        payload: usize,
        purpose: Purpose,
        partitions: &Partitions,
    ) -> Result<ReservedRoom<'_, M>, NoRoom> {
        self.make_room(payload, purpose, partitions)?;
        Ok(ReservedRoom(&mut self.builder))
    }

    fn make_room(&mut self, payload: usize, purpose: Purpose, partitions: &Partitions) -> Result<(), NoRoom> {
        loop {
            if let Some(failure) = &self.poisoned {
                return Err(NoRoom::Poisoned(failure.clone()));
            }
            if purpose != Purpose::Freeing && self.is_full() {
                return Err(NoRoom::AwaitCommit);
            }
            match self.builder.room(payload, purpose)? {
                Room::Here => return Ok(()),
                Room::Rolled => {
                    self.on_rolled();
                    self.stage_checkpoints(partitions)?;
                }
            }
        }
    }

    /// The payload to make room for so that both frames fit into one group.
    pub(super) fn size_of_truncation(truncation: &Control, checkpoint: usize) -> usize {
        frame_size(truncation.payload_length()) + CheckpointPiece::payload_length(checkpoint)
    }

    fn on_rolled(&mut self) {
        self.rolls += 1;
        self.head.begin(self.table().shape());
    }

    /// Whether the gathered commit starts a segment.
    pub(super) const fn has_rolled(&self) -> bool {
        self.rolls > 0
    }

    /// The number of segments started since the last call.
    pub(super) const fn take_rolls(&mut self) -> u32 {
        std::mem::replace(&mut self.rolls, 0)
    }

    // Checkpoints.

    /// Stages the partition's checkpoint or begins it: the caller repeats the call until it is
    /// staged. Does not wait for a segment's head, because the checkpoint frees space.
    pub(super) fn checkpoint(&mut self, partition: &Partition, partitions: &Partitions) -> Result<Progress, NoRoom> {
        if self.is_checkpointing(partition.key) {
            return Ok(Progress::UnderWay);
        }
        if self.checkpoints.is_small(partition.log.checkpoint_length()) {
            let checkpoint = partition.checkpoint();
            let payload = CheckpointPiece::payload_length(checkpoint.len());
            self.room(payload, Purpose::Cleaning, partitions)?.put_checkpoint(partition, &checkpoint);
            return Ok(Progress::Staged);
        }
        if self.checkpoints.is_free() {
            self.make_room(self.checkpoints.payload_max(), Purpose::Cleaning, partitions)?;
        }
        // Making room may have begun another checkpoint.
        if self.checkpoints.is_free() {
            self.begin_checkpoint(partition);
        }
        Ok(if self.is_checkpointing(partition.key) { Progress::UnderWay } else { Progress::Awaits })
    }

    /// Whether pieces of the partition's checkpoint are still to be staged.
    pub(super) fn is_checkpointing(&self, key: PartitionKey) -> bool {
        self.checkpoints.key() == Some(key)
    }

    /// Begins a checkpoint when there is room for a piece. The first piece is staged at once: the
    /// checkpoint holds exactly the frames staged before it.
    fn begin_checkpoint(&mut self, partition: &Partition) {
        self.checkpoints.begin(partition);
        self.put_piece();
    }

    fn put_piece(&mut self) {
        let Some(piece) = self.checkpoints.next() else { return };
        let begun_at = self.builder.stage_piece(piece);
        self.checkpoints.on_staged(begun_at);
    }

    /// Continues the checkpoint under way, and those at the head of the newest segment, as far as
    /// this commit has room.
    pub(super) fn stage_checkpoints(&mut self, partitions: &Partitions) -> Result<(), NoMemory> {
        match self.stage_next_piece(partitions).and_then(|()| self.stage_head(partitions)) {
            Err(NoRoom::Memory(error)) => {
                self.head.is_staging = false;
                Err(error)
            }
            // The checkpoints stay due.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Stages the next piece of the checkpoint under way, unless the next commit has one.
    fn stage_next_piece(&mut self, partitions: &Partitions) -> Result<(), NoRoom> {
        if self.checkpoints.is_stale(partitions) {
            self.checkpoints.abandon();
        }
        let Some(payload) = self.checkpoints.next().map(|piece| piece.payload_length()) else { return Ok(()) };
        if self.is_full() {
            return Err(NoRoom::AwaitCommit);
        }
        while self.builder.room(payload, Purpose::Cleaning)? == Room::Rolled {
            self.on_rolled();
        }
        self.put_piece();
        Ok(())
    }

    fn stage_head(&mut self, partitions: &Partitions) -> Result<(), NoRoom> {
        while self.head.is_staging && !self.is_full() {
            let due = self.head.next(&self.builder.table).filter(|_| self.head.room > 0);
            let Some(id) = due else {
                self.head.is_staging = false;
                return Ok(());
            };
            match partitions.find(id).map_or(Ok(Due::Passed), |partition| self.stage_due(partition))? {
                Due::Passed => self.head.last = Some(id),
                Due::Rolled => {}
                Due::Awaits => return Ok(()),
            }
        }
        Ok(())
    }

    fn stage_due(&mut self, partition: &Partition) -> Result<Due, NoRoom> {
        let bytes = partition.log.checkpoint_length();
        let length = i64::try_from(bytes).expect("a checkpoint is in memory");
        let is_small = self.checkpoints.is_small(bytes);
        // The space that is left in a full log is for frames that free space.
        let is_too_large = !is_small && self.table().is_full() && length > self.head.room;
        if is_too_large || self.is_checkpointing(partition.key) {
            return Ok(Due::Passed);
        }
        if !is_small && !self.checkpoints.is_free() {
            // Many checkpoints exceed a piece, but few exceed the share of a segment's head: those
            // must not hold up the others.
            let is_long = self.checkpoints.bytes_left() > share_of(self.table().shape());
            return Ok(if is_long { Due::Passed } else { Due::Awaits });
        }
        let payload = if is_small { CheckpointPiece::payload_length(bytes) } else { self.checkpoints.payload_max() };
        if self.builder.room(payload, Purpose::Cleaning)? == Room::Rolled {
            self.on_rolled();
            return Ok(Due::Rolled);
        }
        if is_small {
            ReservedRoom(&mut self.builder).put_checkpoint(partition, &partition.checkpoint());
        } else {
            self.begin_checkpoint(partition);
        }
        self.head.room -= length;
        Ok(Due::Passed)
    }

    /// Plans a group that proves the durable groups, if it fits: otherwise the next segment proves
    /// as much. Starts a segment if none is active, as after a crash within a roll, unless the log
    /// is too full for new data: the remaining space is for frames that free space, and the next
    /// group that is written proves as much.
    ///
    /// # Errors
    /// If there is no memory or no slot for it yet.
    pub(super) fn stage_proof(&mut self) -> Result<(), NoRoom> {
        if self.poisoned.is_some() {
            return Ok(());
        }
        if self.table().next_position().is_none() {
            match self.builder.room(0, Purpose::Append) {
                Ok(Room::Rolled) => self.on_rolled(),
                Ok(Room::Here) | Err(NoRoom::Full) => {}
                Err(no_room) => return Err(no_room),
            }
        }
        if self.table().admits_proof() {
            self.builder.stage_proof()?;
        }
        Ok(())
    }

    /// Plans the group that puts the WAL session on disk, before all other groups. Without an
    /// active segment the header of the next one does, and nothing is planned.
    pub(super) fn stage_session(&mut self) -> Result<(), NoMemory> {
        self.builder.stage_proof()
    }

    pub(super) fn take_commit(&mut self) -> Option<Commit> {
        self.checkpoints.on_commit();
        self.builder.take_commit()
    }

    /// The bytes of the partition's batches that no commit has taken yet.
    #[must_use]
    pub(super) fn staged_bytes(&self, partition: &Partition) -> u64 {
        self.builder.staged_bytes(partition.key, partition.version)
    }

    pub(super) const fn builder(&self) -> &CommitBuilder<M> {
        &self.builder
    }

    pub(super) const fn builder_mut(&mut self) -> &mut CommitBuilder<M> {
        &mut self.builder
    }
}
