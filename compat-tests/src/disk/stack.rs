//! A mounted file system on a disk of the tests, from the image to the folder for a broker. Its
//! folder lies apart from those of other runs. The next test unmounts the remains of a killed one.

use super::cache::{Cache, Loss};
use super::{Disk, fuse};
use crate::process;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, thread};
use tempfile::TempDir;

const PREFIX: &str = "rustmq-disk-";
const UNMOUNTED_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
}

impl FileSystem {
    pub const ALL: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];

    fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    /// The default options, without ext4's flush every five seconds: it would hide missing syncs.
    fn options(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "loop,commit=600",
            FileSystem::Xfs => "loop",
        }
    }

    /// Creates the file system on an image.
    fn make(self, image: &Path) -> Result<()> {
        let mut command = match self {
            FileSystem::Ext4 => {
                let mut command = Command::new("mkfs.ext4");
                // No thread of the kernel writes to the disk later on its own.
                command.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]);
                command
            }
            FileSystem::Xfs => {
                let mut command = Command::new("mkfs.xfs");
                command.args(["-q", "-f"]);
                command
            }
        };
        process::run_to_end(command.arg(image)).with_context(|| format!("making {self}"))
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A disk with a mounted file system.
#[derive(Debug)]
pub struct Stack {
    kind: FileSystem,
    disk: Arc<Disk>,
    folder: TempDir,
}

impl Stack {
    /// Creates an empty file system on a disk of `size` bytes. XFS needs at least 300 MiB.
    pub fn make(kind: FileSystem, size: u64, seed: u64) -> Result<Stack> {
        ensure!(
            Path::new("/dev/fuse").exists() && Path::new("/dev/loop-control").exists(),
            "/dev/fuse or /dev/loop-control is missing: power cuts and disk faults are tested as root, with FUSE and loop devices"
        );
        take_down_what_is_left()?;
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let image = folder.path().join("durable");
        let durable = File::options().read(true).write(true).create_new(true).open(&image)?;
        durable.set_len(size)?;
        kind.make(&image)?;
        let stack = Stack { kind, disk: Arc::new(Disk::new(Cache::new(durable, seed)?)), folder };
        fs::create_dir(stack.root())?;
        File::create(stack.device())?;
        stack.mount()?;
        Ok(stack)
    }

    /// The folder where the file system is mounted.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub fn kind(&self) -> FileSystem {
        self.kind
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The file that FUSE serves.
    fn device(&self) -> PathBuf {
        self.folder.path().join("device")
    }

    fn mount(&self) -> Result<()> {
        fuse::mount(&self.disk, &self.device())?;
        let mut command = Command::new("mount");
        // The kernel releases the loop device with the unmount.
        command.args(["-t", self.kind.name(), "-o", self.kind.options()]).arg(self.device()).arg(self.root());
        process::run_to_end(&mut command).with_context(|| format!("mounting {} on a loop device", self.kind))
    }

    /// Cuts the power at this instant, lets `kill` end the users of the disk, and restores the
    /// power. Each unsynced sector survives with the probability `survival`. `kill` must not wait
    /// for the users' end: a process may hang in a request until the disk fails it.
    pub fn cut(&self, survival: f64, kill: impl FnOnce() -> Result<()>) -> Result<Loss> {
        self.disk.cut();
        let killed = kill();
        self.disk.fail_waiting();
        killed?;
        self.unmount()?;
        let loss = self.disk.restore(survival).context("bringing the power back")?;
        self.mount()?;
        Ok(loss)
    }

    /// Waits for processes that are still ending.
    fn unmount(&self) -> Result<()> {
        let deadline = Instant::now() + UNMOUNTED_WITHIN;
        for mounted in [self.root(), self.device()] {
            while let Err(error) = process::run_to_end(Command::new("umount").arg(&mounted)) {
                ensure!(Instant::now() < deadline, "unmounting {}: {error:#}", mounted.display());
                thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.disk.fail_waiting();
        take_down(self.folder.path());
    }
}

/// Detaches the mount in a stack's folder, even if it is in use.
fn take_down(folder: &Path) {
    for name in ["root", "device"] {
        // Does nothing if it is not mounted.
        let _ = Command::new("umount").args(["-q", "-l"]).arg(folder.join(name)).output();
    }
}

/// Removes the remains of killed test programs.
fn take_down_what_is_left() -> Result<()> {
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            take_down(&entry.path());
            // Another test program may be removing it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
