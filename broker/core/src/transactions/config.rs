//! The settings of the transaction coordinator. They are resolved and bounded: the caller that
//! builds them checks each value.
//!
//! The defaults are those of Apache Kafka 4.4 where Kafka has the setting. The process parses the
//! names of settings.

use std::time::Duration;

/// The settings that hold for all transactional ids of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: the longest timeout that a producer may state. Default 15 min.
    pub timeout_max: Duration,
    /// `transactional.id.expiration.ms`: an id without a transaction that nothing has changed for
    /// this long is forgotten. Default 7 days.
    pub id_expiration: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`: the time between two searches
    /// for such ids. Default 1 h.
    pub id_expiration_check_interval: Duration,
    /// The longest wait of a request for markers that are on their way, and for a producer id: well
    /// under the request timeouts of clients. Default 5 s.
    pub request_wait_max: Duration,
    /// The largest record of the log. A transaction whose record would be larger gets no more
    /// partitions. The topic's `max.message.bytes` when the coordinator loads.
    pub record_bytes_max: usize,
    /// The most bytes of all transactional ids, their partitions, and the requests that wait. A
    /// request that would need more is refused as retriable. Default 256 MiB.
    pub memory_bytes_max: usize,
    /// The pause before markers are sent again that could not be written, and before a record is
    /// appended again. It doubles up to `retry_pause_max`. Default 50 ms.
    pub retry_pause_min: Duration,
    /// Default 5 s.
    pub retry_pause_max: Duration,
    /// The pause before the controller is asked again for producer ids, after it had none. Default
    /// 500 ms.
    pub producer_id_pause: Duration,
    /// The time after which a task is taken for lost, and started again. Default 30 s.
    pub task_timeout: Duration,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            timeout_max: Duration::from_secs(15 * 60),
            id_expiration: Duration::from_secs(7 * 24 * 60 * 60),
            id_expiration_check_interval: Duration::from_secs(60 * 60),
            request_wait_max: Duration::from_secs(5),
            record_bytes_max: 1 << 20,
            memory_bytes_max: 256 << 20,
            retry_pause_min: Duration::from_millis(50),
            retry_pause_max: Duration::from_secs(5),
            producer_id_pause: Duration::from_millis(500),
            task_timeout: Duration::from_secs(30),
        }
    }
}
