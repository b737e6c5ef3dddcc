//! Fetch: by name and by id, errors of single partitions, and the sessions of KIP-227.

use super::batch::base_offset;
use super::log::store;
use super::session::{Session, Topic, topic_name};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, RequestKind, ResponseKind, fetch_request, fetch_response,
};
use uuid::Uuid;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNKNOWN_TOPIC_ID: i16 = 100;
const INCONSISTENT_TOPIC_ID: i16 = 103;
const SESSIONS_FROM: i16 = 7;
const LEADER_EPOCHS_FROM: i16 = 9;
const TOPIC_IDS_FROM: i16 = 13;

/// Fetches one partition from an offset, without waiting.
fn request(version: i16, topic: &Topic, partition: fetch_request::FetchPartition) -> FetchRequest {
    let partition = partition.with_partition_max_bytes(1 << 20);
    let wanted = fetch_request::FetchTopic::default().with_partitions(vec![partition]);
    let wanted =
        if version >= TOPIC_IDS_FROM { wanted.with_topic_id(topic.id) } else { wanted.with_topic(topic.name.clone()) };
    FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![wanted])
}

fn from(offset: i64) -> fetch_request::FetchPartition {
    fetch_request::FetchPartition::default().with_fetch_offset(offset)
}

fn only(answer: &FetchResponse, version: i16) -> &fetch_response::PartitionData {
    assert_eq!((answer.error_code, answer.responses.len()), (0, 1), "Fetch v{version}");
    &answer.responses[0].partitions[0]
}

pub fn fetch(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    store(session, &topic, 3);
    store(session, &topic, 3);
    for isolation in [0, 1] {
        // The batch that contains the offset comes as a whole.
        let wanted = request(version, &topic, from(4)).with_isolation_level(isolation).with_max_wait_ms(500);
        let answer = ask!(session, Fetch, version, wanted.with_min_bytes(1));
        let found = only(&answer, version);
        let ends = (found.error_code, found.high_watermark, found.last_stable_offset);
        assert_eq!(ends, (0, 6, 6), "Fetch v{version}");
        assert_eq!(found.records.as_deref().and_then(base_offset), Some(3), "Fetch v{version}");
        if version >= TOPIC_IDS_FROM {
            assert_eq!(answer.responses[0].topic_id, topic.id, "Fetch v{version}");
        } else {
            assert_eq!(answer.responses[0].topic, topic.name, "Fetch v{version}");
        }
        if version >= 5 {
            assert_eq!(found.log_start_offset, 0, "Fetch v{version}");
        }
    }
    let answer = ask!(session, Fetch, version, request(version, &topic, from(6)));
    let found = only(&answer, version);
    assert_eq!((found.error_code, found.high_watermark), (0, 6), "Fetch v{version} at the end");
    assert!(found.records.as_ref().is_none_or(|records| records.is_empty()), "Fetch v{version} at the end");
    errors(session, version, &topic);
    if version >= SESSIONS_FROM {
        sessions(session, version, &topic);
    }
    if version >= TOPIC_IDS_FROM {
        session_of_a_topic_made_anew(session, version);
    }
}

fn errors(session: &mut Session, version: i16, topic: &Topic) {
    let stranger = Topic { name: topic_name("nobody made it"), id: Uuid::from_u128(0xdead) };
    let unknown = if version >= TOPIC_IDS_FROM { UNKNOWN_TOPIC_ID } else { UNKNOWN_TOPIC_OR_PARTITION };
    let mut cases = vec![
        (request(version, topic, from(7)), OFFSET_OUT_OF_RANGE),
        (request(version, topic, from(0).with_partition(1)), UNKNOWN_TOPIC_OR_PARTITION),
        (request(version, &stranger, from(0)), unknown),
    ];
    if version >= LEADER_EPOCHS_FROM {
        cases.push((request(version, topic, from(0).with_current_leader_epoch(9)), UNKNOWN_LEADER_EPOCH));
    }
    for (wanted, code) in cases {
        let answer = ask!(session, Fetch, version, wanted);
        let found = only(&answer, version);
        assert_eq!((found.error_code, found.high_watermark), (code, -1), "Fetch v{version}");
    }
}

