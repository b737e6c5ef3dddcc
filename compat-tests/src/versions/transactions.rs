//! Requests about transactions, but for the offsets in them (`transactional_offsets`):
//! AddPartitionsToTxn, EndTxn, WriteTxnMarkers, DescribeProducers, DescribeTransactions,
//! ListTransactions.

use super::batch::{batch, of_producer};
use super::log::produce_request;
use super::session::{Session, Topic};
use crate::server::unique;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use rustmq_kafka_codec_messages::{
    AddPartitionsToTxnRequest, DescribeProducersRequest, DescribeTransactionsRequest, EndTxnRequest, EndTxnResponse,
    FindCoordinatorRequest, InitProducerIdRequest, ListTransactionsRequest, WriteTxnMarkersRequest,
    add_partitions_to_txn_request as adding, describe_producers_request as producers,
    write_txn_markers_request as markers,
};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
pub(super) const PRODUCER_FENCED: i16 = 90;
const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;
/// The version of InitProducerId that all brokers here know.
const INIT_VERSION: i16 = 4;
/// The first version of AddPartitionsToTxn with many transactions.
const BATCHED_FROM: i16 = 4;
/// The first version of AddPartitionsToTxn and EndTxn that tells a fenced producer from others.
const FENCED_FROM: i16 = 2;
/// The first version of EndTxn that raises the producer's epoch.
const BUMPED_FROM: i16 = 5;

/// A producer without a transaction.
pub(super) struct Producer {
    pub(super) transactional_id: String,
    pub(super) id: i64,
    pub(super) epoch: i16,
}

impl Producer {
    pub(super) fn new(session: &mut Session) -> Self {
        let transactional_id = unique("versions-transaction");
        let keys = vec![transactional_id.clone()];
        let find = FindCoordinatorRequest { key_type: 1, coordinator_keys: keys, ..FindCoordinatorRequest::default() };
        session.settled(|session| session.ask(4, &find), |found| found.coordinators[0].error_code);
        let init = InitProducerIdRequest {
            transactional_id: Some(transactional_id.clone()),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let answer = session.settled(|session| session.ask(INIT_VERSION, &init), |answer| answer.error_code);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "InitProducerId of {transactional_id}");
        Self { transactional_id, id: answer.producer_id, epoch: 0 }
    }

    /// Adds partitions of the topic. Returns their error codes.
    fn add(&self, session: &mut Session, version: i16, topic: &Topic, partitions: &[i32]) -> Vec<i16> {
        let (name, partitions) = (topic.name.to_string(), partitions.to_vec());
        let topics = vec![adding::AddPartitionsToTxnTopic { name, partitions }];
        let transactional_id = self.transactional_id.clone();
        if version < BATCHED_FROM {
            let request = AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: transactional_id,
                v3_and_below_producer_id: self.id,
                v3_and_below_producer_epoch: self.epoch,
                v3_and_below_topics: topics,
                ..AddPartitionsToTxnRequest::default()
            };
            let answer = session.ask(version, &request);
            let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
            return results.iter().map(|result| result.partition_error_code).collect();
        }
        let transaction = adding::AddPartitionsToTxnTransaction {
            transactional_id,
            producer_id: self.id,
            producer_epoch: self.epoch,
            verify_only: false,
            topics,
        };
        let transactions = vec![transaction];
        let request = AddPartitionsToTxnRequest { transactions, ..AddPartitionsToTxnRequest::default() };
        let answer = session.ask(version, &request);
        assert_eq!(answer.error_code, 0, "AddPartitionsToTxn v{version}");
        let results = &answer.results_by_transaction[0].topic_results[0].results_by_partition;
        results.iter().map(|result| result.partition_error_code).collect()
    }

    pub(super) fn end(&self, session: &mut Session, version: i16, committed: bool) -> EndTxnResponse {
        let request = EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed,
        };
        session.ask(version, &request)
    }
}

