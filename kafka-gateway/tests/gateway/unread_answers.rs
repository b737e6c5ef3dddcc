//! A client that asks for much and takes nothing: it is not handled further, and it loses its
//! connection.

use std::time::Duration;

use crate::house::{House, framed};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, MetadataRequest, RequestKind};
use kafka_protocol::protocol::StrBytes;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

const PARTITIONS: i32 = 2_000;
const ASKED: usize = 400;
/// What the kernel takes of the answers, and one more: a quarter of them at most.
const HANDLED_MAX: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_holds_one_answer_that_it_does_not_take_and_not_for_long() {
    let house = House::open(|config| config.transfer_stall_max = Duration::from_millis(500)).await;
    let name = StrBytes::from_static_str("wide");
    let topic = CreatableTopic::default().with_name(name.clone().into()).with_num_partitions(PARTITIONS);
    let creation = CreateTopicsRequest::default().with_topics(vec![topic.with_replication_factor(1)]);
    let mut client = house.client().await;
    client
        .send(&framed(ApiKey::CreateTopics, 5, 0, &RequestKind::CreateTopics(creation.with_timeout_ms(10_000))))
        .await;
    client.answer(ApiKey::CreateTopics as i16, 5, 0).await;
    drop(client);

    let asked = MetadataRequestTopic::default().with_name(Some(name.into()));
    let request = RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![asked])));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = socket.connect(house.address).await.unwrap();
    silent.write_all(&framed(ApiKey::Metadata, 9, 0, &request).repeat(ASKED)).await.unwrap();
    house.until(|house| house.metric("connection_errors_total{reason=\"io\"}") > 0).await;
    let handled = house.metric("requests_total{api=\"Metadata\"}");
    assert!((1..=HANDLED_MAX).contains(&handled), "{handled} requests were handled");
    house.close().await;
}
