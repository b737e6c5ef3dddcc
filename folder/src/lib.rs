//! The lock on a folder, so that one process at a time uses it, and the file in it that names the
//! version that wrote it. The owner of a folder knows its other content, and words errors for
//! users.
//!
//! ```
//! use rustmq_folder::{FolderLock, LockError, VersionFile};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Contents {
//!     format_version: u32,
//!     color: String,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path();
//! let lock = FolderLock::take(dir)?;
//! assert!(matches!(FolderLock::take(dir), Err(LockError::InUse)));
//!
//! let file = VersionFile::new(dir.join("house.json"), 1);
//! assert_eq!(file.read::<Contents>()?, None);
//! let contents = Contents { format_version: 1, color: "red".to_owned() };
//! file.replace(&contents)?;
//! assert_eq!(file.read()?, Some(contents));
//! drop(lock);
//! # Ok(())
//! # }
//! ```

mod lock;
mod version_file;

pub use lock::{FolderLock, LockError};
pub use version_file::{ReadError, VersionFile};

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the names in a folder durable.
///
/// # Errors
/// If the folder cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
