//! A proxy that acknowledges produce requests without forwarding them: for clients, a broker that
//! acknowledges before it writes. It is honest until `lie` is called. It lies about one batch per
//! partition and request, as librdkafka sends them.

use super::admin::Admin;
use super::audit::TopicPartition;
use crate::proxy_listener::ProxyListener;
use anyhow::{Context, Result, bail};
use bytes::{Buf, BytesMut};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ApiKey, ProduceResponse, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

#[derive(Debug, Default)]
struct Shared {
    /// The broker whose offsets it asks for.
    upstream: AtomicU16,
    lying: AtomicBool,
    lies: AtomicU64,
    /// The offset that the next lie names.
    next: Mutex<BTreeMap<TopicPartition, i64>>,
}

/// Listens from `start` until the process ends.
#[derive(Debug)]
pub struct LyingProxy {
    listener: ProxyListener,
    shared: Arc<Shared>,
}

impl LyingProxy {
    pub fn start() -> Result<LyingProxy> {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let listener = ProxyListener::open(move |client, broker| serve(client, broker, &serving))?;
        Ok(LyingProxy { listener, shared })
    }

    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    pub fn connect_to(&self, port: u16) {
        self.shared.upstream.store(port, Ordering::SeqCst);
        self.listener.connect_to(port);
    }

    pub fn lie(&self, lying: bool) {
        self.shared.lying.store(lying, Ordering::SeqCst);
    }

    /// The number of requests that were acknowledged and not forwarded.
    pub fn lies(&self) -> u64 {
        self.shared.lies.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, broker: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    let (mut answers, mut back) = (broker.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        // Either end may close at any time.
        let _ = std::io::copy(&mut answers, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let (mut client, mut broker) = (client, broker);
        while pass(&mut client, &mut broker, &shared).is_ok() {}
        let _ = client.shutdown(Shutdown::Both);
        let _ = broker.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Reads one request, and forwards it or answers it itself.
fn pass(client: &mut TcpStream, broker: &mut TcpStream, shared: &Shared) -> Result<()> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    client.read_exact(&mut frame)?;
    let is_produce = frame.starts_with(&(ApiKey::Produce as i16).to_be_bytes());
    if is_produce && shared.lying.load(Ordering::SeqCst) {
        let answer = answer_to(&frame, shared)?;
        client.write_all(&u32::try_from(answer.len())?.to_be_bytes())?;
        client.write_all(&answer)?;
        shared.lies.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    broker.write_all(&length)?;
    Ok(broker.write_all(&frame)?)
}

fn answer_to(frame: &[u8], shared: &Shared) -> Result<BytesMut> {
    let version = i16::from_be_bytes(frame.get(2..4).context("a short frame")?.try_into()?);
    let mut bytes = bytes::Bytes::copy_from_slice(frame);
    let header = RequestHeader::decode(&mut bytes, ApiKey::Produce.request_header_version(version))?;
    let RequestKind::Produce(request) = RequestKind::decode(ApiKey::Produce, &mut bytes, version)? else {
        bail!("not a produce request");
    };
    let mut responses = Vec::new();
    for topic in request.topic_data {
        let mut partitions = Vec::new();
        for data in topic.partition_data {
            let place = TopicPartition::new(&topic.name, data.index);
            let base_offset = shared.take(&place, records_in(&data.records.unwrap_or_default())?)?;
            partitions.push(PartitionProduceResponse::default().with_index(data.index).with_base_offset(base_offset));
        }
        responses.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
    }
    let mut answer = BytesMut::new();
    let header_version = ApiKey::Produce.response_header_version(version);
    ResponseHeader::default().with_correlation_id(header.correlation_id).encode(&mut answer, header_version)?;
    ResponseKind::Produce(ProduceResponse::default().with_responses(responses)).encode(&mut answer, version)?;
    Ok(answer)
}

/// The number of records in a batch, from its last offset delta.
fn records_in(mut batch: &[u8]) -> Result<i64> {
    const LAST_OFFSET_DELTA: usize = 23;
    batch = batch.get(LAST_OFFSET_DELTA..LAST_OFFSET_DELTA + 4).context("a short batch")?;
    Ok(i64::from(batch.get_i32()) + 1)
}

impl Shared {
    /// The offset that an honest broker would give to the next `records` of a place.
    fn take(&self, place: &TopicPartition, records: i64) -> Result<i64> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if !next.contains_key(place) {
            let ends = Admin::connect(self.upstream.load(Ordering::SeqCst))?.ends(std::slice::from_ref(place))?;
            next.insert(place.clone(), ends[place]);
        }
        let offset = next.get_mut(place).context("it was just put there")?;
        *offset += records;
        Ok(*offset - records)
    }
}
