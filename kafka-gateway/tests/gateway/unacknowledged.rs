//! Requests that want no answer hold their memory as long as the engine holds them.

use crate::fixture::{Client, GatewayFixture, framed};
use bytes::Bytes;
use rustmq_kafka_codec_messages::produce_request::{PartitionProduceData, TopicProduceData};
use rustmq_kafka_codec_messages::{ApiVersionsRequest, ProduceRequest};
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
    let data = PartitionProduceData { index: 0, records: Some(batch(size)) };
    let partition_data = vec![data];
    let topic = TopicProduceData { name: "orders".to_owned(), partition_data, ..TopicProduceData::default() };
    let request = ProduceRequest { topic_data: vec![topic], timeout_ms: 1, ..ProduceRequest::default() };
    client.send(&framed(9, 1, &request)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_engine_holds_without_an_answer_is_counted() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    client.create_topic("orders", 1).await;

    fixture.stall();
    for size in [LARGE; COUNT].into_iter().chain([1]) {
        produce(&mut client, size).await;
    }
    // When the last one is handled, those before it have been.
    let handled = |fixture: &GatewayFixture| fixture.metric("requests_total{api=\"Produce\"}");
    fixture.until(|fixture| handled(fixture) == COUNT + 1).await;
    let in_use = |fixture: &GatewayFixture| fixture.metric("ordinary_request_memory_bytes");
    assert!(in_use(&fixture) >= COUNT * LARGE, "{} bytes", in_use(&fixture));

    fixture.resume();
    fixture.until(|fixture| in_use(fixture) == 0).await;
    // The first answer is to what comes after them.
    let request = ApiVersionsRequest::default();
    client.ask(0, request).await;
    fixture.close().await;
}
