//! A disk of slots in memory, and a minimal shard that runs a WAL on it: it writes frames, commits
//! groups, rolls segments, relocates batches and frees segments. A test can withhold the writes of
//! a commit, and tear them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicIdPartition};

use crate::log::Frontiers;
use crate::wal::frame::{self, Frame};
use crate::wal::group::{GroupHeader, GroupKind, HEADER_LENGTH};
use crate::wal::recovery::{CorruptionPolicy, Recovery, RecoveryError, RecoveryOptions, ResumePoint};
use crate::wal::scan::{ReplayEvent, SegmentPlace};
use crate::wal::segments::{
    Admission, Located, LocatedExtents, Location, MovedBatches, OldestSegment, Purpose, SEGMENTS_MIN,
};
use crate::wal::{
    CheckpointPiece, Control, DamagedRange, FinishedGroup, GroupWriter, ReadRange, RecoveredWal, SegmentShape,
    SegmentTable, SegmentTableConfig, SlotId, WalId, WalPosition,
};
use crate::wal::{read_check, recovery};

pub(super) const WAL: WalId = WalId([7; 16]);
pub(super) const BLOCK: usize = 512;

pub(super) fn partition(number: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(number) }
}

pub(super) fn batch(records: usize, size: usize, fill: u8) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for _ in 0..records {
        builder.push(Timestamp(1_000), None, Some(&vec![fill; size]), &[]);
    }
    builder.build()
}

pub(super) fn shape(blocks: u64) -> SegmentShape {
    SegmentShape::new(BLOCK as u64, blocks * BLOCK as u64).unwrap()
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Disk(pub BTreeMap<SlotId, Vec<u8>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub slot: SlotId,
    pub offset: usize,
    pub bytes: Vec<u8>,
    /// The parts of `bytes` that a reader checks: all but the padding of frames and of the group.
    pub checked: Vec<Range<usize>>,
}

impl Write {
    /// Creates a write without padding.
    pub(super) fn of(slot: SlotId, offset: usize, bytes: Vec<u8>) -> Self {
        let checked = std::iter::once(0..bytes.len()).collect();
        Self { slot, offset, bytes, checked }
    }
}

impl Disk {
    /// Writes the blocks for which `keep` is true, and leaves the old content in the others.
    /// Returns whether the disk now holds the whole write, without padding: a block that was left
    /// out may be equal to the old content.
    pub(super) fn write_some(&mut self, write: &Write, mut keep: impl FnMut(usize) -> bool) -> bool {
        let slot = self.0.get_mut(&write.slot).unwrap();
        for (number, block) in write.bytes.chunks(BLOCK).enumerate() {
            if keep(number) {
                let at = write.offset + number * BLOCK;
                slot[at..at + block.len()].copy_from_slice(block);
            }
        }
        write.checked.iter().all(|part| slot[write.offset..][part.clone()] == write.bytes[part.clone()])
    }

    pub(super) fn read(&self, slot: SlotId, offset: u32, length: u32) -> Bytes {
        let bytes = self.0.get(&slot).and_then(|slot| slot.get(offset as usize..)).unwrap_or_default();
        Bytes::copy_from_slice(&bytes[..bytes.len().min(length as usize)])
    }

    pub(super) fn recover(&self, shape: SegmentShape, policy: CorruptionPolicy) -> Result<RecoveredWal, RecoveryError> {
        let slots = self.0.iter().map(|(slot, bytes)| (*slot, bytes.len() as u64)).collect();
        // Larger groups do not fit in the window, so that they are requested again.
        let window = 1_024;
        let mut recovery = Recovery::new(RecoveryOptions { wal: WAL, shape, slots, window, policy });
        let mut reads = 0;
        while let Some(read) = recovery.poll_action() {
            recovery.on_read(&self.read(read.slot, read.offset, read.length))?;
            reads += 1;
            assert!(reads < 100_000, "recovery comes to an end");
        }
        recovery.finish()
    }
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Batch(Bytes),
    Nothing,
    Damaged { until: Offset },
}

/// The events that each partition is rebuilt from.
pub(super) type State = BTreeMap<TopicIdPartition, Vec<ReplayEvent>>;

pub(super) fn state_of(recovered: &RecoveredWal) -> State {
    let events = |items: &Vec<crate::wal::scan::ReplayItem>| items.iter().map(|item| item.event.clone()).collect();
    recovered.partitions.iter().map(|(id, items)| (*id, events(items))).collect()
}

/// A change of the batches' places, which counts once it is durable.
#[derive(Clone, Copy, Debug)]
enum Staged {
    Trim(Offset),
    Move(MovedBatches),
}

/// A shard that runs a WAL.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub shape: SegmentShape,
    pub disk: Disk,
    pub table: SegmentTable,
    /// The trims and moves that are not durable yet, with their groups.
    staged: Vec<(WalPosition, TopicIdPartition, Staged)>,
    /// The writes since the last sync, in order, each with the state once it is whole.
    pub in_flight: Vec<(Write, State)>,
    /// The state as of the last sync.
    pub durable_state: State,
    pub state: State,
    /// The number of damaged ranges written, relocated ones included.
    pub damaged_written: usize,
    /// The batches that each partition must be able to serve, by base offset.
    pub served: BTreeMap<TopicIdPartition, BTreeMap<i64, Bytes>>,
    region: Vec<u8>,
    writer: Option<GroupWriter>,
    /// The end of the last group.
    end: WalPosition,
    /// The number of slots that fit on the disk.
    room: usize,
}

