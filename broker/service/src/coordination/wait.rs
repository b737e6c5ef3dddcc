//! The answer that a caller of a coordinator waits for, and the other end of it that the
//! coordinator keeps.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustmq_broker_core::groups::request::{Joined, LeftMember, PartitionOutcomes, Synced};
use rustmq_broker_core::groups::{GroupError, ReplyOutcome};
use tokio::sync::oneshot;

type Answer<T> = Result<T, GroupError>;

/// The pending answer to a group request, which has taken effect already. Dropping it changes
/// nothing.
#[derive(Debug)]
#[must_use = "the answer says whether the request was granted"]
pub struct GroupWait<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    /// Taken when it is given.
    Refused(Option<GroupError>),
    Waiting(oneshot::Receiver<Answer<T>>),
}

impl<T> GroupWait<T> {
    pub(super) const fn new(answer: oneshot::Receiver<Answer<T>>) -> Self {
        Self(State::Waiting(answer))
    }

    pub(crate) const fn refused(error: GroupError) -> Self {
        Self(State::Refused(Some(error)))
    }
}

impl<T> Future for GroupWait<T> {
    type Output = Result<T, GroupError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(GroupError::NotCoordinator))),
            // A coordinator that ended without an answer is no longer the group's.
            State::Waiting(answer) => {
                Pin::new(answer).poll(context).map(|answer| answer.unwrap_or(Err(GroupError::NotCoordinator)))
            }
        }
    }
}

/// Who waits for one token.
#[derive(Debug)]
pub(super) enum Caller {
    Join(oneshot::Sender<Answer<Joined>>),
    Sync(oneshot::Sender<Answer<Synced>>),
    Heartbeat(oneshot::Sender<Answer<()>>),
    Leave(oneshot::Sender<Answer<Vec<LeftMember>>>),
    OffsetCommit(oneshot::Sender<Answer<PartitionOutcomes>>),
    OffsetDelete(oneshot::Sender<Answer<PartitionOutcomes>>),
    DeleteGroup(oneshot::Sender<Answer<()>>),
}

impl Caller {
    /// Hands the answer over; a caller that has gone does not get it.
    pub(super) fn answer(self, outcome: ReplyOutcome) {
        let is_gone = match (self, outcome) {
            (Self::Join(caller), ReplyOutcome::Join(answer)) => caller.send(answer).is_err(),
            (Self::Sync(caller), ReplyOutcome::Sync(answer)) => caller.send(answer).is_err(),
            (Self::Heartbeat(caller), ReplyOutcome::Heartbeat(answer))
            | (Self::DeleteGroup(caller), ReplyOutcome::DeleteGroup(answer)) => caller.send(answer).is_err(),
            (Self::Leave(caller), ReplyOutcome::Leave(answer)) => caller.send(answer).is_err(),
            (Self::OffsetCommit(caller), ReplyOutcome::OffsetCommit(answer))
            | (Self::OffsetDelete(caller), ReplyOutcome::OffsetDelete(answer)) => caller.send(answer).is_err(),
            (caller, outcome) => panic!("{caller:?} was answered with {outcome:?}: a token names one request"),
        };
        if is_gone {
            tracing::trace!("a group request was answered after its connection had gone");
        }
    }
}
