//! The assignor `uniform` where all members read the same topics: every member gets its share, and
//! keeps as much of its old assignment as the share allows.

use std::collections::VecDeque;

use rustmq_model::{PartitionId, TopicId};

use super::{AssignorInput, index_of, partition_at};
use crate::groups::consumer::partitions::Assignment;

pub(super) fn assign(input: &AssignorInput<'_>) -> Vec<Assignment> {
    let Some(first) = input.members.first() else { return Vec::new() };
    let topics = first.topics;
    // Whether each partition is part of some member's old assignment, by topic.
    let mut is_owned: Vec<Vec<bool>> = topics.iter().map(|topic| vec![false; input.partition_count(*topic)]).collect();
    for member in &input.members {
        for (topic, partitions) in member.target.topics() {
            let Ok(at) = topics.binary_search(&topic) else { continue };
            for partition in partitions {
                if let Some(is_owned) = is_owned[at].get_mut(index_of(*partition)) {
                    *is_owned = true;
                }
            }
        }
    }
    let mut free = VecDeque::new();
    for (topic, is_owned) in topics.iter().zip(&is_owned) {
        free.extend((0..is_owned.len()).filter(|index| !is_owned[*index]).map(|index| (*topic, partition_at(index))));
    }
    let total: usize = is_owned.iter().map(Vec::len).sum();
    let (share, mut extra) = (total / input.members.len(), total % input.members.len());
    let mut kept: Vec<(Vec<(TopicId, PartitionId)>, usize)> = Vec::with_capacity(input.members.len());
    for (index, member) in input.members.iter().enumerate() {
        let mut is_longer = extra > 0;
        let mut quota = share + usize::from(is_longer);
        let mut keeps = Vec::with_capacity(quota);
        for (topic, partition) in member.target.iter() {
            let Ok(at) = topics.binary_search(&topic) else { continue };
            // The mark is cleared, so that a partition is kept once even if two members claim it.
            let Some(is_owned) = is_owned[at].get_mut(index_of(partition)).filter(|is_owned| **is_owned) else {
                continue;
            };
            *is_owned = false;
            if quota > 0 {
                quota -= 1;
                keeps.push((topic, partition));
            } else {
                free.push_back((topic, partition));
            }
        }
        // A member that has less than its share leaves the extra partition to a later member, which
        // may have it already, as long as enough members are left to take all extra partitions.
        if quota > 0 && is_longer && input.members.len() - index > extra {
            quota -= 1;
            is_longer = false;
        }
        extra -= usize::from(is_longer);
        kept.push((keeps, quota));
    }
    let fill = |(mut keeps, quota): (Vec<(TopicId, PartitionId)>, usize)| {
        keeps.extend(free.drain(..quota.min(free.len())));
        keeps.into_iter().collect()
    };
    kept.into_iter().map(fill).collect()
}
