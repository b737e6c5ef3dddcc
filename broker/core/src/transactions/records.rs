//! The records of `__transaction_state`, in Apache Kafka's own schemas, since its tools read that
//! topic.
//!
//! Written: TransactionLogKey v0, and TransactionLogValue v1 at every `transaction.version`, byte
//! for byte as Kafka 4.4 writes it, with one tagged field more: the last epoch, without which a
//! repeated request would be refused after a load. Kafka passes over tags that it does not know.
//! Read: both versions of the value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_model::{
    PartitionId, ProducerEpoch, ProducerId, ProducerKey, Timestamp, TopicName, TopicPartition, TransactionVersion,
    TransactionalId,
};

use super::state::TransactionState;
use super::transaction::Transaction;
use crate::groups::records::{Reader, RecordError, put_compact_string, put_string, put_varint};

const KEY_VERSION: i16 = 0;
const VALUE_VERSION: i16 = 1;
const PREVIOUS_ID_TAG: usize = 0;
const NEXT_ID_TAG: usize = 1;
const CLIENT_VERSION_TAG: usize = 2;
/// Our own field: the epoch of the producer that may repeat its last request, as 16 bits. The tag
/// is high, so that no later version of Kafka's schema has it.
const LAST_EPOCH_TAG: usize = 10_000;
/// The most bytes of a value without its partitions: all fixed and tagged fields, and the count.
const FIXED_SIZE_MAX: usize = 2 + 8 + 2 + 4 + 1 + 5 + 8 + 8 + 1 + 10 + 10 + 4 + 5;

/// Why bytes cannot be decoded as a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionRecordError {
    #[error(transparent)]
    Malformed(#[from] RecordError),
    #[error("the key of the record is no transactional id")]
    InvalidTransactionalId,
    #[error("{number} is no state of a transaction in a record")]
    UnknownState { number: i8 },
    #[error("the transaction version {number} is not known")]
    UnknownTransactionVersion { number: i16 },
    #[error("the record's producer id or epoch is negative")]
    InvalidProducer,
}

/// Encodes the key of a transactional id.
#[must_use]
pub fn encode_key(id: &TransactionalId) -> Bytes {
    let mut into = BytesMut::with_capacity(4 + id.as_str().len());
    into.put_i16(KEY_VERSION);
    put_string(&mut into, id.as_str()).expect("a transactional id fits into a string");
    into.freeze()
}

/// Decodes a key.
///
/// # Errors
/// [`TransactionRecordError`] for an unknown version, and for bytes that do not follow the schema.
pub fn decode_key(key: &[u8]) -> Result<TransactionalId, TransactionRecordError> {
    let mut reader = Reader::new(key);
    match reader.i16()? {
        KEY_VERSION => {
            TransactionalId::new(reader.string()?).map_err(|_| TransactionRecordError::InvalidTransactionalId)
        }
        version => Err(RecordError::UnknownVersion { schema: "TransactionLogKey", version }.into()),
    }
}

/// Encodes a value.
#[must_use]
pub fn encode_value(transaction: &Transaction) -> Bytes {
    let mut into = BytesMut::with_capacity(value_size_max(transaction));
    into.put_i16(VALUE_VERSION);
    into.put_i64(transaction.producer.id.0);
    into.put_i16(transaction.producer.epoch.0);
    into.put_i32(transaction.timeout_ms);
    into.put_i8(transaction.state.number());
    put_partitions(&mut into, transaction);
    into.put_i64(transaction.updated_at.0);
    into.put_i64(transaction.started_at.0);
    put_tagged_fields(&mut into, transaction);
    into.freeze()
}

