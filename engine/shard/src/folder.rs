//! The folder that holds the WALs, and `wal.json` in it: the format's version, the segment size, and the WALs' ids.
//!
//! ```text
//! <dir>/wal.json
//! <dir>/wal-000/slot-00000 ...
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rand::RngExt;
use rustmq_engine_core::wal::{SlotId, WalId};
use serde::{Deserialize, Serialize};

use crate::dio::sync_dir;

/// The version that this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;
const META_FILE: &str = "wal.json";
/// In a WAL's own folder, from a repair until every partition has a checkpoint behind the damage.
const REPAIRED_FILE: &str = "repaired";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    format_version: u32,
    segment_size: u64,
    /// Ids in hexadecimal, in the order of the folders.
    wals: Vec<String>,
}

/// Only the version: read first, since another version may have other fields.
#[derive(Deserialize)]
struct MetaVersion {
    format_version: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{path} is of format version {version}; this build reads version {FORMAT_VERSION}. Start the version that wrote it, \
         or choose another data folder",
        path = path.display()
    )]
    Version { path: PathBuf, version: u32 },
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} is missing, but {found} is there: the folder was made by something else or is incomplete",
        path = path.display(), found = found.display())]
    MetaMissing { path: PathBuf, found: PathBuf },
    #[error("{path} is missing, but {meta} names it: put it back, or remove the whole folder to start without its data",
        path = path.display(), meta = META_FILE)]
    WalMissing { path: PathBuf },
    #[error("there is no WAL in {path}", path = path.display())]
    Absent { path: PathBuf },
}

/// One WAL's place.
#[derive(Clone, Debug)]
pub(crate) struct WalFolder {
    pub id: WalId,
    pub dir: PathBuf,
}

impl WalFolder {
    pub(crate) fn slot_path(&self, slot: SlotId) -> PathBuf {
        self.dir.join(format!("slot-{:05}", slot.0))
    }

    /// Whether offsets may be missing in it, because a repair has covered damage.
    pub(crate) fn was_repaired(&self) -> bool {
        self.dir.join(REPAIRED_FILE).exists()
    }

    pub(crate) fn mark_repaired(&self) -> Result<(), FolderError> {
        let path = self.dir.join(REPAIRED_FILE);
        let marked = fs::File::create(&path).and_then(|file| file.sync_all()).and_then(|()| sync_dir(&self.dir));
        marked.map_err(|error| FolderError::Io { path, error })
    }

    /// No start needs to know of the repair any more.
    pub(crate) fn unmark_repaired(&self) -> Result<(), FolderError> {
        let path = self.dir.join(REPAIRED_FILE);
        let unmarked = fs::remove_file(&path).and_then(|()| sync_dir(&self.dir));
        unmarked.map_err(|error| FolderError::Io { path, error })
    }

    /// The slots that there are, in order.
    pub(crate) fn slots(&self) -> Result<Vec<SlotId>, FolderError> {
        let failed = |error| FolderError::Io { path: self.dir.clone(), error };
        let mut slots = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix("slot-")).and_then(|digits| digits.parse().ok());
            slots.extend(number.map(SlotId));
        }
        slots.sort_unstable();
        Ok(slots)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub segment_size: u64,
    pub wals: Vec<WalFolder>,
}

