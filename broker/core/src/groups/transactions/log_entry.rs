//! The entries of a log in tests: a record with the producer of its batch, or a marker.

use bytes::Bytes;
use rustmq_model::batch::{Attributes, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{Offset, ProducerKey, Sequence, Timestamp, TransactionMarker};

use crate::coordinator::CoordinatorRecord;

#[derive(Clone, Debug)]
pub(in crate::groups) enum LogEntry {
    Record { record: CoordinatorRecord, producer: Option<ProducerKey> },
    Marker(TransactionMarker),
}

impl LogEntry {
    /// The batch of the entry at this place in the log.
    pub(in crate::groups) fn batch(&self, offset: Offset, now: Timestamp) -> Bytes {
        let batch = match self {
            Self::Marker(marker) => marker.encode(now),
            Self::Record { record: CoordinatorRecord { key, value }, producer } => {
                let mut builder = BatchBuilder::new(Codec::None);
                if let Some(ProducerKey { id, epoch }) = *producer {
                    let attributes = Attributes::default().with_transactional();
                    builder = builder.producer(id, epoch, Sequence::NONE).attributes(attributes);
                }
                builder.push(now, Some(key), value.as_deref(), &[]);
                builder.build()
            }
        };
        let mut batch = batch.to_vec();
        batch[..8].copy_from_slice(&offset.0.to_be_bytes());
        batch.into()
    }
}
