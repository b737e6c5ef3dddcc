//! Prepares slot files ahead of use, on a thread of its own: created, filled with zeros and synced, so that a later sync of a group never
//! waits for the file system's metadata. Which slot, and when, is the segment table's decision.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rustmq_engine_api::chunk::{ChunkPool, ChunkWriter};
use rustmq_engine_core::wal::SlotId;

use crate::dio::{DirectIo, sync_dir};
use crate::disk::SlotFile;
use crate::event::{Event, EventSender};

const FILL_BYTES: usize = 1 << 20;
/// How long a preparation that failed (a full disk, as a rule) keeps its slot from being asked for again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How thoroughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// Zeros are written over the whole length.
    Filled,
    /// The space is only reserved: for the one slot that a new WAL waits for, whose first syncs are slower for it.
    Reserved,
}

#[derive(Debug)]
pub(crate) struct SlotJob {
    pub slot: SlotId,
    pub path: PathBuf,
    pub length: u64,
    pub io: DirectIo,
    pub preparation: Preparation,
    pub done: EventSender,
}

/// The queue of the preparation thread. Each WAL has at most two jobs in it.
#[derive(Clone, Debug)]
pub(crate) struct SlotPreparer {
    jobs: mpsc::SyncSender<SlotJob>,
}

impl SlotPreparer {
    /// The thread ends with the last clone.
    pub(crate) fn start(wal_count: usize) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel::<SlotJob>(2 * wal_count);
        std::thread::Builder::new().name("rustmq-slots".to_owned()).spawn(move || {
            while let Ok(job) = inbox.recv() {
                let event = match prepare(&job) {
                    Ok(file) => Event::SlotPrepared { slot: job.slot, file: Arc::new(file) },
                    Err(error) => {
                        tracing::warn!(path = %job.path.display(), %error, "a WAL segment cannot be prepared");
                        std::thread::sleep(PAUSE_AFTER_FAILURE);
                        Event::SlotFailed { slot: job.slot }
                    }
                };
                job.done.send(event);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Whether the job was taken.
    pub(crate) fn submit(&self, job: SlotJob) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

fn prepare(job: &SlotJob) -> io::Result<SlotFile> {
    let new = !job.path.exists();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&job.path)?;
    let prepared = match job.preparation {
        Preparation::Reserved => reserve(&file, job.length),
        Preparation::Filled => fill(job),
    };
    if let Err(error) = prepared.and_then(|()| file.sync_all()) {
        // Give back what a full disk needs; the slot holds nothing yet.
        let _ = file.set_len(0);
        return Err(error);
    }
    if new && let Some(dir) = job.path.parent() {
        sync_dir(dir)?;
    }
    open(job.slot, &job.path, job.io)
}

pub(crate) fn open(slot: SlotId, path: &Path, io: DirectIo) -> io::Result<SlotFile> {
    SlotFile::new(slot, path.to_owned(), io.open(path)?)
}

fn reserve(file: &File, length: u64) -> io::Result<()> {
    // The first block is written, so that nothing of an earlier use of the slot looks like a segment.
    file.write_all_at(&[0; 4096], 0)?;
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, length) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(length),
        done => done.map_err(io::Error::from),
    }
}

fn fill(job: &SlotJob) -> io::Result<()> {
    let file = job.io.open(&job.path)?;
    let mut zeros = ChunkWriter::new(FILL_BYTES, &ChunkPool::default()).map_err(io::Error::other)?;
    zeros.open_part().fill(0);
    let zeros = zeros.freeze(FILL_BYTES);
    let mut at = 0;
    while at < job.length {
        let length = (job.length - at).min(FILL_BYTES as u64);
        let length_in_memory = usize::try_from(length).expect("at most the size of the buffer");
        file.write_all_at(&zeros[..length_in_memory], at)?;
        at += length;
    }
    if file.metadata()?.len() > job.length { file.set_len(job.length) } else { Ok(()) }
}
