//! The data folder: created once, used by one process at a time, and refused if another version
//! wrote it.
//!
//! ```text
//! rustmq-data/
//!   LOCK            locked with flock while a process runs
//!   node.json       the folder's format version, id and incarnation, and the default capacity of the log
//!   UNSYNCED        exists while a process runs with wal.fsync_on_write = false
//!   wal/            the shards' write-ahead logs, unless wal.path moves them
//!   controller/     the metadata's Raft log and snapshots
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use rustmq_controller_core::IncarnationId;
use rustmq_engine_shard::WalOwner;
use rustmq_folder::{FolderLock, LockError, ReadError, VersionFile, sync_dir};
use rustmq_model::ByteSize;
use serde::{Deserialize, Serialize};

/// The format version that this process reads and writes.
const FORMAT_VERSION: u32 = 1;
const NODE_FILE: &str = "node.json";
const UNSYNCED: &str = "UNSYNCED";

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("the data folder {path} is in use by another process; stop that one, or give this one its own --data-dir")]
    InUse { path: String },
    #[error(
        "the data folder {path} has format version {found}, and this rustmq reads version {FORMAT_VERSION}; use the rustmq that wrote it"
    )]
    Version { path: String, found: u32 },
    #[error(
        "{path} is not what rustmq wrote ({reason}); if the folder is another program's, give --data-dir a different one"
    )]
    Foreign { path: String, reason: String },
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: String, source: io::Error },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    format_version: u32,
    /// Half of the free space at the folder's creation: the log's capacity, unless one is
    /// configured.
    wal_capacity_bytes: u64,
    /// The incarnation id that the controller knows, in hexadecimal.
    incarnation: String,
    /// Never changes. The write-ahead log, which may be elsewhere, refers to its folder by it.
    #[serde(default)]
    id: Option<String>,
    /// The write-ahead log and the metadata store were created: if one is missing, it must not be
    /// created again.
    #[serde(default, alias = "has_wal")]
    is_founded: bool,
}

/// A data folder, locked by this process until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    wal_capacity: ByteSize,
    incarnation: IncarnationId,
    id: String,
    is_founded: bool,
    _lock: FolderLock,
}