pub fn add_partitions_to_txn(session: &mut Session, version: i16) {
    let topic = session.topic(2);
    let producer = Producer::new(session);
    assert_eq!(producer.add(session, version, &topic, &[0]), [0], "AddPartitionsToTxn v{version}");
    assert_eq!(producer.add(session, version, &topic, &[0, 1]), [0, 0], "AddPartitionsToTxn v{version} again");
    let unknown = producer.add(session, version, &topic, &[9]);
    assert_eq!(unknown, [UNKNOWN_TOPIC_OR_PARTITION], "AddPartitionsToTxn v{version} of an unknown partition");
    let other = Producer { epoch: 5, transactional_id: producer.transactional_id.clone(), ..producer };
    let fenced = if version >= FENCED_FROM { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH };
    assert_eq!(other.add(session, version, &topic, &[0]), [fenced], "AddPartitionsToTxn v{version} in another epoch");
}

pub fn end_txn(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    for committed in [true, false] {
        let producer = Producer::new(session);
        assert_eq!(producer.add(session, 3, &topic, &[0]), [0]);
        let other = Producer { epoch: 5, transactional_id: producer.transactional_id.clone(), ..producer };
        let fenced = if version >= FENCED_FROM { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH };
        let answer = other.end(session, version, committed);
        assert_eq!(answer.error_code, fenced, "EndTxn v{version} in another epoch");
        let answer = producer.end(session, version, committed);
        assert_eq!(answer.error_code, 0, "EndTxn v{version}");
        if version >= BUMPED_FROM {
            assert_eq!((answer.producer_id, answer.producer_epoch), (producer.id, 1), "EndTxn v{version}");
        }
    }
    let unheard = Producer { transactional_id: unique("unheard"), id: 424_242, epoch: 0 };
    let answer = unheard.end(session, version, true);
    assert_eq!(answer.error_code, INVALID_PRODUCER_ID_MAPPING, "EndTxn v{version} of an unknown id");
}

pub fn write_txn_markers(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let marker = markers::WritableTxnMarker {
        producer_id: 616_161,
        producer_epoch: 0,
        transaction_result: false,
        topics: vec![markers::WritableTxnMarkerTopic { name: topic.name.to_string(), partition_indexes: vec![0, 9] }],
        coordinator_epoch: 0,
        ..markers::WritableTxnMarker::default()
    };
    let answer = session.ask(version, &WriteTxnMarkersRequest { markers: vec![marker] });
    assert_eq!((answer.markers.len(), answer.markers[0].producer_id), (1, 616_161), "WriteTxnMarkers v{version}");
    let results = &answer.markers[0].topics[0].partitions;
    let mut codes: Vec<_> = results.iter().map(|result| (result.partition_index, result.error_code)).collect();
    codes.sort_unstable();
    assert_eq!(codes, [(0, 0), (9, UNKNOWN_TOPIC_OR_PARTITION)], "WriteTxnMarkers v{version}");
}

pub fn describe_producers(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let newest = session.newest(ApiKey::Produce);
    let stored =
        ask!(session, Produce, newest, produce_request(newest, &topic, 0, -1, of_producer(&batch(2), 717_171, 0)));
    assert_eq!(stored.responses[0].partition_responses[0].error_code, 0);
    let topics = vec![producers::TopicRequest { name: topic.name.to_string(), partition_indexes: vec![0, 9] }];
    let answer = session.ask(version, &DescribeProducersRequest { topics });
    let partition = |index: i32| {
        let mut partitions = answer.topics[0].partitions.iter();
        partitions.find(|partition| partition.partition_index == index).expect("each is answered")
    };
    assert_eq!(partition(9).error_code, UNKNOWN_TOPIC_OR_PARTITION, "DescribeProducers v{version}");
    let [active] = &partition(0).active_producers[..] else { panic!("one producer: {answer:?}") };
    assert_eq!((active.producer_id, active.producer_epoch), (717_171, 0), "DescribeProducers v{version}");
    assert_eq!((active.last_sequence, active.coordinator_epoch), (1, -1), "DescribeProducers v{version}");
    assert_eq!(active.current_txn_start_offset, -1, "DescribeProducers v{version}");
    assert!(active.last_timestamp > 0, "DescribeProducers v{version}");
}

