//! Recovery at a restart: finds the segments in use, the end of the log, the position where the log
//! goes on, and the base that each partition is replayed from. The caller executes one read at a
//! time ([`Recovery::poll_action`]) and returns its bytes ([`Recovery::on_read`]). Recovery writes
//! nothing: [`RecoveredWal`] lists the writes and syncs that must precede service.
//!
//! ```text
//! headers of all slots -> scan of the newest segment -> per older segment, newest first:
//!     trailer -> index -> (nothing | groups of bases | scan)          no sound index -> scan
//! ```
//! An older segment is scanned if its trailer or index is not sound, if the newest base
//! (checkpoint, open or close) of some partition leaves frames to replay in it or has pieces in
//! several groups, or if single groups with bases are too many or damaged. A repair scans all.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rustmq_model::Offset;

mod bases;
mod headerless;
mod index_group;
mod outcome;
mod tail;

pub use index_group::read_index;
pub use outcome::{
    BaseLost, CorruptionPolicy, DroppedTail, ReadRequest, RecoveredSegment, RecoveredWal, RecoveryError,
    RecoveryOptions, ResumePoint,
};

use super::control::Control;
use super::damage::{GroupDamage, GroupError};
use super::format_version::Unknown;
use super::group::{self, GroupHeader};
use super::index::{IndexError, SegmentIndex, Trailer};
use super::position::{SegmentGeneration, SegmentShape, SlotId, WalPosition, WalSession};
use super::scan::{DamagePolicy, Hole, ReplayEvent, ReplayItem, ScanNeed, SegmentPlace, SegmentScan, scan_group};
use super::segment_header::{SegmentHeader, SegmentHeaderError};

use bases::{Bases, EntryReplay, Replayed, begun_by};
use headerless::HeaderlessSlot;
use index_group::parse_index;

/// Holds the header of a slot and, with any block size, the header of its first group.
const HEAD_LENGTH: u32 = 2 * SegmentShape::BLOCK_SIZE_MAX;
/// The most groups that are read one by one for their bases; for more, a scan of the whole segment
/// is cheaper.
const BASE_GROUPS_MAX: usize = 64;

const _: () = assert!(
    SegmentShape::BLOCK_SIZE_MAX + group::HEADER_LENGTH <= HEAD_LENGTH,
    "a head holds the first group's header"
);

#[derive(Clone, Debug)]
struct FoundSegment {
    slot: SlotId,
    header: SegmentHeader,
    /// The durable position that the first group names, if its header is sound.
    first_durable: Option<WalPosition>,
}

#[derive(Clone, Debug)]
enum Step {
    Head {
        slot: usize,
    },
    /// Searches for a group of a segment without a header.
    Search {
        slot: usize,
        offset: u32,
    },
    Scan {
        segment: usize,
        scan: Box<SegmentScan>,
        need: ScanNeed,
        trailer: Option<Trailer>,
    },
    Trailer {
        segment: usize,
    },
    Index {
        segment: usize,
        trailer: Trailer,
    },
    Bases {
        segment: usize,
        trailer: Trailer,
        index: SegmentIndex,
        groups: Vec<u32>,
        need: u32,
    },
    Done,
}

/// The state of a recovery, see the module.
#[derive(Clone, Debug)]
pub struct Recovery {
    options: RecoveryOptions,
    step: Step,
    found: Vec<FoundSegment>,
    headerless: Vec<HeaderlessSlot>,
    /// Slots of freed segments, which recovery does not need.
    freed: Vec<SlotId>,
    short_files: Vec<(SlotId, SegmentShape)>,
    headers: Vec<(SlotId, SegmentHeader)>,
    void_trailers: Vec<(SlotId, SegmentShape)>,
    session_seen: WalSession,
    tail: Option<usize>,
    started_empty: Vec<SlotId>,
    resume_at: ResumePoint,
    durable: WalPosition,
    proven: WalPosition,
    is_proven: bool,
    /// The end of the previous segment, as the tail segment's groups name it.
    tail_claim: Option<WalPosition>,
    dropped: Vec<DroppedTail>,
    holes: Vec<(SlotId, SegmentShape, Hole)>,
    /// Newest first; [`Recovery::finish`] reverses them.
    segments: Vec<RecoveredSegment>,
    bases: Bases,
}

