//! Reads batches that have left memory, for consumers and for moves: the index if needed, then the
//! groups, checked as the real read threads check them. A read holds its segment until it ends.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_core::shard::request::ColdRead;
use rustmq_engine_core::shard::{MoveError, NoPlan, PartitionKey, READ_ATTEMPTS, ReadPlan, plan_read};
use rustmq_engine_core::wal::read_check::{GroupCheck, check_group};
use rustmq_engine_core::wal::recovery::read_index;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::{LocatedExtents, Location};
use rustmq_engine_core::wal::{Extent, LocationMap, ReadRange, SegmentHold};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Instant, Offset};

use super::computer::read_bytes;
use super::events::Named;
use super::process::Process;
use super::start::WAL;
use super::world::World;
use crate::disk::{DiskError, Operation, Outcome};

/// The most deferred reads.
const DEFERRED_MAX: usize = 4;

/// The owner of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Move {
        number: u64,
    },
    /// `resets` shows whether the log was reset since the read began.
    Client {
        key: PartitionKey,
        resets: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Index,
    /// From the first group up to the end of the segment's content.
    Window,
    /// This many bytes of the first group alone: it may be whole where later groups are not.
    Group(u32),
}

#[derive(Debug)]
pub struct ReadTask {
    reader: Reader,
    read: ColdRead,
    at: Location,
    _hold: SegmentHold,
    extents: Vec<Extent>,
    phase: Phase,
    attempts: u32,
    /// Whether the device has failed at least once.
    has_failed: bool,
}

/// A consumer's read of batches that it did not find in memory, with the map that tells where they
/// are.
#[derive(Debug)]
pub struct ClientRead {
    pub key: PartitionKey,
    /// How often the log had been reset when the consumer took the map.
    pub resets: u32,
    pub read: ColdRead,
    pub locations: Arc<LocationMap>,
}

/// The batches of a move that cannot be read at present.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    from: Offset,
    since: Instant,
}

/// The next step of a read, or its result.
enum Next {
    Read(Phase),
    Found(Vec<Bytes>),
    /// The batches up to this offset cannot be read, for this reason.
    Failed(Offset, String),
}

impl ReadTask {
    const fn place(&self) -> SegmentPlace {
        SegmentPlace { wal: WAL, shape: self.at.shape, generation: self.at.generation }
    }

    fn range(&self, phase: Phase) -> Range<u32> {
        match (phase, &self.at.extents) {
            (Phase::Index, LocatedExtents::Indexed(trailer)) => trailer.index_group..trailer.end,
            (Phase::Index, LocatedExtents::Known(_)) => panic!("the extents are known without the index"),
            (Phase::Window, _) => {
                let first = self.extents.iter().map(|extent| extent.group_offset).min();
                first.expect("a read has extents")..self.at.end
            }
            (Phase::Group(length), _) => {
                let first = self.extents[0].group_offset;
                first..first + length
            }
        }
    }

    /// The end of the offsets that a failure puts in doubt: without an extent, the end of the whole
    /// read.
    fn doubtful_until(&self) -> Offset {
        let until = self
            .extents
            .first()
            .map_or(self.read.until, |extent| if extent.first > self.read.from { extent.first } else { extent.end });
        until.min(self.at.until)
    }

    fn take_index(&mut self, bytes: &[u8]) -> Next {
        let LocatedExtents::Indexed(trailer) = &self.at.extents else {
            panic!("the extents are known without the index")
        };
        let index = read_index(self.place(), trailer.index_group, bytes);
        let range = ReadRange { from: self.at.from, until: self.at.until, bytes: self.read.max_bytes };
        let extents =
            index.as_ref().and_then(|index| index.entry(self.read.id)).map(|entry| entry.extents.wanted(range));
        match extents {
            Some(extents) if !extents.is_empty() => {
                self.extents = extents;
                Next::Read(Phase::Window)
            }
            _ => Next::Failed(self.doubtful_until(), "the index is damaged".to_owned()),
        }
    }

