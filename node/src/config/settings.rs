//! The list of settings: the one place that knows a name, its form, its default and its bounds.

/// The form of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    /// `IP:PORT`.
    Address,
    /// `HOST:PORT`.
    HostPort,
    /// Bytes: a number, or a number with KiB, MiB, GiB, TiB; at least and at most.
    Size(u64, u64),
    /// A whole number, at least and at most.
    Count(u64, u64),
    /// Milliseconds: a number, or text with `ms`, `s`, `m`, `h`; at least and at most.
    Duration(u64, u64),
    Flag,
    Choice(&'static [&'static str]),
}

/// One setting. None can be changed while the process runs; restart to change one.
#[derive(Debug)]
pub struct Setting {
    /// `section.key`, as in the file; a name without a section stands at the file's head.
    pub name: &'static str,
    pub form: Form,
    /// The default as one would write it; `None` where the process works it out (the documentation
    /// says how).
    pub default: Option<&'static str>,
    /// Environment names beside `RUSTMQ_<SECTION>_<KEY>`.
    pub aliases: &'static [&'static str],
    pub documentation: &'static str,
}

const fn setting(
    name: &'static str,
    form: Form,
    default: Option<&'static str>,
    documentation: &'static str,
) -> Setting {
    Setting { name, form, default, aliases: &[], documentation }
}

impl Setting {
    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The environment variable that sets it.
    pub fn environment_name(&self) -> String {
        format!("RUSTMQ_{}", self.name.replace('.', "_").to_uppercase())
    }
}

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

pub const SETTINGS: &[Setting] = &[
    setting(
        "data_dir",
        Form::Text,
        Some("./rustmq-data"),
        "The folder that holds everything the process stores. Made if it is not there.",
    ),
    setting(
        "broker.id",
        Form::Text,
        Some("rustmq"),
        "The broker's name. Its numeric id is given at first registration and never reused.",
    ),
    setting("broker.rack_id", Form::Text, None, "The rack or zone that clients see in metadata. None if not set.")
        .alias(&["RUSTMQ_RACK_ID"]),
    setting("network.kafka_listen", Form::Address, Some("0.0.0.0:9092"), "Where Kafka clients connect (TCP)."),
    setting(
        "network.kafka_advertised",
        Form::HostPort,
        None,
        "The address that clients are told to dial. Not set: the address at which each connection arrived, which suits one machine and one network.",
    ),
    setting(
        "network.http_listen",
        Form::Address,
        Some("0.0.0.0:9642"),
        "Where /health, /ready and /metrics answer (HTTP), whatever Kafka's clients do: to 256 connections at a time, 64 of which are for /metrics. One more takes the place of one that is slow, or is closed at once.",
    ),
    setting(
        "network.max_connections",
        Form::Count(1, 1_000_000),
        Some("10000"),
        "The most Kafka connections at a time; one more is closed at once. Fewer where the limit of open files leaves fewer beside the log and HTTP: the start warns.",
    )
    .alias(&["RUSTMQ_MAX_CONNECTIONS"]),
    setting("wal.path", Form::Text, None, "The write-ahead log's folder. Not set: `wal` in the data folder. It belongs to one data folder, and is refused to any other.")
        .alias(&["RUSTMQ_WAL_PATH"]),
    setting(
        "wal.capacity_bytes",
        Form::Size(96 * MIB, 64 * TIB),
        None,
        "The most bytes of disk that the write-ahead log takes, at least six segments for each shard. Not set: half of what was free when the data folder was made. At capacity, produce is refused with a retriable storage error until retention, DeleteRecords or topic deletion frees segments.",
    ),
    setting(
        "wal.segment_size_bytes",
        Form::Size(16 * MIB, 4096 * MIB - MIB),
        Some("64MiB"),
        "The size of a segment file. Fixed when the data folder is made. `message.max.bytes` must not pass half of it.",
    ),
    setting(
        "wal.fsync_on_write",
        Form::Flag,
        Some("true"),
        "Whether an acknowledgement waits for the sync. `false` trades durability for speed: a power cut loses acknowledged records.",
    ),
    setting(
        "cache.write_cache_size_bytes",
        Form::Size(16 * MIB, TIB),
        None,
        "The most memory for the log's tail, from which live readers are served. Taken as needed, and kept. Not set: an eighth of the memory of the machine, or of the cgroup that limits it, at least 128 MiB; while less than a tenth of that memory is available, half of what the tail takes is given back each second, down to 16 MiB, and may be taken again once a fifth is available. A size that is set is fixed.",
    )
    .alias(&["RUSTMQ_CACHE_SIZE"]),
    setting(
        "engine.shards",
        Form::Count(1, 256),
        None,
        "Threads that own partitions and write. Not set: half the processors, at least one.",
    ),
    setting(
        "engine.driver",
        Form::Choice(&["auto", "io_uring", "epoll"]),
        Some("auto"),
        "How shards wait, and make the commits that are large or go to a slow disk. `auto` takes io_uring where the kernel allows it, and says which it took.",
    ),
    setting("engine.read_threads", Form::Count(1, 64), Some("3"), "Threads that read what has left memory; all but one of several may read ahead."),
    setting(
        "produce.check_compressed_records",
        Form::Flag,
        Some("true"),
        "Whether the records of compressed batches are decompressed and looked over when they are produced, as Kafka does; those of others always are. `false` saves that time, and lets a producer that writes broken ones stop the consumers of its topic there.",
    ),
    setting(
        "operations.graceful_shutdown_timeout_ms",
        Form::Duration(0, 3_600_000),
        Some("30000"),
        "How long a shutdown waits for requests in flight; and then, but at least 10 s each, for the last writes of the broker, the log and the metadata.",
    ),
    setting(
        "operations.exit_on_failure",
        Form::Flag,
        Some("false"),
        "Whether the process ends by itself, with exit status 1, after a failure that only a restart mends: a write or sync of the log that failed, metadata that cannot be stored, a panic of a thread or task that others depend on. Requests in flight are answered first. `false`: it goes on, serves what can still be read, and says so in /ready, /health and the metric `rustmq_failed`; a later shutdown then ends with status 1.",
    ),
    setting(
        "log.level",
        Form::Text,
        Some("info"),
        "What is logged: error, warn, info, debug, trace, or a filter such as `info,rustmq_kafka_gateway=debug`.",
    )
    .alias(&["RUSTMQ_LOG_LEVEL"]),
    setting(
        "log.format",
        Form::Choice(&["text", "json"]),
        Some("text"),
        "How log lines are written, on standard error.",
    ),
];

pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

impl Form {
    /// The form in words, for messages and the reference page.
    pub fn describe(self) -> String {
        let size = |bytes: u64| rustmq_model::ByteSize(bytes).to_string();
        match self {
            Self::Text => "text".to_owned(),
            Self::Address => "an address such as \"0.0.0.0:9092\"".to_owned(),
            Self::HostPort => "a host and port such as \"broker.example.com:9092\"".to_owned(),
            Self::Size(least, most) => format!("a size from {} to {}, such as \"64MiB\"", size(least), size(most)),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Duration(least, most) => format!("milliseconds from {least} to {most}, or text such as \"30s\""),
            Self::Flag => "true or false".to_owned(),
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
        }
    }
}
