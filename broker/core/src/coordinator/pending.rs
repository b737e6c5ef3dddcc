//! The appends that have not taken effect. Results come in any order, and take effect in the order
//! of the appends.

use std::collections::VecDeque;

use super::action::{AppendFailure, AppendId, Committed};

type AppendResult = Result<Committed, AppendFailure>;

/// The purpose of an append.
#[derive(Debug)]
pub(super) enum Purpose<E> {
    /// A decision of the machine, with its effect.
    Decision(E),
    /// Live records that are rewritten before the log is trimmed.
    Rewrite,
}

#[derive(Debug)]
struct PendingAppend<E> {
    purpose: Purpose<E>,
    bytes: usize,
    result: Option<AppendResult>,
}

/// Ids have no gaps, so that the distance of an id from the oldest one is its place in the queue.
#[derive(Debug)]
pub(super) struct PendingAppends<E> {
    appends: VecDeque<PendingAppend<E>>,
    next: AppendId,
    bytes: usize,
}

impl<E> PendingAppends<E> {
    pub(super) const fn new() -> Self {
        Self { appends: VecDeque::new(), next: AppendId(0), bytes: 0 }
    }

    pub(super) fn begin(&mut self, purpose: Purpose<E>, bytes: usize) -> AppendId {
        let id = self.next;
        self.next = AppendId(id.0 + 1);
        self.bytes += bytes;
        self.appends.push_back(PendingAppend { purpose, bytes, result: None });
        id
    }

    /// The oldest pending append; if none is pending, the next append that will be made.
    pub(super) fn oldest(&self) -> AppendId {
        AppendId(self.next.0 - self.appends.len() as u64)
    }

    /// # Panics
    /// If the append has a result already, or no pending append has this id.
    pub(super) fn complete(&mut self, id: AppendId, result: AppendResult) {
        let index = id.0.checked_sub(self.oldest().0).and_then(|index| usize::try_from(index).ok());
        let append = index.and_then(|index| self.appends.get_mut(index)).expect("a result names a pending append");
        assert!(append.result.is_none(), "an append has one result");
        append.result = Some(result);
    }

    /// Takes out the oldest append, if its result is known.
    pub(super) fn pop_completed(&mut self) -> Option<(AppendId, Purpose<E>, AppendResult)> {
        let id = self.oldest();
        let append = self.appends.pop_front_if(|append| append.result.is_some())?;
        self.bytes -= append.bytes;
        append.result.map(|result| (id, append.purpose, result))
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    pub(super) fn effects(&self) -> impl Iterator<Item = &E> {
        self.appends.iter().filter_map(|append| match &append.purpose {
            Purpose::Decision(effect) => Some(effect),
            Purpose::Rewrite => None,
        })
    }

    /// Forgets all appends. Later ids continue the sequence.
    pub(super) fn clear(&mut self) {
        (self.appends, self.bytes) = (VecDeque::new(), 0);
    }
}
