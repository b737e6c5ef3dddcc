//! Rebuilds the state of a log at an offset from the WAL: from a base (a checkpoint or open frame)
//! at or below the offset, and the frames that follow. It requests one read at a time and takes the
//! result. A driver executes the reads on a thread that may block: the shard's thread never sees
//! these bytes.
//!
//! ```text
//! the newest base --its groups, and those that follow up to the offset--> the log at the offset
//!        '--its segment has no base at or below the offset: the next older one
//! ```
//! Each segment is read once: the segments after a rejected one were rejected before it. Groups
//! beyond the offset are read only if necessary, since they may be damaged.

use bytes::Bytes;
use rustmq_model::{Offset, TopicIdPartition};

use super::read_attempts::READ_ATTEMPTS;
use super::starting::{PartitionReplayError, replay_event};
use crate::log::{Gaps, LogLimits, PartitionLog};
use crate::wal::damage::{GroupDamage, GroupError};
use crate::wal::recovery::ReadRequest;
use crate::wal::scan::{ReplayEvent, Scanned, ScannedEvent, check_group, scan_group};
use crate::wal::segments::{GroupRange, ReplayBase, ReplayRange};
use crate::wal::{
    CheckpointPiece, CheckpointPieces, Control, GroupHeader, GroupKind, SegmentGeneration, SegmentShape, SlotId,
};

/// The most bytes of one read. A larger group is read whole.
const WINDOW_MAX: u32 = 1 << 20;

const _: () = assert!(WINDOW_MAX.is_multiple_of(SegmentShape::BLOCK_SIZE_MAX), "a read has whole blocks");

/// Why the state of the log is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RebuildError {
    #[error("no checkpoint at or below offset {until} is left")]
    NoBase { until: Offset },
    #[error("slot {slot:05}, offset {offset}: {damage}")]
    Damaged { slot: SlotId, offset: u32, damage: GroupDamage },
    #[error("slot {slot:05}, offset {offset}: {reason}")]
    Unreadable { slot: SlotId, offset: u32, reason: String },
    #[error("{reason}")]
    NotRead { reason: String },
    #[error("the log contradicts itself: {reason}")]
    Unsound { reason: String },
}

/// The log to rebuild, and the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogPrefix {
    pub id: TopicIdPartition,
    /// Batches that end above this are left out.
    pub until: Offset,
    pub limits: LogLimits,
}

/// A rebuild of one log; see the module.
#[derive(Debug)]
pub struct LogRebuild {
    prefix: Prefix,
    range: ReplayRange,
    /// The index of the current base in the range.
    base: usize,
    /// The index of the current segment in the range.
    segment: usize,
    /// The offset of the next group in the segment.
    at: u32,
    /// The size of the next read: a window, or a larger group.
    wanted: u32,
    /// The size of a window. One block after a larger read of the segment has failed: the
    /// unreadable part may lie beyond the offset.
    window: u32,
    window_max: u32,
    /// How often the current read has failed.
    failures: u32,
    end: Option<Result<(), RebuildError>>,
}

impl LogRebuild {
    /// Reads at most `read_bytes_max` bytes at a time, except for a larger group.
    pub(super) fn new(of: LogPrefix, range: ReplayRange, read_bytes_max: usize) -> Self {
        let window = u32::try_from(read_bytes_max).unwrap_or(WINDOW_MAX).min(WINDOW_MAX);
        let mut rebuild = Self {
            prefix: Prefix { of, log: None, is_past: false, begun: None },
            range,
            base: 0,
            segment: 0,
            at: 0,
            wanted: window,
            window,
            window_max: window,
            failures: 0,
            end: None,
        };
        rebuild.begin_at_base();
        rebuild
    }

    /// The next read to execute; `None` once [`Self::finish`] can be called.
    #[must_use]
    pub fn poll_action(&self) -> Option<ReadRequest> {
        let GroupRange { slot, place, end, .. } = self.group_range()?;
        let length = place.shape.padded(self.wanted).min(end - self.at);
        Some(ReadRequest { slot: *slot, offset: self.at, length })
    }

    fn group_range(&self) -> Option<&GroupRange> {
        self.range.segments.get(self.segment).filter(|_| self.end.is_none())
    }

    fn begin_at_base(&mut self) {
        let Some(ReplayBase { at: base, .. }) = self.range.bases.get(self.base).copied() else {
            self.end = Some(Err(RebuildError::NoBase { until: self.prefix.of.until }));
            return;
        };
        let segments = &self.range.segments;
        self.segment = segments.partition_point(|range| range.place.generation < base.generation);
        let at = segments.get(self.segment).map_or(base.offset, |range| base.offset.max(range.from));
        self.begin_at(at);
    }

