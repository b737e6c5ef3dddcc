//! Broker-wide configs, in the order of their names: those of Apache Kafka 4.3 that a client or an operator of one broker meets.
//!
//! What belongs to KRaft's quorum, TLS, SASL, tiering, share and streams groups is not listed before it is real here.

use super::entry::ConfigEntry;
use super::entry::ConfigKind::{self, Boolean, Double, Int, List, Long, Short, String};
use super::rule::Rule::{self, Any, AtLeast, Between, Fraction, ListOf, OneOf};
use super::topic::{CLEANUP_POLICIES, COMPRESSION_TYPES, TIMESTAMP_TYPES};

const MAX: &str = "9223372036854775807";
const INT_MAX: &str = "2147483647";

const fn fixed(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    text: &'static str,
) -> ConfigEntry {
    ConfigEntry::new(name, kind, Some(default), rule, text)
}

/// Without a default.
const fn unset(name: &'static str, kind: ConfigKind, rule: Rule, text: &'static str) -> ConfigEntry {
    ConfigEntry::new(name, kind, None, rule, text)
}

const fn dynamic(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    text: &'static str,
) -> ConfigEntry {
    fixed(name, kind, default, rule, text).dynamic()
}

/// The broker-wide configs.
#[rustfmt::skip]
pub const BROKER_CONFIGS: &[ConfigEntry] = &[
    unset("advertised.listeners", List, Any, "The addresses that clients are told to dial: here, network.kafka_advertised.").kept_only(),
    fixed("auto.create.topics.enable", Boolean, "true", Any, "Whether asking for the metadata of an unknown topic creates it."),
    fixed("auto.leader.rebalance.enable", Boolean, "true", Any, "Whether leadership returns to preferred replicas by itself.").kept_only(),
    dynamic("background.threads", Int, "10", AtLeast(1), "The number of threads for background work.").kept_only(),
    fixed("broker.heartbeat.interval.ms", Int, "2000", AtLeast(1), "The time between a broker's heartbeats to the controller.").kept_only(),
    fixed("broker.id", Int, "-1", AtLeast(-1), "The broker's numeric id, which the controller gives.").kept_only(),
    unset("broker.rack", String, Any, "The rack that the broker says it is in: here, broker.rack_id.").kept_only(),
    fixed("broker.session.timeout.ms", Int, "9000", AtLeast(1), "The silence after which the controller fences a broker.").kept_only(),
    dynamic("compression.gzip.level", Int, "-1", Between(-1, 9), "The level at which a broker would compress with gzip.").kept_only(),
    dynamic("compression.lz4.level", Int, "9", Between(1, 17), "The level at which a broker would compress with lz4.").kept_only(),
    dynamic("compression.type", String, "producer", OneOf(COMPRESSION_TYPES), "The codec of topics that set none. Batches stay as their producer compressed them.").kept_only(),
    dynamic("compression.zstd.level", Int, "3", Between(-131_072, 22), "The level at which a broker would compress with zstd.").kept_only(),
    fixed("connections.max.idle.ms", Long, "600000", Any, "How long a connection may be silent before it is closed."),
    fixed("controlled.shutdown.enable", Boolean, "true", Any, "Whether a broker hands its leaderships over before it stops.").kept_only(),
    fixed("default.replication.factor", Int, "1", AtLeast(1), "The number of replicas of a topic that asks for none."),
    fixed("delete.records.purgatory.purge.interval.requests", Int, "1", Any, "How often finished DeleteRecords requests are swept.").kept_only(),
    fixed("delete.topic.enable", Boolean, "true", Any, "Whether topics can be deleted."),
    fixed("fetch.max.bytes", Int, "57671680", AtLeast(1024), "The most bytes that one fetch response carries."),
    fixed("fetch.purgatory.purge.interval.requests", Int, "1000", Any, "How often finished fetch requests are swept.").kept_only(),
    fixed("group.initial.rebalance.delay.ms", Int, "3000", AtLeast(0), "How long an empty group waits for more members before its first rebalance."),
    fixed("group.max.session.timeout.ms", Int, "1800000", AtLeast(1), "The longest session timeout that a group's member may ask for."),
    fixed("group.max.size", Int, INT_MAX, AtLeast(1), "The most members of one group."),
    fixed("group.min.session.timeout.ms", Int, "6000", AtLeast(1), "The shortest session timeout that a group's member may ask for."),
    unset("inter.broker.listener.name", String, Any, "The listener that brokers use among themselves.").kept_only(),
    fixed("leader.imbalance.check.interval.seconds", Long, "300", AtLeast(1), "How often the controller looks for preferred replicas that do not lead.").kept_only(),
    fixed("listener.security.protocol.map", String, "PLAINTEXT:PLAINTEXT", Any, "The security protocol of each listener.").kept_only(),
    fixed("listeners", List, "PLAINTEXT://:9092", Any, "The addresses that the broker listens on: here, network.kafka_listen.").kept_only(),
    dynamic("log.cleaner.backoff.ms", Long, "15000", AtLeast(0), "How long compaction rests when there is nothing to do.").kept_only(),
    dynamic("log.cleaner.dedupe.buffer.size", Long, "134217728", Any, "The memory of compaction's key tables.").kept_only(),
    dynamic("log.cleaner.delete.retention.ms", Long, "86400000", AtLeast(0), "How long compaction keeps tombstones.").kept_only(),
    fixed("log.cleaner.enable", Boolean, "true", Any, "Whether compaction runs.").kept_only(),
    dynamic("log.cleaner.io.buffer.load.factor", Double, "0.9", Any, "How full compaction's key tables may be.").kept_only(),
    dynamic("log.cleaner.io.buffer.size", Int, "524288", AtLeast(0), "The memory of compaction's input and output buffers.").kept_only(),
    dynamic("log.cleaner.io.max.bytes.per.second", Double, "1.7976931348623157E308", Any, "The bytes that compaction may move in a second.").kept_only(),
    dynamic("log.cleaner.max.compaction.lag.ms", Long, MAX, AtLeast(1), "The longest that a record may wait for compaction.").kept_only(),
    dynamic("log.cleaner.min.cleanable.ratio", Double, "0.5", Fraction, "The share of a log that must be uncompacted before compaction takes it up.").kept_only(),
    dynamic("log.cleaner.min.compaction.lag.ms", Long, "0", AtLeast(0), "The shortest time for which a record is safe from compaction.").kept_only(),
    dynamic("log.cleaner.threads", Int, "1", AtLeast(0), "The number of compaction threads.").kept_only(),
    dynamic("log.cleanup.policy", List, "delete", ListOf(CLEANUP_POLICIES), "cleanup.policy of topics that set none."),
    fixed("log.dir", String, "/tmp/kafka-logs", Any, "The data folder, if log.dirs is not set.").kept_only(),
    unset("log.dirs", String, Any, "The data folder. It is chosen by --data-dir.").kept_only(),
    dynamic("log.flush.interval.messages", Long, MAX, AtLeast(1), "The number of records between syncs. Every acknowledged record is synced anyway.").kept_only(),
    unset("log.flush.interval.ms", Long, AtLeast(0), "The time between syncs. Every acknowledged record is synced anyway.").dynamic().kept_only(),
    fixed("log.flush.offset.checkpoint.interval.ms", Int, "60000", AtLeast(0), "How often the recovery point is written.").kept_only(),
    fixed("log.flush.scheduler.interval.ms", Long, MAX, Any, "How often logs are looked at for syncing.").kept_only(),
    fixed("log.flush.start.offset.checkpoint.interval.ms", Int, "60000", AtLeast(0), "How often the log start is written. A new log start is synced before it is answered.").kept_only(),
    dynamic("log.index.interval.bytes", Int, "4096", AtLeast(0), "The bytes between two entries of an offset index.").kept_only(),
    dynamic("log.index.size.max.bytes", Int, "10485760", AtLeast(4), "The largest size of an index file.").kept_only(),
    dynamic("log.local.retention.bytes", Long, "-2", AtLeast(-2), "local.retention.bytes of topics that set none.").kept_only(),
    dynamic("log.local.retention.ms", Long, "-2", AtLeast(-2), "local.retention.ms of topics that set none.").kept_only(),
    dynamic("log.message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), "message.timestamp.after.max.ms of topics that set none."),
    dynamic("log.message.timestamp.before.max.ms", Long, MAX, AtLeast(0), "message.timestamp.before.max.ms of topics that set none."),
    dynamic("log.message.timestamp.type", String, "CreateTime", OneOf(TIMESTAMP_TYPES), "message.timestamp.type of topics that set none."),
    dynamic("log.preallocate", Boolean, "false", Any, "Whether log files are allocated ahead. The write-ahead log always is.").kept_only(),
    dynamic("log.retention.bytes", Long, "-1", Any, "retention.bytes of topics that set none."),
    fixed("log.retention.check.interval.ms", Long, "300000", AtLeast(1), "How often old records are looked for."),
    fixed("log.retention.hours", Int, "168", Any, "retention.ms of topics that set none, in hours; log.retention.minutes and .ms take precedence."),
    unset("log.retention.minutes", Int, Any, "retention.ms of topics that set none, in minutes; log.retention.ms takes precedence."),
    unset("log.retention.ms", Long, AtLeast(-1), "retention.ms of topics that set none.").dynamic(),
    fixed("log.roll.hours", Int, "168", AtLeast(1), "segment.ms of topics that set none, in hours.").kept_only(),
    fixed("log.roll.jitter.hours", Int, "0", AtLeast(0), "segment.jitter.ms of topics that set none, in hours.").kept_only(),
    unset("log.roll.jitter.ms", Long, AtLeast(0), "segment.jitter.ms of topics that set none.").dynamic().kept_only(),
    unset("log.roll.ms", Long, AtLeast(1), "segment.ms of topics that set none.").dynamic().kept_only(),
    dynamic("log.segment.bytes", Int, "1073741824", AtLeast(1_048_576), "segment.bytes of topics that set none.").kept_only(),
    dynamic("log.segment.delete.delay.ms", Long, "60000", AtLeast(0), "How long a deleted log file stays on disk.").kept_only(),
    dynamic("max.connection.creation.rate", Int, INT_MAX, AtLeast(0), "The most connections that are taken in a second.").kept_only(),
    dynamic("max.connections", Int, INT_MAX, AtLeast(0), "The most connections at a time."),
    dynamic("max.connections.per.ip", Int, INT_MAX, AtLeast(0), "The most connections at a time from one address.").kept_only(),
    dynamic("max.connections.per.ip.overrides", String, "", Any, "Exceptions to max.connections.per.ip.").kept_only(),
    fixed("max.incremental.fetch.session.cache.slots", Int, "1000", AtLeast(0), "The most fetch sessions at a time."),
    fixed("max.request.partition.size.limit", Int, "2000", AtLeast(1), "The most partitions that one DescribeTopicPartitions response describes."),
    dynamic("message.max.bytes", Int, "1048588", AtLeast(0), "max.message.bytes of topics that set none."),
    fixed("metrics.num.samples", Int, "2", AtLeast(1), "The number of samples behind a metric.").kept_only(),
    fixed("metrics.recording.level", String, "INFO", OneOf(&["INFO", "DEBUG", "TRACE"]), "How detailed metrics are.").kept_only(),
    fixed("metrics.sample.window.ms", Long, "30000", AtLeast(1), "The time that one sample of a metric covers.").kept_only(),
    dynamic("min.insync.replicas", Int, "1", AtLeast(1), "min.insync.replicas of topics that set none."),
    unset("node.id", Int, AtLeast(0), "The broker's numeric id, which the controller gives.").kept_only(),
    dynamic("num.io.threads", Int, "8", AtLeast(1), "The number of threads for requests.").kept_only(),
    dynamic("num.network.threads", Int, "3", AtLeast(1), "The number of threads for sockets.").kept_only(),
    fixed("num.partitions", Int, "1", AtLeast(1), "The number of partitions of a topic that asks for none."),
    dynamic("num.recovery.threads.per.data.dir", Int, "2", AtLeast(1), "The number of threads for recovery.").kept_only(),
    dynamic("num.replica.fetchers", Int, "1", AtLeast(1), "The number of threads that follow other brokers.").kept_only(),
    fixed("offset.metadata.max.bytes", Int, "4096", Any, "The most bytes of metadata that an offset commit may carry."),
    fixed("offsets.commit.timeout.ms", Int, "5000", AtLeast(1), "How long an offset commit waits for its replicas.").kept_only(),
    fixed("offsets.load.buffer.size", Int, "5242880", AtLeast(1), "How much is read at a time when committed offsets are loaded.").kept_only(),
    fixed("offsets.retention.check.interval.ms", Long, "600000", AtLeast(1), "How often expired offsets are looked for."),
    fixed("offsets.retention.minutes", Int, "10080", AtLeast(1), "How long the offsets of a group are kept after it became empty."),
    fixed("offsets.topic.compression.codec", Int, "0", Any, "The codec of the committed offsets' own topic.").kept_only(),
    fixed("offsets.topic.num.partitions", Int, "50", AtLeast(1), "The number of partitions of the committed offsets' own topic, when it is created."),
    fixed("offsets.topic.replication.factor", Short, "3", AtLeast(1), "The number of replicas of the committed offsets' own topic, when it is created."),
    fixed("offsets.topic.segment.bytes", Int, "104857600", AtLeast(1), "The size of a log file of the committed offsets' own topic.").kept_only(),
    fixed("process.roles", List, "", ListOf(&["broker", "controller"]), "The roles of the process.").kept_only(),
    dynamic("producer.id.expiration.ms", Int, "86400000", AtLeast(1), "How long an idle idempotent producer is remembered."),
    fixed("queued.max.request.bytes", Long, "-1", Any, "The most bytes of requests that wait; -1 is no limit.").kept_only(),
    fixed("queued.max.requests", Int, "500", AtLeast(1), "The most requests that wait for a thread.").kept_only(),
    fixed("quota.window.num", Int, "11", AtLeast(1), "The number of samples behind a quota.").kept_only(),
    fixed("quota.window.size.seconds", Int, "1", AtLeast(1), "The time that one sample of a quota covers.").kept_only(),
    fixed("replica.lag.time.max.ms", Long, "30000", Any, "How long a replica may lag before it leaves the ISR.").kept_only(),
    fixed("request.timeout.ms", Int, "30000", Any, "How long a request of a broker to another waits.").kept_only(),
    fixed("socket.listen.backlog.size", Int, "50", AtLeast(1), "The most connections that wait to be taken.").kept_only(),
    fixed("socket.receive.buffer.bytes", Int, "102400", Any, "The size of a socket's receive buffer.").kept_only(),
    fixed("socket.request.max.bytes", Int, "104857600", AtLeast(1), "The largest request that is taken."),
    fixed("socket.send.buffer.bytes", Int, "102400", Any, "The size of a socket's send buffer.").kept_only(),
    fixed("transaction.max.timeout.ms", Int, "900000", AtLeast(1), "The longest timeout that a transaction may ask for.").kept_only(),
    fixed("transaction.state.log.num.partitions", Int, "50", AtLeast(1), "The number of partitions of the transactions' own topic.").kept_only(),
    fixed("transaction.state.log.replication.factor", Short, "3", AtLeast(1), "The number of replicas of the transactions' own topic.").kept_only(),
    fixed("transactional.id.expiration.ms", Int, "604800000", AtLeast(1), "How long an idle transactional id is remembered.").kept_only(),
    dynamic("unclean.leader.election.enable", Boolean, "false", Any, "Whether a replica that lacks acknowledged records may lead when no other can.").kept_only(),
];
