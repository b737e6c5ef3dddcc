//! The waits of one partition for one frontier, by their ends. What the frontier passes is taken from the front; what it never will, from the back.
//!
//! New batches end ever further on, so their waits stand in a row. What repeats an older batch waits for that one's end, which may lie anywhere
//! below: a place in the row would be made by moving the others, for each repetition that a client cares to send. Such waits have a tree.

use std::collections::{BTreeSet, VecDeque};

use rustmq_model::Offset;

use super::spare_memory::SpareMemory;

/// Waits that an empty queue keeps its memory for, at the most: there are two for each partition.
const SPARE_MAX: usize = 256;

/// Names a request as long as it waits, and never another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestName {
    pub slot: u32,
    pub life: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wait {
    pub end: Offset,
    pub request: RequestName,
}

#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    /// In the order of their ends.
    rising: VecDeque<Wait>,
    /// Those that came after one that ends further on.
    repeated: BTreeSet<Wait>,
    /// The furthest end that the request asks for which is being added.
    asked: Option<Offset>,
    spare: SpareMemory,
}

impl WaitQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.rising.is_empty() && self.repeated.is_empty()
    }

    /// A request waits for one of its batches: of all that it asks for, the one that ends furthest on says when the others are passed too.
    pub(super) fn ask(&mut self, end: Offset) {
        self.asked = self.asked.max(Some(end));
    }

    /// What was asked for becomes the request's wait. Answers whether there was something.
    pub(super) fn push_asked(&mut self, request: RequestName) -> bool {
        let Some(end) = self.asked.take() else { return false };
        let wait = Wait { end, request };
        if self.rising.back().is_none_or(|last| last.end <= end) {
            self.rising.push_back(wait);
        } else {
            self.repeated.insert(wait);
        }
        true
    }

    /// One that is passed when the frontier is at `to`.
    pub(super) fn pop_passed(&mut self, to: Offset) -> Option<Wait> {
        self.rising.pop_front_if(|wait| wait.end <= to).or_else(|| {
            self.repeated.first().filter(|wait| wait.end <= to)?;
            self.repeated.pop_first()
        })
    }

    /// One that ends above `end`, or any.
    pub(super) fn pop_above(&mut self, end: Option<Offset>) -> Option<Wait> {
        let is_above = |wait: &Wait| end.is_none_or(|end| wait.end > end);
        self.rising.pop_back_if(|wait| is_above(wait)).or_else(|| {
            self.repeated.last().filter(|wait| is_above(wait))?;
            self.repeated.pop_last()
        })
    }

    /// So many were passed together.
    pub(super) fn let_go_of_memory(&mut self, passed: usize) {
        if self.rising.is_empty()
            && let Some(kept) = self.spare.on_emptied(passed, self.rising.capacity(), SPARE_MAX)
        {
            self.rising.shrink_to(kept);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.rising.capacity()
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::{RequestName, SPARE_MAX, WaitQueue};
    use crate::shard::spare_memory::{KEPT, TIMES};

    fn add(queue: &mut WaitQueue, ends: &[i64], slot: u32) -> bool {
        ends.iter().for_each(|end| queue.ask(Offset(*end)));
        queue.push_asked(RequestName { slot, life: 0 })
    }

    #[test]
    fn waits_are_passed_and_cut_by_their_ends_in_whatever_order_they_came() {
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
    fn a_queue_is_not_empty_while_a_repeated_batch_is_waited_for() {
        let mut queue = WaitQueue::default();
        assert!(add(&mut queue, &[5], 0) && add(&mut queue, &[3], 1));
        assert_eq!(queue.pop_above(Some(Offset(4))).map(|wait| wait.end), Some(Offset(5)));
        assert!(!queue.is_empty());
        assert_eq!(queue.pop_passed(Offset(3)).map(|wait| wait.end), Some(Offset(3)));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_request_waits_once_for_what_it_asks_for_furthest_on() {
        let mut queue = WaitQueue::default();
        assert!(!add(&mut queue, &[], 0));
        assert!(add(&mut queue, &[4, 9, 2], 1));
        assert_eq!(queue.pop_passed(Offset(8)), None);
        assert_eq!(queue.pop_passed(Offset(9)).map(|wait| wait.request.slot), Some(1));
        assert!(queue.is_empty());
    }

    #[test]
    fn memory_is_kept_for_as_many_as_there_are_again_and_again_and_no_longer() {
        let mut queue = WaitQueue::default();
        let mut fill = |count: i64| {
            (0..count).for_each(|at| assert!(add(&mut queue, &[at], 0)));
            let before = queue.capacity();
            let passed = std::iter::from_fn(|| queue.pop_passed(Offset(count))).count();
            queue.let_go_of_memory(passed);
            (before, queue.capacity())
        };
        for _ in 0..2 * TIMES {
            let (before, after) = fill(200);
            assert_eq!(before, after, "the next ones find it");
            fill(1);
        }
        assert_eq!(fill(100_000).1, SPARE_MAX, "whatever comes after it, and if that is nothing");
        for _ in 0..8 * TIMES {
            fill(1);
        }
        assert_eq!(fill(1).1, KEPT);
    }
}
