//! The base from which each partition is replayed, and the frames after it. The base is the newest
//! one that is whole: an open or close frame, or a checkpoint with all of its pieces. Segments come
//! newest first; once a partition has its base, its frames in older segments are not needed.
//!
//! ```text
//! missing --last piece is read, first one is in an older segment--------> begins
//! begins  --segment of the first piece is read--------------------------> found
//! begins  --the same, but a piece is lost-------------------------------> missing
//! missing --open, close, or whole checkpoint in one segment is read-----> found
//! ```
//! A checkpoint that lacks a piece does not count: a crash prevented its last piece, or a repair
//! covered another one.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use crate::wal::checkpoint_piece::{CheckpointPiece, CheckpointPieces};
use crate::wal::control::Control;
use crate::wal::index::IndexEntry;
use crate::wal::position::{SegmentGeneration, WalPosition};
use crate::wal::scan::{ReplayEvent, ReplayItem, Scanned, ScannedEvent};

/// The part of a segment that must be read for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryReplay {
    Nothing,
    Closed,
    /// Only the base, which lies in one group.
    Group(u32),
    Segment,
}

/// The events that a partition is rebuilt from.
#[derive(Debug)]
pub(super) struct Replayed {
    pub partition: TopicIdPartition,
    /// The segment of its oldest frame among those that were read.
    pub oldest: SegmentGeneration,
    /// In the order of the log: a base first, if there is one.
    pub items: Vec<ReplayItem>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Base {
    #[default]
    Missing,
    /// The last piece was read. The first one stands at this position, in an older segment that is
    /// yet to be read.
    Begins(WalPosition),
    Found,
}

/// The frames of one partition.
#[derive(Clone, Debug, Default)]
struct Replay {
    base: Base,
    /// The frames by segment, newest segment first.
    segments: Vec<Vec<Scanned>>,
}

/// The bases of all partitions, see the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases(BTreeMap<TopicIdPartition, Replay>);

impl Bases {
    /// The part of the segment to read for the partition, by the segment's index.
    pub fn wants(&self, id: TopicIdPartition, generation: SegmentGeneration, entry: &IndexEntry) -> EntryReplay {
        match self.0.get(&id).map(|replay| replay.base).unwrap_or_default() {
            Base::Found => EntryReplay::Nothing,
            Base::Begins(_) => EntryReplay::Segment,
            Base::Missing if entry.last_group == 0 => EntryReplay::Nothing,
            Base::Missing if entry.base_group != entry.last_group => EntryReplay::Segment,
            Base::Missing if entry.closed => EntryReplay::Closed,
            Base::Missing => {
                let is_in_one_group = entry.base_begins >= WalPosition { generation, offset: entry.base_group };
                if is_in_one_group { EntryReplay::Group(entry.base_group) } else { EntryReplay::Segment }
            }
        }
    }

    /// The partition's newest frame is a close.
    pub fn on_closed(&mut self, id: TopicIdPartition) {
        self.0.entry(id).or_default().base = Base::Found;
    }

    /// Whether a frame tells the partition's state, or that it is closed. A piece alone does not.
    pub fn has_state(&self, id: TopicIdPartition) -> bool {
        let says = |item: &Scanned| !matches!(item.event, ScannedEvent::Piece(..));
        self.0.get(&id).is_some_and(|replay| replay.base == Base::Found || replay.segments.iter().flatten().any(says))
    }

    /// Adds the frames of a segment, or of one of its groups, for all partitions.
    pub fn collect(&mut self, generation: SegmentGeneration, items: Vec<(TopicIdPartition, Scanned)>) {
        let mut parts: BTreeMap<TopicIdPartition, Vec<Scanned>> = BTreeMap::new();
        for (id, item) in items {
            if self.0.get(&id).is_none_or(|replay| replay.base != Base::Found) {
                parts.entry(id).or_default().push(item);
            }
        }
        for (id, part) in parts {
            self.0.entry(id).or_default().add(generation, part);
        }
    }

