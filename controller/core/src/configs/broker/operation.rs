//! Broker-wide configs of metrics, quotas and plugins.

use super::{config, unset};
use crate::configs::entry::ConfigEntry;
use crate::configs::entry::ConfigKind::{Class, Int, List, Long, String};
use crate::configs::rule::Rule::{Any, AtLeast, OneOf};

#[rustfmt::skip]
pub(super) const ENTRIES: &[ConfigEntry] = &[
    unset("client.quota.callback.class", Class, Any, "").absent(),
    config("config.providers", List, "", Any, "").dynamic().absent(),
    config("kafka.metrics.polling.interval.secs", Int, "10", Any, "").kept_only(),
    config("kafka.metrics.reporters", List, "", Any, "").absent(),
    config("metric.reporters", List, "org.apache.kafka.common.metrics.JmxReporter", Any, "").dynamic().absent(),
    config("metrics.num.samples", Int, "2", AtLeast(1), "The number of samples behind a metric.").kept_only(),
    config("metrics.recording.level", String, "INFO", OneOf(&["INFO", "DEBUG", "TRACE"]), "How detailed metrics are.").kept_only(),
    config("metrics.sample.window.ms", Long, "30000", AtLeast(1), "The time that one sample of a metric covers.").kept_only(),
    config("quota.window.num", Int, "11", AtLeast(1), "The number of samples behind a quota.").kept_only(),
    config("quota.window.size.seconds", Int, "1", AtLeast(1), "The time that one sample of a quota covers.").kept_only(),
    config("telemetry.max.bytes", Int, "1048576", Any, "").kept_only(),
];
