//! Incremental fetch sessions (KIP-227). The broker remembers the partitions that a client fetches,
//! and the state of each in the last response, so that requests and responses contain only changes.
//! Any session may be dropped: its client then begins another one.
//!
//! The cache has a limited number of sessions, and of partitions over all of them. A new session
//! replaces the session that is unused for the longest time, at least two minutes. If there is
//! none, the client fetches without a session.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_kafka_codec_messages::fetch_response::{EpochEndOffset, PartitionData};
use rustmq_model::{LeaderEpoch, Offset, TopicId, TopicName};
use tokio::time::Instant;

/// A session stays for at least this long after its last use
/// (`min.incremental.fetch.session.eviction.ms`).
const EVICTION_AGE: Duration = Duration::from_mins(2);
/// The most partitions of all sessions together.
const PARTITIONS_MAX: usize = 1_000_000;

/// The epoch of a request that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that has no session, or that ends its session.
pub const FINAL_EPOCH: i32 = -1;
/// The id of no session, in requests and responses.
pub const NO_SESSION_ID: i32 = 0;

/// A topic as the client names it: either the name is empty, or the id is zero.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey {
    pub name: String,
    pub id: TopicId,
}

/// A partition as the client names it.
pub type PartitionKey = (TopicKey, i32);

/// The request for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub key: PartitionKey,
    /// The topic's name at the time when its id was first known. `None` for a client that names
    /// topics by name, and while the id is unknown. The name outlives the topic: it distinguishes
    /// the id of a deleted topic from one that never existed.
    pub topic_name: Option<TopicName>,
    pub from: Offset,
    pub bytes_max: usize,
    pub current_leader_epoch: Option<LeaderEpoch>,
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// The part of a Fetch request that concerns sessions.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    pub id: i32,
    pub epoch: i32,
    pub wanted: Vec<Wanted>,
    pub forgotten: Vec<PartitionKey>,
    /// Whether topics are named by id, as from version 13 on. A session keeps to one of both.
    pub names_by_id: bool,
}

/// Why a session cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the fetch session is not known")]
    UnknownId,
    #[error("the fetch session is at another epoch")]
    WrongEpoch,
    #[error("the fetch session names topics the other way")]
    TopicIds,
}

/// The state of a partition in the last response that contained it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LastAnswer {
    high_watermark: i64,
    log_start: i64,
    is_error: bool,
}

struct Entry {
    wanted: Wanted,
    last_answer: Option<LastAnswer>,
}

struct Session {
    epoch: i32,
    names_by_id: bool,
    /// In the order of fetching. A partition that had records moves to the end, so that each gets
    /// its turn although the size of responses is limited.
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

/// One fetch under way: the partitions to fetch, and the session of the response.
#[derive(Debug)]
pub struct FetchContext {
    pub wanted: Vec<Wanted>,
    pub session: SessionUse,
}

/// The session of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionUse {
    /// There is no session. The response contains every partition.
    None,
    /// The session with this id begins. The response contains every partition.
    Opened(i32),
    /// The response contains the partitions that have changed.
    Continued(i32),
}

impl SessionUse {
    /// The id in the response.
    pub const fn id(self) -> i32 {
        match self {
            Self::None => NO_SESSION_ID,
            Self::Opened(id) | Self::Continued(id) => id,
        }
    }
}

impl FetchSessions {
    /// An empty cache. Ids begin at a random number, so that the session of a client from before a
    /// restart is not taken for another client's session.
    pub fn new(sessions_max: usize, count: Gauge) -> Self {
        let first_id = i32::try_from(uuid::Uuid::new_v4().as_u128() >> 98).map_or(1, |id| id.max(1));
        let cache = Cache { sessions: BTreeMap::new(), partitions: 0, next_id: first_id };
        Self { cache: Mutex::new(cache), sessions_max, count }
    }

    /// Finds or opens the session of a request, and returns the partitions to fetch. `name_of`
    /// returns the name of a topic id.
    ///
    /// # Errors
    /// If the request continues a session that is unknown, at another epoch, or names topics in the
    /// other way.
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

    /// Remembers the answers, and removes those that the client has already.
    pub fn finish(&self, session: SessionUse, answers: &mut Vec<(PartitionKey, PartitionData)>) {
        let (SessionUse::Opened(id) | SessionUse::Continued(id)) = session else { return };
        let mut cache = self.cache.lock();
        // The session may have been evicted meanwhile: the client's next request fails.
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
        let entries = request.wanted.iter().map(|wanted| Entry { wanted: wanted.clone(), last_answer: None });
        let session = Session { epoch: 1, names_by_id: request.names_by_id, entries: entries.collect(), used_at: now };
        self.partitions += size;
        self.sessions.insert(id, session);
        Some(id)
    }

    /// An id that is positive and not in use.
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
            // A session without partitions ends. Without a session in the response, the client
            // begins another one.
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
        self.entries.extend(added.map(|wanted| Entry { wanted, last_answer: None }));
    }

    fn take_note(&mut self, answers: &mut Vec<(PartitionKey, PartitionData)>, only_changes: bool) {
        let mut noted: BTreeMap<PartitionKey, LastAnswer> = BTreeMap::new();
        let mut with_records: BTreeSet<PartitionKey> = BTreeSet::new();
        let last: BTreeMap<&PartitionKey, Option<LastAnswer>> =
            self.entries.iter().map(|entry| (&entry.wanted.key, entry.last_answer)).collect();
        answers.retain(|(key, answer)| {
            let now = LastAnswer {
                high_watermark: answer.high_watermark,
                log_start: answer.log_start_offset,
                is_error: answer.error_code != 0,
            };
            let has_records = answer.records.iter().flatten().any(|batch| !batch.is_empty());
            if has_records {
                with_records.insert(key.clone());
            }
            noted.insert(key.clone(), now);
            let is_new = has_records || now.is_error || answer.diverging_epoch != EpochEndOffset::default();
            !only_changes || is_new || last.get(key).copied().flatten() != Some(now)
        });
        for entry in &mut self.entries {
            if let Some(now) = noted.remove(&entry.wanted.key) {
                entry.last_answer = Some(now);
            }
        }
        // The sort is stable: partitions with records move behind those without.
        self.entries.sort_by_key(|entry| with_records.contains(&entry.wanted.key));
    }
}

/// Adds the names of topics whose ids have become known.
fn resolve<'a>(wanted: impl Iterator<Item = &'a mut Wanted>, name_of: &impl Fn(TopicId) -> Option<TopicName>) {
    // Successive partitions mostly belong to one topic.
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
