//! Appends that wait until frontiers of their partitions have passed their batches. In each partition, what a frontier passes is taken from the
//! front of its queue; what is never to be passed, because the log has failed, from the back.
//!
//! ```text
//! add -> waits --advance: each of its batches is passed--> reached --take_reached--> told
//!          '---cut_back: one of them is lost--> refused
//! ```
//! Does not say who is told first of appends and others: see [`super::waiting`].

use std::collections::VecDeque;

use rustmq_model::Offset;

use super::commits::StagedEnds;
use super::host::Host;
use super::partitions::{LogVersion, PartitionKey, Partitions};
use super::waiting::{Order, WaitingAppend};
use crate::log::{Frontier, Frontiers};

/// Waits that an empty queue keeps its memory for.
const KEPT: usize = 64;

/// A batch that is staged, or one that it repeats: where it ends, and what must pass that.
#[derive(Clone, Copy, Debug)]
pub(super) struct AwaitedEnd {
    pub key: PartitionKey,
    /// In which it was staged.
    pub version: LogVersion,
    pub frontier: Frontier,
    pub end: Offset,
}

impl AwaitedEnd {
    /// Of a batch that is refused.
    pub(super) const NONE: Self = Self {
        key: PartitionKey::NONE,
        version: LogVersion::ZERO,
        frontier: Frontier::DurableEnd,
        end: Offset(i64::MAX),
    };
}

/// Names a request as long as it waits, and never another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RequestName {
    slot: u32,
    life: u32,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    end: Offset,
    request: RequestName,
}

/// The waits of one partition, for each frontier in the order of the ends.
#[derive(Debug, Default)]
struct Queues([VecDeque<Wait>; Frontier::ALL.len()]);

#[derive(Debug)]
struct Slot<H: Host> {
    life: u32,
    request: Option<Request<H>>,
}

#[derive(Debug)]
struct Request<H: Host> {
    order: Order,
    append: WaitingAppend<H>,
    /// Batches that are not passed yet.
    left: usize,
}

#[derive(Debug)]
pub(super) struct AppendWaits<H: Host> {
    /// By the slots of the partitions' keys.
    queues: Vec<Queues>,
    slots: Vec<Slot<H>>,
    free: Vec<u32>,
    /// All of whose batches are passed, the first one last.
    reached: Vec<(Order, u32)>,
    /// Batches that wait.
    count: usize,
}

impl<H: Host> Default for AppendWaits<H> {
    fn default() -> Self {
        Self { queues: Vec::new(), slots: Vec::new(), free: Vec::new(), reached: Vec::new(), count: 0 }
    }
}

impl<H: Host> AppendWaits<H> {
    /// Batches that wait.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Answers the append if there is nothing to wait for.
    pub(super) fn add(
        &mut self,
        order: Order,
        append: WaitingAppend<H>,
        partitions: &Partitions,
    ) -> Option<WaitingAppend<H>> {
        let slot = self.free.last().copied().unwrap_or_else(|| {
            self.slots.push(Slot { life: 0, request: None });
            let slot = u32::try_from(self.slots.len() - 1).expect("requests are counted in 32 bits");
            self.free.push(slot);
            slot
        });
        let request = RequestName { slot, life: self.slots[slot as usize].life };
        let mut left = 0;
        let stored = append.ends.iter().zip(&append.results).filter(|(_, result)| result.is_ok());
        for (&AwaitedEnd { key, frontier, end, .. }, _) in stored {
            let is_passed = partitions.at(key).is_some_and(|open| open.frontiers().of(frontier) >= end);
            if !is_passed {
                self.queues_mut(key).push(frontier, Wait { end, request });
                left += 1;
            }
        }
        if left == 0 {
            return Some(append);
        }
        self.count += left;
        self.free.pop();
        self.slots[slot as usize].request = Some(Request { order, append, left });
        None
    }

    fn queues_mut(&mut self, key: PartitionKey) -> &mut Queues {
        if self.queues.len() <= key.slot() {
            self.queues.resize_with(key.slot() + 1, Queues::default);
        }
        &mut self.queues[key.slot()]
    }

