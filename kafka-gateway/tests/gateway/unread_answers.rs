//! A client that asks for much and takes nothing: it is not handled further, and it loses its
//! connection.

use std::time::Duration;

use crate::fixture::{GatewayFixture, framed};
use rustmq_kafka_codec_messages::MetadataRequest;
use rustmq_kafka_codec_messages::metadata_request::MetadataRequestTopic;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

const PARTITIONS: i32 = 2_000;
const ASKED: usize = 400;
/// What the kernel takes of the answers, and one more: a quarter of them at most.
const HANDLED_MAX: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_holds_one_answer_that_it_does_not_take_and_not_for_long() {
    let fixture = GatewayFixture::open(|config| config.transfer_stall_max = Duration::from_millis(500)).await;
    let name = "wide".to_owned();
    fixture.client().await.create_topic(&name, PARTITIONS).await;

    let asked = MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![asked]), ..MetadataRequest::default() };
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = socket.connect(fixture.address).await.unwrap();
    silent.write_all(&framed(9, 0, &request).repeat(ASKED)).await.unwrap();
    fixture.until(|fixture| fixture.metric("connection_errors_total{reason=\"io\"}") > 0).await;
    let handled = fixture.metric("requests_total{api=\"Metadata\"}");
    assert!((1..=HANDLED_MAX).contains(&handled), "{handled} requests were handled");
    fixture.close().await;
}
