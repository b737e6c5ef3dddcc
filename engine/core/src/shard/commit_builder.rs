//! Writes frames into chunks and plans the steps of a commit: groups at their places, a sealed
//! segment's index and trailer, a new segment's header, and the syncs between them. The segment
//! table decides the places. Evicts the oldest readable batches when memory is short.
//!
//! ```text
//! room -> stage_* -> open group --room in the next chunk or segment, take_commit--> planned steps
//! planned steps --take_commit--> Commit
//! ```
//! Does not execute a step, validate a batch, or decide when a commit begins.

use std::ops::Range;

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use super::checkpointing::NextPiece;
use super::commit::{Commit, StagedBatch, SyncPolicy};
use super::disk_step::DiskStep;
use super::failure::WalFailure;
use super::host::ReaderMemory;
use super::memory::{Chunk, NoMemory};
use super::partitions::{LogVersion, PartitionKey};
use super::readable_log::{BatchPlace, TailBatch};
use super::tail::TailMemory;
use crate::wal::frame::frame_size;
use crate::wal::retention::dated;
use crate::wal::segments::{Admission, MovedBatches, Purpose};
use crate::wal::{
    CheckpointPiece, Control, DamagedRange, FinishedGroup, GroupKind, GroupWriter, SegmentTable, SlotId, WalId,
    WalPosition, group, read_marker_field,
};

/// Why there is no room for a frame now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("the next segment is being prepared")]
    AwaitSlot,
    #[error("the next commit is full")]
    AwaitCommit,
    #[error("the write-ahead log is full")]
    Full,
    #[error(transparent)]
    Memory(#[from] NoMemory),
    #[error(transparent)]
    Poisoned(WalFailure),
}

/// The log of a staged batch: the frame names the partition by its id, the published batch by its
/// key.
#[derive(Clone, Copy, Debug)]
pub struct LogIdentity {
    pub id: TopicIdPartition,
    pub key: PartitionKey,
    pub version: LogVersion,
}

/// The result of a request for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The frame can be staged now.
    Here,
    /// A new segment was started. Stage its first checkpoints, then ask again.
    Rolled,
}

#[derive(Debug)]
struct OpenGroup {
    writer: GroupWriter,
    batches: Vec<OpenBatch>,
}

#[derive(Debug)]
struct OpenBatch {
    key: PartitionKey,
    version: LogVersion,
    header: BatchHeader,
    range: Range<usize>,
}

/// Gathers the frames of the next commit, even while earlier commits are in flight. See the module.
#[derive(Debug)]
pub struct CommitBuilder<M: ReaderMemory> {
    wal: WalId,
    pub table: SegmentTable,
    memory: M,
    tail: TailMemory,
    chunk: Option<M::Chunk>,
    chunk_number: u64,
    open: Option<OpenGroup>,
    steps: Vec<DiskStep>,
    batches: Vec<StagedBatch>,
    bytes: usize,
    holds_frames: bool,
    end: WalPosition,
    /// The position of the newest finished group.
    last_group: Option<WalPosition>,
    syncs: SyncPolicy,
}

impl<M: ReaderMemory> CommitBuilder<M> {
    #[must_use]
    pub fn new(wal: WalId, table: SegmentTable, memory: M, syncs: SyncPolicy) -> Self {
        let end = table.durable();
        Self {
            wal,
            table,
            memory,
            tail: TailMemory::default(),
            chunk: None,
            chunk_number: 0,
            open: None,
            steps: Vec::new(),
            batches: Vec::new(),
            bytes: 0,
            holds_frames: false,
            end,
            last_group: None,
            syncs,
        }
    }

    /// The bytes gathered for the next commit.
    #[must_use]
    pub fn gathered_bytes(&self) -> usize {
        self.bytes + self.open.as_ref().map_or(0, |open| open.writer.length())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.open.as_ref().is_none_or(|open| open.writer.is_empty())
    }

    /// The position of the newest group of this WAL session, written or not.
    #[must_use]
    pub fn last_staged(&self) -> Option<WalPosition> {
        let open = self.open.as_ref().filter(|open| !open.writer.is_empty());
        open.map(|open| open.writer.position()).or(self.last_group)
    }

    // Room.

