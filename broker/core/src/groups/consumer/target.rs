//! The target assignment of a group: which topics each member reads, and what the assignor makes of
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustmq_model::{TopicId, TopicName};

use super::assignor::{Assignor, AssignorInput, AssignorMember};
use super::image::GroupImage;
use super::member::MemberSubscription;
use super::partitions::Assignment;
use super::topics::TopicCatalogue;
use crate::groups::identity::MemberId;

/// The topics that patterns match, by pattern. A pattern is matched once until topics change.
#[derive(Debug, Default)]
pub(super) struct ResolvedPatterns(BTreeMap<String, Arc<[TopicName]>>);

impl ResolvedPatterns {
    /// Forgets all matches: the topics have changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn has(&self, pattern: &str) -> bool {
        self.0.contains_key(pattern)
    }

    /// Whether a pattern matches the topic.
    pub(super) fn matches(&self, pattern: &str, topic: &str) -> bool {
        self.0.get(pattern).is_some_and(|names| names.iter().any(|name| name.as_str() == topic))
    }

    /// Keeps the patterns that members have, and matches the new ones. A pattern that cannot be
    /// compiled, in a record of another version, matches nothing.
    fn resolve(&mut self, image: &GroupImage, catalogue: &TopicCatalogue) {
        let subscriptions = image.members().values().filter_map(|member| member.subscription());
        let wanted: BTreeSet<&str> = subscriptions.filter_map(|subscription| subscription.regex.as_deref()).collect();
        self.0.retain(|pattern, _| wanted.contains(pattern.as_str()));
        for pattern in wanted {
            if !self.0.contains_key(pattern) {
                let names = catalogue.matching(pattern).unwrap_or_default();
                self.0.insert(pattern.to_owned(), names.into());
            }
        }
    }

    fn names(&self, subscription: &MemberSubscription) -> impl Iterator<Item = &str> {
        let matched = subscription.regex.as_deref().and_then(|pattern| self.0.get(pattern));
        matched.into_iter().flat_map(|names| names.iter().map(TopicName::as_str))
    }
}

/// The topics and the pattern of a subscription.
type Wanted<'a> = (&'a BTreeSet<String>, Option<&'a str>);

/// The topics of a group's members that exist.
#[derive(Debug)]
pub(super) struct SubscribedTopics {
    /// Each member's topics. Members with equal subscriptions share them.
    by_member: BTreeMap<MemberId, Arc<[TopicId]>>,
    partition_counts: BTreeMap<TopicId, usize>,
    /// A hash of all topics with their ids and partition counts.
    pub(super) hash: i64,
}

impl SubscribedTopics {
    pub(super) fn of(image: &GroupImage, catalogue: &TopicCatalogue, patterns: &mut ResolvedPatterns) -> Self {
        patterns.resolve(image, catalogue);
        let mut facts = BTreeMap::new();
        let mut distinct: BTreeMap<Wanted<'_>, Arc<[TopicId]>> = BTreeMap::new();
        let mut by_member = BTreeMap::new();
        for (id, member) in image.members() {
            let Some(subscription) = member.subscription() else { continue };
            let topics = distinct.entry((&subscription.topics, subscription.regex.as_deref())).or_insert_with(|| {
                let names = subscription.topics.iter().map(String::as_str).chain(patterns.names(subscription));
                let mut ids: Vec<TopicId> = names
                    .filter_map(|name| {
                        let found = catalogue.find(name)?;
                        facts.insert(name.to_owned(), found);
                        Some(found.id)
                    })
                    .collect();
                ids.sort_unstable();
                ids.dedup();
                ids.into()
            });
            by_member.insert(id.clone(), Arc::clone(topics));
        }
        let mut hash = Fnv::new();
        for (name, topic) in &facts {
            hash.add(name.as_bytes());
            hash.add(&[0]);
            hash.add(&topic.id.to_bytes());
            hash.add(&topic.partition_count.to_be_bytes());
        }
        // Zero stands for no topics, as in Kafka.
        let hash = if facts.is_empty() { 0 } else { hash.0.cast_signed() };
        let partition_counts = facts.into_values().map(|topic| (topic.id, topic.partition_count)).collect();
        Self { by_member, partition_counts, hash }
    }

    /// The new target of each member.
    pub(super) fn assign(&self, image: &GroupImage, assignor: Assignor) -> Vec<(MemberId, Assignment)> {
        let none = Assignment::default();
        let members = image.members().iter().map(|(id, member)| AssignorMember {
            id,
            instance: member.subscription().and_then(|subscription| subscription.instance.as_ref()),
            topics: self.by_member.get(id).map(AsRef::as_ref).unwrap_or_default(),
            target: member.target().map_or(&none, AsRef::as_ref),
        });
        let members = members.collect();
        let input = AssignorInput { members, partition_counts: self.partition_counts.clone() };
        image.members().keys().cloned().zip(assignor.assign(&input)).collect()
    }
}

/// The assignor that most members ask for; the first supported one if nobody asks.
pub(super) fn preferred_assignor(image: &GroupImage, supported: &[Assignor]) -> Assignor {
    let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
    for member in image.members().values() {
        let wanted = member.subscription().and_then(|subscription| subscription.assignor.as_deref());
        let Some(assignor) = wanted.and_then(Assignor::from_name) else { continue };
        if supported.contains(&assignor) {
            *votes.entry(assignor).or_default() += 1;
        }
    }
    let most = votes.into_iter().max_by_key(|(assignor, count)| (*count, std::cmp::Reverse(*assignor)));
    most.map(|(assignor, _)| assignor).or(supported.first().copied()).unwrap_or(Assignor::Uniform)
}

/// FNV-1a of 64 bits. Only this coordinator compares the hashes.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
