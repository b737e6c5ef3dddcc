//! The clients of a node. Draws their requests: batches of every kind, trims, deletions, retention,
//! reads, and long idle times. Clients know only the answers that they were given and the frontiers
//! that readers were shown.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_engine_core::log::{AppendFrontier, Frontiers};
use rustmq_engine_core::shard::error::AppendError;
use rustmq_engine_core::shard::request::{Append, AppendSource, Appended, LogConfig, OpenPartition, TrimTo};
use rustmq_engine_core::shard::{PartitionKey, Shard};
use rustmq_model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ProducerKey, Sequence, Timestamp, TopicId,
    TopicIdPartition, TransactionEnd, TransactionMarker, TransactionVersion,
};

use super::batches::{Author, BatchId, Batches};
use super::cuts::Followed;
use super::host::{NodeHost, RequestNumber};
use super::setting::Setting;
use crate::Rng;

/// The number of producers with an id. The last of them writes transactions.
const PRODUCERS: usize = 3;

/// A client's request to the machine.
#[derive(Debug)]
pub enum Request {
    Open(RequestNumber, Vec<OpenPartition>),
    Append(RequestNumber, Vec<Append>),
    Trim(RequestNumber, TopicIdPartition, TrimTo),
    Delete(RequestNumber, Vec<TopicIdPartition>),
    Configure(RequestNumber, TopicIdPartition, LogConfig),
    Close(RequestNumber),
}

impl Request {
    pub fn submit(self, shard: &mut Shard<NodeHost>) {
        match self {
            Self::Open(reply, partitions) => shard.handle_open(partitions, reply),
            Self::Append(reply, appends) => shard.handle_append(appends, reply),
            Self::Trim(reply, id, to) => shard.handle_trim(id, to, reply),
            Self::Delete(reply, ids) => shard.handle_delete(ids, reply),
            Self::Configure(reply, id, config) => shard.handle_configure(id, config, reply),
            Self::Close(reply) => shard.handle_close(reply),
        }
    }
}

/// A client's next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAction {
    Open,
    Append,
    Trim,
    Delete,
    Configure,
    Read,
    Audit,
    Cut,
}

/// The state of a producer in one partition, as its client knows it.
#[derive(Clone, Debug)]
struct ProducerState {
    epoch: ProducerEpoch,
    next: Sequence,
    /// Sent and unanswered batches. Those that an earlier life of the node received come first.
    unknown: Vec<BatchId>,
    /// How many of these were sent to an earlier life. They are sent again, one at a time.
    resend: usize,
}

impl Default for ProducerState {
    fn default() -> Self {
        Self { epoch: ProducerEpoch(0), next: Sequence(0), unknown: Vec::new(), resend: 0 }
    }
}

impl ProducerState {
    /// Starts a new producer epoch: a batch was refused, so the batches after it are refused as
    /// well.
    fn bump_epoch(&mut self) {
        *self = Self { epoch: ProducerEpoch(self.epoch.0 + 1), ..Self::default() };
    }
}

/// An unanswered append.
#[derive(Debug)]
struct Sent {
    id: TopicIdPartition,
    producer: Option<usize>,
    batch: BatchId,
}

/// The frontiers of a log that readers were shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub start: Offset,
    pub high_watermark: Offset,
    pub end: Offset,
}

#[derive(Debug)]
pub struct Load {
    pub(super) rng: Rng,
    ids: Vec<TopicIdPartition>,
    pub(super) epochs: BTreeMap<TopicIdPartition, i32>,
    pub(super) followed: Followed,
    producers: BTreeMap<(usize, TopicIdPartition), ProducerState>,
    sent: BTreeMap<RequestNumber, Vec<Sent>>,
    /// The partitions of each unanswered request to open, delete or configure.
    pub(super) asked: BTreeMap<RequestNumber, Vec<TopicIdPartition>>,
    pub(super) trims: BTreeMap<RequestNumber, (TopicIdPartition, TrimTo)>,
    /// The partitions that readers find.
    pub(super) listed: BTreeMap<TopicIdPartition, PartitionKey>,
    pub(super) shown: BTreeMap<PartitionKey, Shown>,
    requests: RequestNumber,
    /// The number of markers that were sent.
    markers: i32,
    /// The log was full: a trim or a deletion should come next.
    pub(super) wants_space: bool,
    closing: Option<RequestNumber>,
    has_opened: bool,
    cuts: bool,
    /// A log that was just asked to be cut. The next requests go to it, to contest the cut.
    pub(super) contested: Option<TopicIdPartition>,
}

