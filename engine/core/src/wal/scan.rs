//! Reads the groups of one segment in order, window by window, and classifies damage. The caller
//! decides what to do about the damage.

use rustmq_model::TopicIdPartition;
use rustmq_model::batch::BatchHeader;

use bytes::Bytes;

use crate::log::{EndMarker, ReplayedMarker};

use super::checkpoint_piece::CheckpointPiece;
use super::control::Control;
use super::damage::{GroupDamage, GroupError};
use super::format_version::{FormatVersion, Unknown};
use super::frame::{self, BatchKind, FrameBody};
use super::group::{self, GroupHeader, GroupKind, GroupSpan};
use super::index::{IndexError, SegmentIndex};
use super::marker_field::read_marker_field;
use super::position::{SegmentGeneration, SegmentShape, WalId, WalPosition, WalSession};

/// The content of a frame, as far as a replay needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScannedEvent {
    /// See [`ReplayEvent::Batch`].
    Batch(BatchHeader, Option<ReplayedMarker>),
    Control(Control),
    /// A piece of a checkpoint, with its bytes.
    Piece(CheckpointPiece, Bytes),
}

/// An event with the group that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    pub group: WalPosition,
    pub event: ScannedEvent,
}

/// A change of a partition. Events come in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayEvent {
    /// An appended batch, with its marker if it is a control batch that ends a transaction: the
    /// header does not have it.
    Batch(BatchHeader, Option<ReplayedMarker>),
    Control(Control),
    /// The whole state, in the partition log's encoding.
    Checkpoint(Bytes),
}

/// An event with the group that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayItem {
    pub group: WalPosition,
    pub event: ReplayEvent,
}

/// The segment that groups belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentPlace {
    pub wal: WalId,
    pub shape: SegmentShape,
    pub generation: SegmentGeneration,
}

/// Checks the group that is expected at `offset`, with its frames.
///
/// # Errors
///
/// If the group is damaged, or a newer build wrote its header. [`GroupDamage::Truncated`] if
/// `bytes` end before the group does.
pub fn check_group(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Result<GroupHeader, GroupError> {
    let header = header_at(place, offset, bytes)?;
    if header.kind == GroupKind::Hole {
        return Ok(header);
    }
    let group = bytes.get(..header.length as usize).ok_or(GroupDamage::Truncated)?;
    for frame in frame::frames(place.wal, &header, group) {
        frame?;
    }
    Ok(header)
}

fn header_at(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Result<GroupHeader, GroupError> {
    let at = WalPosition { generation: place.generation, offset };
    GroupHeader::parse_at(place.wal, place.shape, at, bytes)
}

/// The treatment of damage that a later sound group proves to lie before the durable end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamagePolicy {
    /// Collects nothing after the first damage, and reads on only for the durable positions of
    /// later groups.
    Stop,
    /// For a repair: collects on both sides of damage before `proven`, and stops at damage from
    /// there on.
    PassOver { proven: u32 },
}

/// A damaged range of bytes that a repair covers with a hole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub generation: SegmentGeneration,
    pub offset: u32,
    pub length: u32,
    /// The session of the group before it, so that sessions do not decrease along the segment.
    pub session: WalSession,
    /// The version of the segment.
    pub version: FormatVersion,
    pub durable: WalPosition,
}

impl Hole {
    /// Writes the hole's header block. The bytes after it stay unchanged.
    pub fn encode(&self, wal: WalId, block: &mut [u8]) {
        block.fill(0);
        let (generation, session, offset) = (self.generation, self.session, self.offset);
        let kind = GroupKind::Hole;
        let Self { version, length, durable, .. } = *self;
        let header = GroupHeader { kind, version, length, generation, session, offset, frame_count: 0, durable };
        header.encode(wal, block);
    }
}

/// A scan of one segment, and its results so far.
#[derive(Clone, Debug)]
pub struct SegmentScan {
    place: SegmentPlace,
    policy: DamagePolicy,
    at: u32,
    /// The end of the scan: the trailer's offset, or less.
    limit: u32,
    /// The number of bytes in the last request; a shorter answer ends at the end of the file.
    asked: u32,
    damage: Option<(u32, GroupDamage)>,
    /// Whether the block of the first damage holds only zeros.
    pub damaged_block_is_blank: bool,
    /// The end of the sound groups that begin at the segment's start.
    pub end: u32,
    pub session: WalSession,
    /// The version in the segment's header.
    version: FormatVersion,
    /// The highest session of any group, groups after damage included.
    pub session_seen: WalSession,
    pub index: SegmentIndex,
    pub items: Vec<(TopicIdPartition, Scanned)>,
    /// The greatest durable position that a sound group of the segment names.
    pub proven: WalPosition,
    /// The end of the last group with frames of partitions.
    pub data_end: Option<u32>,
    /// Whether the last group is an index, after which nothing is written to the segment.
    pub sealed: bool,
    pub holes: Vec<Hole>,
    /// The number of sound groups after the first damage.
    pub groups_after_damage: u32,
    /// The offset of the group that ended the scan because a newer build wrote it, or a frame in
    /// it.
    pub unknown: Option<(u32, Unknown)>,
}

