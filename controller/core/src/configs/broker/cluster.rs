//! Broker-wide configs of the broker in its cluster: identity, roles, the metadata quorum, and
//! defaults of new topics.

use super::{config, unset};
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Boolean, Class, Int, List, Long, String};
use crate::configs::rule::Rule::{Any, AtLeast, ListOf};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    unset("alter.config.policy.class.name", Class, Any, "").absent(),
    config("auto.create.topics.enable", Boolean, "true", Any, "Whether asking for the metadata of an unknown topic creates it."),
    config("broker.heartbeat.interval.ms", Int, "2000", AtLeast(1), "The time between a broker's heartbeats to the controller.").kept_only(),
    unset("broker.id", Int, AtLeast(-1), "The broker's numeric id, which the controller gives.").worked_out(),
    unset("broker.rack", String, Any, "The rack that the broker says it is in.").ruled_by("broker.rack_id"),
    config("broker.session.timeout.ms", Int, "9000", AtLeast(1), "The silence after which the controller fences a broker.").kept_only(),
    config("controlled.shutdown.enable", Boolean, "true", Any, "Whether a broker hands its leaderships over before it stops.").kept_only(),
    unset("controller.listener.names", List, Any, "").absent(),
    config("controller.quorum.append.linger.ms", Int, "25", Any, "").kept_only(),
    config("controller.quorum.auto.join.enable", Boolean, "false", Any, "").absent(),
    config("controller.quorum.bootstrap.servers", List, "", Any, "").absent(),
    config("controller.quorum.election.backoff.max.ms", Int, "1000", Any, "").kept_only(),
    config("controller.quorum.election.timeout.ms", Int, "1000", Any, "").kept_only(),
    config("controller.quorum.fetch.max.bytes", Int, "1048576", Any, "").kept_only(),
    config("controller.quorum.fetch.snapshot.max.bytes", Int, "1048576", Any, "").kept_only(),
    config("controller.quorum.fetch.timeout.ms", Int, "2000", Any, "").kept_only(),
    config("controller.quorum.request.timeout.ms", Int, "2000", Any, "").kept_only(),
    config("controller.quorum.retry.backoff.ms", Int, "20", Any, "").kept_only(),
    config("controller.quorum.voters", List, "", Any, "").absent(),
    config("controller.quota.window.num", Int, "11", Any, "").kept_only(),
    config("controller.quota.window.size.seconds", Int, "1", Any, "").kept_only(),
    config("controller.socket.timeout.ms", Int, "30000", Any, "").kept_only(),
    unset("create.topic.policy.class.name", Class, Any, "").absent(),
    config("default.replication.factor", Int, "1", AtLeast(1), "The number of replicas of a topic that asks for none."),
    config("delete.topic.enable", Boolean, "true", Any, "Whether topics can be deleted."),
    unset("early.start.listeners", List, Any, "").absent(),
    config("initial.broker.registration.timeout.ms", Int, "60000", Any, "").kept_only(),
    config("max.request.partition.size.limit", Int, "2000", AtLeast(1), "The most partitions that one DescribeTopicPartitions response describes."),
    unset("metadata.log.dir", String, Any, "").absent(),
    config("metadata.log.max.record.bytes.between.snapshots", Long, "20971520", Any, "").kept_only(),
    config("metadata.log.max.snapshot.interval.ms", Long, "3600000", Any, "").kept_only(),
    config("metadata.log.segment.bytes", Int, "1073741824", Any, "").kept_only(),
    config("metadata.log.segment.ms", Long, "604800000", Any, "").kept_only(),
    config("metadata.max.idle.interval.ms", Int, "500", Any, "").kept_only(),
    config("metadata.max.retention.bytes", Long, "104857600", Any, "").kept_only(),
    config("metadata.max.retention.ms", Long, "604800000", Any, "").kept_only(),
    unset("node.id", Int, AtLeast(0), "The broker's numeric id, which the controller gives.").worked_out(),
    config("num.partitions", Int, "1", AtLeast(1), "The number of partitions of a topic that asks for none."),
    config("process.roles", List, "broker,controller", ListOf(&["broker", "controller"]), "The roles of the process: it is broker and controller in one.").worked_out(),
];
