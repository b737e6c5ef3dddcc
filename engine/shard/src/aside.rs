//! Copies of slot files that are damaged, as they were, beside the slots. They belong to whoever looks into the damage: nothing here reads them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_core::wal::Generation;

use crate::dio::sync_dir;
use crate::read_around::{AroundFile, Persistence};

/// Segments of a WAL that are kept while it runs. Only the process's log tells about later ones.
const KEPT_MAX: usize = 4;
/// A copy leaves as many times its length of the disk free: slots and metadata need it more.
const LEFT_FREE: u64 = 4;
const KEPT_EXTENSION: &str = "damaged";
const DRAFT_EXTENSION: &str = "draft";
/// Bytes to copy at a time.
const WINDOW: usize = 1 << 20;

/// A synced copy of the file under a new name: an earlier repair's copy, perhaps of one that was cut off, is never written over.
pub(crate) fn copy_for_repair(path: &Path) -> io::Result<PathBuf> {
    for number in 1_u32.. {
        let copy = path.with_extension(format!("damaged-{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&copy) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => return copy_into(path, file).map(|()| copy),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// A synced copy of a segment of which something cannot be read, before its slot is used again. Made once for each segment, and for the
/// first few of a WAL only, so that a dying disk is not filled with them.
pub(crate) fn keep_segment(path: &Path, generation: Generation) -> io::Result<PathBuf> {
    let copy = path.with_extension(format!("generation-{}.{KEPT_EXTENSION}", generation.0));
    if copy.exists() {
        return Ok(copy);
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut kept = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(KEPT_EXTENSION) => kept += 1,
            // A kill ended an earlier copy.
            Some(DRAFT_EXTENSION) => fs::remove_file(path)?,
            _ => {}
        }
    }
    if kept >= KEPT_MAX {
        return Err(io::Error::other(format!("{kept} damaged segments are kept already")));
    }
    let (length, stat) = (fs::metadata(path)?.len(), rustix::fs::statvfs(dir)?);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free / (LEFT_FREE + 1) < length {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("a copy of {length} bytes would leave too little of {free} that are free"),
        ));
    }
    let draft = copy.with_extension(DRAFT_EXTENSION);
    let copied = File::create(&draft).and_then(|file| copy_into(path, file)).and_then(|()| fs::rename(&draft, &copy));
    if let Err(error) = copied {
        // It holds what a full disk needs.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    sync_dir(dir)?;
    Ok(copy)
}

/// What cannot be read is stood in for, so that every other byte has its place.
fn copy_into(path: &Path, mut copy: File) -> io::Result<()> {
    let mut file = AroundFile::open(path, Persistence::WhileItAnswers)?;
    let pool = ChunkPool::default();
    let mut at = 0;
    loop {
        let bytes = file.read(at, WINDOW, &pool, |_, _| {})?;
        if bytes.is_empty() {
            return copy.sync_all();
        }
        copy.write_all(&bytes)?;
        at += bytes.len() as u64;
    }
}
