//! Writes and syncs through `io_uring`, on the shard's own thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use rustmq_engine_core::wal::SlotId;

use super::{DiskError, DiskFaults, SlotFile, Step, sync_error, write_error};

pub(crate) struct UringDisk {
    /// The slots' files as the driver holds them; slots are few and never removed.
    files: RefCell<HashMap<SlotId, Rc<monoio::fs::File>>>,
    faults: Option<Arc<DiskFaults>>,
}

impl UringDisk {
    pub(crate) fn new(faults: Option<Arc<DiskFaults>>) -> Self {
        Self { files: RefCell::default(), faults }
    }

    pub(super) async fn execute(&self, steps: Vec<Step>) -> Result<(), DiskError> {
        for step in steps {
            match step {
                Step::Write { file, offset, bytes } => {
                    let length = bytes.len();
                    let failed = |error| write_error(&file, offset, length, error);
                    if let Some(faults) = &self.faults {
                        faults.before_write().map_err(failed)?;
                    }
                    let target = self.file(&file).map_err(failed)?;
                    target.write_all_at(bytes, offset).await.0.map_err(failed)?;
                }
                Step::Sync { file } => {
                    let failed = |error| sync_error(&file, error);
                    if let Some(faults) = &self.faults {
                        faults.before_sync().map_err(failed)?;
                    }
                    self.file(&file).map_err(failed)?.sync_data().await.map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    fn file(&self, slot: &SlotFile) -> std::io::Result<Rc<monoio::fs::File>> {
        if let Some(file) = self.files.borrow().get(&slot.slot) {
            return Ok(Rc::clone(file));
        }
        let file = match slot.take_driver_file() {
            Some(file) => file,
            None => slot.file.try_clone()?,
        };
        let file = Rc::new(monoio::fs::File::from_std(file)?);
        self.files.borrow_mut().insert(slot.slot, Rc::clone(&file));
        Ok(file)
    }
}
