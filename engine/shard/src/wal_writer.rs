//! Lays frames into chunks and turns what has gathered into the steps of a commit: groups at their places, a sealed segment's index
//! and trailer, a new segment's header, and the syncs between them. Where things go is the segment table's decision.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_api::chunk::{ChunkError, ChunkWriter};
use rustmq_engine_api::published::TailBatch;
use rustmq_engine_core::wal::frame::{Control, DamagedRange, frame_size};
use rustmq_engine_core::wal::retention::dated;
use rustmq_engine_core::wal::segments::{Admission, Purpose};
use rustmq_engine_core::wal::{
    FinishedGroup, GroupKind, GroupWriter, SegmentTable, SlotId, Trailer, WalId, WalPosition, group,
};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, Timestamp, TopicIdPartition};

use crate::disk::{SlotFile, Step};
use crate::tail::TailMemory;

/// A batch whose place in memory is fixed, waiting for its sync.
#[derive(Clone, Debug)]
pub(crate) struct LaidBatch {
    pub id: TopicIdPartition,
    pub chunk: u64,
    pub batch: TailBatch,
}

/// What is written and synced in one go.
#[derive(Debug)]
pub(crate) struct Commit {
    pub steps: Vec<Step>,
    /// In the order of the log.
    pub batches: Vec<LaidBatch>,
    /// Durable up to here afterwards.
    pub end: WalPosition,
    pub bytes: usize,
    /// It holds frames, which a later group is to prove; or else it is such a proof.
    pub holds_frames: bool,
}

/// Why a frame has no place now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error("the next segment is being prepared")]
    AwaitSlot,
    #[error("as much as one commit may take has gathered")]
    AwaitCommit,
    #[error("the write-ahead log is full")]
    Full,
    #[error(transparent)]
    Memory(#[from] ChunkError),
}

/// The answer to [`WalWriter::room`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The frame can be put now.
    Here,
    /// A new segment was started. Checkpoints belong at its head; then ask again.
    Rolled,
}

struct OpenGroup {
    writer: GroupWriter,
    batches: Vec<(TopicIdPartition, BatchHeader, Range<usize>)>,
}

pub(crate) struct WalWriter {
    wal: WalId,
    pub table: SegmentTable,
    pub files: HashMap<SlotId, Arc<SlotFile>>,
    chunk: Option<ChunkWriter>,
    chunk_number: u64,
    pub tail: TailMemory,
    open: Option<OpenGroup>,
    steps: Vec<Step>,
    batches: Vec<LaidBatch>,
    bytes: usize,
    holds_frames: bool,
    end: WalPosition,
    fsync: bool,
}

impl WalWriter {
    pub(crate) fn new(
        wal: WalId,
        table: SegmentTable,
        files: HashMap<SlotId, Arc<SlotFile>>,
        tail: TailMemory,
        fsync: bool,
    ) -> Self {
        let end = table.durable();
        Self {
            wal,
            table,
            files,
            chunk: None,
            chunk_number: 0,
            tail,
            open: None,
            steps: Vec::new(),
            batches: Vec::new(),
            bytes: 0,
            holds_frames: false,
            end,
            fsync,
        }
    }

    /// Bytes that wait for the next commit.
    pub(crate) fn gathered_bytes(&self) -> usize {
        self.bytes + self.open.as_ref().map_or(0, |open| open.writer.length())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.open.as_ref().is_none_or(|open| open.writer.is_empty())
    }

    /// Makes room for a frame with `payload` bytes.
    pub(crate) fn room(&mut self, payload: usize, purpose: Purpose) -> Result<Room, NoRoom> {
        loop {
            let size = self.open.as_ref().map_or_else(
                || self.table.shape().padded(narrow(group::HEADER_LENGTH as usize + frame_size(payload))) as usize,
                |open| open.writer.size_with(payload),
            );
            match self.table.admit(size, purpose) {
                Admission::Full => return Err(NoRoom::Full),
                Admission::AwaitSlot => return Err(NoRoom::AwaitSlot),
                Admission::Roll => {
                    self.roll()?;
                    return Ok(Room::Rolled);
                }
                Admission::Fits if self.open.is_some() && self.chunk_room() >= size => return Ok(Room::Here),
                // The chunk is at its end: the group ends, the next one starts a chunk.
                Admission::Fits if self.open.is_some() => self.finish_group(GroupKind::Data),
                Admission::Fits => {
                    self.reserve(size)?;
                    let at = self.table.next_position().expect("what fits in the active segment has a position in it");
                    let writer = GroupWriter::new(self.wal, self.table.run(), at, self.table.shape());
                    self.open = Some(OpenGroup { writer, batches: Vec::new() });
                    return Ok(Room::Here);
                }
            }
        }
    }