    /// The frontiers of a partition have moved. When those of all partitions have that do so together, [`Self::order_reached`] follows.
    pub(super) fn advance(&mut self, key: PartitionKey, frontiers: &Frontiers) {
        let Self { queues, slots, reached, count, .. } = self;
        let Some(queues) = queues.get_mut(key.slot()) else { return };
        for (queue, frontier) in queues.0.iter_mut().zip(Frontier::ALL) {
            let to = frontiers.of(frontier);
            while let Some(Wait { request: RequestName { slot, life }, .. }) = queue.pop_front_if(|wait| wait.end <= to)
            {
                *count -= 1;
                let named = &mut slots[slot as usize];
                // It may have been refused for another of its batches.
                if let Some(request) = named.request.as_mut().filter(|_| named.life == life) {
                    request.left -= 1;
                    if request.left == 0 {
                        reached.push((request.order, slot));
                    }
                }
            }
            if queue.is_empty() && queue.capacity() > KEPT {
                queue.shrink_to(KEPT);
            }
        }
    }

    /// From here on they are taken in the order in which they came.
    pub(super) fn order_reached(&mut self) {
        self.reached.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// The first of those all of whose batches are passed.
    pub(super) fn first_reached(&self) -> Option<Order> {
        self.reached.last().map(|(order, _)| *order)
    }

    pub(super) fn take_reached(&mut self) -> Option<WaitingAppend<H>> {
        let (_, slot) = self.reached.pop()?;
        self.take(slot).map(|request| request.append)
    }

    /// Nothing that is staged becomes durable any more but what ends where `durable` says. Answers the appends that this takes a batch from.
    pub(super) fn cut_back(&mut self, durable: &StagedEnds) -> Vec<(Order, WaitingAppend<H>)> {
        let mut lost = Vec::new();
        for at in 0..self.queues.len() {
            self.cut_queues(at, durable.end_at(at), &mut lost);
        }
        lost
    }

    /// The log of a partition was cut back to `end`. Answers the appends that this takes a batch from, in their order.
    pub(super) fn cut(&mut self, key: PartitionKey, end: Offset) -> Vec<WaitingAppend<H>> {
        let mut lost = Vec::new();
        if key.slot() < self.queues.len() {
            self.cut_queues(key.slot(), Some(end), &mut lost);
        }
        lost.sort_unstable_by_key(|(order, _)| *order);
        lost.into_iter().map(|(_, append)| append).collect()
    }

    fn cut_queues(&mut self, at: usize, end: Option<Offset>, lost: &mut Vec<(Order, WaitingAppend<H>)>) {
        for frontier in 0..Frontier::ALL.len() {
            let is_lost = |wait: &mut Wait| end.is_none_or(|end| wait.end > end);
            while let Some(wait) = self.queues[at].0[frontier].pop_back_if(is_lost) {
                self.count -= 1;
                if self.slots[wait.request.slot as usize].life == wait.request.life {
                    lost.extend(self.take(wait.request.slot).map(|request| (request.order, request.append)));
                }
            }
        }
    }

    fn take(&mut self, slot: u32) -> Option<Request<H>> {
        let named = &mut self.slots[slot as usize];
        let request = named.request.take()?;
        named.life = named.life.wrapping_add(1);
        self.free.push(slot);
        Some(request)
    }
}

impl Queues {
    /// Ends rise with the batches; what repeats an older batch has its place before those that are newer.
    fn push(&mut self, frontier: Frontier, wait: Wait) {
        let queue = &mut self.0[frontier as usize];
        if queue.back().is_none_or(|last| last.end <= wait.end) {
            queue.push_back(wait);
        } else {
            queue.insert(queue.partition_point(|before| before.end <= wait.end), wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::{LeaderEpoch, Offset};

    use super::{AppendWaits, AwaitedEnd, KEPT, StagedEnds};
    use crate::log::{Frontier, Frontiers, LogLimits, PartitionLog};
    use crate::shard::partitions::{LogVersion, PartitionKey, Partitions};
    use crate::shard::request::{Appended, LogConfig};
    use crate::shard::tests::{Reply, TestHost, id};
    use crate::shard::waiting::{Order, WaitingAppend};

    struct Test {
        partitions: Partitions,
        waits: AppendWaits<TestHost>,
        newest: u64,
    }

    impl Test {
        fn with(partitions: i32) -> (Self, Vec<PartitionKey>) {
            let mut test = Self { partitions: Partitions::default(), waits: AppendWaits::default(), newest: 0 };
            let open = |number| {
                let log = PartitionLog::open(LogLimits::default(), LeaderEpoch(0), Offset::ZERO);
                test.partitions.insert(id(number), log, LogConfig::unlimited(), 0).key
            };
            let keys = (0..partitions).map(open).collect();
            (test, keys)
        }

        /// Answers the request's number, or nothing if there is nothing to wait for.
        fn add(&mut self, ends: &[(PartitionKey, Frontier, i64)]) -> Option<usize> {
            self.newest += 1;
            let number = usize::try_from(self.newest).unwrap();
            let appended = Appended { base_offset: Offset::ZERO, log_start: Offset::ZERO, duplicate_of: None };
            let ends = ends.iter().map(|&(key, frontier, end)| AwaitedEnd {
                key,
                version: LogVersion::ZERO,
                frontier,
                end: Offset(end),
            });
            let ends: Vec<_> = ends.collect();
            let append = WaitingAppend { results: vec![Ok(appended); ends.len()], ends, reply: Reply::new(number) };
            let passed = self.waits.add(Order(self.newest), append, &self.partitions);
            passed.is_none().then_some(number)
        }

        /// Who is told then, in order.
        fn advance(&mut self, moved: &[(PartitionKey, i64, i64)]) -> Vec<usize> {
            for &(key, high_watermark, durable_end) in moved {
                let (high_watermark, durable_end) = (Offset(high_watermark), Offset(durable_end));
                let frontiers = Frontiers { high_watermark, durable_end, ..Frontiers::default() };
                self.waits.advance(key, &frontiers);
            }
            self.waits.order_reached();
            std::iter::from_fn(|| self.waits.take_reached()).map(|append| append.reply.number).collect()
        }
    }

    #[test]
    fn each_append_waits_for_its_own_frontier() {
        let (mut test, keys) = Test::with(1);
        let key = keys[0];
        let all = test.add(&[(key, Frontier::HighWatermark, 1)]).unwrap();
        let leader = test.add(&[(key, Frontier::DurableEnd, 2)]).unwrap();
        let both = test.add(&[(key, Frontier::HighWatermark, 3), (key, Frontier::DurableEnd, 4)]).unwrap();
        assert_eq!(test.add(&[(key, Frontier::DurableEnd, 0)]), None);
        assert_eq!(test.advance(&[(key, 0, 4)]), [leader]);
        assert_eq!(test.advance(&[(key, 2, 4)]), [all]);
        assert_eq!(test.waits.count(), 1);
        assert_eq!(test.advance(&[(key, 3, 4)]), [both]);
        assert_eq!(test.waits.count(), 0);
    }

    #[test]
    fn appends_are_told_in_the_order_in_which_they_came_over_all_partitions() {
        let (mut test, keys) = Test::with(3);
        let mut ends = [0; 3];
        let mut numbers = Vec::new();
        for request in 0..40 {
            let mut end = |at: usize| {
                ends[at] += 1;
                (keys[at], Frontier::DurableEnd, ends[at])
            };
            let (first, second) = (end(request * 7 % 3), end((request + 1) % 3));
            numbers.push(test.add(&[first, second]).unwrap());
        }
        let moved: Vec<_> = keys.iter().zip(ends).map(|(key, end)| (*key, 0, end)).rev().collect();
        assert_eq!(test.advance(&moved), numbers);
    }

    #[test]
    fn a_cut_takes_from_the_back_and_what_it_took_is_not_told_again() {
        let (mut test, keys) = Test::with(2);
        let end = |at: usize, end| (keys[at], Frontier::DurableEnd, end);
        let kept = test.add(&[end(0, 1), end(1, 1)]).unwrap();
        let torn = test.add(&[end(0, 2), end(1, 2)]).unwrap();
        let durable = StagedEnds::at(&[(keys[0], Offset(2)), (keys[1], Offset(1))]);
        let lost: Vec<_> = test.waits.cut_back(&durable).into_iter().map(|(_, append)| append.reply.number).collect();
        assert_eq!(lost, [torn]);
        // In the place of the one that is lost.
        let newer = test.add(&[end(1, 3)]).unwrap();
        assert_eq!(test.advance(&[(keys[0], 0, 2), (keys[1], 0, 2)]), [kept]);
        assert_eq!(test.advance(&[(keys[1], 0, 3)]), [newer]);
        assert_eq!(test.waits.count(), 0);
    }

    #[test]
    fn memory_of_many_waits_is_not_kept_for_ever() {
        let (mut test, keys) = Test::with(1);
        let end = |end| (keys[0], Frontier::DurableEnd, end);
        (1..=1_000).for_each(|at| assert!(test.add(&[end(at)]).is_some()));
        assert_eq!(test.advance(&[(keys[0], 0, 1_000)]).len(), 1_000);
        let queues = &test.waits.queues[keys[0].slot()].0;
        assert!(queues.iter().all(|queue| queue.capacity() <= 2 * KEPT));
    }
}
