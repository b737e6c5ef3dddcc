//! The batches that clients have made. A batch is identified by its checksum, which covers
//! everything except the fields that the log assigns.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustmq_engine_core::log::EndMarker;
use rustmq_model::batch::{Attributes, BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{ProducerEpoch, ProducerId, Sequence, Timestamp, TransactionEnd, TransactionMarker};

use crate::Rng;

/// Numbers batches in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u32);

/// The producer of a batch, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    Nobody,
    Producer {
        id: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        is_transactional: bool,
    },
    /// The transaction coordinator. Each marker has a coordinator epoch of its own, which makes its
    /// bytes unique.
    Coordinator(TransactionMarker),
}

#[derive(Debug, Default)]
pub struct Batches {
    made: Vec<(Bytes, BatchHeader)>,
    by_checksum: BTreeMap<u32, BatchId>,
}

impl Batches {
    /// Makes a batch of about `size` bytes, in one to three records.
    pub fn make(&mut self, author: Author, size: usize, mut time: Timestamp, rng: &mut Rng) -> BatchId {
        loop {
            let bytes = build(author, size, time, rng);
            let header = BatchHeader::parse(&bytes).expect("a batch was built");
            if self.by_checksum.contains_key(&header.crc) {
                // A marker has nothing else that could differ.
                time.0 += 1;
                continue;
            }
            let id = BatchId(u32::try_from(self.made.len()).expect("a run makes a few thousand"));
            self.by_checksum.insert(header.crc, id);
            self.made.push((bytes, header));
            return id;
        }
    }

    pub fn header(&self, id: BatchId) -> &BatchHeader {
        &self.made[id.0 as usize].1
    }

    /// How the batch ends a transaction, if it is a marker.
    pub fn transaction_end(&self, id: BatchId) -> Option<TransactionEnd> {
        let (bytes, header) = &self.made[id.0 as usize];
        let marker = header.attributes.is_control().then(|| EndMarker::read(bytes).expect("a marker was built"));
        marker.flatten().map(|marker| marker.end)
    }

    pub fn bytes(&self, id: BatchId) -> Bytes {
        self.made[id.0 as usize].0.clone()
    }

    /// Finds the batch that was made with these bytes. Panics unless they agree byte for byte.
    pub fn identify(&self, header: &BatchHeader, bytes: &[u8]) -> BatchId {
        let id = self.by_checksum.get(&header.crc).copied();
        let id = id.unwrap_or_else(|| panic!("nobody made this batch: {header:?}"));
        let (made, _) = &self.made[id.0 as usize];
        // The log assigns the base offset and the leader epoch.
        let is_same = made.len() == bytes.len() && made[8..12] == bytes[8..12] && made[16..] == bytes[16..];
        assert!(is_same, "batch {} differs from the batch that was made: {header:?}", id.0);
        id
    }
}

fn build(author: Author, size: usize, time: Timestamp, rng: &mut Rng) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    match author {
        Author::Nobody => {}
        Author::Producer { id, epoch, sequence, is_transactional } => {
            builder = builder.producer(id, epoch, sequence);
            if is_transactional {
                builder = builder.attributes(Attributes::default().with_transactional());
            }
        }
        Author::Coordinator(marker) => return marker.encode(time),
    }
    let records = 1 + rng.below(3);
    let fill = rng.roll().to_le_bytes();
    let mut value = vec![fill[0]; size / records];
    for number in 0..records {
        let stamp = fill.len().min(value.len());
        value[..stamp].copy_from_slice(&fill[..stamp]);
        builder.push(Timestamp(time.0 + i64::try_from(number).expect("a few")), None, Some(&value), &[]);
    }
    builder.build()
}
