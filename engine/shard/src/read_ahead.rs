//! Recognizes sequential reads: a read that begins where another read of its partition ended, as a
//! consumer's reads do. The ranges after it are read ahead while the consumer is busy.

use std::collections::VecDeque;
use std::ops::Range;

use parking_lot::Mutex;
use rustmq_engine_core::wal::Trailer;
use rustmq_model::{Offset, TopicIdPartition};

use crate::segment_file::SegmentFile;

/// The number of ends that are remembered; about as many sequential readers are recognized at the
/// same time.
const ENDS_MAX: usize = 512;

/// A read that nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    pub segment: SegmentFile,
    pub what: Ahead,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// A run of groups, read as one window.
    Run(Range<u32>),
    /// The first of a partition's runs, which the segment's index locates.
    Indexed(IndexedRange),
}

/// A range of a partition's offsets in a segment whose index must be read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexedRange {
    pub trailer: Trailer,
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// The segment that a reader comes to after the current one.
#[derive(Debug)]
pub(crate) struct NextSegment {
    pub segment: SegmentFile,
    pub ahead: Vec<Ahead>,
}

/// The parts of the runs behind a window that ends at `window_end`, the end of a group.
pub(crate) fn beyond(runs: &[Range<u32>], window_end: u32) -> impl Iterator<Item = Range<u32>> {
    let rests = runs.iter().map(move |run| run.start.max(window_end)..run.end);
    rests.filter(|rest| !rest.is_empty())
}

/// The ends of the last reads.
#[derive(Debug, Default)]
pub(crate) struct SequentialReads(Mutex<VecDeque<(TopicIdPartition, Offset)>>);

impl SequentialReads {
    /// Whether a read from `from` continues another one. Uses that end up.
    pub(crate) fn take(&self, partition: TopicIdPartition, from: Offset) -> bool {
        let mut ends = self.0.lock();
        let at = ends.iter().position(|end| *end == (partition, from));
        at.and_then(|at| ends.remove(at)).is_some()
    }

    pub(crate) fn note(&self, partition: TopicIdPartition, end: Offset) {
        let mut ends = self.0.lock();
        ends.push_back((partition, end));
        if ends.len() > ENDS_MAX {
            ends.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::{Offset, TopicIdPartition};

    use super::{ENDS_MAX, SequentialReads};

    #[test]
    fn a_read_that_goes_on_where_one_ended_follows_it_once() {
        let (sequential_reads, partition) = (SequentialReads::default(), TopicIdPartition::default());
        assert!(!sequential_reads.take(partition, Offset(0)));
        sequential_reads.note(partition, Offset(10));
        sequential_reads.note(partition, Offset(10));
        let takes = [9, 10, 10, 10].map(|from| sequential_reads.take(partition, Offset(from)));
        assert_eq!(takes, [false, true, true, false]);
        sequential_reads.note(partition, Offset(0));
        (0..ENDS_MAX).for_each(|_| sequential_reads.note(partition, Offset(1)));
        assert!(!sequential_reads.take(partition, Offset(0)), "the oldest is forgotten");
    }
}