    fn chunk_room(&self) -> usize {
        self.chunk.as_ref().map_or(0, ChunkWriter::room)
    }

    fn reserve(&mut self, size: usize) -> Result<(), ChunkError> {
        if self.chunk_room() < size {
            self.chunk = Some(self.tail.take_chunk(size)?);
            self.chunk_number += 1;
        }
        Ok(())
    }

    /// The open group and its region. Only after [`Self::room`] said `Here`.
    fn put<R>(&mut self, put: impl FnOnce(&mut OpenGroup, &mut [u8]) -> R) -> (WalPosition, R) {
        let open = self.open.as_mut().expect("room was made, which opens a group");
        let chunk = self.chunk.as_mut().expect("an open group lies in a chunk");
        let result = put(open, chunk.open_part());
        (open.writer.position(), result)
    }

    pub(crate) fn put_batch(
        &mut self,
        id: TopicIdPartition,
        bytes: &[u8],
        header: &BatchHeader,
        base_offset: Offset,
        epoch: LeaderEpoch,
        now: Timestamp,
    ) {
        let header = BatchHeader { base_offset, leader_epoch: epoch, ..*header };
        let (group, ()) = self.put(|open, region| {
            let range = open.writer.put_batch(region, id, bytes, base_offset, epoch);
            open.batches.push((id, header, range));
        });
        self.table.record_batch(id, group, &dated(&header, now));
    }

    pub(crate) fn put_relocated(&mut self, id: TopicIdPartition, bytes: &[u8], header: &BatchHeader) {
        let (group, _) = self.put(|open, region| open.writer.put_relocated(region, id, bytes));
        self.table.record_relocated(id, group, header);
    }

    pub(crate) fn put_damaged(&mut self, id: TopicIdPartition, range: &DamagedRange) {
        let (group, ()) = self.put(|open, region| open.writer.put_damaged(region, id, range));
        self.table.record_damaged(id, group, range);
    }

    pub(crate) fn put_control(&mut self, id: TopicIdPartition, control: &Control) {
        let (group, ()) = self.put(|open, region| open.writer.put_control(region, id, control));
        self.table.record_control(id, group, control);
    }

    pub(crate) fn put_checkpoint(&mut self, id: TopicIdPartition, checkpoint: &[u8]) {
        let (group, ()) = self.put(|open, region| open.writer.put_checkpoint(region, id, checkpoint));
        self.table.record_checkpoint(id, group);
    }

    /// Partitions were closed: of their batches nothing is to be published, even if they are opened anew before the commit is done.
    pub(crate) fn forget_laid(&mut self, gone: &HashSet<TopicIdPartition>) {
        self.batches.retain(|laid| !gone.contains(&laid.id));
        if let Some(open) = &mut self.open {
            open.batches.retain(|(id, ..)| !gone.contains(id));
        }
    }

    /// Bytes of the partition's batches that no commit has taken yet.
    pub(crate) fn laid_bytes(&self, id: TopicIdPartition) -> u64 {
        let laid = self.batches.iter().filter(|laid| laid.id == id).map(|laid| laid.batch.bytes.len());
        let open = self.open.iter().flat_map(|open| &open.batches).filter(|(of, ..)| *of == id);
        laid.chain(open.map(|(_, _, range)| range.len())).sum::<usize>() as u64
    }

    /// The commit that ends at `end` is done. A later group says that it is durable only if it was synced.
    pub(crate) fn on_committed(&mut self, end: WalPosition) {
        if self.fsync { self.table.on_synced(end) } else { self.table.on_durable(end) }
    }

    fn active_file(&self) -> Option<Arc<SlotFile>> {
        let position = self.table.next_position()?;
        self.files.get(&self.table.slot(position.generation)?).map(Arc::clone)
    }

    /// Ends the open group, if there is one, and plans its write.
    fn finish_group(&mut self, kind: GroupKind) {
        let Some(OpenGroup { writer, batches }) = self.open.take() else { return };
        let file = self.active_file().expect("a group is open only in an active segment, whose file is open");
        self.holds_frames |= !writer.is_empty();
        let durable = self.table.provable();
        let chunk = self.chunk.as_mut().expect("an open group lies in a chunk");
        let finished = writer.finish(chunk.open_part(), kind, durable);
        let bytes = chunk.freeze(finished.padded as usize);
        for (id, header, range) in batches {
            let batch = TailBatch {
                base: header.base_offset,
                next: header.next_offset(),
                max_timestamp: header.max_timestamp,
                bytes: bytes.slice(range),
            };
            self.batches.push(LaidBatch { id, chunk: self.chunk_number, batch });
        }
        self.plan_group(file, &finished, bytes);
        self.table.advance(finished.end());
    }