    /// The events of every partition with a frame, without partitions that an index says are
    /// closed.
    pub fn finish(self) -> impl Iterator<Item = Replayed> {
        self.0.into_iter().filter_map(|(partition, replay)| {
            let mut scanned = replay.segments.into_iter().rev().flatten().peekable();
            let oldest = scanned.peek()?.group.generation;
            let mut assembly = Assembly::default();
            scanned.for_each(|item| assembly.push(item));
            Some(Replayed { partition, oldest, items: assembly.items })
        })
    }
}

impl Replay {
    fn add(&mut self, generation: SegmentGeneration, part: Vec<Scanned>) {
        self.segments.push(part);
        if let Base::Begins(at) = self.base {
            if at.generation < generation {
                return;
            }
            self.base = if self.has_all_pieces(at) { Base::Found } else { Base::Missing };
        }
        if self.base == Base::Missing {
            self.base = self.newest_base(generation);
        }
    }

    /// The newest base that ends in the segment added last.
    fn newest_base(&self, generation: SegmentGeneration) -> Base {
        let newest_first = self.segments.last().into_iter().flatten().rev();
        let mut bases = newest_first.filter_map(|item| match &item.event {
            ScannedEvent::Control(Control::Open { .. } | Control::Close) => Some(Base::Found),
            ScannedEvent::Piece(piece, _) if piece.is_last() => {
                let at = piece.begun_at;
                // The pieces of a checkpoint that begins in an older segment are yet to be read.
                let is_here = at.generation == generation;
                if !is_here { Some(Base::Begins(at)) } else { self.has_all_pieces(at).then_some(Base::Found) }
            }
            _ => None,
        });
        bases.next().unwrap_or_default()
    }

    /// Whether all pieces of the checkpoint that begins at `begun_at` have been read.
    fn has_all_pieces(&self, begun_at: WalPosition) -> bool {
        let mut expected = 0;
        for item in self.segments.iter().rev().flatten() {
            let ScannedEvent::Piece(piece, _) = &item.event else { continue };
            if piece.begun_at == begun_at && piece.number == expected {
                expected += 1;
                if piece.is_last() {
                    return true;
                }
            }
        }
        false
    }
}

/// A checkpoint whose last piece has not come yet.
#[derive(Debug)]
struct Pending {
    group: WalPosition,
    /// The number of items before it.
    after: usize,
    pieces: CheckpointPieces,
}

/// Turns frames into events, in the order of the log. A whole checkpoint takes the place of its
/// first piece, and voids the frames before that.
#[derive(Debug, Default)]
struct Assembly {
    items: Vec<ReplayItem>,
    /// The newest unfinished checkpoint: a crash left any earlier one.
    pending: Option<Pending>,
}

impl Assembly {
    fn push(&mut self, Scanned { group, event }: Scanned) {
        let event = match event {
            ScannedEvent::Piece(piece, bytes) => return self.on_piece(group, piece, bytes),
            ScannedEvent::Batch(header, marker) => ReplayEvent::Batch(header, marker),
            ScannedEvent::Control(control) => {
                if matches!(control, Control::Open { .. } | Control::Close) {
                    self.items.clear();
                    self.pending = None;
                }
                ReplayEvent::Control(control)
            }
        };
        self.items.push(ReplayItem { group, event });
    }

