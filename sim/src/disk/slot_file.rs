//! A slot's file: its sectors and its length. The disk decides which versions of them survive.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use super::SECTOR;
use super::history::History;

/// Damage that the device does to a sector on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Reads of the sector fail with EIO until it is written again.
    Unreadable,
    Flipped,
}

impl Harm {
    /// The harm's name in the trace.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Flipped => "flipped",
        }
    }
}

/// The content of a sector. It shares the memory of its write, so that a crash copies nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Sector {
    /// Empty if the sector was never written: it reads as zeros.
    pub bytes: Bytes,
    pub harm: Option<Harm>,
}

#[derive(Clone, Debug)]
pub(super) struct SlotFile {
    pub length: History<u32>,
    sectors: Vec<History<Sector>>,
    /// The sectors with a version that is not durable.
    dirty: BTreeSet<u32>,
}

impl SlotFile {
    pub(super) const fn new() -> Self {
        Self { length: History::new(0), sectors: Vec::new(), dirty: BTreeSet::new() }
    }

    pub(super) fn sector(&mut self, number: u32) -> &mut History<Sector> {
        &mut self.sectors[number as usize]
    }

    /// Returns a sector for a write to it.
    pub(super) fn sector_for_write(&mut self, number: u32) -> &mut History<Sector> {
        self.dirty.insert(number);
        self.sector(number)
    }

    pub(super) fn dirty(&self) -> Vec<u32> {
        self.dirty.iter().copied().collect()
    }

    /// Recomputes which sectors are dirty, after their histories have changed.
    pub(super) fn refresh_dirty(&mut self) {
        let sectors = &self.sectors;
        self.dirty.retain(|number| sectors.get(*number as usize).is_some_and(|sector| !sector.is_clean()));
    }

    /// Resizes the sectors to the shown length. Added sectors were never written.
    pub(super) fn resize_sectors(&mut self) {
        let count = *self.length.shown() / SECTOR;
        self.sectors.resize_with(count as usize, || History::new(Sector::default()));
        self.dirty.split_off(&count);
    }

    /// The sectors of a range of bytes, up to the end of the file.
    pub(super) fn range(&self, offset: u32, length: u32) -> std::ops::Range<u32> {
        let end = offset.saturating_add(length).min(*self.length.shown());
        offset / SECTOR..(end / SECTOR).max(offset / SECTOR)
    }

    /// Returns the content that reads show, whether it is harmed or not.
    pub(super) fn read(&self, sectors: std::ops::Range<u32>) -> Bytes {
        let mut bytes = BytesMut::with_capacity(sectors.len() * SECTOR as usize);
        for number in sectors {
            match &self.sectors[number as usize].shown().bytes {
                content if content.is_empty() => bytes.resize(bytes.len() + SECTOR as usize, 0),
                content => bytes.extend_from_slice(content),
            }
        }
        bytes.freeze()
    }
}
