//! Appends that wait until frontiers of their partitions have passed their batches.
//!
//! ```text
//! add -> waits --advance: each of its batches is passed--> reached --take_reached--> answered
//!          '---cut_back, cut: one of its batches is lost--> refused
//! ```
//! Does not order appends among other answers: see [`super::waiting`]; nor the waits of one
//! partition: see [`super::wait_queue`].

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::Offset;

use super::commits::StagedEnds;
use super::host::Host;
use super::partitions::{LogVersion, PartitionKey, Partitions};
use super::spare_memory::SpareMemory;
use super::wait_queue::{RequestKey, Wait, WaitQueue};
use super::waiting::{Order, WaitingAppend};
use crate::log::{AppendFrontier, Frontiers};

/// Consecutive batches of a request in one partition, staged or repeated: the furthest end among
/// them, and the frontier that must pass it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AwaitedEnd {
    pub key: PartitionKey,
    /// The version of the log in which they were staged.
    pub version: LogVersion,
    pub frontier: AppendFrontier,
    pub end: Offset,
    pub batches: usize,
}

impl AwaitedEnd {
    /// The end of a refused batch.
    pub(super) const NONE: Self = Self {
        key: PartitionKey::NONE,
        version: LogVersion::ZERO,
        frontier: AppendFrontier::DurableEnd,
        end: Offset(i64::MAX),
        batches: 1,
    };

    pub(super) fn is_stored(&self) -> bool {
        self.key != PartitionKey::NONE
    }

    /// Merges the next end of the request into this one if one frontier passes both.
    pub(super) fn join(&mut self, next: Self) -> bool {
        let joins = (self.key, self.version, self.frontier) == (next.key, next.version, next.frontier);
        if joins {
            self.end = self.end.max(next.end);
            self.batches += next.batches;
        }
        joins
    }
}

/// The waits of one partition.
#[derive(Debug)]
struct Queues {
    /// The latest partition of this slot. Waits of another partition come only after all of its
    /// waits are gone.
    key: PartitionKey,
    of: [WaitQueue; AppendFrontier::ALL.len()],
}

impl Default for Queues {
    fn default() -> Self {
        Self { key: PartitionKey::NONE, of: Default::default() }
    }
}

#[derive(Debug)]
struct Slot<H: Host> {
    generation: u32,
    request: Option<Request<H>>,
}

#[derive(Debug)]
struct Request<H: Host> {
    order: Order,
    append: WaitingAppend<H>,
    /// The number of its waits that are not passed yet.
    left: usize,
}

#[derive(Debug)]
pub(super) struct AppendWaits<H: Host> {
    /// Indexed by the slots of the partitions' keys.
    queues: Vec<Queues>,
    slots: Vec<Slot<H>>,
    free: Vec<u32>,
    /// The requests whose batches are all passed, the first one last.
    reached: Vec<(Order, u32)>,
    /// The number of waits in all queues, including those of requests that were refused for another
    /// batch.
    waits: usize,
    /// The number of batches in all waiting requests.
    batches: usize,
    spare: SpareMemory,
}

impl<H: Host> Default for AppendWaits<H> {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            reached: Vec::new(),
            waits: 0,
            batches: 0,
            spare: SpareMemory::default(),
        }
    }
}

impl<H: Host> AppendWaits<H> {
    /// The number of batches in all waiting requests.
    pub(super) const fn batches(&self) -> usize {
        self.batches
    }

    /// Adds the append, or returns it if it has nothing to wait for.
    pub(super) fn add(
        &mut self,
        order: Order,
        append: WaitingAppend<H>,
        partitions: &Partitions,
    ) -> Option<WaitingAppend<H>> {
        let mut is_waiting = false;
        for &AwaitedEnd { key, frontier, end, .. } in append.stored() {
            if partitions.at(key).is_none_or(|open| frontier.of(open.log.frontiers()) < end) {
                self.queue_mut(key, frontier).await_end(end);
                is_waiting = true;
            }
        }
        if !is_waiting {
            return Some(append);
        }
        let request = self.free_slot();
        let mut left = 0;
        for &AwaitedEnd { key, frontier, .. } in append.stored() {
            left += usize::from(self.queue_mut(key, frontier).push_awaited(request));
        }
        self.waits += left;
        self.batches += append.results.len();
        self.slots[request.slot as usize].request = Some(Request { order, append, left });
        None
    }

