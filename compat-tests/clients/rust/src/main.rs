//! Confluent's Rust client: see ../../README.md for the operations. It has transactions and groups
//! of KIP-848, and is asked for nothing else.

use confluent_kafka::common::TopicPartition;
use confluent_kafka::common::serialization::{ByteArrayDeserializer, ByteArraySerializer};
use confluent_kafka::consumer::{Consumer, ConsumerConfig, KafkaConsumer, OffsetAndMetadata, SubscriptionPattern};
use confluent_kafka::producer::{KafkaProducer, Producer, ProducerConfig, ProducerRecord};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

type Answer = Result<Value, Box<dyn Error>>;
type Member = KafkaConsumer<Vec<u8>, Vec<u8>>;

const UNSUPPORTED: i16 = 35;

struct Program {
    bootstrap: String,
    producer: Option<KafkaProducer<Vec<u8>, Vec<u8>>>,
    member: Option<Member>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let bootstrap = std::env::args().nth(1).ok_or("no bootstrap address")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut program = Program { bootstrap, producer: None, member: None };
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let operation = request["op"].as_str().unwrap_or_default().to_owned();
        let answer = match runtime.block_on(program.answer(&operation, &request)) {
            None => json!({"code": UNSUPPORTED, "message": format!("{operation} is not asked of this library")}),
            Some(Ok(answer)) => json!({"ok": answer}),
            Some(Err(error)) => {
                eprintln!("{operation}: {error:?}");
                json!({"code": -1, "message": error.to_string()})
            }
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    // Nothing is closed: a member that did not leave dies, as the scenario wants.
    std::process::exit(0);
}

impl Program {
    /// `None` for an operation that is not asked of this library.
    async fn answer(&mut self, operation: &str, request: &Value) -> Option<Answer> {
        Some(match operation {
            "init_transactions" => self.init_transactions(request).await,
            "begin_transaction" | "send" | "send_offsets" | "commit_transaction" | "abort_transaction" => {
                self.transact(operation, request).await
            }
            "consume" => self.consume(request).await,
            "subscribe" => self.subscribe(request).await,
            "poll" | "commit" | "leave" => self.as_member(operation, request).await,
            _ => return None,
        })
    }

    fn settings(&self, more: &[(&str, String)]) -> HashMap<String, String> {
        let all = more.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        all.chain([("bootstrap.servers".to_owned(), self.bootstrap.clone())]).collect()
    }

    async fn init_transactions(&mut self, request: &Value) -> Answer {
        let mut settings = vec![("transactional.id", text(&request["id"])?), ("max.block.ms", "60000".to_owned())];
        if let Some(timeout) = request["timeout_ms"].as_u64() {
            settings.push(("transaction.timeout.ms", timeout.to_string()));
        }
        let config = ProducerConfig::new(&self.settings(&settings))?;
        let producer = KafkaProducer::new(config, ByteArraySerializer::new(), ByteArraySerializer::new())?;
        producer.init_transactions().await?;
        self.producer = Some(producer);
        Ok(json!({}))
    }

    async fn transact(&mut self, operation: &str, request: &Value) -> Answer {
        let producer = self.producer.as_ref().ok_or("no transactional producer")?;
        match operation {
            "begin_transaction" => producer.begin_transaction()?,
            "send" => return send(producer, request).await,
            "send_offsets" => {
                let member = self.member.as_mut().ok_or("offsets without a member are not asked of this library")?;
                producer.send_offsets_to_transaction(offsets(request)?, &*member.group_metadata()).await?;
            }
            "commit_transaction" => producer.commit_transaction().await?,
            _ => producer.abort_transaction().await?,
        }
        Ok(json!({}))
    }

    fn consumer(&self, request: &Value, more: &[(&str, String)]) -> Result<Member, Box<dyn Error>> {
        let mut settings = more.to_vec();
        settings.extend([("enable.auto.commit", "false".to_owned()), ("group.protocol", "consumer".to_owned())]);
        if let Some(level) = request["isolation"].as_str() {
            settings.push(("isolation.level", level.to_owned()));
        }
        let config = ConsumerConfig::new(&self.settings(&settings))?;
        Ok(KafkaConsumer::new(config, ByteArrayDeserializer::new(), ByteArrayDeserializer::new())?)
    }

