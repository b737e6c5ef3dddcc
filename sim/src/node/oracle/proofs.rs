//! The proofs in the log. From them follow the losses that harm excuses, and the starts that may
//! refuse the log. They are derived from the writes that the disk took and from the ends of commits
//! that the machine was told: the kind of a group is read, but not the position that it names.
//!
//! A group names the end of the log that was durable when its bytes were fixed. Once the group
//! itself is durable, that end is proven: damage before it is corruption, and a start refuses the
//! log. Damage after it is taken for a torn tail, and the log ends there. So harm excuses the loss
//! of commits that no sound durable group names, from the first harmed one on, and no other loss.
//! The header of a segment, together with the trailer of the one before it, names that segment.
//!
//! ```text
//! commit          1  2  3  4      3 was fixed while 2 was in flight
//! names           -  1  1  3
//! harm in 3                       4 names 3: the start refuses the log
//! harm in 4                       4 may be lost
//! harm in 2 and 4                 3 names 1: 2 to 4 may be lost
//! ```
//! A log that stays idle ends with a proof of its newest commit. The oracle demands it.

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
const RETRY: Duration = Duration::from_secs(1);

/// The slot and the offset of a write.
type Place = (SlotId, u32);

/// A write to the log: a group, or the header or trailer of a segment.
#[derive(Clone, Copy, Debug)]
struct Written {
    end: u32,
    at: Instant,
    commit: Moment,
    /// The step of the commit that syncs the write; `None` if only the end of the commit counts.
    synced_by: Option<usize>,
    /// The newest commit that is named, at least; `None` for a trailer.
    names: Option<Moment>,
    /// The trailer without which a header names nothing.
    trailer: Option<Place>,
}

impl Written {
    const fn is_group(&self) -> bool {
        self.names.is_some() && self.trailer.is_none()
    }
}

/// A commit that has not ended well.
#[derive(Clone, Copy, Debug)]
struct Unended {
    steps_done: usize,
    /// The newest commit that its groups name.
    names: Option<Moment>,
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
    /// The commit that began the segment in each slot.
    segments: BTreeMap<SlotId, Moment>,
    newest_segment: Option<SlotId>,
    /// The newest commit with frames.
    with_frames: Moment,
    /// That commit, until a durable group names it, and when its proof is due.
    unproven: Option<(Moment, Instant)>,
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
            newest_segment: None,
            with_frames: Moment(0),
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
        self.begun.0 += 1;
        let commit = self.begun;
        let (mut newest_named, mut sealed) = (None, None);
        for (number, step) in steps.iter().enumerate() {
            let (DiskStep::Write { slot, offset, bytes } | DiskStep::WriteSynced { slot, offset, bytes }) = step else {
                continue;
            };
            let (slot, offset, frozen) = (*slot, *offset, frozen());
            let (mut names, mut trailer) = (None, None);
            if offset == 0 {
                self.segments.insert(slot, commit);
                self.newest_segment = Some(slot);
                trailer = sealed.take();
                names = trailer.map(|_| commit.before());
            } else if let Ok(group) = GroupHeader::parse(WAL, bytes) {
                if group.kind == GroupKind::Data {
                    self.with_frames = commit;
                }
                names = Some(self.named(slot, frozen));
                newest_named = newest_named.max(names);
            } else {
                sealed = Some((slot, offset));
            }
            self.drop_from(slot, offset);
            let end = offset + u32::try_from(bytes.len()).expect("a write is shorter than a slot");
            let synced_by = (number..steps.len()).find(|later| match steps[*later] {
                DiskStep::Sync { slot: synced } => synced == slot,
                DiskStep::WriteSynced { .. } => *later == number,
                DiskStep::Write { .. } => false,
            });
            self.written.insert((slot, offset), Written { end, at: now, commit, synced_by, names, trailer });
        }
        self.unended.insert(commit, Unended { steps_done: 0, names: newest_named });
        commit
    }

    /// The newest commit that a group of this slot names, at least. Its segment began in a commit
    /// that had no other beside it, and that synced the segment before.
    fn named(&self, slot: SlotId, frozen: Moment) -> Moment {
        let synced = match self.syncs {
            SyncPolicy::EachCommit => frozen,
            SyncPolicy::Never => self.started,
        };
        self.segments.get(&slot).map_or(synced, |begun| synced.max(begun.before()))
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
        self.unproven.take_if(|(unproven, _)| Some(*unproven) <= names);
        if self.syncs == SyncPolicy::EachCommit && before < self.with_frames && self.with_frames <= self.ended() {
            self.unproven = Some((self.with_frames, now.plus(self.proof_after)));
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
        if harmed.is_empty() {
            return Loss { from: None };
        }
        let is_sound = |place: &Place, of: Moment| {
            let is_of = |written: &Written| written.commit == of && self.is_durable(written);
            self.written.get(place).is_some_and(is_of) && !harmed.contains_key(place)
        };
        let proofs = self.written.iter().filter(|(place, written)| {
            let places = [Some(**place), written.trailer];
            places.iter().flatten().all(|place| is_sound(place, written.commit))
        });
        let proven = proofs.filter_map(|(_, written)| written.names).max();
        // Groups show that a header is lost, and a segment is read without its trailer.
        let groups = harmed.values().filter(|written| written.is_group() && Some(written.commit) > proven);
        Loss { from: groups.map(|written| written.commit).min() }
    }

    fn is_durable(&self, written: &Written) -> bool {
        let is_synced = |unended: &Unended| written.synced_by.is_some_and(|step| step < unended.steps_done);
        self.unended.get(&written.commit).is_none_or(is_synced)
    }

    /// Whether a start may refuse the log after this harm: it hit the header of a segment, a
    /// segment that is not the newest, or a commit that any group names, durable or not.
    pub fn may_refuse(&self, harms: &[Harmed]) -> bool {
        let named = self.written.values().filter_map(|written| written.names).max();
        self.harmed(harms).any(|((slot, offset), written)| {
            *offset == 0 || self.newest_segment != Some(*slot) || Some(written.commit) <= named
        })
    }

    fn harmed(&self, harms: &[Harmed]) -> impl Iterator<Item = (&Place, &Written)> {
        self.written.iter().filter(|((slot, offset), written)| {
            let is_in = |harmed: &Harmed| harmed.slot == *slot && (*offset..written.end).contains(&harmed.offset);
            harms.iter().any(|harmed| is_in(harmed) && harmed.at >= written.at)
        })
    }
}

#[cfg(test)]
mod tests;
