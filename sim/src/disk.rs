//! A simulated disk: a folder of slot files and small notes, in memory and in virtual time. A seed
//! draws its faults. It promises only the following, and the engine may rely on nothing else.
//!
//! Writes and syncs
//! * A write is a set of sectors of [`SECTOR`] bytes. Until a sync that covers the write succeeds,
//!   a power cut keeps any subset of its sectors. Each sector is old or new, never mixed; after
//!   several writes it may have the content of any of them.
//! * A sync covers the operations on its file that were done when the sync began. It covers no
//!   operation that ends while the sync runs. A write with its own sync covers itself alone.
//! * A read during a write shows each sector old or new; a sector that was shown new stays new.
//! * The duration of an operation is drawn; some take seconds. Operations without an order between
//!   them end in any order, and of two concurrent writes to one sector either may win.
//! * After a crash of the process alone, reads still show all completed writes, and any subset of
//!   the sectors of unfinished writes. The crash makes none of them durable.
//!
//! Errors
//! * Any operation may fail with EIO. A failed write has written any subset of its sectors.
//! * A failed sync may lose each sector that it covers, though reads still show it: the sector
//!   counts as clean, so later syncs skip it until it is written again. After a crash of the
//!   process, reads show either such a sector or the one on the disk. A sync that a crash of the
//!   process interrupts may have failed, too.
//! * A written sector may become unreadable (EIO until it is written again) or change a bit, at any
//!   time. A sector that no sync covers may be unreadable after a power cut. [`Disk::harms`] lists
//!   them all for the oracles.
//! * Creating and reserving a slot, and putting a note, may find the disk full, and later succeed.
//!   A write within a reserved length never finds it full.
//!
//! Names
//! * A slot's length is durable only after a sync of its file.
//! * A name that was created or removed, for a slot or a note, is durable only after the folder's
//!   sync. Until then a power cut keeps any subset of the changes. A note is old or new as a whole.
//!
//! A crash may come between any two events of the schedule: before, during and after each
//! operation.
//!
//! *Not modelled*: writes to a wrong place; a drive that lies about a sync; sectors that share
//! their fate, as larger physical sectors do; names or lengths that a failed sync loses (a file
//! system stops at an error of its journal; here the next sync makes them durable); damage to names
//! and notes; several folders.

mod faults;
mod folder;
mod history;
mod media;
mod operation;
mod sector_pattern;
mod slot_file;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Instant;

pub use faults::{Faults, Speed};
pub use media::Harmed;
pub use operation::{DiskError, Operation, OperationId, Outcome, Started};
pub use slot_file::Harm;

use crate::rng::{Chance, Delay, Rng};
use crate::trace::{Fnv, Trace};
use folder::{FileId, Name};
use history::Cover;
use media::{Media, Write};

/// The unit that is written as a whole or not at all, in bytes: the smallest block of a WAL. A
/// crash may tear the larger blocks of other files.
pub const SECTOR: u32 = 512;

#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// Names the disk in the trace.
    pub number: u64,
    /// The most bytes that all slots together may take.
    pub capacity: u64,
    pub faults: Faults,
    pub speed: Speed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process ends, as after `kill -9`. The machine's memory survives.
    Process,
    /// The machine ends, and loses its memory.
    Power,
}

/// The disk; the module states its promises. Sans-I/O: [`Disk::start`] returns the time at which an
/// operation ends, and [`Disk::complete`] then returns its result.
#[derive(Clone, Debug)]
pub struct Disk {
    number: u64,
    /// May change during a run.
    pub faults: Faults,
    speed: Speed,
    rng: Rng,
    last: OperationId,
    in_flight: BTreeMap<OperationId, InFlight>,
    media: Media,
    full_until: Instant,
}

/// An unfinished operation.
#[derive(Clone, Debug)]
struct InFlight {
    operation: Operation,
    /// The slot's file at the start of the operation.
    file: Option<FileId>,
    error: Option<DiskError>,
    /// The sectors of a write that reads show already.
    shown: BTreeSet<u32>,
    /// The writes that a sync makes durable.
    cover: Cover,
}

