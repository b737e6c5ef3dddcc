//! The aborted transactions of a log in the order of their ends. A read_committed client filters
//! their records out of the batches that it receives (KIP-98). The log has an index of all its
//! aborted transactions; readers see one of those that can overlap their reads.

use std::ops::Range;

use rustmq_model::{Offset, ProducerId};

/// An aborted transaction in the retained log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// The offset of its marker.
    pub last_offset: Offset,
    /// The last stable offset once this transaction had ended: no transaction that ends later has
    /// records below it.
    pub last_stable: Offset,
}

/// In the order of `last_offset`. Its owner bounds it ([`super::LogLimits::aborted_max`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbortedIndex(Vec<AbortedTransaction>);

impl From<Vec<AbortedTransaction>> for AbortedIndex {
    fn from(aborted: Vec<AbortedTransaction>) -> Self {
        Self(aborted)
    }
}

impl AbortedIndex {
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, AbortedTransaction> {
        self.0.iter()
    }

    /// The transactions whose markers are in this range.
    #[must_use]
    pub fn ended_in(&self, offsets: Range<Offset>) -> &[AbortedTransaction] {
        // The usual case.
        if self.0.last().is_none_or(|last| last.last_offset < offsets.start) {
            return &[];
        }
        let ended_before = |offset| self.0.partition_point(|aborted| aborted.last_offset < offset);
        self.0.get(ended_before(offsets.start)..ended_before(offsets.end)).unwrap_or_default()
    }

    /// The transactions that overlap this range.
    pub fn overlapping(&self, offsets: Range<Offset>) -> impl Iterator<Item = &AbortedTransaction> {
        let Range { start, end } = offsets;
        let first = self.0.partition_point(|aborted| aborted.last_offset < start);
        let mut is_last = false;
        let near = self.0[first..].iter().take_while(move |aborted| {
            let goes_on = !is_last;
            is_last = aborted.last_stable >= end;
            goes_on
        });
        near.filter(move |aborted| aborted.first_offset < end)
    }

    /// Adds transactions, which must have ended after all earlier ones.
    pub fn extend(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        for aborted in aborted {
            assert!(
                self.0.last().is_none_or(|last| last.last_offset < aborted.last_offset),
                "aborted transactions come in the order of their ends"
            );
            self.0.push(aborted);
        }
    }

    /// Whether [`Self::trim`] would remove any.
    #[must_use]
    pub fn reaches_below(&self, log_start: Offset) -> bool {
        self.0.first().is_some_and(|first| first.last_offset < log_start)
    }

    /// Removes the transactions that ended below the log start.
    pub fn trim(&mut self, log_start: Offset) {
        let gone = self.0.partition_point(|aborted| aborted.last_offset < log_start);
        self.0.drain(..gone);
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].last_offset < pair[1].last_offset)
            && self.0.iter().all(|aborted| aborted.first_offset <= aborted.last_offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rustmq_model::{Offset, ProducerId};

    use super::{AbortedIndex, AbortedTransaction};

    /// Builds an index from steps of one offset each: a producer writes a record, or aborts its
    /// transaction.
    fn index_of(steps: &[(i64, bool)]) -> AbortedIndex {
        let (mut open, mut index) = (BTreeMap::new(), AbortedIndex::default());
        for (at, (producer, is_end)) in (0..).zip(steps) {
            if !is_end {
                open.entry(*producer).or_insert(at);
            } else if let Some(first) = open.remove(producer) {
                let last_stable = open.values().min().copied().unwrap_or(at + 1);
                index.extend([AbortedTransaction {
                    producer_id: ProducerId(*producer),
                    first_offset: Offset(first),
                    last_offset: Offset(at),
                    last_stable: Offset(last_stable),
                }]);
            }
        }
        index
    }

    proptest! {
        #[test]
        fn a_range_finds_the_same_as_a_scan_of_all(
            steps in proptest::collection::vec((0..5_i64, any::<bool>()), 0..60),
            from in 0..60_i64,
            length in 0..60_i64,
        ) {
            let (index, from, until) = (index_of(&steps), Offset(from), Offset(from + length));
            let is_in = |aborted: &&AbortedTransaction| aborted.last_offset >= from && aborted.first_offset < until;
            let expected: Vec<_> = index.iter().filter(is_in).collect();
            prop_assert_eq!(index.overlapping(from..until).collect::<Vec<_>>(), expected);
            let ended: Vec<_> = index.iter().filter(|aborted| (from..until).contains(&aborted.last_offset)).collect();
            prop_assert_eq!(index.ended_in(from..until).iter().collect::<Vec<_>>(), ended);
            let mut trimmed = index.clone();
            trimmed.trim(from);
            prop_assert_eq!(trimmed.len() < index.len(), index.reaches_below(from));
            prop_assert!(trimmed.iter().all(|aborted| aborted.last_offset >= from));
        }
    }
}
