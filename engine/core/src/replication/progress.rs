//! How far one follower has come, as its leader knows it within its epoch. Sends nothing:
//! `leader.rs` does.
//!
//! ```text
//!            Hello: a sound page                      Ack
//!  Unheard ----------------------> Answered ---------------> Pushing
//!     |  '--> Paging (older page) ----^                         |
//!     |          v                    |                         | below the local start: Void
//!     '-----> Withheld (a reset, and the controller has         v
//!             not taken it out of the ISR)                    Ended
//!   any: a Hello of a later handshake begins anew
//! ```

use rustmq_model::{Instant, Offset};

use super::actions::Ignored;
use super::divergence::{self, Resets};
use super::lag::Lag;
use super::limits::ReplicationLimits;
use super::log_view::LogView;
use super::message::{Ack, Answer, Handshake, Hello, Verdict};
use super::window::Window;

#[derive(Debug)]
enum Stage {
    Unheard,
    Paging,
    Withheld,
    /// Each copy of the hello gets the same answer, so it does not matter which one the follower
    /// executes.
    Answered {
        answer: Answer,
        /// The end of the common log, once the follower has executed the answer.
        agreed: Offset,
        /// When the answer is sent again: it or its acknowledgement may have been lost.
        repeat_at: Instant,
    },
    Pushing(Pushing),
    Ended,
}

#[derive(Debug)]
pub(super) struct Pushing {
    pub window: Window,
    /// The follower's synced end, from an acknowledgement of this epoch and handshake.
    acked: Offset,
    pub reading: Reading,
    pub heartbeat_at: Instant,
}

/// The read of the batches to push next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Idle,
    InFlight,
    /// It returned nothing. The pause bounds the cost of a failing disk, or of a follower whose end
    /// lies within a batch.
    Failed {
        again_at: Instant,
    },
}

impl Reading {
    /// Ends the pause after a failed read when its time has come, even if there is nothing to read
    /// by then. Otherwise the leader would stay due and have nothing to do.
    pub(super) fn end_pause(&mut self, now: Instant) {
        if matches!(self, Self::Failed { again_at } if *again_at <= now) {
            *self = Self::Idle;
        }
    }

