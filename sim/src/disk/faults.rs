//! The probability of each fault, and the duration of operations. [`Faults::NONE`] is a disk that
//! loses data only in a crash.

use std::time::Duration;

use crate::rng::{Chance, Delay};

/// The probability of each fault; the header of [`super`] states its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// For each read of any kind: fails with EIO. The next read may succeed.
    pub read: Chance,
    /// For each write, reservation, removal or put of a note: fails with EIO.
    pub write: Chance,
    /// For each sync of a slot, and for each write with its own sync: fails with EIO.
    pub sync: Chance,
    pub folder_sync: Chance,
    /// For each sector of a read: becomes unreadable.
    pub unreadable: Chance,
    /// For each sector of a read: changes a bit for good.
    pub flipped: Chance,
    /// For each sector that no sync covers in a power cut: becomes unreadable.
    pub torn_unreadable: Chance,
    /// For each reservation or put of a note: something else has filled the disk.
    pub full: Chance,
    /// How long the disk stays full.
    pub full_for: Delay,
}

impl Faults {
    pub const NONE: Self = Self {
        read: Chance::NEVER,
        write: Chance::NEVER,
        sync: Chance::NEVER,
        folder_sync: Chance::NEVER,
        unreadable: Chance::NEVER,
        flipped: Chance::NEVER,
        torn_unreadable: Chance::NEVER,
        full: Chance::NEVER,
        full_for: Delay::micros(0, 0),
    };
}

/// The duration of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    pub read: Delay,
    pub write: Delay,
    /// For syncs of every kind.
    pub sync: Delay,
    /// For operations on names and notes alone.
    pub folder: Delay,
    /// For any operation: it takes [`Speed::stalled`] longer.
    pub stall: Chance,
    pub stalled: Delay,
}

impl Speed {
    /// A local SSD.
    pub const USUAL: Self = Self {
        read: Delay::micros(50, 400),
        write: Delay::micros(20, 300),
        sync: Delay::micros(100, 3_000),
        folder: Delay::micros(10, 2_000),
        stall: Chance::per_million(2_000),
        stalled: Delay { least: Duration::from_millis(500), most: Duration::from_secs(8) },
    };
}
