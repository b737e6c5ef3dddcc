//! The bounds on the memory of one partition's log.

/// A shard with small segments sets lower bounds than the defaults, so that a checkpoint fits into
/// a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The most idempotent producers that a partition remembers. At the limit, new producers are
    /// refused until others expire.
    pub producers_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { producers_max: 65_536 }
    }
}