impl Load {
    pub fn new(setting: &Setting, rng: Rng) -> Self {
        let partition = |number| TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(number) };
        let count = i32::try_from(setting.partitions).expect("a few");
        Self {
            rng,
            ids: (0..count).map(partition).collect(),
            epochs: BTreeMap::new(),
            followed: Followed::default(),
            producers: BTreeMap::new(),
            sent: BTreeMap::new(),
            asked: BTreeMap::new(),
            trims: BTreeMap::new(),
            listed: BTreeMap::new(),
            shown: BTreeMap::new(),
            requests: 0,
            markers: 0,
            wants_space: false,
            closing: None,
            has_opened: false,
            cuts: setting.cuts,
            contested: None,
        }
    }

    pub const fn next_request(&self) -> RequestNumber {
        self.requests
    }

    pub(super) const fn number(&mut self) -> RequestNumber {
        self.requests += 1;
        self.requests - 1
    }

    /// The node has restarted. Clients send unanswered batches again, or give them up.
    pub fn on_restart(&mut self) {
        self.sent.clear();
        self.asked.clear();
        self.trims.clear();
        self.listed.clear();
        self.shown.clear();
        (self.closing, self.has_opened, self.contested) = (None, false, None);
        for state in self.producers.values_mut() {
            state.resend = state.unknown.len();
            if self.rng.below(3) == 0 && state.resend > 0 {
                state.bump_epoch();
            }
        }
    }

    /// Draws the time until the clients act again.
    pub fn pause(&mut self) -> Duration {
        match self.rng.below(200) {
            0..110 => Duration::from_micros(self.rng.between(0, 1_500)),
            110..180 => Duration::from_micros(self.rng.between(1_500, 20_000)),
            180..197 => Duration::from_millis(self.rng.between(20, 800)),
            _ => Duration::from_secs(self.rng.between(1, 1_000)),
        }
    }

    pub fn choose(&mut self) -> ClientAction {
        if !std::mem::replace(&mut self.has_opened, true) {
            return ClientAction::Open;
        }
        if std::mem::take(&mut self.wants_space) && self.rng.below(3) > 0 {
            return if self.rng.below(6) == 0 { ClientAction::Delete } else { ClientAction::Trim };
        }
        if self.contested.is_some() {
            return [ClientAction::Cut, ClientAction::Cut, ClientAction::Open, ClientAction::Append][self.rng.below(4)];
        }
        if self.cuts && self.rng.below(30) == 0 {
            return ClientAction::Cut;
        }
        match self.rng.below(200) {
            0..140 => ClientAction::Append,
            140..168 => ClientAction::Read,
            168..176 => ClientAction::Trim,
            176..180 => ClientAction::Delete,
            180..190 => ClientAction::Open,
            190..197 => ClientAction::Configure,
            _ => ClientAction::Audit,
        }
    }

    pub(super) fn any_id(&mut self) -> TopicIdPartition {
        self.ids[self.rng.below(self.ids.len())]
    }

    pub fn ids(&self) -> Vec<TopicIdPartition> {
        self.ids.clone()
    }

    /// The high watermark that readers of the partition were shown.
    pub fn high_watermark(&self, id: TopicIdPartition) -> Option<Offset> {
        Some(self.shown.get(self.listed.get(&id)?)?.high_watermark)
    }

    /// Whether the log that was shown under this key starts above the offset.
    pub fn starts_above(&self, key: PartitionKey, offset: Offset) -> bool {
        self.shown.get(&key).is_some_and(|shown| offset < shown.start)
    }

    // Requests.

    /// Opens some or all of the partitions, at times in a new leader epoch.
    pub fn open(&mut self) -> Vec<OpenPartition> {
        let is_all = self.listed.is_empty() || self.rng.coin();
        let chosen = self.contested.take().unwrap_or_else(|| self.any_id());
        let mut opens = Vec::new();
        for id in self.ids.clone() {
            if is_all || id == chosen {
                opens.push(self.open_one(id));
            }
        }
        opens
    }

    pub(super) fn open_one(&mut self, id: TopicIdPartition) -> OpenPartition {
        let is_raised = self.followed.end(id) || self.rng.below(4) == 0;
        let epoch = self.epochs.entry(id).or_default();
        *epoch += i32::from(is_raised);
        let leader_epoch = LeaderEpoch(*epoch);
        OpenPartition { id, leader_epoch, config: self.config() }
    }

    pub fn config(&mut self) -> LogConfig {
        if self.rng.coin() {
            return LogConfig::unlimited();
        }
        let rng = &mut self.rng;
        LogConfig {
            retention_time: rng.coin().then(|| Duration::from_secs(rng.between(1, 600))),
            retention_bytes: rng.coin().then(|| rng.between(2_000, 60_000)),
            producer_expiry: if rng.coin() { Duration::MAX } else { Duration::from_secs(rng.between(5, 600)) },
        }
    }

    /// Draws a request with a few batches.
    pub fn append(
        &mut self,
        number: RequestNumber,
        largest: usize,
        wall: Timestamp,
        batches: &mut Batches,
    ) -> Vec<Append> {
        // A batch that is cut off takes the batches of its request with it, and the answer does not
        // tell which it was. So with cuts, each request has one batch.
        let count = if !self.cuts && self.rng.below(4) == 0 { 1 + self.rng.below(4) } else { 1 };
        let mut appends = Vec::new();
        for _ in 0..count {
            let id = self.contested.take().unwrap_or_else(|| self.any_id());
            // Some clients have not heard of the other leader.
            if self.followed.has(id) && self.rng.below(4) > 0 {
                continue;
            }
            let producer = Some(self.rng.below(2 * PRODUCERS)).filter(|producer| *producer < PRODUCERS);
            let (batch, source) = match self.marker(id, producer) {
                Some(marker) => {
                    let batch = batches.make(Author::Coordinator(marker), 0, wall, &mut self.rng);
                    (batch, AppendSource::Marker(marker))
                }
                // A coordinator vouches for its transactions; clients have none of their own here.
                None => (self.batch(id, producer, largest, wall, batches), AppendSource::Coordinator),
            };
            self.sent.entry(number).or_default().push(Sent { id, producer, batch });
            // With cuts, an append must name its leader epoch, or it could write in the epoch of
            // another leader.
            let says_epoch = self.rng.below(10) == 0 || self.cuts;
            let leader_epoch = says_epoch.then(|| LeaderEpoch(self.epochs.get(&id).copied().unwrap_or(0)));
            let until = if self.rng.coin() { AppendFrontier::DurableEnd } else { AppendFrontier::HighWatermark };
            appends.push(Append {
                id,
                leader_epoch,
                batch: batches.bytes(batch),
                header: *batches.header(batch),
                source,
                until,
            });
        }
        appends
    }

    /// At times, the marker that ends the transaction of the producer that has one. From version 2
    /// on the producer continues in the epoch of the marker.
    fn marker(&mut self, id: TopicIdPartition, producer: Option<usize>) -> Option<TransactionMarker> {
        let number = producer.filter(|number| number + 1 == PRODUCERS && self.rng.below(3) == 0)?;
        self.markers += 1;
        let state = self.producers.entry((number, id)).or_default();
        let end = if self.rng.coin() { TransactionEnd::Commit } else { TransactionEnd::Abort };
        let version = if self.rng.coin() { TransactionVersion::V0 } else { TransactionVersion::V2 };
        if version.bumps_epochs() {
            state.bump_epoch();
        }
        let producer = ProducerKey { id: ProducerId(i64::try_from(number).expect("a few")), epoch: state.epoch };
        Some(TransactionMarker { producer, end, coordinator_epoch: self.markers, version })
    }

    fn batch(
        &mut self,
        id: TopicIdPartition,
        producer: Option<usize>,
        largest: usize,
        wall: Timestamp,
        batches: &mut Batches,
    ) -> BatchId {
        let size = match self.rng.below(20) {
            0 => self.rng.below(largest),
            1..8 => self.rng.below(100),
            _ => self.rng.below(1_200),
        };
        let Some(number) = producer else { return batches.make(Author::Nobody, size, wall, &mut self.rng) };
        let state = self.producers.entry((number, id)).or_default();
        if state.resend > 0 {
            state.resend -= 1;
            let again = state.unknown.remove(0);
            state.unknown.push(again);
            return again;
        }
        let author = Author::Producer {
            id: ProducerId(i64::try_from(number).expect("a few")),
            epoch: state.epoch,
            sequence: state.next,
            is_transactional: number + 1 == PRODUCERS,
        };
        let batch = batches.make(author, size, wall, &mut self.rng);
        state.next = batches.header(batch).last_sequence().plus(1);
        state.unknown.push(batch);
        batch
    }

    pub fn trim_to(&mut self, id: TopicIdPartition) -> TrimTo {
        let shown = self.listed.get(&id).and_then(|key| self.shown.get(key)).copied();
        let shown = shown.filter(|_| self.rng.below(4) > 0);
        let Some(Shown { start, high_watermark, .. }) = shown else { return TrimTo::HighWatermark };
        let range = u64::try_from(high_watermark.0 - start.0).expect("a log ends after its start");
        let beyond = u64::from(self.rng.below(20) == 0);
        let by = self.rng.between(0, range + beyond);
        TrimTo::Offset(start.plus(i64::try_from(by).expect("it is small")))
    }

    /// Draws the range of a consumer's next read.
    pub fn read_range(&mut self, id: TopicIdPartition) -> Option<(PartitionKey, Offset, Offset)> {
        let key = *self.listed.get(&id)?;
        let Shown { start, high_watermark: end, .. } = *self.shown.get(&key)?;
        if start >= end {
            return None;
        }
        let range = u64::try_from(end.0 - start.0).expect("a log ends after its start");
        let by = i64::try_from(self.rng.between(0, range - 1)).expect("it is small");
        Some((key, start.plus(by), end))
    }

    pub fn read_bytes(&mut self) -> usize {
        1 << (4 + self.rng.below(12))
    }

    // Answers.

    pub fn on_closed(&mut self, number: RequestNumber) {
        assert_eq!(self.closing.take(), Some(number), "no client asked for this shutdown");
    }

    pub fn on_configured(&mut self, number: RequestNumber) {
        assert!(self.asked.remove(&number).is_some(), "request {number} is answered once");
    }

    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub fn close(&mut self) -> RequestNumber {
        let number = self.number();
        self.closing = Some(number);
        number
    }

    /// Returns the partition and the batch of each result.
    pub fn on_appended(
        &mut self,
        number: RequestNumber,
        results: &[Result<Appended, AppendError>],
    ) -> Vec<(TopicIdPartition, BatchId)> {
        let sent = self.sent.remove(&number).unwrap_or_else(|| panic!("request {number} is answered once"));
        assert_eq!(sent.len(), results.len());
        for (Sent { id, producer, batch }, result) in sent.iter().zip(results) {
            self.wants_space |= matches!(result, Err(AppendError::Full));
            let Some(state) = producer.and_then(|producer| self.producers.get_mut(&(producer, *id))) else {
                continue;
            };
            // A batch of an earlier producer epoch is no longer listed.
            let Some(at) = state.unknown.iter().position(|unknown| unknown == batch) else { continue };
            match result {
                Ok(_) => drop(state.unknown.remove(at)),
                Err(AppendError::Storage { .. }) => {}
                Err(_) => state.bump_epoch(),
            }
        }
        sent.into_iter().map(|Sent { id, batch, .. }| (id, batch)).collect()
    }

    pub fn on_listed(&mut self, key: PartitionKey, id: TopicIdPartition) {
        self.listed.insert(id, key);
    }

    pub fn on_unlisted(&mut self, id: TopicIdPartition) {
        self.listed.remove(&id);
    }

    pub fn on_shown(&mut self, key: PartitionKey, frontiers: &Frontiers) {
        let Frontiers { log_start: start, high_watermark, durable_end: end, .. } = *frontiers;
        self.shown.insert(key, Shown { start, high_watermark, end });
    }

    pub fn on_view_closed(&mut self, key: PartitionKey) {
        self.shown.remove(&key);
    }
}
