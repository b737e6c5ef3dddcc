//! The folder: which name stands for which file. A name that was made, replaced or removed is so for good only after the folder's sync.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_engine_core::wal::SlotId;

use super::history::{Cover, History};
use super::operation::OperationId;

/// A file, whatever it is called.
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

    /// In their order.
    pub(super) fn slots(&self) -> impl Iterator<Item = (SlotId, FileId)> {
        self.names.iter().filter_map(|(name, history)| match name {
            Name::Slot(slot) => history.shown().map(|file| (*slot, file)),
            Name::Note(_) => None,
        })
    }

    /// The name stands for this file now, or for none.
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

    /// The files that a name stands for, or may stand for after a crash.
    pub(super) fn files(&self) -> BTreeSet<FileId> {
        self.names.values().flat_map(History::all).filter_map(|file| *file).collect()
    }
}
