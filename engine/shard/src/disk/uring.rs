//! Writes and syncs through `io_uring`, on the shard's own thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use monoio::fs::File;
use rustmq_engine_core::shard::DiskStep;
use rustmq_engine_core::wal::SlotId;

use super::DiskFaults;
use super::Lane;
use super::slot_file::{DriverFiles, SlotFile};
use super::work::{DiskError, DiskWork};

/// The runtime submits to the ring and collects completions when the thread is about to sleep, or
/// after a task has yielded a number of times: twice per task, and once more (`Runtime::block_on`
/// of monoio 0.2).
const YIELDS: usize = 3;

/// Makes the runtime submit to the ring and collect completions, on a thread that may never sleep.
pub(super) async fn pass_on() {
    for _ in 0..YIELDS {
        let mut has_yielded = false;
        poll_fn(|context| {
            if std::mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

pub(crate) struct UringDisk {
    /// The slots' files for the driver. Slots are few and never removed.
    files: RefCell<HashMap<SlotId, Rc<Files>>>,
    faults: Option<Arc<DiskFaults>>,
}

struct Files {
    plain: File,
    synced: File,
}

impl Files {
    fn synced_by(&self, lane: Lane) -> &File {
        match lane {
            Lane::First => &self.synced,
            Lane::Second => &self.plain,
        }
    }
}

impl UringDisk {
    pub(crate) fn new(faults: Option<Arc<DiskFaults>>) -> Self {
        Self { files: RefCell::default(), faults }
    }

    pub(super) async fn execute(&self, lane: Lane, DiskWork { steps, files, .. }: DiskWork) -> Result<(), DiskError> {
        for step in steps {
            match step {
                DiskStep::Write { slot, offset, bytes } => {
                    let (file, offset, length) = (files.of(slot), u64::from(offset), bytes.len());
                    let failed = |error| DiskError::of_write(file, offset, length, error);
                    self.before_write().map_err(failed)?;
                    let driver = self.files(file).map_err(failed)?;
                    driver.plain.write_all_at(bytes, offset).await.0.map_err(failed)?;
                }
                DiskStep::Sync { slot } => {
                    let file = files.of(slot);
                    let failed = |error| DiskError::of_sync(file, error);
                    self.before_sync().await.map_err(failed)?;
                    self.files(file).map_err(failed)?.synced_by(lane).sync_data().await.map_err(failed)?;
                }
                DiskStep::WriteSynced { slot, offset, bytes } => {
                    let (file, offset, length) = (files.of(slot), u64::from(offset), bytes.len());
                    let failed = |error| DiskError::of_write(file, offset, length, error);
                    self.before_write().map_err(failed)?;
                    self.before_sync().await.map_err(|error| DiskError::of_sync(file, error))?;
                    let driver = self.files(file).map_err(failed)?;
                    driver.synced_by(lane).write_all_at(bytes, offset).await.0.map_err(failed)?;
                    if lane == Lane::Second {
                        driver.plain.sync_data().await.map_err(|error| DiskError::of_sync(file, error))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn before_write(&self) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.before_write())
    }

    async fn before_sync(&self) -> io::Result<()> {
        match &self.faults {
            Some(faults) => faults.before_ring_sync().await,
            None => Ok(()),
        }
    }

    fn files(&self, slot: &SlotFile) -> io::Result<Rc<Files>> {
        if let Some(files) = self.files.borrow().get(&slot.slot) {
            return Ok(Rc::clone(files));
        }
        let DriverFiles { plain, synced } =
            slot.take_driver_files().expect("a slot has one driver, which keeps its files");
        let files = Rc::new(Files { plain: File::from_std(plain)?, synced: File::from_std(synced)? });
        self.files.borrow_mut().insert(slot.slot, Rc::clone(&files));
        Ok(files)
    }
}
