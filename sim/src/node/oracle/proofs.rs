//! The proofs in the log. From them follow the losses that harm excuses, and the starts that may
//! refuse the log. They are derived from the writes that the disk took and from the ends of commits
//! that the machine was told: the kind of a group is read, but not the position that it names.
//!
//! A group names the end of the log that was durable when its bytes were fixed, and at least the
//! end of the segment before its own. Once the group itself is durable, that end is proven: damage
//! before it is corruption, and a start refuses the log. Damage after it is taken for a torn tail,
//! and the log ends there. So harm excuses the loss of commits that no sound durable group names,
//! from the first harmed one on, and no other loss. Headers and trailers prove nothing. Harm to a
//! trailer or an index excuses no loss: a start reads the groups before them instead.
//!
//! ```text
//! commit          1  2  3  4      3 was fixed while 2 was in flight
//! names           -  1  1  3
//! harm in 3                       4 names 3: the start refuses the log
//! harm in 4                       4 may be lost
//! harm in 2 and 4                 3 names 1: 2 to 4 may be lost
//! ```
//! The oracle demands two proofs. The last group of a commit names every commit that was durable
//! when the commit began. A log that stays idle ends with a proof of its newest commit.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_engine_core::shard::{DiskStep, SyncPolicy};
use rustmq_engine_core::wal::{GroupHeader, GroupKind, SlotId};
use rustmq_model::Instant;

use crate::disk::Harmed;
use crate::node::start::WAL;

/// Numbers commits and starts in one order, across all lives of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    const fn before(self) -> Self {
        Self(self.0 - 1)
    }
}

/// Numbers segments in the order of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct SegmentNumber(u64);

/// The part of a commit that lies in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    commit: Moment,
    segment: SegmentNumber,
}

/// A beginning of the log: the parts of a commit and of all commits before it, and the parts in all
/// segments before this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Prefix {
    through: Moment,
    before: SegmentNumber,
}

impl Prefix {
    fn has(self, part: Part) -> bool {
        part.commit <= self.through || part.segment < self.before
    }

    fn or(self, other: Self) -> Self {
        Self { through: self.through.max(other.through), before: self.before.max(other.before) }
    }
}

/// The acknowledged content that a start may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Content that became durable at this moment or later may be lost; `None` excuses no loss.
    from: Option<Moment>,
}

impl Loss {
    pub const fn is_any(self) -> bool {
        self.from.is_some()
    }

    /// Whether content that became durable at this moment may be lost.
    pub fn covers(self, durable: Moment) -> bool {
        self.from.is_some_and(|from| from <= durable)
    }
}

/// A proof without memory is tried again within this time.
const RETRY: Duration = Duration::from_millis(200);

/// The slot and the offset of a write.
type Place = (SlotId, u32);

/// A write to the log: a group, or the header or trailer of a segment.
#[derive(Clone, Copy, Debug)]
struct Written {
    end: u32,
    at: Instant,
    part: Part,
    /// The step of the commit that syncs the write; `None` if only the end of the commit counts.
    synced_by: Option<usize>,
    /// `None` for a header or a trailer.
    group: Option<Group>,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    kind: GroupKind,
    /// The proven beginning of the log, once the group is durable.
    names: Prefix,
}

impl Written {
    /// Whether a start that cannot read the write ends the log before it. It rebuilds an index.
    fn is_needed(&self) -> bool {
        self.group.is_some_and(|group| group.kind != GroupKind::Index)
    }

    fn is_trailer(&self, offset: u32) -> bool {
        self.group.is_none() && offset != 0
    }
}

/// A commit that has not ended well.
#[derive(Clone, Copy, Debug)]
struct Unended {
    steps_done: usize,
    /// The beginning of the log that its groups name.
    names: Prefix,
}

#[derive(Debug)]
pub struct Proofs {
    syncs: SyncPolicy,
    proof_after: Duration,
    /// The newest commit or start.
    begun: Moment,
    /// The newest start.
    started: Moment,
    /// Also those of earlier lives.
    unended: BTreeMap<Moment, Unended>,
    has_failed: bool,
    /// The writes that a start may read.
    written: BTreeMap<Place, Written>,
    /// The newest segment in each slot.
    segments: BTreeMap<SlotId, SegmentNumber>,
    newest_segment: SegmentNumber,
    /// The newest part of a commit that has frames.
    with_frames: Part,
    /// That part, until a durable group names it, and when its proof is due.
    unproven: Option<(Part, Instant)>,
}

