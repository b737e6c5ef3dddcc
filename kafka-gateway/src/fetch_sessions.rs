//! Incremental fetch sessions (KIP-227): the broker remembers which partitions a client fetches and
//! what it was last told, so that requests and responses carry only what has changed. Sessions are
//! an economy: any of them may be forgotten, the client starts again.
//!
//! The cache is bounded in sessions and in partitions. A new session takes the place of one that
//! was not used for two minutes, the longest unused first; otherwise the client fetches without
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_kafka_codec_messages::fetch_response::{EpochEndOffset, PartitionData};
use rustmq_model::{LeaderEpoch, Offset, TopicId, TopicName};
use tokio::time::Instant;

/// A session that is younger than this in its last use stays
/// (`min.incremental.fetch.session.eviction.ms`).
const EVICTION_AGE: Duration = Duration::from_mins(2);
/// Partitions of all sessions together.
const PARTITIONS_MAX: usize = 1_000_000;

/// The epoch of a request that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request without a session, or that ends one.
const FINAL_EPOCH: i32 = -1;

/// A topic as the client names it: one of the two is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey {
    pub name: String,
    pub id: TopicId,
}

/// A partition as the client names it.
pub type PartitionKey = (TopicKey, i32);

/// What a client wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: PartitionKey,
    /// The name that the topic had when its id was first known to the session, or to the request.
    /// None where the client names it by name, and while the id is not known. It outlives the
    /// topic, so that one made anew under the name is told from an id that never was.
    pub topic_name: Option<TopicName>,
    pub from: Offset,
    pub bytes_max: usize,
    pub current_leader_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// The part of a fetch request that concerns sessions.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    pub wanted: Vec<Wanted>,
    pub forgotten: Vec<PartitionKey>,
    /// Whether topics are named by id, as from version 13 on; a session sticks to one way.
    pub names_by_id: bool,
}

/// Why a session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the fetch session is not known")]
    UnknownId,
    #[error("the fetch session is at another epoch")]
    WrongEpoch,
    #[error("the fetch session names topics the other way")]
    TopicIds,
}

/// What the client was last told of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start: i64,
    is_error: bool,
}

struct Entry {
    wanted: Wanted,
    told: Option<Told>,
}

struct Session {
    epoch: i32,
    names_by_id: bool,
    /// In the order of fetching: what had records goes to the end, so that each gets its turn under
    /// the size limit.
    entries: Vec<Entry>,
    used_at: Instant,
}

struct Cache {
    sessions: BTreeMap<i32, Session>,
    partitions: usize,
    next_id: i32,
}

/// The sessions of a gateway.
pub struct FetchSessions {
    cache: Mutex<Cache>,
    sessions_max: usize,
    count: Gauge,
}

/// One fetch under way: what to ask the broker for, and under which session to answer.
#[derive(Debug)]
pub struct FetchContext {
    pub wanted: Vec<Wanted>,
    pub session: SessionUse,
}

/// How a response deals with sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionUse {
    /// Every partition is answered; there is no session.
    None,
    /// Every partition is answered; the session with this id begins.
    Opened(i32),
    /// What has changed is answered.
    Continued(i32),
}

impl SessionUse {
    /// As the response has it; 0 stands for none.
    pub const fn id(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Opened(id) | Self::Continued(id) => id,
        }
    }
}

impl FetchSessions {
    /// No sessions yet. Ids begin at a random number, so that a client of before a restart does not
    /// meet another's session.
    pub fn new(sessions_max: usize, count: Gauge) -> Self {
        let first_id = i32::try_from(uuid::Uuid::new_v4().as_u128() >> 98).map_or(1, |id| id.max(1));
        let cache = Cache { sessions: BTreeMap::new(), partitions: 0, next_id: first_id };
        Self { cache: Mutex::new(cache), sessions_max, count }
    }

    /// Finds or opens the session of a request, and what it now wants. `name_of` knows the names of
    /// topic ids.
    pub fn begin(
        &self,
        mut request: SessionRequest,
        now: Instant,
        name_of: impl Fn(TopicId) -> Option<TopicName>,
    ) -> Result<FetchContext, SessionError> {
        if request.names_by_id {
            resolve(request.wanted.iter_mut(), &name_of);
        }
        let mut cache = self.cache.lock();
        let begun = match request.epoch {
            FINAL_EPOCH | INITIAL_EPOCH => {
                cache.remove(request.id);
                let opened =
                    if request.epoch == INITIAL_EPOCH { cache.open(&request, self.sessions_max, now) } else { None };
                let session = opened.map_or(SessionUse::None, SessionUse::Opened);
                Ok(FetchContext { wanted: request.wanted, session })
            }
            _ => cache.proceed(request, now, &name_of),
        };
        self.count.set(i64::try_from(cache.sessions.len()).unwrap_or(i64::MAX));
        begun
    }

    /// Takes note of what is answered, and drops from it what the client knows already.
    pub fn finish(&self, session: SessionUse, answers: &mut Vec<(PartitionKey, PartitionData)>) {
        let (SessionUse::Opened(id) | SessionUse::Continued(id)) = session else { return };
        let mut cache = self.cache.lock();
        // It may have been evicted meanwhile: the client is told by its next request.
        if let Some(session_state) = cache.sessions.get_mut(&id) {
            session_state.take_note(answers, matches!(session, SessionUse::Continued(_)));
        }
    }
}