impl Shard {
    pub(super) fn open(disk: Disk, shape: SegmentShape, segments_max: u32) -> Result<Self, RecoveryError> {
        Self::open_on_small_disk(disk, shape, segments_max, usize::MAX)
    }

    /// Opens the WAL on a disk with room for `room` slots.
    pub(super) fn open_on_small_disk(
        mut disk: Disk,
        shape: SegmentShape,
        segments_max: u32,
        room: usize,
    ) -> Result<Self, RecoveryError> {
        let recovered = disk.recover(shape, CorruptionPolicy::Refuse)?;
        let config = SegmentTableConfig { wal: WAL, shape, segments_max: segments_max.max(SEGMENTS_MIN) };
        let mut table = SegmentTable::new(config, &recovered);
        let state = state_of(&recovered);
        for (id, items) in &state {
            table.restore_log_start(*id, log_start(items));
            // No log is truncated below its newest base here, so no older base is needed, whatever
            // the log end at the newest.
            table.restore_base_end(*id, Offset(0));
        }
        while let OldestSegment::Freed(_) = table.poll_free(|_| Offset(i64::MAX)) {}
        prepare(&mut table, &mut disk, shape, room);
        let region = vec![0xEE; shape.length() as usize];
        let (durable_state, served, end) = (state.clone(), BTreeMap::new(), recovered.durable);
        let mut shard = Self {
            shape,
            disk,
            table,
            staged: Vec::new(),
            in_flight: Vec::new(),
            durable_state,
            state,
            damaged_written: 0,
            served,
            region,
            writer: None,
            end,
            room,
        };
        if matches!(recovered.resume_at, ResumePoint::NewSegment) {
            assert!(shard.start_segment());
        }
        Ok(shard)
    }

    /// Writes the proof group of the opening, without a sync.
    pub(super) fn prove(&mut self) {
        self.finish_group(GroupKind::Proof);
    }

    fn start_segment(&mut self) -> bool {
        let started = self.start_unsynced();
        self.sync();
        started
    }

    fn start_unsynced(&mut self) -> bool {
        let Some(started) = self.table.start_segment() else { return false };
        let mut block = vec![0; BLOCK];
        started.header.encode(&mut block);
        self.in_flight.push((Write::of(started.slot, 0, block), self.state.clone()));
        true
    }

    /// Begins a roll: index, trailer and the next header are in flight together.
    pub(super) fn half_roll(&mut self) {
        if self.table.segments_left() < 2 {
            return;
        }
        self.finish_group(GroupKind::Data);
        self.seal();
        self.start_unsynced();
    }

    /// Makes room for one more frame. Returns false if the WAL is full.
    fn make_room(&mut self, payload: usize, purpose: Purpose) -> bool {
        loop {
            let next = self.table.next_position();
            let writer = self.writer.clone();
            let writer = writer.or_else(|| next.map(|at| GroupWriter::new(WAL, self.table.session(), at, self.shape)));
            let size = writer.as_ref().map_or(payload, |writer| writer.size_with(payload));
            match self.table.admit(size, purpose) {
                Admission::Fits => {
                    self.writer = writer;
                    return true;
                }
                Admission::Full => return false,
                Admission::AwaitSlot => {
                    if !prepare(&mut self.table, &mut self.disk, self.shape, self.room) && purpose == Purpose::Cleaning
                    {
                        return false;
                    }
                }
                Admission::Roll => self.roll(),
            }
        }
    }

    fn roll(&mut self) {
        self.finish_group(GroupKind::Data);
        self.seal();
        assert!(self.start_segment());
        let mut last = None;
        while let Some(id) = self.table.checkpoint_due_after(last) {
            self.checkpoint(id);
            last = Some(id);
        }
    }

