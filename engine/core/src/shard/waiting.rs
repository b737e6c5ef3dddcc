//! Answers that wait for a commit: what changes and who is told when it is durable, and who is refused when it failed.

use std::collections::VecDeque;

use rustmq_model::Offset;

use super::actions::{Action, Actions};
use super::commits::CommitNumber;
use super::error::{AppendError, DeleteError, OpenError, TrimError};
use super::host::Host;
use super::partitions::{Leadership, PartitionKey, Partitions};
use super::request::Appended;
use super::staging::Staging;

/// A partition that is open, and the leadership that the commit makes durable. A later one may have been staged by then.
#[derive(Debug)]
pub(super) struct Opened {
    pub key: PartitionKey,
    pub leadership: Leadership,
}

#[derive(Debug)]
pub(super) enum Waiting<H: Host> {
    Append {
        /// Of each batch that was staged, or would be a duplicate; of others anything.
        keys: Vec<PartitionKey>,
        results: Vec<Result<Appended, AppendError>>,
        reply: H::AppendReply,
    },
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

/// In the order in which they were staged, which is that of their commits.
#[derive(Debug)]
pub(super) struct WaitingAnswers<H: Host>(VecDeque<(CommitNumber, Waiting<H>)>);

impl<H: Host> Default for WaitingAnswers<H> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<H: Host> WaitingAnswers<H> {
    pub(super) fn push(&mut self, commit: CommitNumber, waiting: Waiting<H>) {
        assert!(self.0.back().is_none_or(|(last, _)| *last <= commit), "what is staged later is durable later");
        self.0.push_back((commit, waiting));
    }

    /// The next one that waits for a commit up to this.
    pub(super) fn take_through(&mut self, commit: CommitNumber) -> Option<Waiting<H>> {
        self.0.pop_front_if(|(waits_for, _)| *waits_for <= commit).map(|(_, waiting)| waiting)
    }

    /// The next one that waits for a later commit.
    pub(super) fn take_after(&mut self, commit: CommitNumber) -> Option<Waiting<H>> {
        let first = self.0.partition_point(|(waits_for, _)| *waits_for <= commit);
        self.0.remove(first).map(|(_, waiting)| waiting)
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
            Self::Append { keys, mut results, reply } => {
                for (key, result) in keys.iter().zip(&mut results) {
                    if let (Ok(appended), Some(partition)) = (result, partitions.at(*key)) {
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
                    partition.on_trim_durable(log_start, size.saturating_sub(staging.staged_bytes(key)));
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

    /// The commit failed: nothing in it is acknowledged.
    pub(super) fn refuse(self, reason: &str, partitions: &mut Partitions, actions: &mut Actions<H>) {
        let reason = || reason.to_owned();
        match self {
            Self::Append { mut results, reply, .. } => {
                refuse_all(&mut results, || AppendError::Storage { reason: reason() });
                actions.push(Action::AnswerAppend { reply, results });
            }
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
