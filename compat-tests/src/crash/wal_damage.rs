//! Damages the write-ahead log of a stopped broker, as a recovery that drops a batch or a disk that
//! loses one would. Knows only those parts of `docs/formats/wal.md` that are needed to find groups.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 512;
const DATA: u32 = 1;

/// A group, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    generation: u64,
    offset: u32,
    kind: u32,
    length: u32,
    slot: PathBuf,
}

/// The groups to wipe out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The last groups with records, and everything after them: nothing proves that they were ever
    /// durable.
    Tail { groups: usize },
    /// The same groups, but later ones stay and prove that they existed.
    Hole { groups: usize },
}

/// Wipes groups of the WAL in the folder, which must have one shard. Returns the number of bytes.
pub fn damage(data: &Path, damage: Damage) -> Result<u64> {
    let mut groups = Vec::new();
    for entry in fs::read_dir(data.join("wal")).context("the WAL's folder")? {
        let wal = entry?.path();
        if wal.is_dir() {
            for slot in fs::read_dir(&wal)? {
                groups.extend(groups_of(&slot?.path())?);
            }
        }
    }
    groups.sort();
    let (Damage::Tail { groups: count } | Damage::Hole { groups: count }) = damage;
    let with_records: Vec<usize> = (0..groups.len()).filter(|at| groups[*at].kind == DATA).collect();
    ensure!(with_records.len() >= count && count > 0, "only {} groups hold records", with_records.len());
    let chosen = &with_records[with_records.len() - count..];
    let (first, last) = (chosen[0], chosen[count - 1]);
    let doomed = match damage {
        Damage::Tail { .. } => &groups[first..],
        Damage::Hole { .. } => {
            ensure!(last + 1 < groups.len(), "nothing follows the last group that holds records");
            &groups[first..=last]
        }
    };
    let mut wiped = 0;
    for group in doomed {
        let file = File::options().write(true).open(&group.slot)?;
        file.write_all_at(&vec![0; usize::try_from(group.length)?], u64::from(group.offset))?;
        file.sync_all()?;
        wiped += u64::from(group.length);
    }
    Ok(wiped)
}

/// The groups of the segment in a slot.
fn groups_of(slot: &Path) -> Result<Vec<Group>> {
    let bytes = fs::read(slot)?;
    if !bytes.starts_with(b"RMQWSEG1") {
        return Ok(Vec::new());
    }
    let generation = u64::from_le_bytes(bytes[32..40].try_into()?);
    let mut groups = Vec::new();
    for (number, block) in bytes.chunks_exact(BLOCK).enumerate() {
        let field = |at: usize| block[at..at + 4].try_into().map(u32::from_le_bytes);
        // A group from an earlier use of the slot has another generation.
        if block.starts_with(b"RMQG") && block[8..16] == generation.to_le_bytes() {
            let offset = u32::try_from(number * BLOCK)?;
            let group = Group { generation, offset, kind: field(44)?, length: field(4)?, slot: slot.into() };
            // A batch may contain bytes that look like a group, but not with their own offset.
            groups.extend((field(24)? == offset).then_some(group));
        }
    }
    Ok(groups)
}
