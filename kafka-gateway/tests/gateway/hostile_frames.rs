//! Foreign bytes against a real server: their connection ends, or they get an error; the others do
//! not notice.

use std::time::Duration;

use crate::fixture::{Client, GatewayFixture};
use crate::samples;
use rustmq_kafka_codec_messages::{ApiVersionsResponse, ListOffsetsResponse, MetadataResponse};
use rustmq_model::ByteSize;
use tokio::io::AsyncWriteExt;

async fn is_alive(client: &mut Client) -> bool {
    client.send(&samples::frame(18, 3, 5)).await;
    !client.answer::<ApiVersionsResponse>(3, 5).await.api_keys.is_empty()
}

/// Whether the gateway ends the connection without another answer.
async fn is_closed(client: &mut Client) -> bool {
    client.receive().await.is_none()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_close_their_connection_only() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut bystander = fixture.client().await;
    assert!(is_alive(&mut bystander).await);
    let mut absurd_count = samples::frame(3, 1, 1);
    let end = absurd_count.len();
    absurd_count.truncate(end - 13);
    absurd_count.extend_from_slice(&i32::MAX.to_be_bytes());
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("a negative length", (-1_i32).to_be_bytes().to_vec()),
        ("a huge length", i32::MAX.to_be_bytes().to_vec()),
        ("a length too small for a header", framed(&[0; 7])),
        ("an unknown key", framed(&[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff])),
        ("a version too new", framed(&[0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff])),
        ("a negative version", framed(&[0, 3, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff])),
        ("a client id beyond the frame", framed(&[0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff])),
        ("an absurd count", framed(&absurd_count[4..])),
        ("an absurd compact count", framed(&[0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in hostile {
        let mut client = fixture.client().await;
        client.send(&bytes).await;
        assert!(is_closed(&mut client).await, "{name}");
        assert!(is_alive(&mut bystander).await, "{name}");
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_noise_harms_nobody() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut bystander = fixture.client().await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    let keys: Vec<i16> = vec![0, 1, 2, 3, 8, 9, 10, 11, 14, 18, 19, 32, 44, 75];
    for round in 0..300 {
        let key = keys[next() % keys.len()];
        let version = match key {
            1 | 2 | 8 | 9 | 19 | 32 => 4,
            44 | 75 => 0,
            _ => 3,
        };
        let mut frame = samples::frame(key, version, 1);
        for _ in 0..=next() % 4 {
            let index = 4 + next() % (frame.len() - 4);
            frame[index] = u8::try_from(next() % 256).unwrap();
        }
        let mut client = fixture.client().await;
        client.send(&frame).await;
        // It may be answered or refused; the client does not stay to see.
        drop(client);
        if round % 50 == 0 {
            assert!(is_alive(&mut bystander).await, "round {round}");
        }
    }
    assert!(is_alive(&mut bystander).await);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_versions_from_the_future_is_answered_in_version_0() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    client.send(&framed(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff, 1, 2, 3])).await;
    let versions: ApiVersionsResponse = client.answer(0, 7).await;
    assert_eq!(versions.error_code, 35);
    assert!(versions.api_keys.iter().any(|api| (api.api_key, api.min_version, api.max_version) == (18, 0, 5)));
    assert!(is_alive(&mut client).await, "the connection goes on");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_0_is_silent_and_kept_even_if_the_client_leaves() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    client.send(&samples::frame(3, 4, 1)).await;
    client.answer::<MetadataResponse>(4, 1).await;
    let mut frame = samples::frame(0, 3, 2);
    let acks = frame.windows(6).position(|found| found == [0xff, 0xff, 0xff, 0xff, 0, 0]).unwrap() + 2;
    frame[acks..acks + 2].copy_from_slice(&[0, 0]);
    let mut leaving = fixture.client().await;
    leaving.send(&frame.repeat(20)).await;
    leaving.stream.shutdown().await.unwrap();
    assert!(is_closed(&mut leaving).await, "no answer at all");
    // Nobody tells when they are synced: ask until the end is where it must be.
    let end = async {
        loop {
            client.send(&samples::frame(2, 1, 3)).await;
            let offsets: ListOffsetsResponse = client.answer(1, 3).await;
            if offsets.topics[0].partitions[0].offset >= 20 {
                return offsets.topics[0].partitions[0].offset;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), end).await, Ok(20));
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold() {
    let adjust = |config: &mut rustmq_kafka_gateway::GatewayConfig| {
        config.request_bytes_max = ByteSize::kib(64);
        config.settings.connections_max = 2;
        config.idle_max = Duration::from_secs(2);
        config.transfer_stall_max = Duration::from_millis(200);
    };
    let fixture = GatewayFixture::open(adjust).await;
    let mut first = fixture.client().await;
    assert!(is_alive(&mut first).await);
    let mut second = fixture.client().await;
    assert!(is_alive(&mut second).await);
    assert!(is_closed(&mut fixture.client().await).await, "a third connection");
    second.send(&(65_537_i32).to_be_bytes()).await;
    assert!(is_closed(&mut second).await, "a frame above the limit");
    drop(second);
    assert!(is_closed(&mut first).await, "an idle connection");
    let mut third = fixture.client().await;
    third.send(&[0, 0, 1]).await;
    assert!(is_closed(&mut third).await, "a frame that does not arrive");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_batch_that_waits_for_no_answer_closes_its_connection() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut bystander = fixture.client().await;
    let mut client = fixture.client().await;
    assert!(is_alive(&mut client).await);
    // Produce v7: no client id, no transactional id, acks 0, one topic that is not there, one
    // partition without records.
    let mut request = vec![0, 0, 0, 7, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 1];
    request.extend_from_slice(&[0, 6]);
    request.extend_from_slice(b"absent");
    request.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    client.send(&framed(&request)).await;
    assert!(is_closed(&mut client).await, "no other way to tell the client");
    assert!(is_alive(&mut bystander).await);
    fixture.close().await;
}
