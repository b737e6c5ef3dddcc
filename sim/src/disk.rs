//! A disk that keeps its promises and no more: a folder of slot files and small notes, in memory, in virtual time, with what fails drawn
//! from a seed. What it promises is what the engine may rely on, line by line.
//!
//! Writes and syncs
//! * A write is a set of sectors of [`SECTOR`] bytes. Until a sync that covers it succeeds, a crash of the machine keeps any subset of
//!   them. Each sector is old or new (of several writes, any one), never mixed.
//! * A sync covers what was done when it began, in its file alone. What ends while it runs is not covered. A write that takes its sync
//!   along covers itself alone.
//! * A read during a write shows each sector old or new; once new, it stays so.
//! * Operations last a drawn time, now and then seconds. Those without an order between them end in any order, and of two writes to one
//!   sector that run side by side either may be the one that lasts.
//! * After a crash of the process alone, what was written is still shown, of what was underway any subset; all of it is no more durable
//!   than before.
//!
//! Errors
//! * Any operation may fail with EIO. Of a failed write any subset of its sectors is written.
//! * After a failed sync each sector that it covers may be lost though reads show it: it counts as clean, so later syncs do not help, until
//!   it is written again. After a crash of the process such a sector is shown, or what is on the disk is. A sync that a crash of the
//!   process cuts off may have failed, too.
//! * Sectors that were written may become unreadable (EIO until they are written again) or change a bit, at any time; and those that no
//!   sync covers may be unreadable after the power is cut. [`Disk::harms`] lists them, for whoever judges a run.
//! * Making and reserving slots and putting notes may find the disk full, and later not. Writes within a reserved length never do.
//!
//! Names
//! * A slot's length is durable only after a sync of its file.
//! * A name (of a slot that was made or removed, of a note that was put or removed) is durable only after the folder's sync. Until then a
//!   crash keeps any subset of the changes. A note is old or new as a whole.
//!
//! A crash may come between any two events of the schedule: so before, in and after each operation.
//!
//! *Not modelled*: writes that go to another place, a drive that lies about a sync, sectors that share their fate (larger physical ones),
//! names or lengths that a failed sync gives up (file systems stop at an error of their journal; here the next sync makes them durable),
//! damage to names and notes, several folders.

mod faults;
mod folder;
mod history;
mod media;
mod operation;
mod slot_file;
mod spread;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Instant;

pub use faults::{Faults, Speed};
pub use media::Harmed;
pub use operation::{DiskError, Operation, OperationId, Outcome, Started};
pub use slot_file::Harm;

use crate::dice::{Chance, Delay, Dice};
use crate::trace::{Fnv, Trace};
use folder::{FileId, Name};
use history::Cover;
use media::{Media, Write};

/// What is written whole or not at all: the smallest block of a WAL. Files with larger blocks are torn within them.
pub const SECTOR: u32 = 512;

#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// What the trace calls it.
    pub number: u64,
    /// Bytes that slots may take.
    pub room: u64,
    pub faults: Faults,
    pub speed: Speed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends, as after `kill -9`: the machine keeps what it has in memory.
    Process,
    /// The machine ends, and what it had in memory.
    Power,
}

/// See the module. Sans-I/O: [`Disk::start`] says when an operation is done, and then [`Disk::complete`] gives its result.
#[derive(Clone, Debug)]
pub struct Disk {
    number: u64,
    /// They may be changed while it runs.
    pub faults: Faults,
    speed: Speed,
    dice: Dice,
    last: OperationId,
    underway: BTreeMap<OperationId, Underway>,
    media: Media,
    full_until: Instant,
}

/// An operation that has begun.
#[derive(Clone, Debug)]
struct Underway {
    operation: Operation,
    /// The slot's file when it began.
    file: Option<FileId>,
    error: Option<DiskError>,
    /// Sectors of a write that reads show already.
    shown: BTreeSet<u32>,
    /// What it makes durable, if it is a sync.
    cover: Cover,
}

