//! The assignors of consumer groups: `uniform` and `range`, with the results of Apache Kafka 4.4.
//!
//! Kafka visits members and topics in the order of hash maps; here they are visited in the order
//! of their ids. Neither assignor reads racks.

mod balance;
mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::BTreeMap;

use rustmq_model::{PartitionId, TopicId};

use super::partitions::Assignment;
use crate::groups::identity::{InstanceId, MemberId};

/// An assignor, by the name that members and settings use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Spreads all partitions evenly, and moves as few of them as possible.
    Uniform,
    /// Gives each member neighbouring partitions of each topic, so that topics with equal
    /// partition counts are assigned alike.
    Range,
}

impl Assignor {
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// The assignment of each member, in the order of the members.
    #[must_use]
    pub fn assign(self, input: &AssignorInput<'_>) -> Vec<Assignment> {
        let is_homogeneous = input.members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
        match self {
            Self::Uniform if is_homogeneous => uniform::assign(input),
            Self::Uniform => balance::assign(input),
            Self::Range => range::assign(input),
        }
    }
}

/// The input of an assignor.
#[derive(Clone, Debug, Default)]
pub struct AssignorInput<'a> {
    /// In the order of their ids.
    pub members: Vec<AssignorMember<'a>>,
    /// The partition count of each topic that some member reads.
    pub partition_counts: BTreeMap<TopicId, usize>,
}

/// One member, as an assignor sees it.
#[derive(Clone, Debug)]
pub struct AssignorMember<'a> {
    pub id: &'a MemberId,
    pub instance: Option<&'a InstanceId>,
    /// The topics that the member reads, in order. All of them exist.
    pub topics: &'a [TopicId],
    /// Its assignment so far.
    pub target: &'a Assignment,
}

impl AssignorInput<'_> {
    fn partition_count(&self, topic: TopicId) -> usize {
        self.partition_counts.get(&topic).copied().unwrap_or(0)
    }
}

/// A partition's place in a table by partition.
fn index_of(partition: PartitionId) -> usize {
    usize::try_from(partition.0).unwrap_or(usize::MAX)
}

fn partition_at(index: usize) -> PartitionId {
    PartitionId(i32::try_from(index).unwrap_or(i32::MAX))
}
