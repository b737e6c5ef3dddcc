//! A chunk of the index of aborted transactions that takes no more entries. It is packed, since
//! there may be as many entries as the log has room for: an entry takes about six bytes instead of
//! 32.

use std::convert::Infallible;

use rustmq_model::varint::{put_signed, read_i64};
use rustmq_model::{Offset, ProducerId};

use super::aborted_index::AbortedTransaction;

/// The entries as numbers of variable length. Each states its differences from the entry before it:
/// of the producer, and of the offset of the marker; then the distances of the first offset and of
/// the last stable offset from its own marker.
#[derive(Debug)]
pub(super) struct PackedChunk {
    pub first_marker: Offset,
    pub last_marker: Offset,
    bytes: Box<[u8]>,
}

impl PackedChunk {
    /// Packs entries in the order of their markers; `None` without any.
    pub fn of(entries: &[AbortedTransaction]) -> Option<Self> {
        let (first, last) = (entries.first()?, entries.last()?);
        let mut bytes = Vec::with_capacity(8 * entries.len());
        let (mut producer, mut marker) = (ProducerId(0), Offset::ZERO);
        for entry in entries {
            put_signed(&mut bytes, entry.producer_id.0.wrapping_sub(producer.0));
            put_signed(&mut bytes, entry.last_offset.0 - marker.0);
            put_signed(&mut bytes, entry.last_offset.0 - entry.first_offset.0);
            put_signed(&mut bytes, entry.last_offset.0 - entry.last_stable.0);
            (producer, marker) = (entry.producer_id, entry.last_offset);
        }
        Some(Self { first_marker: first.last_offset, last_marker: last.last_offset, bytes: bytes.into_boxed_slice() })
    }

    pub fn iter(&self) -> impl Iterator<Item = AbortedTransaction> {
        let mut rest = &self.bytes[..];
        let (mut producer, mut marker) = (0_i64, 0);
        std::iter::from_fn(move || {
            let mut next = || {
                let Ok(value) = read_i64(|| Ok::<_, Infallible>(rest.split_off_first().copied()));
                value
            };
            producer = producer.wrapping_add(next()?);
            marker += next()?;
            let (first_offset, last_stable) = (Offset(marker - next()?), Offset(marker - next()?));
            let (producer_id, last_offset) = (ProducerId(producer), Offset(marker));
            Some(AbortedTransaction { producer_id, first_offset, last_offset, last_stable })
        })
    }

    #[cfg(test)]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
