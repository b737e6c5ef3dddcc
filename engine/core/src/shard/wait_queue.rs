//! The waits of one partition for one frontier, ordered by their ends. Passed waits leave at the
//! front, lost ones at the back.
//!
//! New batches have rising ends, so a queue holds their waits. A repeated batch waits for the end
//! of its original, which may be any lower one: inserting it into the queue would move others, once
//! for each repetition that a client sends. A tree holds such waits.

use std::collections::{BTreeSet, VecDeque};

use rustmq_model::Offset;

use super::spare_memory::{CAPACITY_MIN, SpareMemory};

/// The most waits that an empty queue keeps memory for: each partition has two queues.
const SPARE_MAX: usize = 256;
const _: () = assert!(CAPACITY_MIN <= SPARE_MAX, "an empty queue keeps CAPACITY_MIN in any case");

/// Names a request as long as it waits, and never another one: a slot and the slot's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestKey {
    pub slot: u32,
    pub generation: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait {
    pub end: Offset,
    pub request: RequestKey,
}

#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    /// In the order of their ends.
    rising: VecDeque<Wait>,
    /// Waits that came after one with a higher end.
    repeated: BTreeSet<Wait>,
    /// The highest end that the request being added waits for.
    awaited: Option<Offset>,
    spare: SpareMemory,
}

impl WaitQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.rising.is_empty() && self.repeated.is_empty()
    }

    /// Adds an end to the request's wait: the highest one implies the others.
    pub(super) fn await_end(&mut self, end: Offset) {
        self.awaited = self.awaited.max(Some(end));
    }

    /// Queues the wait for the highest end. Returns whether there was one.
    pub(super) fn push_awaited(&mut self, request: RequestKey) -> bool {
        let Some(end) = self.awaited.take() else { return false };
        let wait = Wait { end, request };
        if self.rising.back().is_none_or(|last| last.end <= end) {
            self.rising.push_back(wait);
        } else {
            self.repeated.insert(wait);
        }
        true
    }

    /// Takes a wait that the frontier passes at `to`.
    pub(super) fn pop_passed(&mut self, to: Offset) -> Option<Wait> {
        self.rising.pop_front_if(|wait| wait.end <= to).or_else(|| {
            self.repeated.first().filter(|wait| wait.end <= to)?;
            self.repeated.pop_first()
        })
    }

    /// Takes a wait with an end above `end`; any wait if there is no `end`.
    pub(super) fn pop_above(&mut self, end: Option<Offset>) -> Option<Wait> {
        let is_above = |wait: &Wait| end.is_none_or(|end| wait.end > end);
        self.rising.pop_back_if(|wait| is_above(wait)).or_else(|| {
            self.repeated.last().filter(|wait| is_above(wait))?;
            self.repeated.pop_last()
        })
    }

    /// Releases spare memory after `passed` waits were passed together.
    pub(super) fn release_memory(&mut self, passed: usize) {
        if self.rising.is_empty()
            && let Some(capacity) = self.spare.on_emptied(passed, self.rising.capacity(), SPARE_MAX)
        {
            self.rising.shrink_to(capacity);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Wait> {
        self.rising.iter().chain(&self.repeated)
    }

    /// Panics if the queue is out of order: [`Self::pop_passed`] and [`Self::pop_above`] stop at
    /// the first wait that they do not take.
    pub(super) fn check_invariants(&self) {
        assert!(self.rising.iter().is_sorted_by_key(|wait| wait.end), "the waits are in the order of their ends");
        assert_eq!(self.awaited, None, "an end is queued within the call that announces it");
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.rising.capacity()
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::{RequestKey, SPARE_MAX, WaitQueue};
    use crate::shard::spare_memory::{CAPACITY_MIN, EMPTIED_COUNT};

    fn add(queue: &mut WaitQueue, ends: &[i64], slot: u32) -> bool {
        ends.iter().for_each(|end| queue.await_end(Offset(*end)));
        queue.push_awaited(RequestKey { slot, generation: 0 })
    }

    #[test]
    fn waits_are_passed_and_cut_by_their_ends_in_any_order_of_arrival() {
        let mut queue = WaitQueue::default();
        let ends = [3, 5, 4, 9, 1, 7, 5, 12, 2];
        for (slot, end) in (0..).zip(ends) {
            assert!(add(&mut queue, &[end], slot));
        }
        let mut drain = |take: &mut dyn FnMut(&mut WaitQueue) -> Option<super::Wait>| {
            let mut taken: Vec<_> = std::iter::from_fn(|| take(&mut queue)).map(|wait| wait.end.0).collect();
            taken.sort_unstable();
            taken
        };
        assert_eq!(drain(&mut |queue| queue.pop_passed(Offset(0))), []);
        assert_eq!(drain(&mut |queue| queue.pop_passed(Offset(4))), [1, 2, 3, 4]);
        assert_eq!(drain(&mut |queue| queue.pop_above(Some(Offset(7)))), [9, 12]);
        assert_eq!(drain(&mut |queue| queue.pop_above(Some(Offset(7)))), []);
        assert_eq!(drain(&mut |queue| queue.pop_above(None)), [5, 5, 7]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_queue_with_a_wait_for_a_repeated_batch_is_not_empty() {
        let mut queue = WaitQueue::default();
        assert!(add(&mut queue, &[5], 0) && add(&mut queue, &[3], 1));
        assert_eq!(queue.pop_above(Some(Offset(4))).map(|wait| wait.end), Some(Offset(5)));
        assert!(!queue.is_empty());
        assert_eq!(queue.pop_passed(Offset(3)).map(|wait| wait.end), Some(Offset(3)));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_request_waits_once_for_its_highest_end() {
        let mut queue = WaitQueue::default();
        assert!(!add(&mut queue, &[], 0));
        assert!(add(&mut queue, &[4, 9, 2], 1));
        assert_eq!(queue.pop_passed(Offset(8)), None);
        assert_eq!(queue.pop_passed(Offset(9)).map(|wait| wait.request.slot), Some(1));
        assert!(queue.is_empty());
    }

    #[test]
    fn memory_is_kept_while_the_queue_fills_up_repeatedly_and_released_after_that() {
        let mut queue = WaitQueue::default();
        let mut fill = |count: i64| {
            (0..count).for_each(|at| assert!(add(&mut queue, &[at], 0)));
            let before = queue.capacity();
            let passed = std::iter::from_fn(|| queue.pop_passed(Offset(count))).count();
            queue.release_memory(passed);
            (before, queue.capacity())
        };
        for _ in 0..2 * EMPTIED_COUNT {
            let (before, after) = fill(200);
            assert_eq!(before, after, "the next waits reuse it");
            fill(1);
        }
        assert_eq!(fill(100_000).1, SPARE_MAX, "at once, even if no wait follows");
        for _ in 0..8 * EMPTIED_COUNT {
            fill(1);
        }
        assert_eq!(fill(1).1, CAPACITY_MIN);
    }
}
