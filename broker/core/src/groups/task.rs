//! The work of group coordinators outside of the log: the target assignments of consumer groups,
//! which take too long for the thread that answers heartbeats.

use super::consumer::target::{ComputedTarget, TargetInput};
use super::identity::GroupId;

/// Computes the target assignment of one group. A group has one such task at a time, whose memory
/// it shares.
#[derive(Debug)]
pub struct AssignmentTask {
    pub(crate) group: GroupId,
    pub(crate) input: TargetInput,
}

/// The result of an [`AssignmentTask`].
#[derive(Debug)]
pub struct AssignmentResult {
    pub(crate) group: GroupId,
    /// None if the result is lost.
    pub(crate) target: Option<ComputedTarget>,
}

impl AssignmentTask {
    /// Does the work, which needs no other resource than the processor.
    #[must_use]
    pub fn run(self) -> AssignmentResult {
        AssignmentResult { target: Some(self.input.compute()), group: self.group }
    }

    /// The result to report if the work is lost.
    #[must_use]
    pub fn lost(&self) -> AssignmentResult {
        AssignmentResult { group: self.group.clone(), target: None }
    }
}
