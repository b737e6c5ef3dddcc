//! Answers that wait: appends for frontiers of their partitions, all others for a commit. What changes and who is told when it has come to that, and
//! who is refused when it never will. Those that are due together are told in the order in which they were staged.

use std::collections::VecDeque;

use rustmq_model::Offset;

use super::actions::{Action, Actions};
use super::append_waits::{AppendWaits, AwaitedEnd};
use super::commits::{CommitNumber, StagedEnds};
use super::error::{AppendError, DeleteError, OpenError, TrimError};
use super::host::Host;
use super::partitions::{Cut, Leadership, PartitionKey, Partitions};
use super::request::Appended;
use super::staging::Staging;
use crate::log::Frontiers;

/// The order in which requests were staged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order(pub(super) u64);

/// A partition that is open, and the leadership that the commit makes durable. A later one may have been staged by then.
#[derive(Debug)]
pub(super) struct Opened {
    pub key: PartitionKey,
    pub leadership: Leadership,
}

#[derive(Debug)]
pub(super) struct WaitingAppend<H: Host> {
    /// Of each batch that was staged, or would be a duplicate; of others anything.
    pub ends: Vec<AwaitedEnd>,
    pub results: Vec<Result<Appended, AppendError>>,
    pub reply: H::AppendReply,
}

impl<H: Host> WaitingAppend<H> {
    /// Whether a log was cut back since a batch of it was staged there.
    pub(super) fn is_cut(&self, partitions: &Partitions) -> bool {
        self.stored().any(|end| !partitions.is_version(end.key, end.version))
    }

    /// Those that are not refused already.
    pub(super) fn stored(&self) -> impl Iterator<Item = &AwaitedEnd> {
        self.ends.iter().zip(&self.results).filter(|(_, result)| result.is_ok()).map(|(end, _)| end)
    }

    /// As a whole.
    pub(super) fn refuse(self, error: &AppendError, actions: &mut Actions<H>) {
        let Self { mut results, reply, .. } = self;
        refuse_all(&mut results, || error.clone());
        actions.push(Action::AnswerAppend { reply, results });
    }
}

#[derive(Debug)]
pub(super) enum Waiting<H: Host> {
    Append(WaitingAppend<H>),
    Open {
        results: Vec<Result<Opened, OpenError>>,
        reply: H::OpenReply,
    },
    Trim {
        key: PartitionKey,
        log_start: Offset,
        /// Retention asks for itself.
        reply: Option<H::TrimReply>,
    },
    Delete {
        closed: Vec<PartitionKey>,
        results: Vec<Result<(), DeleteError>>,
        reply: H::DeleteReply,
    },
}

#[derive(Debug)]
pub(super) struct WaitingAnswers<H: Host> {
    newest: Order,
    appends: AppendWaits<H>,
    /// In the order in which they were staged, which is that of their commits.
    others: VecDeque<(CommitNumber, Order, Waiting<H>)>,
}

impl<H: Host> Default for WaitingAnswers<H> {
    fn default() -> Self {
        Self { newest: Order::default(), appends: AppendWaits::default(), others: VecDeque::new() }
    }
}

impl<H: Host> WaitingAnswers<H> {
    /// Batches of appends that wait for frontiers.
    pub(super) const fn batches(&self) -> usize {
        self.appends.batches()
    }

    fn next_order(&mut self) -> Order {
        self.newest.0 += 1;
        self.newest
    }

    /// Answers it if all that it waits for has come already.
    pub(super) fn push_append(&mut self, append: WaitingAppend<H>, partitions: &Partitions) -> Option<Waiting<H>> {
        let order = self.next_order();
        self.appends.add(order, append, partitions).map(Waiting::Append)
    }

    /// One that is not an append.
    pub(super) fn push(&mut self, commit: CommitNumber, waiting: Waiting<H>) {
        assert!(self.others.back().is_none_or(|(last, ..)| *last <= commit), "what is staged later is durable later");
        let order = self.next_order();
        self.others.push_back((commit, order, waiting));
    }

    /// The frontiers of a partition have moved; once those of all have that do so together, [`Self::order_reached`] follows.
    pub(super) fn advance(&mut self, key: PartitionKey, frontiers: &Frontiers) {
        self.appends.advance(key, frontiers);
    }

    pub(super) fn order_reached(&mut self) {
        self.appends.order_reached();
    }

    /// The next one that waits for nothing any more, all commits up to this one being durable.
    pub(super) fn take_due(&mut self, commit: CommitNumber) -> Option<Waiting<H>> {
        let other = self.others.front().filter(|(waits_for, ..)| *waits_for <= commit).map(|(_, order, _)| *order);
        match self.appends.first_reached() {
            Some(append) if other.is_none_or(|other| append < other) => {
                self.appends.take_reached().map(Waiting::Append)
            }
            _ => other.and_then(|_| self.others.pop_front()).map(|(.., waiting)| waiting),
        }
    }

    /// A log was cut back: those with a batch that it took. What opens wait to show of their partition is cut back with it.
    pub(super) fn on_cut(&mut self, cut: &Cut) -> Vec<WaitingAppend<H>> {
        for (.., waiting) in &mut self.others {
            if let Waiting::Open { results, .. } = waiting {
                let opened = results.iter_mut().flatten().filter(|opened| opened.key == cut.key);
                opened.for_each(|opened| opened.leadership.cut(cut.end));
            }
        }
        self.appends.cut(cut.key, Some(cut.end))
    }

