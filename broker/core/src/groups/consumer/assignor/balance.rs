//! The assignor `uniform` where members read different topics: free partitions go to the least
//! loaded subscribers, and then partitions move from the most to the least loaded ones until no
//! topic has a better assignment, or until a number of rounds is over.

use std::collections::BTreeMap;
use std::ops::Range;

use rustmq_model::TopicId;

use super::{AssignorInput, index_of, partition_at};
use crate::groups::consumer::partitions::Assignment;

/// Rounds over all topics. A few suffice but for contrived groups.
const ROUNDS_MAX: usize = 16;
/// The mark of a partition without owner.
const FREE: usize = usize::MAX;

struct Topic {
    id: TopicId,
    /// The members that read the topic, in their order.
    subscribers: Vec<usize>,
    /// The owner of each partition.
    owners: Vec<usize>,
}

pub(super) fn assign(input: &AssignorInput<'_>) -> Vec<Assignment> {
    let (mut topics, mut loads) = claimed(input);
    // Topics with the most partitions for each subscriber come first: they decide the loads.
    topics.sort_by(|left, right| {
        let (partitions, subscribers) = (|topic: &Topic| topic.owners.len(), |topic: &Topic| topic.subscribers.len());
        // left.partitions / left.subscribers against right's, without fractions.
        let by_density = (partitions(right) * subscribers(left)).cmp(&(partitions(left) * subscribers(right)));
        by_density.then_with(|| subscribers(left).cmp(&subscribers(right))).then_with(|| left.id.cmp(&right.id))
    });
    let mut balancer = Balancer::default();
    for topic in &mut topics {
        if !topic.owners.contains(&FREE) {
            continue;
        }
        balancer.start(&topic.subscribers, &loads);
        for owner in topic.owners.iter_mut().filter(|owner| **owner == FREE) {
            *owner = balancer.next_least_loaded(&loads);
            loads[*owner] += 1;
        }
    }
    topics.retain_mut(|topic| !topic.owners.is_empty());
    balance(&mut topics, &mut loads, &mut balancer);
    let mut assignments: Vec<Vec<_>> = loads.iter().map(|load| Vec::with_capacity(*load)).collect();
    for topic in &topics {
        for (index, owner) in topic.owners.iter().enumerate() {
            assignments[*owner].push((topic.id, partition_at(index)));
        }
    }
    assignments.into_iter().map(|partitions| partitions.into_iter().collect()).collect()
}

/// All topics with the owners that go on reading them, and the load of each member.
fn claimed(input: &AssignorInput<'_>) -> (Vec<Topic>, Vec<usize>) {
    let mut ids: Vec<TopicId> = input.members.iter().flat_map(|member| member.topics).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let topic =
        |id: &TopicId| Topic { id: *id, subscribers: Vec::new(), owners: vec![FREE; input.partition_count(*id)] };
    let mut topics: Vec<Topic> = ids.iter().map(topic).collect();
    let mut loads = vec![0; input.members.len()];
    for (index, member) in input.members.iter().enumerate() {
        for id in member.topics {
            let at = ids.binary_search(id).expect("the topics of all members were collected");
            topics[at].subscribers.push(index);
        }
        for (id, partitions) in member.target.topics() {
            if member.topics.binary_search(&id).is_err() {
                continue;
            }
            let at = ids.binary_search(&id).expect("the topics of all members were collected");
            for partition in partitions {
                if let Some(owner) = topics[at].owners.get_mut(index_of(*partition)).filter(|owner| **owner == FREE) {
                    *owner = index;
                    loads[index] += 1;
                }
            }
        }
    }
    (topics, loads)
}

fn balance(topics: &mut [Topic], loads: &mut [usize], balancer: &mut Balancer) {
    // The last topic in which partitions moved: a whole round without moves ends the work.
    let mut last_moved = None;
    for _ in 0..ROUNDS_MAX {
        for (index, topic) in topics.iter_mut().enumerate() {
            if topic.subscribers.len() < 2 {
                continue;
            }
            if last_moved == Some(index) {
                return;
            }
            if balance_topic(topic, loads, balancer) || last_moved.is_none() {
                last_moved = Some(index);
            }
        }
    }
}

