//! Plain models of the log: which entries it takes from producers, and which offsets it shows.

use std::collections::BTreeMap;

use rustmq_model::{ProducerEpoch, ProducerId, TopicName, TopicPartition, TransactionEnd, TransactionMarker};

use crate::groups::identity::GroupId;
use crate::groups::records::{RecordKey, decode_key, decode_offset_commit_value};
use crate::groups::transactions::log_entry::LogEntry;

/// The rules of the log for producers: whether it takes the entry.
pub(super) fn admits(producers: &mut BTreeMap<ProducerId, (ProducerEpoch, bool)>, entry: &LogEntry) -> bool {
    let (producer, is_marker, needs_bump) = match entry {
        LogEntry::Record { producer: None, .. } => return true,
        LogEntry::Record { producer: Some(producer), .. } => (*producer, false, false),
        LogEntry::Marker(marker) => (marker.producer, true, marker.version.bumps_epochs()),
    };
    let known = producers.entry(producer.id).or_insert((producer.epoch, false));
    let (epoch, is_open) = *known;
    if producer.epoch < epoch || (producer.epoch == epoch && needs_bump && is_open) {
        return false;
    }
    *known = (producer.epoch, !is_marker);
    true
}

/// The offsets that a log shows, with the places of their records.
pub(super) fn visible(log: &[LogEntry]) -> BTreeMap<(GroupId, TopicPartition), (i64, usize)> {
    let (mut committed, mut pending) = (BTreeMap::new(), BTreeMap::new());
    for (position, entry) in log.iter().enumerate() {
        let (record, producer) = match entry {
            LogEntry::Record { record, producer } => (record, producer),
            LogEntry::Marker(TransactionMarker { producer, end, .. }) => {
                for (key, found) in pending.extract_if(.., |(of, _), _| *of == producer.id) {
                    let key: (ProducerId, (GroupId, TopicPartition)) = key;
                    if *end == TransactionEnd::Commit {
                        let last: &mut (i64, usize) = committed.entry(key.1).or_insert(found);
                        *last = if found.1 > last.1 { found } else { *last };
                    }
                }
                continue;
            }
        };
        let Ok(RecordKey::OffsetCommit { group, topic, partition }) = decode_key(&record.key) else { continue };
        let topic = TopicName::new(topic).expect("the rig's names are legal");
        let key = (GroupId::new(group), TopicPartition { topic, partition });
        match (&record.value, producer) {
            (None, _) => {
                committed.remove(&key);
                pending.retain(|(_, of), _| *of != key);
            }
            (Some(value), producer) => {
                let offset = decode_offset_commit_value(value).expect("the machine encoded it").offset.0;
                match producer {
                    Some(producer) => pending.insert((producer.id, key), (offset, position)),
                    None => committed.insert(key, (offset, position)),
                };
            }
        }
    }
    committed
}
