//! Names and numbers that every other crate shares: identifiers, offsets, epochs, sizes, time, and the Kafka record batch v2.
//!
//! No I/O, no clock, no randomness: time is an argument. Nothing here knows a wire protocol beyond the record batch itself.

pub mod batch;
pub mod compression;
mod ids;
mod quantity;
pub mod record;

pub use ids::{
    BrokerId, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicIdPartition,
    TopicName, TopicNameError, TopicPartition,
};
pub use quantity::{ByteSize, ByteSizeError, Instant, Timestamp};
