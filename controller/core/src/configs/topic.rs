//! Topic configs, in the order of their names.

use super::entry::ConfigKind::{Boolean, Double, Int, List, Long, String};
use super::entry::{BrokerSynonym, ConfigEntry, ConfigKind, ScopedConfigEntry, Update, same};
use super::rule::Rule::{self, Any, AtLeast, Between, BetweenOr, Fraction, OneOf, SetOf, ThrottledReplicas};

const MAX: &str = "9223372036854775807";

pub(super) const COMPRESSION_TYPES: &[&str] = &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];
pub(super) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
pub(super) const CLEANUP_POLICIES: &[&str] = &["delete", "compact"];

const fn applied(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    synonyms: &'static [BrokerSynonym],
    text: &'static str,
) -> ScopedConfigEntry {
    let mut entry = ConfigEntry::new(name, kind, Some(default), rule, text);
    entry.update = Update::ClusterWide;
    ScopedConfigEntry { entry, synonyms }
}

const fn kept(
    name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    synonyms: &'static [BrokerSynonym],
    text: &'static str,
) -> ScopedConfigEntry {
    let config = applied(name, kind, default, rule, synonyms, text);
    ScopedConfigEntry { entry: config.entry.kept_only(), ..config }
}

const fn hours(name: &'static str) -> BrokerSynonym {
    BrokerSynonym { name, factor: 3_600_000 }
}

const fn minutes(name: &'static str) -> BrokerSynonym {
    BrokerSynonym { name, factor: 60_000 }
}

