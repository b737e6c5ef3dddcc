//! The records of consumer groups in `__consumer_offsets`, byte for byte as Kafka 4.4 writes them.
//!
//! Not written, and passed over: ConsumerGroupPartitionMetadata (kind 4, of Kafka before 4.0), and
//! ConsumerGroupRegularExpression (kind 16), since patterns are resolved whenever topics change.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_model::{PartitionId, Timestamp, TopicId};

use super::member::{ClassicSubscription, CurrentAssignment, MemberState, MemberSubscription};
use super::partitions::{Assignment, OwnedPartitions};
use crate::groups::identity::InstanceId;
use crate::groups::records::wire::{
    put_compact_bytes, put_compact_nullable_string, put_compact_string, put_string, put_varint,
};
use crate::groups::records::{Reader, RecordError};
use crate::groups::request::{ClientIdentity, Protocol};

/// The least bytes of a topic with partitions: its id, two counts.
const TOPIC_SIZE_MIN: usize = 16 + 2;
/// The least bytes of a protocol: two lengths and the tagged fields.
const PROTOCOL_SIZE_MIN: usize = 3;

/// The record kinds of a consumer group. Each number is the first field of the record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumerRecordKind {
    Group = 3,
    Member = 5,
    TargetEpoch = 6,
    Target = 7,
    Current = 8,
}

impl ConsumerRecordKind {
    pub const fn from_number(number: i16) -> Option<Self> {
        Some(match number {
            3 => Self::Group,
            5 => Self::Member,
            6 => Self::TargetEpoch,
            7 => Self::Target,
            8 => Self::Current,
            _ => return None,
        })
    }

    /// Whether the key names a member besides the group.
    pub const fn is_of_member(self) -> bool {
        matches!(self, Self::Member | Self::Target | Self::Current)
    }
}

/// The epoch of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEpoch {
    pub epoch: i32,
    /// A hash of the subscribed topics when the epoch was made; zero for none. A group whose topics
    /// have another hash needs a new epoch.
    pub metadata_hash: i64,
}

/// The epoch of a group's target assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetEpoch {
    pub epoch: i32,
    pub computed_at: Timestamp,
}

/// Encodes a key. `member` is empty for the records of the group itself.
///
/// # Errors
/// [`RecordError::TooLong`] if a name has more than 32,767 bytes.
pub fn encode_key(kind: ConsumerRecordKind, group: &str, member: &str) -> Result<Bytes, RecordError> {
    let mut into = BytesMut::with_capacity(2 + 2 + group.len() + 2 + member.len());
    into.put_i16(kind as i16);
    put_string(&mut into, group)?;
    if kind.is_of_member() {
        put_string(&mut into, member)?;
    }
    Ok(into.freeze())
}

/// Writes the version and returns the buffer.
fn value_of(capacity: usize) -> BytesMut {
    let mut into = BytesMut::with_capacity(2 + capacity);
    into.put_i16(0);
    into
}

pub fn encode_group(group: GroupEpoch) -> Bytes {
    let mut into = value_of(16);
    into.put_i32(group.epoch);
    put_tagged_i64(&mut into, group.metadata_hash);
    into.freeze()
}

pub fn encode_target_epoch(target: TargetEpoch) -> Bytes {
    let mut into = value_of(16);
    into.put_i32(target.epoch);
    put_tagged_i64(&mut into, target.computed_at.0);
    into.freeze()
}

/// Writes the tagged field 0 of eight bytes, unless it has its default of zero.
fn put_tagged_i64(into: &mut BytesMut, value: i64) {
    if value == 0 {
        put_varint(into, 0);
        return;
    }
    for number in [1, 0, 8] {
        put_varint(into, number);
    }
    into.put_i64(value);
}

pub fn encode_target(target: &Assignment) -> Bytes {
    let mut into = value_of(8 + target.len() * 8);
    put_varint(&mut into, target.topics().len() + 1);
    for (topic, partitions) in target.topics() {
        into.put_u128(topic.0);
        put_varint(&mut into, partitions.len() + 1);
        partitions.iter().for_each(|partition| into.put_i32(partition.0));
        put_varint(&mut into, 0);
    }
    put_varint(&mut into, 0);
    into.freeze()
}