    fn plan_group(&mut self, file: Arc<SlotFile>, group: &FinishedGroup, bytes: Bytes) {
        self.bytes += bytes.len();
        self.end = group.end();
        self.steps.push(Step::Write { file, offset: u64::from(group.position.offset), bytes });
    }

    /// Plans a group without frames that says how far the log is durable. Without room for it, does nothing.
    pub(crate) fn put_proof(&mut self) -> Result<(), ChunkError> {
        let Some(at) = self.table.next_position() else { return Ok(()) };
        let shape = self.table.shape();
        if self.open.is_some() || at.offset + shape.block_size() > shape.trailer() {
            return Ok(());
        }
        self.reserve(shape.block_size() as usize)?;
        let writer = GroupWriter::new(self.wal, self.table.run(), at, shape);
        self.open = Some(OpenGroup { writer, batches: Vec::new() });
        self.finish_group(GroupKind::Proof);
        Ok(())
    }

    /// Seals the active segment, if there is one, and starts the next.
    fn roll(&mut self) -> Result<(), ChunkError> {
        self.finish_group(GroupKind::Data);
        if let Some(file) = self.active_file() {
            let trailer = self.put_index(&file)?;
            // From here on the segment is sealed: it must be synced whatever fails. Without a trailer it is scanned.
            if let Some(trailer) = trailer
                && let Ok(bytes) = self.block(|wal, block| trailer.encode(wal, block))
            {
                let offset = u64::from(self.table.shape().trailer());
                self.steps.push(Step::Write { file: Arc::clone(&file), offset, bytes });
            }
            self.steps.push(Step::Sync { file });
        }
        // Memory first: a segment that is started has its header planned.
        self.reserve(self.table.shape().block_size() as usize)?;
        let started =
            self.table.start_segment().expect("the table says to roll only with a slot ready and after a seal");
        let file = Arc::clone(self.files.get(&started.slot).expect("a ready slot's file is open"));
        let bytes = self.block(|_, block| started.header.encode(block))?;
        self.steps.push(Step::Write { file: Arc::clone(&file), offset: 0, bytes });
        self.steps.push(Step::Sync { file });
        Ok(())
    }

    fn put_index(&mut self, file: &Arc<SlotFile>) -> Result<Option<Trailer>, ChunkError> {
        let (Some(at), Some(payload)) = (self.table.next_position(), self.table.index_payload()) else {
            return Ok(self.table.seal(None));
        };
        let mut writer = GroupWriter::new(self.wal, self.table.run(), at, self.table.shape());
        self.reserve(writer.size_with(payload.len()))?;
        let chunk = self.chunk.as_mut().expect("room was reserved in it");
        writer.put_index(chunk.open_part(), &payload);
        let finished = writer.finish(chunk.open_part(), GroupKind::Index, self.table.provable());
        let bytes = chunk.freeze(finished.padded as usize);
        self.plan_group(Arc::clone(file), &finished, bytes);
        Ok(self.table.seal(Some(finished)))
    }

    /// One block, written by `encode`.
    fn block(&mut self, encode: impl FnOnce(WalId, &mut [u8])) -> Result<Bytes, ChunkError> {
        let length = self.table.shape().block_size() as usize;
        self.reserve(length)?;
        let chunk = self.chunk.as_mut().expect("room was reserved in it");
        encode(self.wal, &mut chunk.open_part()[..length]);
        Ok(chunk.freeze(length))
    }

    /// Whether a commit ends with a sync.
    pub(crate) const fn syncs(&self) -> bool {
        self.fsync
    }

    /// Everything that has gathered, as one commit; `None` if nothing has.
    pub(crate) fn take_commit(&mut self) -> Option<Commit> {
        if self.is_empty() {
            return None;
        }
        self.finish_group(GroupKind::Data);
        let steps = std::mem::take(&mut self.steps);
        let steps = if self.fsync { synced(steps) } else { steps };
        let (batches, bytes) = (std::mem::take(&mut self.batches), std::mem::take(&mut self.bytes));
        let holds_frames = std::mem::take(&mut self.holds_frames);
        Some(Commit { steps, batches, end: self.end, bytes, holds_frames })
    }
}

/// The steps, durable at the end. What is one write, as most commits are, takes its sync along: that spares the shard a turn.
fn synced(mut steps: Vec<Step>) -> Vec<Step> {
    match steps.pop() {
        Some(Step::Write { file, offset, bytes }) if steps.is_empty() => {
            steps.push(Step::WriteSynced { file, offset, bytes });
        }
        Some(Step::Write { file, offset, bytes }) => {
            steps.push(Step::Write { file: Arc::clone(&file), offset, bytes });
            steps.push(Step::Sync { file });
        }
        last => steps.extend(last),
    }
    steps
}

fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
