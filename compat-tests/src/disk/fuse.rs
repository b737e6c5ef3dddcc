//! One file over FUSE, with just enough of the kernel's protocol (linux/fuse.h, 7.31) for a loop
//! device on it. The file is the root of its file system, so there are no names to look up. Unknown
//! requests get ENOSYS, which the kernel takes for "not supported".

use super::Disk;
use crate::process;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

const REQUEST_HEADER: usize = 40;
/// The arguments of READ and of WRITE. The bytes of a WRITE follow them.
const TRANSFER: usize = 40;
const WRITE_MAX: u32 = 1 << 20;
const REQUEST_MAX: usize = WRITE_MAX as usize + 4096;
/// Several threads, so that a slow sync does not delay reads and writes.
const THREADS: usize = 4;

const MINOR: u32 = 31;
/// Flags of INIT: writes and reads of more than a page, up to `max_pages` pages.
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;

const EIO: i32 = 5;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;

/// Reads and writes of the file bypass the page cache.
const FOPEN_DIRECT_IO: u32 = 1;

mod opcode {
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
}

/// Mounts `disk` as the file at `path`, which must exist, and serves it until it is unmounted.
pub fn mount(disk: &Arc<Disk>, path: &Path) -> Result<()> {
    let device = File::options().read(true).write(true).open("/dev/fuse").context(
        "opening /dev/fuse: the tests of power cuts and disk faults run as root on a machine with FUSE and loop devices",
    )?;
    let mut command = Command::new("mount");
    command.args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=100000,user_id=0,group_id=0", "rustmq-disk"]).arg(path);
    // The kernel finds the connection by the descriptor that the mounting process has open.
    command.stdin(device.try_clone()?);
    process::run_to_end(&mut command).context("mounting the disk's file by FUSE")?;
    for _ in 0..THREADS {
        let (device, disk) = (device.try_clone()?, Arc::clone(disk));
        thread::spawn(move || serve(device, &disk));
    }
    Ok(())
}

fn serve(mut device: File, disk: &Disk) {
    let mut request = vec![0; REQUEST_MAX];
    loop {
        match device.read(&mut request) {
            Ok(length) => {
                let Some((unique, result)) = answer(disk, &request[..length]) else { continue };
                // Fails for a request that was aborted meanwhile; its caller is gone.
                let _ = device.write(&reply(unique, result));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::NotFound) => {}
            // Unmounted.
            Err(_) => return,
        }
    }
}

fn reply(unique: u64, result: Result<Vec<u8>, i32>) -> Vec<u8> {
    let (error, body) = match result {
        Ok(body) => (0, body),
        Err(error) => (-error, Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).expect("no body is longer than the longest read");
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(error.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(body);
    bytes
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The number of the request and its answer; `None` if it needs no answer.
fn answer(disk: &Disk, request: &[u8]) -> Option<(u64, Result<Vec<u8>, i32>)> {
    let (code, unique) = (word(request, 4)?, long(request, 8)?);
    let body = request.get(REQUEST_HEADER..)?;
    let result = match code {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return None,
        opcode::INIT => Ok(init(word(body, 8)?)),
        opcode::GETATTR | opcode::SETATTR => Ok(attributes(disk.size())),
        // An unused handle, no flags.
        opcode::OPEN => {
            let mut opened = vec![0; 16];
            // After the handle. Without a page cache between the loop device and the disk, an
            // unreadable page does not make its neighbours unreadable.
            opened[8..12].copy_from_slice(&FOPEN_DIRECT_IO.to_le_bytes());
            Ok(opened)
        }
        opcode::READ => read(disk, long(body, 8)?, word(body, 16)?),
        opcode::WRITE => write(disk, long(body, 8)?, word(body, 16)?, body.get(TRANSFER..)?),
        opcode::STATFS => Ok(vec![0; 80]),
        opcode::FSYNC => disk.sync().map(|()| Vec::new()).map_err(code_of),
        opcode::RELEASE | opcode::FLUSH | opcode::DESTROY => Ok(Vec::new()),
        _ => Err(ENOSYS),
    };
    Some((unique, result))
}

#[allow(clippy::needless_pass_by_value)] // What `map_err` calls.
fn code_of(error: io::Error) -> i32 {
    if error.kind() == io::ErrorKind::InvalidInput { EINVAL } else { EIO }
}

fn init(read_ahead: u32) -> Vec<u8> {
    let pages = u16::try_from(WRITE_MAX / 4096).expect("the longest write has few pages");
    let mut body = Vec::with_capacity(64);
    for field in [7, MINOR, read_ahead, BIG_WRITES | MAX_PAGES] {
        body.extend(field.to_ne_bytes());
    }
    // The most background requests, and the number of them that counts as congestion.
    body.extend(64_u16.to_ne_bytes());
    body.extend(48_u16.to_ne_bytes());
    body.extend(WRITE_MAX.to_ne_bytes());
    body.extend(1_u32.to_ne_bytes());
    body.extend(pages.to_ne_bytes());
    body.resize(64, 0);
    body
}

fn attributes(size: u64) -> Vec<u8> {
    const REGULAR: u32 = 0o100_600;
    const VALID_SECONDS: u64 = 3_600;
    let mut body = Vec::with_capacity(104);
    for field in [VALID_SECONDS, 0, 1, size, size / 512, 0, 0, 0] {
        body.extend(field.to_ne_bytes());
    }
    for field in [0, 0, 0, REGULAR, 1, 0, 0, 0, 4096, 0] {
        body.extend(field.to_ne_bytes());
    }
    body
}

fn read(disk: &Disk, offset: u64, length: u32) -> Result<Vec<u8>, i32> {
    let length = u64::from(length).min(disk.size().saturating_sub(offset));
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| EINVAL)?];
    disk.read(offset, &mut bytes).map_err(code_of)?;
    Ok(bytes)
}

fn write(disk: &Disk, offset: u64, length: u32, bytes: &[u8]) -> Result<Vec<u8>, i32> {
    if bytes.len() != length as usize {
        return Err(EINVAL);
    }
    disk.write(offset, bytes).map_err(code_of)?;
    let mut body = length.to_ne_bytes().to_vec();
    body.resize(8, 0);
    Ok(body)
}
