//! A coordinator's log from its start to the end that it had when the leadership began, in
//! portions: each is read while the one before is replayed. What an earlier leader left uncommitted
//! is waited for, unless the log drops it.

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
    /// The records up to the end that is waited for never come.
    #[error("the log ended at offset {seen} when the load began, and ends at offset {now} by now")]
    Retreated { seen: Offset, now: Offset },
}

/// Bytes that are read at a time.
const PORTION_BYTES: usize = 1 << 20;
/// How often a wait for uncommitted records looks at the log by itself: an end that retreats wakes
/// nobody.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// A wait for uncommitted records that takes longer is logged.
const LONG_WAIT: Duration = Duration::from_secs(10);

pub(super) struct LogReader {
    reader: PartitionReader,
    range: LogRange,
    /// What comes next.
    from: Offset,
    /// The read from there on, if it is under way: one at the most. It ends with this.
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

    /// The next batches. After an error they can be asked for again, from `from` on. May be dropped
    /// and called again.
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
                // It is begun before whoever asked is busy with these batches: its thread would
                // begin it only then.
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

/// Reads batches as soon as there are some below the high watermark, in a log that had this end.
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
            // A wake-up ends the registration.
            reader.watch(&waiter, awaited);
        }
    }
}
