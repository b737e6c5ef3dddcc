//! Broker-wide configs of transactions and idempotent producers.

use super::config;
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Boolean, Int, Short};
use crate::configs::rule::Rule::{Any, AtLeast};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    config("add.partitions.to.txn.retry.backoff.max.ms", Int, "100", Any, "").kept_only(),
    config("add.partitions.to.txn.retry.backoff.ms", Int, "20", Any, "").kept_only(),
    config("producer.id.expiration.ms", Int, "86400000", AtLeast(1), "How long an idle idempotent producer is remembered.").dynamic(),
    config("transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, "10000", Any, "").kept_only(),
    config("transaction.max.timeout.ms", Int, "900000", AtLeast(1), "The longest timeout that a producer may state for its transactions."),
    config("transaction.partition.verification.enable", Boolean, "true", Any, "").dynamic().kept_only(),
    config("transaction.remove.expired.transaction.cleanup.interval.ms", Int, "3600000", AtLeast(1), "How often expired transactional ids are looked for."),
    config("transaction.state.log.load.buffer.size", Int, "5242880", Any, "").kept_only(),
    config("transaction.state.log.min.isr", Int, "2", Any, "").kept_only(),
    config("transaction.state.log.num.partitions", Int, "50", AtLeast(1), "The number of partitions of the transactions' own topic, when it is created."),
    config("transaction.state.log.replication.factor", Short, "3", AtLeast(1), "The number of replicas of the transactions' own topic, when it is created."),
    config("transaction.state.log.segment.bytes", Int, "104857600", Any, "").kept_only(),
    config("transaction.two.phase.commit.enable", Boolean, "false", Any, "").absent(),
    config("transactional.id.expiration.ms", Int, "604800000", AtLeast(1), "How long an idle transactional id is remembered."),
];
