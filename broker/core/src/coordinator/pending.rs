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

    /// Appends of live records without an effect yet.
    pub(super) fn rewrite_count(&self) -> usize {
        self.appends.iter().filter(|append| matches!(append.purpose, Purpose::Rewrite)).count()
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

    /// The byte count is the sum over the pending appends. With a count that is too high, the
    /// coordinator would refuse requests as overloaded although its log keeps up; with one that is
    /// too low, the queue would outgrow its bound.
    pub(super) fn check_bytes(&self) {
        let sum = self.appends.iter().map(|append| append.bytes).sum::<usize>();
        assert_eq!(self.bytes, sum, "the bytes of pending appends are counted");
    }

    /// The oldest pending append has no result: the step that brings its result also applies it.
    /// Only a younger append may hold a result that waits for its turn.
    pub(super) fn check_oldest_has_no_result(&self) {
        let has_result = self.appends.front().is_some_and(|append| append.result.is_some());
        assert!(!has_result, "the result of the oldest append takes effect at once");
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::{Committed, PendingAppends, Purpose};

    fn two_appends() -> PendingAppends<()> {
        let mut pending = PendingAppends::new();
        pending.begin(Purpose::Decision(()), 3);
        pending.begin(Purpose::Rewrite, 4);
        pending
    }

    #[test]
    #[should_panic(expected = "the bytes of pending appends are counted")]
    fn a_wrong_sum_of_bytes_is_found() {
        let mut pending = two_appends();
        pending.check_bytes();
        pending.bytes += 1;
        pending.check_bytes();
    }

    #[test]
    #[should_panic(expected = "the result of the oldest append takes effect at once")]
    fn a_result_that_is_not_applied_is_found() {
        let mut pending = two_appends();
        let committed = Committed { next_offset: Offset(1), bytes: 1 };
        let [oldest, younger] = [0, 1].map(|distance| super::AppendId(pending.oldest().0 + distance));
        pending.complete(younger, Ok(committed));
        pending.check_oldest_has_no_result();
        pending.complete(oldest, Ok(committed));
        pending.check_oldest_has_no_result();
    }
}