/// The next input of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanNeed {
    /// At least `length` bytes from `offset` on, both in whole blocks; the scan accepts more.
    Bytes {
        offset: u32,
        length: u32,
    },
    Done,
}

impl SegmentScan {
    #[must_use]
    pub fn new(place: SegmentPlace, header_session: WalSession, version: FormatVersion, policy: DamagePolicy) -> Self {
        Self {
            place,
            policy,
            at: place.shape.first_group(),
            limit: place.shape.trailer(),
            asked: 0,
            damage: None,
            damaged_block_is_blank: false,
            end: place.shape.first_group(),
            session: header_session,
            session_seen: header_session,
            version,
            index: SegmentIndex::default(),
            items: Vec::new(),
            proven: WalPosition::default(),
            data_end: None,
            sealed: false,
            holes: Vec::new(),
            groups_after_damage: 0,
            unknown: None,
        }
    }

    /// Ends the scan at `end`, the offset of a group that it must not read.
    #[must_use]
    pub fn until(self, end: u32) -> Self {
        Self { limit: self.limit.min(end), ..self }
    }

    /// The offset of the first damage, and its kind.
    #[must_use]
    pub const fn damage(&self) -> Option<(u32, GroupDamage)> {
        self.damage
    }

    #[must_use]
    pub const fn policy(&self) -> DamagePolicy {
        self.policy
    }

    /// Covers damage that no sound group follows, up to the proven end of the segment's content.
    pub fn cover_to(&mut self, proven: u32) {
        if let Some((offset, _)) = self.damage.take_if(|(offset, _)| *offset < proven) {
            let generation = self.place.generation;
            let durable = WalPosition { generation, offset: self.end };
            let (length, session, version) = (proven - offset, self.session, self.version);
            self.holes.push(Hole { generation, offset, length, session, version, durable });
            self.end = proven;
        }
    }

    #[must_use]
    pub fn first_need(&mut self, window: u32) -> ScanNeed {
        self.need(window)
    }

    fn need(&mut self, length: u32) -> ScanNeed {
        let room = self.limit.saturating_sub(self.at);
        if room == 0 {
            return ScanNeed::Done;
        }
        self.asked = length.clamp(1, room);
        ScanNeed::Bytes { offset: self.at, length: self.asked }
    }

    /// Takes the bytes from the requested offset on. If they are fewer than requested, the file
    /// ends after them.
    pub fn on_bytes(&mut self, bytes: &Bytes, window: u32) -> ScanNeed {
        let start = self.at;
        let block = self.place.shape.block_size();
        let room = self.limit.saturating_sub(start) as usize;
        let short = bytes.len() < self.asked as usize;
        let last = short || bytes.len() >= room;
        let bytes = bytes.slice(..bytes.len().min(room));
        loop {
            let skipped = (self.at - start) as usize;
            let Some(rest) = bytes.get(skipped..).filter(|rest| !rest.is_empty()) else {
                return if short { ScanNeed::Done } else { self.need(window) };
            };
            match check_group(self.place, self.at, rest) {
                Err(GroupError::Damaged(GroupDamage::Truncated)) if !last && skipped > 0 => return self.need(window),
                Err(GroupError::Damaged(GroupDamage::Truncated)) if !last && self.wants(rest) => {
                    let header = header_at(self.place, self.at, rest);
                    let length = header.map_or(block, |header| self.place.shape.padded(header.length));
                    return self.need(length.max(window));
                }
                Ok(header) => self.on_group(&header, &bytes.slice(skipped..)),
                Err(GroupError::Unknown(unknown)) => self.on_unknown_group(unknown, rest),
                Err(GroupError::Damaged(damage)) => self.on_damaged_block(damage, rest),
            }
            if self.unknown.is_some() {
                return ScanNeed::Done;
            }
        }
    }

    /// Whether the window, rather than the file, cuts off the group that `rest` begins with.
    fn wants(&self, rest: &[u8]) -> bool {
        header_at(self.place, self.at, rest)
            .map_or(rest.len() < group::HEADER_LENGTH as usize, |header| (header.length as usize) > rest.len())
    }

    /// Passes over the first block of `rest`, where no group starts; one may start at the next
    /// block.
    fn on_damaged_block(&mut self, damage: GroupDamage, rest: &[u8]) {
        let size = self.place.shape.block_size();
        if self.damage.is_none() {
            self.damage = Some((self.at, damage));
            let block = rest.get(..size as usize).unwrap_or(rest);
            self.damaged_block_is_blank = block.iter().all(|byte| *byte == 0);
        }
        self.at += size;
    }

