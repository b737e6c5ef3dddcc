//! From where each partition is replayed: its newest base that is whole (an open or close frame, or a checkpoint all of whose pieces are there), and what followed
//! it. Segments are given newest first, and no older ones are asked for once a partition has its base.
//!
//! ```text
//!        the last piece is met, the first one is in an older segment          the segment of the first piece is read
//! missing ---------------------------------------------------------> begins ------------------------------> found
//!    '----- an open or close frame is met, or a checkpoint that begins and ends in one segment ----------------^
//! ```
//! A checkpoint that lacks a piece is none: its last one was not written before a crash, or a repair has covered another.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use crate::wal::checkpoint_piece::{CheckpointPiece, CheckpointPieces};
use crate::wal::control::Control;
use crate::wal::index::IndexEntry;
use crate::wal::position::{SegmentGeneration, WalPosition};
use crate::wal::scan::{ReplayEvent, ReplayItem, Scanned, ScannedEvent};

/// What must be read of a segment for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryReplay {
    Nothing,
    Closed,
    /// Nothing but the base, which lies in one group.
    Group(u32),
    Segment,
}

/// What a partition is rebuilt from.
#[derive(Debug)]
pub(super) struct Replayed {
    pub partition: TopicIdPartition,
    /// Where its oldest frame is of those that were read.
    pub oldest: SegmentGeneration,
    /// In the order of the log: a base first, if there is one.
    pub items: Vec<ReplayItem>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Base {
    #[default]
    Missing,
    /// It ends in a newer segment than the one with its first piece, which stands here.
    Begins(WalPosition),
    Found,
}

/// One partition.
#[derive(Clone, Debug, Default)]
struct Replay {
    base: Base,
    /// What each segment holds of it, newest segment first.
    segments: Vec<Vec<Scanned>>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases(BTreeMap<TopicIdPartition, Replay>);

impl Bases {
    /// What the segment must be read for, by its index.
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

    /// Whether anything says what the partition is, or that it is closed. A piece alone does not.
    pub fn knows(&self, id: TopicIdPartition) -> bool {
        let says = |item: &Scanned| !matches!(item.event, ScannedEvent::Piece(..));
        self.0.get(&id).is_some_and(|replay| replay.base == Base::Found || replay.segments.iter().flatten().any(says))
    }

    /// What a segment, or a group of it, holds of all partitions.
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