pub fn encode_current(current: &CurrentAssignment) -> Bytes {
    let mut into = value_of(64);
    into.put_i32(current.epoch);
    into.put_i32(current.previous_epoch);
    into.put_i8(current.state.number());
    put_owned(&mut into, &current.assigned);
    put_owned(&mut into, &current.revoking);
    put_varint(&mut into, 0);
    into.freeze()
}

fn put_owned(into: &mut BytesMut, owned: &OwnedPartitions) {
    put_varint(into, owned.topics().len() + 1);
    for (topic, partitions) in owned.topics() {
        into.put_u128(topic.0);
        put_varint(into, partitions.len() + 1);
        partitions.keys().for_each(|partition| into.put_i32(partition.0));
        let mut epochs = BytesMut::with_capacity(4 + partitions.len() * 4);
        put_varint(&mut epochs, partitions.len() + 1);
        partitions.values().for_each(|epoch| epochs.put_i32(*epoch));
        put_tagged_fields(into, &epochs);
    }
}

/// Writes one tagged field, number 0.
fn put_tagged_fields(into: &mut BytesMut, field: &[u8]) {
    for number in [1, 0, field.len()] {
        put_varint(into, number);
    }
    into.put_slice(field);
}

pub fn encode_member(member: &MemberSubscription) -> Bytes {
    let mut into = value_of(128);
    put_compact_nullable_string(&mut into, member.instance.as_ref().map(InstanceId::as_str));
    put_compact_nullable_string(&mut into, member.rack.as_deref());
    put_compact_string(&mut into, &member.client.id);
    put_compact_string(&mut into, &member.client.host);
    put_varint(&mut into, member.topics.len() + 1);
    member.topics.iter().for_each(|topic| put_compact_string(&mut into, topic));
    // Kafka keeps an empty pattern for none.
    put_compact_string(&mut into, member.regex.as_deref().unwrap_or_default());
    into.put_i32(member.rebalance_timeout_ms);
    put_compact_nullable_string(&mut into, member.assignor.as_deref());
    match &member.classic {
        Some(classic) => put_tagged_fields(&mut into, &encode_classic(classic)),
        None => put_varint(&mut into, 0),
    }
    into.freeze()
}

fn encode_classic(classic: &ClassicSubscription) -> BytesMut {
    let mut into = BytesMut::new();
    // The presence of the nullable structure.
    into.put_i8(1);
    into.put_i32(classic.session_timeout_ms);
    put_varint(&mut into, classic.protocols.len() + 1);
    for protocol in &classic.protocols {
        put_compact_string(&mut into, &protocol.name);
        put_compact_bytes(&mut into, &protocol.metadata);
        put_varint(&mut into, 0);
    }
    put_varint(&mut into, 0);
    into
}

/// Reads the version, which must be 0.
fn reader_of<'a>(schema: &'static str, value: &'a [u8]) -> Result<Reader<'a>, RecordError> {
    let mut reader = Reader::new(value);
    match reader.i16()? {
        0 => Ok(reader),
        version => Err(RecordError::UnknownVersion { schema, version }),
    }
}

fn tagged_i64(reader: &mut Reader<'_>) -> Result<i64, RecordError> {
    let mut value = 0;
    reader.tagged_fields(|tag, content| {
        if tag == 0 {
            value = Reader::new(content).i64()?;
        }
        Ok(())
    })?;
    Ok(value)
}

/// # Errors
/// As for each decoder here: [`RecordError`] for an unknown version, and for bytes that do not
/// follow the schema.
pub fn decode_group(value: &[u8]) -> Result<GroupEpoch, RecordError> {
    let mut reader = reader_of("ConsumerGroupMetadataValue", value)?;
    Ok(GroupEpoch { epoch: reader.i32()?, metadata_hash: tagged_i64(&mut reader)? })
}

pub fn decode_target_epoch(value: &[u8]) -> Result<TargetEpoch, RecordError> {
    let mut reader = reader_of("ConsumerGroupTargetAssignmentMetadataValue", value)?;
    Ok(TargetEpoch { epoch: reader.i32()?, computed_at: Timestamp(tagged_i64(&mut reader)?) })
}

