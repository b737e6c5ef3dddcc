//! The WAL reader as a fuzz target: a plain function, which stable tests call too.

use bytes::Bytes;
use rustmq_model::TopicIdPartition;

use super::position::{Generation, SegmentShape, SlotId, WalId};
use super::read_check::{GroupCheck, check_group};
use super::recovery::{CorruptionPolicy, Recovery, RecoveryOptions};
use super::scan::SegmentPlace;

const WAL: WalId = WalId([7; 16]);

/// Arbitrary bytes as two slots of a WAL, and as a group read back. Must not panic or hang.
pub fn fuzz_wal_reader(data: &[u8]) {
    let Ok(shape) = SegmentShape::new(512, 16 * 512) else { return };
    for policy in [CorruptionPolicy::Refuse, CorruptionPolicy::Repaired, CorruptionPolicy::Repair] {
        recover(data, shape, policy);
    }
    read(data, shape);
}

/// The first half of the bytes is one slot, the second half the other.
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
    // Either answer will do: what counts is that there is one.
    let _answer = recovery.finish();
}

fn read(data: &[u8], shape: SegmentShape) {
    let place = SegmentPlace { wal: WAL, shape, generation: Generation(1) };
    if let Ok(GroupCheck::Whole(group)) = check_group(place, 512, data) {
        let mut batches = group.batches_of(TopicIdPartition::default());
        assert!(batches.all(|batch| batch.range.end <= data.len()), "a batch lies within the bytes");
    }
}