impl Disk {
    #[must_use]
    pub fn new(options: DiskOptions, dice: Dice) -> Self {
        let DiskOptions { number, room, faults, speed } = options;
        Self {
            number,
            faults,
            speed,
            dice,
            last: OperationId(0),
            underway: BTreeMap::new(),
            media: Media::new(room),
            full_until: Instant::from_nanos(0),
        }
    }

    /// Begins an operation. Until it is done, nothing is promised of it.
    pub fn start(&mut self, now: Instant, operation: Operation, trace: &mut Trace) -> Started {
        let file = operation.slot().and_then(|slot| self.media.folder.find(Name::Slot(slot)));
        self.check(&operation, file);
        self.last.0 += 1;
        let id = self.last;
        let done_at = now.plus(self.dice.delay(self.delay_of(&operation)));
        let is_stalled = self.dice.happens(self.speed.stall);
        let done_at = if is_stalled { done_at.plus(self.dice.delay(self.speed.stalled)) } else { done_at };
        let error = self.draw_error(now, &operation);
        self.note_start(now, Started { id, done_at }, &operation, trace);
        let cover = Cover { sync: id, underway: self.underway.keys().copied().collect() };
        self.underway.insert(id, Underway { operation, file, error, shown: BTreeSet::new(), cover });
        Started { id, done_at }
    }

    /// The operation's time has come. `None` if it was cut off by a crash: nobody waits for it.
    pub fn complete(&mut self, now: Instant, id: OperationId, trace: &mut Trace) -> Option<Result<Outcome, DiskError>> {
        let underway = self.underway.remove(&id)?;
        let harmed = self.harms().len();
        let result = self.finish(now, id, underway);
        self.note_harms(harmed, trace);
        let (name, content) = match &result {
            Ok(Outcome::Read(bytes) | Outcome::Note(Some(bytes))) => ("done", Fnv::of_content(bytes)),
            Ok(Outcome::Slots(slots)) => ("done", slots.len() as u64),
            Ok(Outcome::Done | Outcome::Note(None)) => ("done", 0),
            Err(DiskError::Io) => ("failed", 0),
            Err(DiskError::Full) => ("found-full", 0),
            Err(DiskError::NotFound) => ("not-found", 0),
        };
        trace.step(now, name, &[("disk", self.number), ("operation", id.0), ("content", content)]);
        Some(result)
    }

    /// Whoever ran on it is gone. Its operations end where they are, and none of them is told of any more.
    pub fn crash(&mut self, now: Instant, crash: Crash, trace: &mut Trace) {
        let mut underway: Vec<_> = std::mem::take(&mut self.underway).into_iter().collect();
        let name = match crash {
            Crash::Process => "kill",
            Crash::Power => "power-cut",
        };
        trace.step(now, name, &[("disk", self.number), ("underway", underway.len() as u64)]);
        while !underway.is_empty() {
            let (id, operation) = underway.swap_remove(self.dice.below(underway.len()));
            self.cut_off(now, id, operation);
        }
        match crash {
            Crash::Process => self.media.forget_some(&mut self.dice),
            Crash::Power => {
                let harmed = self.harms().len();
                let lost = self.media.cut_power(now, self.faults.torn_unreadable, &mut self.dice);
                for (slot, offset) in lost {
                    let fields = [("disk", self.number), ("slot", u64::from(slot.0)), ("offset", u64::from(offset))];
                    trace.step(now, "lost", &fields);
                }
                self.note_harms(harmed, trace);
            }
        }
    }

    /// Every sector that the device has harmed, in the order of time.
    #[must_use]
    pub fn harms(&self) -> &[Harmed] {
        &self.media.harms
    }

    /// What a read would show now, for whoever judges a run: it takes no time, and fails only where a sector cannot be read.
    pub fn peek(&mut self, slot: SlotId, offset: u32, length: u32) -> Result<Bytes, DiskError> {
        let file = self.media.folder.find(Name::Slot(slot)).ok_or(DiskError::NotFound)?;
        self.media.read(file, offset, length)
    }

    /// Harms a sector that was written and is durable; `false` if it is not so. For runs that want a certain harm.
    pub fn harm(&mut self, now: Instant, slot: SlotId, offset: u32, harm: Harm) -> bool {
        self.media.harm(Harmed { at: now, slot, offset, harm }, &mut self.dice)
    }