    /// Makes room for a frame with `payload` bytes.
    ///
    /// # Errors
    /// If the log is full, no segment is ready, or there is no memory.
    pub fn room(&mut self, payload: usize, purpose: Purpose) -> Result<Room, NoRoom> {
        // A caller may have made room and then staged no frame.
        self.open.take_if(|open| open.writer.is_empty());
        let fresh = self.table.shape().padded(narrow(group::HEADER_LENGTH as usize + frame_size(payload))) as usize;
        let room = self.chunk_room();
        let joined = self.open.as_ref().map(|open| open.writer.size_with(payload)).filter(|size| *size <= room);
        // A group that does not fit in its chunk ends, and the next one starts a chunk.
        match self.table.admit(joined.unwrap_or_else(|| self.open_bytes() + fresh), purpose) {
            Admission::Full => Err(NoRoom::Full),
            Admission::AwaitSlot => Err(NoRoom::AwaitSlot),
            Admission::Roll => self.roll().map(|()| Room::Rolled).map_err(NoRoom::Memory),
            Admission::Fits => {
                if joined.is_none() {
                    self.finish_group_before(fresh)?;
                    let at = self.table.next_position();
                    self.open_group(at.expect("what fits in the active segment has a position in it"));
                }
                Ok(Room::Here)
            }
        }
    }

    fn chunk_room(&self) -> usize {
        self.chunk.as_ref().map_or(0, Chunk::room)
    }