impl Recovery {
    #[must_use]
    pub fn new(options: RecoveryOptions) -> Self {
        let step = if options.slots.is_empty() { Step::Done } else { Step::Head { slot: 0 } };
        Self {
            options,
            step,
            found: Vec::new(),
            headerless: Vec::new(),
            freed: Vec::new(),
            short_files: Vec::new(),
            headers: Vec::new(),
            void_trailers: Vec::new(),
            session_seen: WalSession(0),
            tail: None,
            started_empty: Vec::new(),
            resume_at: ResumePoint::NewSegment,
            durable: WalPosition::default(),
            proven: WalPosition::default(),
            is_proven: true,
            tail_claim: None,
            dropped: Vec::new(),
            holes: Vec::new(),
            segments: Vec::new(),
            bases: Bases::default(),
        }
    }

    /// The next read to execute; `None` once [`Recovery::finish`] may be called.
    #[must_use]
    pub fn poll_action(&self) -> Option<ReadRequest> {
        let at = |segment: usize, offset, length| Some(ReadRequest { slot: self.found[segment].slot, offset, length });
        match &self.step {
            Step::Head { slot } => {
                let length = HEAD_LENGTH.min(self.options.shape.length());
                Some(ReadRequest { slot: self.options.slots[*slot].0, offset: 0, length })
            }
            Step::Search { slot, offset } => Some(ReadRequest {
                slot: self.options.slots[*slot].0,
                offset: *offset,
                length: self.search_length(*offset),
            }),
            Step::Scan { segment, need: ScanNeed::Bytes { offset, length }, .. } => {
                let shape = self.shape(*segment);
                at(*segment, *offset, shape.padded(*length).min(shape.trailer().saturating_sub(*offset)))
            }
            Step::Trailer { segment } => {
                let shape = self.shape(*segment);
                at(*segment, shape.trailer(), shape.block_size())
            }
            Step::Index { segment, trailer } => at(*segment, trailer.index_group, trailer.end - trailer.index_group),
            Step::Bases { segment, trailer, groups, need, .. } => {
                let offset = groups.last().copied()?;
                at(*segment, offset, self.shape(*segment).padded(*need).min(trailer.end.saturating_sub(offset)))
            }
            Step::Scan { need: ScanNeed::Done, .. } | Step::Done => None,
        }
    }

