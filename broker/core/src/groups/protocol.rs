//! The protocols that all members of a group have in common, and the vote for one of them.

use std::collections::{BTreeMap, BTreeSet};

use super::request::Protocol;

/// The number of members that offer each protocol, and the bytes of all offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProtocolSupport {
    counts: BTreeMap<String, usize>,
    bytes: usize,
}

impl ProtocolSupport {
    pub(crate) fn add(&mut self, protocols: &[Protocol]) {
        self.bytes += memory_of(protocols);
        for protocol in protocols {
            *self.counts.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, protocols: &[Protocol]) {
        self.bytes -= memory_of(protocols);
        for protocol in protocols {
            let count = self.counts.get_mut(&protocol.name).expect("a member's protocols were counted when it came");
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&protocol.name);
            }
        }
    }

    /// The bytes of all offers, after `offered` has replaced `replaced`.
    pub(crate) fn bytes_with(&self, offered: &[Protocol], replaced: &[Protocol]) -> usize {
        self.bytes - memory_of(replaced) + memory_of(offered)
    }

    /// Whether all of `member_count` members offer this protocol.
    pub(crate) fn is_common(&self, name: &str, member_count: usize) -> bool {
        self.counts.get(name).copied().unwrap_or(0) == member_count
    }

    /// Each member votes for the first of its protocols that all members offer; most votes win. A
    /// tie goes to the last protocol in the alphabet, so that a restart does not change the choice.
    pub(crate) fn vote<'a>(&self, members: impl ExactSizeIterator<Item = &'a [Protocol]>) -> Option<String> {
        let member_count = members.len();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for protocols in members {
            if let Some(choice) = protocols.iter().find(|protocol| self.is_common(&protocol.name, member_count)) {
                *votes.entry(choice.name.as_str()).or_default() += 1;
            }
        }
        votes.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }
}

fn memory_of(protocols: &[Protocol]) -> usize {
    protocols.iter().map(|protocol| size_of::<Protocol>() + protocol.name.len() + protocol.metadata.len()).sum()
}

/// The protocols without repeated names: the first one of each name counts.
pub(crate) fn kept_protocols(mut protocols: Vec<Protocol>) -> Vec<Protocol> {
    let mut names = BTreeSet::new();
    protocols.retain(|protocol| names.insert(protocol.name.clone()));
    protocols
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn offers(names: &[&str]) -> Vec<Protocol> {
        names.iter().map(|name| Protocol { name: (*name).to_owned(), metadata: Bytes::new() }).collect()
    }

    fn check(members: &[&[&str]], expected: Option<&str>) {
        let members: Vec<_> = members.iter().map(|names| offers(names)).collect();
        let mut support = ProtocolSupport::default();
        members.iter().for_each(|protocols| support.add(protocols));
        assert_eq!(support.vote(members.iter().map(Vec::as_slice)).as_deref(), expected, "{members:?}");
        members.iter().for_each(|protocols| support.remove(protocols));
        assert_eq!(support, ProtocolSupport::default());
    }

    #[test]
    fn the_vote_picks_the_preferred_common_protocol() {
        check(&[&["range", "cooperative-sticky"]], Some("range"));
        check(&[&["range", "sticky"], &["sticky", "range"], &["sticky", "range"]], Some("sticky"));
        check(&[&["a", "range"], &["range"]], Some("range"));
        check(&[&["a"], &["b"]], None);
    }

    #[test]
    fn repeated_offers_count_once() {
        assert_eq!(kept_protocols(offers(&["a", "b", "a"])), offers(&["a", "b"]));
    }
}
