//! The folder that holds the WALs, and `wal.json` in it: the format version, the segment size, the
//! WALs' ids, and their owner.
//!
//! ```text
//! <dir>/wal.json
//! <dir>/LOCK         locked with flock while a process uses or repairs the folder
//! <dir>/wal-000/slot-00000 ...
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rustmq_engine_core::wal::{SlotId, WalId};
use rustmq_folder::{FolderLock, LockError, ReadError, VersionFile, sync_dir};
use serde::{Deserialize, Serialize};

/// The format version that this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;
const META_FILE: &str = "wal.json";
/// Lies in a WAL's own folder, from a repair until every partition has a checkpoint behind the
/// damage.
const REPAIRED_FILE: &str = "repaired";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    format_version: u32,
    segment_size: u64,
    /// The WALs' ids in hexadecimal, in the order of their folders.
    wals: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<WalOwner>,
}

/// The data folder that a folder of WALs belongs to. Under the metadata of another data folder, its
/// partitions would count as deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalOwner {
    /// The data folder's id, which never changes.
    pub id: String,
    /// The data folder's path at its last use. Only error texts show it: a data folder may be
    /// moved.
    pub data_dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{path} has format version {version}; this build reads version {FORMAT_VERSION}. Start the version that wrote it, \
         or choose another data folder",
        path = path.display()
    )]
    Version { path: PathBuf, version: u32 },
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} is missing, but {found} exists: another program made the folder, or it is incomplete",
        path = path.display(), found = found.display())]
    MetaMissing { path: PathBuf, found: PathBuf },
    #[error("{path} is missing, but {meta} names it: put it back, or remove the whole folder to start without its data",
        path = path.display(), meta = META_FILE)]
    WalMissing { path: PathBuf },
    #[error(
        "there is no write-ahead log in {path}: mount it or put it back, correct wal.path, or move the data folder away to start without \
         its data",
        path = path.display()
    )]
    Absent { path: PathBuf },
    #[error(
        "the write-ahead log in {path} is in use by another process; stop that one, or give this one a wal.path of its own",
        path = path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "the write-ahead log in {path} belongs to the data folder {owner}, not to {asked}: start with --data-dir {owner}, or give {asked} \
         a wal.path of its own",
        path = path.display(), owner = owner.display(), asked = asked.display()
    )]
    OtherOwner { path: PathBuf, owner: PathBuf, asked: PathBuf },
}

/// The folder of one WAL.
#[derive(Clone, Debug)]
pub(crate) struct WalFolder {
    pub id: WalId,
    pub dir: PathBuf,
    /// The lock of the parent folder, held until its last WAL is dropped.
    _lock: FolderLock,
}

impl WalFolder {
    pub(crate) fn slot_path(&self, slot: SlotId) -> PathBuf {
        slot_path(&self.dir, slot)
    }

    /// Whether a repair has covered damage in this WAL: then offsets may be missing.
    pub(crate) fn was_repaired(&self) -> Result<bool, FolderError> {
        let path = self.dir.join(REPAIRED_FILE);
        path.try_exists().map_err(|error| FolderError::Io { path, error })
    }

    pub(crate) fn mark_repaired(&self) -> Result<(), FolderError> {
        let path = self.dir.join(REPAIRED_FILE);
        let marked = fs::File::create(&path).and_then(|file| file.sync_all()).and_then(|()| sync_dir(&self.dir));
        marked.map_err(|error| FolderError::Io { path, error })
    }

    /// Removes the mark of a repair: later starts need not know of it.
    pub(crate) fn unmark_repaired(&self) -> Result<(), FolderError> {
        let path = self.dir.join(REPAIRED_FILE);
        let unmarked = fs::remove_file(&path).and_then(|()| sync_dir(&self.dir));
        unmarked.map_err(|error| FolderError::Io { path, error })
    }

    /// The slots that exist, in order.
    pub(crate) fn slots(&self) -> Result<Vec<SlotId>, FolderError> {
        slots_in(&self.dir)
    }
}

fn slot_path(dir: &Path, slot: SlotId) -> PathBuf {
    dir.join(format!("slot-{:05}", slot.0))
}

fn slots_in(dir: &Path) -> Result<Vec<SlotId>, FolderError> {
    let failed = |error| FolderError::Io { path: dir.to_owned(), error };
    let mut slots = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("slot-")).and_then(|digits| digits.parse().ok());
        slots.extend(number.map(SlotId));
    }
    slots.sort_unstable();
    Ok(slots)
}

