//! A JSON file with the version of its folder's format. It is replaced atomically: a reader finds
//! the old contents or the new ones, even after a crash.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sync_dir;

/// The file. Its contents must have the field `format_version`.
#[derive(Clone, Debug)]
pub struct VersionFile {
    path: PathBuf,
    version: u32,
}

/// Why the contents could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file belongs to another program, or is damaged.
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    #[error("format version {found}")]
    Version { found: u32 },
}

/// Read before the other fields, because another version may have others.
#[derive(Deserialize)]
struct VersionAlone {
    format_version: u32,
}

impl VersionFile {
    /// The file at `path`, of a program that reads and writes this version.
    #[must_use]
    pub const fn new(path: PathBuf, version: u32) -> Self {
        Self { path, version }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the contents; `None` if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read, or has other contents or another version.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, ReadError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let VersionAlone { format_version: found } = serde_json::from_slice(&bytes)?;
        if found != self.version {
            return Err(ReadError::Version { found });
        }
        Ok(Some(serde_json::from_slice(&bytes)?))
    }

    /// Replaces the contents. They are durable when this returns. A crash may leave a draft behind:
    /// the file's name with `.new` after it.
    ///
    /// # Errors
    /// If the draft cannot be written, synced or renamed; then the file is as it was, unless only
    /// the sync of the folder has failed.
    pub fn replace<T: Serialize>(&self, contents: &T) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(contents)?;
        let mut draft = self.path.clone().into_os_string();
        draft.push(".new");
        let mut file = File::create(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or_else(|| sync_dir(Path::new(".")), sync_dir)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use serde::{Deserialize, Serialize};

    use super::{ReadError, VersionFile};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Contents {
        format_version: u32,
        name: String,
    }

    fn named(name: &str) -> Contents {
        Contents { format_version: 1, name: name.to_owned() }
    }

    #[test]
    fn contents_are_replaced_as_a_whole_whatever_draft_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = VersionFile::new(dir.path().join("house.json"), 1);
        file.replace(&named("first")).unwrap();
        fs::write(dir.path().join("house.json.new"), "half a dra").unwrap();
        assert_eq!(file.read().unwrap(), Some(named("first")));
        file.replace(&named("second")).unwrap();
        assert_eq!(file.read().unwrap(), Some(named("second")));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the draft is gone");
    }

    #[test]
    fn a_failed_replacement_leaves_the_contents() {
        let dir = tempfile::tempdir().unwrap();
        let file = VersionFile::new(dir.path().join("house.json"), 1);
        file.replace(&named("first")).unwrap();
        fs::create_dir(dir.path().join("house.json.new")).unwrap();
        file.replace(&named("second")).unwrap_err();
        assert_eq!(file.read().unwrap(), Some(named("first")));
    }

    #[test]
    fn another_version_is_told_apart_from_what_is_no_contents() {
        let dir = tempfile::tempdir().unwrap();
        let file = VersionFile::new(dir.path().join("house.json"), 1);
        let read = |text: &str| {
            fs::write(file.path(), text).unwrap();
            file.read::<Contents>()
        };
        let newer = read(r#"{"format_version": 2, "walls": []}"#);
        assert!(matches!(newer, Err(ReadError::Version { found: 2 })), "{newer:?}");
        for malformed in ["hello", "{}", r#"{"format_version": 1}"#, r#"{"format_version": 1, "name": "a", "b": 1}"#] {
            let read = read(malformed);
            assert!(matches!(read, Err(ReadError::Malformed(_))), "{malformed}: {read:?}");
        }
    }
}