    fn check(&self, operation: &Operation, file: Option<FileId>) {
        let is_whole = |length: u32| length > 0 && length.is_multiple_of(SECTOR);
        match operation {
            Operation::Reserve { length, .. } => assert!(is_whole(*length), "a slot is of whole sectors"),
            Operation::Read { offset, length, .. } => {
                assert!(offset.is_multiple_of(SECTOR) && is_whole(*length), "what is read is whole sectors");
            }
            Operation::Write { offset, bytes, .. } | Operation::WriteSynced { offset, bytes, .. } => {
                let length = media::narrow(bytes.len());
                assert!(offset.is_multiple_of(SECTOR) && is_whole(length), "what is written is whole sectors");
                let reserved = file.map(|file| self.media.length(file));
                assert!(
                    reserved.is_none_or(|reserved| offset + length <= reserved),
                    "a write lies in what is reserved"
                );
            }
            _ => {}
        }
    }

    const fn delay_of(&self, operation: &Operation) -> Delay {
        match operation {
            Operation::Read { .. } => self.speed.read,
            Operation::Write { .. } => self.speed.write,
            Operation::Sync { .. } | Operation::WriteSynced { .. } | Operation::SyncFolder => self.speed.sync,
            _ => self.speed.folder,
        }
    }

    fn draw_error(&mut self, now: Instant, operation: &Operation) -> Option<DiskError> {
        if self.dice.happens(self.chance_of_error(operation)) {
            return Some(DiskError::Io);
        }
        if !matches!(operation, Operation::Reserve { .. } | Operation::PutNote { .. }) {
            return None;
        }
        if now >= self.full_until && self.dice.happens(self.faults.full) {
            self.full_until = now.plus(self.dice.delay(self.faults.full_for));
        }
        (now < self.full_until).then_some(DiskError::Full)
    }

    const fn chance_of_error(&self, operation: &Operation) -> Chance {
        match operation {
            Operation::Read { .. } | Operation::List | Operation::ReadNote { .. } => self.faults.read,
            Operation::Sync { .. } | Operation::WriteSynced { .. } => self.faults.sync,
            Operation::SyncFolder => self.faults.folder_sync,
            _ => self.faults.write,
        }
    }

    fn note_start(&self, now: Instant, started: Started, operation: &Operation, trace: &mut Trace) {
        let (offset, length, content) = match operation {
            Operation::Write { offset, bytes, .. } | Operation::WriteSynced { offset, bytes, .. } => {
                (*offset, bytes.len() as u64, Fnv::of_content(bytes))
            }
            Operation::Read { offset, length, .. } => (*offset, u64::from(*length), 0),
            Operation::Reserve { length, .. } => (0, u64::from(*length), 0),
            Operation::PutNote { name, bytes } => (0, bytes.len() as u64, Fnv::of(name.as_bytes()) ^ Fnv::of(bytes)),
            Operation::ReadNote { name } | Operation::RemoveNote { name } => (0, 0, Fnv::of(name.as_bytes())),
            _ => (0, 0, 0),
        };
        let fields = [
            ("disk", self.number),
            ("operation", started.id.0),
            ("slot", operation.slot().map_or(0, |slot| u64::from(slot.0))),
            ("offset", u64::from(offset)),
            ("length", length),
            ("content", content),
            ("until", started.done_at.as_nanos()),
        ];
        trace.step(now, operation.name(), &fields);
    }

    fn note_harms(&self, from: usize, trace: &mut Trace) {
        for Harmed { at, slot, offset, harm } in &self.harms()[from..] {
            let (slot, offset) = (u64::from(slot.0), u64::from(*offset));
            trace.step(*at, harm.name(), &[("disk", self.number), ("slot", slot), ("offset", offset)]);
        }
    }

