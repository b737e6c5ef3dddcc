//! Harm done to the write-ahead log of a broker that is down: what a recovery sees that drops a
//! batch, or a disk that lost one. Knows the layout of `docs/formats/wal.md` only as far as finding
//! groups takes.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 512;
const DATA: u32 = 1;

/// A group as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    generation: u64,
    offset: u32,
    kind: u32,
    length: u32,
    slot: PathBuf,
}

/// What is wiped out of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The last groups with records, and all that follows: no trace is left that they were ever
    /// durable.
    Tail { groups: usize },
    /// The same groups, while what was written after them stays and proves that they were there.
    Hole { groups: usize },
}

/// Wipes groups of the WAL that the folder holds (of one shard); gives back how many bytes.
pub fn harm(data: &Path, harm: Harm) -> Result<u64> {
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
    let (Harm::Tail { groups: count } | Harm::Hole { groups: count }) = harm;
    let with_records: Vec<usize> = (0..groups.len()).filter(|at| groups[*at].kind == DATA).collect();
    ensure!(with_records.len() >= count && count > 0, "only {} groups hold records", with_records.len());
    let chosen = &with_records[with_records.len() - count..];
    let (first, last) = (chosen[0], chosen[count - 1]);
    let doomed = match harm {
        Harm::Tail { .. } => &groups[first..],
        Harm::Hole { .. } => {
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

/// The groups of the segment that a slot holds.
fn groups_of(slot: &Path) -> Result<Vec<Group>> {
    let bytes = fs::read(slot)?;
    if !bytes.starts_with(b"RMQWSEG1") {
        return Ok(Vec::new());
    }
    let generation = u64::from_le_bytes(bytes[32..40].try_into()?);
    let mut groups = Vec::new();
    for (number, block) in bytes.chunks_exact(BLOCK).enumerate() {
        let field = |at: usize| block[at..at + 4].try_into().map(u32::from_le_bytes);
        // A group of the slot's earlier lives carries another generation.
        if block.starts_with(b"RMQG") && block[8..16] == generation.to_le_bytes() {
            let offset = u32::try_from(number * BLOCK)?;
            let group = Group { generation, offset, kind: field(44)?, length: field(4)?, slot: slot.into() };
            // A batch may hold anything, so also bytes that look like a group: not at their own
            // offset.
            groups.extend((field(24)? == offset).then_some(group));
        }
    }
    Ok(groups)
}
