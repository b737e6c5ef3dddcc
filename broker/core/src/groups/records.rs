//! The records of `__consumer_offsets`, in Apache Kafka's own schemas, since its tools read that
//! topic.
//!
//! Written: OffsetCommitKey v1, OffsetCommitValue v3 (v4 when the topic id is known),
//! GroupMetadataKey v2, GroupMetadataValue v3, byte for byte as Kafka 4.3 writes them. Read: every
//! version of these. `consumer` has the values of consumer groups (KIP-848). The record kinds of
//! share and streams groups are recognized by their key's number and left alone.

pub(crate) mod wire;

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicPartition};

pub(crate) use self::wire::{Reader, put_compact_string, put_string, put_varint};
use self::wire::{put_bytes, put_nullable_string};
use super::consumer::records::ConsumerRecordKind;
use super::offsets::CommittedOffset;

const OFFSET_COMMIT_KEY_VERSION: i16 = 1;
const OFFSET_COMMIT_VALUE_VERSION: i16 = 3;
const OFFSET_COMMIT_VALUE_VERSION_FLEXIBLE: i16 = 4;
const GROUP_METADATA_KEY_VERSION: i16 = 2;
const GROUP_METADATA_VALUE_VERSION: i16 = 3;
/// The tag of the topic id in OffsetCommitValue v4.
const TOPIC_ID_TAG: usize = 0;
const TOPIC_ID_SIZE: usize = 16;
/// The least bytes that one member takes in any version of GroupMetadataValue: in the flexible one.
const MEMBER_SIZE_MIN: usize = 15;

/// Why bytes cannot be decoded as a record, or a record cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("the record ends early: {wanted} bytes are needed, {left} are left")]
    Truncated { wanted: usize, left: usize },
    #[error("a length or count in the record is not possible")]
    InvalidLength,
    #[error("a text in the record is not UTF-8")]
    InvalidText,
    #[error("the record names an illegal topic")]
    InvalidTopic,
    #[error("version {version} of {schema} is not known")]
    UnknownVersion { schema: &'static str, version: i16 },
    #[error("a field of {length} bytes does not fit the schema")]
    TooLong { length: usize },
}

/// The key of a record of `__consumer_offsets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKey<'a> {
    OffsetCommit {
        group: &'a str,
        /// The text as it is written. It is checked when it becomes a topic name.
        topic: &'a str,
        partition: PartitionId,
    },
    GroupMetadata {
        group: &'a str,
    },
    /// A record of a consumer group. The member is empty in those of the group itself.
    ConsumerGroup {
        kind: ConsumerRecordKind,
        group: &'a str,
        member: &'a str,
    },
    /// A kind of record that this broker does not keep.
    Other {
        kind: i16,
    },
}

/// GroupMetadataValue: one generation of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// Empty if the group has none.
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    /// When the group entered its state; `Timestamp::NONE` in records older than version 2.
    pub state_since: Timestamp,
    pub members: Vec<MemberMetadata>,
}

/// One member in a [`GroupMetadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    /// -1 in records of version 0: the session timeout counts.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

/// Decodes a key. An unknown kind is not an error: other group types share the topic.
///
/// # Errors
/// [`RecordError`] if the bytes end early, or if a text is illegal.
pub fn decode_key(key: &[u8]) -> Result<RecordKey<'_>, RecordError> {
    let mut reader = Reader::new(key);
    match reader.i16()? {
        0 | 1 => {
            let (group, topic) = (reader.string()?, reader.string()?);
            Ok(RecordKey::OffsetCommit { group, topic, partition: PartitionId(reader.i32()?) })
        }
        2 => Ok(RecordKey::GroupMetadata { group: reader.string()? }),
        kind => match ConsumerRecordKind::from_number(kind) {
            None => Ok(RecordKey::Other { kind }),
            Some(kind) => {
                let group = reader.string()?;
                Ok(RecordKey::ConsumerGroup {
                    kind,
                    group,
                    member: if kind.is_of_member() { reader.string()? } else { "" },
                })
            }
        },
    }
}

