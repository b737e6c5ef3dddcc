//! Reads a coordinator's log in portions, from its start to its end at the moment when the load
//! began: the next portion is read while one is replayed. A read waits for records that an earlier
//! leader left uncommitted, unless the log drops them.

use std::time::Duration;

use bytes::Bytes;
use rustmq_broker_core::coordinator::LogRange;
use rustmq_engine_api::{Awaited, FetchWaiter, Isolation, PartitionReader, ReadError, ReadFrontier, ReadRequest};
use rustmq_model::Offset;
use rustmq_model::batch::BatchHeader;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Why a portion was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortionError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the read panicked")]
    Panicked,
    /// The log end has retreated, so that the log never reaches the end that the load waits for.
    #[error("the log ended at offset {seen} when the load began, and ends at offset {now} by now")]
    Retreated { seen: Offset, now: Offset },
}

/// The size of a portion.
const PORTION_BYTES: usize = 1 << 20;
/// The interval at which a wait for uncommitted records checks the log: a log end that retreats
/// wakes no waiter.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// A wait for the log that takes longer is logged.
pub(super) const LONG_WAIT: Duration = Duration::from_secs(10);

pub(super) struct LogReader {
    reader: PartitionReader,
    range: LogRange,
    /// The next offset to read.
    from: Offset,
    /// The read from that offset, if one has begun; at most one. It is aborted when this is
    /// dropped.
    ahead: JoinSet<Result<Vec<Bytes>, PortionError>>,
}

impl LogReader {
    pub(super) fn new(reader: PartitionReader) -> Self {
        let frontiers = reader.frontiers();
        let range =
            LogRange { log_start: frontiers.log_start, local_start: frontiers.local_start, log_end: frontiers.log_end };
        Self { reader, range, from: range.log_start, ahead: JoinSet::new() }
    }

    pub(super) const fn range(&self) -> LogRange {
        self.range
    }

    /// The next batches, from `from` on. May be called again after an error, or after its future
    /// was dropped.
    pub(super) async fn next(&mut self, from: Offset) -> Result<Vec<Bytes>, PortionError> {
        if self.from != from {
            self.ahead.abort_all();
            (self.from, self.ahead) = (from, JoinSet::new());
        }
        self.read_ahead();
        let read = self.ahead.join_next().await.expect("one is under way");
        let batches = read.map_err(|_| PortionError::Panicked)??;
        if let Some(header) = batches.last().and_then(|last| BatchHeader::parse(last).ok()) {
            self.from = header.next_offset().max(from);
            if self.from < self.range.log_end {
                self.read_ahead();
                // Let the read begin before the caller replays these batches: on a single thread it
                // would begin only afterwards.
                tokio::task::yield_now().await;
            }
        }
        Ok(batches)
    }

    fn read_ahead(&mut self) {
        if self.ahead.is_empty() {
            let (reader, isolation) = (self.reader.clone(), Isolation::ReadUncommitted);
            let request = ReadRequest { from: self.from, max_bytes: PORTION_BYTES, at_least_one: true, isolation };
            self.ahead.spawn(read_committed_once(reader, request, self.range.log_end));
        }
    }
}

/// Reads batches as soon as some are below the high watermark. `seen` is the log end when the load
/// began.
async fn read_committed_once(
    reader: PartitionReader,
    request: ReadRequest,
    seen: Offset,
) -> Result<Vec<Bytes>, PortionError> {
    let (waiter, started, mut is_logged) = (FetchWaiter::new(), Instant::now(), false);
    let awaited = Awaited { from: request.from, frontier: ReadFrontier::HighWatermark, above: request.from };
    reader.watch(&waiter, awaited);
    loop {
        let batches = reader.read(request).await?.batches;
        if !batches.is_empty() {
            return Ok(batches);
        }
        let now = reader.frontiers().log_end;
        if now < seen {
            return Err(PortionError::Retreated { seen, now });
        }
        if !is_logged && started.elapsed() >= LONG_WAIT {
            let (offset, end_offset) = (request.from.0, seen.0);
            tracing::warn!(partition = %reader.id(), offset, end_offset, "a coordinator's load waits for records to be committed");
            is_logged = true;
        }
        if timeout(LOOK_PAUSE, waiter.wait()).await.is_ok() {
            // A wake-up has ended the registration.
            reader.watch(&waiter, awaited);
        }
    }
}