    /// Takes the batches from groups. `bytes` is the slot's content from `start` on.
    fn take_groups(&self, bytes: &Bytes, start: u32) -> Next {
        let (mut found, mut length, mut from) = (Vec::new(), 0, self.at.from);
        for extent in &self.extents {
            let Some(group_at) = extent.group_offset.checked_sub(start).map(|at| at as usize) else { break };
            if group_at >= bytes.len() {
                break;
            }
            let group = match check_group(self.place(), extent.group_offset, &bytes[group_at..]) {
                Ok(GroupCheck::Whole(group)) => group,
                Ok(GroupCheck::NeedBytes { length }) if found.is_empty() && self.phase != Phase::Window => {
                    return Next::Read(Phase::Group(length));
                }
                Ok(GroupCheck::NeedBytes { .. }) => break,
                Err(damage) if found.is_empty() => return Next::Failed(self.doubtful_until(), damage.to_string()),
                Err(_) => break,
            };
            for batch in group.batches_of(self.read.id) {
                let next = batch.header.next_offset();
                // A batch that was moved within its segment is there twice.
                if next <= from || next > self.at.until.min(extent.end) {
                    continue;
                }
                length += batch.header.size;
                if length > self.read.max_bytes && !(found.is_empty() && self.read.at_least_one) {
                    return Next::Found(found);
                }
                from = next;
                let range =
                    if matches!(self.reader, Reader::Move { .. }) { &batch.with_tagged_fields } else { &batch.range };
                found.push(bytes.slice(group_at + range.start..group_at + range.end));
            }
        }
        if found.is_empty() {
            return Next::Failed(self.doubtful_until(), "the batch is not in its group".to_owned());
        }
        Next::Found(found)
    }

    fn next(&mut self, result: Result<Outcome, DiskError>) -> Next {
        match (result.map(read_bytes), self.phase) {
            (Ok(bytes), Phase::Index) => self.take_index(&bytes),
            (Ok(bytes), phase) => self.take_groups(&bytes, self.range(phase).start),
            (Err(_), Phase::Window) => {
                self.has_failed = true;
                Next::Read(Phase::Group(self.at.shape.block_size()))
            }
            (Err(error), _) => {
                self.has_failed = true;
                Next::Failed(self.doubtful_until(), error.to_string())
            }
        }
    }

    const fn first_phase(&self) -> Phase {
        match self.at.extents {
            LocatedExtents::Known(_) => Phase::Window,
            LocatedExtents::Indexed(_) => Phase::Index,
        }
    }
}

impl Process {
    pub(super) fn read_to_move(&mut self, number: u64, read: ColdRead, plan: ReadPlan, world: &mut World) {
        self.begin_read(Reader::Move { number }, read, plan, world);
    }

    /// Reads for a consumer with the map that it has, and with a newer one if the segment is
    /// retired.
    pub(super) fn read_for_client(&mut self, mut client: ClientRead, world: &mut World) {
        loop {
            let ClientRead { key, resets, read, locations } = &client;
            match plan_read(read, locations, self.shard.table().shared()) {
                Ok(plan) => {
                    let reader = Reader::Client { key: *key, resets: *resets };
                    return self.begin_read(reader, *read, plan, world);
                }
                Err(NoPlan::Refused(error)) => {
                    let is_open = self.shard.memory_mut().find(*key).is_some();
                    // The oracle knows nothing of a view that is closed.
                    assert!(!is_open || world.oracle.is_marked(*key, read.from), "{read} is refused: {error}");
                    return;
                }
                Err(NoPlan::Retired) => {
                    world.events.note(Named::StaleMap);
                    let Some(log) = self.shard.memory_mut().find(*key) else { return };
                    let newer = log.locations();
                    assert!(!Arc::ptr_eq(&newer, locations), "the newest map has {read} in a retired segment");
                    // The log no longer has the batches that the consumer asked for.
                    let is_reset = world.oracle.resets(*key) != *resets;
                    if is_reset || world.load.starts_above(*key, read.from) {
                        return;
                    }
                    client.locations = newer;
                }
            }
        }
    }

    /// Keeps the read of a consumer that has taken a map, until a later step starts it.
    pub(super) fn defer(&mut self, client: ClientRead, world: &mut World) {
        self.deferred.push_back(client);
        if self.deferred.len() > DEFERRED_MAX {
            self.start_deferred(world);
        }
    }

    /// Starts the oldest deferred read.
    pub(super) fn start_deferred(&mut self, world: &mut World) {
        if let Some(client) = self.deferred.pop_front() {
            self.read_for_client(client, world);
        }
    }

