//! The index of a segment: for each partition its extents, its newest base (checkpoint, open or
//! close), its last frame, and the aborted transactions whose markers are in the segment. The index
//! of the active segment is built in memory, written when the segment is sealed, and read back on
//! demand.

use std::collections::BTreeMap;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, ProducerId, Timestamp, TopicIdPartition};

use super::checkpoint_piece::CheckpointPiece;
use super::control::{Control, DamagedRange};
use super::extents::{Extent, Extents};
use super::format_version::{FormatVersion, PAYLOAD_VERSION, Unknown};
use super::frame::{FrameBody, frames};
use super::frame_kind::FrameKind;
use super::group::{GroupHeader, HEADER_LENGTH};
use super::little_endian::{Reader, Writer};
use super::position::{SegmentGeneration, SegmentShape, WalId, WalPosition, WalSession};
use crate::log::AbortedTransaction;
use crate::tagged_fields::{self, TaggedFieldsError};

const ENTRY_LENGTH: usize = 56;
const EXTENT_LENGTH: usize = 32;
/// The tag of the aborted transactions, the bytes that a partition's list begins with, and those of
/// one transaction.
const ABORTED_TAG: u16 = 1;
const ABORTED_LIST_LENGTH: usize = 20 + 4;
const ABORTED_LENGTH: usize = 4 * 8;
/// The bytes of an encoded index before its entries.
const FIXED_LENGTH: usize = 1 + 4;
const VOIDS: u32 = 1;
const CLOSED: u32 = 2;

/// The content of one segment for one partition. Group offsets are 0 if there is no such frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexEntry {
    /// The segment holds an open or close frame: the content of earlier segments is void.
    pub voids_earlier: bool,
    /// The partition is deleted as of the segment's end.
    pub closed: bool,
    /// The group of the newest open or close frame, or of the last piece of the newest checkpoint
    /// that ends in this segment.
    pub base_group: u32,
    /// The position where that base begins. A checkpoint begins at its first piece, which may lie
    /// in an earlier segment.
    pub base_begins: WalPosition,
    /// The group of the last frame that changes the partition's state. Relocated batches do not
    /// change it, nor do pieces of a checkpoint other than the last.
    pub last_group: u32,
    /// The lowest truncation in the segment: the content of earlier segments from this offset on is
    /// void.
    pub truncated_to: Option<Offset>,
    pub extents: Extents,
    /// The aborted transactions whose markers are in this segment, appended or relocated, by the
    /// offsets of their markers.
    pub aborted: BTreeMap<Offset, AbortedTransaction>,
}

/// The index of a whole segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentIndex {
    entries: BTreeMap<TopicIdPartition, IndexEntry>,
    extent_count: usize,
    aborted_count: usize,
    /// The number of entries with aborted transactions.
    aborted_lists: usize,
}

impl SegmentIndex {
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<TopicIdPartition, IndexEntry> {
        &self.entries
    }

    #[must_use]
    pub fn entry(&self, partition: TopicIdPartition) -> Option<&IndexEntry> {
        self.entries.get(&partition)
    }

    pub fn record_batch(&mut self, id: TopicIdPartition, group_offset: u32, header: &BatchHeader, moves_only: bool) {
        let entry = self.entries.entry(id).or_default();
        if !moves_only {
            entry.last_group = group_offset;
        }
        let bytes = u32::try_from(header.size).expect("a batch is shorter than its segment");
        let (first, end) = (header.base_offset, header.next_offset());
        let max_timestamp = header.max_timestamp;
        self.insert(id, Extent { group_offset, bytes, first, end, max_timestamp, is_damaged: false });
    }

    /// Records a damaged range. Like a relocated batch, it does not change the partition's state.
    pub fn record_damaged(&mut self, id: TopicIdPartition, group_offset: u32, range: &DamagedRange) {
        let DamagedRange { first, end, max_timestamp } = *range;
        self.insert(id, Extent { group_offset, bytes: 0, first, end, max_timestamp, is_damaged: true });
    }