impl DataFolder {
    /// Creates the folder if it is missing, locks it, and checks its version, before it touches
    /// anything else in it.
    ///
    /// # Errors
    /// If another process uses the folder, another version or program wrote it, or I/O fails.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(failed("make the data folder", path))?;
        let file = node_file(path);
        let known = read_node_file(&file)?;
        if known.is_none() {
            refuse_foreign(path)?;
        }
        let lock = FolderLock::take(path).map_err(|error| match error {
            LockError::InUse => FolderError::InUse { path: path.display().to_string() },
            LockError::Io { path, error } => failed("lock", &path)(error),
        })?;
        let unsynced = path.join(UNSYNCED);
        let node = match known {
            Some(node) if unsynced.exists() => {
                tracing::warn!(
                    "the last process ran without syncs and did not end cleanly: the folder begins a new incarnation"
                );
                write_node_file(&file, NodeFile { incarnation: new_id(), ..node })?
            }
            Some(node) => node,
            None => write_node_file(&file, new_node_file(path)?)?,
        };
        let node = match node.id {
            Some(_) => node,
            // The id is written before the log refers to it.
            None => write_node_file(&file, NodeFile { id: Some(new_id()), ..node })?,
        };
        remove_if_there(&unsynced).map_err(failed("remove", &unsynced))?;
        let incarnation = u128::from_str_radix(&node.incarnation, 16).map_err(|error| FolderError::Foreign {
            path: file.path().display().to_string(),
            reason: format!("incarnation '{}': {error}", node.incarnation),
        })?;
        Ok(Self {
            path: path.to_owned(),
            wal_capacity: ByteSize(node.wal_capacity_bytes),
            incarnation: IncarnationId(incarnation),
            id: node.id.unwrap_or_default(),
            is_founded: node.is_founded,
            _lock: lock,
        })
    }

    /// Whether the write-ahead log and the metadata store were created before.
    pub const fn is_founded(&self) -> bool {
        self.is_founded
    }

    /// The write-ahead log's reference to this folder.
    pub fn wal_owner(&self) -> WalOwner {
        let data_dir = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        WalOwner { id: self.id.clone(), data_dir }
    }

    /// Notes that the write-ahead log, which refers to this folder, and the metadata store exist.
    ///
    /// # Errors
    /// If `node.json` cannot be written.
    pub fn note_founded(&mut self) -> Result<(), FolderError> {
        if !self.is_founded {
            self.rewrite(|node| NodeFile { is_founded: true, ..node })?;
            self.is_founded = true;
        }
        Ok(())
    }

    /// The folder's incarnation: renewed at its creation, after a repair, and after an unclean end
    /// of a process that did not sync.
    pub const fn incarnation(&self) -> IncarnationId {
        self.incarnation
    }

    /// Begins a new incarnation: acknowledged records are missing from the folder.
    ///
    /// # Errors
    /// If `node.json` cannot be written.
    pub fn renew_incarnation(&self) -> Result<(), FolderError> {
        self.rewrite(|node| NodeFile { incarnation: new_id(), ..node })
    }

    fn rewrite(&self, change: impl FnOnce(NodeFile) -> NodeFile) -> Result<(), FolderError> {
        let file = node_file(&self.path);
        let node = read_node_file(&file)?.map_or_else(|| new_node_file(&self.path), Ok)?;
        write_node_file(&file, NodeFile { id: Some(self.id.clone()), ..change(node) }).map(|_| ())
    }

    /// Marks the folder: acknowledged records may be lost unless this process ends with
    /// [`Self::close`].
    ///
    /// # Errors
    /// If the mark cannot be written.
    pub fn mark_unsynced(&self) -> Result<(), FolderError> {
        let mark = self.path.join(UNSYNCED);
        let made = File::create(&mark).and_then(|file| file.sync_all()).and_then(|()| sync_dir(&self.path));
        made.map_err(failed("write", &mark))
    }

    /// Removes the mark: everything is synced, and the process ends cleanly.
    ///
    /// # Errors
    /// If the mark cannot be removed.
    pub fn close(self) -> Result<(), FolderError> {
        let mark = self.path.join(UNSYNCED);
        remove_if_there(&mark).map_err(failed("remove", &mark))
    }

    /// The default capacity of the write-ahead log, from the folder's creation.
    pub const fn wal_capacity(&self) -> ByteSize {
        self.wal_capacity
    }

    pub fn controller_dir(&self) -> PathBuf {
        self.path.join("controller")
    }
}

fn node_file(path: &Path) -> VersionFile {
    VersionFile::new(path.join(NODE_FILE), FORMAT_VERSION)
}

fn read_node_file(file: &VersionFile) -> Result<Option<NodeFile>, FolderError> {
    let path = file.path().display().to_string();
    file.read().map_err(|error| match error {
        ReadError::Io(error) => failed("read", file.path())(error),
        ReadError::Malformed(error) => FolderError::Foreign { path, reason: error.to_string() },
        ReadError::Version { found } => FolderError::Version { path, found },
    })
}

/// Refuses a folder that has other files and no `node.json`: it belongs to another program. The
/// lock and a partial version file may come from an interrupted first start, and are accepted.
fn refuse_foreign(path: &Path) -> Result<(), FolderError> {
    for entry in fs::read_dir(path).map_err(failed("list", path))? {
        let name = entry.map_err(failed("list", path))?.file_name();
        if !matches!(name.to_str(), Some("LOCK" | "node.json.new" | "lost+found")) {
            let reason = format!("it holds {} and no node.json", name.display());
            return Err(FolderError::Foreign { path: path.display().to_string(), reason });
        }
    }
    Ok(())
}