    fn on_piece(&mut self, group: WalPosition, piece: CheckpointPiece, bytes: Bytes) {
        if piece.number == 0 {
            let pieces = CheckpointPieces::begun_by(&piece);
            self.pending = Some(Pending { group, after: self.items.len(), pieces });
        }
        let Some(pending) = &mut self.pending else { return };
        if let Some(whole) = pending.pieces.take(&piece, bytes) {
            let (group, after) = (pending.group, pending.after);
            self.pending = None;
            self.items.splice(..after, [ReplayItem { group, event: ReplayEvent::Checkpoint(whole) }]);
        }
    }
}

/// The leader epoch and the offset at which a partition without a base begins, from the first of
/// its frames that are left.
pub(super) fn begun_by(items: &[ReplayItem]) -> (LeaderEpoch, Offset) {
    let epoch = items.iter().find_map(|item| match &item.event {
        ReplayEvent::Batch(header, _) => Some(header.leader_epoch),
        ReplayEvent::Control(Control::EpochStart { epoch, .. }) => Some(*epoch),
        _ => None,
    });
    let log_start = items.iter().find_map(|item| match &item.event {
        ReplayEvent::Batch(header, _) => Some(header.base_offset),
        ReplayEvent::Control(
            Control::EpochStart { start: offset, .. }
            | Control::Trim { log_start: offset }
            | Control::Truncate { end: offset },
        ) => Some(*offset),
        _ => None,
    });
    (epoch.unwrap_or(LeaderEpoch(0)), log_start.unwrap_or(Offset::ZERO))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

    use super::{Bases, Replayed};
    use crate::wal::scan::{ReplayEvent, ReplayItem, Scanned, ScannedEvent};
    use crate::wal::{CheckpointPiece, Control, SegmentGeneration, WalPosition};

    /// The frames of a test, all of one partition.
    #[derive(Clone, Copy, Debug)]
    enum TestFrame {
        Open,
        Close,
        /// Any frame other than a base: trims the log to this offset.
        Trim(i64),
        /// A piece of the checkpoint that begins at the frame with the number `begun_by`.
        Piece {
            begun_by: u64,
            number: u32,
            count: u32,
        },
    }

    /// Puts each frame into a group of its own, and `a_segment` groups into a segment.
    fn scanned(frames: &[TestFrame], a_segment: usize) -> Vec<(SegmentGeneration, Scanned)> {
        let place = |at: usize| {
            let offset = u32::try_from(512 * (1 + at % a_segment)).unwrap();
            WalPosition { generation: SegmentGeneration(1 + (at / a_segment) as u64), offset }
        };
        let scanned = frames.iter().enumerate().map(|(at, frame)| {
            let group = place(at);
            let event = match *frame {
                TestFrame::Open => ScannedEvent::Control(Control::Open { epoch: LeaderEpoch(0), log_start: Offset(0) }),
                TestFrame::Close => ScannedEvent::Control(Control::Close),
                TestFrame::Trim(offset) => ScannedEvent::Control(Control::Trim { log_start: Offset(offset) }),
                TestFrame::Piece { begun_by, number, count } => {
                    let begun_at = place(usize::try_from(begun_by).unwrap());
                    let bytes = Bytes::copy_from_slice(format!("{begun_by}.{number} ").as_bytes());
                    ScannedEvent::Piece(CheckpointPiece { begun_at, number, count }, bytes)
                }
            };
            (group.generation, Scanned { group, event })
        });
        scanned.collect()
    }

    /// Adds the segments, newest first. Returns the replayed events, and the number of segments
    /// that were not needed.
    fn replayed(scanned: &[(SegmentGeneration, Scanned)]) -> (Vec<ReplayItem>, usize) {
        let id = TopicIdPartition::default();
        let (mut bases, mut unwanted) = (Bases::default(), 0);
        for segment in scanned.chunk_by(|one, next| one.0 == next.0).rev() {
            unwanted += usize::from(bases.0.get(&id).is_some_and(|replay| replay.base == super::Base::Found));
            bases.collect(segment[0].0, segment.iter().map(|(_, item)| (id, item.clone())).collect());
        }
        let items = bases.finish().next().map(|Replayed { items, .. }| items).unwrap_or_default();
        (items, unwanted)
    }

    fn check(frames: &[TestFrame], expected: &str) {
        for a_segment in 1..=frames.len() {
            let (items, _) = replayed(&scanned(frames, a_segment));
            let texts: Vec<_> = items
                .iter()
                .map(|item| match &item.event {
                    ReplayEvent::Checkpoint(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                    ReplayEvent::Control(Control::Open { .. }) => "open ".to_owned(),
                    ReplayEvent::Control(Control::Close) => "close ".to_owned(),
                    ReplayEvent::Control(Control::Trim { log_start }) => format!("trim {} ", log_start.0),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(texts.concat().trim_end(), expected, "{frames:?}, {a_segment} frames a segment");
        }
    }

    const fn piece(begun_by: u64, number: u32, count: u32) -> TestFrame {
        TestFrame::Piece { begun_by, number, count }
    }

    #[test]
    fn the_newest_whole_base_counts_and_frames_after_its_first_piece_are_replayed() {
        use TestFrame::{Close, Open, Trim};
        check(&[Open, Trim(1)], "open trim 1");
        check(&[Open, Trim(1), piece(2, 0, 1), Trim(2)], "2.0 trim 2");
        check(&[Open, piece(1, 0, 2), Trim(1), piece(1, 1, 2), Trim(2)], "1.0 1.1 trim 1 trim 2");
        check(&[Open, piece(1, 0, 3), Trim(1), piece(1, 1, 3), Trim(2)], "open trim 1 trim 2");
        // A crash left a checkpoint, and another one follows.
        check(&[Open, piece(1, 0, 2), Trim(1), piece(3, 0, 2), Trim(2), piece(3, 1, 2)], "3.0 3.1 trim 2");
        check(&[Open, piece(1, 0, 1), piece(2, 0, 2), Trim(1)], "1.0 trim 1");
        // A hole covers a piece in the middle.
        check(&[Open, piece(1, 0, 3), Trim(1), piece(1, 2, 3), Trim(2)], "open trim 1 trim 2");
        check(&[Open, piece(1, 0, 1), piece(9, 1, 2), Trim(1)], "1.0 trim 1");
        // The partition is closed and opened again.
        check(&[Open, piece(1, 0, 2), Close, Open, piece(1, 1, 2), Trim(1)], "open trim 1");
        check(&[Open, piece(1, 0, 2), piece(1, 1, 2), Close], "close");
        // Only pieces are left.
        check(&[piece(0, 0, 2), piece(0, 0, 2)], "");
    }

    fn any_frames() -> impl Strategy<Value = Vec<TestFrame>> {
        let step = prop_oneof![
            1 => Just(None),
            6 => (0..100_i64).prop_map(|offset| Some(TestFrame::Trim(offset))),
            // The next piece of the unfinished checkpoint, or the first piece of one with `count`
            // pieces.
            8 => (1..5_u32).prop_map(|count| Some(piece(u64::MAX, 0, count))),
        ];
        proptest::collection::vec(step, 1..40).prop_map(|steps| {
            let mut frames = vec![TestFrame::Open];
            let mut under_way: Option<(u64, u32, u32)> = None;
            for step in steps {
                let at = frames.len() as u64;
                match step {
                    // A crash.
                    None => under_way = None,
                    Some(TestFrame::Piece { count, .. }) => {
                        let (begun_by, number, count) = under_way.unwrap_or((at, 0, count));
                        frames.push(piece(begun_by, number, count));
                        under_way = (number + 1 < count).then_some((begun_by, number + 1, count));
                    }
                    Some(other) => frames.push(other),
                }
            }
            frames
        })
    }

    proptest! {
        #[test]
        fn no_segment_is_needed_before_the_oldest_replayed_one(frames in any_frames(), a_segment in 1..9_usize) {
            let scanned = scanned(&frames, a_segment);
            let (items, unwanted) = replayed(&scanned);
            // The same by the whole log.
            let id = TopicIdPartition::default();
            let mut whole = Bases::default();
            let all = scanned.iter().map(|(_, item)| (id, item.clone())).collect();
            whole.collect(SegmentGeneration(u64::MAX), all);
            prop_assert_eq!(&items, &whole.finish().next().unwrap().items);
            let segments = scanned.last().unwrap().0.0;
            prop_assert_eq!(unwanted as u64, items[0].group.generation.0 - 1, "of {} segments", segments);
        }
    }
}