/// The options for opening a folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FolderOptions<'a> {
    pub dir: &'a Path,
    /// The segment size of a new folder; an existing one keeps its own.
    pub segment_size: u64,
    /// WALs are added up to this number.
    pub wal_count: usize,
    pub must_exist: bool,
    pub owner: Option<&'a WalOwner>,
}

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub segment_size: u64,
    pub wals: Vec<WalFolder>,
}

impl Folder {
    /// Opens the folder, or creates it.
    pub(crate) fn open_or_create(options: FolderOptions<'_>) -> Result<Self, FolderError> {
        let FolderOptions { dir, segment_size, wal_count, must_exist, owner } = options;
        if must_exist && !dir.join(META_FILE).exists() {
            return Err(FolderError::Absent { path: dir.to_owned() });
        }
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
        let lock = lock(dir)?;
        let known = read_meta(dir)?;
        if known.is_none() {
            refuse_foreign(dir)?;
        }
        let new = Meta { format_version: FORMAT_VERSION, segment_size, wals: Vec::new(), owner: None };
        let mut meta = known.clone().unwrap_or(new);
        check_owner(dir, &meta, owner)?;
        if owner.is_some() {
            meta.owner = owner.cloned();
        }
        while meta.wals.len() < wal_count {
            meta.wals.push(format!("{:032x}", rand::rng().random::<u128>()));
        }
        let known_count = known.as_ref().map_or(0, |known| known.wals.len());
        for index in 0..meta.wals.len() {
            let wal = wal_dir(dir, index);
            if wal.exists() {
                continue;
            }
            // A WAL's folder is created and synced before `wal.json` names it: a WAL that the file
            // names must exist.
            if index < known_count {
                return Err(FolderError::WalMissing { path: wal });
            }
            fs::create_dir(&wal).map_err(io_error(&wal))?;
        }
        sync_dir(dir).map_err(io_error(dir))?;
        if known.as_ref() != Some(&meta) {
            let file = meta_file(dir);
            file.replace(&meta).map_err(io_error(file.path()))?;
        }
        Self::from_meta(dir, &meta, &lock)
    }

    /// Opens an existing folder and changes nothing in it.
    pub(crate) fn open(dir: &Path, owner: Option<&WalOwner>) -> Result<Self, FolderError> {
        if !dir.join(META_FILE).exists() {
            return Err(FolderError::Absent { path: dir.to_owned() });
        }
        let lock = lock(dir)?;
        let meta = read_meta(dir)?.ok_or_else(|| FolderError::Absent { path: dir.to_owned() })?;
        check_owner(dir, &meta, owner)?;
        Self::from_meta(dir, &meta, &lock)
    }

    fn from_meta(dir: &Path, meta: &Meta, lock: &FolderLock) -> Result<Self, FolderError> {
        let damaged = |id: &String| FolderError::Damaged {
            path: dir.join(META_FILE),
            reason: format!("'{id}' is not a WAL id of 32 hexadecimal digits"),
        };
        let wals = meta.wals.iter().enumerate().map(|(index, id)| {
            let number = u128::from_str_radix(id, 16).map_err(|_| damaged(id))?;
            let id = WalId(number.to_be_bytes());
            Ok(WalFolder { id, dir: wal_dir(dir, index), _lock: lock.clone() })
        });
        Ok(Self { segment_size: meta.segment_size, wals: wals.collect::<Result<_, FolderError>>()? })
    }
}

/// Two processes on one log would overwrite each other, even if each had its own data folder.
fn lock(dir: &Path) -> Result<FolderLock, FolderError> {
    FolderLock::take(dir).map_err(|error| match error {
        LockError::InUse => FolderError::InUse { path: dir.to_owned() },
        LockError::Io { path, error } => FolderError::Io { path, error },
    })
}

/// A folder that was created without an owner accepts any owner.
fn check_owner(dir: &Path, meta: &Meta, asked: Option<&WalOwner>) -> Result<(), FolderError> {
    match (&meta.owner, asked) {
        (Some(owner), Some(asked)) if owner.id != asked.id => Err(FolderError::OtherOwner {
            path: dir.to_owned(),
            owner: owner.data_dir.clone(),
            asked: asked.data_dir.clone(),
        }),
        _ => Ok(()),
    }
}

/// The path of `wal.json`, which every folder of WALs has.
pub(crate) fn meta_path(dir: &Path) -> PathBuf {
    dir.join(META_FILE)
}

fn wal_dir(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("wal-{index:03}"))
}

fn meta_file(dir: &Path) -> VersionFile {
    VersionFile::new(meta_path(dir), FORMAT_VERSION)
}

