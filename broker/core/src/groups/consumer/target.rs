//! The target assignment of a group: which topics each member reads, and what the assignor makes of
//! it. It is computed from a copy of the group's state, on another thread than the coordinator's,
//! because a large group takes milliseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustmq_model::TopicId;

use super::assignor::{Assignor, AssignorInput, AssignorMember};
use super::image::GroupImage;
use super::member::MemberSubscription;
use super::partitions::Assignment;
use super::patterns::ResolvedPatterns;
use super::topics::{TopicCatalogue, TopicFacts};
use crate::groups::identity::MemberId;

/// The state of a group when it needs a new target. All of it is shared with the group, and none of
/// it changes.
#[derive(Debug)]
pub struct TargetInput {
    members: Vec<InputMember>,
    catalogue: TopicCatalogue,
    patterns: ResolvedPatterns,
    assignor: Assignor,
    /// The hash of topics at which the group needs no new target, if only topics may have changed.
    known_hash: Option<i64>,
}

#[derive(Debug)]
struct InputMember {
    id: MemberId,
    subscription: Arc<MemberSubscription>,
    target: Arc<Assignment>,
}

/// A new target.
#[derive(Debug)]
pub struct ComputedTarget {
    /// The matches of the group's patterns, and the topics for which they hold.
    pub(super) patterns: ResolvedPatterns,
    pub(super) catalogue: TopicCatalogue,
    /// A hash of all topics that members read, with their ids and partition counts.
    pub(super) hash: i64,
    /// The members whose target changes; none if the group keeps its epoch.
    pub(super) changed: Option<Vec<(MemberId, Arc<Assignment>)>>,
}

impl TargetInput {
    /// `known_hash` as in the field. A member without a record of its subscription reads nothing.
    pub(super) fn of(
        image: &GroupImage,
        catalogue: &TopicCatalogue,
        patterns: &ResolvedPatterns,
        assignor: Assignor,
        known_hash: Option<i64>,
    ) -> Self {
        let (nothing, none) = (Arc::default(), Arc::default());
        let members = image.members().iter().map(|(id, member)| InputMember {
            id: id.clone(),
            subscription: Arc::clone(member.subscription().unwrap_or(&nothing)),
            target: Arc::clone(member.target().unwrap_or(&none)),
        });
        Self {
            members: members.collect(),
            catalogue: catalogue.clone(),
            patterns: patterns.clone(),
            assignor,
            known_hash,
        }
    }

    /// Computes the target.
    pub(crate) fn compute(self) -> ComputedTarget {
        let Self { members, catalogue, mut patterns, assignor, known_hash } = self;
        patterns.resolve(members.iter().map(|member| &*member.subscription), &catalogue);
        let topics = SubscribedTopics::of(&members, &catalogue, &patterns);
        let hash = topics.hash();
        let changed = (known_hash != Some(hash)).then(|| topics.assign(&members, assignor));
        ComputedTarget { patterns, catalogue, hash, changed }
    }
}

/// The topics and the pattern of a subscription.
type Wanted<'a> = (&'a BTreeSet<String>, Option<&'a str>);

/// The topics of a group's members that exist.
struct SubscribedTopics<'a> {
    /// The topics of each member, in their order. Members with equal subscriptions share them.
    by_member: Vec<Arc<[TopicId]>>,
    facts: BTreeMap<&'a str, Option<TopicFacts>>,
}

impl<'a> SubscribedTopics<'a> {
    fn of(members: &'a [InputMember], catalogue: &TopicCatalogue, patterns: &'a ResolvedPatterns) -> Self {
        let mut facts: BTreeMap<&str, Option<TopicFacts>> = BTreeMap::new();
        let mut distinct: BTreeMap<Wanted<'_>, Arc<[TopicId]>> = BTreeMap::new();
        let by_member = members.iter().map(|InputMember { subscription, .. }| {
            let wanted = (&subscription.topics, subscription.regex.as_deref());
            let topics = distinct.entry(wanted).or_insert_with(|| {
                let names = subscription.topics.iter().map(String::as_str).chain(patterns.names(subscription));
                let find = |name| *facts.entry(name).or_insert_with(|| catalogue.find(name));
                let mut ids: Vec<TopicId> = names.filter_map(find).map(|topic| topic.id).collect();
                ids.sort_unstable();
                ids.dedup();
                ids.into()
            });
            Arc::clone(topics)
        });
        Self { by_member: by_member.collect(), facts }
    }

    fn existing(&self) -> impl Iterator<Item = (&str, TopicFacts)> {
        self.facts.iter().filter_map(|(name, topic)| topic.map(|topic| (*name, topic)))
    }

    /// Zero stands for no topics, as in Kafka.
    fn hash(&self) -> i64 {
        let mut hash = None;
        for (name, topic) in self.existing() {
            let hash = hash.get_or_insert_with(Fnv::new);
            hash.add(name.as_bytes());
            hash.add(&[0]);
            hash.add(&topic.id.to_bytes());
            hash.add(&topic.partition_count.to_be_bytes());
        }
        hash.map_or(0, |hash| hash.0.cast_signed())
    }

    /// The members whose target changes.
    fn assign(&self, members: &[InputMember], assignor: Assignor) -> Vec<(MemberId, Arc<Assignment>)> {
        let of_assignor = members.iter().zip(&self.by_member).map(|(member, topics)| AssignorMember {
            id: &member.id,
            instance: member.subscription.instance.as_ref(),
            topics,
            target: &member.target,
        });
        let partition_counts = self.existing().map(|(_, topic)| (topic.id, topic.partition_count)).collect();
        let input = AssignorInput { members: of_assignor.collect(), partition_counts };
        let targets = members.iter().zip(assignor.assign(&input));
        let changed = targets.filter(|(member, target)| *member.target != *target);
        changed.map(|(member, target)| (member.id.clone(), Arc::new(target))).collect()
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
