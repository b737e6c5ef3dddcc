//! The names and numbers that every other crate shares: identifiers, offsets, epochs, sizes, time,
//! and the Kafka record batch v2.
//!
//! No I/O, no clock, no randomness: time is an argument. The record batch is the only part of a
//! wire protocol in here.
//!
//! ```
//! use rustmq_model::batch::{BatchHeader, Codec, assign};
//! use rustmq_model::record::{BatchBuilder, read};
//! use rustmq_model::{LeaderEpoch, Offset, Timestamp};
//!
//! let mut builder = BatchBuilder::new(Codec::Lz4);
//! builder.push(Timestamp(1_000), Some(b"key"), Some(b"value"), &[]);
//! let mut batch = builder.build().to_vec();
//! // The log writes these two fields in place: they lie outside the CRC.
//! assign(&mut batch, Offset(42), LeaderEpoch(3));
//!
//! let header = BatchHeader::parse(&batch)?;
//! header.validate(&batch)?;
//! assert_eq!(header.next_offset(), Offset(43));
//!
//! let records = read(&batch.into(), 1 << 20)?;
//! assert_eq!(records[0].offset, Offset(42));
//! assert_eq!(records[0].key.as_deref(), Some(&b"key"[..]));
//! # Ok::<(), rustmq_model::record::RecordError>(())
//! ```

pub mod batch;
pub mod compression;
mod endpoint;
mod ids;
mod quantity;
pub mod record;
mod transaction;
pub mod varint;

pub use endpoint::{Endpoint, EndpointError};
pub use ids::{
    BrokerId, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicIdPartition,
    TopicName, TopicNameError, TopicPartition,
};
pub use quantity::{ByteSize, ByteSizeError, Instant, Timestamp};
pub use transaction::{
    ProducerKey, TransactionEnd, TransactionMarker, TransactionVersion, TransactionalId, TransactionalIdError,
};
