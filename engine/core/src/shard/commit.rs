//! A planned commit: its writes and syncs, and the batches that become readable after them.

use super::disk_step::DiskStep;
use super::partitions::{LogVersion, PartitionKey};
use super::readable_log::TailBatch;
use crate::wal::WalPosition;

/// A batch whose place in memory is fixed, and whose sync is pending.
#[derive(Clone, Debug)]
pub struct StagedBatch {
    pub key: PartitionKey,
    /// The version of the log when the batch was staged: the batch counts as durable only if the
    /// log still has this version.
    pub version: LogVersion,
    pub chunk: u64,
    pub batch: TailBatch,
}

/// The frames that are written and synced together.
#[derive(Debug)]
pub struct Commit {
    pub steps: Vec<DiskStep>,
    /// In the order of the log.
    pub batches: Vec<StagedBatch>,
    /// The log is durable up to here after the commit.
    pub end: WalPosition,
    pub bytes: usize,
    /// The commit holds frames, so a later group must prove it. `false` for a proof, and for the
    /// start of a segment whose frames found no room.
    pub holds_frames: bool,
}

/// Whether a commit is synced before it counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    EachCommit,
    /// Commits are only written. Segments are still synced when they are sealed and started.
    Never,
}

impl SyncPolicy {
    pub(super) fn applied_to(self, steps: Vec<DiskStep>) -> Vec<DiskStep> {
        match self {
            Self::EachCommit => synced(steps),
            Self::Never => steps,
        }
    }
}

/// Makes the steps durable. A single write, the most common commit, includes its sync: that spares
/// the shard a turn.
fn synced(mut steps: Vec<DiskStep>) -> Vec<DiskStep> {
    match steps.pop() {
        Some(DiskStep::Write { slot, offset, bytes }) if steps.is_empty() => {
            steps.push(DiskStep::WriteSynced { slot, offset, bytes });
        }
        Some(DiskStep::Write { slot, offset, bytes }) => {
            steps.push(DiskStep::Write { slot, offset, bytes });
            steps.push(DiskStep::Sync { slot });
        }
        last => steps.extend(last),
    }
    steps
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::SyncPolicy;
    use crate::shard::DiskStep::{self, Sync, Write, WriteSynced};
    use crate::wal::SlotId;

    const OLD: SlotId = SlotId(1);
    const NEW: SlotId = SlotId(2);

    fn write(slot: SlotId, offset: u32) -> DiskStep {
        Write { slot, offset, bytes: Bytes::from_static(b"group") }
    }

    #[test]
    fn a_commit_is_durable_once_its_last_step_is_done() {
        let check = |steps: Vec<DiskStep>, expected: Vec<DiskStep>| {
            assert_eq!(SyncPolicy::Never.applied_to(steps.clone()), steps);
            assert_eq!(SyncPolicy::EachCommit.applied_to(steps), expected);
        };
        check(vec![], vec![]);
        check(vec![write(OLD, 8)], vec![WriteSynced { slot: OLD, offset: 8, bytes: Bytes::from_static(b"group") }]);
        check(vec![write(OLD, 8), write(OLD, 16)], vec![write(OLD, 8), write(OLD, 16), Sync { slot: OLD }]);
        let roll = [write(OLD, 8), Sync { slot: OLD }, write(NEW, 0), Sync { slot: NEW }];
        check(roll.to_vec(), roll.to_vec());
        let behind = [&roll[..], &[write(NEW, 8)]].concat();
        check(behind.clone(), [&behind[..], &[Sync { slot: NEW }]].concat());
    }
}