    async fn consume(&mut self, request: &Value) -> Answer {
        let mut consumer = self.consumer(request, &[])?;
        let pairs = request["partitions"].as_array().ok_or("no partitions")?;
        let partitions = pairs.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        consumer.assign(partitions.clone()).await?;
        if request["from"] != "earliest" {
            return Err("only the earliest record is asked of this library".into());
        }
        consumer.seek_to_beginning(&partitions).await?;
        let deadline = Instant::now() + Duration::from_millis(request["timeout_ms"].as_u64().unwrap_or(0));
        let count = usize::try_from(request["count"].as_u64().unwrap_or(0))?;
        let mut records = Vec::new();
        while records.len() < count && Instant::now() < deadline {
            for record in &consumer.poll(Duration::from_millis(100)).await? {
                records
                    .push(json!({"topic": record.topic(), "partition": record.partition(), "offset": record.offset(),
                    "key": record.key().map(|key| hex(key)), "value": record.value().map(|value| hex(value))}));
            }
        }
        consumer.close().await?;
        records.truncate(count);
        Ok(json!({"records": records}))
    }

    async fn subscribe(&mut self, request: &Value) -> Answer {
        if request["protocol"] != "consumer" {
            return Err("this library has the consumer protocol alone".into());
        }
        let mut settings = vec![
            ("group.id", text(&request["group"])?),
            ("auto.offset.reset", text(&request["reset"])?),
            ("metadata.max.age.ms", "1000".to_owned()),
        ];
        for (key, field) in [("group.remote.assignor", "assignor"), ("group.instance.id", "instance")] {
            if let Some(value) = request[field].as_str() {
                settings.push((key, value.to_owned()));
            }
        }
        let mut member = self.consumer(request, &settings)?;
        match request["regex"].as_str() {
            Some(regex) => member.subscribe_with_pattern(SubscriptionPattern::new(regex)).await?,
            None => {
                let topics = request["topics"].as_array().ok_or("no topics")?;
                let topics = topics.iter().map(text).collect::<Result<Vec<_>, _>>()?;
                member.subscribe_with_topics(topics).await?;
            }
        }
        self.member = Some(member);
        Ok(json!({}))
    }

    async fn as_member(&mut self, operation: &str, request: &Value) -> Answer {
        let member = self.member.as_mut().ok_or("no member")?;
        match operation {
            "poll" => return poll(member, request).await,
            "commit" if request["offsets"].is_array() => member.commit_sync_with_offsets(offsets(request)?).await?,
            "commit" => member.commit_sync().await?,
            _ => {
                member.close().await?;
                self.member = None;
            }
        }
        Ok(json!({}))
    }
}

async fn send(producer: &KafkaProducer<Vec<u8>, Vec<u8>>, request: &Value) -> Answer {
    let mut sent = Vec::new();
    for record in request["records"].as_array().ok_or("no records")? {
        let partition = record["partition"].as_i64().map(i32::try_from).transpose()?;
        let (key, value) = (unhex(&record["key"])?, unhex(&record["value"])?);
        let record = ProducerRecord::with_partition_key(text(&request["topic"])?, partition, key, value)?;
        sent.push(Producer::send(producer, record).await?);
    }
    producer.flush().await?;
    let mut acks = Vec::new();
    for future in sent {
        acks.push(match future.get().await {
            Ok(done) => json!({"partition": done.partition(), "offset": done.offset()}),
            Err(error) => {
                eprintln!("send: {error:?}");
                json!({"partition": -1, "offset": -1, "error": -1})
            }
        });
    }
    Ok(json!({"acks": acks}))
}

async fn poll(member: &mut Member, request: &Value) -> Answer {
    let deadline = Instant::now() + Duration::from_millis(request["ms"].as_u64().unwrap_or(0));
    let mut records = Vec::new();
    while Instant::now() < deadline {
        for record in &member.poll(Duration::from_millis(50)).await? {
            let value = record.value().map(|value| hex(value));
            records.push(json!([record.topic(), record.partition(), record.offset(), value]));
        }
    }
    let assigned = member.assignment();
    let assigned: Vec<Value> = assigned.iter().map(|place| json!([place.topic(), place.partition()])).collect();
    Ok(json!({"assigned": assigned, "records": records, "rebalances": -1}))
}

fn text(value: &Value) -> Result<String, Box<dyn Error>> {
    Ok(value.as_str().ok_or("no text")?.to_owned())
}

fn place(pair: &Value) -> Result<TopicPartition, Box<dyn Error>> {
    Ok(TopicPartition::new(text(&pair[0])?, i32::try_from(pair[1].as_i64().ok_or("no partition")?)?))
}

fn offsets(request: &Value) -> Result<HashMap<TopicPartition, OffsetAndMetadata>, Box<dyn Error>> {
    let list = request["offsets"].as_array().ok_or("no offsets")?;
    let each = list.iter().map(|entry| {
        let offset = entry[2].as_i64().ok_or("no offset")?;
        let metadata = entry[3].as_str().unwrap_or_default();
        Ok((place(entry)?, OffsetAndMetadata::with_metadata(offset, metadata)?))
    });
    each.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(value: &Value) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let Some(text) = value.as_str() else { return Ok(None) };
    let pairs = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap_or("?"), 16));
    Ok(Some(pairs.collect::<Result<_, _>>()?))
}
