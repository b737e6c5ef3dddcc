//! The clients that scenarios drive, behind one operation (`call`) and the typed requests that use
//! it. An operation that a client's library lacks returns `UNSUPPORTED`. Scenarios name the clients
//! that they drive, so this never hides a failure.

use crate::kcat::Kcat;
use crate::native::Native;
use crate::program::Program;
use crate::record::{Ack, Draft, Record};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A client library in its pinned version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKind {
    Kcat,
    Rdkafka,
    Confluent,
    Aiokafka,
    KafkaPython,
    Kafkajs,
    Java,
    Franz,
    Sarama,
    KafkaGo,
    ConfluentRust,
}

impl ClientKind {
    /// The clients that have every operation on records. Scenarios name the others where they
    /// drive them.
    pub const ALL: [ClientKind; 8] = [
        ClientKind::Kcat,
        ClientKind::Rdkafka,
        ClientKind::Confluent,
        ClientKind::Aiokafka,
        ClientKind::KafkaPython,
        ClientKind::Kafkajs,
        ClientKind::Java,
        ClientKind::Franz,
    ];

    /// The clients with a transactional producer. All of them can leave aborted records out, too.
    pub const TRANSACTIONAL: [ClientKind; 9] = [
        ClientKind::Rdkafka,
        ClientKind::Confluent,
        ClientKind::Aiokafka,
        ClientKind::KafkaPython,
        ClientKind::Kafkajs,
        ClientKind::Java,
        ClientKind::Franz,
        ClientKind::Sarama,
        ClientKind::ConfluentRust,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ClientKind::Kcat => "kcat",
            ClientKind::Rdkafka => "rdkafka",
            ClientKind::Confluent => "confluent",
            ClientKind::Aiokafka => "aiokafka",
            ClientKind::KafkaPython => "kafka-python",
            ClientKind::Kafkajs => "kafkajs",
            ClientKind::Java => "java",
            ClientKind::Franz => "franz",
            ClientKind::Sarama => "sarama",
            ClientKind::KafkaGo => "kafka-go",
            ClientKind::ConfluentRust => "confluent-rust",
        }
    }
}

/// Why an operation failed: Kafka's error code if the client knows one, else -1.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: i16,
    pub message: String,
    /// The client itself has ended.
    pub broken: bool,
}

impl Refusal {
    pub fn broken(message: &str) -> Refusal {
        Refusal { code: -1, message: message.into(), broken: true }
    }

    pub fn new(code: i16, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), broken: false }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error code {}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

/// A running client.
pub trait Client: Send {
    fn kind(&self) -> ClientKind;

    /// Executes one operation of `clients/README.md`.
    fn call(&mut self, request: Value) -> Result<Value, Refusal>;

    /// Kills the client, so that it cannot say goodbye to the broker.
    fn kill(&mut self);
}

/// Starts a client.
pub fn open(kind: ClientKind, bootstrap: &str) -> Result<Box<dyn Client>> {
    Ok(match kind {
        ClientKind::Kcat => Box::new(Kcat::new(bootstrap)),
        ClientKind::Rdkafka => Box::new(Native::new(bootstrap)),
        _ => Box::new(Program::start(kind, bootstrap)?),
    })
}

/// Runs a scenario once for each client, all at the same time. Fails if any of them fails.
pub fn each(kinds: impl IntoIterator<Item = ClientKind>, scenario: impl Fn(ClientKind) + Sync) {
    let scenario = &scenario;
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let running: Vec<_> = kinds.into_iter().map(|kind| (kind, scope.spawn(move || scenario(kind)))).collect();
        running.into_iter().filter_map(|(kind, thread)| thread.join().is_err().then_some(kind.name())).collect()
    });
    assert!(failed.is_empty(), "failed with {failed:?}; their messages are above");
}

/// The settings of a produce. The default is acks=all, no compression, not idempotent.
#[derive(Clone, Copy, Debug)]
pub struct Produce<'a> {
    pub topic: &'a str,
    pub codec: &'a str,
    pub acks: i8,
    pub idempotent: bool,
    /// The time to gather records before sending, so that they share batches.
    pub linger_ms: u32,
}

impl<'a> Produce<'a> {
    pub fn to(topic: &'a str) -> Produce<'a> {
        Produce { topic, codec: "none", acks: -1, idempotent: false, linger_ms: 5 }
    }

    pub fn codec(self, codec: &'a str) -> Produce<'a> {
        Produce { codec, ..self }
    }

    pub fn acks(self, acks: i8) -> Produce<'a> {
        Produce { acks, ..self }
    }

    pub fn idempotent(self) -> Produce<'a> {
        Produce { idempotent: true, ..self }
    }
}

/// The records that a reader sees while transactions are open or were aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