    /// Takes the bytes of the last read that [`Recovery::poll_action`] returned.
    ///
    /// # Errors
    ///
    /// The reason why the WAL must not be used, with its place. The recovery is over then.
    pub fn on_read(&mut self, bytes: &Bytes) -> Result<(), RecoveryError> {
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Head { slot } => self.on_head(slot, bytes),
            Step::Search { slot, offset } => self.on_search(slot, offset, self.search_length(offset), bytes),
            Step::Scan { segment, mut scan, trailer, .. } => {
                let need = scan.on_bytes(bytes, self.options.window);
                self.continue_scan(segment, scan, need, trailer)
            }
            Step::Trailer { segment } => self.on_trailer(segment, bytes),
            Step::Index { segment, trailer } => self.on_index(segment, trailer, bytes),
            Step::Bases { segment, trailer, index, groups, .. } => {
                self.on_base_group(segment, trailer, index, groups, bytes)
            }
            Step::Done => Ok(()),
        }
    }

    /// Returns the results. Called once [`Recovery::poll_action`] returns `None`.
    ///
    /// # Errors
    ///
    /// [`RecoveryError::MissingBase`] if frames of a partition follow no base, unless the policy
    /// accepts that.
    pub fn finish(mut self) -> Result<RecoveredWal, RecoveryError> {
        let mut partitions = BTreeMap::new();
        let mut bases_lost = self.partitions_without_state();
        for Replayed { partition, oldest: generation, mut items } in std::mem::take(&mut self.bases).finish() {
            match items.first().map(|first| &first.event) {
                Some(ReplayEvent::Control(Control::Close)) if items.len() == 1 => {}
                Some(ReplayEvent::Control(Control::Open { .. }) | ReplayEvent::Checkpoint(_)) => {
                    partitions.insert(partition, items);
                }
                _ if self.options.policy == CorruptionPolicy::Refuse => {
                    return Err(RecoveryError::MissingBase { partition, generation });
                }
                // Only pieces of a checkpoint are left.
                None => {}
                Some(_) => {
                    let (epoch, log_start) = begun_by(&items);
                    let event = ReplayEvent::Control(Control::Open { epoch, log_start });
                    items.insert(0, ReplayItem { group: items[0].group, event });
                    partitions.insert(partition, items);
                    bases_lost.push(BaseLost { partition, from: Offset::ZERO, until: log_start });
                }
            }
        }
        self.segments.reverse();
        Ok(RecoveredWal {
            wal: self.options.wal,
            session: self.session_seen.next(),
            segments: self.segments,
            resume_at: self.resume_at,
            durable: self.durable,
            proven: self.proven,
            is_proven: self.is_proven,
            partitions,
            started_empty: self.started_empty,
            bases_lost,
            free_slots: self
                .freed
                .into_iter()
                .chain(self.headerless.iter().map(|headerless| headerless.slot))
                .collect(),
            dropped: self.dropped,
            holes: self.holes,
            short_files: self.short_files,
            headers: self.headers,
            void_trailers: self.void_trailers,
        })
    }

    /// The partitions with only relocated batches, and no frame with any of their state.
    fn partitions_without_state(&self) -> Vec<BaseLost> {
        let mut gone = BTreeMap::new();
        if self.options.policy == CorruptionPolicy::Refuse {
            return Vec::new();
        }
        for (partition, entry) in self.segments.iter().flat_map(|segment| segment.index.entries()) {
            if self.bases.has_state(*partition) {
                continue;
            }
            for extent in entry.extents.iter() {
                let lost = BaseLost { partition: *partition, from: extent.first, until: extent.end };
                let whole: &mut BaseLost = gone.entry(*partition).or_insert(lost);
                (whole.from, whole.until) = (whole.from.min(lost.from), whole.until.max(lost.until));
            }
        }
        gone.into_values().collect()
    }

    fn shape(&self, segment: usize) -> SegmentShape {
        self.found[segment].header.shape
    }

    fn place(&self, segment: usize) -> SegmentPlace {
        let header = &self.found[segment].header;
        SegmentPlace { wal: header.wal, shape: header.shape, generation: header.generation }
    }

    fn on_head(&mut self, index: usize, bytes: &Bytes) -> Result<(), RecoveryError> {
        let (slot, length) = self.options.slots[index];
        match SegmentHeader::parse(bytes) {
            Ok(header) if header.wal != self.options.wal => return Err(RecoveryError::ForeignSegment { slot }),
            Ok(header) => {
                self.check_length(slot, length, header.shape)?;
                let offset = header.shape.first_group();
                let first = bytes.get(offset as usize..).unwrap_or_default();
                let at = WalPosition { generation: header.generation, offset };
                let first = GroupHeader::parse_at(header.wal, header.shape, at, first).ok();
                self.session_seen =
                    self.session_seen.max(header.session).max(first.map_or(WalSession(0), |group| group.session));
                self.found.push(FoundSegment { slot, header, first_durable: first.map(|group| group.durable) });
            }
            Err(SegmentHeaderError::Absent | SegmentHeaderError::Damaged) => {
                if let Some(offset) = self.on_headerless(slot, length, bytes)? {
                    self.step = Step::Search { slot: index, offset };
                    return Ok(());
                }
            }
            Err(error) => return Err(RecoveryError::Header { slot, error }),
        }
        self.next_head(index)
    }

    fn search_length(&self, offset: u32) -> u32 {
        self.options.window.max(HEAD_LENGTH).min(self.options.shape.length() - offset)
    }

    fn next_head(&mut self, index: usize) -> Result<(), RecoveryError> {
        if index + 1 < self.options.slots.len() {
            self.step = Step::Head { slot: index + 1 };
            return Ok(());
        }
        self.order()
    }

    /// Refuses a file that is shorter than a segment, unless the WAL is being repaired. A file has
    /// its whole length before its header is written, so a shorter one has lost content that
    /// nothing else may reveal.
    fn check_length(&mut self, slot: SlotId, length: u64, shape: SegmentShape) -> Result<(), RecoveryError> {
        if length >= u64::from(shape.length()) {
            return Ok(());
        }
        if self.options.policy != CorruptionPolicy::Repair {
            return Err(RecoveryError::ShortFile { slot, length, expected: shape.length() });
        }
        self.short_files.push((slot, shape));
        Ok(())
    }

    /// Sorts the segments after all headers are read, and starts with the newest.
    fn order(&mut self) -> Result<(), RecoveryError> {
        let floor = self.found.iter().map(|found| found.header.floor()).max().unwrap_or_default();
        self.rebuild_headers(floor)?;
        self.found.sort_by_key(|found| found.header.generation);
        self.drop_freed(floor);
        if let (Some(oldest), Some(newest)) = (self.found.first(), self.found.last())
            && oldest.header.generation > newest.header.floor()
        {
            return Err(self.missing(newest.header.floor()));
        }
        for pair in self.found.windows(2) {
            let (older, newer) = (pair[0].header.generation, pair[1].header.generation);
            if older == newer {
                let (first, second) = (pair[0].slot, pair[1].slot);
                return Err(RecoveryError::DuplicateGeneration { first, second, generation: older });
            }
            if older.next() != newer {
                return Err(self.missing(older.next().max(floor)));
            }
        }
        if let Some(newest) = self.found.len().checked_sub(1) {
            self.tail = Some(newest);
            self.start_scan(newest, DamagePolicy::Stop, None)?;
        }
        Ok(())
    }

    /// Drops the segments before the last gap at or below the floor. A freed segment may be
    /// missing, and all segments before it are freed too. `floor` comes from the headers on disk: a
    /// rebuilt header does not know a better one.
    fn drop_freed(&mut self, floor: SegmentGeneration) {
        let is_gap = |pair: &[FoundSegment]| pair[0].header.generation.next() < pair[1].header.generation;
        let gap = self.found.windows(2).rposition(|pair| is_gap(pair) && pair[1].header.generation <= floor);
        let freed = gap.map_or(0, |at| at + 1);
        self.freed.extend(self.found.drain(..freed).map(|found| found.slot));
    }

    fn missing(&self, missing: SegmentGeneration) -> RecoveryError {
        RecoveryError::MissingGeneration {
            missing,
            headerless: self.headerless.iter().map(|headerless| headerless.slot).collect(),
        }
    }

    fn start_scan(
        &mut self,
        segment: usize,
        policy: DamagePolicy,
        trailer: Option<Trailer>,
    ) -> Result<(), RecoveryError> {
        let scan = self.scan(segment, policy);
        self.begin_scan(segment, scan, trailer)
    }

    fn scan(&self, segment: usize, policy: DamagePolicy) -> SegmentScan {
        let SegmentHeader { session, version, .. } = self.found[segment].header;
        SegmentScan::new(self.place(segment), session, version, policy)
    }

    fn begin_scan(
        &mut self,
        segment: usize,
        mut scan: SegmentScan,
        trailer: Option<Trailer>,
    ) -> Result<(), RecoveryError> {
        let need = scan.first_need(self.options.window);
        self.continue_scan(segment, Box::new(scan), need, trailer)
    }

    fn continue_scan(
        &mut self,
        segment: usize,
        scan: Box<SegmentScan>,
        need: ScanNeed,
        trailer: Option<Trailer>,
    ) -> Result<(), RecoveryError> {
        if need == ScanNeed::Done {
            self.session_seen = self.session_seen.max(scan.session_seen);
            return self.on_scanned(segment, *scan, trailer);
        }
        self.step = Step::Scan { segment, scan, need, trailer };
        Ok(())
    }

    fn on_scanned(
        &mut self,
        segment: usize,
        mut scan: SegmentScan,
        trailer: Option<Trailer>,
    ) -> Result<(), RecoveryError> {
        if let Some((offset, unknown)) = scan.unknown {
            return Err(self.newer(segment, offset, unknown));
        }
        let is_tail = self.tail == Some(segment);
        let place = self.place(segment);
        let empty = scan.end == place.shape.first_group();
        if is_tail && empty && scan.groups_after_damage == 0 {
            if segment > 0 {
                return self.step_down(segment, &scan);
            }
            // Segments before the oldest one were freed because of content in this one, which is
            // lost.
            if place.generation > SegmentGeneration(1) {
                return Err(RecoveryError::EmptySegment { slot: self.found[segment].slot });
            }
        }
        let proven = self.proven(segment, &scan, trailer);
        if let Some((offset, damage)) = scan.damage().filter(|(offset, _)| *offset < proven) {
            if self.options.policy != CorruptionPolicy::Repair {
                let proven = WalPosition { generation: place.generation, offset: proven };
                return Err(RecoveryError::Corruption { slot: self.found[segment].slot, offset, proven, damage });
            }
            let rescan = DamagePolicy::PassOver { proven };
            if scan.groups_after_damage > 0 && scan.policy() != rescan {
                return self.start_scan(segment, rescan, trailer);
            }
            scan.cover_to(proven);
        }
        let slot = self.found[segment].slot;
        self.holes.extend(scan.holes.iter().map(|hole| (slot, place.shape, *hole)));
        if is_tail {
            self.on_tail(segment, &scan);
        }
        if trailer.is_some() && !scan.holes.is_empty() {
            self.void_trailers.push((slot, place.shape));
        }
        // The trailer of a damaged index proves only the end of the segment.
        let trailer = trailer.filter(|_| scan.holes.is_empty() && scan.sealed);
        self.bases.collect(place.generation, std::mem::take(&mut scan.items));
        self.on_segment_read(segment, scan.end, scan.index, trailer)
    }

    /// An extension of a newer build is not damage, so a repair does not cover it.
    fn newer(&self, segment: usize, offset: u32, unknown: Unknown) -> RecoveryError {
        RecoveryError::Newer { slot: self.found[segment].slot, offset, unknown }
    }

    /// The offset up to which the segment's content is proven durable.
    fn proven(&self, segment: usize, scan: &SegmentScan, trailer: Option<Trailer>) -> u32 {
        let generation = self.found[segment].header.generation;
        let own = Some(scan.proven).filter(|proven| proven.generation == generation).map_or(0, |proven| proven.offset);
        if self.tail == Some(segment) {
            return own;
        }
        let named = self.named_end(segment).or(trailer.map(|trailer| trailer.end));
        own.max(named.unwrap_or(0))
    }

    /// The end of a segment, as the first groups of the next one name it.
    fn named_end(&self, segment: usize) -> Option<u32> {
        let generation = self.found[segment].header.generation;
        let successor = self.found.get(segment + 1).and_then(|next| next.first_durable);
        successor.or(self.tail_claim).filter(|claim| claim.generation == generation).map(|claim| claim.offset)
    }

    fn on_trailer(&mut self, segment: usize, bytes: &Bytes) -> Result<(), RecoveryError> {
        let place = self.place(segment);
        let trailer = Trailer::parse(place.wal, place.shape, place.generation, bytes);
        let agrees = |trailer: &Trailer| self.named_end(segment).is_none_or(|end| end == trailer.end);
        match trailer.filter(agrees) {
            Some(trailer) => {
                self.session_seen = self.session_seen.max(trailer.session);
                self.step = Step::Index { segment, trailer };
                Ok(())
            }
            None => self.start_scan(segment, DamagePolicy::Stop, None),
        }
    }

    fn on_index(&mut self, segment: usize, trailer: Trailer, bytes: &Bytes) -> Result<(), RecoveryError> {
        let index = match parse_index(self.place(segment), trailer.index_group, bytes) {
            Ok(index) => index,
            Err(IndexError::Unknown(unknown)) => return Err(self.newer(segment, trailer.index_group, unknown)),
            Err(IndexError::Damaged) => {
                let scan = self.scan(segment, DamagePolicy::Stop);
                // An index holds no data of its own: a start rebuilds it from the groups before it,
                // and a repair covers it.
                let is_covered = self.options.policy == CorruptionPolicy::Repair;
                let scan = if is_covered { scan } else { scan.until(trailer.index_group) };
                return self.begin_scan(segment, scan, Some(trailer));
            }
        };
        // A start trusts the index, and leaves damage elsewhere to later reads. A repair scans
        // everything.
        if self.options.policy == CorruptionPolicy::Repair {
            return self.start_scan(segment, DamagePolicy::Stop, Some(trailer));
        }
        let mut groups = BTreeSet::new();
        let generation = self.place(segment).generation;
        for (partition, entry) in index.entries() {
            match self.bases.wants(*partition, generation, entry) {
                EntryReplay::Nothing => {}
                EntryReplay::Closed => self.bases.on_closed(*partition),
                EntryReplay::Group(group) => {
                    groups.insert(group);
                }
                EntryReplay::Segment => return self.start_scan(segment, DamagePolicy::Stop, Some(trailer)),
            }
        }
        if groups.len() > BASE_GROUPS_MAX {
            return self.start_scan(segment, DamagePolicy::Stop, Some(trailer));
        }
        self.read_bases(segment, trailer, index, groups.into_iter().collect())
    }

    fn read_bases(
        &mut self,
        segment: usize,
        trailer: Trailer,
        index: SegmentIndex,
        groups: Vec<u32>,
    ) -> Result<(), RecoveryError> {
        if groups.is_empty() {
            return self.on_segment_read(segment, trailer.end, index, Some(trailer));
        }
        let need = self.options.window;
        self.step = Step::Bases { segment, trailer, index, groups, need };
        Ok(())
    }

    fn on_base_group(
        &mut self,
        segment: usize,
        trailer: Trailer,
        index: SegmentIndex,
        mut groups: Vec<u32>,
        bytes: &Bytes,
    ) -> Result<(), RecoveryError> {
        let Some(offset) = groups.last().copied() else {
            return self.on_segment_read(segment, trailer.end, index, Some(trailer));
        };
        let place = self.place(segment);
        let length = GroupHeader::parse(place.wal, bytes).map_or(0, |header| header.length);
        match scan_group(place, offset, bytes) {
            Ok(SegmentScan { unknown: Some((offset, unknown)), .. }) => Err(self.newer(segment, offset, unknown)),
            Ok(scan) => {
                groups.pop();
                self.bases.collect(place.generation, scan.items);
                self.read_bases(segment, trailer, index, groups)
            }
            Err(GroupError::Unknown(unknown)) => Err(self.newer(segment, offset, unknown)),
            Err(GroupError::Damaged(GroupDamage::Truncated))
                if length > self.options.window && (bytes.len() as u64) < u64::from(length) =>
            {
                // The group is requested once more, as a whole. If the file ends before the group
                // does, a scan names the damage.
                if bytes.len() > self.options.window as usize {
                    return self.start_scan(segment, DamagePolicy::Stop, Some(trailer));
                }
                self.step = Step::Bases { segment, trailer, index, groups, need: length };
                Ok(())
            }
            Err(GroupError::Damaged(_)) => self.start_scan(segment, DamagePolicy::Stop, Some(trailer)),
        }
    }

    /// Adds the segment, and goes on to the next older one.
    fn on_segment_read(
        &mut self,
        segment: usize,
        end: u32,
        index: SegmentIndex,
        trailer: Option<Trailer>,
    ) -> Result<(), RecoveryError> {
        let FoundSegment { slot, header, .. } = &self.found[segment];
        let (slot, generation, shape) = (*slot, header.generation, header.shape);
        self.segments.push(RecoveredSegment { slot, generation, shape, end, index, trailer });
        self.step = segment.checked_sub(1).map_or(Step::Done, |segment| Step::Trailer { segment });
        Ok(())
    }
}