fn read_meta(dir: &Path) -> Result<Option<Meta>, FolderError> {
    let path = meta_path(dir);
    meta_file(dir).read().map_err(|error| match error {
        ReadError::Io(error) => FolderError::Io { path, error },
        ReadError::Malformed(error) => FolderError::Damaged { path, reason: error.to_string() },
        ReadError::Version { found: version } => FolderError::Version { path, version },
    })
}

/// Refuses a folder with slots but without `wal.json`, which is written before the first slot.
fn refuse_foreign(dir: &Path) -> Result<(), FolderError> {
    let wal = wal_dir(dir, 0);
    if wal.exists()
        && let Some(slot) = slots_in(&wal)?.first()
    {
        return Err(FolderError::MetaMissing { path: dir.join(META_FILE), found: slot_path(&wal, *slot) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::{Folder, FolderError, FolderOptions, META_FILE, WalOwner};

    fn open(dir: &Path, segment_size: u64, wal_count: usize) -> Result<Folder, FolderError> {
        Folder::open_or_create(FolderOptions { dir, segment_size, wal_count, must_exist: false, owner: None })
    }

    fn open_as(dir: &Path, owner: &WalOwner, must_exist: bool) -> Result<Folder, FolderError> {
        let owner = Some(owner);
        Folder::open_or_create(FolderOptions { dir, segment_size: 1 << 20, wal_count: 1, must_exist, owner })
    }

    #[test]
    fn a_folder_is_held_by_one_process_at_a_time_whatever_its_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        let first = open(&path, 1 << 20, 2).unwrap();
        let one = first.wals[1].clone();
        drop(first);
        assert!(matches!(open(&path, 1 << 20, 2), Err(FolderError::InUse { .. })), "one WAL is still in use");
        assert!(matches!(Folder::open(&path, None), Err(FolderError::InUse { .. })), "a repair is refused meanwhile");
        drop(one);
        Folder::open(&path, None).unwrap();
        open(&path, 1 << 20, 2).unwrap();
    }

    #[test]
    fn a_folder_belongs_to_one_data_folder_which_may_be_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        let owner = |id: &str, data_dir: &str| WalOwner { id: id.to_owned(), data_dir: data_dir.into() };
        let absent = open_as(&path, &owner("a", "/data/a"), true).unwrap_err();
        assert!(matches!(absent, FolderError::Absent { .. }), "{absent}");
        assert!(!path.exists(), "a log that is not mounted is not created again");
        // A folder without an owner belongs to the first data folder that opens it.
        drop(open(&path, 1 << 20, 1).unwrap());
        drop(open_as(&path, &owner("a", "/data/a"), true).unwrap());
        drop(open_as(&path, &owner("a", "/data/moved"), true).unwrap());
        let refused = open_as(&path, &owner("b", "/data/b"), false).unwrap_err();
        assert!(matches!(refused, FolderError::OtherOwner { .. }), "{refused}");
        let text = refused.to_string();
        assert!(["/data/moved", "/data/b", path.to_str().unwrap()].iter().all(|name| text.contains(name)), "{text}");
        assert!(Folder::open(&path, Some(&owner("b", "/data/b"))).is_err());
        Folder::open(&path, Some(&owner("a", "/data/moved"))).unwrap();
    }

    #[test]
    fn a_folder_keeps_its_segment_size_and_ids_and_gains_wals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wal");
        let first = open(&path, 1 << 20, 1).unwrap().wals[0].id;
        let again = open(&path, 2 << 20, 3).unwrap();
        assert_eq!(again.segment_size, 1 << 20);
        assert_eq!(again.wals.len(), 3);
        assert_eq!(again.wals[0].id, first);
        assert_ne!(again.wals[1].id, again.wals[2].id);
        drop(again);
        assert_eq!(open(&path, 1 << 20, 1).unwrap().wals.len(), 3);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(META_FILE), br#"{"format_version": 9, "new": true}"#).unwrap();
        let error = open(dir.path(), 1 << 20, 1).unwrap_err();
        assert!(matches!(error, FolderError::Version { version: 9, .. }), "{error}");
        assert!(error.to_string().contains("wal.json"), "{error}");
    }

    #[test]
    fn slots_without_wal_json_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("wal-000")).unwrap();
        std::fs::write(dir.path().join("wal-000/slot-00000"), b"x").unwrap();
        let error = open(dir.path(), 1 << 20, 1).unwrap_err();
        assert!(matches!(error, FolderError::MetaMissing { .. }), "{error}");
    }
}