impl Isolation {
    pub fn name(self) -> &'static str {
        match self {
            Isolation::ReadUncommitted => "read_uncommitted",
            Isolation::ReadCommitted => "read_committed",
        }
    }
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Commit,
    Abort,
}

/// The offset where a read starts in each partition.
#[derive(Clone, Copy, Debug)]
pub enum From {
    Earliest,
    Offset(i64),
    Timestamp(i64),
}

impl dyn Client + '_ {
    /// Produces the records in order, and waits for all acknowledgements.
    pub fn produce(&mut self, how: Produce<'_>, records: &[Draft]) -> Result<Vec<Ack>, Refusal> {
        let Produce { topic, codec, acks, idempotent, linger_ms } = how;
        let answer = self.call(json!({"op": "produce", "topic": topic, "codec": codec, "acks": acks,
            "idempotent": idempotent, "linger_ms": linger_ms, "records": records}))?;
        parse(answer, "acks")
    }

    /// Reads `count` records of the partitions without a group, or fewer if `timeout_ms` passes
    /// first.
    pub fn consume(
        &mut self,
        partitions: &[(&str, i32)],
        from: From,
        count: usize,
        timeout_ms: u64,
    ) -> Result<Vec<Record>, Refusal> {
        let from = match from {
            From::Earliest => json!("earliest"),
            From::Offset(offset) => json!(offset),
            From::Timestamp(timestamp) => json!({"timestamp": timestamp}),
        };
        let answer = self.call(json!({"op": "consume", "partitions": partitions, "from": from, "count": count,
            "timeout_ms": timeout_ms}))?;
        parse(answer, "records")
    }

    /// As [`Self::consume`] from the earliest record, with an isolation level.
    pub fn consume_isolated(
        &mut self,
        isolation: Isolation,
        partitions: &[(&str, i32)],
        count: usize,
        timeout_ms: u64,
    ) -> Result<Vec<Record>, Refusal> {
        let answer = self
            .call(json!({"op": "consume", "partitions": partitions, "from": "earliest", "count": count,
            "timeout_ms": timeout_ms, "isolation": isolation.name()}))?;
        parse(answer, "records")
    }

    /// Makes the client's producer the one of a transactional id, and fences earlier ones. A
    /// transaction ends after `timeout`, or the library's default.
    pub fn init_transactions(&mut self, id: &str, timeout: Option<Duration>) -> Result<(), Refusal> {
        let mut request = json!({"op": "init_transactions", "id": id});
        if let Some(timeout) = timeout {
            request["timeout_ms"] = json!(timeout.as_millis());
        }
        self.call(request).map(drop)
    }

    pub fn begin_transaction(&mut self) -> Result<(), Refusal> {
        self.call(json!({"op": "begin_transaction"})).map(drop)
    }

    /// Produces in the open transaction, and waits for all acknowledgements.
    pub fn send(&mut self, topic: &str, records: &[Draft]) -> Result<Vec<Ack>, Refusal> {
        let answer = self.call(json!({"op": "send", "topic": topic, "records": records}))?;
        parse(answer, "acks")
    }

    /// Adds offsets of a group, `(topic, partition, offset, metadata)`, to the open transaction.
    pub fn send_offsets(&mut self, group: &str, offsets: &[(&str, i32, i64, &str)]) -> Result<(), Refusal> {
        self.call(json!({"op": "send_offsets", "group": group, "offsets": offsets})).map(drop)
    }

    pub fn end_transaction(&mut self, end: End) -> Result<(), Refusal> {
        let op = match end {
            End::Commit => "commit_transaction",
            End::Abort => "abort_transaction",
        };
        self.call(json!({"op": op})).map(drop)
    }

    /// Kafka's code by resource (0 for success), for an operation with a result for each of several
    /// resources.
    pub fn results(&mut self, request: Value) -> Result<BTreeMap<String, i16>, Refusal> {
        let answer = self.call(request)?;
        parse(answer, "results")
    }

    /// Creates a topic. Fails if that does not succeed.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        let results = self.results(json!({"op": "create_topics", "validate_only": false,
            "topics": [{"name": name, "partitions": partitions, "replication": 1, "configs": configs}]}))?;
        let code = results.get(name).copied();
        anyhow::ensure!(code == Some(0), "creating {name} with {} gave {code:?}", self.kind().name());
        Ok(())
    }
}

/// Returns the member `key` of an answer, converted to a type.
pub fn parse<T: serde::de::DeserializeOwned>(mut answer: Value, key: &str) -> Result<T, Refusal> {
    let member = answer.get_mut(key).map(Value::take).unwrap_or_default();
    serde_json::from_value(member)
        .with_context(|| format!("the answer's {key}"))
        .map_err(|error| Refusal::new(-1, format!("{error:#} in {answer}")))
}
