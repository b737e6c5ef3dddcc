//! Offsets in transactions over the wire: AddOffsetsToTxn, TxnOffsetCommit and stable fetches in
//! every version, and the codes of each version.

use rustmq_kafka_codec_messages::offset_fetch_request::{OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use rustmq_kafka_codec_messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use rustmq_kafka_codec_messages::{
    AddOffsetsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, OffsetFetchRequest,
    TxnOffsetCommitRequest, offset_fetch_request,
};
use uuid::Uuid;

use crate::fixture::{Client, GatewayFixture};

const TOPIC: &str = "orders";
const GROUP: &str = "readers";
const NONE: i16 = 0;
/// The coordinator is loading, or is not there yet, or is at another transaction's end.
const COMING_UP: [i16; 4] = [14, 15, 16, 51];
const ILLEGAL_GENERATION: i16 = 22;
const INVALID_REQUEST: i16 = 42;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNSTABLE_OFFSET_COMMIT: i16 = 88;
const PRODUCER_FENCED: i16 = 90;
const UNKNOWN_TOPIC_ID: i16 = 100;
const TRANSACTION_ABORTABLE: i16 = 120;

struct Producer {
    transactional_id: String,
    id: i64,
    epoch: i16,
    topic_id: Uuid,
}

impl Producer {
    async fn new(client: &mut Client, name: &str, topic_id: Uuid) -> Self {
        for (key_type, key) in [(0, GROUP), (1, name)] {
            let find =
                FindCoordinatorRequest { key_type, coordinator_keys: vec![key.to_owned()], ..Default::default() };
            while client.ask(4, find.clone()).await.coordinators[0].error_code != NONE {}
        }
        let init = InitProducerIdRequest {
            transactional_id: Some(name.to_owned()),
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        loop {
            let answer = client.ask(4, init.clone()).await;
            if COMING_UP.contains(&answer.error_code) {
                continue;
            }
            assert_eq!(answer.error_code, NONE);
            let (id, epoch) = (answer.producer_id, answer.producer_epoch);
            return Self { transactional_id: name.to_owned(), id, epoch, topic_id };
        }
    }

    async fn add_offsets(&self, client: &mut Client, version: i16) -> i16 {
        let request = AddOffsetsToTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            group_id: GROUP.to_owned(),
        };
        loop {
            let code = client.ask(version, request.clone()).await.error_code;
            if !COMING_UP.contains(&code) {
                return code;
            }
        }
    }

    fn commit_request(&self, offset: i64) -> TxnOffsetCommitRequest {
        let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic = TxnOffsetCommitRequestTopic {
            name: TOPIC.to_owned(),
            topic_id: self.topic_id,
            partitions: vec![partition],
        };
        TxnOffsetCommitRequest {
            transactional_id: self.transactional_id.clone(),
            group_id: GROUP.to_owned(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            topics: vec![topic],
            ..TxnOffsetCommitRequest::default()
        }
    }

    /// The code of the only partition.
    async fn commit(&self, client: &mut Client, version: i16, request: TxnOffsetCommitRequest) -> i16 {
        loop {
            let answer = client.ask(version, request.clone()).await;
            let [topic] = &answer.topics[..] else { panic!("one topic: {answer:?}") };
            if version >= 6 {
                assert_eq!(topic.topic_id, request.topics[0].topic_id);
            } else {
                assert_eq!(topic.name, TOPIC);
            }
            let code = topic.partitions[0].error_code;
            if !COMING_UP.contains(&code) {
                return code;
            }
        }
    }

    async fn end(&mut self, client: &mut Client, committed: bool) {
        let version = if self.speaks_version_2() { 5 } else { 4 };
        let request = EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed,
        };
        let answer = client.ask(version, request).await;
        assert_eq!(answer.error_code, NONE);
        if version >= 5 {
            (self.id, self.epoch) = (answer.producer_id, answer.producer_epoch);
        }
    }

    fn speaks_version_2(&self) -> bool {
        self.transactional_id.ends_with(['5', '6'])
    }
}

/// Code and offset of the only partition.
async fn fetch(client: &mut Client, version: i16, require_stable: bool) -> (i16, i64) {
    if version < 8 {
        let topic = OffsetFetchRequestTopic { name: TOPIC.to_owned(), partition_indexes: vec![0] };
        let request = OffsetFetchRequest {
            group_id: GROUP.to_owned(),
            topics: Some(vec![topic]),
            require_stable,
            ..OffsetFetchRequest::default()
        };
        let answer = client.ask(version, request).await;
        let partition = &answer.topics[0].partitions[0];
        return (partition.error_code, partition.committed_offset);
    }
    let topic = OffsetFetchRequestTopics { name: TOPIC.to_owned(), partition_indexes: vec![0], ..Default::default() };
    let group = offset_fetch_request::OffsetFetchRequestGroup {
        group_id: GROUP.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], require_stable, ..OffsetFetchRequest::default() };
    let answer = client.ask(version, request).await;
    let partition = &answer.groups[0].topics[0].partitions[0];
    (partition.error_code, partition.committed_offset)
}

