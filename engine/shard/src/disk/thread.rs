//! Writes and syncs on a thread beside the shard, where there is no `io_uring`: so the next group gathers meanwhile.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{DiskError, DiskFaults, SlotFile, Step, sync_error, write_error};

type Answer = oneshot::Sender<Result<(), DiskError>>;

pub(crate) struct ThreadDisk {
    /// One commit is in flight at a time, so one place is enough. `None` only while dropped.
    work: Option<mpsc::SyncSender<(Vec<Step>, Answer)>>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadDisk {
    pub(crate) fn start(name: String, faults: Option<Arc<DiskFaults>>) -> std::io::Result<Self> {
        let (work, inbox) = mpsc::sync_channel::<(Vec<Step>, Answer)>(1);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            while let Ok((steps, answer)) = inbox.recv() {
                // A shard that does not wait any more is ending.
                let _ = answer.send(execute(steps, faults.as_deref()));
            }
        })?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    pub(super) async fn execute(&self, steps: Vec<Step>) -> Result<(), DiskError> {
        let (answer, done) = oneshot::channel();
        let work = self.work.as_ref().ok_or(DiskError::Ended)?;
        work.try_send((steps, answer)).map_err(|_| DiskError::Ended)?;
        done.await.map_err(|_| DiskError::Ended)?
    }
}

impl Drop for ThreadDisk {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has already failed the commit that waited for it.
            let _ = thread.join();
        }
    }
}

/// Does the steps on this thread.
pub(super) fn execute(steps: Vec<Step>, faults: Option<&DiskFaults>) -> Result<(), DiskError> {
    for step in steps {
        match step {
            Step::Write { file, offset, bytes } => write(&file, offset, &bytes, faults)?,
            Step::Sync { file } => sync(&file, faults)?,
            Step::WriteSynced { file, offset, bytes } => {
                write(&file, offset, &bytes, faults)?;
                sync(&file, faults)?;
            }
        }
    }
    Ok(())
}

fn write(file: &SlotFile, offset: u64, bytes: &[u8], faults: Option<&DiskFaults>) -> Result<(), DiskError> {
    let failed = |error| write_error(file, offset, bytes.len(), error);
    if let Some(faults) = faults {
        faults.before_write().map_err(failed)?;
    }
    file.file.write_all_at(bytes, offset).map_err(failed)
}

fn sync(file: &SlotFile, faults: Option<&DiskFaults>) -> Result<(), DiskError> {
    let failed = |error| sync_error(file, error);
    if let Some(faults) = faults {
        faults.before_sync().map_err(failed)?;
    }
    file.file.sync_data().map_err(failed)
}