/// Encodes the key of a committed offset.
///
/// # Errors
/// [`RecordError::TooLong`] if the group id has more than 32,767 bytes.
pub fn encode_offset_commit_key(group: &str, partition: &TopicPartition) -> Result<Bytes, RecordError> {
    let mut into = BytesMut::with_capacity(2 + 2 + group.len() + 2 + partition.topic.as_str().len() + 4);
    into.put_i16(OFFSET_COMMIT_KEY_VERSION);
    put_string(&mut into, group)?;
    put_string(&mut into, partition.topic.as_str())?;
    into.put_i32(partition.partition.0);
    Ok(into.freeze())
}

/// Encodes the key of a group.
///
/// # Errors
/// [`RecordError::TooLong`] if the group id has more than 32,767 bytes.
pub fn encode_group_metadata_key(group: &str) -> Result<Bytes, RecordError> {
    let mut into = BytesMut::with_capacity(2 + 2 + group.len());
    into.put_i16(GROUP_METADATA_KEY_VERSION);
    put_string(&mut into, group)?;
    Ok(into.freeze())
}

/// Encodes a committed offset.
///
/// An explicit expiry exists only in version 1, which has no leader epoch: an offset with an expiry
/// loses its epoch, as on Kafka.
///
/// # Errors
/// [`RecordError::TooLong`] if the metadata has more than 32,767 bytes and the version is not
/// flexible.
pub fn encode_offset_commit_value(offset: &CommittedOffset) -> Result<Bytes, RecordError> {
    let mut into = BytesMut::with_capacity(64 + offset.metadata.len());
    let epoch = offset.leader_epoch.map_or(-1, |epoch| epoch.0);
    if let Some(expires_at) = offset.expires_at {
        into.put_i16(1);
        into.put_i64(offset.offset.0);
        put_string(&mut into, &offset.metadata)?;
        into.put_i64(offset.committed_at.0);
        into.put_i64(expires_at.0);
    } else if offset.topic_id == TopicId::ZERO {
        into.put_i16(OFFSET_COMMIT_VALUE_VERSION);
        into.put_i64(offset.offset.0);
        into.put_i32(epoch);
        put_string(&mut into, &offset.metadata)?;
        into.put_i64(offset.committed_at.0);
    } else {
        into.put_i16(OFFSET_COMMIT_VALUE_VERSION_FLEXIBLE);
        into.put_i64(offset.offset.0);
        into.put_i32(epoch);
        put_compact_string(&mut into, &offset.metadata);
        into.put_i64(offset.committed_at.0);
        put_varint(&mut into, 1);
        put_varint(&mut into, TOPIC_ID_TAG);
        put_varint(&mut into, TOPIC_ID_SIZE);
        into.put_slice(&offset.topic_id.to_bytes());
    }
    Ok(into.freeze())
}

/// Decodes a committed offset of versions 0 to 4.
///
/// # Errors
/// [`RecordError`] for an unknown version, and for bytes that do not follow the schema.
pub fn decode_offset_commit_value(value: &[u8]) -> Result<CommittedOffset, RecordError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::UnknownVersion { schema: "OffsetCommitValue", version });
    }
    let offset = Offset(reader.i64()?);
    let epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = if version >= 4 { reader.compact_string()? } else { reader.string()? };
    let committed_at = Timestamp(reader.i64()?);
    let expires_at = if version == 1 { reader.i64()? } else { -1 };
    let mut topic_id = TopicId::ZERO;
    if version >= 4 {
        reader.tagged_fields(|tag, content| {
            if tag == TOPIC_ID_TAG {
                topic_id = TopicId(Reader::new(content).u128()?);
            }
            Ok(())
        })?;
    }
    Ok(CommittedOffset {
        offset,
        leader_epoch: (epoch >= 0).then_some(LeaderEpoch(epoch)),
        metadata: metadata.to_owned(),
        committed_at,
        expires_at: (expires_at >= 0).then_some(Timestamp(expires_at)),
        topic_id,
    })
}