    pub(super) fn seal(&mut self) {
        if let (Some(index), Some(at)) = (self.table.index_payload(), self.table.next_position()) {
            let mut writer = GroupWriter::new(WAL, self.table.session(), at, self.shape);
            writer.put_index(&mut self.region, &index);
            let slot = self.table.slot(at.generation).unwrap();
            let group = writer.finish(&mut self.region, GroupKind::Index, self.table.provable());
            self.in_flight.push((self.group_write(slot, group), self.state.clone()));
            self.table.advance(group.end());
            let trailer = self.table.seal(Some(group)).unwrap();
            let mut block = vec![0; BLOCK];
            trailer.encode(WAL, &mut block);
            let write = Write::of(slot, self.shape.trailer() as usize, block);
            self.in_flight.push((write, self.state.clone()));
            self.end = group.end();
        } else {
            self.table.seal(None);
        }
    }

    fn group_write(&self, slot: SlotId, group: FinishedGroup) -> Write {
        let FinishedGroup { position, padded, .. } = group;
        let bytes = self.region[..padded as usize].to_vec();
        let header = GroupHeader::parse_at(WAL, self.shape, position, &bytes).unwrap();
        let frames = frame::frames(WAL, &header, &bytes).map(|frame| {
            let Frame { payload, payload_at, .. } = frame.unwrap();
            payload_at - frame::HEADER_LENGTH as usize..payload_at + payload.len()
        });
        let checked = std::iter::once(0..HEADER_LENGTH as usize).chain(frames).collect();
        Write { slot, offset: position.offset as usize, bytes, checked }
    }

    pub(super) fn finish_group(&mut self, kind: GroupKind) {
        let at = self.table.next_position();
        let proof = || at.map(|at| GroupWriter::new(WAL, self.table.session(), at, self.shape));
        let writer = self.writer.take();
        let Some(writer) = (if kind == GroupKind::Proof { writer.or_else(proof) } else { writer }) else { return };
        let slot = self.table.slot(writer.position().generation).unwrap();
        let kind = if writer.is_empty() { GroupKind::Proof } else { GroupKind::Data };
        let group = writer.finish(&mut self.region, kind, self.table.provable());
        self.in_flight.push((self.group_write(slot, group), self.state.clone()));
        self.table.advance(group.end());
        self.end = group.end();
    }

    /// Writes everything in flight to the disk.
    pub(super) fn sync(&mut self) {
        for (write, _) in std::mem::take(&mut self.in_flight) {
            self.disk.write_some(&write, |_| true);
        }
        if self.writer.is_none() {
            self.durable_state = self.state.clone();
        }
        self.table.on_synced(self.end);
        let end = self.end;
        for (_, id, change) in self.staged.extract_if(.., |(group, ..)| *group < end) {
            match change {
                Staged::Trim(log_start) => self.table.apply_trim(id, log_start),
                Staged::Move(to) => self.table.apply_move(id, to),
            }
        }
        self.table.check_invariants();
    }

    pub(super) fn commit(&mut self) {
        self.finish_group(GroupKind::Data);
        self.sync();
        prepare(&mut self.table, &mut self.disk, self.shape, self.room);
    }

    pub(super) fn end_offset(&self, id: TopicIdPartition) -> Offset {
        let step = |end: Offset, event: &ReplayEvent| match event {
            ReplayEvent::Batch(header, _) => header.next_offset(),
            ReplayEvent::Checkpoint(bytes) => Offset(i64::from_le_bytes(bytes[8..16].try_into().unwrap())),
            ReplayEvent::Control(Control::Truncate { end }) => *end,
            ReplayEvent::Control(_) => end,
        };
        self.state.get(&id).into_iter().flatten().fold(Offset(0), step)
    }

    pub(super) fn append(&mut self, id: TopicIdPartition, bytes: &Bytes) -> bool {
        if !self.make_room(bytes.len(), Purpose::Append) {
            return false;
        }
        let (base, epoch) = (self.end_offset(id), LeaderEpoch(3));
        let writer = self.writer.as_mut().unwrap();
        let range = writer.put_batch(&mut self.region, id, bytes, base, epoch);
        let stored = Bytes::copy_from_slice(&self.region[range]);
        let header = BatchHeader::parse(&stored).unwrap();
        self.table.record_batch(id, writer.position(), &header);
        self.state.get_mut(&id).unwrap().push(ReplayEvent::Batch(header, None));
        self.served.entry(id).or_default().insert(base.0, stored);
        true
    }

