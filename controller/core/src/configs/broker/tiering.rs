//! Broker-wide configs of Kafka's remote storage, which RustMQ does not have.

use super::{MAX, config, unset};
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Boolean, Int, Long, String};
use crate::configs::rule::Rule::{Any, AtLeast};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    config("follower.fetch.last.tiered.offset.enable", Boolean, "false", Any, "").dynamic().absent(),
    config("log.local.retention.bytes", Long, "-2", AtLeast(-2), "local.retention.bytes of topics that set none.").dynamic().kept_only(),
    config("log.local.retention.ms", Long, "-2", AtLeast(-2), "local.retention.ms of topics that set none.").dynamic().kept_only(),
    config("log.remote.copy.lag.bytes", Long, "-1", AtLeast(-1), "").dynamic().absent(),
    config("log.remote.copy.lag.ms", Long, "0", AtLeast(-1), "").dynamic().absent(),
    config("remote.fetch.max.wait.ms", Int, "500", AtLeast(1), "").dynamic().absent(),
    config("remote.list.offsets.request.timeout.ms", Long, "30000", AtLeast(1), "").dynamic().absent(),
    config("remote.log.index.file.cache.total.size.bytes", Long, "1073741824", AtLeast(1), "").dynamic().absent(),
    config("remote.log.manager.copier.thread.pool.size", Int, "10", AtLeast(1), "").dynamic().absent(),
    config("remote.log.manager.copy.max.bytes.per.second", Long, MAX, AtLeast(1), "").dynamic().absent(),
    config("remote.log.manager.copy.quota.window.num", Int, "11", Any, "").absent(),
    config("remote.log.manager.copy.quota.window.size.seconds", Int, "1", Any, "").absent(),
    config("remote.log.manager.expiration.thread.pool.size", Int, "10", AtLeast(1), "").dynamic().absent(),
    config("remote.log.manager.fetch.max.bytes.per.second", Long, MAX, AtLeast(1), "").dynamic().absent(),
    config("remote.log.manager.fetch.quota.window.num", Int, "11", Any, "").absent(),
    config("remote.log.manager.fetch.quota.window.size.seconds", Int, "1", Any, "").absent(),
    config("remote.log.manager.follower.thread.pool.size", Int, "2", AtLeast(1), "").dynamic().absent(),
    config("remote.log.manager.task.interval.ms", Long, "30000", Any, "").absent(),
    config("remote.log.manager.thread.pool.size", Int, "2", Any, "").absent(),
    config("remote.log.metadata.custom.metadata.max.bytes", Int, "128", Any, "").absent(),
    config("remote.log.metadata.manager.class.name", String, "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", Any, "").absent(),
    unset("remote.log.metadata.manager.class.path", String, Any, "").absent(),
    config("remote.log.metadata.manager.impl.prefix", String, "rlmm.config.", Any, "").absent(),
    unset("remote.log.metadata.manager.listener.name", String, Any, "").absent(),
    config("remote.log.reader.max.pending.tasks", Int, "100", Any, "").absent(),
    config("remote.log.reader.threads", Int, "10", AtLeast(1), "").dynamic().absent(),
    unset("remote.log.storage.manager.class.name", String, Any, "").absent(),
    unset("remote.log.storage.manager.class.path", String, Any, "").absent(),
    config("remote.log.storage.manager.impl.prefix", String, "rsm.config.", Any, "").absent(),
    config("remote.log.storage.system.enable", Boolean, "false", Any, "").absent(),
];
