//! The aborted transactions of a log in the order of their ends. A read_committed client filters
//! their records out of the batches that it receives (KIP-98).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use rustmq_model::{Offset, ProducerId};

use super::aborted_chunk::PackedChunk;

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

/// The most transactions in one chunk.
const CHUNK: usize = 1_024;

/// In the order of `last_offset`. Full chunks are packed. Copies share the chunks: a change of an
/// index that a reader holds copies one of them.
#[derive(Clone, Debug, Default)]
pub struct AbortedIndex {
    packed: VecDeque<Arc<PackedChunk>>,
    newest: Arc<Vec<AbortedTransaction>>,
    /// Packed transactions that ended below this are trimmed.
    start: Offset,
}

impl Eq for AbortedIndex {}

impl PartialEq for AbortedIndex {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

/// The transactions must have ended in this order.
impl FromIterator<AbortedTransaction> for AbortedIndex {
    fn from_iter<I: IntoIterator<Item = AbortedTransaction>>(aborted: I) -> Self {
        let mut index = Self::default();
        index.extend(aborted);
        index
    }
}

impl AbortedIndex {
    #[must_use]
    pub fn len(&self) -> usize {
        if self.packed.is_empty() { self.newest.len() } else { self.iter().count() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty() && self.newest.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = AbortedTransaction> {
        self.from(self.start)
    }

    /// The transactions that ended at this offset or later.
    fn from(&self, offset: Offset) -> impl Iterator<Item = AbortedTransaction> {
        let offset = offset.max(self.start);
        let first = self.packed.partition_point(|chunk| chunk.last_marker < offset);
        let packed = self.packed.range(first..).flat_map(|chunk| chunk.iter());
        packed.chain(self.newest.iter().copied()).skip_while(move |aborted| aborted.last_offset < offset)
    }

    /// The transactions that overlap this range.
    pub fn overlapping(&self, offsets: Range<Offset>) -> impl Iterator<Item = AbortedTransaction> {
        let Range { start, end } = offsets;
        let mut is_last = false;
        let near = self.from(start).take_while(move |aborted| {
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
                self.last_marker().is_none_or(|last| last < aborted.last_offset),
                "aborted transactions come in the order of their ends"
            );
            let newest = Arc::make_mut(&mut self.newest);
            newest.push(aborted);
            if newest.len() == CHUNK {
                self.packed.extend(PackedChunk::of(newest).map(Arc::new));
                newest.clear();
            }
        }
    }

    fn last_marker(&self) -> Option<Offset> {
        let newest = self.newest.last().map(|last| last.last_offset);
        newest.or_else(|| self.packed.back().map(|chunk| chunk.last_marker))
    }

    /// Whether [`Self::trim`] may remove any; surely not if this is false.
    #[must_use]
    pub fn reaches_below(&self, log_start: Offset) -> bool {
        let newest = self.newest.first().map(|first| first.last_offset);
        let first = self.packed.front().map_or(newest, |chunk| Some(chunk.first_marker.max(self.start)));
        first.is_some_and(|first| first < log_start)
    }

    /// Removes the transactions that ended below the log start.
    pub fn trim(&mut self, log_start: Offset) {
        if !self.reaches_below(log_start) {
            return;
        }
        self.start = log_start;
        while self.packed.pop_front_if(|chunk| chunk.last_marker < log_start).is_some() {}
        let gone = self.newest.partition_point(|aborted| aborted.last_offset < log_start);
        if gone > 0 {
            Arc::make_mut(&mut self.newest).drain(..gone);
        }
    }

    /// Takes the transactions whose markers are below `end`.
    pub fn take_below(&mut self, end: Offset) -> Vec<AbortedTransaction> {
        let below = self.iter().take_while(|aborted| aborted.last_offset < end).collect();
        self.trim(end);
        below
    }

    /// Removes the transactions that ended at or above `end`, where the log is cut.
    pub fn truncate(&mut self, end: Offset) {
        if self.last_marker().is_none_or(|last| last < end) {
            return;
        }
        let newest = Arc::make_mut(&mut self.newest);
        newest.truncate(newest.partition_point(|aborted| aborted.last_offset < end));
        while let Some(chunk) = self.packed.pop_back_if(|chunk| chunk.last_marker >= end) {
            let kept = chunk.iter().take_while(|aborted| aborted.last_offset < end);
            newest.extend(kept.filter(|aborted| aborted.last_offset >= self.start));
        }
        // A log that is reset may start anew below its earlier start.
        self.start = self.start.min(end);
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.iter().zip(self.iter().skip(1)).all(|(one, next)| one.last_offset < next.last_offset)
            && self.iter().all(|aborted| aborted.first_offset <= aborted.last_offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use rustmq_model::{Offset, ProducerId};

    use std::sync::Arc;

    use super::{AbortedIndex, AbortedTransaction, CHUNK};

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
            let is_in = |aborted: &AbortedTransaction| aborted.last_offset >= from && aborted.first_offset < until;
            let expected: Vec<_> = index.iter().filter(is_in).collect();
            prop_assert_eq!(index.overlapping(from..until).collect::<Vec<_>>(), expected);
            let mut rest = index.clone();
            let mut rejoined: AbortedIndex = rest.take_below(until).into_iter().collect();
            let mut cut = index.clone();
            cut.truncate(until);
            prop_assert_eq!(&cut, &rejoined);
            prop_assert!(rejoined.iter().all(|aborted| aborted.last_offset < until));
            rejoined.extend(rest.iter());
            prop_assert_eq!(&rejoined, &index);
            let mut trimmed = index.clone();
            trimmed.trim(from);
            prop_assert!(index.reaches_below(from) || trimmed.len() == index.len());
            prop_assert!(trimmed.iter().all(|aborted| aborted.last_offset >= from));
        }
    }

    #[test]
    fn many_transactions_lie_in_packed_chunks_that_copies_share() {
        let count = 5 * i64::try_from(CHUNK).expect("a chunk is small");
        let aborted = |at: i64| AbortedTransaction {
            producer_id: ProducerId(at),
            first_offset: Offset(2 * at),
            last_offset: Offset(2 * at + 1),
            last_stable: Offset(2 * at + 2),
        };
        let index: AbortedIndex = (0..count).map(aborted).collect();
        let ids = |index: &AbortedIndex| index.iter().map(|aborted| aborted.producer_id.0).collect::<Vec<_>>();
        for at in [0, 1, 1_000, 1_024, 1_025, 3_000, count - 1, count] {
            let (mut trimmed, mut cut) = (index.clone(), index.clone());
            trimmed.trim(Offset(2 * at));
            cut.truncate(Offset(2 * at));
            assert_eq!((ids(&trimmed), ids(&cut)), ((at..count).collect(), (0..at).collect()));
            let found: Vec<_> = index.overlapping(Offset(2 * at)..Offset(2 * at + 3)).collect();
            assert_eq!(found.len(), usize::try_from((count - at).min(2)).expect("it is small"));
        }
        let mut reset = index.clone();
        reset.trim(Offset(5_000));
        reset.truncate(Offset(3_000));
        assert!(reset.is_empty());
        reset.extend((1_600..4_000).map(aborted));
        assert_eq!(ids(&reset), (1_600..4_000).collect::<Vec<_>>(), "a log may start anew below its earlier start");
        let bytes: usize = index.packed.iter().map(|chunk| chunk.bytes()).sum();
        assert!(bytes < 8 * index.len(), "{bytes} bytes");
        let mut copy = index.clone();
        copy.extend([aborted(count)]);
        assert!(index.packed.iter().zip(&copy.packed).all(|(one, other)| Arc::ptr_eq(one, other)));
        assert_eq!((index.packed.len(), index.len() + 1), (5, copy.len()));
    }
}