    fn begin_at(&mut self, at: u32) {
        (self.at, self.window) = (at, self.window_max);
        (self.wanted, self.failures) = (self.window, 0);
    }

    /// Takes the result of the read that [`Self::poll_action`] returned last. A failed read is
    /// tried again a few times.
    pub fn on_read(&mut self, bytes: Result<&Bytes, String>) {
        let Some(range) = self.group_range().copied() else { return };
        let taken = match bytes {
            Ok(bytes) => {
                self.failures = 0;
                self.take_groups(range, bytes)
            }
            Err(reason) => self.on_read_failed(range, reason),
        };
        match taken {
            // Damage behind the cut does not concern the remaining log. A frame of a newer build
            // there might.
            Err(RebuildError::Damaged { .. } | RebuildError::Unreadable { .. }) if self.is_whole() => {
                self.end = Some(Ok(()));
            }
            Err(error) => self.end = Some(Err(error)),
            Ok(()) if self.is_read() => self.end = Some(Ok(())),
            Ok(()) if self.at >= range.end => self.next_segment(),
            Ok(()) => {}
        }
    }

    fn on_read_failed(&mut self, range: GroupRange, reason: String) -> Result<(), RebuildError> {
        self.failures += 1;
        if self.failures < READ_ATTEMPTS {
            return Ok(());
        }
        let block = range.place.shape.block_size();
        if self.wanted <= block || self.window == block {
            return Err(RebuildError::Unreadable { slot: range.slot, offset: self.at, reason });
        }
        (self.window, self.wanted, self.failures) = (block, block, 0);
        Ok(())
    }

    /// Whether all frames that follow are left out.
    fn is_read(&self) -> bool {
        self.prefix.log.is_some() && self.prefix.is_past && !self.may_find_better()
    }

    /// Whether no batch is missing. Expiry frames may still follow; if they cannot be read, the
    /// producers expire again later.
    fn is_whole(&self) -> bool {
        let LogPrefix { until, .. } = self.prefix.of;
        self.prefix.log.as_ref().is_some_and(|log| log.end() == until) && !self.may_find_better()
    }

    /// Whether a better base than the one found may follow.
    fn may_find_better(&self) -> bool {
        let ReplayBase { at, is_followed } = self.range.bases[self.base];
        let generation = self.range.segments.get(self.segment).map(|range| range.place.generation);
        is_followed && generation == Some(at.generation)
    }

    /// Takes the whole groups among the bytes.
    fn take_groups(&mut self, range: GroupRange, bytes: &Bytes) -> Result<(), RebuildError> {
        let (slot, start) = (range.slot, self.at);
        let damaged = |offset, damage| RebuildError::Damaged { slot, offset, damage };
        let unusable = |offset, error| match error {
            GroupError::Damaged(damage) => damaged(offset, damage),
            GroupError::Unknown(unknown) => RebuildError::Unsound { reason: unknown.to_string() },
        };
        while self.at < range.end {
            let offset = self.at;
            let rest = bytes.slice((offset - start) as usize..);
            let header = match check_group(range.place, offset, &rest) {
                Ok(header) => header,
                Err(GroupError::Damaged(GroupDamage::Truncated)) => {
                    return self.ask_for_more(range, &rest, bytes.len());
                }
                Err(error) => return Err(unusable(offset, error)),
            };
            match header.kind {
                // The hole may cover frames of the partition.
                GroupKind::Hole => return Err(damaged(offset, GroupDamage::Absent)),
                GroupKind::Data => {
                    let scan = scan_group(range.place, offset, &rest).map_err(|error| unusable(offset, error))?;
                    if let Some((_, unknown)) = scan.unknown {
                        return Err(unusable(offset, GroupError::Unknown(unknown)));
                    }
                    let id = self.prefix.of.id;
                    let items = scan.items.into_iter().filter(|(of, _)| *of == id);
                    items.map(|(_, item)| item).try_for_each(|item| self.prefix.take(item))?;
                }
                GroupKind::Proof | GroupKind::Index => {}
            }
            self.at = offset + range.place.shape.padded(header.length);
            self.wanted = self.window;
            if (self.at - start) as usize >= bytes.len() || self.is_read() {
                break;
            }
        }
        Ok(())
    }

    /// The group continues after the bytes: requests more. A group that is still incomplete after a
    /// read of its whole length is truncated.
    fn ask_for_more(&mut self, range: GroupRange, rest: &Bytes, read: usize) -> Result<(), RebuildError> {
        let shape = range.place.shape;
        let whole = GroupHeader::parse(range.place.wal, rest).map_or(0, |header| shape.padded(header.length));
        let wanted = whole.max(self.window);
        if rest.len() == read && self.wanted >= wanted {
            let (slot, offset) = (range.slot, self.at);
            return Err(RebuildError::Damaged { slot, offset, damage: GroupDamage::Truncated });
        }
        self.wanted = wanted;
        Ok(())
    }

