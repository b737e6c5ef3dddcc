//! The lock on a folder. Two processes in one folder would overwrite each other.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

const LOCK_FILE: &str = "LOCK";

/// A locked folder. The lock ends when its last clone is dropped or the process ends.
#[derive(Clone, Debug)]
pub struct FolderLock {
    _file: Arc<File>,
}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("the folder is in use by another process")]
    InUse,
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl FolderLock {
    /// Locks the folder, by its file `LOCK`. Does not wait for another process.
    ///
    /// # Errors
    /// [`LockError::InUse`] if the folder is held already, also by this process.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_FILE);
        let failed = |error| LockError::Io { path: path.clone(), error };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: Arc::new(file) }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::InUse),
            Err(error) => Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::{FolderLock, LockError};

    #[test]
    fn a_folder_is_held_until_the_last_clone_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = FolderLock::take(dir.path()).unwrap();
        let clone = first.clone();
        drop(first);
        assert!(matches!(FolderLock::take(dir.path()), Err(LockError::InUse)));
        drop(clone);
        FolderLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = FolderLock::take(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all/LOCK"), "{error}");
    }
}
