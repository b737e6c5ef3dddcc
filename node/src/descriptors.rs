//! File descriptors: as many as the system lets the process have, and how many of them connections
//! may take. What the log needs is kept back, so that clients, however many come, cannot keep it
//! from its next segment.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For the metadata store, HTTP, listeners, runtimes and threads.
const OTHERS: u64 = 256;
/// Each slot of the log: one to read, two for the driver that writes.
const PER_SEGMENT: u64 = 3;
/// Fewer connections would be of no use to anyone: with less, the start warns and goes on.
const CONNECTIONS_MIN: u64 = 64;

/// Raises the soft limit to the hard one, and answers what is in force. The usual soft limit,
/// 1,024, is made for programs that use `select`.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections may be open at once: the configured number, or what the limit leaves beside
/// the log's `segments`.
pub fn connections_max(configured: usize, limit: u64, segments: u64) -> usize {
    let kept = OTHERS + PER_SEGMENT * segments;
    let left = limit.saturating_sub(kept).max(CONNECTIONS_MIN);
    let allowed = configured.min(usize::try_from(left).unwrap_or(usize::MAX));
    if allowed < configured {
        tracing::warn!(
            limit,
            kept_for_the_log = kept,
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
    fn connections_leave_the_log_its_descriptors() {
        assert_eq!(connections_max(10_000, u64::MAX, 500), 10_000);
        assert_eq!(connections_max(10_000, 4_096, 500), 4_096 - 256 - 1_500);
        assert_eq!(connections_max(100, 4_096, 500), 100);
        assert_eq!(connections_max(10_000, 1_024, 500), 64);
    }
}
