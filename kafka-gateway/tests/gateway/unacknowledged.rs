//! Requests that want no answer hold their memory as long as the engine holds them.

use crate::house::{Client, House, framed};
use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, CreateTopicsRequest, ProduceRequest, RequestKind};
use kafka_protocol::protocol::StrBytes;
use rustmq_model::Timestamp;
use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;

const LARGE: usize = 900_000;
const COUNT: usize = 4;

fn batch(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(Timestamp(1_700_000_000_000), None, Some(&vec![0; size]), &[]);
    builder.build()
}

async fn produce(client: &mut Client, size: usize) {
    let data = PartitionProduceData::default().with_records(Some(batch(size)));
    let topic = TopicProduceData::default().with_name(StrBytes::from_static_str("orders").into());
    let request = ProduceRequest::default().with_topic_data(vec![topic.with_partition_data(vec![data])]);
    client.send(&framed(ApiKey::Produce, 9, 1, &RequestKind::Produce(request.with_timeout_ms(1)))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_holds_without_an_answer_is_counted() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let topic = CreatableTopic::default().with_name(StrBytes::from_static_str("orders").into());
    let topic = topic.with_num_partitions(1).with_replication_factor(1);
    let creation = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    client.ask(ApiKey::CreateTopics, 5, RequestKind::CreateTopics(creation)).await;

    house.stall();
    for size in [LARGE; COUNT].into_iter().chain([1]) {
        produce(&mut client, size).await;
    }
    // When the last one is handled, those before it have been.
    let handled = |house: &House| house.metric("requests_total{api=\"Produce\"}");
    house.until(|house| handled(house) == COUNT + 1).await;
    let in_use = |house: &House| house.metric("ordinary_request_memory_bytes");
    assert!(in_use(&house) >= COUNT * LARGE, "{} bytes", in_use(&house));

    house.resume();
    house.until(|house| in_use(house) == 0).await;
    // The first answer is to what comes after them.
    let request = RequestKind::ApiVersions(ApiVersionsRequest::default());
    client.ask(ApiKey::ApiVersions, 0, request).await;
    house.close().await;
}
