//! The open files of the slots. A commit takes a snapshot of them when it starts, and readers have
//! one, too: cloning counts a reference. A change, which is rare, copies the list.

use std::collections::HashMap;
use std::sync::Arc;

use rustmq_engine_core::wal::SlotId;

use crate::disk::SlotFile;

#[derive(Clone, Debug, Default)]
pub(crate) struct SlotFiles(Arc<HashMap<SlotId, Arc<SlotFile>>>);

impl SlotFiles {
    pub(crate) fn new(files: HashMap<SlotId, Arc<SlotFile>>) -> Self {
        Self(Arc::new(files))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn file(&self, slot: SlotId) -> Option<&Arc<SlotFile>> {
        self.0.get(&slot)
    }

    /// The file of a slot that a step of a commit names.
    pub(crate) fn of(&self, slot: SlotId) -> &SlotFile {
        self.file(slot).expect("a slot is started only after its file is open, and the file stays open")
    }

    pub(crate) fn all(&self) -> Vec<Arc<SlotFile>> {
        self.0.values().map(Arc::clone).collect()
    }

    pub(crate) fn insert(&mut self, slot: SlotId, file: Arc<SlotFile>) {
        Arc::make_mut(&mut self.0).insert(slot, file);
    }

    pub(crate) fn remove(&mut self, slot: SlotId) {
        Arc::make_mut(&mut self.0).remove(&slot);
    }
}