    /// Records the transaction that a marker in this segment aborts.
    pub fn record_aborted(&mut self, id: TopicIdPartition, aborted: AbortedTransaction) {
        let list = &mut self.entries.entry(id).or_default().aborted;
        let before = list.len();
        list.insert(aborted.last_offset, aborted);
        self.aborted_count += list.len() - before;
        self.aborted_lists += usize::from(before == 0);
    }

    fn insert(&mut self, id: TopicIdPartition, extent: Extent) {
        let extents = &mut self.entries.entry(id).or_default().extents;
        let before = extents.len();
        extents.insert(extent);
        self.extent_count = self.extent_count + extents.len() - before;
    }

    pub fn record_control(&mut self, id: TopicIdPartition, group: WalPosition, control: &Control) {
        let entry = self.entries.entry(id).or_default();
        entry.last_group = group.offset;
        let before = (entry.extents.len(), entry.aborted.len());
        match control {
            Control::Truncate { end } => {
                entry.extents.truncate(*end);
                entry.aborted.split_off(end);
                entry.truncated_to = Some(entry.truncated_to.map_or(*end, |lowest| lowest.min(*end)));
            }
            Control::Open { .. } | Control::Close => {
                entry.extents.clear();
                entry.aborted.clear();
                entry.voids_earlier = true;
                entry.closed = matches!(control, Control::Close);
                (entry.base_group, entry.base_begins) = (group.offset, group);
                entry.truncated_to = None;
            }
            Control::EpochStart { .. } | Control::Trim { .. } | Control::Expiry { .. } => {}
        }
        self.extent_count -= before.0 - entry.extents.len();
        self.aborted_count -= before.1 - entry.aborted.len();
        self.aborted_lists -= usize::from(before.1 > 0 && entry.aborted.is_empty());
    }

    pub fn record_checkpoint(&mut self, id: TopicIdPartition, group: WalPosition, piece: &CheckpointPiece) {
        let entry = self.entries.entry(id).or_default();
        if piece.is_last() {
            (entry.base_group, entry.base_begins) = (group.offset, piece.begun_at);
            entry.last_group = group.offset;
        }
    }

    /// Gives extents without a timestamp the timestamp `at`. A scan leaves such extents: it does
    /// not know when batches without timestamps were appended.
    pub fn date(&mut self, at: Timestamp) {
        self.entries.values_mut().for_each(|entry| entry.extents.date(at));
    }

    /// The length of the encoded index, in bytes.
    #[must_use]
    pub fn encoded_length(&self) -> usize {
        let extents = self.extent_count * EXTENT_LENGTH;
        FIXED_LENGTH + self.entries.len() * ENTRY_LENGTH + extents + self.aborted_field_length()
    }

    /// The length of the field with the aborted transactions, which is left out without any.
    pub(super) fn aborted_field_length(&self) -> usize {
        match self.aborted_content_length() {
            0 => 0,
            length => tagged_fields::HEADER_LENGTH + length,
        }
    }

    fn aborted_content_length(&self) -> usize {
        self.aborted_lists * ABORTED_LIST_LENGTH + self.aborted_count * ABORTED_LENGTH
    }