pub fn describe_transactions(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let producer = Producer::new(session);
    assert_eq!(producer.add(session, 3, &topic, &[0]), [0]);
    let unheard = unique("unheard");
    let transactional_ids = vec![producer.transactional_id.clone(), unheard.clone()];
    let answer = session.ask(version, &DescribeTransactionsRequest { transactional_ids });
    let state = |id: &String| {
        let mut states = answer.transaction_states.iter();
        states.find(|state| &state.transactional_id == id).expect("each is answered")
    };
    assert_eq!(state(&unheard).error_code, TRANSACTIONAL_ID_NOT_FOUND, "DescribeTransactions v{version}");
    let found = state(&producer.transactional_id);
    assert_eq!((found.error_code, &found.transaction_state[..]), (0, "Ongoing"), "DescribeTransactions v{version}");
    assert_eq!((found.producer_id, found.producer_epoch), (producer.id, 0), "DescribeTransactions v{version}");
    assert_eq!(found.transaction_timeout_ms, 60_000, "DescribeTransactions v{version}");
    assert!(found.transaction_start_time_ms > 0, "DescribeTransactions v{version}");
    assert_eq!(found.topics.len(), 1, "DescribeTransactions v{version}");
    assert_eq!(found.topics[0].topic, topic.name.to_string(), "DescribeTransactions v{version}");
    assert_eq!(found.topics[0].partitions, [0], "DescribeTransactions v{version}");
}

pub fn list_transactions(session: &mut Session, version: i16) {
    let producer = Producer::new(session);
    let listed = |session: &mut Session, request: &ListTransactionsRequest| {
        let answer = session.ask(version, request);
        assert_eq!(answer.error_code, 0, "ListTransactions v{version}");
        let states = answer.transaction_states.into_iter();
        let mine = states.filter(|state| state.transactional_id == producer.transactional_id);
        let found: Vec<_> = mine.map(|state| (state.producer_id, state.transaction_state)).collect();
        (found, answer.unknown_state_filters)
    };
    let empty = vec![(producer.id, "Empty".to_owned())];
    let all = ListTransactionsRequest::default();
    assert_eq!(listed(session, &all), (empty.clone(), vec![]), "ListTransactions v{version}");
    let state_filters = vec!["Empty".to_owned(), "Unheard".to_owned()];
    let by_state = ListTransactionsRequest { state_filters, ..all.clone() };
    assert_eq!(listed(session, &by_state), (empty.clone(), vec!["Unheard".to_owned()]), "ListTransactions v{version}");
    let by_producer = ListTransactionsRequest { producer_id_filters: vec![producer.id + 1], ..all.clone() };
    assert_eq!(listed(session, &by_producer).0, [], "ListTransactions v{version} of another producer");
    if version >= 2 {
        let pattern =
            |pattern: String| ListTransactionsRequest { transactional_id_pattern: Some(pattern), ..all.clone() };
        let mine = format!("{}.*", &producer.transactional_id[..producer.transactional_id.len() - 1]);
        assert_eq!(listed(session, &pattern(mine)).0, empty, "ListTransactions v{version}");
        assert_eq!(listed(session, &pattern("nobody".to_owned())).0, [], "ListTransactions v{version}");
    }
    if version >= 1 {
        // One that is not open began before all others.
        let by_age = ListTransactionsRequest { duration_filter: 3_600_000, ..all };
        assert_eq!(listed(session, &by_age).0, empty, "ListTransactions v{version} by age");
        let topic = session.topic(1);
        assert_eq!(producer.add(session, 3, &topic, &[0]), [0]);
        assert_eq!(listed(session, &by_age).0, [], "ListTransactions v{version} of old transactions");
        assert_eq!(producer.end(session, 3, false).error_code, 0);
    }
}
