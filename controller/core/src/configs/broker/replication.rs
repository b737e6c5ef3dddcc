//! Broker-wide configs of replicas and leaders.

use super::{config, unset};
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Boolean, Int, Long, String};
use crate::configs::rule::Rule::{Any, AtLeast};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    config("auto.leader.rebalance.enable", Boolean, "true", Any, "Whether leadership returns to preferred replicas by itself.").kept_only(),
    unset("inter.broker.listener.name", String, Any, "The listener that brokers use among themselves.").kept_only(),
    config("leader.imbalance.check.interval.seconds", Long, "300", AtLeast(1), "How often the controller looks for preferred replicas that do not lead.").kept_only(),
    config("min.insync.replicas", Int, "1", AtLeast(1), "min.insync.replicas of topics that set none.").dynamic(),
    config("num.replica.fetchers", Int, "1", AtLeast(1), "The number of threads that follow other brokers.").dynamic().kept_only(),
    config("replica.fetch.backoff.ms", Int, "1000", Any, "").kept_only(),
    config("replica.fetch.max.bytes", Int, "1048576", Any, "").kept_only(),
    config("replica.fetch.min.bytes", Int, "1", Any, "").kept_only(),
    config("replica.fetch.response.max.bytes", Int, "10485760", Any, "").kept_only(),
    config("replica.fetch.wait.max.ms", Int, "500", Any, "").kept_only(),
    config("replica.high.watermark.checkpoint.interval.ms", Long, "5000", Any, "").kept_only(),
    config("replica.lag.time.max.ms", Long, "30000", Any, "How long a replica may lag before it leaves the ISR.").kept_only(),
    unset("replica.selector.class", String, Any, "").absent(),
    config("replica.socket.receive.buffer.bytes", Int, "65536", Any, "").kept_only(),
    config("replica.socket.timeout.ms", Int, "30000", Any, "").kept_only(),
    config("replication.quota.window.num", Int, "11", Any, "").kept_only(),
    config("replication.quota.window.size.seconds", Int, "1", Any, "").kept_only(),
    config("request.timeout.ms", Int, "30000", Any, "How long a request of a broker to another waits.").kept_only(),
    config("unclean.leader.election.enable", Boolean, "false", Any, "Whether a replica that lacks acknowledged records may lead when no other can.").dynamic().kept_only(),
];