    /// The most bytes that one more frame can add to [`Self::encoded_length`].
    pub const GROWTH_PER_FRAME: usize =
        ENTRY_LENGTH + EXTENT_LENGTH + tagged_fields::HEADER_LENGTH + ABORTED_LIST_LENGTH + ABORTED_LENGTH;

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.encoded_length()];
        let mut out = Writer::new(&mut bytes);
        let count = |length: usize| u32::try_from(length).expect("a segment has fewer frames than bytes");
        out.put(&[PAYLOAD_VERSION]);
        out.u32(count(self.entries.len()));
        for (id, entry) in &self.entries {
            out.partition(*id);
            out.u32(if entry.voids_earlier { VOIDS } else { 0 } | if entry.closed { CLOSED } else { 0 });
            out.u32(entry.base_group);
            out.u32(entry.last_group);
            out.i64(entry.truncated_to.map_or(-1, |offset| offset.0));
            out.u32(count(entry.extents.len()));
            out.u64(entry.base_begins.generation.0);
            out.u32(entry.base_begins.offset);
            let mut extents: Vec<_> = entry.extents.iter().collect();
            extents.sort_by_key(|extent| extent.group_offset);
            for extent in extents {
                out.u32(extent.group_offset);
                out.u32(extent.bytes);
                out.i64(extent.first.0);
                out.i64(extent.end.0);
                out.i64(extent.max_timestamp.0);
            }
        }
        self.encode_aborted(&mut out);
        bytes
    }

    fn encode_aborted(&self, out: &mut Writer<'_>) {
        let length = self.aborted_content_length();
        if length == 0 {
            return;
        }
        tagged_fields::put_header(out, ABORTED_TAG, length);
        for (id, entry) in self.entries.iter().filter(|(_, entry)| !entry.aborted.is_empty()) {
            out.partition(*id);
            out.u32(u32::try_from(entry.aborted.len()).expect("a segment has fewer frames than bytes"));
            for aborted in entry.aborted.values() {
                out.i64(aborted.producer_id.0);
                out.i64(aborted.first_offset.0);
                out.i64(aborted.last_offset.0);
                out.i64(aborted.last_stable.0);
            }
        }
    }

    fn parse_aborted(&mut self, content: &[u8]) -> Option<()> {
        let mut fields = Reader::new(content);
        while fields.remaining() > 0 {
            let id = fields.partition()?;
            for _ in 0..fields.u32()? {
                let producer_id = ProducerId(fields.i64()?);
                let (first_offset, last_offset) = (Offset(fields.i64()?), Offset(fields.i64()?));
                let last_stable = Offset(fields.i64()?);
                let is_sound = 0 <= first_offset.0 && first_offset <= last_offset && last_stable.0 >= 0;
                let aborted = AbortedTransaction { producer_id, first_offset, last_offset, last_stable };
                is_sound.then(|| self.record_aborted(id, aborted))?;
            }
        }
        Some(())
    }

    /// Reads the only frame of a verified index group.
    pub(super) fn in_group(wal: WalId, header: &GroupHeader, group: &[u8]) -> Result<Self, IndexError> {
        let group = group.get(..header.length as usize).ok_or(IndexError::Damaged)?;
        let frame = frames(wal, header, group).next().and_then(Result::ok).ok_or(IndexError::Damaged)?;
        match frame.body {
            FrameBody::SegmentIndex => Self::parse(header.version, header.generation, frame.payload),
            FrameBody::Unknown(unknown) => Err(IndexError::Unknown(unknown)),
            _ => Err(IndexError::Damaged),
        }
    }

    /// Reads the index of the segment of that generation, encoded in that version.
    ///
    /// # Errors
    ///
    /// [`IndexError::Damaged`] if the bytes are no index; [`IndexError::Unknown`] if a newer build
    /// wrote it.
    pub fn parse(version: FormatVersion, generation: SegmentGeneration, bytes: &[u8]) -> Result<Self, IndexError> {
        let mut fields = Reader::new(bytes);
        let code = FrameKind::SegmentIndex.code();
        if version == FormatVersion::V2 {
            let version = fields.u8().ok_or(IndexError::Damaged)?;
            if version != PAYLOAD_VERSION {
                return Err(IndexError::Unknown(Unknown::Version { code, version }));
            }
        }
        let mut index = Self::parse_entries(version, generation, &mut fields).ok_or(IndexError::Damaged)?;
        if let Some(content) = tagged_fields::find(fields.rest(), ABORTED_TAG) {
            index.parse_aborted(content).ok_or(IndexError::Damaged)?;
        }
        match tagged_fields::check_skippable(fields.rest()) {
            Ok(()) if version == FormatVersion::V2 || fields.remaining() == 0 => Ok(index),
            Err(TaggedFieldsError::Critical { tag }) if version == FormatVersion::V2 => {
                Err(IndexError::Unknown(Unknown::TaggedField { code, tag }))
            }
            Ok(()) | Err(TaggedFieldsError::Critical { .. } | TaggedFieldsError::Truncated) => Err(IndexError::Damaged),
        }
    }

    fn parse_entries(version: FormatVersion, generation: SegmentGeneration, fields: &mut Reader<'_>) -> Option<Self> {
        let mut index = Self::default();
        for _ in 0..fields.u32()? {
            let id = fields.partition()?;
            let flags = fields.u32()?;
            let (base_group, last_group) = (fields.u32()?, fields.u32()?);
            let truncated_to = Some(fields.i64()?).filter(|offset| *offset >= 0).map(Offset);
            let count = usize::try_from(fields.u32()?).ok()?;
            let base_begins = match version {
                FormatVersion::V1 => {
                    fields.u32()?;
                    WalPosition { generation, offset: base_group }
                }
                FormatVersion::V2 => {
                    WalPosition { generation: SegmentGeneration(fields.u64()?), offset: fields.u32()? }
                }
            };
            if count > fields.remaining() / EXTENT_LENGTH || base_begins.generation > generation {
                return None;
            }
            let extents = (0..count).map(|_| parse_extent(fields)).collect::<Option<Extents>>()?;
            index.extent_count += extents.len();
            let (voids_earlier, closed) = (flags & VOIDS != 0, flags & CLOSED != 0);
            let aborted = BTreeMap::new();
            let entry = IndexEntry {
                voids_earlier,
                closed,
                base_group,
                base_begins,
                last_group,
                truncated_to,
                extents,
                aborted,
            };
            if index.entries.insert(id, entry).is_some() {
                return None;
            }
        }
        Some(index)
    }
}

