//! How often a read from the disk is tried before its failure counts, for a move or for a cut. What a failure then means is said where that is decided.

/// Reads in a row that must fail: a device may fail once what it can do.
pub const READ_ATTEMPTS: u32 = 3;