fn partitions(reader: &mut Reader<'_>) -> Result<Vec<PartitionId>, RecordError> {
    let count = reader.compact_count(4)?;
    (0..count).map(|_| reader.i32().map(PartitionId)).collect()
}

pub fn decode_target(value: &[u8]) -> Result<Assignment, RecordError> {
    let mut reader = reader_of("ConsumerGroupTargetAssignmentMemberValue", value)?;
    let mut target = Assignment::default();
    for _ in 0..reader.compact_count(TOPIC_SIZE_MIN)? {
        let topic = TopicId(reader.u128()?);
        target.insert(topic, partitions(&mut reader)?);
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(target)
}

pub fn decode_current(value: &[u8]) -> Result<CurrentAssignment, RecordError> {
    let mut reader = reader_of("ConsumerGroupCurrentMemberAssignmentValue", value)?;
    let (epoch, previous_epoch) = (reader.i32()?, reader.i32()?);
    let state = MemberState::from_number(reader.i8()?);
    let assigned = decode_owned(&mut reader, epoch)?;
    let revoking = decode_owned(&mut reader, epoch)?;
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(CurrentAssignment { epoch, previous_epoch, state, assigned, revoking })
}

/// Records of Kafka before 4.3 have no epochs of assignment: the member's epoch stands for them.
fn decode_owned(reader: &mut Reader<'_>, member_epoch: i32) -> Result<OwnedPartitions, RecordError> {
    let mut owned = OwnedPartitions::default();
    for _ in 0..reader.compact_count(TOPIC_SIZE_MIN)? {
        let topic = TopicId(reader.u128()?);
        let partitions = partitions(reader)?;
        let mut epochs = Vec::new();
        reader.tagged_fields(|tag, content| {
            // A null array has the count zero.
            if tag == 0 && content != [0] {
                let mut content = Reader::new(content);
                let count = content.compact_count(4)?;
                epochs = (0..count).map(|_| content.i32()).collect::<Result<_, _>>()?;
            }
            Ok(())
        })?;
        if !epochs.is_empty() && epochs.len() != partitions.len() {
            return Err(RecordError::InvalidLength);
        }
        for (index, partition) in partitions.into_iter().enumerate() {
            owned.insert(topic, partition, epochs.get(index).copied().unwrap_or(member_epoch));
        }
    }
    Ok(owned)
}

pub fn decode_member(value: &[u8]) -> Result<MemberSubscription, RecordError> {
    let mut reader = reader_of("ConsumerGroupMemberMetadataValue", value)?;
    let instance = reader.compact_nullable_string()?.map(InstanceId::from);
    let rack = reader.compact_nullable_string()?.map(str::to_owned);
    let (id, host) = (reader.compact_string()?.to_owned(), reader.compact_string()?.to_owned());
    let topics = (0..reader.compact_count(1)?)
        .map(|_| reader.compact_string().map(str::to_owned))
        .collect::<Result<BTreeSet<_>, _>>()?;
    let regex = reader.compact_nullable_string()?.filter(|regex| !regex.is_empty()).map(str::to_owned);
    let rebalance_timeout_ms = reader.i32()?;
    let assignor = reader.compact_nullable_string()?.map(str::to_owned);
    let mut classic = None;
    reader.tagged_fields(|tag, content| {
        if tag == 0 {
            classic = decode_classic(content)?;
        }
        Ok(())
    })?;
    let client = ClientIdentity { id, host };
    Ok(MemberSubscription { instance, rack, client, topics, regex, rebalance_timeout_ms, assignor, classic })
}

fn decode_classic(content: &[u8]) -> Result<Option<ClassicSubscription>, RecordError> {
    let mut reader = Reader::new(content);
    if reader.i8()? < 0 {
        return Ok(None);
    }
    let session_timeout_ms = reader.i32()?;
    let mut protocols = Vec::new();
    for _ in 0..reader.compact_count(PROTOCOL_SIZE_MIN)? {
        let name = reader.compact_string()?.to_owned();
        protocols.push(Protocol { name, metadata: Bytes::copy_from_slice(reader.compact_bytes()?) });
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(Some(ClassicSubscription { session_timeout_ms, protocols }))
}

#[cfg(test)]
mod tests;
