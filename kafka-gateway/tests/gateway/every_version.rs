//! Every version of every API that is advertised, over a socket, against a real broker: each answer
//! decodes to its last byte.

use bytes::Bytes;

use crate::fixture::{Client, GatewayFixture};
use crate::samples;
use rustmq_kafka_codec_messages::{
    ApiKey, ApiVersionsResponse, FetchResponse, FindCoordinatorResponse, MetadataResponse, ProduceResponse,
};

/// Creates the topic of the samples with one partition.
async fn create_topic(client: &mut Client) {
    client.send(&samples::frame(3, 4, 1)).await;
    let metadata: MetadataResponse = client.answer(4, 1).await;
    assert_eq!(metadata.topics[0].error_code, 0);
}

async fn advertised(client: &mut Client) -> Vec<(i16, i16, i16)> {
    client.send(&samples::frame(18, 0, 9)).await;
    let versions: ApiVersionsResponse = client.answer(0, 9).await;
    versions.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_advertised_version_is_answered() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    create_topic(&mut client).await;
    client.send(&samples::frame(10, 0, 2)).await;
    client.answer::<FindCoordinatorResponse>(0, 2).await;
    let mut correlation_id = 100;
    for (key, min, max) in advertised(&mut client).await {
        for version in min..=max {
            correlation_id += 1;
            if key == 0 && version < 3 {
                let mut old = fixture.client().await;
                old.send(&samples::frame(key, version, correlation_id)).await;
                assert_eq!(old.receive().await, None, "it is advertised, and ends the connection");
                continue;
            }
            client.send(&samples::frame(key, version, correlation_id)).await;
            client.any_answer(ApiKey::try_from(key).unwrap(), version, correlation_id).await;
        }
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_produced_is_fetched_with_the_same_bytes() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    create_topic(&mut client).await;
    for version in [3, 9, 12] {
        client.send(&samples::frame(0, version, 1)).await;
        let produced: ProduceResponse = client.answer(version, 1).await;
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 0, "version {version}");
    }
    client.send(&samples::frame(1, 4, 2)).await;
    let fetched: FetchResponse = client.answer(4, 2).await;
    let partition = &fetched.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark), (0, 3));
    let records = Bytes::from(partition.records.clone().unwrap().concat());
    let batches: Vec<_> = rustmq_model::batch::split(&records).map(Result::unwrap).collect();
    assert_eq!(batches.len(), 3);
    for (index, (header, bytes)) in batches.iter().enumerate() {
        assert_eq!(header.base_offset.0, i64::try_from(index).unwrap());
        assert_eq!(bytes[16..], samples::batch()[16..], "only base offset and leader epoch are the broker's");
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_take_effect_and_are_answered_in_order() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    create_topic(&mut client).await;
    let mut frames = Vec::new();
    for index in 0..50 {
        frames.extend(samples::frame(0, 9, 1000 + index));
        frames.extend(samples::frame(18, 0, 2000 + index));
    }
    client.send(&frames).await;
    for index in 0..50 {
        let produced: ProduceResponse = client.answer(9, 1000 + index).await;
        assert_eq!(produced.responses[0].partition_responses[0].base_offset, i64::from(index));
        client.answer::<ApiVersionsResponse>(0, 2000 + index).await;
    }
    fixture.close().await;
}
