//! The part of a coordinator that differs from kind to kind: its state, as a machine that the
//! contract drives.

use std::fmt::Debug;

use rustmq_model::{Instant, Offset, ProducerKey, Timestamp, TransactionEnd};

use super::action::{AppendFailure, AppendId, CoordinatorRecord, TaskId};
use super::outbox::Outbox;

/// Names one waiting request. The driver chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyToken(pub u64);

/// The time of one input on two clocks: the monotonic clock for timeouts, the wall clock for
/// records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub instant: Instant,
    pub wall: Timestamp,
}

/// Why a coordinator refuses a request without a look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    #[error("the coordinator is loading")]
    Loading,
    /// Too many requests wait, or the pending appends have too many bytes.
    #[error("the coordinator has as many requests as it takes")]
    Overloaded,
    #[error("the coordinator has resigned")]
    Resigned,
}

/// One record of the log. It borrows from its batch: a machine copies the parts that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedRecord<'a> {
    pub offset: Offset,
    pub key: &'a [u8],
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The producer whose transaction the record belongs to. None is a record outside of
    /// transactions.
    pub producer: Option<ProducerKey>,
}

/// A marker in the log: the end of a producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedMarker {
    pub offset: Offset,
    pub producer: ProducerKey,
    pub end: TransactionEnd,
}

/// A point in the order of appends. Shortening trims the part of the log that earlier appends
/// wrote, so every live record must be written by this append or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewritePoint(pub(super) AppendId);

impl RewritePoint {
    /// After every append: every live record must be rewritten.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const END: Self = Self(AppendId(u64::MAX));

    #[cfg(test)]
    pub(crate) const fn at(append: AppendId) -> Self {
        Self(append)
    }

    /// Whether the append's records lie in the part of the log that stays. Loaded records (None) do
    /// not.
    #[must_use]
    pub fn keeps(self, written_by: Option<AppendId>) -> bool {
        written_by.is_some_and(|append| append >= self.0)
    }
}

/// The answer of [`CoordinatorMachine::live_records`] for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveRecords {
    /// Rewrite these: they were written before the point, and no pending append changes them.
    Records(Vec<CoordinatorRecord>),
    /// Ask again after the next result: a pending append may change the records.
    Pending,
    /// Rewrite nothing: all records of the key were written after the point, or the key is gone.
    Nothing,
}

/// The state of one kind of coordinator.
///
/// It holds committed state. To change the state, a decision calls [`Outbox::append`] with the
/// records and with the change as their effect; the effect comes back when the append has its
/// result. Until then later decisions may take the pending change into account, but no answer shows
/// it.
///
/// The same inputs give the same outputs: no clock, randomness or hash order.
pub trait CoordinatorMachine: Debug + Sized {
    /// A request of a caller, which is answered once.
    type Request: Debug;
    /// The answer.
    type Outcome: Debug;
    /// A fact from outside, such as the deletion of a topic. It has no answer.
    type Event: Debug;
    /// The unit in which the live records are rewritten when the log is shortened.
    type Key: Debug;
    /// The name of a timer.
    type Timer: Debug + Clone + Ord;
    /// The change of the state that a committed append makes.
    type Effect: Debug;
    /// Work outside of the log, which [`Outbox::start_task`] hands to the driver. A machine without
    /// such work has an uninhabited type here.
    type Task: Debug;
    /// The result of a task.
    type TaskResult: Debug;
    type ReplayError: std::error::Error;

    /// Replays one record of the log. Records of kinds that this machine does not keep are skipped.
    ///
    /// # Errors
    /// The record cannot be decoded. It changes nothing.
    fn replay(&mut self, record: ReplayedRecord<'_>) -> Result<(), Self::ReplayError>;

    /// Replays a marker, in its place among the records. A machine that appends no transactional
    /// records has nothing to do.
    fn replay_marker(&mut self, _marker: ReplayedMarker) {}

    /// Called when the log is replayed. Sets timers, and continues work that an earlier coordinator
    /// left unfinished.
    fn activate(&mut self, now: Now, outbox: &mut Outbox<Self>);

    /// The answer to a request that the contract refuses.
    fn refuse(request: &Self::Request, error: CoordinatorError) -> Self::Outcome;

    /// Whether the answer may come later than the request. The limits do not hold for requests that
    /// are always answered at once: a member whose heartbeats were refused would lose its session.
    fn may_wait(request: &Self::Request) -> bool;

    /// Decides about a request. This input or a later one gives exactly one reply to its token.
    fn handle_request(&mut self, now: Now, token: ReplyToken, request: Self::Request, outbox: &mut Outbox<Self>);

    fn on_event(&mut self, now: Now, event: Self::Event, outbox: &mut Outbox<Self>);

    /// A task has ended. Tasks are not in the log: after a load, `activate` starts again those that
    /// the state still needs. A result may never come, because the driver or its peer has lost it;
    /// a machine that cannot go on without it sets a timer. The machine ignores the result of a
    /// task that it has given up.
    fn on_task_done(&mut self, now: Now, task: TaskId, result: Self::TaskResult, outbox: &mut Outbox<Self>);

    /// A timer has fired, and is no longer set. No limit applies to the appends of timers and
    /// events; the state bounds them: while such an append is pending, a machine must not append
    /// the same change again.
    fn on_timer(&mut self, now: Now, timer: Self::Timer, outbox: &mut Outbox<Self>);

    /// The records of this append are committed. Called in the order of the appends.
    fn on_committed(&mut self, now: Now, append: AppendId, effect: Self::Effect, outbox: &mut Outbox<Self>);

    /// The records of an append will never be committed. Called in the same order.
    fn on_failed(&mut self, now: Now, effect: Self::Effect, failure: AppendFailure, outbox: &mut Outbox<Self>);

    /// Every key that has records in the log.
    fn keys(&self) -> Vec<Self::Key>;

    /// The live records of a key that would be lost if the log were trimmed up to this point.
    ///
    /// They are appended before the records of any later decision. A record that a pending append
    /// writes or removes must not be among them: the rewritten, older value would come after it in
    /// the log, and would win in a replay.
    ///
    /// Requests are served meanwhile. Once an append at or after the point has written a record,
    /// that record needs no rewrite, so that shortening ends even for a key that changes all the
    /// time.
    fn live_records(&self, key: &Self::Key, point: RewritePoint) -> LiveRecords;

    /// The first record that a shortening must leave in the log: that of the oldest open
    /// transaction, which cannot be written again, and those of records that
    /// [`Self::live_records`] leaves in their place because an open transaction may overtake them.
    /// None if every live record can be written again.
    fn first_fixed(&self) -> Option<Offset> {
        None
    }

    /// Checks the machine between any two inputs, among others that it can still answer each of the
    /// [`Outbox::waiting_count`] requests.
    ///
    /// # Panics
    /// If the machine contradicts itself or the outbox.
    fn check_invariants(&self, outbox: &Outbox<Self>);
}