    pub(super) fn control(&mut self, id: TopicIdPartition, control: Control) -> bool {
        let purpose = match control {
            Control::Trim { .. } | Control::Close => Purpose::Freeing,
            _ => Purpose::Append,
        };
        if !self.make_room(control.payload_length(), purpose) {
            return false;
        }
        let writer = self.writer.as_mut().unwrap();
        writer.put_control(&mut self.region, id, &control);
        let group = writer.position();
        self.table.record_control(id, group, &control);
        match &control {
            Control::Close => {
                self.state.remove(&id);
                self.served.remove(&id);
                self.staged.retain(|(_, of, _)| *of != id);
                return true;
            }
            Control::Open { .. } => self.state.insert(id, Vec::new()),
            Control::Truncate { end } => {
                self.served.entry(id).or_default().retain(|base, _| *base < end.0);
                None
            }
            Control::Trim { log_start } => {
                self.staged.push((group, id, Staged::Trim(*log_start)));
                self.served.entry(id).or_default().retain(|base, _| *base >= log_start.0);
                None
            }
            _ => None,
        };
        self.state.get_mut(&id).unwrap().push(ReplayEvent::Control(control));
        true
    }

    pub(super) fn open_partition(&mut self, id: TopicIdPartition) {
        assert!(self.control(id, Control::Open { epoch: LeaderEpoch(3), log_start: Offset(0) }));
    }

