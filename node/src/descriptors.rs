//! File descriptors: raises the process's limit, and bounds Kafka's connections by it. Reserves
//! descriptors for the log and HTTP, so that no number of clients can prevent the log from opening
//! its next segment, or an orchestrator from asking for `/health`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for the metadata store, listeners, runtimes and threads.
const OTHERS: u64 = 128;
/// Descriptors for each slot of the log: one to read, and two for the driver that writes.
const PER_SEGMENT: u64 = 3;
/// The least limit on connections: with fewer descriptors, the start warns and continues.
const CONNECTIONS_MIN: u64 = 64;

/// Raises the soft limit to the hard one, and returns the limit in force. The usual soft limit of
/// 1,024 is meant for programs that use `select`.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The most connections of Kafka clients at a time: the configured number, or the descriptors that
/// the limit leaves beside the log's `segments` and HTTP's `http_max`.
pub fn connections_max(configured: usize, limit: u64, segments: u64, http_max: u64) -> usize {
    let kept = OTHERS + http_max + PER_SEGMENT * segments;
    let left = limit.saturating_sub(kept).max(CONNECTIONS_MIN);
    let allowed = configured.min(usize::try_from(left).unwrap_or(usize::MAX));
    if allowed < configured {
        tracing::warn!(
            limit,
            kept_for_the_log_and_http = kept,
            connections_max = allowed,
            "the limit of open files is too low for network.max_connections: raise it (ulimit -n, LimitNOFILE)"
        );
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::connections_max;

    #[test]
    fn connections_leave_the_log_and_http_their_descriptors() {
        assert_eq!(connections_max(10_000, u64::MAX, 500, 265), 10_000);
        assert_eq!(connections_max(10_000, 4_096, 500, 265), 4_096 - 128 - 265 - 1_500);
        assert_eq!(connections_max(100, 4_096, 500, 265), 100);
        assert_eq!(connections_max(10_000, 1_024, 500, 265), 64);
    }
}
