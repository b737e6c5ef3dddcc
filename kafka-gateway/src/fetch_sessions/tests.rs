#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_kafka_codec_messages::fetch_response::PartitionData;
use rustmq_model::{Offset, TopicId, TopicName};
use tokio::time::Instant;

use super::{FetchContext, FetchSessions, PartitionKey, SessionError, SessionRequest, SessionUse, TopicKey, Wanted};

fn key(partition: i32) -> PartitionKey {
    (TopicKey { name: "t".to_owned(), id: TopicId::ZERO }, partition)
}

fn wanted(partition: i32, from: i64) -> Wanted {
    Wanted {
        key: key(partition),
        topic_name: None,
        from: Offset(from),
        bytes_max: 100,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    }
}

fn request(id: i32, epoch: i32, partitions: &[(i32, i64)]) -> SessionRequest {
    let wanted = partitions.iter().map(|(partition, from)| wanted(*partition, *from)).collect();
    SessionRequest { id, epoch, wanted, forgotten: Vec::new(), names_by_id: false }
}

/// Begins the fetch of a client that names topics by name.
fn begin(sessions: &FetchSessions, request: SessionRequest, now: Instant) -> Result<FetchContext, SessionError> {
    sessions.begin(request, now, |_| None)
}

fn answer(partition: i32, high_watermark: i64, records: usize) -> (PartitionKey, PartitionData) {
    let records = if records == 0 { Vec::new() } else { vec![Bytes::from(vec![0; records])] };
    let answer = PartitionData {
        partition_index: partition,
        high_watermark,
        log_start_offset: 0,
        records: Some(records),
        ..PartitionData::default()
    };
    (key(partition), answer)
}

fn partitions(wanted: &[Wanted]) -> Vec<(i32, i64)> {
    wanted.iter().map(|one| (one.key.1, one.from.0)).collect()
}

fn open(sessions: &FetchSessions, now: Instant, size: &[(i32, i64)]) -> i32 {
    let context = begin(sessions, request(0, 0, size), now).unwrap();
    assert!(matches!(context.session, SessionUse::Opened(_)), "{context:?}");
    context.session.id()
}

#[test]
fn a_session_answers_what_has_changed() {
    let (sessions, now) = (FetchSessions::new(10, Gauge::default()), Instant::now());
    let id = open(&sessions, now, &[(0, 0), (1, 0), (2, 0)]);
    let shown = |epoch: i32, answers: &[(i32, i64, usize)]| {
        let context = begin(&sessions, request(id, epoch, &[]), now).unwrap();
        let mut answers = answers.iter().map(|(p, hw, records)| answer(*p, *hw, *records)).collect();
        sessions.finish(context.session, &mut answers);
        answers.iter().map(|(key, _)| key.1).collect::<Vec<_>>()
    };
    let same = [(0, 5, 0), (1, 5, 0), (2, 5, 0)];
    assert_eq!(shown(1, &same), [0, 1, 2], "nothing was told before");
    assert!(shown(2, &same).is_empty());
    assert_eq!(shown(3, &[(0, 5, 0), (1, 6, 0), (2, 5, 9)]), [1, 2]);
    let context = begin(&sessions, request(id, 4, &[]), now).unwrap();
    assert_eq!(partitions(&context.wanted), [(0, 0), (1, 0), (2, 0)], "what had records comes last");
}

#[test]
fn what_had_records_gives_way_to_the_others() {
    let (sessions, now) = (FetchSessions::new(10, Gauge::default()), Instant::now());
    let id = open(&sessions, now, &[(0, 0), (1, 0), (2, 0)]);
    let mut answers = vec![answer(0, 5, 9), answer(1, 5, 0), answer(2, 5, 0)];
    sessions.finish(SessionUse::Opened(id), &mut answers);
    assert_eq!(answers.len(), 3, "a full answer names every partition");
    let context = begin(&sessions, request(id, 1, &[(0, 7), (5, 1)]), now).unwrap();
    assert_eq!(partitions(&context.wanted), [(1, 0), (2, 0), (0, 7), (5, 1)]);
    let mut forgetting = request(id, 2, &[]);
    forgetting.forgotten = vec![key(1), key(9)];
    let context = begin(&sessions, forgetting, now).unwrap();
    assert_eq!(partitions(&context.wanted), [(2, 0), (0, 7), (5, 1)]);
}

