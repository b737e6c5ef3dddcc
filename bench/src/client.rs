//! The clients' settings, the same for every contender, and the words that describe them in the
//! table.

use rdkafka::ClientConfig;

/// The bytes that a producer buffers before its caller must wait.
const BUFFER_KIB: u32 = 32 << 10;

/// The settings in which the scenarios' producers differ. The others are fixed, such as acks=all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producing {
    pub order: Order,
    pub linger_ms: u32,
    pub batch_bytes: u32,
    pub batch_records: u32,
    pub codec: &'static str,
}

/// A producer's promise about the order of its records, which limits its requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Five requests in flight, but one per partition: librdkafka counts the messages in flight of
    /// a partition against that limit. Its thread spins while a record waits for its request. In an
    /// open loop on few processors the broker's threads would then wait for that thread, and their
    /// wait would dominate the tail, whichever broker it is.
    Idempotent,
    /// Any number of requests: librdkafka's default.
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
    /// As many bytes as librdkafka packs by default.
    pub const BULK: Producing = Producing {
        order: Order::Idempotent,
        linger_ms: 5,
        batch_bytes: 1_000_000,
        batch_records: 10_000,
        codec: "none",
    };
    /// Records that are due at fixed times, packed into batches.
    pub const PACED: Producing = Producing { order: Order::None, ..Producing::BULK };
    /// Sends each record at once.
    pub const PROMPT: Producing = Producing { linger_ms: 0, ..Producing::PACED };

    pub fn config(&self, bootstrap: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        for (key, value) in self.settings() {
            config.set(key, value);
        }
        config
    }

    /// librdkafka's names for the settings.
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

/// The longest time that a broker may hold a fetch that finds nothing. A consumer of new records
/// can wait; a consumer of old records must not spend time on this when it starts over at the end.
pub const WAIT_LIVE_MS: u32 = 500;
pub const WAIT_CATCH_UP_MS: u32 = 10;

/// A consumer of given partitions without a group. librdkafka's defaults are stated, so that they
/// stay the same.
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
