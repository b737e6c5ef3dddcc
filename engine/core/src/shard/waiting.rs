//! The queue of waiting answers and changes: appends wait for frontiers of their partitions; staged
//! changes, and the answers to their requests, wait until their place in the WAL is durable. Those
//! that are due together complete in the order in which they were staged; those that never become
//! due are refused.

use std::collections::VecDeque;

use rustmq_model::Offset;

use super::actions::{Action, Actions};
use super::append_waits::{AppendWaits, AwaitedEnd};
use super::commits::{Commits, StagedEnds};
use super::error::{AppendError, CutError, DeleteError, OpenError, TrimError};
use super::failure::WalFailure;
use super::host::Host;
use super::partitions::{Partition, PartitionKey, Partitions};
use super::placement_change::PlacementChange;
use super::request::Appended;
use super::staging::Staging;
use super::wait_queue::WaitQueue;
use crate::log::{AppendFrontier, Frontiers};
use crate::wal::WalPosition;

/// The order in which requests were staged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(pub(super) u64);

#[derive(Debug)]
pub(super) struct WaitingAppend<H: Host> {
    /// The ends of all batches, in the order of the request.
    pub ends: Vec<AwaitedEnd>,
    pub results: Vec<Result<Appended, AppendError>>,
    pub reply: H::AppendReply,
}

impl<H: Host> WaitingAppend<H> {
    /// Whether a log was cut after a batch of the request was staged there.
    pub(super) fn is_cut(&self, partitions: &Partitions) -> bool {
        self.stored().any(|end| !partitions.is_version(end.key, end.version))
    }

    /// The ends of the batches that were not refused.
    pub(super) fn stored(&self) -> impl Iterator<Item = &AwaitedEnd> {
        self.ends.iter().filter(|end| end.is_stored())
    }

    /// Answers: every batch is passed by its frontier.
    fn complete(self, partitions: &Partitions, actions: &mut Actions<H>) {
        let Self { ends, mut results, reply } = self;
        let mut left = results.iter_mut();
        for end in ends {
            let log_start = partitions.at(end.key).map(Partition::log_start);
            for appended in left.by_ref().take(end.batches).flatten() {
                appended.log_start = log_start.unwrap_or(appended.log_start);
            }
        }
        actions.push(Action::AnswerAppend { reply, results });
    }

    /// Refuses the request as a whole.
    pub(super) fn refuse(self, error: &AppendError, actions: &mut Actions<H>) {
        let Self { mut results, reply, .. } = self;
        refuse_all(&mut results, || error.clone());
        actions.push(Action::AnswerAppend { reply, results });
    }
}

/// The answer to a request whose changes are staged: the changes complete before it.
#[derive(Debug)]
pub(super) enum Answer<H: Host> {
    Open { results: Vec<Result<PartitionKey, OpenError>>, reply: H::OpenReply },
    Trim { log_start: Offset, reply: H::TrimReply },
    Delete { results: Vec<Result<(), DeleteError>>, reply: H::DeleteReply },
    Cut { end: Offset, reply: H::CutReply },
}

#[derive(Debug)]
pub(super) enum Waiting<H: Host> {
    Append(WaitingAppend<H>),
    Change(PlacementChange),
    Answer(Answer<H>),
}

/// A change or an answer that waits for a group.
#[derive(Debug)]
struct Staged<H: Host> {
    /// The position of the group that must be durable.
    at: WalPosition,
    order: Order,
    waiting: Waiting<H>,
}

#[derive(Debug)]
pub(super) struct WaitingAnswers<H: Host> {
    newest: Order,
    appends: AppendWaits<H>,
    /// In the order of their positions in the WAL, which is also the order in which they were
    /// staged.
    staged: VecDeque<Staged<H>>,
}

impl<H: Host> Default for WaitingAnswers<H> {
    fn default() -> Self {
        Self { newest: Order::default(), appends: AppendWaits::default(), staged: VecDeque::new() }
    }
}

impl<H: Host> WaitingAnswers<H> {
    /// The number of batches in appends that wait for frontiers.
    pub(super) const fn batches(&self) -> usize {
        self.appends.batches()
    }

    fn next_order(&mut self) -> Order {
        self.newest.0 += 1;
        self.newest
    }

    /// Adds the append, or returns it if it has nothing to wait for.
    pub(super) fn push_append(&mut self, append: WaitingAppend<H>, partitions: &Partitions) -> Option<Waiting<H>> {
        let order = self.next_order();
        self.appends.add(order, append, partitions).map(Waiting::Append)
    }

    /// Adds a change or an answer, which waits until the group at `at` is durable.
    pub(super) fn push(&mut self, at: WalPosition, waiting: Waiting<H>) {
        assert!(self.staged.back().is_none_or(|last| last.at <= at), "positions rise in the order of staging");
        let order = self.next_order();
        self.staged.push_back(Staged { at, order, waiting });
    }

    /// Whether staged moves are not applied yet: another move would take the same batches again.
    pub(super) fn is_moving(&self) -> bool {
        self.staged.iter().any(|staged| matches!(&staged.waiting, Waiting::Change(change) if change.is_move()))
    }

    /// The frontiers of a partition have moved. The caller calls [`Self::order_reached`] after the
    /// frontiers of all partitions that change together.
    pub(super) fn advance(&mut self, key: PartitionKey, frontiers: &Frontiers) {
        self.appends.advance(key, frontiers);
    }

    pub(super) fn order_reached(&mut self) {
        self.appends.order_reached();
    }

    /// Takes the next one that is due when every group before `durable` is durable.
    pub(super) fn take_due(&mut self, durable: WalPosition) -> Option<Waiting<H>> {
        let due = self.staged.front().filter(|staged| staged.at < durable).map(|staged| staged.order);
        match self.appends.first_reached() {
            Some(append) if due.is_none_or(|due| append < due) => self.appends.take_reached().map(Waiting::Append),
            _ => due.and_then(|_| self.staged.pop_front()).map(|staged| staged.waiting),
        }
    }