    fn next_segment(&mut self) {
        self.segment += 1;
        let next = self.range.segments.get(self.segment).map(|range| range.from);
        if self.is_read() || (next.is_none() && self.prefix.log.is_some()) {
            self.end = Some(Ok(()));
        } else if let Some(from) =
            next.filter(|_| self.prefix.may_have_base_in(self.range.bases[self.base].at.generation))
        {
            self.begin_at(from);
        } else {
            (self.prefix.is_past, self.prefix.begun) = (false, None);
            self.base += 1;
            self.begin_at_base();
        }
    }

    /// Returns the log. To be called once [`Self::poll_action`] returns `None`.
    ///
    /// # Errors
    /// If no base is left, or a frame before the offset is damaged, unreadable or inconsistent.
    pub fn finish(self) -> Result<PartitionLog, RebuildError> {
        match (self.end, self.prefix.log) {
            (Some(Err(error)), _) => Err(error),
            (_, Some(log)) => Ok(log),
            (_, None) => Err(RebuildError::NoBase { until: self.prefix.of.until }),
        }
    }
}

/// The log up to the offset, as far as it has been read.
#[derive(Debug)]
struct Prefix {
    of: LogPrefix,
    /// Replayed from the newest base at or below the offset.
    log: Option<PartitionLog>,
    /// The next frames follow batches that are left out.
    is_past: bool,
    begun: Option<BegunCheckpoint>,
}

/// A checkpoint with pieces that have not been read yet.
#[derive(Debug)]
struct BegunCheckpoint {
    generation: SegmentGeneration,
    pieces: CheckpointPieces,
    /// The log's frames since its first piece: they are replayed on top of it.
    since: Vec<ReplayEvent>,
}

impl Prefix {
    /// Whether a base of that segment was found, or a checkpoint in it has pieces to come.
    fn may_have_base_in(&self, generation: SegmentGeneration) -> bool {
        self.log.is_some() || self.begun.as_ref().is_some_and(|begun| begun.generation == generation)
    }

    fn take(&mut self, Scanned { event, .. }: Scanned) -> Result<(), RebuildError> {
        let event = match event {
            ScannedEvent::Piece(piece, bytes) => return self.take_piece(&piece, bytes),
            ScannedEvent::Batch(header, marker) => ReplayEvent::Batch(header, marker),
            ScannedEvent::Control(control) => ReplayEvent::Control(control),
        };
        if matches!(event, ReplayEvent::Control(Control::Open { .. } | Control::Close)) {
            self.begun = None;
        }
        self.take_event(&event)?;
        if let Some(begun) = &mut self.begun {
            begun.since.push(event);
        }
        Ok(())
    }

    fn take_piece(&mut self, piece: &CheckpointPiece, bytes: Bytes) -> Result<(), RebuildError> {
        if piece.number == 0 {
            let (generation, pieces) = (piece.begun_at.generation, CheckpointPieces::begun_by(piece));
            self.begun = Some(BegunCheckpoint { generation, pieces, since: Vec::new() });
        }
        let whole = self.begun.as_mut().and_then(|begun| begun.pieces.take(piece, bytes));
        if let (Some(whole), Some(BegunCheckpoint { since, .. })) = (whole, self.begun.take_if(|_| piece.is_last())) {
            self.take_event(&ReplayEvent::Checkpoint(whole))?;
            since.iter().try_for_each(|event| self.take_event(event))?;
        }
        Ok(())
    }

    fn take_event(&mut self, event: &ReplayEvent) -> Result<(), RebuildError> {
        let LogPrefix { id, until, limits } = self.of;
        let unsound = |error: PartitionReplayError| RebuildError::Unsound { reason: error.to_string() };
        match event {
            ReplayEvent::Checkpoint(_) | ReplayEvent::Control(Control::Open { .. }) => {
                let base = replay_event(id, event, None, Gaps::Refused, limits).map_err(unsound)?;
                self.is_past = base.end() > until;
                if !self.is_past {
                    self.log = Some(base);
                }
            }
            ReplayEvent::Batch(header, _) if header.next_offset() > until => self.is_past = true,
            // The state after the cut follows in the same group.
            ReplayEvent::Control(Control::Truncate { .. }) => self.is_past = true,
            event if !self.is_past => {
                if let Some(log) = self.log.take() {
                    let log = replay_event(id, event, Some(log), Gaps::Refused, limits).map_err(unsound)?;
                    self.log = Some(log);
                }
            }
            // Expiry frames after a batch that is left out belong to the longer log. The caller
            // knows the trims of the log.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
