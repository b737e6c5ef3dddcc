//! The topics of the cluster as the coordinator of a group sees them, and the patterns that members
//! subscribe with.

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::bytes::RegexBuilder;
use rustmq_model::{TopicId, TopicName};

use crate::groups::error::GroupError;

/// The memory that one compiled pattern may take, and as much again for its match.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a pattern.
const PATTERN_LENGTH_MAX: usize = 4096;
/// Parentheses in parentheses.
const PATTERN_DEPTH_MAX: u32 = 100;
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
    ///
    /// # Errors
    /// [`GroupError::InvalidRegularExpression`] if the pattern is malformed, or too costly.
    pub fn matching(&self, pattern: &str) -> Result<Vec<TopicName>, GroupError> {
        let regex = compile(pattern)?;
        let mut names: Vec<_> = self.names().filter(|name| regex.is_match(name.as_str().as_bytes())).cloned().collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// Compiles a pattern. The engine matches in linear time, and the limits bound its memory, so that
/// no pattern explodes.
///
/// # Errors
/// [`GroupError::InvalidRegularExpression`]
pub fn compile(pattern: &str) -> Result<regex::bytes::Regex, GroupError> {
    if pattern.len() > PATTERN_LENGTH_MAX {
        let reason = format!("it has {} bytes, over the limit of {PATTERN_LENGTH_MAX}", pattern.len());
        return Err(GroupError::InvalidRegularExpression { reason });
    }
    let build = |pattern: &str, is_unicode| {
        RegexBuilder::new(pattern)
            .unicode(is_unicode)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .nest_limit(PATTERN_DEPTH_MAX)
            .build()
    };
    // Names of topics are ASCII, so that the small ASCII classes of RE2 suffice. Only classes such
    // as \p{L} need Unicode.
    let is_unicode = build(pattern, false).is_err();
    // The pattern must be one by itself: the group around it would hide that `a)|(b` is none.
    let checked = build(pattern, is_unicode);
    let anchored = checked.and_then(|_| build(&format!(r"\A(?:{pattern})\z"), is_unicode));
    anchored.map_err(|error| GroupError::InvalidRegularExpression { reason: error.to_string() })
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

    fn check(pattern: &str, expected: &[&str]) {
        let topics = catalogue(&["a", "ab", "b", "orders-1", "orders-22", "x.y"]);
        let matched = topics.matching(pattern).unwrap();
        assert_eq!(matched.iter().map(TopicName::as_str).collect::<Vec<_>>(), expected, "{pattern}");
    }

    #[test]
    fn patterns_match_whole_names_in_the_syntax_of_re2() {
        check("a", &["a"]);
        check("a|b", &["a", "b"]);
        check("a.*", &["a", "ab"]);
        check(r"orders-\d+", &["orders-1", "orders-22"]);
        check(r"orders-\d", &["orders-1"]);
        check("[[:alpha:]]{2}", &["ab"]);
        check(r"x\.y", &["x.y"]);
        check(r"\p{L}", &["a", "b"]);
        check("(?i)A", &["a"]);
        check("", &[]);
    }

    #[test]
    fn malformed_and_explosive_patterns_are_refused() {
        let long = "a".repeat(PATTERN_LENGTH_MAX + 1);
        let deep = "(".repeat(200) + &")".repeat(200);
        for pattern in ["(", "a)|(b", "*", r"(a)\1", "(?=a)", "((a{1000}){1000}){1000}", &long, &deep] {
            assert!(matches!(compile(pattern), Err(GroupError::InvalidRegularExpression { .. })), "{pattern}");
        }
    }

    #[test]
    fn a_copy_does_not_see_later_changes() {
        let mut topics = catalogue(&["a", "b"]);
        let copy = topics.clone();
        topics.remove("a");
        assert_eq!((topics.find("a"), copy.find("a").unwrap().id), (None, TopicId(1)));
        assert_eq!(topics.matching(".*").unwrap().len(), 1);
    }
}
