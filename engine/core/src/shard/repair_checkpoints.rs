//! Writes a checkpoint of every partition after a repair, so that no later start replays across a
//! hole. Then the repair is forgotten.
//!
//! ```text
//! waiting --all are staged--> staged --their commit is durable--> forgetting --answered--> over
//! ```

use super::actions::{Action, Actions};
use super::checkpointing::Progress;
use super::commits::{CommitNumber, Commits};
use super::host::Host;
use super::partitions::{PartitionKey, Partitions};
use super::staging::Staging;

#[derive(Debug)]
pub(super) enum RepairCheckpoints {
    /// The log was not repaired, or everything is done.
    Over,
    Waiting {
        /// The partitions without a checkpoint, the next ones last.
        waiting: Vec<PartitionKey>,
        /// The next partition, if its checkpoint is under way.
        begun: Option<PartitionKey>,
    },
    /// The checkpoints are durable once this commit is.
    Staged { commit: CommitNumber },
    /// The checkpoints are durable, and the driver removes the folder's note of the repair. The
    /// shard ends only after that.
    Forgetting,
}

impl RepairCheckpoints {
    pub(super) fn of_all(partitions: &Partitions) -> Self {
        Self::Waiting { waiting: partitions.keys().rev().collect(), begun: None }
    }

    pub(super) const fn is_forgetting(&self) -> bool {
        matches!(self, Self::Forgetting)
    }

    /// Stages checkpoints while there is room. The next turn continues.
    pub(super) fn stage<H: Host>(
        &mut self,
        commits: &Commits,
        partitions: &Partitions,
        staging: &mut Staging<H::Memory>,
    ) {
        let Self::Waiting { waiting, begun } = self else { return };
        // The group that puts the WAL session on disk goes alone. If there was no room for it, the
        // next segment's header does it.
        let is_session_unplanned = commits.begun() == 0 && staging.is_empty();
        if staging.poisoned().is_some() || !(commits.is_first_durable() || is_session_unplanned) {
            return;
        }
        while let Some(key) = waiting.last().copied() {
            let is_begun = begun.take_if(|begun| *begun == key).is_some();
            // A checkpoint that takes several commits is staged once it is no longer under way.
            let is_staged = is_begun && !staging.is_checkpointing(key);
            if let Some(partition) = partitions.at(key).filter(|_| !is_staged) {
                match staging.checkpoint(partition, partitions) {
                    Ok(Progress::Staged) => {}
                    Ok(Progress::UnderWay) => {
                        *begun = Some(key);
                        return;
                    }
                    Ok(Progress::Awaits) | Err(_) => return,
                }
            }
            waiting.pop();
        }
        *self = Self::Staged { commit: commits.begun() + 1 };
    }

    pub(super) fn on_durable<H: Host>(&mut self, durable: CommitNumber, actions: &mut Actions<H>) {
        if matches!(self, Self::Staged { commit } if *commit <= durable) {
            *self = Self::Forgetting;
            actions.push(Action::ForgetRepair);
        }
    }

    pub(super) fn on_forgotten(&mut self) {
        *self = Self::Over;
    }
}