/// The reason why an index cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexError {
    /// The index can be rebuilt from the groups of the segment.
    Damaged,
    /// A newer build wrote the segment or the index.
    Unknown(Unknown),
}

fn parse_extent(fields: &mut Reader<'_>) -> Option<Extent> {
    let (group_offset, bytes) = (fields.u32()?, fields.u32()?);
    let (first, end) = (fields.i64()?, fields.i64()?);
    let max_timestamp = Timestamp(fields.i64()?);
    (0 <= first && first < end).then_some(Extent {
        group_offset,
        bytes,
        first: Offset(first),
        end: Offset(end),
        max_timestamp,
        // Every batch has bytes, so an extent without bytes is a damaged range.
        is_damaged: bytes == 0,
    })
}

/// The last block of a sealed segment: it names the index and the end of the groups. It is synced
/// with the index before the next segment receives a group. A segment without a sound trailer is
/// scanned instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub generation: SegmentGeneration,
    pub session: WalSession,
    pub index_group: u32,
    /// The padded end of the index group, which is the end of the segment's content.
    pub end: u32,
}

const TRAILER_MAGIC: [u8; 8] = *b"RMQWEND1";
const CRC_AT: usize = 60;

impl Trailer {
    /// Writes the trailer over the whole of the last block.
    pub fn encode(&self, wal: WalId, block: &mut [u8]) {
        let length = block.len();
        let mut out = Writer::new(block);
        out.put(&TRAILER_MAGIC);
        out.u64(self.generation.0);
        out.u64(self.session.0);
        out.u32(self.index_group);
        out.u32(self.end);
        out.zeros_to(length);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&wal.0), &block[..CRC_AT]);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the trailer; `None` unless it is sound and belongs to this generation.
    #[must_use]
    pub fn parse(wal: WalId, shape: SegmentShape, generation: SegmentGeneration, block: &[u8]) -> Option<Self> {
        let bytes = block.first_chunk::<64>()?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&wal.0), &bytes[..CRC_AT]);
        if bytes[..8] != TRAILER_MAGIC || crc.to_le_bytes() != bytes[CRC_AT..] {
            return None;
        }
        let mut fields = Reader::new(&bytes[8..]);
        let trailer = Self {
            generation: SegmentGeneration(fields.u64()?),
            session: WalSession(fields.u64()?),
            index_group: fields.u32()?,
            end: fields.u32()?,
        };
        let placed = trailer.index_group >= shape.first_group()
            && trailer.index_group.is_multiple_of(shape.block_size())
            && trailer.end.is_multiple_of(shape.block_size())
            && trailer.end.checked_sub(trailer.index_group).is_some_and(|length| length >= HEADER_LENGTH)
            && trailer.end <= shape.trailer();
        (trailer.generation == generation && placed).then_some(trailer)
    }
}