impl Proofs {
    pub const fn new(syncs: SyncPolicy, proof_after: Duration) -> Self {
        Self {
            syncs,
            proof_after,
            begun: Moment(0),
            started: Moment(0),
            unended: BTreeMap::new(),
            has_failed: false,
            written: BTreeMap::new(),
            segments: BTreeMap::new(),
            newest_segment: SegmentNumber(0),
            with_frames: Part { commit: Moment(0), segment: SegmentNumber(0) },
            unproven: None,
        }
    }

    /// A start has made the log durable that it found.
    pub const fn on_start(&mut self) {
        self.begun.0 += 1;
        self.started = self.begun;
        (self.has_failed, self.unproven) = (false, None);
    }

    /// The newest commit that is durable together with all commits before it, or the start.
    pub fn ended(&self) -> Moment {
        self.unended.range(self.started..).next().map_or(self.begun, |(first, _)| first.before())
    }

    /// A commit begins. For each of its writes, `frozen` returns [`Self::ended`] as it was when the
    /// bytes were fixed.
    pub fn on_begun(&mut self, now: Instant, steps: &[DiskStep], mut frozen: impl FnMut() -> Moment) -> Moment {
        let ended = self.synced(self.ended());
        self.begun.0 += 1;
        let commit = self.begun;
        let (mut names, mut last) = (Prefix::default(), None);
        for (number, step) in steps.iter().enumerate() {
            let (DiskStep::Write { slot, offset, bytes } | DiskStep::WriteSynced { slot, offset, bytes }) = step else {
                continue;
            };
            let (slot, offset, frozen) = (*slot, *offset, frozen());
            if offset == 0 {
                self.newest_segment.0 += 1;
                self.segments.insert(slot, self.newest_segment);
            }
            let part = Part { commit, segment: self.segments[&slot] };
            let header = GroupHeader::parse(WAL, bytes).ok();
            let group = header.map(|GroupHeader { kind, .. }| {
                let names = Prefix { through: self.synced(frozen), before: part.segment };
                Group { kind, names }
            });
            if let Some(group) = group {
                names = names.or(group.names);
                last = Some(group.names);
                if group.kind == GroupKind::Data {
                    self.with_frames = part;
                }
            }
            self.drop_from(slot, offset);
            let end = offset + u32::try_from(bytes.len()).expect("a write is shorter than a slot");
            let synced_by = (number..steps.len()).find(|later| match steps[*later] {
                DiskStep::Sync { slot: synced } => synced == slot,
                DiskStep::WriteSynced { .. } => *later == number,
                DiskStep::Write { .. } => false,
            });
            self.written.insert((slot, offset), Written { end, at: now, part, synced_by, group });
        }
        self.check_last_group(ended, last);
        self.unended.insert(commit, Unended { steps_done: 0, names });
        commit
    }

    /// Checks that the last group of a commit, which names this beginning of the log, names every
    /// group of the commits that had ended when the commit began. A commit without groups only
    /// starts a segment: then earlier groups must name all frames.
    fn check_last_group(&self, ended: Moment, last: Option<Prefix>) {
        let durable = || self.written.values().filter(|written| written.part.commit <= ended);
        let names = last.unwrap_or_else(|| names_of(durable()));
        let is_due = |group: Group| last.is_some() || group.kind == GroupKind::Data;
        let unnamed = durable().find(|written| written.group.is_some_and(is_due) && !names.has(written.part));
        assert!(unnamed.is_none(), "a commit begins, but its last group does not name {unnamed:?}, which is durable");
    }

    /// The newest commit that is known to be synced when `ended` is the newest durable one.
    const fn synced(&self, ended: Moment) -> Moment {
        match self.syncs {
            SyncPolicy::EachCommit => ended,
            SyncPolicy::Never => self.started,
        }
    }

    /// The log goes on at this place: later places of the slot have content that a start dropped,
    /// or that an earlier segment left.
    fn drop_from(&mut self, slot: SlotId, offset: u32) {
        while let Some((&place, _)) = self.written.range((slot, offset)..=(slot, u32::MAX)).next() {
            self.written.remove(&place);
        }
    }

    /// The next step of a commit has succeeded. After a failure no step and no commit counts: a
    /// sync that succeeds does not cover the bytes that a failed one has lost.
    pub fn on_step_done(&mut self, commit: Moment) {
        if !self.has_failed {
            self.unended.get_mut(&commit).expect("the commit has not ended").steps_done += 1;
        }
    }

