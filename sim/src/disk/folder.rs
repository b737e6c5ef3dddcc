//! The folder: maps names to files. A name that was created, replaced or removed is durable only
//! after the folder's sync.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_engine_core::wal::SlotId;

use super::history::{Cover, History};
use super::operation::OperationId;

/// The identity of a file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Slot(SlotId),
    Note(&'static str),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Folder {
    names: BTreeMap<Name, History<Option<FileId>>>,
}

impl Folder {
    pub(super) fn find(&self, name: Name) -> Option<FileId> {
        self.names.get(&name).and_then(|history| *history.shown())
    }

    /// The slots with their files, in the order of their numbers.
    pub(super) fn slots(&self) -> impl Iterator<Item = (SlotId, FileId)> {
        self.names.iter().filter_map(|(name, history)| match name {
            Name::Slot(slot) => history.shown().map(|file| (*slot, file)),
            Name::Note(_) => None,
        })
    }

    /// Points the name to this file, or removes it.
    pub(super) fn point(&mut self, name: Name, file: Option<FileId>, operation: OperationId) {
        self.names.entry(name).or_insert_with(|| History::new(None)).show(file, operation);
    }

    pub(super) fn on_synced(&mut self, cover: &Cover) {
        self.names.values_mut().for_each(|history| history.on_synced(cover));
    }

    pub(super) fn cut(&mut self, mut reached: impl FnMut(OperationId) -> bool) {
        for history in self.names.values_mut() {
            history.cut(&mut reached);
        }
        self.names.retain(|_, history| history.shown().is_some());
    }

    /// All files with a name, or with one that a crash may bring back.
    pub(super) fn files(&self) -> BTreeSet<FileId> {
        self.names.values().flat_map(History::all).filter_map(|file| *file).collect()
    }
}
