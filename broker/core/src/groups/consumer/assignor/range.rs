//! The assignor `range`: each topic's partitions are cut into as many ranges as it has members.

use std::collections::BTreeMap;

use rustmq_model::TopicId;

use super::{AssignorInput, partition_at};
use crate::groups::consumer::partitions::Assignment;

/// The ranges of one topic that are not handed out yet.
struct Ranges {
    next: usize,
    partition_count: usize,
    quota: usize,
    /// The number of members that get one partition more.
    extra: usize,
}

impl Ranges {
    fn new(partition_count: usize, member_count: usize) -> Self {
        let (quota, extra) = (partition_count / member_count, partition_count % member_count);
        Self { next: 0, partition_count, quota, extra }
    }

    fn take(&mut self) -> std::ops::Range<usize> {
        let is_longer = usize::from(self.extra > 0);
        self.extra -= is_longer;
        let start = self.next;
        self.next = (start + self.quota + is_longer).min(self.partition_count);
        start..self.next
    }
}

pub(super) fn assign(input: &AssignorInput<'_>) -> Vec<Assignment> {
    let mut member_counts: BTreeMap<TopicId, usize> = BTreeMap::new();
    for topic in input.members.iter().flat_map(|member| member.topics) {
        *member_counts.entry(*topic).or_default() += 1;
    }
    let mut ranges: BTreeMap<TopicId, Ranges> = member_counts
        .into_iter()
        .map(|(topic, count)| (topic, Ranges::new(input.partition_count(topic), count)))
        .collect();
    // Static members come first, so that the ranges of the others do not move when one restarts.
    let mut order: Vec<usize> = (0..input.members.len()).collect();
    order.sort_by_key(|index| {
        let member = &input.members[*index];
        (member.instance.is_none(), member.instance, member.instance.is_none().then_some(member.id))
    });
    let mut assignments = vec![Assignment::default(); input.members.len()];
    for index in order {
        for topic in input.members[index].topics {
            let range = ranges.get_mut(topic).expect("every topic of a member has ranges").take();
            assignments[index].insert(*topic, range.map(partition_at).collect());
        }
    }
    assignments
}
