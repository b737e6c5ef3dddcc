//! How a run is set up, drawn from its seed: the log's size, the disk's faults, how long lives last. Some runs are calm.

use std::time::Duration;

use rustmq_engine_core::log::Replicas;
use rustmq_engine_core::shard::SyncPolicy;
use rustmq_engine_core::wal::SegmentShape;

use super::memory::MemoryOptions;
use crate::disk::Faults;
use crate::{Chance, Delay, Dice};

/// What goes wrong in a run, apart from crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// Operations fail.
    Errors,
    /// The disk is full at times.
    Full,
    /// Sectors are harmed.
    Harm,
    /// Some of each.
    Storm,
}

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub weather: Weather,
    pub shape: SegmentShape,
    pub segments_max: u32,
    pub partitions: usize,
    pub memory: MemoryOptions,
    pub gathered_bytes_max: usize,
    /// Small ones make most checkpoints take several commits.
    pub checkpoint_piece_bytes_max: usize,
    pub proof_after: Duration,
    /// With none, two commits may be in flight from the start on; with a whole second, they hardly ever are.
    pub slow_commit: Duration,
    pub retention_interval: Duration,
    /// How long a place must be unreadable before it is given up.
    pub patience: Duration,
    pub faults: Faults,
    /// Where commits are only written, the process may be killed, and nothing is lost by that. The power is not cut then, and syncs do not fail: nothing is
    /// promised for these.
    pub syncs: SyncPolicy,
    /// Bytes that slots may take.
    pub room: u64,
    /// Of a request of the clients: a sector of the log is harmed.
    pub strike: Chance,
    /// There are other replicas: a log's watermark is held back until they have it, and its end is cut off at times, where another leader's log went another
    /// way.
    pub cuts: bool,
    /// What the clients ask for in a run.
    pub requests: usize,
    /// Events in a life, at most.
    pub steps_max: usize,
}

impl Setting {
    /// Where logs are cut, others have them too.
    pub const fn replicas(&self) -> Replicas {
        if self.cuts { Replicas::Several } else { Replicas::Sole }
    }

    pub fn draw(dice: &mut Dice) -> Self {
        let weather = match dice.below(8) {
            0..2 => Weather::Calm,
            2..4 => Weather::Errors,
            4 => Weather::Full,
            5..7 => Weather::Harm,
            _ => Weather::Storm,
        };
        let shape = SegmentShape::new(512, 512 * dice.between(24, 40)).expect("between the bounds");
        let segments_max = u32::try_from(dice.between(7, 14)).expect("a small number");
        let tight = dice.below(3) == 0;
        let room = if tight { u64::from(segments_max - 1) * u64::from(shape.length()) } else { u64::MAX };
        let memory = MemoryOptions {
            piece: 4 << 10,
            budget: (16 << 10) << dice.below(4),
            fails: if weather == Weather::Storm || dice.below(4) == 0 { Chance::percent(1) } else { Chance::NEVER },
        };
        let syncs = if dice.below(8) == 0 { SyncPolicy::Never } else { SyncPolicy::EachCommit };
        let faults = faults(weather);
        let faults = if syncs == SyncPolicy::Never { Faults { sync: Chance::NEVER, ..faults } } else { faults };
        Self {
            weather,
            shape,
            segments_max,
            partitions: 1 + dice.below(5),
            memory,
            gathered_bytes_max: 8 << 10 << dice.below(3),
            checkpoint_piece_bytes_max: [96, 256, 64 << 10][dice.below(3)],
            proof_after: Duration::from_millis(dice.between(5, 200)),
            slow_commit: Duration::from_micros([0, 1_000, 1_000_000][dice.below(3)]),
            retention_interval: Duration::from_secs(dice.between(2, 300)),
            patience: Duration::from_millis(dice.between(2_000, 10_000)),
            faults,
            syncs,
            room,
            strike: if matches!(weather, Weather::Harm | Weather::Storm) {
                Chance::per_million(3_000)
            } else {
                Chance::NEVER
            },
            // What is harmed and what is cut off are not told apart.
            cuts: matches!(weather, Weather::Calm | Weather::Errors | Weather::Full) && dice.coin(),
            requests: 900 + dice.below(600),
            steps_max: 400 << dice.below(4),
        }
    }
}

fn faults(weather: Weather) -> Faults {
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
    match weather {
        Weather::Calm => Faults::NONE,
        Weather::Errors => errors,
        Weather::Full => full,
        Weather::Harm => harm,
        Weather::Storm => {
            let Faults { unreadable, flipped, torn_unreadable, .. } = harm;
            Faults { unreadable, flipped, torn_unreadable, full: Chance::percent(5), full_for, ..errors }
        }
    }
}
