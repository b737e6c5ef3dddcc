//! The `rdkafka` crate, in this process: librdkafka as Rust programs use it.

mod transactions;

use crate::client::{Client, ClientKind, Refusal};
use crate::kcat::UNSUPPORTED;
use crate::record::{hex, unhex};
use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, Timestamp, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use transactions::Transactional;

const PATIENCE: Duration = Duration::from_secs(60);

/// One delivery: the record's index in its request, and its place or error.
type Delivery = (usize, Result<(i32, i64), i16>);

struct Deliveries(Sender<Delivery>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Box<usize>) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(code(error)),
        };
        // A request that has given up no longer listens.
        let _ = self.0.send((*index, outcome));
    }
}

/// Kafka's code for a librdkafka error; -1 for the library's own errors.
pub fn code(error: &KafkaError) -> i16 {
    let code = error.rdkafka_error_code().map_or(-1, |code: RDKafkaErrorCode| code as i32);
    i16::try_from(code).unwrap_or(-1).max(-1)
}

type NativeProducer = (ThreadedProducer<Deliveries>, Receiver<Delivery>);

/// Sends the records of a request, and waits until each is delivered or refused.
fn send_all((producer, deliveries): &NativeProducer, request: &Value) -> Result<Value> {
    let topic = request["topic"].as_str().context("no topic")?;
    let records = request["records"].as_array().context("no records")?;
    for (index, record) in records.iter().enumerate() {
        let (key, value) = (bytes(&record["key"])?, bytes(&record["value"])?);
        let mut message = BaseRecord::with_opaque_to(topic, Box::new(index));
        message.partition = record["partition"].as_i64().map(i32::try_from).transpose()?;
        message.timestamp = record["timestamp"].as_i64();
        message.key = key.as_deref();
        message.payload = value.as_deref();
        let mut headers = OwnedHeaders::new();
        for header in record["headers"].as_array().into_iter().flatten() {
            let value = bytes(&header[1])?;
            headers = headers.insert(Header { key: header[0].as_str().unwrap_or_default(), value: value.as_deref() });
        }
        message.headers = (headers.count() > 0).then_some(headers);
        producer.send::<[u8], [u8]>(message).map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;
    let mut acks = vec![Value::Null; records.len()];
    for _ in records {
        let (index, outcome) = deliveries.recv_timeout(PATIENCE)?;
        acks[index] = match outcome {
            Ok((partition, offset)) => json!({"partition": partition, "offset": offset}),
            Err(code) => json!({"partition": -1, "offset": -1, "error": code}),
        };
    }
    Ok(json!({"acks": acks}))
}

/// The list of `[topic, partition, offset, metadata]`.
fn positions(wanted: &[Value]) -> Result<TopicPartitionList> {
    let mut offsets = TopicPartitionList::new();
    for entry in wanted {
        let (topic, partition) = place(entry)?;
        let mut element = offsets.add_partition(topic, partition);
        element.set_offset(Offset::Offset(entry[2].as_i64().context("no offset")?))?;
        element.set_metadata(entry[3].as_str().unwrap_or_default());
    }
    Ok(offsets)
}

/// The settings of a member whose group assigns the partitions by one of its members.
fn classic_settings(request: &Value) -> [(&'static str, String); 3] {
    let strategy = match request["strategy"].as_str().unwrap_or_default() {
        "cooperative" => "cooperative-sticky",
        other => other,
    };
    let session = request["session_ms"].as_u64().unwrap_or(10_000);
    [
        ("partition.assignment.strategy", strategy.to_owned()),
        ("session.timeout.ms", session.to_string()),
        ("heartbeat.interval.ms", (session / 10).max(100).to_string()),
    ]
}

pub struct Native {
    bootstrap: String,
    producers: BTreeMap<String, NativeProducer>,
    transactional: Option<Transactional>,
    member: Option<BaseConsumer>,
}

impl Native {
    pub fn new(bootstrap: &str) -> Native {
        Native { bootstrap: bootstrap.into(), producers: BTreeMap::new(), transactional: None, member: None }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("receive.message.max.bytes", "268435456");
        config
    }

    fn producer(&mut self, request: &Value) -> Result<&NativeProducer> {
        let setting = |key: &str| request[key].as_str().map_or_else(|| request[key].to_string(), str::to_owned);
        let settings = ["codec", "acks", "idempotent", "linger_ms"].map(setting);
        let key = settings.join(" ");
        if !self.producers.contains_key(&key) {
            let [codec, acks, idempotent, linger] = &settings;
            let mut config = self.config();
            config.set("compression.type", codec).set("acks", acks).set("enable.idempotence", idempotent);
            config.set("linger.ms", linger).set("message.max.bytes", "16777216").set("message.timeout.ms", "60000");
            config.set("partitioner", "murmur2_random").set("reconnect.backoff.max.ms", "200");
            let (sender, deliveries) = channel();
            self.producers.insert(key.clone(), (config.create_with_context(Deliveries(sender))?, deliveries));
        }
        self.producers.get(&key).context("the producer was just made")
    }

    fn transact(&mut self, request: &Value) -> Result<Value> {
        if request["op"] == "init_transactions" {
            self.transactional = Some(Transactional::initialise(self.config(), request)?);
            return Ok(json!({}));
        }
        let producer = self.transactional.as_ref().context("no transactional producer")?;
        producer.call(request, self.member.as_ref(), |group| self.consumer(group, &[]))
    }

    fn consumer(&self, group: &str, more: &[(&str, String)]) -> Result<BaseConsumer> {
        let mut config = self.config();
        config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("fetch.message.max.bytes", "16777216");
        for (key, value) in more {
            config.set(*key, value);
        }
        Ok(config.create()?)
    }

    fn consume(&self, request: &Value) -> Result<Value> {
        let consumer = self.consumer("none", &isolation(request))?;
        let mut assigned = TopicPartitionList::new();
        let from = &request["from"];
        for pair in request["partitions"].as_array().context("no partitions")? {
            let (topic, partition) = place(pair)?;
            let at = from["timestamp"].as_i64().or(from.as_i64());
            assigned.add_partition_offset(topic, partition, at.map_or(Offset::Beginning, Offset::Offset))?;
        }
        if from.is_object() {
            assigned = consumer.offsets_for_times(assigned, PATIENCE)?;
        }
        consumer.assign(&assigned)?;
        let deadline = Instant::now() + Duration::from_millis(request["timeout_ms"].as_u64().unwrap_or(0));
        let count = usize::try_from(request["count"].as_u64().unwrap_or(0))?;
        let mut records = Vec::new();
        while records.len() < count && Instant::now() < deadline {
            let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = message?;
            let (kind, timestamp) = match message.timestamp() {
                Timestamp::NotAvailable => (-1, -1),
                Timestamp::CreateTime(at) => (0, at),
                Timestamp::LogAppendTime(at) => (1, at),
            };
            let headers: Vec<Value> = message.headers().map_or_else(Vec::new, |headers| {
                headers.iter().map(|header| json!([header.key, header.value.map(hex)])).collect()
            });
            records.push(
                json!({"topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
                "timestamp": timestamp, "timestamp_type": kind, "key": message.key().map(hex),
                "value": message.payload().map(hex), "headers": headers}),
            );
        }
        Ok(json!({"records": records}))
    }

    fn list_offsets(&self, request: &Value) -> Result<Value> {
        let consumer = self.consumer("none", &[])?;
        let topic = request["topic"].as_str().context("no topic")?;
        let partition = i32::try_from(request["partition"].as_i64().unwrap_or(0))?;
        let at = request["at"].as_i64().unwrap_or(-1);
        if at < 0 {
            let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
            return Ok(json!({"offset": if at == -1 { high } else { low }}));
        }
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_offset(topic, partition, Offset::Offset(at))?;
        let found = consumer.offsets_for_times(wanted, PATIENCE)?;
        let offset =
            found.elements().first().and_then(|element| element.offset().to_raw()).filter(|offset| *offset >= 0);
        Ok(json!({"offset": offset.unwrap_or(-1)}))
    }

    fn subscribe(&mut self, request: &Value) -> Result<Value> {
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let mut settings =
            vec![("auto.offset.reset", text("reset")), ("topic.metadata.refresh.interval.ms", "1000".into())];
        if request["protocol"] == "consumer" {
            settings.push(("group.protocol", "consumer".into()));
        } else {
            settings.extend(classic_settings(request));
        }
        settings.extend(isolation(request));
        for (key, field) in [("group.remote.assignor", "assignor"), ("group.instance.id", "instance")] {
            if request[field].is_string() {
                settings.push((key, text(field)));
            }
        }
        let member = self.consumer(&text("group"), &settings)?;
        let topics: Vec<&str> = request["topics"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        member.subscribe(&topics)?;
        self.member = Some(member);
        Ok(json!({}))
    }

    fn poll(&self, request: &Value) -> Result<Value> {
        let member = self.member.as_ref().context("no member")?;
        let deadline = Instant::now() + Duration::from_millis(request["ms"].as_u64().unwrap_or(0));
        let mut records = Vec::new();
        while Instant::now() < deadline {
            if let Some(message) = member.poll(Duration::from_millis(20)) {
                let message = message?;
                let value = message.payload().map(hex);
                records.push(json!([message.topic(), message.partition(), message.offset(), value]));
            }
        }
        let assignment = member.assignment()?;
        let assigned: Vec<Value> =
            assignment.elements().iter().map(|element| json!([element.topic(), element.partition()])).collect();
        Ok(json!({"assigned": assigned, "records": records, "rebalances": -1}))
    }

    fn commit(&self, request: &Value) -> Result<Value> {
        let member = self.member.as_ref().context("no member")?;
        let offsets = match request["offsets"].as_array() {
            Some(wanted) => positions(wanted)?,
            None => member.position()?,
        };
        member.commit(&offsets, rdkafka::consumer::CommitMode::Sync)?;
        Ok(json!({}))
    }

    fn committed(&self, request: &Value) -> Result<Value> {
        let member = self.member.as_ref().context("no member")?;
        let mut wanted = TopicPartitionList::new();
        for pair in request["partitions"].as_array().context("no partitions")? {
            let (topic, partition) = place(pair)?;
            wanted.add_partition(topic, partition);
        }
        let found = member.committed_offsets(wanted, PATIENCE)?;
        let offset = |offset: Offset| offset.to_raw().filter(|offset| *offset >= 0).unwrap_or(-1);
        let offsets: Vec<Value> = found
            .elements()
            .iter()
            .map(|e| json!([e.topic(), e.partition(), offset(e.offset()), e.metadata()]))
            .collect();
        Ok(json!({"offsets": offsets}))
    }
}

/// The setting of the request's isolation level; without one, the library's default holds.
fn isolation(request: &Value) -> Vec<(&'static str, String)> {
    request["isolation"].as_str().map(|level| ("isolation.level", level.to_owned())).into_iter().collect()
}

fn place(pair: &Value) -> Result<(&str, i32)> {
    Ok((pair[0].as_str().context("no topic")?, i32::try_from(pair[1].as_i64().context("no partition")?)?))
}

fn bytes(text: &Value) -> Result<Option<Vec<u8>>> {
    text.as_str().map(|text| unhex(text).context("bytes must be hexadecimal")).transpose()
}

impl Client for Native {
    fn kind(&self) -> ClientKind {
        ClientKind::Rdkafka
    }

    fn call(&mut self, request: Value) -> Result<Value, Refusal> {
        let answer = match request["op"].as_str().unwrap_or_default() {
            "produce" => self.producer(&request).and_then(|producer| send_all(producer, &request)),
            "consume" => self.consume(&request),
            "list_offsets" => self.list_offsets(&request),
            "subscribe" => self.subscribe(&request),
            "poll" => self.poll(&request),
            "commit" => self.commit(&request),
            "committed" => self.committed(&request),
            "init_transactions" | "begin_transaction" | "send" | "send_offsets" | "commit_transaction"
            | "abort_transaction" => self.transact(&request),
            "leave" => {
                self.member = None;
                Ok(json!({}))
            }
            other => return Err(Refusal::new(UNSUPPORTED, format!("{other} is not asked of rdkafka"))),
        };
        answer.map_err(|error| {
            let code = error.downcast_ref::<KafkaError>().map_or(-1, code);
            Refusal::new(code, format!("rdkafka: {error:#}"))
        })
    }

    fn kill(&mut self) {
        self.producers.clear();
        self.transactional = None;
        self.member = None;
    }
}
