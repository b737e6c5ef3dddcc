//! Copies of damaged slot files, made before the slots change, and kept beside them for people who
//! investigate the damage. Nothing reads them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustmq_engine_core::wal::SegmentGeneration;
use rustmq_engine_memory::ChunkPool;
use rustmq_folder::sync_dir;

use crate::read_around::{AroundFile, BadRunLimit, PAGE};

/// The most copies of a running WAL's segments. Only the process's log mentions later ones.
const COPIES_MAX: usize = 4;
/// A copy is made only if this many times its length stays free on the disk: slots and metadata
/// need the space more.
const FREE_FACTOR: u64 = 4;
const COPY_EXTENSION: &str = "damaged";
const DRAFT_EXTENSION: &str = "draft";
/// The number of bytes to copy at a time.
const WINDOW: usize = 1 << 20;
const _: () = assert!(WINDOW.is_multiple_of(PAGE), "an unreadable page lies in one read");

/// Makes a synced copy of the file under a new name, and never overwrites the copy of an earlier
/// repair, even of an interrupted one.
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

/// Makes a synced copy of a partly unreadable segment before its slot is reused. Copies each
/// segment once, and only the first few of a WAL, so that a failing disk is not filled with copies.
pub(crate) fn copy_damaged_segment(path: &Path, generation: SegmentGeneration) -> io::Result<PathBuf> {
    let copy = path.with_extension(format!("generation-{}.{COPY_EXTENSION}", generation.0));
    if copy.exists() {
        return Ok(copy);
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut copies = 0;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(COPY_EXTENSION) => copies += 1,
            // A kill interrupted an earlier copy.
            Some(DRAFT_EXTENSION) => fs::remove_file(path)?,
            _ => {}
        }
    }
    if copies >= COPIES_MAX {
        return Err(io::Error::other(format!("{copies} copies of damaged segments exist already")));
    }
    let (length, stat) = (fs::metadata(path)?.len(), rustix::fs::statvfs(dir)?);
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free / (FREE_FACTOR + 1) < length {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("a copy of {length} bytes would leave too little of the {free} free bytes"),
        ));
    }
    let draft = copy.with_extension(DRAFT_EXTENSION);
    let copied = File::create(&draft).and_then(|file| copy_into(path, file)).and_then(|()| fs::rename(&draft, &copy));
    if let Err(error) = copied {
        // A full disk needs the draft's space.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    sync_dir(dir)?;
    Ok(copy)
}

/// Copies the file. Filler stands for unreadable bytes, so that every other byte keeps its place.
fn copy_into(path: &Path, mut copy: File) -> io::Result<()> {
    let mut file = AroundFile::open(path, BadRunLimit::WhileFileAnswers)?;
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