    /// Writes a checkpoint in the encoding of these tests: log start, log end.
    pub(super) fn checkpoint(&mut self, id: TopicIdPartition) {
        assert!(
            self.make_room(CheckpointPiece::payload_length(16), Purpose::Cleaning),
            "a checkpoint fits in the reserve"
        );
        let mut bytes = log_start(&self.state[&id]).0.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.end_offset(id).0.to_le_bytes());
        let writer = self.writer.as_mut().unwrap();
        let piece = CheckpointPiece { begun_at: writer.next_frame(), number: 0, count: 1 };
        writer.put_checkpoint(&mut self.region, id, &piece, &bytes);
        self.table.record_checkpoint(id, writer.position(), &piece, bytes.len(), &Frontiers::at(self.end_offset(id)));
        self.state.insert(id, vec![ReplayEvent::Checkpoint(Bytes::from(bytes))]);
    }

    /// Writes the first or the last of two pieces of such a checkpoint, with the log start or the
    /// log end. Returns the position of the first piece.
    pub(super) fn checkpoint_piece(
        &mut self,
        id: TopicIdPartition,
        begun_at: Option<WalPosition>,
        bytes: i64,
    ) -> WalPosition {
        assert!(self.make_room(CheckpointPiece::payload_length(8), Purpose::Cleaning));
        let writer = self.writer.as_mut().unwrap();
        let number = u32::from(begun_at.is_some());
        let piece = CheckpointPiece { begun_at: begun_at.unwrap_or_else(|| writer.next_frame()), number, count: 2 };
        writer.put_checkpoint(&mut self.region, id, &piece, &bytes.to_le_bytes());
        self.table.record_checkpoint(id, writer.position(), &piece, 8, &Frontiers::at(self.end_offset(id)));
        piece.begun_at
    }

    /// Frees all space that can be freed: relocates batches, then frees segments.
    pub(super) fn clean(&mut self) -> usize {
        let is_moving = self.staged.iter().any(|(.., change)| matches!(change, Staged::Move(_)));
        if let Some(plan) = self.table.relocation().filter(|_| !is_moving) {
            let generation = plan.generation;
            for id in plan.checkpoints {
                self.checkpoint(id);
            }
            for (id, range) in plan.damaged {
                self.mark_damaged(id, &range);
            }
            for moved in plan.batches {
                let mut from = moved.from;
                while from < moved.until {
                    let bytes = match self.try_read(moved.partition, from) {
                        Read::Batch(bytes) => bytes,
                        Read::Nothing => break,
                        Read::Damaged { until } => {
                            let until = until.min(moved.until);
                            let range = self.table.damaged_range(moved.partition, generation, from, until);
                            self.mark_damaged(moved.partition, &range.unwrap());
                            from = until;
                            continue;
                        }
                    };
                    // Batches that do not fit now are planned again.
                    if !self.make_room(bytes.len(), Purpose::Cleaning) {
                        break;
                    }
                    let writer = self.writer.as_mut().unwrap();
                    writer.put_relocated(&mut self.region, moved.partition, &bytes);
                    let header = BatchHeader::parse(&bytes).unwrap();
                    let to = self.table.record_relocated(moved.partition, writer.position(), &header);
                    self.staged.push((writer.position(), moved.partition, Staged::Move(to)));
                    from = header.next_offset();
                }
            }
        }
        self.commit();
        let mut freed = 0;
        while let OldestSegment::Freed(_) = self.table.poll_free(|_| Offset(i64::MAX)) {
            freed += 1;
        }
        freed
    }

    fn mark_damaged(&mut self, id: TopicIdPartition, range: &DamagedRange) {
        assert!(self.make_room(DamagedRange::PAYLOAD_LENGTH, Purpose::Cleaning), "a damaged range fits in the reserve");
        self.damaged_written += 1;
        let writer = self.writer.as_mut().unwrap();
        writer.put_damaged(&mut self.region, id, range);
        let to = self.table.record_damaged(id, writer.position(), range);
        self.staged.push((writer.position(), id, Staged::Move(to)));
    }

    pub(super) fn locate(&self, id: TopicIdPartition, offset: Offset) -> Option<Located> {
        self.table.locate(id, ReadRange { from: offset, until: Offset(i64::MAX), bytes: 0 })
    }

    /// The place of the batch that holds `offset`, which is not damaged.
    pub(super) fn location(&self, id: TopicIdPartition, offset: Offset) -> Location {
        let Some(Located::Batches(location)) = self.locate(id, offset) else { panic!("{id} has no batch {offset:?}") };
        location
    }

    pub(super) fn read(&self, id: TopicIdPartition, offset: Offset) -> Option<Bytes> {
        match self.try_read(id, offset) {
            Read::Batch(bytes) => Some(bytes),
            Read::Nothing | Read::Damaged { .. } => None,
        }
    }

    /// Reads the batch that holds `offset` from the disk, as a read thread does.
    pub(super) fn try_read(&self, id: TopicIdPartition, offset: Offset) -> Read {
        let Location { slot, generation, shape, from, until, extents, .. } = match self.locate(id, offset) {
            None => return Read::Nothing,
            Some(Located::Damaged { end, .. }) => return Read::Damaged { until: end },
            Some(Located::Batches(location)) => location,
        };
        let place = SegmentPlace { wal: WAL, shape, generation };
        let extent = match extents {
            LocatedExtents::Known(extents) => *extents.first().unwrap(),
            LocatedExtents::Indexed(trailer) => {
                let bytes = self.disk.read(slot, trailer.index_group, trailer.end - trailer.index_group);
                let index = recovery::read_index(place, trailer.index_group, &bytes).unwrap();
                *index.entry(id).unwrap().extents.find(from).unwrap()
            }
        };
        let (group_offset, until) = (extent.group_offset, extent.end.min(until));
        let mut length = 512;
        loop {
            let bytes = self.disk.read(slot, group_offset, length);
            match read_check::check_group(place, group_offset, &bytes) {
                Err(_) => return Read::Damaged { until },
                Ok(read_check::GroupCheck::NeedBytes { length: more }) => length = more,
                Ok(read_check::GroupCheck::Whole(group)) => {
                    let asked = |next: Offset| next > from && next <= until;
                    let mut batches = group.batches_of(id).filter(|batch| asked(batch.header.next_offset()));
                    let batch = batches.next().map(|batch| bytes.slice(batch.range.clone()));
                    return batch.map_or(Read::Nothing, Read::Batch);
                }
            }
        }
    }

    /// Asserts that every acknowledged batch above the log start is on the disk, byte for byte.
    pub(super) fn check_served(&self) {
        for (id, batches) in &self.served {
            for (base, bytes) in batches {
                assert_eq!(self.read(*id, Offset(*base)).as_ref(), Some(bytes), "{id} offset {base}");
            }
        }
    }
}

pub(super) fn log_start(events: &[ReplayEvent]) -> Offset {
    let starts = events.iter().map(|event| match event {
        ReplayEvent::Checkpoint(bytes) => Offset(i64::from_le_bytes(bytes[..8].try_into().unwrap())),
        ReplayEvent::Control(Control::Trim { log_start } | Control::Open { log_start, .. }) => *log_start,
        _ => Offset(0),
    });
    starts.max().unwrap_or_default()
}

/// Prepares the slots that the table asks for. Returns whether the disk had room for all of them.
fn prepare(table: &mut SegmentTable, disk: &mut Disk, shape: SegmentShape, room: usize) -> bool {
    while let Some(slot) = table.poll_reserve() {
        if disk.0.len() >= room && !disk.0.contains_key(&slot) {
            table.on_slot_failed(slot);
            return false;
        }
        disk.0.insert(slot, vec![0; shape.length() as usize]);
        table.on_slot_reserved(slot);
    }
    while let Some(slot) = table.poll_fill() {
        table.on_slot_filled(slot);
    }
    true
}
