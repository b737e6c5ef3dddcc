//! OffsetCommit and OffsetFetch requests in version 10, where topics are named by their ids. The
//! messages crate reads these two up to version 9 only, so that they are read here; it does write
//! their answers.
//!
//! To be called after [`crate::shape::check`], which says that every length and count is true. What
//! is left to go wrong is a null where none is allowed, and text that is not UTF-8.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::protocol::{Decodable, StrBytes};
use uuid::Uuid;

use crate::frame::{RequestHeader, read_varint};

/// The first version with topic ids, of both.
pub const TOPIC_IDS_FROM: i16 = 10;
/// Partitions of a commit look the same in the version before.
const PARTITION_VERSION: i16 = 9;

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitById {
    pub group: StrBytes,
    pub generation_or_epoch: i32,
    pub member: StrBytes,
    pub instance: Option<StrBytes>,
    pub topics: Vec<(Uuid, Vec<OffsetCommitRequestPartition>)>,
}

/// One group of OffsetFetch.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchById {
    pub group: StrBytes,
    pub member: Option<StrBytes>,
    pub member_epoch: i32,
    /// None asks for all.
    pub topics: Option<Vec<(Uuid, Vec<i32>)>>,
}

pub fn read_commit(mut body: Bytes) -> Option<CommitById> {
    let body = &mut body;
    let group = text(body)??;
    let generation_or_epoch = body.try_get_i32().ok()?;
    let member = text(body)??;
    let instance = text(body)?;
    let topics = list(body, |body| {
        let id = uuid(body)?;
        let partitions = list(body, |body| OffsetCommitRequestPartition::decode(body, PARTITION_VERSION).ok())??;
        skip_tagged_fields(body)?;
        Some((id, partitions))
    })??;
    skip_tagged_fields(body)?;
    Some(CommitById { group, generation_or_epoch, member, instance, topics })
}

pub fn read_fetch(mut body: Bytes) -> Option<Vec<FetchById>> {
    let body = &mut body;
    let groups = list(body, |body| {
        let group = text(body)??;
        let member = text(body)?;
        let member_epoch = body.try_get_i32().ok()?;
        let topics = list(body, |body| {
            let id = uuid(body)?;
            let partitions = list(body, |body| body.try_get_i32().ok())??;
            skip_tagged_fields(body)?;
            Some((id, partitions))
        })?;
        skip_tagged_fields(body)?;
        Some(FetchById { group, member, member_epoch, topics })
    })??;
    let _require_stable = body.try_get_u8().ok()?;
    skip_tagged_fields(body)?;
    Some(groups)
}

/// One more than the length is written; 0 stands for null.
fn length(body: &mut Bytes) -> Option<Option<usize>> {
    let length = varint(body)?;
    Some(length.checked_sub(1))
}

fn text(body: &mut Bytes) -> Option<Option<StrBytes>> {
    let Some(length) = length(body)? else { return Some(None) };
    StrBytes::try_from(take(body, length)?).ok().map(Some)
}

fn list<T>(body: &mut Bytes, mut element: impl FnMut(&mut Bytes) -> Option<T>) -> Option<Option<Vec<T>>> {
    let Some(count) = length(body)? else { return Some(None) };
    (0..count).map(|_| element(body)).collect::<Option<Vec<T>>>().map(Some)
}

fn uuid(body: &mut Bytes) -> Option<Uuid> {
    body.try_get_u128().ok().map(Uuid::from_u128)
}

fn skip_tagged_fields(body: &mut Bytes) -> Option<()> {
    RequestHeader::skip_tagged_fields(body).ok()
}

fn take(body: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= body.len()).then(|| body.split_to(length))
}

fn varint(body: &mut Bytes) -> Option<usize> {
    usize::try_from(read_varint(body).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::{read_commit, read_fetch};
    use crate::samples;

    #[test]
    fn each_field_is_where_kafka_writes_it() {
        let commit = read_commit(samples::body(8, 10)).unwrap();
        assert_eq!((&commit.group[..], &commit.member[..], commit.instance), ("samples-group", "", None));
        assert_eq!(commit.generation_or_epoch, -1);
        let (id, partitions) = &commit.topics[0];
        assert_eq!((*id, partitions.len()), (samples::TOPIC_ID, 1));
        assert_eq!((partitions[0].partition_index, partitions[0].committed_offset), (0, 1));
        assert_eq!(partitions[0].committed_leader_epoch, -1);
        assert_eq!(partitions[0].committed_metadata.as_deref(), Some("note"));
        let groups = read_fetch(samples::body(9, 10)).unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (&groups[0].group[..], groups[0].member.as_deref(), groups[0].member_epoch),
            ("samples-group", None, -1)
        );
        assert_eq!(groups[0].topics, Some(vec![(samples::TOPIC_ID, vec![0, 9])]));
        assert_eq!((&groups[1].group[..], &groups[1].topics), ("other", &None));
    }

    #[test]
    fn a_cut_is_none_at_every_length_and_any_byte_may_be_wrong() {
        let is_read = |key: i16, body: Bytes| match key {
            8 => read_commit(body).is_some(),
            _ => read_fetch(body).is_some(),
        };
        for key in [8, 9] {
            let body = samples::body(key, 10);
            for length in 0..body.len() {
                assert!(!is_read(key, body.slice(..length)), "{key} cut to {length}");
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut forged = body.to_vec();
                    forged[length] = value;
                    is_read(key, forged.into());
                }
            }
        }
    }
}
