//! A change of where a partition's log is, or who leads it: staged now, and in effect once it is durable. What is asked is judged in
//! [`super::placement`], [`super::retention`] and [`super::cleaner`]; the queue of what is staged is [`super::waiting`]'s.
//!
//! ```text
//! planned --(a move is read back)--> staged --its group is durable--> applied
//!                                      |                    '-------> dropped: its partition is gone, or its log was cut
//!                                      '--the log fails--> refused
//! ```
//! A move that cannot be read back is a change as well: a mark takes the place of the batches, and the log goes on.

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
    /// Of the log when the change was planned.
    version: LogVersion,
    pub what: Placement,
}

#[derive(Debug)]
pub(super) enum Placement {
    /// The log starts there. Below an earlier start it changes nothing.
    Trim(Offset),
    /// Batches are there from now on, or the mark that stands for them.
    Move(MovedBatches),
    /// The partition is open and may be found, under this leadership. A later one may have been staged by then.
    Lead(Leadership),
    /// The log was truncated or reset, and has this leadership since.
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

    /// Whether what it was planned for is not there any more. A move is of bytes, which a cut may have taken; a trim is of a log, which a reset ends; a leadership is
    /// of the partition.
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

    /// It is durable, and not stale. Answers whether a segment may be free since.
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
                // Whoever moves looks again by itself.
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
                // Nothing of it gathers or is in flight: it takes appends from here on.
                let size_bytes = staging.table().bytes_from(id, frontiers.log_start);
                partition.on_cut_durable(size_bytes);
                staging.gathering_mut().on_cut(key, frontiers.durable_end);
                let times = Box::new(partition.log.times().clone());
                let aborted = partition.aborted();
                actions.push(Action::PublishCut { key, frontiers, leadership, size_bytes, times, aborted });
                true
            }
            Placement::Close => {
                close(key, partitions, actions);
                true
            }
        }
    }

    /// The log has failed: it is never durable. The shard has let go of a partition that is closed, so nobody else would end its readers.
    pub(super) fn refuse<H: Host>(self, partitions: &mut Partitions, actions: &mut Actions<H>) {
        if matches!(self.what, Placement::Close) {
            close(self.key, partitions, actions);
        }
    }
}

/// Bytes that readers see of a log of which a trim is durable.
fn size_after_trim<M: ReaderMemory>(
    partition: &Partition,
    log_start: Offset,
    staging: &Staging<M>,
    commits: &Commits,
) -> u64 {
    let Partition { id, key, version, .. } = *partition;
    let size = staging.table().bytes_from(id, log_start);
    if partition.is_cut_staged() {
        // The table has the log as it will be. What is trimmed is committed, and in both.
        let trimmed = staging.table().bytes_from(id, partition.log_start()).saturating_sub(size);
        return partition.size_bytes().saturating_sub(trimmed);
    }
    // What gathers or is in flight is counted when it is published.
    size.saturating_sub(staging.staged_bytes(partition) + commits.staged_bytes(key, version))
}

fn close<H: Host>(key: PartitionKey, partitions: &mut Partitions, actions: &mut Actions<H>) {
    actions.push(Action::CloseView { key });
    partitions.forget(key);
}
