//! Prepares slot files ahead of use, on a thread of its own. Reserves their space first, so that
//! nothing else on the disk can take it. Then fills them with zeros, so that a later sync of a
//! group never waits for the file system's metadata. The segment table decides which slot is
//! prepared, and when.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustmq_engine_core::shard::{Preparation, Urgency};
use rustmq_engine_core::wal::{SegmentShape, SlotId};
use rustmq_engine_memory::{ChunkPool, ChunkWriter};
use rustmq_folder::sync_dir;

use crate::direct_io::DirectIo;
use crate::disk::SlotFile;
use crate::event::{Event, EventSender};

/// The number of zero bytes to write at a time.
const FILL_BYTES: usize = 256 << 10;
const _: () = assert!(FILL_BYTES.is_multiple_of(SegmentShape::BLOCK_SIZE_MAX as usize), "a write has whole blocks");
/// How long the reservation of a slot takes where its space must be filled with zeros, unless a
/// commit waits for the slot.
const RESERVE_DURATION: Duration = Duration::from_secs(5);
/// After a failure (as a rule the disk is full) the slot is not requested again for this long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The urgency of the current preparation, as an atomic that the preparing thread polls.
pub(crate) const PACED: u8 = 0;
const AWAITED: u8 = 1;
const ENDING: u8 = 2;

pub(crate) const fn level(urgency: Urgency) -> u8 {
    match urgency {
        Urgency::Paced => PACED,
        Urgency::Awaited => AWAITED,
        Urgency::Ending => ENDING,
    }
}

#[derive(Debug)]
pub(crate) struct SlotJob {
    pub slot: SlotId,
    pub path: PathBuf,
    pub length: u64,
    pub io: DirectIo,
    pub preparation: Preparation,
    /// One of the values that [`level`] returns.
    pub urgency: Arc<AtomicU8>,
    pub done: EventSender,
}

/// The queue of a shard's preparation thread. It holds at most two jobs.
#[derive(Debug)]
pub(crate) struct SlotPreparer {
    jobs: mpsc::SyncSender<SlotJob>,
}

impl SlotPreparer {
    /// Starts the thread, which ends when the returned value is dropped.
    pub(crate) fn start(shard: usize) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel::<SlotJob>(2);
        std::thread::Builder::new().name(format!("rustmq-slots-{shard}")).spawn(move || {
            while let Ok(job) = inbox.recv() {
                let _report = ReportPanic(job.done.clone());
                let event = match prepare(&job) {
                    Ok(event) => event,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => Event::SlotFailed { slot: job.slot },
                    Err(error) => {
                        tracing::warn!(path = %job.path.display(), %error, "a WAL slot cannot be prepared");
                        std::thread::sleep(PAUSE_AFTER_FAILURE);
                        Event::SlotFailed { slot: job.slot }
                    }
                };
                job.done.send(event);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Returns whether the queue took the job.
    pub(crate) fn submit(&self, job: SlotJob) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

/// Reports a panic of the thread. Without the report the shard, its producers and a shutdown would
/// wait for slots forever.
struct ReportPanic(EventSender);

impl Drop for ReportPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send(Event::PreparerPanicked);
        }
    }
}

fn prepare(job: &SlotJob) -> io::Result<Event> {
    let slot = job.slot;
    match job.preparation {
        Preparation::Reserved => reserve(job).map(|file| Event::SlotReserved { slot, file: Arc::new(file) }),
        Preparation::Filled { over } => fill(job, over).map(|()| Event::SlotFilled { slot }),
    }
}

/// Removes a file that could not be prepared, because a full disk needs its space; the slot holds
/// no data yet. The next attempt creates a new file and writes and syncs all of it, including its
/// name: a failed sync is never repeated on the same data. A file that could not be opened stays,
/// because its space may be reserved. So does a file whose filling was interrupted by the shard's
/// end.
fn give_back(job: &SlotJob, error: &io::Error) {
    if error.kind() != io::ErrorKind::Interrupted {
        let _ = std::fs::remove_file(&job.path);
    }
}

pub(crate) fn open(slot: SlotId, path: &Path, io: DirectIo) -> io::Result<SlotFile> {
    SlotFile::open(slot, path.to_owned(), io)
}

fn reserve(job: &SlotJob) -> io::Result<SlotFile> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&job.path)?;
    hold(job, &file).inspect_err(|error| give_back(job, error))?;
    open(job.slot, &job.path, job.io)
}

