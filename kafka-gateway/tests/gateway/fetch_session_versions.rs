//! A fetch session that continues in another version of the request.

use crate::fixture::GatewayFixture;
use rustmq_kafka_codec_messages::fetch_request::{FetchPartition, FetchTopic};
use rustmq_kafka_codec_messages::fetch_response::{EpochEndOffset, PartitionData};
use rustmq_kafka_codec_messages::{FetchRequest, FetchResponse};

const NONE: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
/// The first version whose response can tell that logs diverge.
const DIVERGING_EPOCH_FROM: i16 = 12;

fn fetch(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest { max_bytes: 1 << 20, session_id, session_epoch, topics, ..FetchRequest::default() }
}

fn partition_of(response: &FetchResponse) -> &PartitionData {
    assert_eq!((response.error_code, response.responses.len()), (NONE, 1));
    &response.responses[0].partitions[0]
}

/// The session remembers the epoch of the reader's last record. A response of an older version has
/// no field for the end of that epoch, and could not be encoded with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_continues_in_an_older_version_tells_of_no_diverging_epoch() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    client.create_topic("orders", 1).await;

    // The log is empty, so epoch 0 ends at offset 0, below the reader's position.
    let partition = FetchPartition {
        fetch_offset: 5,
        last_fetched_epoch: 0,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic { topic: "orders".to_owned(), partitions: vec![partition], ..FetchTopic::default() };
    let opened = client.ask(DIVERGING_EPOCH_FROM, fetch(0, 0, vec![topic])).await;
    let diverging = partition_of(&opened);
    assert_eq!(diverging.error_code, NONE);
    assert_eq!(diverging.diverging_epoch, EpochEndOffset { epoch: 0, end_offset: 0 });
    assert_ne!(opened.session_id, 0);

    let older = client.ask(DIVERGING_EPOCH_FROM - 1, fetch(opened.session_id, 1, Vec::new())).await;
    assert_eq!(partition_of(&older).error_code, OFFSET_OUT_OF_RANGE);
    let newer = client.ask(DIVERGING_EPOCH_FROM, fetch(opened.session_id, 2, Vec::new())).await;
    assert_eq!(partition_of(&newer).diverging_epoch, EpochEndOffset { epoch: 0, end_offset: 0 });
    fixture.close().await;
}