    fn free_slot(&mut self) -> RequestKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, request: None });
            u32::try_from(self.slots.len() - 1).expect("requests are counted in 32 bits")
        });
        RequestKey { slot, generation: self.slots[slot as usize].generation }
    }

    fn queue_mut(&mut self, key: PartitionKey, frontier: AppendFrontier) -> &mut WaitQueue {
        if self.queues.len() <= key.slot() {
            self.queues.resize_with(key.slot() + 1, Queues::default);
        }
        let queues = &mut self.queues[key.slot()];
        if queues.key != key {
            assert!(queues.of.iter().all(WaitQueue::is_empty), "a closed partition leaves no waits");
            queues.key = key;
        }
        &mut queues.of[frontier as usize]
    }

    /// The frontiers of a partition have moved. The caller calls [`Self::order_reached`] after the
    /// frontiers of all partitions that change together.
    pub(super) fn advance(&mut self, key: PartitionKey, frontiers: &Frontiers) {
        let Self { queues, slots, reached, waits, .. } = self;
        let Some(queues) = queues.get_mut(key.slot()).filter(|queues| queues.key == key) else { return };
        for (queue, frontier) in queues.of.iter_mut().zip(AppendFrontier::ALL) {
            let to = frontier.of(frontiers);
            let mut passed = 0;
            while let Some(Wait { request: RequestKey { slot, generation }, .. }) = queue.pop_passed(to) {
                passed += 1;
                let named = &mut slots[slot as usize];
                // The request may have been refused for another of its batches.
                if let Some(request) = named.request.as_mut().filter(|_| named.generation == generation) {
                    request.left -= 1;
                    if request.left == 0 {
                        reached.push((request.order, slot));
                    }
                }
            }
            if passed > 0 {
                *waits -= passed;
                queue.release_memory(passed);
            }
        }
    }

    /// Sorts the reached requests into the order in which they came.
    pub(super) fn order_reached(&mut self) {
        self.reached.sort_unstable_by(|one, other| other.cmp(one));
    }

    /// The first request whose batches are all passed.
    pub(super) fn first_reached(&self) -> Option<Order> {
        self.reached.last().map(|(order, _)| *order)
    }

    pub(super) fn take_reached(&mut self) -> Option<WaitingAppend<H>> {
        let (_, slot) = self.reached.pop()?;
        self.take(slot).map(|request| request.append)
    }

    /// Only staged batches up to the ends in `durable` can still become durable. Returns the
    /// appends that lose a batch.
    pub(super) fn cut_back(&mut self, durable: &StagedEnds) -> Vec<(Order, WaitingAppend<H>)> {
        let mut lost = Vec::new();
        for at in 0..self.queues.len() {
            self.cut_queues(at, durable.end_at(at), &mut lost);
        }
        lost
    }

    /// The log of a partition was cut to `end`, or the partition is gone. Returns the appends that
    /// lose a batch, in their order.
    pub(super) fn cut(&mut self, key: PartitionKey, end: Option<Offset>) -> Vec<WaitingAppend<H>> {
        let mut lost = Vec::new();
        if self.queues.get(key.slot()).is_some_and(|queues| queues.key == key) {
            self.cut_queues(key.slot(), end, &mut lost);
        }
        lost.sort_unstable_by_key(|(order, _)| *order);
        lost.into_iter().map(|(_, append)| append).collect()
    }

    fn cut_queues(&mut self, at: usize, end: Option<Offset>, lost: &mut Vec<(Order, WaitingAppend<H>)>) {
        for frontier in AppendFrontier::ALL {
            while let Some(wait) = self.queues[at].of[frontier as usize].pop_above(end) {
                self.waits -= 1;
                if self.slots[wait.request.slot as usize].generation == wait.request.generation {
                    lost.extend(self.take(wait.request.slot).map(|request| (request.order, request.append)));
                }
            }
        }
    }

    /// The waits for each frontier of each partition.
    pub(super) fn queues(&self) -> impl Iterator<Item = (PartitionKey, AppendFrontier, &WaitQueue)> {
        self.queues.iter().flat_map(|queues| {
            let key = queues.key;
            queues.of.iter().zip(AppendFrontier::ALL).map(move |(queue, frontier)| (key, frontier, queue))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.request.is_none())
    }

    /// Panics if the requests and their waits disagree. A request counts the waits that name it, so
    /// it is answered when the last of them is passed, and not before. A wait may name a request
    /// that was refused for another batch, but none that still waits under another name.
    pub(super) fn check_invariants(&self) {
        let mut waits: BTreeMap<RequestKey, usize> = BTreeMap::new();
        for (_, _, queue) in self.queues() {
            queue.check_invariants();
            queue.iter().for_each(|wait| *waits.entry(wait.request).or_default() += 1);
        }
        assert_eq!(waits.values().sum::<usize>(), self.waits, "the count of waits");
        let (mut batches, mut free) = (0, BTreeSet::new());
        for (number, slot) in (0..).zip(&self.slots) {
            let named = waits.get(&RequestKey { slot: number, generation: slot.generation }).copied().unwrap_or(0);
            match &slot.request {
                Some(request) => {
                    assert_eq!(request.left, named, "a request counts the waits that name it");
                    batches += request.append.results.len();
                }
                None => {
                    assert_eq!(named, 0, "no wait names a request that may still come");
                    free.insert(number);
                }
            }
        }
        assert_eq!(batches, self.batches, "the count of waiting batches");
        assert_eq!(self.free.iter().copied().collect::<BTreeSet<_>>(), free, "the slots without a request are free");
        assert_eq!(self.free.len(), free.len(), "a slot is free once");
        assert!(self.reached.is_empty(), "a request whose batches are all passed is answered within the same call");
    }

    fn take(&mut self, slot: u32) -> Option<Request<H>> {
        let named = &mut self.slots[slot as usize];
        let request = named.request.take()?;
        named.generation = named.generation.wrapping_add(1);
        self.free.push(slot);
        self.batches -= request.append.results.len();
        if self.waits == 0 && self.free.len() == self.slots.len() {
            self.free_all_slots();
        }
        Some(request)
    }

    /// Frees all slots: no request waits, and no queue names one.
    fn free_all_slots(&mut self) {
        let held = self.slots.len();
        self.slots.clear();
        self.free.clear();
        if let Some(capacity) = self.spare.on_emptied(held, self.slots.capacity(), usize::MAX) {
            self.slots.shrink_to(capacity);
            self.free.shrink_to(capacity);
            self.reached.shrink_to(capacity);
        }
    }
}

#[cfg(test)]
mod tests;