fn hold(job: &SlotJob, file: &File) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, job.length) {
        // Setting the length alone reserves nothing: a later write could find the disk full, and a
        // commit that cannot write loses its batches.
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(job, file, RESERVE_DURATION)?,
        done => done.map_err(io::Error::from)?,
    }
    if file.metadata()?.len() > job.length {
        file.set_len(job.length)?;
    }
    // Zeros in the first block ensure that nothing of the slot's earlier use looks like a segment.
    file.write_all_at(&[0; 4096], 0)?;
    file.sync_all()?;
    // The folder is synced every time: an earlier process may have created the file and ended
    // before syncing its name.
    job.path.parent().map_or(Ok(()), sync_dir)
}

/// Fails with `Interrupted` when the shard ends.
fn fill(job: &SlotJob, over: Duration) -> io::Result<()> {
    let file = job.io.open(&job.path)?;
    write_zeros(job, &file, over).inspect_err(|error| give_back(job, error))
}

fn write_zeros(job: &SlotJob, file: &File, over: Duration) -> io::Result<()> {
    let mut zeros = ChunkWriter::new(FILL_BYTES, &ChunkPool::default()).map_err(io::Error::other)?;
    zeros.open_part().fill(0);
    let zeros = zeros.freeze(FILL_BYTES);
    let begun = Instant::now();
    let mut at = 0;
    while at < job.length {
        let due = over.mul_f64(at as f64 / job.length as f64);
        pause_until(begun + due, &job.urgency)?;

        let length = (job.length - at).min(FILL_BYTES as u64);
        let length_in_memory = usize::try_from(length).expect("at most the size of the buffer");
        file.write_all_at(&zeros[..length_in_memory], at)?;
        at += length;
    }
    file.sync_all()
}

/// Waits until `time`, or until the slot is awaited.
fn pause_until(time: Instant, urgency: &AtomicU8) -> io::Result<()> {
    const CHECK_INTERVAL: Duration = Duration::from_millis(10);
    loop {
        let now = urgency.load(Ordering::Relaxed);
        if now == ENDING {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let left = time.saturating_duration_since(Instant::now());
        if now == AWAITED || left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(CHECK_INTERVAL));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU8;
    use std::time::{Duration, Instant};

    use rustmq_engine_core::wal::SlotId;

    use super::{Preparation, ReportPanic, SlotJob, Urgency, level, pause_until, prepare};
    use crate::direct_io::DirectIo;
    use crate::event::{Event, EventSender};

    #[test]
    fn a_panic_of_the_thread_is_reported_and_an_orderly_end_is_not() {
        let (sender, mut events) = EventSender::channel(2);
        drop(ReportPanic(sender.clone()));
        assert!(events.try_recv().is_err());
        let thread = std::thread::spawn(move || {
            let _report = ReportPanic(sender);
            panic!("on order");
        });
        assert!(thread.join().is_err());
        assert!(matches!(events.try_recv(), Ok(Event::PreparerPanicked)));
    }

    #[test]
    fn a_preparation_that_fails_leaves_no_file_and_one_that_is_cut_off_keeps_its_space() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot-00000");
        let io = DirectIo::probe(folder.path(), folder.path()).unwrap();
        let job = |urgency, preparation, length| SlotJob {
            slot: SlotId(0),
            path: path.clone(),
            length,
            io,
            preparation,
            urgency: Arc::new(AtomicU8::new(level(urgency))),
            done: EventSender::channel(1).0,
        };
        // More than any file system has.
        assert!(prepare(&job(Urgency::Awaited, Preparation::Reserved, 1 << 62)).is_err());
        assert!(!path.exists(), "remains of a failed sync are not reused");
        std::fs::write(&path, [7; 5_000]).unwrap();
        prepare(&job(Urgency::Awaited, Preparation::Reserved, 1 << 20)).unwrap();
        let held = || std::fs::metadata(&path).map(|file| (file.len(), file.blocks() * 512)).unwrap();
        assert_eq!(held().0, 1 << 20);
        assert!(held().1 >= 1 << 20, "{:?}", held());
        assert_eq!(std::fs::read(&path).unwrap()[..4096], [0; 4096]);
        let filled = Preparation::Filled { over: Duration::ZERO };
        assert!(prepare(&job(Urgency::Ending, filled, 1 << 20)).is_err());
        assert!(held().1 >= 1 << 20, "{:?}", held());
        prepare(&job(Urgency::Awaited, filled, 1 << 20)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), vec![0; 1 << 20]);
    }

    #[test]
    fn a_pause_ends_when_the_slot_is_awaited_and_fails_when_the_shard_ends() {
        let far = Instant::now() + Duration::from_secs(3_600);
        let urgency_of = |urgency| AtomicU8::new(level(urgency));
        pause_until(far, &urgency_of(Urgency::Awaited)).unwrap();
        assert!(pause_until(Instant::now(), &urgency_of(Urgency::Ending)).is_err());
        pause_until(Instant::now(), &urgency_of(Urgency::Paced)).unwrap();
    }
}