/// Every topic config of Apache Kafka 4.4.
#[rustfmt::skip]
pub const TOPIC_CONFIGS: &[ScopedConfigEntry] = &[
    applied("cleanup.policy", List, "delete", SetOf(CLEANUP_POLICIES), &[same("log.cleanup.policy")],
        "What ends old records: 'delete' by age and size, 'compact' by newer records of the same key. Compaction removes nothing yet; \
         a compacted topic refuses records without a key."),
    kept("compression.gzip.level", Int, "-1", BetweenOr(1, 9, -1), &[same("compression.gzip.level")],
        "The level at which a broker would compress with gzip."),
    kept("compression.lz4.level", Int, "9", Between(1, 17), &[same("compression.lz4.level")],
        "The level at which a broker would compress with lz4."),
    kept("compression.type", String, "producer", OneOf(COMPRESSION_TYPES), &[same("compression.type")],
        "The codec of the topic. Batches stay as their producer compressed them, whatever is set."),
    kept("compression.zstd.level", Int, "3", Between(-131_072, 22), &[same("compression.zstd.level")],
        "The level at which a broker would compress with zstd."),
    kept("delete.retention.ms", Long, "86400000", AtLeast(0), &[same("log.cleaner.delete.retention.ms")],
        "How long compaction keeps tombstones."),
    kept("errors.deadletterqueue.group.enable", Boolean, "false", Any, &[],
        "Whether share groups may put records here that they could not deal with."),
    kept("file.delete.delay.ms", Long, "60000", AtLeast(0), &[same("log.segment.delete.delay.ms")],
        "How long a deleted log file stays on disk."),
    kept("flush.messages", Long, MAX, AtLeast(1), &[same("log.flush.interval.messages")],
        "The number of records between syncs. Every acknowledged record is synced anyway."),
    kept("flush.ms", Long, MAX, AtLeast(0), &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "The time between syncs. Every acknowledged record is synced anyway."),
    kept("follower.replication.throttled.replicas", List, "", ThrottledReplicas, &[],
        "The replicas whose catching up is throttled on the follower's side."),
    kept("index.interval.bytes", Int, "4096", AtLeast(0), &[same("log.index.interval.bytes")],
        "The bytes between two entries of an offset index."),
    kept("leader.replication.throttled.replicas", List, "", ThrottledReplicas, &[],
        "The replicas whose catching up is throttled on the leader's side."),
    kept("local.retention.bytes", Long, "-2", AtLeast(-2), &[same("log.local.retention.bytes")],
        "The bytes of a tiered partition that stay on local disks; -2 follows retention.bytes."),
    kept("local.retention.ms", Long, "-2", AtLeast(-2), &[same("log.local.retention.ms")],
        "How long records of a tiered topic stay on local disks; -2 follows retention.ms."),
    kept("max.compaction.lag.ms", Long, MAX, AtLeast(1), &[same("log.cleaner.max.compaction.lag.ms")],
        "The longest that a record may wait for compaction."),
    kept("max.decompressed.message.bytes", Int, "268435456", Between(1, 2_147_483_639), &[same("max.decompressed.message.bytes")],
        "What the records of one batch may decompress to, where the broker looks inside: the same for all topics here."),
    applied("max.message.bytes", Int, "1048588", AtLeast(0), &[same("message.max.bytes")],
        "The largest record batch, as compressed, that the topic takes."),
    applied("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), &[same("log.message.timestamp.after.max.ms")],
        "How far ahead of the broker's clock a producer's timestamp may be."),
    applied("message.timestamp.before.max.ms", Long, MAX, AtLeast(0), &[same("log.message.timestamp.before.max.ms")],
        "How far behind the broker's clock a producer's timestamp may be."),
    applied("message.timestamp.type", String, "CreateTime", OneOf(TIMESTAMP_TYPES), &[same("log.message.timestamp.type")],
        "Whose time a record carries: its producer's (CreateTime) or the broker's on arrival (LogAppendTime)."),
    kept("min.cleanable.dirty.ratio", Double, "0.5", Fraction, &[same("log.cleaner.min.cleanable.ratio")],
        "The share of a log that must be uncompacted before compaction takes it up."),
    kept("min.compaction.lag.ms", Long, "0", AtLeast(0), &[same("log.cleaner.min.compaction.lag.ms")],
        "The shortest time for which a record is safe from compaction."),
    applied("min.insync.replicas", Int, "1", AtLeast(1), &[same("min.insync.replicas")],
        "The number of in-sync replicas without which acks=all is refused; never more than a partition has replicas."),
    kept("preallocate", Boolean, "false", Any, &[same("log.preallocate")],
        "Whether log files are allocated ahead. The write-ahead log always is."),
    kept("remote.copy.lag.bytes", Long, "-1", AtLeast(-1), &[same("log.remote.copy.lag.bytes")],
        "The bytes of a tiered partition that are not copied to remote storage yet."),
    kept("remote.copy.lag.ms", Long, "0", AtLeast(-1), &[same("log.remote.copy.lag.ms")],
        "How long records of a tiered topic wait before they are copied to remote storage."),
    kept("remote.log.copy.disable", Boolean, "false", Any, &[],
        "Whether a tiered topic stops copying to remote storage."),
    kept("remote.log.delete.on.disable", Boolean, "false", Any, &[],
        "Whether turning tiering off deletes what is in remote storage."),
    kept("remote.storage.enable", Boolean, "false", Any, &[],
        "Whether the topic is tiered by Kafka's remote storage."),
    applied("retention.bytes", Long, "-1", Any, &[same("log.retention.bytes")],
        "The bytes that a partition keeps before its oldest records are deleted; -1 is no limit."),
    applied("retention.ms", Long, "604800000", AtLeast(-1),
        &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")],
        "How long records are kept before they are deleted; -1 is for ever."),
    kept("segment.bytes", Int, "1073741824", AtLeast(1_048_576), &[same("log.segment.bytes")],
        "The size of a log file. The write-ahead log has segments of its own, shared by all partitions."),
    kept("segment.index.bytes", Int, "10485760", AtLeast(4), &[same("log.index.size.max.bytes")],
        "The largest size of an index file."),
    kept("segment.jitter.ms", Long, "0", AtLeast(0), &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")],
        "The random part of segment.ms."),
    kept("segment.ms", Long, "604800000", AtLeast(1), &[same("log.roll.ms"), hours("log.roll.hours")],
        "The time after which a log file is closed."),
    kept("unclean.leader.election.enable", Boolean, "false", Any, &[same("unclean.leader.election.enable")],
        "Whether a replica that lacks acknowledged records may lead when no other can."),
];
