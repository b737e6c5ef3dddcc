//! Broker-wide configs of consumer groups and committed offsets.

use super::{INT_MAX, config};
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Int, List, Long, Short};
use crate::configs::rule::Rule::{Any, AtLeast};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    config("group.coordinator.append.linger.ms", Int, "-1", Any, "").kept_only(),
    config("group.coordinator.background.threads", Int, "2", Any, "").kept_only(),
    config("group.coordinator.cached.buffer.max.bytes", Int, "1048588", AtLeast(524_288), "").dynamic().kept_only(),
    config("group.coordinator.rebalance.protocols", List, "classic,consumer", Any, "The protocols by which groups can be joined.").kept_only(),
    config("group.coordinator.threads", Int, "4", Any, "").kept_only(),
    config("group.initial.rebalance.delay.ms", Int, "3000", AtLeast(0), "How long an empty group waits for more members before its first rebalance."),
    config("group.max.session.timeout.ms", Int, "1800000", AtLeast(1), "The longest session timeout that a group's member may ask for."),
    config("group.max.size", Int, INT_MAX, AtLeast(1), "The most members of one group."),
    config("group.min.session.timeout.ms", Int, "6000", AtLeast(1), "The shortest session timeout that a group's member may ask for."),
    config("offset.metadata.max.bytes", Int, "4096", Any, "The most bytes of metadata that an offset commit may carry."),
    config("offsets.commit.timeout.ms", Int, "5000", AtLeast(1), "How long an offset commit waits for its replicas.").kept_only(),
    config("offsets.load.buffer.size", Int, "5242880", AtLeast(1), "How much is read at a time when committed offsets are loaded.").kept_only(),
    config("offsets.retention.check.interval.ms", Long, "600000", AtLeast(1), "How often expired offsets are looked for."),
    config("offsets.retention.minutes", Int, "10080", AtLeast(1), "How long the offsets of a group are kept after it became empty."),
    config("offsets.topic.compression.codec", Int, "0", Any, "The codec of the committed offsets' own topic.").kept_only(),
    config("offsets.topic.num.partitions", Int, "50", AtLeast(1), "The number of partitions of the committed offsets' own topic, when it is created."),
    config("offsets.topic.replication.factor", Short, "3", AtLeast(1), "The number of replicas of the committed offsets' own topic, when it is created."),
    config("offsets.topic.segment.bytes", Int, "104857600", AtLeast(1), "The size of a log file of the committed offsets' own topic.").kept_only(),
];