    /// Every partition of which there is a frame, but those that an index says are closed.
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
            self.base = if self.has_whole(at) { Base::Found } else { Base::Missing };
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
                // Of one that begins in an older segment, the pieces are yet to be read.
                let is_here = at.generation == generation;
                if !is_here { Some(Base::Begins(at)) } else { self.has_whole(at).then_some(Base::Found) }
            }
            _ => None,
        });
        bases.next().unwrap_or_default()
    }

    /// Whether all pieces of the checkpoint that begins there have been read.
    fn has_whole(&self, begun_at: WalPosition) -> bool {
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

/// A checkpoint of which not all pieces have come yet.
#[derive(Debug)]
struct Pending {
    group: WalPosition,
    /// How many items came before it.
    after: usize,
    pieces: CheckpointPieces,
}

/// Frames in the order of the log, as a replay takes them. A whole checkpoint stands in the place of its first piece, and voids what is before that.
#[derive(Debug, Default)]
struct Assembly {
    items: Vec<ReplayItem>,
    /// The newest one: a checkpoint that another one follows was left by a crash.
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

/// Under which leader epoch, and at which offset, a partition begins whose base is lost: as the first of its frames that are left say.
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

    /// What frames say, one each, of one partition.
    #[derive(Clone, Copy, Debug)]
    enum Said {
        Open,
        Close,
        /// Any frame that is no base: the log is trimmed to this offset.
        Trim(i64),
        /// A piece of the checkpoint that this frame begins, by its number in the log.
        Piece {
            begun_by: u64,
            number: u32,
            count: u32,
        },
    }

    /// Each frame in a group of its own, so many of them a segment.
    fn scanned(said: &[Said], a_segment: usize) -> Vec<(SegmentGeneration, Scanned)> {
        let place = |at: usize| {
            let offset = u32::try_from(512 * (1 + at % a_segment)).unwrap();
            WalPosition { generation: SegmentGeneration(1 + (at / a_segment) as u64), offset }
        };
        let scanned = said.iter().enumerate().map(|(at, said)| {
            let group = place(at);
            let event = match *said {
                Said::Open => ScannedEvent::Control(Control::Open { epoch: LeaderEpoch(0), log_start: Offset(0) }),
                Said::Close => ScannedEvent::Control(Control::Close),
                Said::Trim(offset) => ScannedEvent::Control(Control::Trim { log_start: Offset(offset) }),
                Said::Piece { begun_by, number, count } => {
                    let begun_at = place(usize::try_from(begun_by).unwrap());
                    let bytes = Bytes::copy_from_slice(format!("{begun_by}.{number} ").as_bytes());
                    ScannedEvent::Piece(CheckpointPiece { begun_at, number, count }, bytes)
                }
            };
            (group.generation, Scanned { group, event })
        });
        scanned.collect()
    }

    /// Segments are given newest first. Answers what is replayed, and how many segments were not wanted any more.
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

    fn check(said: &[Said], expected: &str) {
        for a_segment in 1..=said.len() {
            let (items, _) = replayed(&scanned(said, a_segment));
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
            assert_eq!(texts.concat().trim_end(), expected, "{said:?}, {a_segment} a segment");
        }
    }

    const fn piece(begun_by: u64, number: u32, count: u32) -> Said {
        Said::Piece { begun_by, number, count }
    }

    #[test]
    fn the_newest_whole_base_counts_and_what_followed_its_first_piece_is_replayed() {
        use Said::{Close, Open, Trim};
        check(&[Open, Trim(1)], "open trim 1");
        check(&[Open, Trim(1), piece(2, 0, 1), Trim(2)], "2.0 trim 2");
        check(&[Open, piece(1, 0, 2), Trim(1), piece(1, 1, 2), Trim(2)], "1.0 1.1 trim 1 trim 2");
        check(&[Open, piece(1, 0, 3), Trim(1), piece(1, 1, 3), Trim(2)], "open trim 1 trim 2");
        // Left by a crash, and another one after it.
        check(&[Open, piece(1, 0, 2), Trim(1), piece(3, 0, 2), Trim(2), piece(3, 1, 2)], "3.0 3.1 trim 2");
        check(&[Open, piece(1, 0, 1), piece(2, 0, 2), Trim(1)], "1.0 trim 1");
        // A hole took a piece in the midst.
        check(&[Open, piece(1, 0, 3), Trim(1), piece(1, 2, 3), Trim(2)], "open trim 1 trim 2");
        check(&[Open, piece(1, 0, 1), piece(9, 1, 2), Trim(1)], "1.0 trim 1");
        // Another life.
        check(&[Open, piece(1, 0, 2), Close, Open, piece(1, 1, 2), Trim(1)], "open trim 1");
        check(&[Open, piece(1, 0, 2), piece(1, 1, 2), Close], "close");
        // Nothing but a rest.
        check(&[piece(0, 0, 2), piece(0, 0, 2)], "");
    }

    fn said() -> impl Strategy<Value = Vec<Said>> {
        let step = prop_oneof![
            1 => Just(None),
            6 => (0..100_i64).prop_map(|offset| Some(Said::Trim(offset))),
            // As it goes on, this piece of it; or another is begun with so many.
            8 => (1..5_u32).prop_map(|count| Some(piece(u64::MAX, 0, count))),
        ];
        proptest::collection::vec(step, 1..40).prop_map(|steps| {
            let mut said = vec![Said::Open];
            let mut under_way: Option<(u64, u32, u32)> = None;
            for step in steps {
                let at = said.len() as u64;
                match step {
                    // A crash.
                    None => under_way = None,
                    Some(Said::Piece { count, .. }) => {
                        let (begun_by, number, count) = under_way.unwrap_or((at, 0, count));
                        said.push(piece(begun_by, number, count));
                        under_way = (number + 1 < count).then_some((begun_by, number + 1, count));
                    }
                    Some(other) => said.push(other),
                }
            }
            said
        })
    }

    proptest! {
        #[test]
        fn no_older_segment_is_wanted_than_what_is_replayed_needs(said in said(), a_segment in 1..9_usize) {
            let scanned = scanned(&said, a_segment);
            let (items, unwanted) = replayed(&scanned);
            // By all of the log.
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
