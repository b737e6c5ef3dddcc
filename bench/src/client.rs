//! The clients' settings, the same for every contender, and the words that state them in the table.

use rdkafka::ClientConfig;

/// Bytes that a producer holds before it makes its caller wait.
const BUFFER_KIB: u32 = 32 << 10;

/// What differs between the scenarios' producers. The rest is fixed, acks=all among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producing {
    pub order: Order,
    pub linger_ms: u32,
    pub batch_bytes: u32,
    pub batch_records: u32,
    pub codec: &'static str,
}

/// What a producer promises about the order of its records, and so how many requests it may have in
/// flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// 5 requests in flight, but one for each partition: librdkafka holds the messages in flight of
    /// a partition against that limit. Its thread spins while a record waits for its request: of an
    /// open loop on few processors the tail would be the time that a broker's threads wait for that
    /// thread, whichever broker it is.
    Idempotent,
    /// As many requests as it takes: librdkafka's default.
    None,
}

impl Order {
    fn settings(self) -> (&'static str, &'static str) {
        match self {
            Order::Idempotent => ("true", "5"),
            Order::None => ("false", "1000000"),
        }
    }
}

impl Producing {
    /// As much as librdkafka packs by default.
    pub const BULK: Producing = Producing {
        order: Order::Idempotent,
        linger_ms: 5,
        batch_bytes: 1_000_000,
        batch_records: 10_000,
        codec: "none",
    };
    /// Records that are due at fixed times, packed.
    pub const PACED: Producing = Producing { order: Order::None, ..Producing::BULK };
    /// Each record leaves at once.
    pub const PROMPT: Producing = Producing { linger_ms: 0, ..Producing::PACED };

    pub fn config(&self, bootstrap: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        for (key, value) in self.settings() {
            config.set(key, value);
        }
        config
    }

    /// librdkafka's names.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let (idempotent, in_flight) = self.order.settings();
        vec![
            ("acks", "all".to_owned()),
            ("enable.idempotence", idempotent.to_owned()),
            ("max.in.flight.requests.per.connection", in_flight.to_owned()),
            ("linger.ms", self.linger_ms.to_string()),
            ("batch.size", self.batch_bytes.to_string()),
            ("batch.num.messages", self.batch_records.to_string()),
            ("compression.type", self.codec.to_owned()),
            ("queue.buffering.max.kbytes", BUFFER_KIB.to_string()),
            ("queue.buffering.max.messages", "1000000".to_owned()),
            ("message.timeout.ms", "120000".to_owned()),
            ("socket.nagle.disable", "true".to_owned()),
        ]
    }

    pub fn words(&self) -> String {
        let (idempotent, in_flight) = self.order.settings();
        format!(
            "enable.idempotence={idempotent} max.in.flight.requests.per.connection={in_flight} linger.ms={} batch.size={} \
             batch.num.messages={} compression.type={}",
            self.linger_ms, self.batch_bytes, self.batch_records, self.codec
        )
    }
}

/// How long a broker may hold a fetch that finds nothing: a consumer of what comes can wait, one of
/// what is there must not spend its time so when it turns back at the end.
pub const WAIT_LIVE_MS: u32 = 500;
pub const WAIT_CATCH_UP_MS: u32 = 10;

/// A consumer of given partitions without a group; librdkafka's defaults, stated so that they stay.
pub fn consumer(bootstrap: &str, fetch_wait_ms: u32) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "false")
        .set("fetch.min.bytes", "1")
        .set("fetch.wait.max.ms", fetch_wait_ms.to_string())
        .set("fetch.max.bytes", "52428800")
        .set("max.partition.fetch.bytes", "1048576")
        .set("check.crcs", "false")
        .set("socket.nagle.disable", "true");
    config
}

pub const STATED: &str = "librdkafka through the rdkafka crate; producers: acks=all, \
    queue.buffering.max.kbytes=32768; consumers: assigned partitions, no group, \
    fetch.min.bytes=1, fetch.wait.max.ms=500 (10 for what is there already)";