fn new_id() -> String {
    format!("{:032x}", uuid::Uuid::new_v4().as_u128())
}

fn new_node_file(path: &Path) -> Result<NodeFile, FolderError> {
    let disk = statvfs(path).map_err(|error| failed("ask the free space of", path)(error.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(NodeFile {
        format_version: FORMAT_VERSION,
        wal_capacity_bytes: free / 2,
        incarnation: new_id(),
        id: Some(new_id()),
        is_founded: false,
    })
}

fn write_node_file(file: &VersionFile, node: NodeFile) -> Result<NodeFile, FolderError> {
    file.replace(&node).map_err(failed("write", file.path()))?;
    Ok(node)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.display().to_string();
    move |source| FolderError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::{DataFolder, FolderError};

    #[test]
    fn a_folder_is_held_by_one_at_a_time_and_opens_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        assert!(matches!(DataFolder::open(&path), Err(FolderError::InUse { .. })));
        let capacity = first.wal_capacity();
        drop(first);
        assert_eq!(DataFolder::open(&path).unwrap().wal_capacity(), capacity);
    }

    #[test]
    fn an_unclean_end_without_syncs_begins_a_new_incarnation() {
        let root = tempfile::tempdir().unwrap();
        let open = || DataFolder::open(root.path()).unwrap();
        let first = open();
        let incarnation = first.incarnation();
        first.mark_unsynced().unwrap();
        first.close().unwrap();
        let second = open();
        assert_eq!(second.incarnation(), incarnation);
        second.mark_unsynced().unwrap();
        drop(second);
        let third = open();
        assert_ne!(third.incarnation(), incarnation);
        third.renew_incarnation().unwrap();
        let renewed = third.incarnation();
        drop(third);
        assert_ne!(open().incarnation(), renewed);
    }

    #[test]
    fn a_folder_keeps_its_id_through_its_incarnations_and_knows_that_it_was_founded() {
        let root = tempfile::tempdir().unwrap();
        let mut first = DataFolder::open(root.path()).unwrap();
        let owner = first.wal_owner();
        assert!(!first.is_founded());
        first.note_founded().unwrap();
        first.renew_incarnation().unwrap();
        drop(first);
        let again = DataFolder::open(root.path()).unwrap();
        assert_eq!((again.wal_owner(), again.is_founded()), (owner, true));
    }

    #[test]
    fn a_folder_without_an_id_gets_one_for_good() {
        let root = tempfile::tempdir().unwrap();
        let text = r#"{"format_version":1,"wal_capacity_bytes":1,"incarnation":"a"}"#;
        fs::write(root.path().join("node.json"), text).unwrap();
        let first = DataFolder::open(root.path()).unwrap();
        assert!(!first.is_founded());
        let owner = first.wal_owner();
        drop(first);
        assert_eq!(DataFolder::open(root.path()).unwrap().wal_owner(), owner);
    }

    #[test]
    fn other_versions_and_other_programs_folders_are_refused_untouched() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("node.json"), "{\"format_version\":2}").unwrap();
        assert!(matches!(DataFolder::open(root.path()), Err(FolderError::Version { found: 2, .. })));
        fs::write(root.path().join("node.json"), "hello").unwrap();
        assert!(matches!(DataFolder::open(root.path()), Err(FolderError::Foreign { .. })));
        fs::remove_file(root.path().join("node.json")).unwrap();
        fs::write(root.path().join("photo.jpg"), "x").unwrap();
        assert!(matches!(DataFolder::open(root.path()), Err(FolderError::Foreign { .. })));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_path_that_cannot_be_made_is_a_clear_refusal() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "x").unwrap();
        let error = DataFolder::open(&root.path().join("file/data")).unwrap_err();
        assert!(error.to_string().contains("file/data"), "{error}");
    }
}