/// Encodes a group.
///
/// # Errors
/// [`RecordError::TooLong`] for a text of more than 32,767 bytes, or for bytes or members beyond a
/// 32-bit count.
pub fn encode_group_metadata_value(group: &GroupMetadata) -> Result<Bytes, RecordError> {
    let mut into = BytesMut::with_capacity(64 + group.members.len() * 256);
    into.put_i16(GROUP_METADATA_VALUE_VERSION);
    put_string(&mut into, &group.protocol_type)?;
    into.put_i32(group.generation);
    put_nullable_string(&mut into, group.protocol.as_deref())?;
    put_nullable_string(&mut into, group.leader.as_deref())?;
    into.put_i64(group.state_since.0);
    let count = group.members.len();
    into.put_i32(i32::try_from(count).map_err(|_| RecordError::TooLong { length: count })?);
    for member in &group.members {
        put_string(&mut into, &member.member)?;
        put_nullable_string(&mut into, member.instance.as_deref())?;
        put_string(&mut into, &member.client_id)?;
        put_string(&mut into, &member.client_host)?;
        into.put_i32(member.rebalance_timeout_ms);
        into.put_i32(member.session_timeout_ms);
        put_bytes(&mut into, &member.subscription)?;
        put_bytes(&mut into, &member.assignment)?;
    }
    Ok(into.freeze())
}

/// Decodes a group of versions 0 to 4. The bytes of its members share the memory of `value`.
///
/// # Errors
/// [`RecordError`] for an unknown version, and for bytes that do not follow the schema.
pub fn decode_group_metadata_value(value: &Bytes) -> Result<GroupMetadata, RecordError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    if !(0..=4).contains(&version) {
        return Err(RecordError::UnknownVersion { schema: "GroupMetadataValue", version });
    }
    let flexible = version >= 4;
    let protocol_type = if flexible { reader.compact_string()? } else { reader.string()? };
    let generation = reader.i32()?;
    let mut nullable = || if flexible { reader.compact_nullable_string() } else { reader.nullable_string() };
    let (protocol, leader) = (nullable()?, nullable()?);
    let state_since = if version >= 2 { Timestamp(reader.i64()?) } else { Timestamp::NONE };
    let count = if flexible { reader.compact_count(MEMBER_SIZE_MIN)? } else { reader.count(MEMBER_SIZE_MIN)? };
    let members = (0..count).map(|_| decode_member(value, &mut reader, version)).collect::<Result<_, _>>()?;
    if flexible {
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    Ok(GroupMetadata {
        protocol_type: protocol_type.to_owned(),
        generation,
        protocol: protocol.map(str::to_owned),
        leader: leader.map(str::to_owned),
        state_since,
        members,
    })
}

fn decode_member(value: &Bytes, reader: &mut Reader<'_>, version: i16) -> Result<MemberMetadata, RecordError> {
    let flexible = version >= 4;
    let string =
        |reader: &mut Reader<'_>| if flexible { reader.compact_string() } else { reader.string() }.map(str::to_owned);
    let bytes = |reader: &mut Reader<'_>| {
        if flexible { reader.compact_bytes() } else { reader.bytes() }.map(|bytes| value.slice_ref(bytes))
    };
    let member = string(reader)?;
    let instance = match version {
        ..3 => None,
        3 => reader.nullable_string()?.map(str::to_owned),
        _ => reader.compact_nullable_string()?.map(str::to_owned),
    };
    let client_id = string(reader)?;
    let client_host = string(reader)?;
    let rebalance_timeout_ms = if version >= 1 { reader.i32()? } else { -1 };
    let session_timeout_ms = reader.i32()?;
    let subscription = bytes(reader)?;
    let assignment = bytes(reader)?;
    if flexible {
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    Ok(MemberMetadata {
        member,
        instance,
        client_id,
        client_host,
        rebalance_timeout_ms,
        session_timeout_ms,
        subscription,
        assignment,
    })
}

#[cfg(test)]
mod tests;
