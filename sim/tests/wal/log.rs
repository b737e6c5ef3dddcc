//! A minimal process with a WAL: the real recovery, segment table and groups. It executes the steps
//! of a commit in order, and prepares slots beside them, as `engine/shard` does. It frees no
//! segments and writes no checkpoints.

use bytes::Bytes;
use rustmq_engine_core::wal::recovery::CorruptionPolicy;
use rustmq_engine_core::wal::scan::ReplayEvent;
use rustmq_engine_core::wal::segments::{Admission, Purpose};
use rustmq_engine_core::wal::{
    Control, FinishedGroup, GroupKind, GroupWriter, RecoveredWal, Recovery, RecoveryOptions, SegmentShape,
    SegmentTable, SegmentTableConfig, SlotId, WalId, WalPosition,
};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};
use rustmq_sim::disk::{DiskError, Operation, OperationId, Outcome};

use crate::machine::{Machine, Stop};

const WAL: WalId = WalId([7; 16]);
const SEGMENTS_MAX: u32 = 60;

pub struct Log {
    shape: SegmentShape,
    table: SegmentTable,
    region: Vec<u8>,
    writer: Option<GroupWriter>,
    steps: Vec<Operation>,
    end: WalPosition,
    preparing: Option<Preparing>,
}

/// A slot in preparation.
struct Preparing {
    slot: SlotId,
    is_fill: bool,
    rest: Vec<Operation>,
    running: OperationId,
}

impl Log {
    /// Recovers the WAL, and makes everything that it found durable. Then begins a new WAL session.
    pub fn open(machine: &mut Machine, shape: SegmentShape) -> Result<(Self, RecoveredWal), Stop> {
        let slots = machine.slots()?;
        let window = 1_024;
        let policy = CorruptionPolicy::Refuse;
        let mut recovery = Recovery::new(RecoveryOptions { wal: WAL, shape, slots, window, policy });
        while let Some(read) = recovery.poll_action() {
            let bytes = machine.read(read.slot, read.offset, read.length)?;
            recovery.on_read(&bytes).map_err(Stop::Refused)?;
        }
        let wal = recovery.finish().map_err(Stop::Refused)?;
        if let Some(newest) = wal.segments.last() {
            rewrite_unproven(machine, &wal)?;
            machine.run(Operation::Sync { slot: newest.slot })?;
        }
        let mut table = SegmentTable::new(SegmentTableConfig { wal: WAL, shape, segments_max: SEGMENTS_MAX }, &wal);
        wal.partitions.keys().for_each(|id| table.restore_log_start(*id, Offset::ZERO));
        let region = vec![0xEE; shape.length() as usize];
        let end = wal.durable;
        Ok((Self { shape, table, region, writer: None, steps: Vec::new(), end, preparing: None }, wal))
    }

    /// Stages a control frame. Returns whether there was room.
    pub fn control(&mut self, machine: &mut Machine, id: TopicIdPartition, control: &Control) -> Result<bool, Stop> {
        if !self.make_room(machine, control.payload_length())? {
            return Ok(false);
        }
        let writer = self.writer.as_mut().expect("making room opened a group");
        writer.put_control(&mut self.region, id, control);
        self.table.record_control(id, writer.position(), control);
        Ok(true)
    }

    /// Stages a batch. Returns the event that a restart must replay, if there was room.
    pub fn append(
        &mut self,
        machine: &mut Machine,
        id: TopicIdPartition,
        bytes: &[u8],
        base: Offset,
    ) -> Result<Option<ReplayEvent>, Stop> {
        if !self.make_room(machine, bytes.len())? {
            return Ok(None);
        }
        let writer = self.writer.as_mut().expect("making room opened a group");
        let range = writer.put_batch(&mut self.region, id, bytes, base, LeaderEpoch(3));
        let header = BatchHeader::parse(&self.region[range]).expect("a batch was staged");
        self.table.record_batch(id, writer.position(), &header);
        Ok(Some(ReplayEvent::Batch(header, None)))
    }

    pub fn prove(&mut self) {
        if self.writer.is_none() && self.table.admits_proof() {
            self.writer = self.new_writer();
        }
        self.finish_group();
    }

    /// Makes everything staged so far durable.
    pub fn commit(&mut self, machine: &mut Machine) -> Result<(), Stop> {
        self.finish_group();
        let mut steps = std::mem::take(&mut self.steps);
        match steps.pop() {
            Some(Operation::Write { slot, offset, bytes }) if steps.is_empty() => {
                steps.push(Operation::WriteSynced { slot, offset, bytes });
            }
            Some(Operation::Write { slot, offset, bytes }) => {
                steps.extend([Operation::Write { slot, offset, bytes }, Operation::Sync { slot }]);
            }
            last => steps.extend(last),
        }
        for step in steps {
            machine.run(step)?;
            self.prepare(machine)?;
        }
        self.table.on_synced(self.end);
        self.table.check_invariants();
        self.prepare(machine)
    }

    pub fn segments(&self) -> usize {
        self.table.segment_count()
    }

    fn new_writer(&self) -> Option<GroupWriter> {
        self.table.next_position().map(|at| GroupWriter::new(WAL, self.table.session(), at, self.shape))
    }

