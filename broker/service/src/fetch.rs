//! Fetch: whole batches of many partitions, as references into the engine's memory. A request that
//! finds too few bytes waits until the engine publishes more; nothing polls.

use std::time::Duration;

use bytes::Bytes;
use rustmq_broker_core::ErrorKind;
use rustmq_engine_api::{
    AbortedTransaction, Awaited, EpochEnd, FetchWaiter, Frontiers, Isolation, READ_WAIT_MAX, ReadBatches, ReadError,
    ReadRequest,
};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, PartitionId};
use tokio::time::Instant;

use crate::broker::stopped;
use crate::session::Session;
use crate::storage::{OffsetOutOfRange, UnreadableError};
use crate::view::{LocateError, TopicRef};

/// The least time that a fetch may spend on reads from disk and on the wait for them, even if its
/// own wait is shorter. After it, the fetch answers with the batches that it has.
const DISK_TIME_MIN: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct Fetch {
    /// The answer comes as soon as it has this many bytes. Capped by `max_bytes`, since no answer
    /// is larger.
    pub min_bytes: usize,
    /// The most bytes of the answer, which still has one whole batch if there is any. Capped by
    /// `fetch.max.bytes`.
    pub max_bytes: usize,
    /// The answer comes after this time at the latest.
    pub max_wait: Duration,
    pub isolation: Isolation,
    /// Earlier partitions come first if `max_bytes` does not suffice for all.
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Debug)]
pub struct FetchPartition {
    pub topic: TopicRef,
    pub partition: PartitionId,
    pub from: Offset,
    pub max_bytes: usize,
    /// The partition is refused if its leader epoch is another one.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the reader's last record, to check whether the reader's log is a prefix of this
    /// one (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

#[derive(Clone, Debug, Default)]
pub struct FetchedPartition {
    pub frontiers: Frontiers,
    /// Whole batches in order; the first one may begin below the requested offset.
    pub batches: Vec<Bytes>,
    /// With read_committed, the transactions whose records the reader must skip in `batches`.
    pub aborted: Vec<AbortedTransaction>,
    /// Set if the reader has records that this log does not have: the point where the logs diverge.
    /// There are no batches then.
    pub diverging: Option<EpochEnd>,
}

/// Why the answer for a partition has no batches.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Locate(#[from] LocateError),
    #[error(transparent)]
    OffsetOutOfRange(#[from] OffsetOutOfRange),
    #[error(transparent)]
    Unreadable(#[from] UnreadableError),
}

impl FetchError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Locate(error) => error.kind(),
            Self::OffsetOutOfRange(_) => ErrorKind::Invalid,
            Self::Unreadable(error) => error.kind(),
        }
    }
}

impl Fetch {
    fn cap(&mut self, bytes_max: usize) {
        self.max_bytes = self.max_bytes.min(bytes_max);
        self.min_bytes = self.min_bytes.min(self.max_bytes);
    }
}

impl FetchedPartition {
    /// The end of the offsets that the reader may see.
    const fn limit(&self, isolation: Isolation) -> Offset {
        isolation.frontier().of(&self.frontiers)
    }

    /// The event to wait for, for a reader at `from` that has seen this answer.
    const fn awaits(&self, from: Offset, isolation: Isolation) -> Awaited {
        Awaited { from, frontier: isolation.frontier(), above: self.limit(isolation) }
    }

    /// Whether the log has more for a reader at `from` than this answer.
    fn leaves(&self, from: Offset, isolation: Isolation) -> bool {
        let last = self.batches.last().and_then(|batch| BatchHeader::parse(batch).ok());
        self.diverging.is_none() && last.map_or(from, |last| last.next_offset()) < self.limit(isolation)
    }
}

/// The bounds of one partition's read in a pass.
#[derive(Clone, Copy)]
struct ReadBudget {
    /// Bytes of batches.
    room: usize,
    /// No earlier partition has batches: the first batch is returned even if it is larger than
    /// `room`.
    is_first: bool,
    from_disk: bool,
    /// The longest wait of the first batch for a read from disk.
    wait_max: Duration,
}

/// The result of one pass over all partitions.
struct Pass {
    results: Vec<Result<FetchedPartition, FetchError>>,
    bytes: usize,
    /// The pass has an error or a divergence, which is answered at once.
    is_urgent: bool,
    /// The pass has batches, and the logs have more that do not fit.
    has_more: bool,
}

impl Session {
    /// Reads the available batches, and waits for more while they have less than `min_bytes`, up to
    /// `max_wait`. Dropping the future ends the wait.
    ///
    /// Because batches are whole, a full answer may be smaller than `min_bytes`. It does not wait
    /// then.
    pub async fn fetch(&self, mut request: Fetch) -> Vec<Result<FetchedPartition, FetchError>> {
        request.cap(usize::try_from(self.broker.effective_config().fetch_bytes_max).unwrap_or(usize::MAX));
        let started = Instant::now();
        let deadline = started + request.max_wait;
        let read_until = started + request.max_wait.max(DISK_TIME_MIN);
        let mut stop = self.broker.stop.subscribe();
        let mut pass = self.pass(&request, read_until).await;
        // A request without partitions does not wait: a consumer sends one to end its fetch
        // session.
        let is_enough = |pass: &Pass| {
            request.partitions.is_empty() || pass.is_urgent || pass.has_more || pass.bytes >= request.min_bytes
        };
        let mut has_waited = false;
        while !is_enough(&pass) && Instant::now() < deadline {
            let waiter = FetchWaiter::new();
            for (partition, seen) in request.partitions.iter().zip(&pass.results) {
                let located = self.broker.locate(&partition.topic, partition.partition, partition.current_leader_epoch);
                if let (Ok(located), Ok(seen)) = (located, seen) {
                    located.reader.watch(&waiter, seen.awaits(partition.from, request.isolation));
                }
            }
            // Read again after the registration: batches that were published in between wake
            // nobody. Drop the first result before: reads from disk wait for memory, which it
            // holds.
            drop(pass);
            pass = self.pass(&request, read_until).await;
            if is_enough(&pass) {
                break;
            }
            has_waited = true;
            let is_over = tokio::select! {
                () = waiter.wait() => false,
                () = tokio::time::sleep_until(deadline) => true,
                () = stopped(&mut stop) => true,
            };
            if is_over {
                break;
            }
        }
        // Also if a wake-up and the deadline came together.
        if has_waited && !is_enough(&pass) {
            self.show_newest(&request, &mut pass);
        }
        self.observe_fetch(&pass, started);
        pass.results
    }

