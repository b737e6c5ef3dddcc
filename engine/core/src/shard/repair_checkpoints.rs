//! After a repair every partition gets a checkpoint, so that no later start replays over a hole. Then the repair is forgotten.
//!
//! ```text
//! waiting --all are staged--> staged --their commit is durable--> forgetting --forgotten, or not--> over
//! ```

use super::actions::{Action, Actions};
use super::checkpointing::Progress;
use super::commits::{CommitNumber, Commits};
use super::host::Host;
use super::partitions::{PartitionKey, Partitions};
use super::staging::Staging;

#[derive(Debug)]
pub(super) enum RepairCheckpoints {
    /// The log was not repaired, or all is done.
    Over,
    Waiting {
        /// These have none yet; the next ones last.
        waiting: Vec<PartitionKey>,
        /// The checkpoint of the next one is under way.
        begun: Option<PartitionKey>,
    },
    /// On disk once this commit is.
    Staged { commit: CommitNumber },
    /// They are on disk, and the driver notes that in the folder. The shard ends only when it has.
    Forgetting,
}

impl RepairCheckpoints {
    pub(super) fn of_all(partitions: &Partitions) -> Self {
        Self::Waiting { waiting: partitions.keys().rev().collect(), begun: None }
    }

    pub(super) const fn is_forgetting(&self) -> bool {
        matches!(self, Self::Forgetting)
    }

    /// Stages as many as find room. What finds none is tried again in the next turn.
    pub(super) fn stage<H: Host>(
        &mut self,
        commits: &Commits,
        partitions: &Partitions,
        staging: &mut Staging<H::Memory>,
    ) {
        let Self::Waiting { waiting, begun } = self else { return };
        // The group that puts the run on disk goes alone. Where there is none, the next segment's header does it.
        let is_run_unplanned = commits.begun() == 0 && staging.is_empty();
        if staging.poisoned().is_some() || !(commits.is_first_durable() || is_run_unplanned) {
            return;
        }
        while let Some(key) = waiting.last().copied() {
            let is_begun = begun.take_if(|begun| *begun == key).is_some();
            // One that takes several commits is done with when it goes on no more.
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
