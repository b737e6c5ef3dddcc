//! Why the engine did not end in time. The errors of a shard's requests are the core's.

use std::time::Duration;

/// The disk did not finish the work of a shutdown in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk has not answered within {limit:?}, so the log ends without its last proof, and batches that were not acknowledged may be lost"
)]
pub struct ShutdownError {
    pub limit: Duration,
}