    const fn due_at(self) -> Option<Instant> {
        match self {
            Self::Failed { again_at } => Some(again_at),
            Self::Idle | Self::InFlight => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Progress {
    stage: Stage,
    /// The newest handshake that the follower has begun.
    handshake: Handshake,
    pub lag: Lag,
    /// A refused join is not proposed again before this.
    pub next_join_at: Option<Instant>,
}

impl Progress {
    /// A leadership begins, with a log that ends at `end`.
    pub(super) fn new(now: Instant, end: Offset) -> Self {
        Self { stage: Stage::Unheard, handshake: Handshake::default(), lag: Lag::new(now, end), next_join_at: None }
    }

    pub(super) const fn handshake(&self) -> Handshake {
        self.handshake
    }

    /// The follower's synced end. `None` while none counts.
    pub(super) const fn acked(&self) -> Option<Offset> {
        match &self.stage {
            Stage::Pushing(pushing) => Some(pushing.acked),
            Stage::Unheard | Stage::Paging | Stage::Withheld | Stage::Answered { .. } | Stage::Ended => None,
        }
    }

    pub(super) const fn pushing(&mut self) -> Option<&mut Pushing> {
        match &mut self.stage {
            Stage::Pushing(pushing) => Some(pushing),
            Stage::Unheard | Stage::Paging | Stage::Withheld | Stage::Answered { .. } | Stage::Ended => None,
        }
    }

    pub(super) const fn is_withheld(&self) -> bool {
        matches!(self.stage, Stage::Withheld)
    }

    /// When work is due without an input.
    pub(super) fn due_at(&self, limits: &ReplicationLimits) -> Option<Instant> {
        match &self.stage {
            Stage::Answered { repeat_at, .. } => Some(*repeat_at),
            Stage::Pushing(pushing) => {
                let due = [Some(pushing.heartbeat_at), pushing.window.resend_at(limits), pushing.reading.due_at()];
                due.into_iter().flatten().min()
            }
            Stage::Unheard | Stage::Paging | Stage::Withheld | Stage::Ended => None,
        }
    }

    /// The answer, if it must be sent again.
    pub(super) fn repeat_answer(&mut self, now: Instant, limits: &ReplicationLimits) -> Option<Answer> {
        let Stage::Answered { answer, repeat_at, .. } = &mut self.stage else { return None };
        if *repeat_at > now {
            return None;
        }
        *repeat_at = now.plus(limits.retry_interval);
        Some(*answer)
    }

    /// Returns the answer, or `None` if it is withheld.
    pub(super) fn on_hello(
        &mut self,
        log: &LogView<'_>,
        hello: &Hello,
        resets: Resets,
        high_watermark: Offset,
        repeat_at: Instant,
    ) -> Result<Option<Answer>, Ignored> {
        let handshake = hello.conversation.handshake;
        if handshake < self.handshake {
            return Err(Ignored::StaleHandshake);
        }
        if handshake > self.handshake {
            (self.handshake, self.stage) = (handshake, Stage::Unheard);
        }
        match &self.stage {
            Stage::Unheard | Stage::Paging | Stage::Withheld => {}
            Stage::Answered { answer, .. } => return Ok(Some(*answer)),
            Stage::Pushing(_) | Stage::Ended => return Err(Ignored::StaleHandshake),
        }
        let verdict = divergence::judge(log, hello);
        let answer = Answer { conversation: hello.conversation, verdict, high_watermark };
        self.stage = match verdict {
            Verdict::OlderPage { .. } => Stage::Paging,
            Verdict::Cut { to } => Stage::Answered { answer, agreed: to, repeat_at },
            Verdict::Reset { .. } if resets == Resets::Withheld => {
                self.stage = Stage::Withheld;
                return Ok(None);
            }
            Verdict::Reset { start } => Stage::Answered { answer, agreed: start, repeat_at },
        };
        Ok(Some(answer))
    }

    pub(super) fn on_ack(&mut self, now: Instant, end: Offset, ack: &Ack) -> Result<(), Ignored> {
        let handshake = ack.conversation.handshake;
        match handshake.cmp(&self.handshake) {
            std::cmp::Ordering::Less => return Err(Ignored::StaleHandshake),
            std::cmp::Ordering::Greater => return Err(Ignored::UnknownHandshake),
            std::cmp::Ordering::Equal => {}
        }
        let acked = ack.durable_end;
        match &mut self.stage {
            Stage::Answered { agreed, .. } if acked <= *agreed => {
                let window = Window::new(now, *agreed);
                self.stage = Stage::Pushing(Pushing { window, acked, reading: Reading::Idle, heartbeat_at: now });
            }
            Stage::Answered { .. } => return Err(Ignored::BeyondPushed),
            Stage::Pushing(pushing) => {
                if acked > pushing.window.furthest() {
                    return Err(Ignored::BeyondPushed);
                }
                if acked < pushing.acked {
                    return Err(Ignored::BelowAcknowledged);
                }
                pushing.acked = acked;
                pushing.window.on_ack(now, acked);
            }
            Stage::Unheard | Stage::Paging | Stage::Withheld | Stage::Ended => return Err(Ignored::WrongState),
        }
        self.lag.on_ack(now, acked, end);
        Ok(())
    }

    /// The leader no longer has the next batches. The follower must say hello again.
    pub(super) fn end(&mut self) {
        self.stage = Stage::Ended;
    }

    pub(super) fn check_invariants(&self, end: Offset, limits: &ReplicationLimits) {
        if let Stage::Pushing(pushing) = &self.stage {
            pushing.window.check_invariants(limits);
            let furthest = pushing.window.furthest();
            assert!(pushing.acked <= furthest && furthest <= end, "a follower has records that its leader lacks");
        }
    }
}