impl Disk {
    #[must_use]
    pub fn new(options: DiskOptions, rng: Rng) -> Self {
        let DiskOptions { number, capacity, faults, speed } = options;
        Self {
            number,
            faults,
            speed,
            rng,
            last: OperationId(0),
            in_flight: BTreeMap::new(),
            media: Media::new(capacity),
            full_until: Instant::from_nanos(0),
        }
    }

    /// Starts an operation. Nothing is promised about it until it is done.
    pub fn start(&mut self, now: Instant, operation: Operation, trace: &mut Trace) -> Started {
        let file = operation.slot().and_then(|slot| self.media.folder.find(Name::Slot(slot)));
        self.check(&operation, file);
        self.last.0 += 1;
        let id = self.last;
        let done_at = now.plus(self.rng.delay(self.delay_of(&operation)));
        let is_stalled = self.rng.happens(self.speed.stall);
        let done_at = if is_stalled { done_at.plus(self.rng.delay(self.speed.stalled)) } else { done_at };
        let error = self.draw_error(now, &operation);
        self.note_start(now, Started { id, done_at }, &operation, trace);
        let cover = Cover { sync: id, in_flight: self.in_flight.keys().copied().collect() };
        self.in_flight.insert(id, InFlight { operation, file, error, shown: BTreeSet::new(), cover });
        Started { id, done_at }
    }