    /// A partition is gone: those that wait for it still.
    pub(super) fn take_closed(&mut self, key: PartitionKey) -> Vec<WaitingAppend<H>> {
        self.appends.cut(key, None)
    }

    /// The log has failed: those that wait for a commit after this one, or for a batch that ends elsewhere than `durable` says.
    pub(super) fn take_lost(&mut self, commit: CommitNumber, durable: &StagedEnds) -> Vec<Waiting<H>> {
        let first = self.others.partition_point(|(waits_for, ..)| *waits_for <= commit);
        let others = self.others.drain(first..).map(|(_, order, waiting)| (order, waiting));
        let appends = self.appends.cut_back(durable).into_iter();
        let mut lost: Vec<_> = others.chain(appends.map(|(order, append)| (order, Waiting::Append(append)))).collect();
        lost.sort_unstable_by_key(|(order, _)| *order);
        lost.into_iter().map(|(_, waiting)| waiting).collect()
    }
}

impl<H: Host> Waiting<H> {
    /// What it waited for is durable. Answers whether that may let a segment be freed.
    pub(super) fn complete(
        self,
        partitions: &mut Partitions,
        staging: &Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) -> bool {
        match self {
            Self::Append(WaitingAppend { ends, mut results, reply }) => {
                for (end, result) in ends.iter().zip(&mut results) {
                    if let (Ok(appended), Some(partition)) = (result, partitions.at(end.key)) {
                        appended.log_start = partition.log_start();
                    }
                }
                actions.push(Action::AnswerAppend { reply, results });
                false
            }
            Self::Open { results, reply } => {
                let show = |result: Result<Opened, OpenError>| show(result?, partitions, staging, actions);
                let results = results.into_iter().map(show).collect();
                actions.push(Action::AnswerOpen { reply, results });
                false
            }
            Self::Trim { key, log_start, reply } => {
                if let Some(partition) = partitions.at_mut(key) {
                    // What is staged is counted when it is published.
                    let size = staging.table().bytes_from(partition.id, log_start);
                    let staged = staging.staged_bytes(partition);
                    partition.on_trim_durable(log_start, size.saturating_sub(staged));
                    let (frontiers, size_bytes) = (partition.frontiers(), partition.size_bytes());
                    actions.push(Action::PublishLogStart { key, frontiers, size_bytes });
                }
                if let Some(reply) = reply {
                    actions.push(Action::AnswerTrim { reply, result: Ok(log_start) });
                }
                true
            }
            Self::Delete { closed, results, reply } => {
                close(closed, partitions, actions);
                actions.push(Action::AnswerDelete { reply, results });
                true
            }
        }
    }

    /// The log has failed: nothing of it is acknowledged.
    pub(super) fn refuse(self, reason: &str, partitions: &mut Partitions, actions: &mut Actions<H>) {
        let reason = || reason.to_owned();
        match self {
            Self::Append(append) => append.refuse(&AppendError::Storage { reason: reason() }, actions),
            Self::Open { results, reply } => {
                let refused = |result: Result<Opened, OpenError>| {
                    result.and_then(|_| Err(OpenError::Storage { reason: reason() }))
                };
                actions.push(Action::AnswerOpen { reply, results: results.into_iter().map(refused).collect() });
            }
            Self::Trim { reply: Some(reply), .. } => {
                actions.push(Action::AnswerTrim { reply, result: Err(TrimError::Storage { reason: reason() }) });
            }
            Self::Trim { reply: None, .. } => {}
            Self::Delete { closed, mut results, reply } => {
                // The shard has let go of them: nobody else would end their readers.
                close(closed, partitions, actions);
                refuse_all(&mut results, || DeleteError::Storage { reason: reason() });
                actions.push(Action::AnswerDelete { reply, results });
            }
        }
    }
}

/// The partition may be found, under the leadership that is durable.
fn show<H: Host>(
    Opened { key, leadership }: Opened,
    partitions: &Partitions,
    staging: &Staging<H::Memory>,
    actions: &mut Actions<H>,
) -> Result<PartitionKey, OpenError> {
    if !partitions.is_in_use(key) {
        // The log has failed meanwhile: a later request to delete it was refused, which ended its readers.
        return Err(OpenError::Storage { reason: staging.poisoned().unwrap_or_default().to_owned() });
    }
    // Not one whose close is staged: it is not to be found again.
    if partitions.at(key).is_some() {
        actions.push(Action::PublishLeadership { key, leadership });
        actions.push(Action::List { key });
    }
    Ok(key)
}

fn refuse_all<T, E>(results: &mut [Result<T, E>], error: impl Fn() -> E) {
    results.iter_mut().filter(|result| result.is_ok()).for_each(|result| *result = Err(error()));
}

fn close<H: Host>(closed: Vec<PartitionKey>, partitions: &mut Partitions, actions: &mut Actions<H>) {
    for key in closed {
        actions.push(Action::CloseView { key });
        partitions.forget(key);
    }
}
