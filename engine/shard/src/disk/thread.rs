//! Writes and syncs on a thread beside the shard, for systems without `io_uring`, so that the next
//! group gathers meanwhile. Each commit that may be in flight has a thread.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::DiskFaults;
use super::blocking::{self, SyncThrough};
use super::work::{DiskError, DiskWork};

type Answer = oneshot::Sender<Result<(), DiskError>>;

pub(crate) struct ThreadDisk {
    /// The thread has one commit at a time, so a capacity of one is enough. `None` only during the
    /// drop.
    work: Option<mpsc::SyncSender<(DiskWork, Answer)>>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadDisk {
    pub(super) fn start(
        name: String,
        mut through: SyncThrough,
        faults: Option<Arc<DiskFaults>>,
    ) -> std::io::Result<Self> {
        let (work, inbox) = mpsc::sync_channel::<(DiskWork, Answer)>(1);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            while let Ok((work, answer)) = inbox.recv() {
                // The send fails only if the shard is ending and no longer waits.
                let _ = answer.send(blocking::execute(work, &mut through, faults.as_deref()));
            }
        })?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }

    pub(super) async fn execute(&self, work: DiskWork) -> Result<(), DiskError> {
        let (answer, done) = oneshot::channel();
        let thread = self.work.as_ref().ok_or(DiskError::Ended)?;
        thread.try_send((work, answer)).map_err(|_| DiskError::Ended)?;
        done.await.map_err(|_| DiskError::Ended)?
    }
}

impl Drop for ThreadDisk {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has already failed the commit that waited for it.
            let _ = thread.join();
        }
    }
}