    /// Does what is left to do of the operation, or of one that has failed, some of it.
    fn finish(&mut self, now: Instant, id: OperationId, underway: Underway) -> Result<Outcome, DiskError> {
        let Underway { operation, file, error, shown, cover } = underway;
        let (media, dice) = (&mut self.media, &mut self.dice);
        let is_carried_out = error.is_none() || error == Some(DiskError::Io) && dice.coin();
        let done = error.map_or(Ok(Outcome::Done), Err);
        match operation {
            Operation::Reserve { slot, length } => {
                let reserved = if is_carried_out { media.reserve(id, slot, length) } else { Ok(()) };
                done.and_then(|done| reserved.map(|()| done))
            }
            Operation::PutNote { name, bytes } => {
                if is_carried_out {
                    media.put_note(id, name, bytes);
                }
                done
            }
            Operation::Remove { .. } | Operation::RemoveNote { .. } => {
                let name = operation.removes().expect("these two remove a name");
                media.folder.find(name).ok_or(DiskError::NotFound)?;
                if is_carried_out {
                    media.folder.point(name, None, id);
                }
                done
            }
            Operation::Write { offset, bytes, .. } => {
                let write = Write { id, file: file.ok_or(DiskError::NotFound)?, offset, bytes };
                media.write(&write, &shown, error.is_none(), dice);
                done
            }
            Operation::WriteSynced { offset, bytes, .. } => {
                let write = Write { id, file: file.ok_or(DiskError::NotFound)?, offset, bytes };
                media.write(&write, &shown, error.is_none(), dice);
                media.sync_write(&write, &cover, error.is_none(), dice);
                done
            }
            Operation::Sync { .. } => {
                media.sync(file.ok_or(DiskError::NotFound)?, &cover, error.is_none(), dice);
                done
            }
            Operation::SyncFolder => {
                if error.is_none() {
                    media.folder.on_synced(&cover);
                }
                done
            }
            Operation::Read { slot, offset, length } => {
                let file = file.ok_or(DiskError::NotFound)?;
                self.show_some(file, offset, length);
                self.harm_some(now, slot, offset, length);
                done.and_then(|_| self.media.read(file, offset, length).map(Outcome::Read))
            }
            Operation::List => done.map(|_| Outcome::Slots(media.slots())),
            Operation::ReadNote { name } => done.map(|_| Outcome::Note(media.note(name))),
        }
    }

    /// A read comes upon writes that are underway: some of their sectors are there already.
    fn show_some(&mut self, file: FileId, offset: u32, length: u32) {
        for (id, Underway { operation, shown, .. }) in
            self.underway.iter_mut().filter(|(_, underway)| underway.file == Some(file))
        {
            if let Operation::Write { offset: at, bytes, .. } | Operation::WriteSynced { offset: at, bytes, .. } =
                operation
            {
                let write = Write { id: *id, file, offset: *at, bytes: bytes.clone() };
                self.media.show_some(&write, shown, (offset, length), &mut self.dice);
            }
        }
    }

    fn harm_some(&mut self, now: Instant, slot: SlotId, offset: u32, length: u32) {
        for offset in (offset..offset.saturating_add(length)).step_by(SECTOR as usize) {
            for (chance, harm) in [(self.faults.unreadable, Harm::Unreadable), (self.faults.flipped, Harm::Flipped)] {
                if self.dice.happens(chance) {
                    self.harm(now, slot, offset, harm);
                }
            }
        }
    }

    /// What was underway at a crash has happened in part, as if it had failed, but that nobody is told. Reads and syncs leave nothing; a sync
    /// that would have failed has failed.
    fn cut_off(&mut self, now: Instant, id: OperationId, mut underway: Underway) {
        let is_well = underway.error.is_none();
        match underway.operation {
            Operation::Read { .. } | Operation::List | Operation::ReadNote { .. } => return,
            Operation::Sync { .. } | Operation::SyncFolder if is_well => return,
            Operation::WriteSynced { slot, offset, bytes } if is_well => {
                underway.operation = Operation::Write { slot, offset, bytes };
            }
            _ => {}
        }
        underway.error.get_or_insert(DiskError::Io);
        let _ = self.finish(now, id, underway);
    }
}

#[cfg(test)]
mod tests;
