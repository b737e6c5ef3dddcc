//! Which reads are followed by more: one that begins where another of its partition ended, as a consumer's do. What comes after it is read
//! while the consumer is away.

use std::collections::VecDeque;

use parking_lot::Mutex;
use rustmq_model::{Offset, TopicIdPartition};

use crate::window::SegmentFile;

/// Ends that are remembered: about as many readers are followed at once.
const ENDS_MAX: usize = 512;
/// Windows that are read ahead of a reader.
pub(crate) const WINDOWS_AHEAD: u32 = 3;

/// The windows to read from a place on.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    pub segment: SegmentFile,
    pub from: u32,
    pub windows: u32,
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