    /// Ends the operation, at the time that [`Disk::start`] returned. Returns `None` if a crash
    /// interrupted it: nobody waits for its result.
    ///
    /// # Errors
    /// The error that was drawn for the operation; [`DiskError::Io`] for a read of an unreadable
    /// sector; [`DiskError::Full`] if the slots would exceed the disk's capacity;
    /// [`DiskError::NotFound`] if there is no such file.
    pub fn complete(&mut self, now: Instant, id: OperationId, trace: &mut Trace) -> Option<Result<Outcome, DiskError>> {
        let in_flight = self.in_flight.remove(&id)?;
        let harmed = self.harms().len();
        let result = self.finish(now, id, in_flight);
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

    /// Ends the process that used the disk, or the whole machine. Interrupts all operations, and
    /// reports none of them.
    pub fn crash(&mut self, now: Instant, crash: Crash, trace: &mut Trace) {
        let mut in_flight: Vec<_> = std::mem::take(&mut self.in_flight).into_iter().collect();
        let name = match crash {
            Crash::Process => "kill",
            Crash::Power => "power-cut",
        };
        trace.step(now, name, &[("disk", self.number), ("in-flight", in_flight.len() as u64)]);
        while !in_flight.is_empty() {
            let (id, operation) = in_flight.swap_remove(self.rng.below(in_flight.len()));
            self.cut_off(now, id, operation);
        }
        match crash {
            Crash::Process => self.media.evict_some(&mut self.rng),
            Crash::Power => {
                let harmed = self.harms().len();
                let lost = self.media.cut_power(now, self.faults.torn_unreadable, &mut self.rng);
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

    /// Reads for an oracle: takes no time, and draws no error.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] if there is no such slot, [`DiskError::Io`] if a sector is
    /// unreadable.
    pub fn peek(&mut self, slot: SlotId, offset: u32, length: u32) -> Result<Bytes, DiskError> {
        let file = self.media.folder.find(Name::Slot(slot)).ok_or(DiskError::NotFound)?;
        self.media.read(file, offset, length)
    }

    /// Harms a sector for a run that wants a certain harm. Returns `false`, and does nothing,
    /// unless the sector was written, is durable and is unharmed.
    pub fn harm(&mut self, now: Instant, slot: SlotId, offset: u32, harm: Harm) -> bool {
        self.media.harm(Harmed { at: now, slot, offset, harm }, &mut self.rng)
    }

    fn check(&self, operation: &Operation, file: Option<FileId>) {
        let is_whole = |length: u32| length > 0 && length.is_multiple_of(SECTOR);
        match operation {
            Operation::Reserve { length, .. } => assert!(is_whole(*length), "a slot has whole sectors"),
            Operation::Read { offset, length, .. } => {
                assert!(offset.is_multiple_of(SECTOR) && is_whole(*length), "a read is of whole sectors");
            }
            Operation::Write { offset, bytes, .. } | Operation::WriteSynced { offset, bytes, .. } => {
                let length = media::narrow(bytes.len());
                assert!(offset.is_multiple_of(SECTOR) && is_whole(length), "a write is of whole sectors");
                let reserved = file.map(|file| self.media.length(file));
                assert!(
                    reserved.is_none_or(|reserved| offset + length <= reserved),
                    "a write is within the reserved length"
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
        if self.rng.happens(self.chance_of_error(operation)) {
            return Some(DiskError::Io);
        }
        if !matches!(operation, Operation::Reserve { .. } | Operation::PutNote { .. }) {
            return None;
        }
        if now >= self.full_until && self.rng.happens(self.faults.full) {
            self.full_until = now.plus(self.rng.delay(self.faults.full_for));
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

    /// Executes the rest of the operation, or some of it if the operation fails.
    fn finish(&mut self, now: Instant, id: OperationId, in_flight: InFlight) -> Result<Outcome, DiskError> {
        let InFlight { operation, file, error, shown, cover } = in_flight;
        let (media, rng) = (&mut self.media, &mut self.rng);
        let is_carried_out = error.is_none() || error == Some(DiskError::Io) && rng.coin();
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
                media.write(&write, &shown, error.is_none(), rng);
                done
            }
            Operation::WriteSynced { offset, bytes, .. } => {
                let write = Write { id, file: file.ok_or(DiskError::NotFound)?, offset, bytes };
                media.write(&write, &shown, error.is_none(), rng);
                media.sync_write(&write, &cover, error.is_none(), rng);
                done
            }
            Operation::Sync { .. } => {
                media.sync(file.ok_or(DiskError::NotFound)?, &cover, error.is_none(), rng);
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

    /// Draws which sectors of unfinished writes the read shows already.
    fn show_some(&mut self, file: FileId, offset: u32, length: u32) {
        for (id, InFlight { operation, shown, .. }) in
            self.in_flight.iter_mut().filter(|(_, in_flight)| in_flight.file == Some(file))
        {
            if let Operation::Write { offset: at, bytes, .. } | Operation::WriteSynced { offset: at, bytes, .. } =
                operation
            {
                let write = Write { id: *id, file, offset: *at, bytes: bytes.clone() };
                self.media.show_some(&write, shown, (offset, length), &mut self.rng);
            }
        }
    }

    fn harm_some(&mut self, now: Instant, slot: SlotId, offset: u32, length: u32) {
        for offset in (offset..offset.saturating_add(length)).step_by(SECTOR as usize) {
            for (chance, harm) in [(self.faults.unreadable, Harm::Unreadable), (self.faults.flipped, Harm::Flipped)] {
                if self.rng.happens(chance) {
                    self.harm(now, slot, offset, harm);
                }
            }
        }
    }

    /// Executes a part of an operation that a crash interrupts, as if it had failed; nobody hears
    /// of it. Reads and syncs leave nothing, but a sync that was drawn to fail does fail.
    fn cut_off(&mut self, now: Instant, id: OperationId, mut in_flight: InFlight) {
        let succeeds = in_flight.error.is_none();
        match in_flight.operation {
            Operation::Read { .. } | Operation::List | Operation::ReadNote { .. } => return,
            Operation::Sync { .. } | Operation::SyncFolder if succeeds => return,
            Operation::WriteSynced { slot, offset, bytes } if succeeds => {
                in_flight.operation = Operation::Write { slot, offset, bytes };
            }
            _ => {}
        }
        in_flight.error.get_or_insert(DiskError::Io);
        let _ = self.finish(now, id, in_flight);
    }
}

#[cfg(test)]
mod tests;