/// Asks until the offset is stable.
async fn fetch_stable(client: &mut Client) -> i64 {
    loop {
        let (code, offset) = fetch(client, 9, true).await;
        if code == NONE {
            return offset;
        }
        assert_eq!(code, UNSTABLE_OFFSET_COMMIT);
    }
}

async fn open() -> (GatewayFixture, Client, Uuid) {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    client.create_topic(TOPIC, 1).await;
    let topic_id = Uuid::from_u128(fixture.session().topic_id(TOPIC).unwrap().0);
    (fixture, client, topic_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_become_visible_with_their_transaction_in_every_version() {
    let (fixture, mut client, topic_id) = open().await;
    let mut before = -1;
    for version in 0..=6 {
        let mut producer = Producer::new(&mut client, &format!("producer-{version}"), topic_id).await;
        let offset = 10 + i64::from(version);
        for (offset, committed) in [(100, false), (offset, true)] {
            if !producer.speaks_version_2() {
                assert_eq!(producer.add_offsets(&mut client, version.min(4)).await, NONE, "v{version}");
            }
            let request = producer.commit_request(offset);
            assert_eq!(producer.commit(&mut client, version, request).await, NONE, "v{version}");
            assert_eq!(fetch(&mut client, 9, false).await, (NONE, before), "v{version}: not visible yet");
            for of_fetch in 7..=9 {
                let unstable = fetch(&mut client, of_fetch, true).await;
                assert_eq!(unstable, (UNSTABLE_OFFSET_COMMIT, -1), "v{version}, OffsetFetch v{of_fetch}");
            }
            producer.end(&mut client, committed).await;
            before = if committed { offset } else { before };
            assert_eq!(fetch_stable(&mut client).await, before, "v{version}, committed: {committed}");
        }
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_has_the_codes_that_its_clients_know() {
    let (fixture, mut client, topic_id) = open().await;
    for version in 0..=6 {
        let producer = Producer::new(&mut client, &format!("refused-{version}"), topic_id).await;
        let nameless = TxnOffsetCommitRequest { transactional_id: String::new(), ..producer.commit_request(1) };
        assert_eq!(producer.commit(&mut client, version, nameless).await, INVALID_REQUEST, "v{version}");
        let other = TxnOffsetCommitRequest { producer_epoch: 9, ..producer.commit_request(1) };
        assert_eq!(producer.commit(&mut client, version, other).await, INVALID_PRODUCER_EPOCH, "v{version}");
        if !producer.speaks_version_2() {
            let outside = if version >= 4 { TRANSACTION_ABORTABLE } else { INVALID_TXN_STATE };
            let request = producer.commit_request(1);
            assert_eq!(producer.commit(&mut client, version, request).await, outside, "v{version}");
            assert_eq!(producer.add_offsets(&mut client, version).await, NONE, "v{version}");
            let fenced = Producer { epoch: 9, transactional_id: producer.transactional_id.clone(), ..producer };
            let code = if version >= 2 { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH };
            assert_eq!(fenced.add_offsets(&mut client, version).await, code, "v{version}");
        }
        if version >= 3 {
            let mut stated = producer.commit_request(1);
            (stated.group_id, stated.generation_id_or_member_epoch) = ("nobody".to_owned(), 4);
            // The group's partition may not be that of the group which was added.
            let code = client.ask(version, stated).await.topics[0].partitions[0].error_code;
            let absent = if version >= 6 { GROUP_ID_NOT_FOUND } else { ILLEGAL_GENERATION };
            let outside = if version >= 4 { TRANSACTION_ABORTABLE } else { INVALID_TXN_STATE };
            assert!(code == absent || (version < 5 && code == outside), "v{version}: {code}");
        }
        if version >= 6 {
            let mut unknown = producer.commit_request(1);
            unknown.topics[0].topic_id = Uuid::from_u128(7);
            assert_eq!(producer.commit(&mut client, version, unknown).await, UNKNOWN_TOPIC_ID);
        }
    }
    fixture.close().await;
}
