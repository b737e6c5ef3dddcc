//! Which reads are followed by more: one that begins where another of its partition ended, as a consumer's do. What comes after it is read
//! while the consumer is away.

use std::collections::VecDeque;
use std::ops::Range;

use parking_lot::Mutex;
use rustmq_engine_core::wal::Trailer;
use rustmq_model::{Offset, TopicIdPartition};

use crate::segment_file::SegmentFile;

/// Ends that are remembered: about as many readers are followed at once.
const ENDS_MAX: usize = 512;

/// Something to read before anybody asks for it.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    pub segment: SegmentFile,
    pub what: Ahead,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// A run of groups, as a window.
    Run(Range<u32>),
    /// The first of a partition's runs, once the index has told where they are.
    First(IndexedRange),
}

/// A partition's offsets in a segment whose index must be read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexedRange {
    pub trailer: Trailer,
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// The segment that a reader comes to next.
#[derive(Debug)]
pub(crate) struct NextPlace {
    pub segment: SegmentFile,
    pub ahead: Vec<Ahead>,
}

/// What of the runs lies beyond the window that ends here, at the end of a group.
pub(crate) fn beyond(runs: &[Range<u32>], window_end: u32) -> impl Iterator<Item = Range<u32>> {
    let rests = runs.iter().map(move |run| run.start.max(window_end)..run.end);
    rests.filter(|rest| !rest.is_empty())
}

/// Where the last reads ended.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<VecDeque<(TopicIdPartition, Offset)>>);

impl Followers {
    /// Whether a read from here goes on where another ended. That end is then used up.
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

    use super::{ENDS_MAX, Followers};

    #[test]
    fn a_read_that_goes_on_where_one_ended_follows_it_once() {
        let (followers, partition) = (Followers::default(), TopicIdPartition::default());
        assert!(!followers.take(partition, Offset(0)));
        followers.note(partition, Offset(10));
        followers.note(partition, Offset(10));
        let takes = [9, 10, 10, 10].map(|from| followers.take(partition, Offset(from)));
        assert_eq!(takes, [false, true, true, false]);
        followers.note(partition, Offset(0));
        (0..ENDS_MAX).for_each(|_| followers.note(partition, Offset(1)));
        assert!(!followers.take(partition, Offset(0)), "the oldest is forgotten");
    }
}
