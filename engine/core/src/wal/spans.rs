//! Where the offsets of one partition are: non-overlapping spans, each in one segment. The newest writer of an offset wins.
//! Knows no groups; those are in the segments' indexes.

use std::collections::BTreeMap;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp};

use super::frame::DamagedRange;
use super::position::Generation;

/// A range of offsets in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Offset,
    pub end: Offset,
    pub generation: Generation,
    /// Bytes of batches. An estimate by the number of offsets after a cut through the span.
    pub bytes: u64,
    pub max_timestamp: Timestamp,
    /// Its batches could not be read back when they were to move: there are none any more.
    pub is_damaged: bool,
}

impl Span {
    pub fn of_batch(generation: Generation, header: &BatchHeader) -> Self {
        let (first, end) = (header.base_offset, header.next_offset());
        let bytes = u64::try_from(header.size).unwrap_or(u64::MAX);
        Self { first, end, generation, bytes, max_timestamp: header.max_timestamp, is_damaged: false }
    }

    /// The span of what stands for damaged batches.
    pub const fn of_damaged(generation: Generation, range: &DamagedRange) -> Self {
        let DamagedRange { first, end, max_timestamp } = *range;
        Self { first, end, generation, bytes: 0, max_timestamp, is_damaged: true }
    }

    /// Whether the two are one span, in the same segment.
    fn is_continued_by(&self, next: &Self) -> bool {
        self.end == next.first && self.generation == next.generation && self.is_damaged == next.is_damaged
    }

    fn join(&mut self, next: &Self) {
        self.end = next.end;
        self.bytes += next.bytes;
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
    }

    /// Of the bytes, those from `log_start` on.
    pub fn bytes_from(&self, log_start: Offset) -> u64 {
        self.cut(log_start.clamp(self.first, self.end), self.end).bytes
    }

    /// What stands for its batches from `from` on, which are damaged.
    pub fn damaged_from(&self, from: Offset) -> DamagedRange {
        DamagedRange { first: from, end: self.end, max_timestamp: self.max_timestamp }
    }

    fn cut(&self, first: Offset, end: Offset) -> Self {
        let (whole, part) = (self.end.0 - self.first.0, end.0 - first.0);
        let scaled = u128::from(self.bytes) * u128::from(part.unsigned_abs()) / u128::from(whole.unsigned_abs().max(1));
        Self { first, end, bytes: u64::try_from(scaled).unwrap_or(self.bytes), ..*self }
    }
}

/// All spans of a partition, by first offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(BTreeMap<Offset, Span>);

impl Spans {
    /// Adds a span; what earlier spans hold of its offsets is now here. A span that continues the last one of its segment
    /// joins it.
    pub fn insert(&mut self, span: Span) {
        if let Some(mut last) = self.0.last_entry().filter(|last| last.get().end <= span.first) {
            let last = last.get_mut();
            if last.is_continued_by(&span) {
                last.join(&span);
                return;
            }
        } else {
            self.remove(span.first, span.end);
        }
        self.0.insert(span.first, span);
    }

    /// A batch that was already here has moved: takes effect only where its offsets still are held.
    pub fn relocate(&mut self, span: Span) {
        let held = self.0.range(..=span.first).next_back().is_some_and(|(_, held)| held.end >= span.end);
        if held {
            self.remove(span.first, span.end);
            let before = self.0.range_mut(..span.first).next_back().map(|(_, before)| before);
            match before.filter(|before| before.is_continued_by(&span)) {
                Some(before) => before.join(&span),
                None => {
                    self.0.insert(span.first, span);
                }
            }
        }
    }

    fn remove(&mut self, first: Offset, end: Offset) {
        let overlapping = |span: &Span| span.first < end && span.end > first;
        while let Some(old) = self.0.range(..end).next_back().map(|(_, span)| *span).filter(overlapping) {
            self.0.remove(&old.first);
            if old.end > end {
                self.0.insert(end, old.cut(end, old.end));
            }
            if old.first < first {
                self.0.insert(old.first, old.cut(old.first, first));
            }
        }
    }

    pub fn truncate(&mut self, end: Offset) {
        self.remove(end, Offset(i64::MAX));
    }

    /// Forgets whole spans below the log start. A span that reaches over it stays: its batches can.
    pub fn trim(&mut self, log_start: Offset) {
        while let Some(first) = self.0.first_entry().filter(|span| span.get().end <= log_start) {
            first.remove();
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The span that holds `offset`, or the first one after it.
    #[must_use]
    pub fn find(&self, offset: Offset) -> Option<&Span> {
        let holding = self.0.range(..=offset).next_back().map(|(_, span)| span).filter(|span| span.end > offset);
        holding.or_else(|| self.0.range(offset..).next().map(|(_, span)| span))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.values()
    }

    pub fn in_segment(&self, generation: Generation) -> impl Iterator<Item = &Span> {
        self.0.values().filter(move |span| span.generation == generation)
    }
}
