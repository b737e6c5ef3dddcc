//! What clients ask of a node, drawn: batches of every kind, trims, deletions, retention, reads, and long times in which they ask for nothing.
//! They know only what they were told.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_engine_core::log::{AppendFrontier, Frontiers};
use rustmq_engine_core::shard::error::AppendError;
use rustmq_engine_core::shard::request::{Append, Appended, LogConfig, OpenPartition, TrimTo};
use rustmq_engine_core::shard::{PartitionKey, Shard};
use rustmq_model::{
    LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicIdPartition,
};

use super::batches::{Author, BatchId, Batches};
use super::cuts::Followed;
use super::host::{NodeHost, RequestNumber};
use super::setting::Setting;
use crate::Dice;

/// Producers with numbers; the last of them writes transactions.
const PRODUCERS: usize = 3;

/// A request on its way to the machine.
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
    pub fn hand_over(self, shard: &mut Shard<NodeHost>) {
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

/// What clients may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Open,
    Append,
    Trim,
    Delete,
    Configure,
    Read,
    Audit,
    Cut,
}

/// A producer in one partition, as its client knows it.
#[derive(Clone, Debug)]
struct Numbered {
    epoch: ProducerEpoch,
    next: Sequence,
    /// Sent, and not answered; those of earlier lives of the node first.
    unknown: Vec<BatchId>,
    /// The first of them were sent to a node that is gone: they are sent again, one by one.
    resend: usize,
}

impl Default for Numbered {
    fn default() -> Self {
        Self { epoch: ProducerEpoch(0), next: Sequence(0), unknown: Vec::new(), resend: 0 }
    }
}

impl Numbered {
    /// A batch was refused: what is behind it is refused as well, so the client begins anew.
    fn begin_anew(&mut self) {
        *self = Self { epoch: ProducerEpoch(self.epoch.0 + 1), ..Self::default() };
    }
}

/// An append that is not answered.
#[derive(Debug)]
struct Sent {
    id: TopicIdPartition,
    producer: Option<usize>,
    batch: BatchId,
}

/// What clients were shown of a log.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    pub start: Offset,
    pub high_watermark: Offset,
    pub end: Offset,
}

#[derive(Debug)]
pub struct Load {
    pub(super) dice: Dice,
    ids: Vec<TopicIdPartition>,
    pub(super) epochs: BTreeMap<TopicIdPartition, i32>,
    pub(super) followed: Followed,
    numbered: BTreeMap<(usize, TopicIdPartition), Numbered>,
    sent: BTreeMap<RequestNumber, Vec<Sent>>,
    /// What was asked of whole partitions.
    pub(super) asked: BTreeMap<RequestNumber, Vec<TopicIdPartition>>,
    pub(super) trims: BTreeMap<RequestNumber, (TopicIdPartition, TrimTo)>,
    /// Partitions that readers find, and how far they see.
    pub(super) listed: BTreeMap<TopicIdPartition, PartitionKey>,
    pub(super) shown: BTreeMap<PartitionKey, Shown>,
    requests: RequestNumber,
    /// The log was full: something is to go.
    pub(super) wants_room: bool,
    closing: Option<RequestNumber>,
    has_opened: bool,
    cuts: bool,
    /// A log that was just asked to be cut: others have something to say of it, too.
    pub(super) contested: Option<TopicIdPartition>,
}