impl Folder {
    /// Opens the folder, or makes it; adds WALs until there are `wal_count`.
    pub(crate) fn open_or_create(dir: &Path, segment_size: u64, wal_count: usize) -> Result<Self, FolderError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |error| FolderError::Io { path, error }
        };
        if !dir.exists() {
            fs::create_dir(dir).map_err(io_error(dir))?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_dir(parent).map_err(io_error(parent))?;
            }
        }
        let known = read_meta(dir)?;
        if known.is_none() {
            refuse_foreign(dir)?;
        }
        let mut meta = known.clone().unwrap_or(Meta { format_version: FORMAT_VERSION, segment_size, wals: Vec::new() });
        while meta.wals.len() < wal_count {
            meta.wals.push(format!("{:032x}", rand::rng().random::<u128>()));
        }
        let known_count = known.as_ref().map_or(0, |known| known.wals.len());
        for index in 0..meta.wals.len() {
            let wal = wal_dir(dir, index);
            if wal.exists() {
                continue;
            }
            // A folder is made, and that synced, before the file names it: a named one was there.
            if index < known_count {
                return Err(FolderError::WalMissing { path: wal });
            }
            fs::create_dir(&wal).map_err(io_error(&wal))?;
        }
        sync_dir(dir).map_err(io_error(dir))?;
        if known.as_ref() != Some(&meta) {
            write_meta(dir, &meta)?;
        }
        Self::from_meta(dir, &meta)
    }

    /// Opens a folder that must be there.
    pub(crate) fn open(dir: &Path) -> Result<Self, FolderError> {
        let meta = read_meta(dir)?.ok_or_else(|| FolderError::Absent { path: dir.to_owned() })?;
        Self::from_meta(dir, &meta)
    }

    fn from_meta(dir: &Path, meta: &Meta) -> Result<Self, FolderError> {
        let damaged = |id: &String| FolderError::Damaged {
            path: dir.join(META_FILE),
            reason: format!("'{id}' is not a WAL id of 32 hexadecimal digits"),
        };
        let wals = meta.wals.iter().enumerate().map(|(index, id)| {
            let number = u128::from_str_radix(id, 16).map_err(|_| damaged(id))?;
            Ok(WalFolder { id: WalId(number.to_be_bytes()), dir: wal_dir(dir, index) })
        });
        Ok(Self { segment_size: meta.segment_size, wals: wals.collect::<Result<_, FolderError>>()? })
    }
}

fn wal_dir(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("wal-{index:03}"))
}

fn read_meta(dir: &Path) -> Result<Option<Meta>, FolderError> {
    let path = dir.join(META_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FolderError::Io { path, error }),
    };
    let damaged = |error: serde_json::Error| FolderError::Damaged { path: path.clone(), reason: error.to_string() };
    let MetaVersion { format_version: version } = serde_json::from_slice(&text).map_err(damaged)?;
    if version != FORMAT_VERSION {
        return Err(FolderError::Version { path, version });
    }
    serde_json::from_slice(&text).map_err(damaged).map(Some)
}

/// A folder without `wal.json` must hold no WAL: the file is written before the first slot is.
fn refuse_foreign(dir: &Path) -> Result<(), FolderError> {
    let wal = WalFolder { id: WalId([0; 16]), dir: wal_dir(dir, 0) };
    if wal.dir.exists()
        && let Some(slot) = wal.slots()?.first()
    {
        return Err(FolderError::MetaMissing { path: dir.join(META_FILE), found: wal.slot_path(*slot) });
    }
    Ok(())
}

/// Replaces the file as a whole, synced.
fn write_meta(dir: &Path, meta: &Meta) -> Result<(), FolderError> {
    let (path, new) = (dir.join(META_FILE), dir.join("wal.json.new"));
    let text = serde_json::to_vec_pretty(meta).expect("a struct of numbers and strings is always valid JSON");
    let written = fs::File::create(&new)
        .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, &path))
        .and_then(|()| sync_dir(dir));
    written.map_err(|error| FolderError::Io { path, error })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Folder, FolderError, META_FILE};

    #[test]
    fn a_folder_keeps_its_segment_size_and_ids_and_gains_wals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        let first = Folder::open_or_create(&path, 1 << 20, 1).unwrap();
        let again = Folder::open_or_create(&path, 2 << 20, 3).unwrap();
        assert_eq!(again.segment_size, 1 << 20);
        assert_eq!(again.wals.len(), 3);
        assert_eq!(again.wals[0].id, first.wals[0].id);
        assert_ne!(again.wals[1].id, again.wals[2].id);
        assert_eq!(Folder::open_or_create(&path, 1 << 20, 1).unwrap().wals.len(), 3);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(META_FILE), br#"{"format_version": 9, "new": true}"#).unwrap();
        let error = Folder::open_or_create(dir.path(), 1 << 20, 1).unwrap_err();
        assert!(matches!(error, FolderError::Version { version: 9, .. }), "{error}");
        assert!(error.to_string().contains("wal.json"), "{error}");
    }

    #[test]
    fn slots_without_the_file_are_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("wal-000")).unwrap();
        std::fs::write(dir.path().join("wal-000/slot-00000"), b"x").unwrap();
        let error = Folder::open_or_create(dir.path(), 1 << 20, 1).unwrap_err();
        assert!(matches!(error, FolderError::MetaMissing { .. }), "{error}");
    }
}
