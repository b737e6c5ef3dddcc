//! A change of a partition's log or leadership that is staged now and takes effect once it is
//! durable. [`super::placement`], [`super::retention`], [`super::cleaner`] and [`super::cuts`] plan
//! changes; [`super::waiting`] queues the staged ones.
//!
//! ```text
//! planned --(a move is read back)--> staged --its group is durable--> applied
//!                                      |                    '-------> dropped: the change is stale
//!                                      '--the log fails--> refused
//! ```
//! An unreadable move is a change as well: a mark replaces the batches, and the log continues.

use rustmq_model::{Offset, TopicIdPartition};

use super::actions::{Action, Actions};
use super::commits::Commits;
use super::host::{Host, ReaderMemory};
use super::partitions::{Leadership, LogVersion, Partition, PartitionKey, Partitions};
use super::staging::Staging;
use crate::wal::segments::MovedBatches;

#[derive(Debug)]
pub(super) struct PlacementChange {
    pub id: TopicIdPartition,
    pub key: PartitionKey,
    /// The version of the log when the change was planned.
    version: LogVersion,
    pub what: Placement,
}

#[derive(Debug)]
pub(super) enum Placement {
    /// The log starts there. Has no effect below an earlier start.
    Trim(Offset),
    /// The batches, or the mark that replaces them, have a new place.
    Move(MovedBatches),
    /// The partition is open and findable, under this leadership. A later leadership may be staged
    /// by then.
    Lead(Leadership),
    /// The log was truncated or reset, and has this leadership.
    Cut(Leadership),
    /// The partition is gone.
    Close,
}

impl PlacementChange {
    pub(super) const fn of(partition: &Partition, what: Placement) -> Self {
        Self { id: partition.id, key: partition.key, version: partition.version, what }
    }

    pub(super) const fn is_move(&self) -> bool {
        matches!(self.what, Placement::Move(_))
    }

    /// Whether the target of the change is gone. A move needs its bytes, which a cut may remove; a
    /// trim needs its log, which a reset ends; a leadership needs the partition.
    pub(super) fn is_stale(&self, partitions: &Partitions) -> bool {
        match self.what {
            Placement::Close => false,
            Placement::Lead(_) => partitions.at(self.key).is_none(),
            Placement::Trim(_) => {
                partitions.at(self.key).is_none_or(|partition| !partition.version.is_same_log(self.version))
            }
            Placement::Move(_) | Placement::Cut(_) => {
                partitions.at(self.key).is_none_or(|partition| partition.version != self.version)
            }
        }
    }

    /// Applies a durable change that is not stale. Returns whether a segment may have become free.
    pub(super) fn apply<H: Host>(
        self,
        partitions: &mut Partitions,
        staging: &mut Staging<H::Memory>,
        commits: &Commits,
        actions: &mut Actions<H>,
    ) -> bool {
        let Self { id, key, what, .. } = self;
        match what {
            Placement::Trim(log_start) => {
                let partition = partitions.at_mut(key).expect("the change is not stale");
                partition.on_trim_durable(log_start, size_after_trim(partition, log_start, staging, commits));
                staging.table_mut().apply_trim(id, log_start);
                let (frontiers, size_bytes) = (partition.shown_frontiers(), partition.size_bytes());
                let aborted = partition.newly_aborted();
                actions.push(Action::PublishFrontiers { key, frontiers, size_bytes, aborted });
                true
            }
            Placement::Move(moved) => {
                staging.table_mut().apply_move(id, moved);
                actions.push_move(key, moved.placed());
                // The cleaner checks the segment again by itself.
                false
            }
            Placement::Lead(leadership) => {
                let partition = partitions.at(key).expect("the change is not stale");
                let leadership = partition.shown_leadership(leadership);
                actions.push(Action::PublishLeadership { key, leadership });
                actions.push(Action::List { key });
                false
            }
            Placement::Cut(leadership) => {
                let partition = partitions.at_mut(key).expect("the change is not stale");
                let (frontiers, leadership) = (partition.frontiers(), partition.shown_leadership(leadership));
                // No batch of the log gathers or is in flight: it takes appends only from here on.
                let size_bytes = staging.table().bytes_from(id, frontiers.log_start);
                partition.on_cut_durable(size_bytes);
                staging.builder_mut().on_cut(key, frontiers.durable_end);
                let times = Box::new(partition.log.times().clone());
                actions.push(Action::PublishCut { key, frontiers, leadership, size_bytes, times });
                true
            }
            Placement::Close => {
                close(key, partitions, actions);
                true
            }
        }
    }

    /// The log has failed: the change never becomes durable. A closed partition is no longer
    /// listed, so only this ends its readers.
    pub(super) fn refuse<H: Host>(self, partitions: &mut Partitions, actions: &mut Actions<H>) {
        if matches!(self.what, Placement::Close) {
            close(self.key, partitions, actions);
        }
    }
}

/// The size of a log for readers once a trim is durable, in bytes.
fn size_after_trim<M: ReaderMemory>(
    partition: &Partition,
    log_start: Offset,
    staging: &Staging<M>,
    commits: &Commits,
) -> u64 {
    let Partition { id, key, version, .. } = *partition;
    let size = staging.table().bytes_from(id, log_start);
    if partition.is_cut_staged() {
        // The table already has the log after the cut. The trimmed batches are committed, so both
        // logs have them.
        let trimmed = staging.table().bytes_from(id, partition.log_start()).saturating_sub(size);
        return partition.size_bytes().saturating_sub(trimmed);
    }
    // Batches that gather or are in flight are counted when they are published.
    size.saturating_sub(staging.staged_bytes(partition) + commits.staged_bytes(key, version))
}

fn close<H: Host>(key: PartitionKey, partitions: &mut Partitions, actions: &mut Actions<H>) {
    actions.push(Action::CloseView { key });
    partitions.forget(key);
}
