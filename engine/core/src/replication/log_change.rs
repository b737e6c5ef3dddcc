//! A change of a replica's log that its driver has not completed yet.
//!
//! ```text
//!  Truncate --done--> (none)            Reset --done--> (none)
//!      '-----failed-----^               |   ^
//!     the log is unchanged      failed v   | after a pause
//!                                Reset, due again
//! ```
//! A failed truncation is abandoned, and a new handshake asks the leader for another answer. A
//! reset is never abandoned, because part of the log may be gone already.

use rustmq_model::{Instant, Offset};

use super::actions::Action;
use super::log_view::LogView;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogChange {
    Truncate {
        to: Offset,
    },
    Reset {
        start: Offset,
        /// The time of the next request, after the reset failed.
        again_at: Option<Instant>,
    },
}

impl LogChange {
    pub(super) const fn action(self) -> Action {
        match self {
            Self::Truncate { to } => Action::Truncate { to },
            Self::Reset { start, .. } => Action::Reset { start },
        }
    }

    /// Checks that `log` is a possible outcome of this change. Returns whether it is the requested
    /// one: a cut to an offset within a batch ends below the offset.
    pub(super) fn check_outcome(self, log: &LogView<'_>, high_watermark: Offset) -> bool {
        match self {
            Self::Truncate { to } => {
                assert!(high_watermark <= log.end && log.end <= to, "the log ends at the cut or below it");
                assert_eq!(log.durable_end, log.end, "the cut is durable");
                log.end == to
            }
            Self::Reset { start, .. } => {
                assert_eq!((log.local_start, log.end), (start, start), "the log starts empty after a reset");
                true
            }
        }
    }

    pub(super) const fn due_at(self) -> Option<Instant> {
        match self {
            Self::Truncate { .. } => None,
            Self::Reset { again_at, .. } => again_at,
        }
    }

    /// The action that requests a failed reset again, if it is due.
    pub(super) fn retry(&mut self, now: Instant) -> Option<Action> {
        let Self::Reset { start, again_at } = self else { return None };
        again_at.take_if(|at| *at <= now)?;
        Some(Action::Reset { start: *start })
    }
}