    fn begin_read(&mut self, reader: Reader, read: ColdRead, plan: ReadPlan, world: &mut World) {
        let ReadPlan { location: at, hold, .. } = plan;
        let (end, count) = self.holds.entry((at.slot, at.generation)).or_insert((at.end, 0));
        (*end, *count) = ((*end).max(at.end), *count + 1);
        let extents = match &at.extents {
            LocatedExtents::Known(extents) => extents.clone(),
            LocatedExtents::Indexed(_) => Vec::new(),
        };
        let mut task =
            ReadTask { reader, read, at, _hold: hold, extents, phase: Phase::Window, attempts: 1, has_failed: false };
        task.phase = task.first_phase();
        self.submit_read(task, world);
    }

    fn submit_read(&mut self, task: ReadTask, world: &mut World) {
        let Range { start, end } = task.range(task.phase);
        let operation = Operation::Read { slot: task.at.slot, offset: start, length: end - start };
        let id = world.computer.start(operation);
        self.reads.insert(id, task);
    }

    pub(super) fn on_read(&mut self, mut task: ReadTask, result: Result<Outcome, DiskError>, world: &mut World) {
        if result.is_err() {
            world.events.note(Named::ReadError);
        }
        match task.next(result) {
            Next::Read(phase) => {
                task.phase = phase;
                self.submit_read(task, world);
            }
            Next::Failed(..) if task.attempts < READ_ATTEMPTS => {
                task.attempts += 1;
                task.phase = task.first_phase();
                if task.phase == Phase::Index {
                    task.extents.clear();
                }
                self.submit_read(task, world);
            }
            Next::Found(found) => self.end_read(task, Ok(found), world),
            Next::Failed(until, reason) => self.end_read(task, Err((until, reason)), world),
        }
    }

    fn end_read(&mut self, task: ReadTask, result: Result<Vec<Bytes>, (Offset, String)>, world: &mut World) {
        let now = world.computer.now();
        let key = (task.at.slot, task.at.generation);
        let (_, count) = self.holds.get_mut(&key).expect("the read holds its segment");
        *count -= 1;
        if *count == 0 {
            self.holds.remove(&key);
        }
        match task.reader {
            Reader::Client { key, resets } => match result {
                Ok(_) if world.oracle.resets(key) != resets => {}
                Ok(found) => {
                    world.events.note(Named::ColdRead);
                    world.oracle.on_read(key, task.read.from.max(task.at.from), &found);
                }
                Err((_, reason)) => {
                    let is_excused = task.has_failed || world.is_harmed(task.at.slot);
                    assert!(is_excused, "{}: {reason}, though nothing has harmed slot {}", task.read, task.at.slot.0);
                }
            },
            Reader::Move { number } => {
                let batches = result.map_err(|(until, reason)| self.classify_failure(&task, until, reason, world));
                match &batches {
                    Ok(_) => {
                        world.failing = None;
                        world.events.note(Named::BatchesMoved);
                    }
                    Err(MoveError::Later { .. }) => {}
                    Err(MoveError::Damaged { .. }) => {
                        world.failing = None;
                        let slot = task.at.slot;
                        assert!(
                            world.is_harmed(slot),
                            "slot {} counts as damaged, though nothing has harmed it",
                            slot.0
                        );
                    }
                }
                drop(task);
                self.shard.on_moved(now, number, batches);
            }
        }
        self.execute_all(world);
    }

    /// Reports batches as damaged only after they were unreadable for the damage timeout.
    fn classify_failure(&self, task: &ReadTask, until: Offset, reason: String, world: &mut World) -> MoveError {
        let now = world.computer.schedule.now();
        let from = task.read.from;
        let failing = *world.failing.get_or_insert(Failing { from, since: now });
        if failing.from != from {
            world.failing = Some(Failing { from, since: now });
            return MoveError::Later { reason };
        }
        if now.since(failing.since) < world.setting.damage_timeout {
            return MoveError::Later { reason };
        }
        MoveError::Damaged { until, reason }
    }
}

/// The headers of batches that were read from checked groups.
pub fn headers(batches: &[Bytes]) -> impl Iterator<Item = (BatchHeader, &Bytes)> {
    batches.iter().map(|bytes| (BatchHeader::parse(bytes).expect("a checked group has batches"), bytes))
}
