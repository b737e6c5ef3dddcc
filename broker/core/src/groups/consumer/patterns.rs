//! The topics that each pattern of a group's members matches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustmq_model::TopicName;

use super::member::MemberSubscription;
use super::topics::TopicCatalogue;
use crate::pattern::Pattern;

/// The topics that the patterns of a group match, by pattern. A pattern is matched once until
/// topics change.
#[derive(Clone, Debug, Default)]
pub(super) struct ResolvedPatterns(BTreeMap<String, Arc<[TopicName]>>);

impl ResolvedPatterns {
    /// Forgets all matches: the topics have changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether a pattern matches the topic.
    pub(super) fn matches(&self, pattern: &str, topic: &str) -> bool {
        self.0.get(pattern).is_some_and(|names| names.iter().any(|name| name.as_str() == topic))
    }

    /// Keeps the patterns of these subscriptions, and matches the new ones. A pattern that cannot
    /// be compiled, in a record of another version, matches nothing.
    pub(super) fn resolve<'a>(
        &mut self,
        subscriptions: impl Iterator<Item = &'a MemberSubscription>,
        catalogue: &TopicCatalogue,
    ) {
        let wanted: BTreeSet<&str> = subscriptions.filter_map(|subscription| subscription.regex.as_deref()).collect();
        self.0.retain(|pattern, _| wanted.contains(pattern.as_str()));
        for pattern in wanted {
            if !self.0.contains_key(pattern) {
                let names = Pattern::compile(pattern).map(|it| catalogue.matching(&it)).unwrap_or_default();
                self.0.insert(pattern.to_owned(), names.into());
            }
        }
    }

    pub(super) fn names(&self, subscription: &MemberSubscription) -> impl Iterator<Item = &str> {
        let matched = subscription.regex.as_deref().and_then(|pattern| self.0.get(pattern));
        matched.into_iter().flat_map(|names| names.iter().map(TopicName::as_str))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustmq_model::TopicId;

    use super::*;
    use crate::groups::consumer::topics::TopicFacts;

    fn check(pattern: &str, expected: &[&str]) {
        let mut topics = TopicCatalogue::default();
        for name in ["a", "ab", "b", "orders-1", "orders-22", "x.y"] {
            topics.insert(TopicName::new(name).unwrap(), TopicFacts { id: TopicId(1), partition_count: 1 });
        }
        let matched = topics.matching(&Pattern::compile(pattern).unwrap());
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
}