#[test]
fn epochs_ids_and_ways_of_naming_must_fit() {
    let (sessions, now) = (FetchSessions::new(10, Gauge::default()), Instant::now());
    let id = open(&sessions, now, &[(0, 0)]);
    assert_eq!(begin(&sessions, request(id, 2, &[]), now).unwrap_err(), SessionError::WrongEpoch);
    let by_id = SessionRequest { names_by_id: true, ..request(id, 1, &[]) };
    assert_eq!(begin(&sessions, by_id, now).unwrap_err(), SessionError::TopicIds);
    assert!(begin(&sessions, request(id, 1, &[]), now).is_ok());
    let ended = begin(&sessions, request(id, -1, &[(0, 0)]), now).unwrap();
    assert_eq!(ended.session, SessionUse::None);
    assert_eq!(begin(&sessions, request(id, 2, &[]), now).unwrap_err(), SessionError::UnknownId);
}

#[test]
fn the_cache_keeps_its_bound() {
    let (sessions, now) = (FetchSessions::new(2, Gauge::default()), Instant::now());
    let first = open(&sessions, now, &[(0, 0)]);
    let second = open(&sessions, now + Duration::from_secs(100), &[(0, 0)]);
    let late = now + Duration::from_secs(119);
    assert_eq!(begin(&sessions, request(0, 0, &[(0, 0)]), late).unwrap().session, SessionUse::None);
    let third = open(&sessions, now + Duration::from_secs(121), &[(0, 0)]);
    assert_eq!(begin(&sessions, request(first, 1, &[]), late).unwrap_err(), SessionError::UnknownId);
    assert!(begin(&sessions, request(second, 1, &[]), late).is_ok());
    assert!(begin(&sessions, request(third, 1, &[]), late).is_ok());
}

#[test]
fn a_topic_id_keeps_the_name_that_it_had_when_it_was_first_known() {
    let (sessions, now) = (FetchSessions::new(10, Gauge::default()), Instant::now());
    let topic = |name: &str| Some(TopicName::new(name).unwrap());
    let names = |context: &FetchContext| -> Vec<_> {
        context.wanted.iter().map(|one| one.topic_name.as_ref().map(|name| name.as_str().to_owned())).collect()
    };
    let by_id = |id: i32, epoch: i32, topics: &[u128]| {
        let of =
            |topic: &u128| Wanted { key: (TopicKey { name: String::new(), id: TopicId(*topic) }, 0), ..wanted(0, 0) };
        let wanted = topics.iter().map(of).collect();
        SessionRequest { names_by_id: true, wanted, ..request(id, epoch, &[]) }
    };
    let known = |id: TopicId| if id == TopicId(1) { topic("first") } else { None };
    let opened = sessions.begin(by_id(0, 0, &[1, 2]), now, known).unwrap();
    assert_eq!(names(&opened), [Some("first".to_owned()), None]);
    let id = opened.session.id();
    // The first topic is gone, the second is known at last.
    let known = |id: TopicId| if id == TopicId(2) { topic("second") } else { None };
    let both = [Some("first".to_owned()), Some("second".to_owned())];
    let next = sessions.begin(by_id(id, 1, &[]), now, known).unwrap();
    assert_eq!(names(&next), both);
    let again = sessions.begin(by_id(id, 2, &[1, 2]), now, |_| None).unwrap();
    assert_eq!(names(&again), both, "asked for again");
}

#[test]
fn a_session_of_nothing_is_closed() {
    let count = Gauge::default();
    let (sessions, now) = (FetchSessions::new(10, count.clone()), Instant::now());
    let id = open(&sessions, now, &[(0, 0), (1, 0)]);
    let forgetting = SessionRequest { forgotten: vec![key(0), key(1)], ..request(id, 1, &[]) };
    let context = begin(&sessions, forgetting, now).unwrap();
    assert_eq!((context.session, context.wanted.len(), count.get()), (SessionUse::None, 0, 0));
    assert_eq!(begin(&sessions, request(id, 2, &[]), now).unwrap_err(), SessionError::UnknownId);
}
