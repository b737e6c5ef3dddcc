//! A change of a replica's log that its driver has not reported as done.
//!
//! ```text
//!  Truncate --done--> (none)            Reset --done--> (none)
//!      '-----failed-----^               |   ^
//!       the log is as it was     failed v   | after a while
//!                                       Reset, again
//! ```
//! A truncation may be given up, and the leader is asked anew. A reset never is: some of the log may
//! be gone by then.

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
        /// When it is asked for again, after it failed.
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

    /// The change is made, and `log` is the outcome. Answers whether that is what was asked for: a
    /// log is cut lower where the end was named within a batch.
    pub(super) fn check_outcome(self, log: &LogView<'_>, high_watermark: Offset) -> bool {
        match self {
            Self::Truncate { to } => {
                assert!(high_watermark <= log.end && log.end <= to, "the log is cut");
                assert_eq!(log.durable_end, log.end, "the cut is durable");
                log.end == to
            }
            Self::Reset { start, .. } => {
                assert_eq!((log.local_start, log.end), (start, start), "the log begins anew");
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

    /// The action of a reset that failed, once it is due again.
    pub(super) fn retry(&mut self, now: Instant) -> Option<Action> {
        let Self::Reset { start, again_at } = self else { return None };
        again_at.take_if(|at| *at <= now)?;
        Some(Action::Reset { start: *start })
    }
}
