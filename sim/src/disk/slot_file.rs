//! A slot's file: its sectors and its length. Which of them survive what, the disk says.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use super::SECTOR;
use super::history::History;

/// What the device does to a sector by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Reads of it answer EIO until it is written again.
    Unreadable,
    Flipped,
}

impl Harm {
    /// What the trace calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Flipped => "flipped",
        }
    }
}

/// What a sector holds. It shares the memory of the write that it came with, so that nothing is copied at a crash.
#[derive(Clone, Debug, Default)]
pub(super) struct Sector {
    /// Empty where nothing was ever written: it reads as zeros.
    pub bytes: Bytes,
    pub harm: Option<Harm>,
}

#[derive(Clone, Debug)]
pub(super) struct SlotFile {
    pub length: History<u32>,
    sectors: Vec<History<Sector>>,
    /// Sectors of which something is not durable.
    dirty: BTreeSet<u32>,
}

impl SlotFile {
    pub(super) const fn new() -> Self {
        Self { length: History::new(0), sectors: Vec::new(), dirty: BTreeSet::new() }
    }

    pub(super) fn sector(&mut self, number: u32) -> &mut History<Sector> {
        &mut self.sectors[number as usize]
    }

    /// A sector to write to.
    pub(super) fn soil(&mut self, number: u32) -> &mut History<Sector> {
        self.dirty.insert(number);
        self.sector(number)
    }

    pub(super) fn dirty(&self) -> Vec<u32> {
        self.dirty.iter().copied().collect()
    }

    /// Looks again which sectors are durable as they are shown, after something was done to them.
    pub(super) fn wipe(&mut self) {
        let sectors = &self.sectors;
        self.dirty.retain(|number| sectors.get(*number as usize).is_some_and(|sector| !sector.is_clean()));
    }

    /// There are as many sectors as the shown length has. What is added was never written.
    pub(super) fn fit(&mut self) {
        let count = *self.length.shown() / SECTOR;
        self.sectors.resize_with(count as usize, || History::new(Sector::default()));
        self.dirty.split_off(&count);
    }

    /// The sectors that a part of the file takes, as far as the file goes.
    pub(super) fn range(&self, offset: u32, length: u32) -> std::ops::Range<u32> {
        let end = offset.saturating_add(length).min(*self.length.shown());
        offset / SECTOR..(end / SECTOR).max(offset / SECTOR)
    }

    /// What a read shows. Harm is not looked at.
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