    /// A log is cut to `end`, or dropped: takes the appends that lose a batch.
    pub(super) fn take_above(&mut self, key: PartitionKey, end: Option<Offset>) -> Vec<WaitingAppend<H>> {
        self.appends.cut(key, end)
    }

    /// The append waits for each frontier of each partition.
    pub(super) fn append_queues(&self) -> impl Iterator<Item = (PartitionKey, AppendFrontier, &WaitQueue)> {
        self.appends.queues()
    }

    /// The changes that are not durable, in the order in which they were staged.
    pub(super) fn changes(&self) -> impl Iterator<Item = &PlacementChange> {
        self.staged.iter().filter_map(|staged| match &staged.waiting {
            Waiting::Change(change) => Some(change),
            Waiting::Append(_) | Waiting::Answer(_) => None,
        })
    }

    /// The positions of the first and the last group that a change or an answer waits for.
    pub(super) fn staged_range(&self) -> Option<(WalPosition, WalPosition)> {
        Some((self.staged.front()?.at, self.staged.back()?.at))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.appends.is_empty()
    }

    /// Panics if the waits are inconsistent. [`Self::take_due`] takes staged ones from the front,
    /// and [`Self::take_lost`] from a position on: both need the order.
    pub(super) fn check_invariants(&self) {
        self.appends.check_invariants();
        assert!(
            self.staged.iter().is_sorted_by(|one, next| one.at <= next.at && one.order < next.order),
            "positions rise in the order of staging"
        );
        assert!(self.staged.back().is_none_or(|last| last.order <= self.newest), "each wait has a number of its own");
        let appends = self.staged.iter().filter(|staged| matches!(staged.waiting, Waiting::Append(_))).count();
        assert_eq!(appends, 0, "appends wait for frontiers, and not for a group");
    }

    /// The log has failed: takes those that wait for a group at or after `end`, or for batches
    /// beyond the ends in `durable`.
    pub(super) fn take_lost(&mut self, end: WalPosition, durable: &StagedEnds) -> Vec<Waiting<H>> {
        let first = self.staged.partition_point(|staged| staged.at < end);
        let staged = self.staged.drain(first..).map(|staged| (staged.order, staged.waiting));
        let appends = self.appends.cut_back(durable).into_iter();
        let mut lost: Vec<_> = staged.chain(appends.map(|(order, append)| (order, Waiting::Append(append)))).collect();
        lost.sort_unstable_by_key(|(order, _)| *order);
        lost.into_iter().map(|(_, waiting)| waiting).collect()
    }
}

impl<H: Host> Waiting<H> {
    /// Completes the wait. The caller has dropped stale changes. Returns whether a segment may have
    /// become free.
    pub(super) fn complete(
        self,
        partitions: &mut Partitions,
        staging: &mut Staging<H::Memory>,
        commits: &Commits,
        actions: &mut Actions<H>,
    ) -> bool {
        match self {
            Self::Append(append) => append.complete(partitions, actions),
            Self::Change(change) => return change.apply(partitions, staging, commits, actions),
            Self::Answer(answer) => answer.send(partitions, staging, actions),
        }
        false
    }

    /// The log has failed: refuses the request.
    pub(super) fn refuse(self, failure: &WalFailure, partitions: &mut Partitions, actions: &mut Actions<H>) {
        match self {
            Self::Append(append) => append.refuse(&AppendError::Storage(failure.clone()), actions),
            Self::Change(change) => change.refuse(partitions, actions),
            Self::Answer(answer) => answer.refuse(failure, actions),
        }
    }
}

impl<H: Host> Answer<H> {
    fn send(self, partitions: &Partitions, staging: &Staging<H::Memory>, actions: &mut Actions<H>) {
        match self {
            Self::Open { mut results, reply } => {
                for result in &mut results {
                    if result.as_ref().is_ok_and(|key| !partitions.is_in_use(*key)) {
                        // The log has failed in the meantime: a later request to delete the
                        // partition was refused, which ended its readers.
                        let failure = staging.poisoned().expect("only a failed log closes what it has opened");
                        *result = Err(OpenError::Storage(failure.clone()));
                    }
                }
                actions.push(Action::AnswerOpen { reply, results });
            }
            Self::Trim { log_start, reply } => actions.push(Action::AnswerTrim { reply, result: Ok(log_start) }),
            Self::Delete { results, reply } => actions.push(Action::AnswerDelete { reply, results }),
            Self::Cut { end, reply } => actions.push(Action::AnswerCut { reply, result: Ok(end) }),
        }
    }

    fn refuse(self, failure: &WalFailure, actions: &mut Actions<H>) {
        let failure = || failure.clone();
        match self {
            Self::Open { mut results, reply } => {
                refuse_all(&mut results, || OpenError::Storage(failure()));
                actions.push(Action::AnswerOpen { reply, results });
            }
            Self::Trim { reply, .. } => {
                actions.push(Action::AnswerTrim { reply, result: Err(TrimError::Storage(failure())) });
            }
            Self::Delete { mut results, reply } => {
                refuse_all(&mut results, || DeleteError::Storage(failure()));
                actions.push(Action::AnswerDelete { reply, results });
            }
            Self::Cut { reply, .. } => {
                actions.push(Action::AnswerCut { reply, result: Err(CutError::Storage(failure())) });
            }
        }
    }
}

fn refuse_all<T, E>(results: &mut [Result<T, E>], error: impl Fn() -> E) {
    results.iter_mut().filter(|result| result.is_ok()).for_each(|result| *result = Err(error()));
}
