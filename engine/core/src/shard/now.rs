//! The time of a turn. The driver reads its clocks and passes the values; no decision reads a
//! clock.

use rustmq_model::{Instant, Timestamp};

/// Both kinds of time, read together. They are never converted into each other: a wall clock may be
/// set, and durations must not jump with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and durations.
    pub at: Instant,
    /// For times on disk, and for comparison with the timestamps of records.
    pub wall: Timestamp,
}
