//! The log of a fuzz rig: a list, whose first entry has the offset at which the log starts.

use rustmq_model::Offset;

use super::Coordinator;
use super::action::TrimFailed;
use super::machine::CoordinatorMachine;

/// Ends the trim that the coordinator has asked for, if it has asked for one: with success the
/// entries below it are gone.
pub(crate) fn end_trim<M: CoordinatorMachine, T>(
    coordinator: &mut Coordinator<M>,
    trim: &mut Option<Offset>,
    (log_start, log): (&mut usize, &mut Vec<T>),
    result: Result<(), TrimFailed>,
) {
    let Some(below) = trim.take() else { return };
    if result.is_ok() {
        let below = usize::try_from(below.0).expect("offsets of the log are not negative");
        log.drain(..below - *log_start);
        *log_start = below;
    }
    coordinator.on_trimmed(result);
}