fn sessions(session: &mut Session, version: i16, topic: &Topic) {
    let full = ask!(session, Fetch, version, request(version, topic, from(6)).with_session_epoch(0));
    let id = full.session_id;
    assert_ne!(id, 0, "Fetch v{version} opens a session");
    assert_eq!(only(&full, version).high_watermark, 6, "Fetch v{version}");
    let next = |epoch| FetchRequest::default().with_max_bytes(1 << 20).with_session_id(id).with_session_epoch(epoch);
    let answer = ask!(session, Fetch, version, next(1));
    assert_eq!((answer.error_code, answer.session_id), (0, id), "Fetch v{version} goes on");
    assert!(answer.responses.is_empty(), "Fetch v{version}: nothing is new");
    store(session, topic, 2);
    let answer = ask!(session, Fetch, version, next(2).with_min_bytes(1).with_max_wait_ms(500));
    let found = only(&answer, version);
    assert_eq!((found.error_code, found.high_watermark), (0, 8), "Fetch v{version}: what is new");
    assert_eq!(found.records.as_deref().and_then(base_offset), Some(6), "Fetch v{version}");
    let answer = ask!(session, Fetch, version, next(7));
    assert_eq!(answer.error_code, INVALID_FETCH_SESSION_EPOCH, "Fetch v{version} out of turn");
    let forgotten = fetch_request::ForgottenTopic::default().with_partitions(vec![0]);
    let forgotten = if version >= TOPIC_IDS_FROM {
        forgotten.with_topic_id(topic.id)
    } else {
        forgotten.with_topic(topic.name.clone())
    };
    let answer = ask!(session, Fetch, version, next(3).with_forgotten_topics_data(vec![forgotten]));
    let answered = (answer.error_code, answer.responses.len(), answer.session_id);
    assert_eq!(answered, (0, 0, 0), "Fetch v{version}: a session of nothing is closed");
    let answer = ask!(session, Fetch, version, next(4));
    assert_eq!(answer.error_code, FETCH_SESSION_ID_NOT_FOUND, "Fetch v{version} of a closed session");
    let full = ask!(session, Fetch, version, request(version, topic, from(6)).with_session_epoch(0));
    let closing = request(version, topic, from(6)).with_session_id(full.session_id);
    let answer = ask!(session, Fetch, version, closing);
    assert_eq!((answer.error_code, answer.session_id), (0, 0), "Fetch v{version} closes the session");
    let answer = ask!(session, Fetch, version, next(1).with_session_id(full.session_id));
    assert_eq!(answer.error_code, FETCH_SESSION_ID_NOT_FOUND, "Fetch v{version} of a closed session");
}

/// A session remembers the name of a topic's id: it tells a deleted name from one that another
/// topic has taken.
fn session_of_a_topic_made_anew(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let full = ask!(session, Fetch, version, request(version, &topic, from(0)).with_session_epoch(0));
    let next = FetchRequest::default().with_max_bytes(1 << 20).with_session_id(full.session_id);
    let mut epoch = 0;
    let mut code = |session: &mut Session, before: i16| loop {
        epoch += 1;
        let answer = ask!(session, Fetch, version, next.clone().with_session_epoch(epoch));
        assert_eq!((answer.error_code, answer.session_id), (0, full.session_id), "Fetch v{version}");
        let code = answer.responses.first().map_or(0, |topic| topic.partitions[0].error_code);
        // Kafka's own metadata follows late.
        if !session.is_kafka() || code != before {
            return code;
        }
    };
    session.delete(&topic);
    assert_eq!(code(session, 0), UNKNOWN_TOPIC_OR_PARTITION, "Fetch v{version} of a topic that is gone");
    session.create(&topic.name, 1);
    let found = code(session, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(found, INCONSISTENT_TOPIC_ID, "Fetch v{version} of a topic that was made anew");
    let again = ask!(session, Fetch, version, request(version, &topic, from(0)));
    assert_eq!(only(&again, version).error_code, UNKNOWN_TOPIC_ID, "Fetch v{version} without the session");
}
