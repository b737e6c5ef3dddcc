//! What fails and how often, and how long operations last. [`Faults::NONE`] is a disk that never fails but at a crash.

use std::time::Duration;

use crate::dice::{Chance, Delay};

/// Chances; see the header of [`super`] for what each of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Of a read of any kind: it answers EIO, and the next may not.
    pub read: Chance,
    /// Of a write, a reservation, a removal or a note.
    pub write: Chance,
    /// Of a sync of a slot, or of a write that takes its sync along.
    pub sync: Chance,
    pub folder_sync: Chance,
    /// Of each sector that is read: it cannot be read from then on.
    pub unreadable: Chance,
    /// Of each sector that is read: a bit of it is another one from then on.
    pub flipped: Chance,
    /// Of each sector that no sync covers when the power is cut: it cannot be read afterwards.
    pub torn_unreadable: Chance,
    /// Of a reservation or a note: something else has filled the disk.
    pub full: Chance,
    /// For so long.
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

/// How long operations last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed {
    pub read: Delay,
    pub write: Delay,
    /// Of syncs of every kind.
    pub sync: Delay,
    /// What concerns names and notes alone.
    pub folder: Delay,
    /// Of any operation: it lasts longer by [`Speed::stalled`].
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