/// Moves partitions of one topic. Returns whether any moved.
fn balance_topic(topic: &mut Topic, loads: &mut [usize], balancer: &mut Balancer) -> bool {
    let of_subscribers = topic.subscribers.iter().map(|member| loads[*member]);
    let (least, most) = of_subscribers.fold((usize::MAX, 0), |(least, most), load| (least.min(load), most.max(load)));
    if most - least <= 1 {
        return false;
    }
    balancer.start(&topic.subscribers, loads);
    // The partitions of each owner side by side, and the part that each owner still has.
    let mut by_owner: Vec<usize> = (0..topic.owners.len()).collect();
    by_owner.sort_by_key(|index| topic.owners[*index]);
    let mut owned: BTreeMap<usize, Range<usize>> = BTreeMap::new();
    for (at, index) in by_owner.iter().enumerate() {
        owned.entry(topic.owners[*index]).or_insert(at..at).end = at + 1;
    }
    let mut has_moved = false;
    while !balancer.is_balanced() {
        let giver = loop {
            let Some(member) = balancer.next_most_loaded(loads) else { return has_moved };
            if owned.get(&member).is_some_and(|range| range.start < range.end) {
                break member;
            }
            balancer.exclude_most_loaded();
        };
        let left = owned.get_mut(&giver).expect("the giver owns partitions");
        left.end -= 1;
        let partition = by_owner[left.end];
        let taker = balancer.next_least_loaded(loads);
        if balancer.is_balanced() {
            break;
        }
        loads[topic.owners[partition]] -= 1;
        loads[taker] += 1;
        topic.owners[partition] = taker;
        has_moved = true;
    }
    has_moved
}

/// Hands out the least and the most loaded subscribers of one topic, one after the other, while
/// their loads change.
///
/// ```text
///    subscribers by load:   [ least loaded range | untouched | most loaded range | excluded ]
/// ```
/// All members of the least loaded range have the same load; each gets one partition, then the
/// range grows to the members with one partition more. The most loaded range mirrors it.
#[derive(Default)]
struct Balancer {
    members: Vec<usize>,
    least_end: usize,
    least_load: usize,
    least_next: usize,
    most_start: usize,
    most_end: usize,
    most_load: usize,
    /// One more than the position of the next member to give.
    most_next: usize,
}

impl Balancer {
    fn start(&mut self, subscribers: &[usize], loads: &[usize]) {
        self.members.clear();
        self.members.extend_from_slice(subscribers);
        self.members.sort_by_key(|member| loads[*member]);
        let (first, last) = (loads[self.members[0]], loads[self.members[self.members.len() - 1]]);
        self.least_end = 0;
        // One less than the load of the first range, which begins with the first call.
        self.least_load = first.wrapping_sub(1);
        self.least_next = 0;
        self.most_start = self.members.len();
        self.most_end = self.members.len();
        self.most_load = last + 1;
        self.most_next = self.members.len();
    }

    fn next_least_loaded(&mut self, loads: &[usize]) -> usize {
        if self.least_next >= self.least_end {
            self.least_load = self.least_load.wrapping_add(1);
            while self.members.get(self.least_end).is_some_and(|member| loads[*member] == self.least_load) {
                self.least_end += 1;
            }
            self.least_next = 0;
        }
        self.least_next += 1;
        self.members[self.least_next - 1]
    }

    fn next_most_loaded(&mut self, loads: &[usize]) -> Option<usize> {
        if self.most_next <= self.most_start {
            if self.most_end <= self.most_start && self.most_start > 0 {
                self.most_load = loads[self.members[self.most_start - 1]];
            } else {
                self.most_load = self.most_load.checked_sub(1)?;
            }
            while self.most_start > 0 && loads[self.members[self.most_start - 1]] == self.most_load {
                self.most_start -= 1;
            }
            self.most_next = self.most_end;
        }
        self.most_next = self.most_next.checked_sub(1)?;
        Some(self.members[self.most_next])
    }

    /// The member that was given last has nothing to give in this topic.
    fn exclude_most_loaded(&mut self) {
        self.most_end -= 1;
        self.members.swap(self.most_next, self.most_end);
    }

    fn is_balanced(&self) -> bool {
        // The least load is one less than zero before the first call of a topic.
        self.most_load <= self.least_load.wrapping_add(1)
    }
}
