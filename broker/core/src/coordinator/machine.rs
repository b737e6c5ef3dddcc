//! What one kind of coordinator brings along: its state, as a machine that the contract drives.

use std::fmt::Debug;

use rustmq_model::{Instant, Offset, Timestamp};

use super::action::{AppendFailure, AppendId, CoordinatorRecord};
use super::outbox::Outbox;

/// Names one waiting request. The driver chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyToken(pub u64);

/// The time of one input, on both clocks: timeouts run on the monotonic one, records carry the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub instant: Instant,
    pub wall: Timestamp,
}

/// Why a coordinator does not look at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the coordinator is loading")]
    Loading,
    /// Too many requests wait, or too many bytes are on their way to the log.
    #[error("the coordinator has as many requests as it takes")]
    Overloaded,
    #[error("the coordinator has resigned")]
    Resigned,
}

/// One record of the log. It borrows from its batch: a machine copies what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedRecord<'a> {
    pub offset: Offset,
    pub key: &'a [u8],
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// The moment from which on a log is to hold everything that is live: appends before it lie in the
/// part of the log that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewritePoint(pub(super) AppendId);

impl RewritePoint {
    /// After every append: nothing of the log stays.
    pub(crate) const END: Self = Self(AppendId(u64::MAX));

    #[cfg(test)]
    pub(crate) const fn at(append: AppendId) -> Self {
        Self(append)
    }

    /// Whether the records of this append stay in the log. Loaded records (None) do not.
    #[must_use]
    pub fn keeps(self, written_by: Option<AppendId>) -> bool {
        written_by.is_some_and(|append| append >= self.0)
    }
}

/// The records of a key that have to be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveRecords {
    /// These: they were written before the point, and nothing that changes them is pending.
    Records(Vec<CoordinatorRecord>),
    /// A pending append decides: the question is asked again when a result has come.
    Pending,
    /// Nothing: the log holds all of it from the point on, or the key is gone.
    Nothing,
}

/// The state of one kind of coordinator.
///
/// It holds what is committed. A decision that changes it goes into [`Outbox::append`], with the
/// change as its effect, which comes back when the records are committed or are not. Meanwhile the
/// decision may be taken into account by others, but nobody is shown it.
///
/// The same inputs give the same outputs: no clock, randomness or hash order.
pub trait CoordinatorMachine: Debug + Sized {
    /// A question of a caller, answered once.
    type Request: Debug;
    /// The answer.
    type Outcome: Debug;
    /// A fact from outside that nobody waits for, such as the deletion of a topic.
    type Event: Debug;
    /// The unit in which the state is written again when the log is shortened.
    type Key: Debug;
    /// The name of a timer.
    type Timer: Debug + Clone + Ord;
    /// What an append changes when it is committed.
    type Effect: Debug;
    type ReplayError: std::error::Error;

    /// Takes in one record of the log. Records of kinds that are not kept here are passed over.
    ///
    /// # Errors
    /// A record that cannot be read is an error and changes nothing.
    fn replay(&mut self, record: ReplayedRecord<'_>) -> Result<(), Self::ReplayError>;

    /// All of the log is replayed. Sets timers, and goes on with a predecessor's unfinished work.
    fn activate(&mut self, now: Now, outbox: &mut Outbox<Self>);

    /// The answer to a request that no machine looks at.
    fn refuse(request: &Self::Request, refusal: Refusal) -> Self::Outcome;

    /// Whether the answer may have to be waited for. Requests that never wait are let in however
    /// many others do: a member whose heartbeats were refused would be taken for dead.
    fn may_wait(request: &Self::Request) -> bool;

    /// Decides about a request: exactly one reply is given to its token, now or by a later input.
    fn handle_request(&mut self, now: Now, token: ReplyToken, request: Self::Request, outbox: &mut Outbox<Self>);

    fn on_event(&mut self, now: Now, event: Self::Event, outbox: &mut Outbox<Self>);

    /// A timer has fired, and is not set any more. No limit holds back the appends of timers and
    /// events. The state bounds them: while such an append is pending, a machine does not append
    /// the same change a second time.
    fn on_timer(&mut self, now: Now, timer: Self::Timer, outbox: &mut Outbox<Self>);

    /// The records of this append are committed. Called in the order of the appends.
    fn on_committed(&mut self, now: Now, append: AppendId, effect: Self::Effect, outbox: &mut Outbox<Self>);

    /// The records are not committed, and will not be. In the same order.
    fn on_failed(&mut self, now: Now, effect: Self::Effect, failure: AppendFailure, outbox: &mut Outbox<Self>);

    /// Every key that has records in the log.
    fn keys(&self) -> Vec<Self::Key>;

    /// The records of a key that a log shortened to this point would lack.
    ///
    /// They are appended before anything that is decided later. A record that a pending append
    /// writes or removes must not be among them: written after it, the older value would win when
    /// the log is replayed.
    ///
    /// Requests go on meanwhile. The first append at or after the point that is committed for a
    /// record settles that record for good, so that a key that never rests is done as well.
    fn live_records(&self, key: &Self::Key, point: RewritePoint) -> LiveRecords;

    /// # Panics
    /// If the machine contradicts itself or what it has put into the outbox.
    fn check_invariants(&self, outbox: &Outbox<Self>);
}
