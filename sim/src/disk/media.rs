//! The durable content of the disk, and the content that reads show: files, names, notes. The
//! caller decides on operations and on their failures; the effect of a failure is drawn here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use rustmq_engine_core::wal::SlotId;
use rustmq_model::Instant;

use super::SECTOR;
use super::folder::{FileId, Folder, Name};
use super::history::Cover;
use super::operation::{DiskError, OperationId};
use super::sector_pattern::{PowerCut, SectorPattern};
use super::slot_file::{Harm, Sector, SlotFile};
use crate::rng::{Chance, Rng};

/// A sector that the device harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harmed {
    pub at: Instant,
    pub slot: SlotId,
    pub offset: u32,
    pub harm: Harm,
}

/// A write, split into sectors.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub id: OperationId,
    pub file: FileId,
    pub offset: u32,
    pub bytes: Bytes,
}

impl Write {
    fn sectors(&self) -> Range<u32> {
        let first = self.offset / SECTOR;
        first..first + narrow(self.bytes.len()) / SECTOR
    }

    fn sector(&self, number: u32) -> Sector {
        let at = (number * SECTOR - self.offset) as usize;
        Sector { bytes: self.bytes.slice(at..at + SECTOR as usize), harm: None }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Media {
    capacity: u64,
    pub folder: Folder,
    slots: BTreeMap<FileId, SlotFile>,
    notes: BTreeMap<FileId, Bytes>,
    pub harms: Vec<Harmed>,
}

impl Media {
    pub(super) fn new(capacity: u64) -> Self {
        let (slots, notes) = (BTreeMap::new(), BTreeMap::new());
        Self { capacity, folder: Folder::default(), slots, notes, harms: Vec::new() }
    }

    fn slot_file(&mut self, file: FileId) -> &mut SlotFile {
        self.slots.get_mut(&file).expect("files stay until a crash, and operations do not outlive one")
    }

    pub(super) fn length(&self, file: FileId) -> u32 {
        self.slots.get(&file).map_or(0, |file| *file.length.shown())
    }

    pub(super) fn slots(&self) -> Vec<(SlotId, u32)> {
        self.folder.slots().map(|(slot, file)| (slot, self.length(file))).collect()
    }

    pub(super) fn note(&self, name: &'static str) -> Option<Bytes> {
        self.folder.find(Name::Note(name)).and_then(|file| self.notes.get(&file).cloned())
    }

    pub(super) fn put_note(&mut self, id: OperationId, name: &'static str, bytes: Bytes) {
        self.notes.insert(FileId(id.0), bytes);
        self.folder.point(Name::Note(name), Some(FileId(id.0)), id);
    }

    pub(super) fn reserve(&mut self, id: OperationId, slot: SlotId, length: u32) -> Result<(), DiskError> {
        let file = self.folder.find(Name::Slot(slot));
        let held = file.map_or(0, |file| self.length(file));
        let used: u64 = self.slots().iter().map(|(_, length)| u64::from(*length)).sum();
        if used + u64::from(length.saturating_sub(held)) > self.capacity {
            return Err(DiskError::Full);
        }
        let file = file.unwrap_or_else(|| {
            let file = FileId(id.0);
            self.slots.insert(file, SlotFile::new());
            self.folder.point(Name::Slot(slot), Some(file), id);
            file
        });
        if length > held {
            let file = self.slot_file(file);
            file.length.show(length, id);
            file.resize_sectors();
        }
        Ok(())
    }

    /// Makes reads show the rest of the write, or any subset of it if the write fails.
    pub(super) fn write(&mut self, write: &Write, shown: &BTreeSet<u32>, succeeds: bool, rng: &mut Rng) {
        let mut pattern = if succeeds { SectorPattern::All } else { SectorPattern::draw(rng) };
        let file = self.slot_file(write.file);
        for number in write.sectors().filter(|number| !shown.contains(number)) {
            if pattern.reaches(rng) {
                file.sector_for_write(number).show(write.sector(number), write.id);
            }
        }
    }

    /// Makes reads of `part` (offset and length) show some more sectors of an unfinished write, and
    /// adds them to `shown`.
    pub(super) fn show_some(&mut self, write: &Write, shown: &mut BTreeSet<u32>, part: (u32, u32), rng: &mut Rng) {
        let file = self.slot_file(write.file);
        let part = file.range(part.0, part.1);
        let mut pattern = SectorPattern::draw(rng);
        for number in write.sectors().filter(|number| part.contains(number)) {
            if pattern.reaches(rng) && shown.insert(number) {
                file.sector_for_write(number).show(write.sector(number), write.id);
            }
        }
    }

    /// Executes the sync of a write with its own sync.
    pub(super) fn sync_write(&mut self, write: &Write, cover: &Cover, succeeds: bool, rng: &mut Rng) {
        let file = self.slot_file(write.file);
        let mut pattern = SectorPattern::draw(rng);
        for number in write.sectors() {
            let sector = file.sector(number);
            if succeeds {
                sector.on_written_through(write.id);
            } else if pattern.reaches(rng) {
                sector.on_sync_failed(|version| version == write.id);
            }
        }
        if succeeds {
            file.length.on_synced(cover);
        }
        file.refresh_dirty();
    }

    pub(super) fn sync(&mut self, file: FileId, cover: &Cover, succeeds: bool, rng: &mut Rng) {
        let file = self.slot_file(file);
        let mut pattern = SectorPattern::draw(rng);
        for number in file.dirty() {
            let sector = file.sector(number);
            if succeeds {
                sector.on_synced(cover);
            } else if pattern.reaches(rng) {
                sector.on_sync_failed(|version| cover.has(version));
            }
        }
        if succeeds {
            file.length.on_synced(cover);
        }
        file.refresh_dirty();
    }

    pub(super) fn read(&mut self, file: FileId, offset: u32, length: u32) -> Result<Bytes, DiskError> {
        let file = self.slot_file(file);
        let sectors = file.range(offset, length);
        let is_lost = |number| file.sector(number).shown().harm == Some(Harm::Unreadable);
        if sectors.clone().any(is_lost) { Err(DiskError::Io) } else { Ok(file.read(sectors)) }
    }

    /// Harms a sector. Returns whether it was written, durable and unharmed.
    pub(super) fn harm(&mut self, harmed: Harmed, rng: &mut Rng) -> bool {
        let file = self.folder.find(Name::Slot(harmed.slot));
        let Some(file) = file.and_then(|file| self.slots.get_mut(&file)) else { return false };
        if file.range(harmed.offset, SECTOR).is_empty() {
            return false;
        }
        let sector = file.sector(harmed.offset / SECTOR).clean();
        let Some(sector) = sector.filter(|sector| !sector.bytes.is_empty() && sector.harm.is_none()) else {
            return false;
        };
        sector.harm = Some(harmed.harm);
        if harmed.harm == Harm::Flipped {
            let mut bytes = sector.bytes.to_vec();
            bytes[rng.below(SECTOR as usize)] ^= 1 << rng.below(8);
            sector.bytes = Bytes::from(bytes);
        }
        self.harms.push(harmed);
        true
    }

    /// Draws which sectors that count as clean, but are not on the disk, leave the memory.
    pub(super) fn evict_some(&mut self, rng: &mut Rng) {
        for file in self.slots.values_mut() {
            for number in file.dirty() {
                if rng.coin() {
                    file.sector(number).evict_falsely_clean();
                }
            }
            file.refresh_dirty();
        }
        self.drop_nameless();
    }

    /// Keeps everything durable, and draws which other writes reached the disk. Returns the sectors
    /// that differ from what reads showed.
    pub(super) fn cut_power(&mut self, at: Instant, torn: Chance, rng: &mut Rng) -> Vec<(SlotId, u32)> {
        let mut lost = Vec::new();
        let mut last = PowerCut::draw(rng);
        self.folder.cut(|write| last.reaches(write));
        for (slot, file) in self.folder.slots() {
            let file = self.slots.get_mut(&file).expect("a name points to a file");
            file.length.cut(|write| last.reaches(write));
            file.resize_sectors();
            for number in file.dirty() {
                let offset = number * SECTOR;
                let sector = file.sector(number);
                if !sector.cut(|write| last.reaches(write)) {
                    lost.push((slot, offset));
                }
                if let Some(content) = sector.clean().filter(|_| last.happens(torn)) {
                    let harm = Harm::Unreadable;
                    content.harm = Some(harm);
                    self.harms.push(Harmed { at, slot, offset, harm });
                }
            }
            file.refresh_dirty();
        }
        self.drop_nameless();
        lost
    }

    fn drop_nameless(&mut self) {
        let named = self.folder.files();
        self.slots.retain(|file, _| named.contains(file));
        self.notes.retain(|file, _| named.contains(file));
    }
}

pub(super) fn narrow(length: usize) -> u32 {
    u32::try_from(length).expect("a write is shorter than a slot")
}