    /// A commit has ended.
    pub fn on_ended(&mut self, now: Instant, commit: Moment, is_ok: bool) {
        self.has_failed |= !is_ok;
        if self.has_failed {
            return;
        }
        let before = self.ended();
        let Unended { names, .. } = self.unended.remove(&commit).expect("a commit ends once");
        self.unproven.take_if(|(unproven, _)| names.has(*unproven));
        let frames = self.with_frames;
        let is_new = before < frames.commit && frames.commit <= self.ended();
        if self.syncs == SyncPolicy::EachCommit && is_new && !names.has(frames) {
            self.unproven = Some((frames, now.plus(self.proof_after)));
        }
    }

    // Due proofs.

    /// The machine had no memory for a proof.
    pub fn on_no_memory(&mut self, now: Instant) {
        self.unproven.iter_mut().for_each(|(_, due)| *due = now.plus(RETRY));
    }

    /// Checks that a log that has been idle is proven. Without room in the newest segment the proof
    /// is left out: the next segment proves as much.
    pub fn check_idle(&mut self, now: Instant, has_room: impl FnOnce() -> bool) {
        if self.unproven.is_some_and(|(_, due)| due <= now) && self.ended() == self.begun {
            let due = self.unproven.take();
            assert!(!has_room(), "the log is idle, but no group proves its newest commit: {due:?}");
        }
    }

    /// Checks that the log is proven after an orderly end.
    pub fn check_closed(&self, has_room: bool) {
        let is_proven = self.unproven.is_none() || !has_room;
        assert!(is_proven, "the log is closed, but no group proves its newest commit: {:?}", self.unproven);
    }

    // Excuses.

    /// The loss that this harm excuses.
    pub fn loss(&self, harms: &[Harmed]) -> Loss {
        let harmed: BTreeMap<_, _> = self.harmed(harms).collect();
        let sound = self.written.iter().filter(|(place, _)| !harmed.contains_key(place));
        let proven = names_of(sound.map(|(_, written)| written).filter(|written| self.is_durable(written)));
        let lost = harmed.values().filter(|written| written.is_needed() && !proven.has(written.part));
        Loss { from: lost.map(|written| written.part.commit).min() }
    }

    fn is_durable(&self, written: &Written) -> bool {
        let is_synced = |unended: &Unended| written.synced_by.is_some_and(|step| step < unended.steps_done);
        self.unended.get(&written.part.commit).is_none_or(is_synced)
    }

    /// Whether a start that began at this time may refuse the log after this harm: it hit the
    /// header of a segment, or a group that any other one names, durable or not. An index counts as
    /// well if its segment has no trailer: only the trailer tells that an index lay there, and not
    /// batches.
    pub fn may_refuse(&self, harms: &[Harmed], began: Instant) -> bool {
        let named = names_of(self.written.values());
        let is_proven = |written: &Written| written.group.is_some() && named.has(written.part);
        let lost: BTreeMap<_, _> = self.harmed(harms).collect();
        let has_trailer = |slot: SlotId| {
            let mut written = self.written.range((slot, 0)..=(slot, u32::MAX));
            written.any(|(place, it)| it.is_trailer(place.1) && self.is_durable(it) && !lost.contains_key(place))
        };
        // A start that has read a sound index may read its segment as well, and then needs the
        // index unharmed.
        let meanwhile = &harms[harms.partition_point(|harmed| harmed.at < began)..];
        let is_read = |slot: SlotId, written: &Written| written.is_needed() || !has_trailer(slot);
        lost.iter().any(|((slot, offset), written)| *offset == 0 || is_proven(written) && is_read(*slot, written))
            || self.harmed(meanwhile).any(|(_, written)| is_proven(written))
    }

    fn harmed(&self, harms: &[Harmed]) -> impl Iterator<Item = (&Place, &Written)> {
        self.written.iter().filter(|((slot, offset), written)| {
            let is_in = |harmed: &Harmed| harmed.slot == *slot && (*offset..written.end).contains(&harmed.offset);
            harms.iter().any(|harmed| is_in(harmed) && harmed.at >= written.at)
        })
    }
}

/// The beginning of the log that these writes name.
fn names_of<'a>(writes: impl Iterator<Item = &'a Written>) -> Prefix {
    writes.filter_map(|written| written.group).fold(Prefix::default(), |named, group| named.or(group.names))
}

#[cfg(test)]
mod tests;
