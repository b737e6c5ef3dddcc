//! Fetch: whole batches of many partitions, as references into the engine's memory. A request that
//! finds too little waits for the engine to publish more; nothing polls.

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

/// How long a fetch reads from disk, and waits for its turn to, at least, however short its own
/// wait, before it answers with what it has.
const DISK_TIME_MIN: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct Fetch {
    /// Answer when this much is there. Capped by `max_bytes`: no answer grows beyond it.
    pub min_bytes: usize,
    /// Answer no more than this, but always one whole batch if there is any. Capped by
    /// `fetch.max.bytes`.
    pub max_bytes: usize,
    /// Answer after this time, whatever is there.
    pub max_wait: Duration,
    pub isolation: Isolation,
    /// Earlier ones come first when `max_bytes` does not hold them all.
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Debug)]
pub struct FetchPartition {
    pub topic: TopicRef,
    pub partition: PartitionId,
    pub from: Offset,
    pub max_bytes: usize,
    /// Refused unless it is the partition's.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record that the reader has: tells whether its log is still a prefix of
    /// this one (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

#[derive(Clone, Debug, Default)]
pub struct FetchedPartition {
    pub frontiers: Frontiers,
    /// Whole batches in order; the first may begin below the offset asked for.
    pub batches: Vec<Bytes>,
    /// For read_committed: what to filter out of `batches`.
    pub aborted: Vec<AbortedTransaction>,
    /// The reader has records that this log has not: where they part. No batches come with it.
    pub diverging: Option<EpochEnd>,
}

/// Why a partition answers no batches.
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
    /// Where the reader must stop.
    const fn limit(&self, isolation: Isolation) -> Offset {
        isolation.frontier().of(&self.frontiers)
    }

    /// What would be news to a reader at `from` who has seen this.
    const fn awaits(&self, from: Offset, isolation: Isolation) -> Awaited {
        Awaited { from, frontier: isolation.frontier(), above: self.limit(isolation) }
    }

    /// Whether there is more for a reader at `from` than this has.
    fn leaves(&self, from: Offset, isolation: Isolation) -> bool {
        let last = self.batches.last().and_then(|batch| BatchHeader::parse(batch).ok());
        self.diverging.is_none() && last.map_or(from, |last| last.next_offset()) < self.limit(isolation)
    }
}

/// What one partition may have of a pass.
#[derive(Clone, Copy)]
struct Share {
    /// Bytes of batches.
    room: usize,
    /// Nothing has been found before it: its first batch comes however large it is.
    is_first: bool,
    from_disk: bool,
    /// How long the first batch may wait for its turn at the disk.
    patience: Duration,
}

/// One look at all partitions.
struct Pass {
    results: Vec<Result<FetchedPartition, FetchError>>,
    bytes: usize,
    /// An error or a divergence, which the reader must hear of at once.
    is_urgent: bool,
    /// Batches come with it, and others are there that it has no room for.
    leaves_some: bool,
}

impl Session {
    /// Reads what is there, and waits for more up to `max_wait` as long as it is less than
    /// `min_bytes`. Dropping the future ends the wait.
    ///
    /// Batches are whole, so an answer that is full may be smaller than `min_bytes`, though that is
    /// not above `max_bytes`: then there is nothing to wait for.
    pub async fn fetch(&self, mut request: Fetch) -> Vec<Result<FetchedPartition, FetchError>> {
        request.cap(usize::try_from(self.broker.effective_config().fetch_bytes_max).unwrap_or(usize::MAX));
        let started = Instant::now();
        let deadline = started + request.max_wait;
        let read_until = started + request.max_wait.max(DISK_TIME_MIN);
        let mut stop = self.broker.stop.subscribe();
        let mut pass = self.pass(&request, read_until).await;
        // Without a partition nothing can come: a consumer that ends its session must not wait for
        // it.
        let is_enough = |pass: &Pass| {
            request.partitions.is_empty() || pass.is_urgent || pass.leaves_some || pass.bytes >= request.min_bytes
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
            // What came between the last look and the registration wakes nobody: look again.
            // Holding nothing, since reads from disk wait for memory.
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
        // Also where news and the deadline came together.
        if has_waited && !is_enough(&pass) {
            self.show_newest(&request, &mut pass);
        }
        self.observe_fetch(&pass, started);
        pass.results
    }

    /// Once there is something, a slow disk must not keep it from the reader: after `read_until`,
    /// the other partitions answer what is in memory.
    async fn pass(&self, request: &Fetch, read_until: Instant) -> Pass {
        let mut room = request.max_bytes;
        let results = Vec::with_capacity(request.partitions.len());
        let mut pass = Pass { results, bytes: 0, is_urgent: false, leaves_some: false };
        let mut is_some_left = false;
        for partition in &request.partitions {
            let is_first = pass.bytes == 0;
            let patience = read_until.saturating_duration_since(Instant::now()).min(READ_WAIT_MAX);
            let from_disk = is_first || !patience.is_zero();
            let result = self.read(request, partition, Share { room, is_first, from_disk, patience }).await;
            match &result {
                Ok(fetched) => {
                    let bytes = fetched.batches.iter().map(Bytes::len).sum::<usize>();
                    pass.bytes += bytes;
                    room = room.saturating_sub(bytes);
                    pass.is_urgent |= fetched.diverging.is_some();
                    is_some_left |= fetched.leaves(partition.from, request.isolation);
                }
                Err(_) => pass.is_urgent = true,
            }
            pass.results.push(result);
        }
        pass.leaves_some = is_some_left && pass.bytes > 0;
        pass
    }

    async fn read(
        &self,
        request: &Fetch,
        partition: &FetchPartition,
        share: Share,
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
            max_bytes: partition.max_bytes.min(share.room),
            at_least_one: share.is_first,
            isolation: request.isolation,
        };
        let read = if share.from_disk {
            located.reader.read_within(request, share.patience).await
        } else {
            located.reader.read_in_memory(request).map(Option::unwrap_or_default)
        };
        let read = match read {
            Ok(read) => read,
            // Others have read from disk all the while that it waited: nothing now, and the reader
            // comes again.
            Err(ReadError::Busy) => ReadBatches::default(),
            Err(ReadError::Closed) => return Err(located.gone().into()),
            Err(ReadError::OutOfRange { requested, frontiers }) => {
                return Err(OffsetOutOfRange::new(requested, frontiers).into());
            }
            Err(ReadError::Damaged { first, end }) => return Err(UnreadableError::Damaged { first, end }.into()),
            Err(ReadError::Storage(failure)) => return Err(UnreadableError::Failed(failure).into()),
        };
        let ReadBatches { batches, aborted, frontiers } = read;
        // What has answered nothing has not looked at the frontiers.
        let frontiers = if batches.is_empty() { located.reader.frontiers() } else { frontiers };
        Ok(FetchedPartition { frontiers, batches, aborted, diverging: None })
    }

    /// Not all that moves an offset ends a wait: what the wait has ended with says where they are
    /// by now.
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
