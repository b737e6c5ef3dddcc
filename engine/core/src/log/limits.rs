//! What bounds the memory of one partition's log.

/// Bounds that the configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Idempotent producers remembered per partition; past it, new ones are refused until others expire.
    pub producers_max: usize,
    /// Aborted transactions remembered per partition; past it no marker that aborts is taken until the log is trimmed.
    pub aborted_max: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { producers_max: 65_536, aborted_max: 100_000 }
    }
}