    /// Reads all partitions once. Once there are batches, a slow disk must not delay them: after
    /// `read_until`, the remaining partitions are read from memory only.
    async fn pass(&self, request: &Fetch, read_until: Instant) -> Pass {
        let mut room = request.max_bytes;
        let results = Vec::with_capacity(request.partitions.len());
        let mut pass = Pass { results, bytes: 0, is_urgent: false, has_more: false };
        let mut is_more_left = false;
        for partition in &request.partitions {
            let is_first = pass.bytes == 0;
            let wait_max = read_until.saturating_duration_since(Instant::now()).min(READ_WAIT_MAX);
            let from_disk = is_first || !wait_max.is_zero();
            let result = self.read(request, partition, ReadBudget { room, is_first, from_disk, wait_max }).await;
            match &result {
                Ok(fetched) => {
                    let bytes = fetched.batches.iter().map(Bytes::len).sum::<usize>();
                    pass.bytes += bytes;
                    room = room.saturating_sub(bytes);
                    pass.is_urgent |= fetched.diverging.is_some();
                    is_more_left |= fetched.leaves(partition.from, request.isolation);
                }
                Err(_) => pass.is_urgent = true,
            }
            pass.results.push(result);
        }
        pass.has_more = is_more_left && pass.bytes > 0;
        pass
    }

    async fn read(
        &self,
        request: &Fetch,
        partition: &FetchPartition,
        budget: ReadBudget,
    ) -> Result<FetchedPartition, FetchError> {
        let located = self.broker.locate(&partition.topic, partition.partition, partition.current_leader_epoch)?;
        if let Some(epoch) = partition.last_fetched_epoch {
            let frontiers = located.reader.frontiers();
            let Some(end) = located.reader.end_offset_for_epoch(epoch) else {
                return Err(OffsetOutOfRange::new(partition.from, frontiers).into());
            };
            if end.epoch < epoch || end.end_offset < partition.from {
                return Ok(FetchedPartition { frontiers, diverging: Some(end), ..FetchedPartition::default() });
            }
        }
        let request = ReadRequest {
            from: partition.from,
            max_bytes: partition.max_bytes.min(budget.room),
            at_least_one: budget.is_first,
            isolation: request.isolation,
        };
        let read = if budget.from_disk {
            located.reader.read_within(request, budget.wait_max).await
        } else {
            located.reader.read_in_memory(request).map(Option::unwrap_or_default)
        };
        let read = match read {
            Ok(read) => read,
            // Other reads from disk took the whole wait: the answer is empty, and the reader asks
            // again.
            Err(ReadError::Busy) => ReadBatches::default(),
            Err(ReadError::Closed) => return Err(located.gone().into()),
            Err(ReadError::OutOfRange { requested, frontiers }) => {
                return Err(OffsetOutOfRange::new(requested, frontiers).into());
            }
            Err(ReadError::Damaged { first, end }) => return Err(UnreadableError::Damaged { first, end }.into()),
            Err(ReadError::Storage(failure)) => return Err(UnreadableError::Failed(failure).into()),
        };
        let ReadBatches { batches, aborted, frontiers } = read;
        // An empty read may not have read the frontiers.
        let frontiers = if batches.is_empty() { located.reader.frontiers() } else { frontiers };
        Ok(FetchedPartition { frontiers, batches, aborted, diverging: None })
    }

    /// Updates the frontiers in the answer: not every change of a frontier ends a wait.
    fn show_newest(&self, request: &Fetch, pass: &mut Pass) {
        for (partition, fetched) in request.partitions.iter().zip(&mut pass.results) {
            let located = self.broker.locate(&partition.topic, partition.partition, partition.current_leader_epoch);
            if let (Ok(fetched), Ok(located)) = (fetched, located) {
                fetched.frontiers = located.reader.frontiers();
            }
        }
    }

    fn observe_fetch(&self, pass: &Pass, started: Instant) {
        let metrics = &self.broker.metrics.fetch;
        let batches = pass.results.iter().flatten().flat_map(|fetched| &fetched.batches);
        let records = batches.filter_map(|batch| BatchHeader::parse(batch).ok());
        let records = records.map(|header| u64::try_from(header.record_count).unwrap_or(0)).sum();
        metrics.records.inc_by(records);
        metrics.bytes.inc_by(pass.bytes as u64);
        metrics.failures.inc_by(pass.results.iter().filter(|result| result.is_err()).count() as u64);
        metrics.seconds.observe(started.elapsed().as_secs_f64());
    }
}
