//! The commits that the disk's driver executes: at most two, each in a lane of its own, which end
//! in any order.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustmq_engine_core::shard::CommitNumber;

use crate::disk::{Disk, DiskError, DiskWork, Lane};

type CommitResult = Result<(), DiskError>;

struct Execution {
    number: CommitNumber,
    future: Pin<Box<dyn Future<Output = CommitResult>>>,
    /// Set when the commit has ended but is not reported yet.
    result: Option<CommitResult>,
}

pub(crate) struct Executions {
    disk: Rc<Disk>,
    lanes: [Option<Execution>; Lane::ALL.len()],
}

impl Executions {
    pub(crate) const fn new(disk: Rc<Disk>) -> Self {
        Self { disk, lanes: [None, None] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(Option::is_none)
    }

    /// Starts a commit. It progresses only while this is polled.
    pub(crate) fn begin(&mut self, work: DiskWork) {
        let free = Lane::ALL.into_iter().find(|lane| self.lanes[*lane as usize].is_none());
        let lane = free.expect("no more commits are in flight than there are lanes");
        let (number, disk) = (work.number, Rc::clone(&self.disk));
        let future = Box::pin(async move { disk.execute(lane, work).await });
        self.lanes[lane as usize] = Some(Execution { number, future, result: None });
    }

    /// Waits for the end of a commit. Reports each commit once.
    pub(crate) async fn ended(&mut self) -> (CommitNumber, CommitResult) {
        poll_fn(|context| self.poll_ended(context)).await
    }

    /// Lets the commits progress, and returns one that has ended by now.
    pub(crate) async fn ended_now(&mut self) -> Option<(CommitNumber, CommitResult)> {
        poll_fn(|context| {
            Poll::Ready(match self.poll_ended(context) {
                Poll::Ready(ended) => Some(ended),
                Poll::Pending => None,
            })
        })
        .await
    }

    /// Reports failures first: a failure also fails the commits that are not reported yet.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<(CommitNumber, CommitResult)> {
        for execution in self.lanes.iter_mut().flatten().filter(|execution| execution.result.is_none()) {
            if let Poll::Ready(result) = execution.future.as_mut().poll(context) {
                execution.result = Some(result);
            }
        }
        let has = |at: &usize, is_it: fn(&CommitResult) -> bool| {
            self.lanes[*at].as_ref().and_then(|execution| execution.result.as_ref()).is_some_and(is_it)
        };
        let mut lanes = 0..self.lanes.len();
        let failed = lanes.clone().find(|at| has(at, Result::is_err));
        let ended = failed.or_else(|| lanes.find(|at| has(at, Result::is_ok)));
        match ended.and_then(|at| self.lanes[at].take()) {
            Some(Execution { number, result: Some(result), .. }) => Poll::Ready((number, result)),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::ready;
    use std::task::{Context, Poll, Waker};

    use super::{Execution, Executions};
    use crate::disk::{Disk, DiskError};

    /// Two commits that have ended by the first poll.
    fn ended(results: [Result<(), DiskError>; 2]) -> Executions {
        let mut executions = Executions::new(Disk::over_uring(std::time::Duration::ZERO, None).into());
        for (at, result) in results.into_iter().enumerate() {
            let (number, future) = (at as u64 + 1, Box::pin(ready(result)));
            executions.lanes[at] = Some(Execution { number, future, result: None });
        }
        executions
    }

    #[test]
    fn each_end_is_reported_once_and_a_failure_before_a_success() {
        let check = |results: [Result<(), DiskError>; 2], expected: [(u64, bool); 2]| {
            let mut executions = ended(results);
            let mut next = || match executions.poll_ended(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready((number, result)) => Some((number, result.is_ok())),
                Poll::Pending => None,
            };
            assert_eq!([next(), next(), next()], [Some(expected[0]), Some(expected[1]), None]);
            assert!(executions.is_empty());
        };
        let failed = || Err(DiskError::Ended);
        check([Ok(()), Ok(())], [(1, true), (2, true)]);
        check([Ok(()), failed()], [(2, false), (1, true)]);
        check([failed(), Ok(())], [(1, false), (2, true)]);
    }
}