impl Load {
    pub fn new(setting: &Setting, dice: Dice) -> Self {
        let partition = |number| TopicIdPartition { topic_id: TopicId(0xA0), partition: PartitionId(number) };
        let count = i32::try_from(setting.partitions).expect("a few");
        Self {
            dice,
            ids: (0..count).map(partition).collect(),
            epochs: BTreeMap::new(),
            followed: Followed::default(),
            numbered: BTreeMap::new(),
            sent: BTreeMap::new(),
            asked: BTreeMap::new(),
            trims: BTreeMap::new(),
            listed: BTreeMap::new(),
            shown: BTreeMap::new(),
            requests: 0,
            wants_room: false,
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

    /// Another node serves. What was not answered is sent again, or given up.
    pub fn on_restart(&mut self) {
        self.sent.clear();
        self.asked.clear();
        self.trims.clear();
        self.listed.clear();
        self.shown.clear();
        (self.closing, self.has_opened, self.contested) = (None, false, None);
        for numbered in self.numbered.values_mut() {
            numbered.resend = numbered.unknown.len();
            if self.dice.below(3) == 0 && numbered.resend > 0 {
                numbered.begin_anew();
            }
        }
    }

    /// How long until clients do something again.
    pub fn pause(&mut self) -> Duration {
        match self.dice.below(200) {
            0..110 => Duration::from_micros(self.dice.between(0, 1_500)),
            110..180 => Duration::from_micros(self.dice.between(1_500, 20_000)),
            180..197 => Duration::from_millis(self.dice.between(20, 800)),
            _ => Duration::from_secs(self.dice.between(1, 1_000)),
        }
    }

    pub fn choose(&mut self) -> Deed {
        if !std::mem::replace(&mut self.has_opened, true) {
            return Deed::Open;
        }
        if std::mem::take(&mut self.wants_room) && self.dice.below(3) > 0 {
            return if self.dice.below(6) == 0 { Deed::Delete } else { Deed::Trim };
        }
        if self.contested.is_some() {
            return [Deed::Cut, Deed::Cut, Deed::Open, Deed::Append][self.dice.below(4)];
        }
        if self.cuts && self.dice.below(30) == 0 {
            return Deed::Cut;
        }
        match self.dice.below(200) {
            0..140 => Deed::Append,
            140..168 => Deed::Read,
            168..176 => Deed::Trim,
            176..180 => Deed::Delete,
            180..190 => Deed::Open,
            190..197 => Deed::Configure,
            _ => Deed::Audit,
        }
    }

    pub(super) fn any_id(&mut self) -> TopicIdPartition {
        self.ids[self.dice.below(self.ids.len())]
    }

    pub fn ids(&self) -> Vec<TopicIdPartition> {
        self.ids.clone()
    }

    /// What readers see of the log is committed up to there.
    pub fn high_watermark(&self, id: TopicIdPartition) -> Option<Offset> {
        Some(self.shown.get(self.listed.get(&id)?)?.high_watermark)
    }

    /// Whether the log that was shown under this key starts above the offset.
    pub fn starts_above(&self, key: PartitionKey, offset: Offset) -> bool {
        self.shown.get(&key).is_some_and(|shown| offset < shown.start)
    }

    // Requests.

    /// Some or all of the partitions, at times under a new leader.
    pub fn open(&mut self) -> Vec<OpenPartition> {
        let is_all = self.listed.is_empty() || self.dice.coin();
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
        let is_raised = self.followed.end(id) || self.dice.below(4) == 0;
        let epoch = self.epochs.entry(id).or_default();
        *epoch += i32::from(is_raised);
        let leader_epoch = LeaderEpoch(*epoch);
        OpenPartition { id, leader_epoch, config: self.config() }
    }

    pub fn config(&mut self) -> LogConfig {
        if self.dice.coin() {
            return LogConfig::unlimited();
        }
        let dice = &mut self.dice;
        LogConfig {
            retention_time: dice.coin().then(|| Duration::from_secs(dice.between(1, 600))),
            retention_bytes: dice.coin().then(|| dice.between(2_000, 60_000)),
            producer_expiry: if dice.coin() { Duration::MAX } else { Duration::from_secs(dice.between(5, 600)) },
        }
    }

    /// A few batches.
    pub fn append(
        &mut self,
        number: RequestNumber,
        largest: usize,
        wall: Timestamp,
        batches: &mut Batches,
    ) -> Vec<Append> {
        // One that is cut off takes those with it that are in its request, which nobody tells from it.
        let count = if !self.cuts && self.dice.below(4) == 0 { 1 + self.dice.below(4) } else { 1 };
        let mut appends = Vec::new();
        for _ in 0..count {
            let id = self.contested.take().unwrap_or_else(|| self.any_id());
            // A client that has not heard of the other leader, at times.
            if self.followed.has(id) && self.dice.below(4) > 0 {
                continue;
            }
            let producer = Some(self.dice.below(2 * PRODUCERS)).filter(|producer| *producer < PRODUCERS);
            let batch = self.batch(id, producer, largest, wall, batches);
            self.sent.entry(number).or_default().push(Sent { id, producer, batch });
            // Where others lead at times, who is not asked for an epoch would write in theirs.
            let says_epoch = self.dice.below(10) == 0 || self.cuts;
            let leader_epoch = says_epoch.then(|| LeaderEpoch(self.epochs.get(&id).copied().unwrap_or(0)));
            let until = if self.dice.coin() { AppendFrontier::DurableEnd } else { AppendFrontier::HighWatermark };
            appends.push(Append {
                id,
                leader_epoch,
                batch: batches.bytes(batch),
                header: *batches.header(batch),
                until,
            });
        }
        appends
    }

    fn batch(
        &mut self,
        id: TopicIdPartition,
        producer: Option<usize>,
        largest: usize,
        wall: Timestamp,
        batches: &mut Batches,
    ) -> BatchId {
        let size = match self.dice.below(20) {
            0 => self.dice.below(largest),
            1..8 => self.dice.below(100),
            _ => self.dice.below(1_200),
        };
        let Some(number) = producer else { return batches.make(Author::Nobody, size, wall, &mut self.dice) };
        let numbered = self.numbered.entry((number, id)).or_default();
        if numbered.resend > 0 {
            numbered.resend -= 1;
            let again = numbered.unknown.remove(0);
            numbered.unknown.push(again);
            return again;
        }
        let author = Author::Producer {
            id: ProducerId(i64::try_from(number).expect("a few")),
            epoch: numbered.epoch,
            sequence: numbered.next,
            is_transactional: number + 1 == PRODUCERS,
        };
        let batch = batches.make(author, size, wall, &mut self.dice);
        numbered.next = batches.header(batch).last_sequence().plus(1);
        numbered.unknown.push(batch);
        batch
    }

    pub fn trim_to(&mut self, id: TopicIdPartition) -> TrimTo {
        let shown = self.listed.get(&id).and_then(|key| self.shown.get(key)).copied();
        let shown = shown.filter(|_| self.dice.below(4) > 0);
        let Some(Shown { start, high_watermark, .. }) = shown else { return TrimTo::HighWatermark };
        let range = u64::try_from(high_watermark.0 - start.0).expect("a log ends after its start");
        let beyond = u64::from(self.dice.below(20) == 0);
        let by = self.dice.between(0, range + beyond);
        TrimTo::Offset(start.plus(i64::try_from(by).expect("it is small")))
    }

    /// From where a consumer reads on, and up to where.
    pub fn read_range(&mut self, id: TopicIdPartition) -> Option<(PartitionKey, Offset, Offset)> {
        let key = *self.listed.get(&id)?;
        let Shown { start, high_watermark: end, .. } = *self.shown.get(&key)?;
        if start >= end {
            return None;
        }
        let range = u64::try_from(end.0 - start.0).expect("a log ends after its start");
        let by = i64::try_from(self.dice.between(0, range - 1)).expect("it is small");
        Some((key, start.plus(by), end))
    }

    pub fn read_bytes(&mut self) -> usize {
        1 << (4 + self.dice.below(12))
    }

    // Answers.

    pub fn on_closed(&mut self, number: RequestNumber) {
        assert_eq!(self.closing.take(), Some(number), "nobody asked for this end");
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

    /// Partition and batch of each result.
    pub fn on_appended(
        &mut self,
        number: RequestNumber,
        results: &[Result<Appended, AppendError>],
    ) -> Vec<(TopicIdPartition, BatchId)> {
        let sent = self.sent.remove(&number).unwrap_or_else(|| panic!("request {number} is answered once"));
        assert_eq!(sent.len(), results.len());
        for (Sent { id, producer, batch }, result) in sent.iter().zip(results) {
            self.wants_room |= matches!(result, Err(AppendError::Full));
            let Some(numbered) = producer.and_then(|producer| self.numbered.get_mut(&(producer, *id))) else {
                continue;
            };
            // Of an epoch before, if it is not there any more.
            let Some(at) = numbered.unknown.iter().position(|unknown| unknown == batch) else { continue };
            match result {
                Ok(_) => drop(numbered.unknown.remove(at)),
                Err(AppendError::Storage { .. }) => {}
                Err(_) => numbered.begin_anew(),
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