    fn make_room(&mut self, machine: &mut Machine, payload: usize) -> Result<bool, Stop> {
        loop {
            let writer = self.writer.take().or_else(|| self.new_writer());
            let size = writer.as_ref().map_or(payload, |writer| writer.size_with(payload));
            self.writer = writer.filter(|writer| !writer.is_empty());
            match self.table.admit(size, Purpose::Append) {
                Admission::Fits => {
                    self.writer = self.writer.take().or_else(|| self.new_writer());
                    return Ok(true);
                }
                Admission::Full => return Ok(false),
                Admission::Roll => self.roll(),
                Admission::AwaitSlot => {
                    self.prepare(machine)?;
                    machine.advance()?;
                }
            }
        }
    }

    fn finish_group(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let kind = if writer.is_empty() { GroupKind::Proof } else { GroupKind::Data };
        let group = writer.finish(&mut self.region, kind, self.table.provable());
        self.plan(group);
    }

    fn plan(&mut self, group: FinishedGroup) {
        let slot = self.table.slot(group.position.generation).expect("a group is in a segment in use");
        let bytes = Bytes::copy_from_slice(&self.region[..group.padded as usize]);
        self.steps.push(Operation::Write { slot, offset: group.position.offset, bytes });
        self.table.advance(group.end());
        self.end = group.end();
    }

    fn roll(&mut self) {
        self.finish_group();
        if let Some(at) = self.table.next_position() {
            let slot = self.table.slot(at.generation).expect("the active segment is in use");
            let index = self.table.index_payload().map(|index| {
                let mut writer = GroupWriter::new(WAL, self.table.session(), at, self.shape);
                writer.put_index(&mut self.region, &index);
                let group = writer.finish(&mut self.region, GroupKind::Index, self.table.provable());
                self.plan(group);
                group
            });
            if let Some(trailer) = self.table.seal(index) {
                let mut block = vec![0; self.shape.block_size() as usize];
                trailer.encode(WAL, &mut block);
                self.steps.push(Operation::Write { slot, offset: self.shape.trailer(), bytes: block.into() });
            }
            self.steps.push(Operation::Sync { slot });
        }
        let started = self.table.start_segment().expect("a slot is ready, and the segment before is sealed");
        let mut block = vec![0; self.shape.block_size() as usize];
        started.header.encode(&mut block);
        self.steps.push(Operation::Write { slot: started.slot, offset: 0, bytes: block.into() });
        self.steps.push(Operation::Sync { slot: started.slot });
    }

    /// Advances the preparation of slots by the operations that are done.
    fn prepare(&mut self, machine: &mut Machine) -> Result<(), Stop> {
        loop {
            let Some(Preparing { slot, is_fill, rest, running }) = &mut self.preparing else {
                match self.next_preparation(machine)? {
                    None => return Ok(()),
                    preparing => self.preparing = preparing,
                }
                continue;
            };
            let (slot, is_fill) = (*slot, *is_fill);
            match machine.take(*running) {
                None => return Ok(()),
                Some(Ok(_)) if !rest.is_empty() => {
                    *running = machine.start(rest.remove(0))?;
                    continue;
                }
                Some(Ok(_)) if is_fill => self.table.on_slot_filled(slot),
                Some(Ok(_)) => self.table.on_slot_reserved(slot),
                Some(Err(_)) => {
                    // The slot's file is removed, not synced again: a failed sync leaves sectors
                    // that later syncs skip.
                    match machine.try_run(Operation::Remove { slot })? {
                        Ok(_) | Err(DiskError::NotFound) => self.table.on_slot_failed(slot),
                        Err(_) => return Err(Stop::Failed),
                    }
                }
            }
            self.preparing = None;
        }
    }

    fn next_preparation(&mut self, machine: &mut Machine) -> Result<Option<Preparing>, Stop> {
        let zeros = |length: u32| Bytes::from(vec![0; length as usize]);
        let (reserved, length) = (self.table.poll_reserve(), self.shape.length());
        let (slot, is_fill, mut steps) = if let Some(slot) = reserved {
            let head = Operation::Write { slot, offset: 0, bytes: zeros(4_096) };
            let reserve = Operation::Reserve { slot, length };
            (slot, false, vec![reserve, head, Operation::Sync { slot }, Operation::SyncFolder])
        } else if let Some(slot) = self.table.poll_fill() {
            (slot, true, vec![Operation::Write { slot, offset: 0, bytes: zeros(length) }, Operation::Sync { slot }])
        } else {
            return Ok(None);
        };
        let running = machine.start(steps.remove(0))?;
        Ok(Some(Preparing { slot, is_fill, rest: steps, running }))
    }
}

/// After a failed sync of an earlier process, reads show groups that are not on the disk. Writing
/// them again makes the sync write them, or fail.
fn rewrite_unproven(machine: &mut Machine, wal: &RecoveredWal) -> Result<(), Stop> {
    let Some(newest) = wal.segments.last() else { return Ok(()) };
    let proven = Some(wal.proven).filter(|proven| proven.generation == newest.generation);
    let at = proven.map_or(newest.shape.first_group(), |proven| proven.offset);
    if at < newest.end {
        let bytes = machine.read(newest.slot, at, newest.end - at)?;
        let written = machine.run(Operation::Write { slot: newest.slot, offset: at, bytes })?;
        assert_eq!(written, Outcome::Done);
    }
    Ok(())
}