/// An upper bound on the bytes of the value, whatever the state of the transaction is.
pub(super) fn value_size_max(transaction: &Transaction) -> usize {
    let names: usize = by_topic(&transaction.partitions).keys().map(|topic| topic.as_str().len() + 5 + 5 + 1).sum();
    FIXED_SIZE_MAX + names + 4 * transaction.partitions.len()
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> BTreeMap<&TopicName, Vec<PartitionId>> {
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for TopicPartition { topic, partition } in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    topics
}

/// Kafka writes no list, instead of an empty one, in the state Empty.
fn put_partitions(into: &mut BytesMut, transaction: &Transaction) {
    if transaction.state == TransactionState::Empty && transaction.partitions.is_empty() {
        put_varint(into, 0);
        return;
    }
    let topics = by_topic(&transaction.partitions);
    put_varint(into, topics.len() + 1);
    for (topic, partitions) in topics {
        put_compact_string(into, topic.as_str());
        put_varint(into, partitions.len() + 1);
        partitions.iter().for_each(|partition| into.put_i32(partition.0));
        put_varint(into, 0);
    }
}

fn put_tagged_fields(into: &mut BytesMut, transaction: &Transaction) {
    let ids = [(PREVIOUS_ID_TAG, transaction.previous_id), (NEXT_ID_TAG, transaction.next_id)];
    let ids: Vec<_> = ids.into_iter().filter(|(_, id)| *id != ProducerId::NONE).collect();
    let numbers = [
        (CLIENT_VERSION_TAG, i16::from(transaction.client_version.number()), 0),
        (LAST_EPOCH_TAG, transaction.last_epoch.0, ProducerEpoch::NONE.0),
    ];
    let numbers: Vec<_> = numbers.into_iter().filter(|(_, number, default)| number != default).collect();
    put_varint(into, ids.len() + numbers.len());
    for (tag, id) in ids {
        put_varint(into, tag);
        put_varint(into, 8);
        into.put_i64(id.0);
    }
    for (tag, number, _) in numbers {
        put_varint(into, tag);
        put_varint(into, 2);
        into.put_i16(number);
    }
}

/// Decodes a value.
///
/// # Errors
/// [`TransactionRecordError`] for an unknown version, state or transaction version, for a negative
/// producer id or epoch, and for bytes that do not follow the schema.
pub fn decode_value(value: &[u8]) -> Result<Transaction, TransactionRecordError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    if !(0..=VALUE_VERSION).contains(&version) {
        return Err(RecordError::UnknownVersion { schema: "TransactionLogValue", version }.into());
    }
    let producer = ProducerKey { id: ProducerId(reader.i64()?), epoch: ProducerEpoch(reader.i16()?) };
    if producer.id.0 < 0 || producer.epoch.0 < 0 {
        return Err(TransactionRecordError::InvalidProducer);
    }
    let timeout_ms = reader.i32()?;
    let number = reader.i8()?;
    let state = TransactionState::from_number(number).ok_or(TransactionRecordError::UnknownState { number })?;
    let is_flexible = version >= 1;
    let partitions = decode_partitions(&mut reader, is_flexible)?;
    let (updated_at, started_at) = (Timestamp(reader.i64()?), Timestamp(reader.i64()?));
    let mut transaction = Transaction {
        producer,
        previous_id: ProducerId::NONE,
        next_id: ProducerId::NONE,
        last_epoch: ProducerEpoch::NONE,
        timeout_ms,
        state,
        partitions,
        updated_at,
        started_at,
        client_version: TransactionVersion::V0,
    };
    if is_flexible {
        decode_tagged_fields(&mut reader, &mut transaction)?;
    }
    Ok(transaction)
}

fn decode_tagged_fields(reader: &mut Reader<'_>, into: &mut Transaction) -> Result<(), TransactionRecordError> {
    let mut client_version = 0;
    reader.tagged_fields(|tag, content| {
        let mut content = Reader::new(content);
        match tag {
            PREVIOUS_ID_TAG => into.previous_id = ProducerId(content.i64()?),
            NEXT_ID_TAG => into.next_id = ProducerId(content.i64()?),
            CLIENT_VERSION_TAG => client_version = content.i16()?,
            LAST_EPOCH_TAG => into.last_epoch = ProducerEpoch(content.i16()?),
            _ => {}
        }
        Ok(())
    })?;
    into.client_version = TransactionVersion::from_number(client_version)
        .ok_or(TransactionRecordError::UnknownTransactionVersion { number: client_version })?;
    Ok(())
}

fn decode_partitions(
    reader: &mut Reader<'_>,
    is_flexible: bool,
) -> Result<BTreeSet<TopicPartition>, TransactionRecordError> {
    /// The least bytes of one topic: its name's length, the count of its partitions, the tags.
    const TOPIC_SIZE_MIN: usize = 3;
    let mut partitions = BTreeSet::new();
    let topics = if is_flexible {
        reader.compact_nullable_count(TOPIC_SIZE_MIN)?
    } else {
        reader.nullable_count(TOPIC_SIZE_MIN)?
    };
    for _ in 0..topics.unwrap_or(0) {
        let name = if is_flexible { reader.compact_string()? } else { reader.string()? };
        let topic = TopicName::new(name).map_err(|_| RecordError::InvalidTopic)?;
        let count = if is_flexible { reader.compact_count(4)? } else { reader.count(4)? };
        for _ in 0..count {
            partitions.insert(TopicPartition { topic: topic.clone(), partition: PartitionId(reader.i32()?) });
        }
        if is_flexible {
            reader.tagged_fields(|_, _| Ok(()))?;
        }
    }
    Ok(partitions)
}
