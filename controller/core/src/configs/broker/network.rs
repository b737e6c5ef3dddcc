//! Broker-wide configs of listeners, connections and requests.

use super::{INT_MAX, config, unset};
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Int, List, Long, String};
use crate::configs::rule::Rule::{AddressCounts, Any, AtLeast};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    unset("advertised.listeners", List, Any, "The addresses that clients are told to dial; none if each is told the address that it has reached.").ruled_by("network.kafka_advertised"),
    config("connections.max.idle.ms", Long, "600000", Any, "How long a connection may be silent before it is closed."),
    config("fetch.max.bytes", Int, "57671680", AtLeast(1024), "The most bytes that one fetch response carries."),
    config("fetch.purgatory.purge.interval.requests", Int, "1000", Any, "How often finished fetch requests are swept.").kept_only(),
    config("listener.security.protocol.map", String, "PLAINTEXT:PLAINTEXT", Any, "The security protocol of each listener.").worked_out(),
    unset("listeners", List, Any, "The addresses that the broker listens on.").ruled_by("network.kafka_listen"),
    config("max.connection.creation.rate", Int, INT_MAX, AtLeast(1), "The most connections that are taken in a second.").dynamic().kept_only(),
    config("max.connections", Int, INT_MAX, AtLeast(1), "The most connections at a time.").dynamic(),
    config("max.connections.per.ip", Int, INT_MAX, AtLeast(0), "The most connections at a time from one address. 0 holds beside overrides that let some address connect; else it is no limit.").dynamic(),
    config("max.connections.per.ip.overrides", String, "", AddressCounts, "Exceptions to max.connections.per.ip: a list of address:count. Host names are not looked up.").dynamic(),
    config("max.incremental.fetch.session.cache.slots", Int, "1000", AtLeast(0), "The most fetch sessions at a time."),
    unset("num.io.threads", Int, AtLeast(1), "The number of threads that own partitions and write.").ruled_by("engine.shards"),
    unset("num.network.threads", Int, AtLeast(1), "The number of threads for connections: one for each processor that no shard needs.").worked_out(),
    config("producer.purgatory.purge.interval.requests", Int, "1000", Any, "").kept_only(),
    config("queued.max.request.bytes", Long, "-1", Any, "The most bytes of requests that wait; -1 is no limit.").kept_only(),
    config("queued.max.requests", Int, "500", AtLeast(1), "The most requests that wait for a thread.").kept_only(),
    config("socket.connection.setup.timeout.max.ms", Long, "30000", Any, "").kept_only(),
    config("socket.connection.setup.timeout.ms", Long, "10000", Any, "").kept_only(),
    config("socket.listen.backlog.size", Int, "1024", AtLeast(1), "The most connections that wait to be taken.").kept_only(),
    config("socket.receive.buffer.bytes", Int, "-1", Any, "The size of a socket's receive buffer; -1 is the system's choice.").kept_only(),
    config("socket.request.max.bytes", Int, "104857600", AtLeast(1), "The largest request that is taken."),
    config("socket.send.buffer.bytes", Int, "-1", Any, "The size of a socket's send buffer; -1 is the system's choice.").kept_only(),
];
