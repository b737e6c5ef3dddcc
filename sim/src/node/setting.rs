//! The parameters of a run, drawn from its seed: the log's size, the disk's faults, the length of
//! lives. Some runs are calm.

use std::time::Duration;

use rustmq_engine_core::log::Replicas;
use rustmq_engine_core::shard::SyncPolicy;
use rustmq_engine_core::wal::SegmentShape;

use super::memory::MemoryOptions;
use crate::disk::Faults;
use crate::{Chance, Delay, Rng};

/// The faults of a run besides crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultProfile {
    None,
    /// Operations fail.
    Errors,
    /// The disk is full at times.
    Full,
    /// Sectors are harmed.
    Harm,
    /// Errors, a full disk and harm together.
    All,
}

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub fault_profile: FaultProfile,
    pub shape: SegmentShape,
    pub segments_max: u32,
    pub partitions: usize,
    pub memory: MemoryOptions,
    pub gathered_bytes_max: usize,
    /// With small pieces, most checkpoints take several commits.
    pub checkpoint_piece_bytes_max: usize,
    pub proof_after: Duration,
    /// 0 allows two commits in flight from the start on; one second hardly ever does.
    pub slow_commit: Duration,
    pub retention_interval: Duration,
    /// How long batches must be unreadable before they count as damaged.
    pub damage_timeout: Duration,
    pub faults: Faults,
    /// Without syncs the process may be killed, which loses nothing. The power is never cut and
    /// syncs never fail, since nothing is promised for these.
    pub syncs: SyncPolicy,
    /// The most bytes that slots may take.
    pub capacity: u64,
    /// For each step of the clients: a sector of the log is harmed.
    pub harm_chance: Chance,
    /// The partitions have other replicas: their acknowledgements move the watermark, and another
    /// leader's diverged log cuts this one at times.
    pub cuts: bool,
    /// The number of client requests in a run.
    pub requests: usize,
    /// The most events in a life.
    pub steps_max: usize,
}

impl Setting {
    /// Logs that are cut have other replicas.
    pub const fn replicas(&self) -> Replicas {
        if self.cuts { Replicas::Several } else { Replicas::Sole }
    }

    pub fn draw(rng: &mut Rng) -> Self {
        let fault_profile = match rng.below(8) {
            0..2 => FaultProfile::None,
            2..4 => FaultProfile::Errors,
            4 => FaultProfile::Full,
            5..7 => FaultProfile::Harm,
            _ => FaultProfile::All,
        };
        let shape = SegmentShape::new(512, 512 * rng.between(24, 40)).expect("the length is within the bounds");
        let segments_max = u32::try_from(rng.between(7, 14)).expect("a small number");
        let tight = rng.below(3) == 0;
        let capacity = if tight { u64::from(segments_max - 1) * u64::from(shape.length()) } else { u64::MAX };
        let memory = MemoryOptions {
            piece: 4 << 10,
            budget: (16 << 10) << rng.below(4),
            fails: if fault_profile == FaultProfile::All || rng.below(4) == 0 {
                Chance::percent(1)
            } else {
                Chance::NEVER
            },
        };
        let syncs = if rng.below(8) == 0 { SyncPolicy::Never } else { SyncPolicy::EachCommit };
        let faults = faults(fault_profile);
        let faults = if syncs == SyncPolicy::Never { Faults { sync: Chance::NEVER, ..faults } } else { faults };
        Self {
            fault_profile,
            shape,
            segments_max,
            partitions: 1 + rng.below(5),
            memory,
            gathered_bytes_max: 8 << 10 << rng.below(3),
            checkpoint_piece_bytes_max: [96, 256, 64 << 10][rng.below(3)],
            proof_after: Duration::from_millis(rng.between(5, 200)),
            slow_commit: Duration::from_micros([0, 1_000, 1_000_000][rng.below(3)]),
            retention_interval: Duration::from_secs(rng.between(2, 300)),
            damage_timeout: Duration::from_millis(rng.between(1_000, 5_000)),
            faults,
            syncs,
            capacity,
            harm_chance: if matches!(fault_profile, FaultProfile::Harm | FaultProfile::All) {
                Chance::per_million(5_000)
            } else {
                Chance::NEVER
            },
            // The oracle cannot tell harmed batches from batches that were cut off.
            cuts: matches!(fault_profile, FaultProfile::None | FaultProfile::Errors | FaultProfile::Full) && rng.coin(),
            requests: 900 + rng.below(600),
            steps_max: 400 << rng.below(4),
        }
    }
}

fn faults(fault_profile: FaultProfile) -> Faults {
    let errors = Faults {
        read: Chance::per_million(8_000),
        write: Chance::per_million(400),
        sync: Chance::per_million(800),
        folder_sync: Chance::percent(1),
        ..Faults::NONE
    };
    let full_for = Delay { least: Duration::from_millis(1), most: Duration::from_secs(30) };
    let full = Faults { full: Chance::percent(15), full_for, ..Faults::NONE };
    let harm = Faults {
        unreadable: Chance::per_million(10),
        flipped: Chance::per_million(10),
        torn_unreadable: Chance::per_million(2_000),
        ..Faults::NONE
    };
    match fault_profile {
        FaultProfile::None => Faults::NONE,
        FaultProfile::Errors => errors,
        FaultProfile::Full => full,
        FaultProfile::Harm => harm,
        FaultProfile::All => {
            let Faults { unreadable, flipped, torn_unreadable, .. } = harm;
            Faults { unreadable, flipped, torn_unreadable, full: Chance::percent(5), full_for, ..errors }
        }
    }
}