    /// The bytes that the open group takes if it ends now.
    fn open_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.writer.padded())
    }

    /// Ends the open group, if there is one, and reserves `length` contiguous bytes behind it, in
    /// its chunk or in a new one. Takes the memory first: without it the group stays open and ends
    /// with its commit. A group that ends before its commit names an older durable end, so another
    /// group must follow it in the commit.
    fn finish_group_before(&mut self, length: usize) -> Result<(), NoMemory> {
        let is_short = self.chunk_room() < self.open_bytes() + length;
        let next = if is_short { Some(self.take_chunk(length)?) } else { None };
        self.finish_group(GroupKind::Data);
        if let Some(next) = next {
            self.chunk = Some(next);
            self.chunk_number += 1;
        }
        Ok(())
    }

    fn take_chunk(&mut self, length: usize) -> Result<M::Chunk, NoMemory> {
        self.make_room(length);
        self.memory.take(length)
    }

    fn open_group(&mut self, at: WalPosition) {
        let writer = GroupWriter::new(self.wal, self.table.session(), at, self.table.shape());
        self.open = Some(OpenGroup { writer, batches: Vec::new() });
    }

    /// Evicts the oldest readable batches until a chunk of `wanted` bytes is within the memory
    /// limit, or none can be evicted: a reader may still hold evicted memory. Zero compares the
    /// memory in use with the limit.
    pub fn make_room(&mut self, wanted: usize) {
        while self.tail.can_evict() && self.memory.is_short_of(wanted) {
            let Self { tail, memory, table, .. } = self;
            let unindexed = table.shared().unindexed();
            tail.evict_oldest().for_each(|(key, through)| memory.evict(key, through, &unindexed));
        }
    }

    pub const fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// The batches of a commit became readable. Those of one partition come in order.
    pub fn on_published(&mut self, batches: &[StagedBatch]) {
        let together = batches.chunk_by(|one, next| (one.key, one.chunk) == (next.key, next.chunk));
        for last in together.filter_map(<[_]>::last) {
            self.tail.note(last.chunk, last.key, last.batch.base);
        }
    }

    /// Readers see the log cut: its batches in memory end at or below `end`.
    pub(super) fn on_cut(&mut self, key: PartitionKey, end: Offset) {
        self.tail.cut(key, end);
    }

    // Frames. Only after `room` returned `Here`.

    /// Puts a frame into the open group, and returns the group's position.
    fn stage<R>(&mut self, put: impl FnOnce(&mut OpenGroup, &mut [u8]) -> R) -> (WalPosition, R) {
        let open = self.open.as_mut().expect("room was made, which opens a group");
        let chunk = self.chunk.as_mut().expect("an open group lies in a chunk");
        let result = put(open, chunk.open_part());
        (open.writer.position(), result)
    }

    /// `header` has the base offset and leader epoch that the log assigned. `bytes` may have tagged
    /// fields behind the batch.
    pub fn stage_batch(&mut self, of: LogIdentity, bytes: &[u8], header: &BatchHeader, now: Timestamp) {
        let LogIdentity { id, key, version } = of;
        let (group, ()) = self.stage(|open, region| {
            let range = open.writer.put_batch(region, id, bytes, header.base_offset, header.leader_epoch);
            open.batches.push(OpenBatch { key, version, header: *header, range });
        });
        self.table.record_batch(id, group, &dated(header, now));
        self.record_aborted(id, group, bytes, header);
    }

    pub fn stage_relocated(&mut self, id: TopicIdPartition, bytes: &[u8], header: &BatchHeader) -> MovedBatches {
        let (group, _) = self.stage(|open, region| open.writer.put_relocated(region, id, bytes));
        let moved = self.table.record_relocated(id, group, header);
        self.record_aborted(id, group, bytes, header);
        moved
    }

    fn record_aborted(&mut self, id: TopicIdPartition, group: WalPosition, payload: &[u8], header: &BatchHeader) {
        if let Some(aborted) = read_marker_field(header, payload).aborted() {
            self.table.record_aborted(id, group, aborted);
        }
    }

    pub fn stage_damaged(&mut self, id: TopicIdPartition, range: &DamagedRange) -> MovedBatches {
        let (group, ()) = self.stage(|open, region| open.writer.put_damaged(region, id, range));
        self.table.record_damaged(id, group, range)
    }

    pub fn stage_control(&mut self, id: TopicIdPartition, control: &Control) {
        let (group, ()) = self.stage(|open, region| open.writer.put_control(region, id, control));
        self.table.record_control(id, group, control);
    }

    /// Stages a piece of a checkpoint. Returns where the checkpoint began; the first piece begins
    /// it here.
    pub(super) fn stage_piece(&mut self, piece: NextPiece<'_>) -> WalPosition {
        let NextPiece { id, begun_at, number, count, bytes, frontiers } = piece;
        let (group, piece) = self.stage(|open, region| {
            let begun_at = begun_at.unwrap_or_else(|| open.writer.next_frame());
            let piece = CheckpointPiece { begun_at, number, count };
            open.writer.put_checkpoint(region, id, &piece, bytes);
            piece
        });
        self.table.record_checkpoint(id, group, &piece, bytes.len(), frontiers);
        piece.begun_at
    }

    /// Plans a group without frames that proves how far the log is durable. Does nothing if the
    /// active segment has no room for it: the next segment proves as much.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn stage_proof(&mut self) -> Result<(), NoMemory> {
        let Some(at) = self.table.next_position() else { return Ok(()) };
        let shape = self.table.shape();
        self.open.take_if(|open| open.writer.is_empty());
        if self.open.is_some() || at.offset + shape.block_size() > shape.trailer() {
            return Ok(());
        }
        self.finish_group_before(shape.block_size() as usize)?;
        self.open_group(at);
        self.finish_group(GroupKind::Proof);
        Ok(())
    }

    /// The bytes of the partition's batches, in this version of its log, that no commit has taken
    /// yet.
    #[must_use]
    pub fn staged_bytes(&self, key: PartitionKey, version: LogVersion) -> u64 {
        let is_of_log = |other: PartitionKey, of: LogVersion| (other, of) == (key, version);
        let staged = self.batches.iter().filter(|staged| is_of_log(staged.key, staged.version));
        let staged = staged.map(|staged| staged.batch.bytes.len());
        let open = self.open.iter().flat_map(|open| &open.batches).filter(|open| is_of_log(open.key, open.version));
        staged.chain(open.map(|open| open.range.len())).sum::<usize>() as u64
    }

    /// The logs and offsets of the batches that no commit has taken yet, in the order of the log.
    pub(super) fn staged_offsets(&self) -> impl Iterator<Item = (PartitionKey, LogVersion, Range<Offset>)> {
        let staged = self.batches.iter();
        let staged = staged.map(|staged| (staged.key, staged.version, staged.batch.base..staged.batch.next));
        let open = self.open.iter().flat_map(|open| &open.batches);
        staged.chain(open.map(|open| (open.key, open.version, open.header.base_offset..open.header.next_offset())))
    }

    // Commits.

    fn active_slot(&self) -> Option<SlotId> {
        self.table.slot(self.table.next_position()?.generation)
    }

    /// Ends the open group, if there is one, and plans its write.
    fn finish_group(&mut self, kind: GroupKind) {
        let Some(OpenGroup { writer, batches }) = self.open.take() else { return };
        if kind == GroupKind::Data && writer.is_empty() {
            // A caller made room and staged no frame.
            return;
        }
        self.holds_frames |= !writer.is_empty();
        let (finished, bytes) = self.plan_group(writer, kind);
        for OpenBatch { key, version, header, range } in batches {
            let batch = TailBatch {
                base: header.base_offset,
                next: header.next_offset(),
                max_timestamp: header.max_timestamp,
                bytes: bytes.slice(range),
                place: BatchPlace::in_group(finished.position),
            };
            self.batches.push(StagedBatch { key, version, chunk: self.chunk_number, batch });
        }
        self.table.advance(finished.end());
    }

    /// Writes the group's header, and plans its write to the active segment.
    fn plan_group(&mut self, writer: GroupWriter, kind: GroupKind) -> (FinishedGroup, Bytes) {
        let slot = self.active_slot().expect("a group has its place in an active segment");
        let durable = self.table.provable();
        let chunk = self.chunk.as_mut().expect("a group lies in a chunk");
        let finished = writer.finish(chunk.open_part(), kind, durable);
        let bytes = chunk.freeze(finished.padded as usize);
        self.bytes += bytes.len();
        (self.end, self.last_group) = (finished.end(), Some(finished.position));
        self.table.on_proof(durable);
        self.steps.push(DiskStep::Write { slot, offset: finished.position.offset, bytes: bytes.clone() });
        (finished, bytes)
    }

    /// Seals the active segment, if there is one, and starts the next.
    fn roll(&mut self) -> Result<(), NoMemory> {
        // After the seal, the trailer and the next header must not fail; and a commit that ends
        // with the header adds a proof.
        let blocks = 3 * self.table.shape().block_size() as usize;
        self.finish_group_before(self.table.index_group_size(self.open_bytes()) + blocks)?;
        let index = self.index_group();
        if let Some(slot) = self.active_slot() {
            self.seal(slot, index);
        }
        let started =
            self.table.start_segment().expect("the table says to roll only with a slot ready and after a seal");
        self.plan_block(started.slot, 0, |_, block| started.header.encode(block));
        self.steps.push(DiskStep::Sync { slot: started.slot });
        Ok(())
    }

    /// The group that ends the active segment, and its payload. `None` if it does not fit: recovery
    /// then scans the segment.
    fn index_group(&self) -> Option<(GroupWriter, Vec<u8>)> {
        let (at, payload) = (self.table.next_position()?, self.table.index_payload()?);
        Some((GroupWriter::new(self.wal, self.table.session(), at, self.table.shape()), payload))
    }

    /// Plans the end of the active segment. From here on it must be synced, even if a later step
    /// fails.
    fn seal(&mut self, slot: SlotId, index: Option<(GroupWriter, Vec<u8>)>) {
        let finished = index.map(|(mut writer, payload)| {
            let chunk = self.chunk.as_mut().expect("room was reserved in it");
            writer.put_index(chunk.open_part(), &payload);
            self.plan_group(writer, GroupKind::Index).0
        });
        if let Some(trailer) = self.table.seal(finished) {
            self.plan_block(slot, self.table.shape().trailer(), |wal, block| trailer.encode(wal, block));
        }
        self.steps.push(DiskStep::Sync { slot });
    }

    /// Plans the write of one block. The caller reserved its memory.
    fn plan_block(&mut self, slot: SlotId, offset: u32, encode: impl FnOnce(WalId, &mut [u8])) {
        let length = self.table.shape().block_size() as usize;
        let chunk = self.chunk.as_mut().expect("room was reserved in it");
        encode(self.wal, &mut chunk.open_part()[..length]);
        let bytes = chunk.freeze(length);
        self.steps.push(DiskStep::Write { slot, offset, bytes });
    }

    /// Takes everything gathered as one commit; `None` if that is nothing.
    ///
    /// Its last group names the durable end of this moment. If all its groups ended earlier, as in
    /// a commit that ends with a segment's header, a proof follows them. Without it, recovery would
    /// take damage in an earlier commit, which is answered by then, for a torn tail.
    pub fn take_commit(&mut self) -> Option<Commit> {
        if self.is_empty() {
            return None;
        }
        self.finish_group(GroupKind::Data);
        if !self.table.is_proven() {
            // The proof has a place and memory: a roll reserves both, and so does the room for a
            // frame that was not staged. Should they be gone, a later commit proves as much.
            let _ = self.stage_proof();
        }
        let steps = self.syncs.applied_to(std::mem::take(&mut self.steps));
        let (batches, bytes) = (std::mem::take(&mut self.batches), std::mem::take(&mut self.bytes));
        let holds_frames = std::mem::take(&mut self.holds_frames);
        Some(Commit { steps, batches, end: self.end, bytes, holds_frames })
    }

    /// The commit that ends at `end` is durable. Later groups may prove it only if it was synced.
    pub fn on_committed(&mut self, end: WalPosition) {
        match self.syncs {
            SyncPolicy::EachCommit => self.table.on_synced(end),
            SyncPolicy::Never => self.table.on_durable(end),
        }
    }
}

fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
