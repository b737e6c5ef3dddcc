//! The fuzz targets for the WAL's decoders. They are plain functions, so that tests on stable Rust
//! can call them too.

use bytes::Bytes;
use rustmq_model::TopicIdPartition;

use super::format_version::FormatVersion;
use super::frame::{self, FrameBody, FrameSeed, frame_size, frames};
use super::frame_kind::FrameKind;
use super::group::{self, GroupHeader, GroupKind};
use super::index::SegmentIndex;
use super::position::{SegmentGeneration, SegmentShape, SlotId, WalId, WalPosition, WalSession};
use super::read_check::{GroupCheck, check_group};
use super::recovery::{CorruptionPolicy, Recovery, RecoveryOptions};
use super::scan::SegmentPlace;
use crate::log::{LogLimits, PartitionLog};

const WAL: WalId = WalId([7; 16]);

/// Reads arbitrary bytes as two slots of a WAL, and as a group. Must not panic or hang.
pub fn fuzz_wal_reader(data: &[u8]) {
    let Ok(shape) = SegmentShape::new(512, 16 * 512) else { return };
    for policy in [CorruptionPolicy::Refuse, CorruptionPolicy::Repaired, CorruptionPolicy::Repair] {
        recover(data, shape, policy);
    }
    read(data, shape);
}

/// Uses the first half of the bytes as one slot, and the second half as the other.
fn recover(data: &[u8], shape: SegmentShape, policy: CorruptionPolicy) {
    let length = u64::from(shape.length());
    let slots = vec![(SlotId(0), length), (SlotId(1), length)];
    let mut recovery = Recovery::new(RecoveryOptions { wal: WAL, shape, slots, window: 1024, policy });
    let halves = data.split_at(data.len() / 2);
    while let Some(read) = recovery.poll_action() {
        let slot = if read.slot.0 == 0 { halves.0 } else { halves.1 };
        let bytes = slot.get(read.offset as usize..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(read.length as usize)];
        if recovery.on_read(&Bytes::copy_from_slice(bytes)).is_err() {
            return;
        }
    }
    // Recovery may succeed or fail, but it must end.
    let _answer = recovery.finish();
}

fn read(data: &[u8], shape: SegmentShape) {
    let place = SegmentPlace { wal: WAL, shape, generation: SegmentGeneration(1) };
    if let Ok(GroupCheck::Whole(group)) = check_group(place, 512, data) {
        let mut batches = group.batches_of(TopicIdPartition::default());
        assert!(batches.all(|batch| batch.range.end <= data.len()), "a batch lies within the bytes");
    }
}

/// Reads arbitrary bytes as a payload of each kind and version after a correct checksum, as an
/// index, and as a checkpoint. Must not panic, nor return ranges beyond the bytes; a checkpoint
/// that is accepted must stay the same when it is written and read again.
pub fn fuzz_wal_frames(data: &[u8]) {
    for version in [FormatVersion::V1, FormatVersion::V2] {
        let kinds = (1..).map_while(FrameKind::from_code);
        kinds.for_each(|kind| read_frame(version, kind, data));
        let _index = SegmentIndex::parse(version, SegmentGeneration(1), data);
    }
    restore(data);
}

fn read_frame(version: FormatVersion, kind: FrameKind, payload: &[u8]) {
    let at = WalPosition { generation: SegmentGeneration(1), offset: 512 };
    let length = group::HEADER_LENGTH as usize + frame_size(payload.len());
    let mut region = vec![0; length];
    let payload_at = (group::HEADER_LENGTH + frame::HEADER_LENGTH) as usize;
    region[payload_at..payload_at + payload.len()].copy_from_slice(payload);
    let (Ok(length), Ok(narrow)) = (u32::try_from(length), u32::try_from(payload.len())) else { return };
    let header = GroupHeader {
        kind: GroupKind::Data,
        version,
        length,
        generation: at.generation,
        session: WalSession(1),
        offset: at.offset,
        frame_count: 1,
        durable: WalPosition::default(),
    };
    header.encode(WAL, &mut region);
    let frame_at = group::HEADER_LENGTH as usize;
    let seed = FrameSeed::new(WAL, at.generation, WalSession(1));
    let offset = at.offset + group::HEADER_LENGTH;
    if !frame::seal(seed, offset, kind, TopicIdPartition::default(), narrow, &mut region[frame_at..]) {
        return;
    }
    for frame in frames(WAL, &header, &region).flatten() {
        match frame.body {
            FrameBody::Batch { header, .. } => {
                assert!(header.size <= frame.payload.len(), "a batch lies in its payload");
            }
            FrameBody::Checkpoint(piece, bytes) => {
                assert!(frame.payload.get(bytes).is_some(), "the bytes of a piece lie in its payload");
                assert!(piece.number < piece.count, "the number of a piece is below the count");
            }
            FrameBody::Control(_) | FrameBody::SegmentIndex | FrameBody::Damaged(_) | FrameBody::Unknown(_) => {}
        }
    }
}

fn restore(data: &[u8]) {
    let Ok(log) = PartitionLog::restore(LogLimits::default(), data) else { return };
    log.check_invariants();
    let mut again = Vec::new();
    log.encode_checkpoint(&mut again);
    let restored = PartitionLog::restore(LogLimits::default(), &again);
    assert_eq!(restored.as_ref(), Ok(&log), "a checkpoint holds the whole state");
}
