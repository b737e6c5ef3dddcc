//! The topics of the cluster as the coordinator of a group sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustmq_model::{TopicId, TopicName};

use crate::pattern::Pattern;

/// Parts of a catalogue: a change copies one of them.
const PART_COUNT: usize = 256;

/// One topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    pub id: TopicId,
    pub partition_count: usize,
}

/// All topics of the cluster, by name. A copy shares its memory with the original: a change copies
/// only the part in which the topic lies.
#[derive(Clone, Debug)]
pub struct TopicCatalogue {
    parts: Vec<Arc<BTreeMap<TopicName, TopicFacts>>>,
    /// The number of changes so far: of two copies, the one with the higher number is newer.
    change_count: u64,
}

impl Default for TopicCatalogue {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PART_COUNT], change_count: 0 }
    }
}

impl TopicCatalogue {
    /// The part of a name (FNV-1a, of which any even spread would do).
    fn part_of(name: &str) -> usize {
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        hash as usize % PART_COUNT
    }

    pub fn insert(&mut self, name: TopicName, facts: TopicFacts) {
        self.change_count += 1;
        Arc::make_mut(&mut self.parts[Self::part_of(name.as_str())]).insert(name, facts);
    }

    pub fn remove(&mut self, name: &str) {
        self.change_count += 1;
        Arc::make_mut(&mut self.parts[Self::part_of(name)]).remove(name);
    }

    /// Whether `other` knows changes that this copy does not know.
    #[must_use]
    pub const fn is_older_than(&self, other: &Self) -> bool {
        self.change_count < other.change_count
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<TopicFacts> {
        self.parts[Self::part_of(name)].get(name).copied()
    }

    fn names(&self) -> impl Iterator<Item = &TopicName> {
        self.parts.iter().flat_map(|part| part.keys())
    }

    /// The names that a pattern matches as a whole, in order.
    pub(super) fn matching(&self, pattern: &Pattern) -> Vec<TopicName> {
        let mut names: Vec<_> = self.names().filter(|name| pattern.matches(name.as_str())).cloned().collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn catalogue(names: &[&str]) -> TopicCatalogue {
        let mut topics = TopicCatalogue::default();
        for (index, name) in (1_u128..).zip(names) {
            topics.insert(TopicName::new(name).unwrap(), TopicFacts { id: TopicId(index), partition_count: 1 });
        }
        topics
    }

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut topics = catalogue(&["a", "b"]);
        let copy = topics.clone();
        topics.remove("a");
        assert_eq!((topics.find("a"), copy.find("a").unwrap().id), (None, TopicId(1)));
        assert_eq!((topics.names().count(), copy.names().count()), (1, 2));
    }
}
