//! The time of a turn. The driver reads its clocks and passes what they said; no decision reads one.

use rustmq_model::{Instant, Timestamp};

/// Both kinds of time, read together. They are not converted into each other: a wall clock may be set, and then nothing that measures may jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// What is due, and for how long something has lasted.
    pub at: Instant,
    /// What is written to disk or compared with what records carry.
    pub wall: Timestamp,
}
