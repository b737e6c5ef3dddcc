//! How far a log has come: the offsets that readers and refusals go by.

use rustmq_model::{LeaderEpoch, Offset};

/// The offsets of one partition at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOffsets {
    pub log_start: Offset,
    /// One past the last synced record.
    pub durable_end: Offset,
    /// One past the last record that every replica of the ISR has synced.
    pub high_watermark: Offset,
    /// What a read_committed reader stops at.
    pub last_stable: Offset,
    pub leader_epoch: LeaderEpoch,
}
