//! How often a read for a move or a cut is tried before it counts as failed. The caller decides
//! what the failure means.

/// The number of consecutive failures that count: a device may fail once and then succeed.
pub const READ_ATTEMPTS: u32 = 3;