    /// Ends the scan at a group of an unknown layout, whose frames it cannot read.
    fn on_unknown_group(&mut self, unknown: Unknown, group: &[u8]) {
        let at = WalPosition { generation: self.place.generation, offset: self.at };
        match GroupSpan::parse_at(self.place.wal, self.place.shape, at, group) {
            Ok(span) => self.unknown = self.accept(span).then_some((span.offset, unknown)),
            Err(damage) => self.on_damaged_block(damage, group),
        }
    }

    fn on_group(&mut self, header: &GroupHeader, group: &Bytes) {
        if !self.accept(header.span()) {
            return;
        }
        match header.kind {
            GroupKind::Data => {
                self.data_end = Some(self.end);
                self.collect(header, group);
            }
            GroupKind::Index => {
                self.sealed = true;
                if let Err(IndexError::Unknown(unknown)) = SegmentIndex::in_group(self.place.wal, header, group) {
                    self.unknown = Some((header.offset, unknown));
                }
            }
            GroupKind::Proof | GroupKind::Hole => {}
        }
    }

    /// Takes the durable position and the session of a sound group, and moves to its end. Returns
    /// whether the group belongs to the log.
    fn accept(&mut self, span: GroupSpan) -> bool {
        self.proven = self.proven.max(span.durable);
        self.session_seen = self.session_seen.max(span.session);
        let end = span.offset + self.place.shape.padded(span.length);
        self.at = end;
        // A torn tail may leave a group of an earlier session, or a group after an index; such a
        // group never belongs to the log.
        let continues = span.session >= self.session && !self.sealed;
        if let Some((damaged, _)) = self.damage {
            if matches!(self.policy, DamagePolicy::PassOver { proven } if damaged < proven) && continues {
                let generation = self.place.generation;
                let durable = WalPosition { generation, offset: self.end }.min(span.durable);
                let length = span.offset - damaged;
                let (session, version) = (self.session, self.version);
                self.holes.push(Hole { generation, offset: damaged, length, session, version, durable });
                self.damage = None;
            } else {
                self.groups_after_damage += 1;
                return false;
            }
        } else if !continues {
            self.damage = Some((span.offset, GroupDamage::Fields));
            return false;
        }
        (self.end, self.session) = (end, span.session);
        true
    }

    fn collect(&mut self, header: &GroupHeader, group: &Bytes) {
        let position = header.position();
        for frame in frame::frames(self.place.wal, header, group) {
            let Ok(frame) = frame else { return };
            let id = frame.partition;
            let event = match frame.body {
                FrameBody::Batch { kind, header: batch } => {
                    self.index.record_batch(id, position.offset, &batch, kind == BatchKind::Relocated);
                    let trace = read_marker_field(&batch, frame.payload);
                    trace.aborted().into_iter().for_each(|aborted| self.index.record_aborted(id, aborted));
                    if kind == BatchKind::Relocated {
                        continue;
                    }
                    let bytes = frame.payload_at..frame.payload_at + batch.size;
                    let marker = end_marker(&batch, || group.slice(bytes));
                    ScannedEvent::Batch(batch, marker.map(|marker| ReplayedMarker { marker, trace }))
                }
                FrameBody::Control(control) => {
                    self.index.record_control(id, position, &control);
                    ScannedEvent::Control(control)
                }
                FrameBody::Checkpoint(piece, bytes) => {
                    self.index.record_checkpoint(id, position, &piece);
                    ScannedEvent::Piece(piece, Bytes::copy_from_slice(&frame.payload[bytes]))
                }
                FrameBody::Damaged(range) => {
                    self.index.record_damaged(id, position.offset, &range);
                    continue;
                }
                FrameBody::SegmentIndex => continue,
                FrameBody::Unknown(unknown) => {
                    self.unknown = Some((position.offset, unknown));
                    return;
                }
            };
            self.items.push((id, Scanned { group: position, event }));
        }
    }
}

/// Reads the marker of a control batch. A batch whose record cannot be read ends no transaction: it
/// was stored as it is.
fn end_marker(header: &BatchHeader, batch: impl FnOnce() -> Bytes) -> Option<EndMarker> {
    header.attributes.is_control().then(|| EndMarker::read(&batch()).ok().flatten()).flatten()
}

/// Collects the content of one group, so that a checkpoint can be read without a scan of its
/// segment.
///
/// # Errors
///
/// If the group is damaged, or a newer build wrote its header.
pub fn scan_group(place: SegmentPlace, offset: u32, bytes: &Bytes) -> Result<SegmentScan, GroupError> {
    let header = check_group(place, offset, bytes)?;
    let mut scan = SegmentScan::new(place, header.session, header.version, DamagePolicy::Stop);
    scan.collect(&header, bytes);
    Ok(scan)
}
