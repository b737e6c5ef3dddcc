//! The contenders: RustMQ, Apache Kafka, their variants, and the fake broker inside the bench
//! process, which shows the limit of the load generator. Defines their names and settings; `broker`
//! starts them.

use clap::ValueEnum;

/// One broker, as it is set up for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Contender {
    /// The shipped defaults: each acknowledgement waits for a sync.
    Rustmq,
    /// RustMQ of another commit, with the same settings.
    Base,
    /// The shipped defaults, without io_uring.
    RustmqEpoll,
    /// Apache Kafka's defaults: nothing is synced.
    Kafka,
    /// Apache Kafka with a sync for each batch.
    KafkaFlush,
    /// librdkafka's mock cluster: the load generator's floor.
    Floor,
}

impl Contender {
    pub fn name(self) -> &'static str {
        match self {
            Contender::Rustmq => "rustmq",
            Contender::Base => "base",
            Contender::RustmqEpoll => "rustmq-epoll",
            Contender::Kafka => "kafka",
            Contender::KafkaFlush => "kafka-flush",
            Contender::Floor => "floor",
        }
    }

    /// The heading of its column.
    pub fn title(self) -> &'static str {
        match self {
            Contender::Rustmq => "RustMQ",
            Contender::Base => "RustMQ, base",
            Contender::RustmqEpoll => "RustMQ, epoll",
            Contender::Kafka => "Kafka",
            Contender::KafkaFlush => "Kafka, flush=1",
            Contender::Floor => "generator's floor",
        }
    }

    pub fn syncs(self) -> &'static str {
        match self {
            Contender::Rustmq | Contender::Base | Contender::RustmqEpoll => "each acknowledgement waits for a sync",
            Contender::Kafka => "its default: no sync before an acknowledgement",
            Contender::KafkaFlush => "log.flush.interval.messages=1: each batch is synced",
            Contender::Floor => "none: a fake broker in the bench process, memory only",
        }
    }
}
