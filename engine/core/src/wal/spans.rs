//! The segments that hold the offsets of one partition, as spans that do not overlap. The newest
//! frame for an offset wins. Spans do not know groups; the indexes of the segments do.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use super::control::DamagedRange;
use super::position::SegmentGeneration;

/// A range of offsets in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Offset,
    pub end: Offset,
    pub generation: SegmentGeneration,
    /// The bytes of the batches. After a cut through the span it is an estimate, by the share of
    /// the offsets.
    pub bytes: u64,
    pub max_timestamp: Timestamp,
    /// The batches could not be read back when they had to be relocated; a damaged range replaces
    /// them.
    pub is_damaged: bool,
}

impl Span {
    pub fn of_batch(generation: SegmentGeneration, header: &BatchHeader) -> Self {
        let (first, end) = (header.base_offset, header.next_offset());
        let bytes = u64::try_from(header.size).unwrap_or(u64::MAX);
        Self { first, end, generation, bytes, max_timestamp: header.max_timestamp, is_damaged: false }
    }

    /// The span of a damaged range.
    pub const fn of_damaged(generation: SegmentGeneration, range: &DamagedRange) -> Self {
        let DamagedRange { first, end, max_timestamp } = *range;
        Self { first, end, generation, bytes: 0, max_timestamp, is_damaged: true }
    }

    /// Whether `next` extends this span within the same segment.
    fn is_continued_by(&self, next: &Self) -> bool {
        self.end == next.first && self.generation == next.generation && self.is_damaged == next.is_damaged
    }

    fn join(&mut self, next: &Self) {
        self.end = next.end;
        self.bytes += next.bytes;
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
    }

    /// The bytes from `log_start` on.
    pub fn bytes_from(&self, log_start: Offset) -> u64 {
        if log_start <= self.first {
            self.bytes
        } else if log_start >= self.end {
            0
        } else {
            self.cut(log_start, self.end).bytes
        }
    }

    /// The damaged range that replaces the batches from `from` on.
    pub fn damaged_from(&self, from: Offset) -> DamagedRange {
        DamagedRange { first: from, end: self.end, max_timestamp: self.max_timestamp }
    }

    fn cut(&self, first: Offset, end: Offset) -> Self {
        let (whole, part) = (self.end.0 - self.first.0, end.0 - first.0);
        let scaled = u128::from(self.bytes) * u128::from(part.unsigned_abs()) / u128::from(whole.unsigned_abs().max(1));
        Self { first, end, bytes: u64::try_from(scaled).unwrap_or(self.bytes), ..*self }
    }
}

/// The total of the live bytes, updated with each span that comes or goes, so that a query does not
/// add up the spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Live {
    from: Offset,
    bytes: u64,
}

impl Live {
    fn add(&mut self, span: &Span) {
        self.bytes += span.bytes_from(self.from);
    }

    fn remove(&mut self, span: &Span) {
        self.bytes -= span.bytes_from(self.from);
    }

    fn join(&mut self, span: &mut Span, next: &Span) {
        self.remove(span);
        span.join(next);
        self.add(span);
    }
}

/// All spans of a partition, by first offset. Their content below [`Self::live_from`] is dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    by_first: BTreeMap<Offset, Span>,
    /// The first offsets by segment: the spans of one segment are needed often, and after
    /// relocations they may lie anywhere among the offsets.
    firsts: BTreeSet<(SegmentGeneration, Offset)>,
    live: Live,
}

impl Spans {
    /// Adds a span, which replaces earlier spans at its offsets. A span that continues the last one
    /// of its segment is joined to it.
    pub fn insert(&mut self, span: Span) {
        if let Some(mut last) = self.by_first.last_entry().filter(|last| last.get().end <= span.first) {
            let last = last.get_mut();
            if last.is_continued_by(&span) {
                self.live.join(last, &span);
                return;
            }
        } else {
            self.remove(span.first, span.end);
        }
        self.put(span);
    }

