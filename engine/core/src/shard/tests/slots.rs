//! The files of slots as vectors: commits write them, recovery and moves read them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::shard::request::ColdRead;
use crate::shard::{DiskStep, MoveError, Preparation};
use crate::wal::read_check::{GroupCheck, check_group};
use crate::wal::recovery::{CorruptionPolicy, RecoveryError, read_index};
use crate::wal::scan::SegmentPlace;
use crate::wal::segments::{LocatedExtents, Location};
use crate::wal::{ReadRange, RecoveredWal, Recovery, RecoveryOptions, SegmentShape, SlotId, WalId};

pub const WAL: WalId = WalId([7; 16]);
pub const BLOCK: usize = 512;
/// The bytes to clear so that no earlier segment in the slot is recognized.
const HEAD: usize = 4096;

pub fn shape(blocks: u64) -> SegmentShape {
    SegmentShape::new(BLOCK as u64, blocks * BLOCK as u64).unwrap()
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(pub BTreeMap<SlotId, Vec<u8>>);

impl Slots {
    pub fn prepare(&mut self, slot: SlotId, preparation: Preparation, shape: SegmentShape) {
        let bytes = self.0.entry(slot).or_default();
        bytes.resize(shape.length() as usize, 0);
        match preparation {
            Preparation::Reserved => bytes[..HEAD].fill(0),
            Preparation::Filled { .. } => bytes.fill(0),
        }
    }

    pub fn execute(&mut self, steps: &[DiskStep]) {
        for step in steps {
            if let DiskStep::Write { slot, offset, bytes } | DiskStep::WriteSynced { slot, offset, bytes } = step {
                let at = *offset as usize;
                self.0.get_mut(slot).unwrap()[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    pub fn recover(&self, shape: SegmentShape, policy: CorruptionPolicy) -> Result<RecoveredWal, RecoveryError> {
        let slots = self.0.iter().map(|(slot, bytes)| (*slot, bytes.len() as u64)).collect();
        // The window is smaller than the larger groups, so that those are read twice.
        let mut recovery = Recovery::new(RecoveryOptions { wal: WAL, shape, slots, window: 1_024, policy });
        while let Some(read) = recovery.poll_action() {
            let bytes = self.0[&read.slot].get(read.offset as usize..).unwrap_or_default();
            recovery.on_read(&Bytes::copy_from_slice(&bytes[..bytes.len().min(read.length as usize)]))?;
        }
        recovery.finish()
    }

    /// The result of a read thread's read.
    pub fn read(&self, read: &ColdRead, location: &Location) -> Result<Vec<Bytes>, MoveError> {
        let Location { slot, generation, shape, from, until, extents, .. } = location;
        let (place, bytes) = (SegmentPlace { wal: WAL, shape: *shape, generation: *generation }, &self.0[slot]);
        let extents = match extents {
            LocatedExtents::Known(extents) => extents.clone(),
            LocatedExtents::Indexed(trailer) => {
                let group = trailer.index_group as usize..trailer.end as usize;
                let index = read_index(place, trailer.index_group, &bytes[group]).unwrap();
                let range = ReadRange { from: *from, until: *until, bytes: read.max_bytes };
                index.entry(read.id).unwrap().extents.wanted(range)
            }
        };
        let (mut found, mut length) = (Vec::new(), 0);
        for extent in extents {
            let group = match check_group(place, extent.group_offset, &bytes[extent.group_offset as usize..]) {
                Ok(GroupCheck::Whole(group)) => group,
                Ok(GroupCheck::NeedBytes { .. }) => panic!("the rest of the slot holds the whole group"),
                Err(damage) if found.is_empty() => {
                    return Err(MoveError::Damaged { until: extent.end.min(*until), reason: damage.to_string() });
                }
                Err(_) => return Ok(found),
            };
            for batch in group.batches_of(read.id) {
                let next = batch.header.next_offset();
                if next <= *from || next > *until {
                    continue;
                }
                length += batch.header.size;
                if length > read.max_bytes && !(found.is_empty() && read.at_least_one) {
                    return Ok(found);
                }
                let at = extent.group_offset as usize;
                found.push(Bytes::copy_from_slice(
                    &bytes[at + batch.with_tagged_fields.start..at + batch.with_tagged_fields.end],
                ));
            }
        }
        Ok(found)
    }
}