impl Cache {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.partitions -= session.entries.len();
        }
    }

    fn open(&mut self, request: &SessionRequest, sessions_max: usize, now: Instant) -> Option<i32> {
        let size = request.wanted.len();
        if size == 0 {
            return None;
        }
        while self.sessions.len() >= sessions_max || self.partitions + size > PARTITIONS_MAX {
            let (id, oldest) = self.sessions.iter().min_by_key(|(_, session)| session.used_at)?;
            if now.duration_since(oldest.used_at) < EVICTION_AGE {
                return None;
            }
            let id = *id;
            self.remove(id);
        }
        let id = self.free_id();
        let entries = request.wanted.iter().map(|wanted| Entry { wanted: wanted.clone(), told: None });
        let session = Session { epoch: 1, names_by_id: request.names_by_id, entries: entries.collect(), used_at: now };
        self.partitions += size;
        self.sessions.insert(id, session);
        Some(id)
    }

    /// Positive, and not in use.
    fn free_id(&mut self) -> i32 {
        loop {
            let id = self.next_id;
            self.next_id = id.checked_add(1).unwrap_or(1);
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    fn proceed(
        &mut self,
        request: SessionRequest,
        now: Instant,
        name_of: &impl Fn(TopicId) -> Option<TopicName>,
    ) -> Result<FetchContext, SessionError> {
        let id = request.id;
        let session = self.sessions.get_mut(&id).ok_or(SessionError::UnknownId)?;
        if session.epoch != request.epoch {
            return Err(SessionError::WrongEpoch);
        }
        if session.names_by_id != request.names_by_id {
            return Err(SessionError::TopicIds);
        }
        let before = session.entries.len();
        session.update(request);
        let after = session.entries.len();
        if after == 0 {
            // Nothing is left to remember. An answer without a session tells the client to begin
            // anew.
            self.partitions -= before;
            self.sessions.remove(&id);
            return Ok(FetchContext { wanted: Vec::new(), session: SessionUse::None });
        }
        if session.names_by_id {
            resolve(session.entries.iter_mut().map(|entry| &mut entry.wanted), name_of);
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        session.used_at = now;
        let wanted = session.entries.iter().map(|entry| entry.wanted.clone()).collect();
        self.partitions = self.partitions - before + after;
        if self.partitions > PARTITIONS_MAX {
            self.remove(id);
            return Err(SessionError::UnknownId);
        }
        Ok(FetchContext { wanted, session: SessionUse::Continued(id) })
    }
}

impl Session {
    fn update(&mut self, request: SessionRequest) {
        if request.wanted.is_empty() && request.forgotten.is_empty() {
            return;
        }
        let mut changed: BTreeMap<PartitionKey, Wanted> = BTreeMap::new();
        let mut order = Vec::new();
        for wanted in request.wanted {
            let key = wanted.key.clone();
            if changed.insert(key.clone(), wanted).is_none() {
                order.push(key);
            }
        }
        let forgotten: BTreeSet<PartitionKey> = request.forgotten.into_iter().collect();
        self.entries.retain(|entry| !forgotten.contains(&entry.wanted.key));
        for entry in &mut self.entries {
            if let Some(wanted) = changed.remove(&entry.wanted.key) {
                let topic_name = entry.wanted.topic_name.take().or(wanted.topic_name);
                entry.wanted = Wanted { topic_name, ..wanted };
            }
        }
        let added = order.into_iter().filter_map(|key| changed.remove(&key));
        self.entries.extend(added.map(|wanted| Entry { wanted, told: None }));
    }

    fn take_note(&mut self, answers: &mut Vec<(PartitionKey, PartitionData)>, only_changes: bool) {
        let mut told: BTreeMap<PartitionKey, Told> = BTreeMap::new();
        let mut with_records: BTreeSet<PartitionKey> = BTreeSet::new();
        let known: BTreeMap<&PartitionKey, Option<Told>> =
            self.entries.iter().map(|entry| (&entry.wanted.key, entry.told)).collect();
        answers.retain(|(key, answer)| {
            let now = Told {
                high_watermark: answer.high_watermark,
                log_start: answer.log_start_offset,
                is_error: answer.error_code != 0,
            };
            let has_records = answer.records.iter().flatten().any(|batch| !batch.is_empty());
            if has_records {
                with_records.insert(key.clone());
            }
            told.insert(key.clone(), now);
            let is_news = has_records || now.is_error || answer.diverging_epoch != EpochEndOffset::default();
            !only_changes || is_news || known.get(key).copied().flatten() != Some(now)
        });
        for entry in &mut self.entries {
            if let Some(now) = told.remove(&entry.wanted.key) {
                entry.told = Some(now);
            }
        }
        // A stable partition: those with records move behind those without.
        self.entries.sort_by_key(|entry| with_records.contains(&entry.wanted.key));
    }
}

/// Notes the names of topics whose ids have become known.
fn resolve<'a>(wanted: impl Iterator<Item = &'a mut Wanted>, name_of: &impl Fn(TopicId) -> Option<TopicName>) {
    // Partitions of one topic mostly follow each other.
    let mut last: Option<(TopicId, Option<TopicName>)> = None;
    for one in wanted.filter(|one| one.topic_name.is_none()) {
        let id = one.key.0.id;
        let (_, name) = match last.take() {
            Some(known) if known.0 == id => last.insert(known),
            _ => last.insert((id, name_of(id))),
        };
        one.topic_name.clone_from(name);
    }
}

#[cfg(test)]
mod tests;