    /// Moves a batch to another segment, if a span still holds all of its offsets.
    pub fn relocate(&mut self, span: Span) {
        let held = self.by_first.range(..=span.first).next_back().is_some_and(|(_, held)| held.end >= span.end);
        if held {
            self.remove(span.first, span.end);
            let before = self.by_first.range_mut(..span.first).next_back().map(|(_, before)| before);
            match before.filter(|before| before.is_continued_by(&span)) {
                Some(before) => self.live.join(before, &span),
                None => self.put(span),
            }
        }
    }

    fn remove(&mut self, first: Offset, end: Offset) {
        let overlapping = |span: &Span| span.first < end && span.end > first;
        while let Some(old) = self.by_first.range(..end).next_back().map(|(_, span)| *span).filter(overlapping) {
            self.take(old.first);
            if old.end > end {
                self.put(old.cut(end, old.end));
            }
            if old.first < first {
                self.put(old.cut(old.first, first));
            }
        }
    }

    /// Adds a span; no other span begins at its first offset.
    fn put(&mut self, span: Span) {
        self.live.add(&span);
        self.firsts.insert((span.generation, span.first));
        self.by_first.insert(span.first, span);
    }

    fn take(&mut self, first: Offset) {
        if let Some(span) = self.by_first.remove(&first) {
            self.live.remove(&span);
            self.firsts.remove(&(span.generation, first));
        }
    }

    pub fn truncate(&mut self, end: Offset) {
        self.remove(end, Offset(i64::MAX));
    }

    /// Removes the spans that lie wholly below the log start. A span across the log start stays,
    /// since its later batches are live.
    pub fn trim(&mut self, log_start: Offset) {
        while let Some(span) = self.by_first.values().next().copied().filter(|span| span.end <= log_start) {
            self.take(span.first);
        }
    }

    pub fn clear(&mut self) {
        self.by_first.clear();
        self.firsts.clear();
        self.live.bytes = 0;
    }

    #[must_use]
    pub const fn live_from(&self) -> Offset {
        self.live.from
    }

    /// Declares the content below `offset` dead; it stays until it is trimmed. Visits only the
    /// spans between the old value and the new one.
    pub fn set_live_from(&mut self, offset: Offset) {
        let (low, high) = (offset.min(self.live.from), offset.max(self.live.from));
        let first = self.by_first.range(..=low).next_back().map_or(low, |(first, _)| *first);
        let between = || self.by_first.range(first..high).map(|(_, span)| span);
        between().for_each(|span| self.live.remove(span));
        self.live.from = offset;
        between().for_each(|span| self.live.add(span));
    }

    /// The bytes from [`Self::live_from`] on, over all spans.
    #[must_use]
    pub const fn live_bytes(&self) -> u64 {
        self.live.bytes
    }

    /// The span that holds `offset`, or the first one after it.
    #[must_use]
    pub fn find(&self, offset: Offset) -> Option<&Span> {
        let holding = self.by_first.range(..=offset).next_back().map(|(_, span)| span);
        let holding = holding.filter(|span| span.end > offset);
        holding.or_else(|| self.by_first.range(offset..).next().map(|(_, span)| span))
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Span> {
        self.by_first.values()
    }

    /// The spans of one segment in the order of their offsets. Takes no time for spans in other
    /// segments.
    pub fn in_segment(&self, generation: SegmentGeneration) -> impl Iterator<Item = &Span> {
        let inside = self.firsts.range((generation, Offset(i64::MIN))..=(generation, Offset(i64::MAX)));
        inside.filter_map(|(_, first)| self.by_first.get(first))
    }

    /// Panics if the spans contradict each other. `id` names the partition in the message.
    pub fn check_invariants(&self, id: TopicIdPartition) {
        let mut end = Offset(0);
        for span in self.iter() {
            assert!(end <= span.first && span.first < span.end, "spans of {id} follow each other");
            end = span.end;
        }
        let firsts: BTreeSet<_> = self.iter().map(|span| (span.generation, span.first)).collect();
        assert_eq!(self.firsts, firsts, "the spans of {id} are known by segment");
        let live: u64 = self.iter().map(|span| span.bytes_from(self.live.from)).sum();
        assert_eq!(self.live.bytes, live, "the live bytes of {id} are the sum over its spans");
    }
}
