//! Why the engine did not end as asked. Why a shard refuses is said with its requests, in the core.

use std::time::Duration;

/// The disk did not do in time what a clean end waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk has not answered within {limit:?}, so the log ends without its last proof, and what was not acknowledged may be lost"
)]
pub struct ShutdownError {
    pub limit: Duration,
}
