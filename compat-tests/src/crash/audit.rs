//! Compares acknowledgements with reads: a pure function over both, which is called as a campaign
//! proceeds. It remembers what was read, so that each incremental reading needs only new records,
//! and a full reading proves that no old record has changed. It does no I/O, and assumes no order
//! of the acknowledgements.

use std::collections::BTreeMap;
use std::fmt;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// One record: its producer, its number among that producer's records in this partition, and a hash
/// of all its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub producer: u32,
    pub sequence: u64,
    pub hash: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of producer {}", self.sequence, self.producer)
    }
}

/// The content of a log, as one reading found it.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The offset where the reading was to begin.
    pub from: i64,
    /// The log start, read after the records: records below it may have been deleted during the
    /// reading.
    pub log_start: i64,
    /// The log end, read before the records: the records below it are expected, and later ones are
    /// ignored.
    pub end: i64,
    /// By offset, in the order in which the consumer returned them. `None` is a record of an
    /// unknown producer.
    pub records: Vec<(i64, Option<Entry>)>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The offset has no record. `entry` is the record that was acknowledged or read there before,
    /// if any.
    Missing { place: TopicPartition, offset: i64, entry: Option<Entry> },
    /// The offset has another record than the acknowledged one, or than an earlier reading found
    /// there.
    Differs { place: TopicPartition, offset: i64, expected: Entry, found: Entry },
    /// The bytes are not one of our records.
    Foreign { place: TopicPartition, offset: i64 },
    /// A producer's record comes after one that it wrote later, or a second time.
    OutOfOrder { place: TopicPartition, offset: i64, entry: Entry, after: u64 },
    /// The log ends below a record that was read or acknowledged before.
    Shrank { place: TopicPartition, end: i64, expected: i64 },
    /// The log starts at a wrong offset: records that must stay were deleted, or deleted ones came
    /// back.
    LogStart { place: TopicPartition, log_start: i64, before: i64 },
    /// An acknowledged commit is missing, or a commit exists that was never sent.
    Commit { group: String, place: TopicPartition, acknowledged: i64, sent: i64, found: i64 },
    /// An acknowledged topic has another number of partitions; 0 if it does not exist.
    Topic { name: String, expected: usize, found: usize },
    /// A topic exists although its deletion was acknowledged.
    Undeleted { name: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Missing { place, offset, entry: Some(entry) } => {
                write!(f, "{place}: {entry} is gone from offset {offset}")
            }
            Violation::Missing { place, offset, entry: None } => write!(f, "{place}: offset {offset} holds nothing"),
            Violation::Differs { place, offset, expected, found } => {
                write!(
                    f,
                    "{place}: offset {offset} holds {found}, not {expected} (hashes {:x} and {:x})",
                    found.hash, expected.hash
                )
            }
            Violation::Foreign { place, offset } => write!(f, "{place}: offset {offset} holds bytes that nobody wrote"),
            Violation::OutOfOrder { place, offset, entry, after } => {
                write!(f, "{place}: {entry} at offset {offset} comes after its record {after}")
            }
            Violation::Shrank { place, end, expected } => {
                write!(f, "{place}: the log ends at {end}, below {expected}, which was promised")
            }
            Violation::LogStart { place, log_start, before } => {
                write!(f, "{place}: the log begins at {log_start}, after it began at {before}")
            }
            Violation::Commit { group, place, acknowledged, sent, found } => write!(
                f,
                "{group}: committed in {place} is {found}; acknowledged was {acknowledged}, the highest sent {sent}"
            ),
            Violation::Topic { name, expected, found } => {
                write!(f, "topic {name} has {found} partitions, created with {expected}")
            }
            Violation::Undeleted { name } => write!(f, "topic {name} is back, though its deletion was acknowledged"),
        }
    }
}

/// Whether the oldest records of a log may be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Retention {
    #[default]
    Everything,
    /// Retention deletes the oldest records.
    Tail,
}

#[derive(Debug, Default)]
struct Log {
    retention: Retention,
    log_start: i64,
    /// Everything below this offset was read.
    end: i64,
    /// One past the highest acknowledged offset.
    promised: i64,
    acknowledged: BTreeMap<i64, Entry>,
    read: BTreeMap<i64, Entry>,
    /// The highest sequence of each producer below `end`.
    latest: BTreeMap<u32, u64>,
}

/// All promises so far.
#[derive(Debug, Default)]
pub struct Audit {
    logs: BTreeMap<TopicPartition, Log>,
    /// The highest acknowledged commit, by group.
    commits: BTreeMap<(String, TopicPartition), i64>,
    topics: BTreeMap<String, usize>,
    deleted: Vec<String>,
    records: u64,
    commits_acknowledged: u64,
}

impl Audit {
    /// Watches a log, from its first record on.
    pub fn watch(&mut self, place: TopicPartition, retention: Retention) {
        self.logs.insert(place, Log { retention, ..Log::default() });
    }

    /// The watched logs, each with the offset below which it was read already.
    pub fn unread(&self) -> Vec<(TopicPartition, i64)> {
        self.logs.iter().map(|(place, log)| (place.clone(), log.end)).collect()
    }

    /// The log start that the last reading found.
    pub fn log_start(&self, place: &TopicPartition) -> i64 {
        self.logs.get(place).map_or(0, |log| log.log_start)
    }

    /// The number of acknowledged records and commits so far.
    pub fn promises(&self) -> (u64, u64) {
        (self.records, self.commits_acknowledged)
    }

    /// A record was acknowledged at `offset`. Ignored if its log is no longer watched.
    pub fn acknowledge(&mut self, place: &TopicPartition, offset: i64, entry: Entry) -> Option<Violation> {
        let log = self.logs.get_mut(place)?;
        self.records += 1;
        if offset < log.log_start {
            return None;
        }
        log.promised = log.promised.max(offset + 1);
        let held = log.acknowledged.get(&offset).or_else(|| log.read.get(&offset)).copied();
        log.acknowledged.insert(offset, entry);
        match held {
            Some(found) if found != entry => {
                Some(Violation::Differs { place: place.clone(), offset, expected: entry, found })
            }
            None if offset < log.end => Some(Violation::Missing { place: place.clone(), offset, entry: Some(entry) }),
            _ => None,
        }
    }

    /// Checks a reading of a log. It must have begun after all acknowledgements that were recorded
    /// here.
    pub fn read(&mut self, place: &TopicPartition, reading: &Reading) -> Vec<Violation> {
        let Some(log) = self.logs.get_mut(place) else { return Vec::new() };
        let mut violations = log.bounds(place, reading);
        violations.extend(log.records(place, reading));
        log.forget_below(reading.log_start);
        log.end = log.end.max(reading.end);
        violations
    }

    pub fn acknowledge_commit(&mut self, group: &str, place: &TopicPartition, offset: i64) {
        let highest = self.commits.entry((group.into(), place.clone())).or_insert(offset);
        *highest = offset.max(*highest);
        self.commits_acknowledged += 1;
    }

    /// The groups, and the places where they committed.
    pub fn committed(&self) -> BTreeMap<String, Vec<TopicPartition>> {
        let mut groups: BTreeMap<String, Vec<TopicPartition>> = BTreeMap::new();
        for (group, place) in self.commits.keys() {
            groups.entry(group.clone()).or_default().push(place.clone());
        }
        groups
    }

    /// Checks the answer of a group's coordinator, which must be later than all acknowledgements
    /// that were recorded here; -1 for no commit. `sent` is the highest offset that was ever sent.
    /// Commits only rise, so any offset from the acknowledged one up to `sent` is correct.
    pub fn read_commit(&self, group: &str, place: &TopicPartition, found: i64, sent: i64) -> Option<Violation> {
        let acknowledged = *self.commits.get(&(group.to_owned(), place.clone()))?;
        let kept = acknowledged <= found && found <= sent;
        (!kept).then(|| Violation::Commit { group: group.into(), place: place.clone(), acknowledged, sent, found })
    }

    /// A topic's creation was acknowledged.
    pub fn create(&mut self, name: &str, partitions: usize) {
        self.topics.insert(name.into(), partitions);
    }

    /// A topic's deletion was sent: until it is acknowledged, the topic may exist or not.
    pub fn unwatch(&mut self, name: &str) {
        self.topics.remove(name);
        self.logs.retain(|place, _| place.topic != name);
        self.commits.retain(|(_, place), _| place.topic != name);
    }

    pub fn acknowledge_deletion(&mut self, name: &str) {
        self.deleted.push(name.into());
    }

    /// Checks all topics with their numbers of partitions, as the broker lists them now.
    pub fn read_topics(&self, listed: &BTreeMap<String, usize>) -> Vec<Violation> {
        let found = |name: &String| listed.get(name).copied().unwrap_or(0);
        let changed = self.topics.iter().filter(|(name, expected)| found(name) != **expected);
        let changed = changed.map(|(name, expected)| Violation::Topic {
            name: name.clone(),
            expected: *expected,
            found: found(name),
        });
        let back = self.deleted.iter().filter(|name| listed.contains_key(*name));
        changed.chain(back.map(|name| Violation::Undeleted { name: name.clone() })).collect()
    }
}

impl Log {
    fn bounds(&self, place: &TopicPartition, reading: &Reading) -> Vec<Violation> {
        let mut violations = Vec::new();
        let expected = self.end.max(self.promised);
        if reading.end < expected {
            violations.push(Violation::Shrank { place: place.clone(), end: reading.end, expected });
        }
        let lost = self.retention == Retention::Everything && reading.log_start > 0;
        if reading.log_start < self.log_start || lost {
            violations.push(Violation::LogStart {
                place: place.clone(),
                log_start: reading.log_start,
                before: self.log_start,
            });
        }
        violations
    }

    fn records(&mut self, place: &TopicPartition, reading: &Reading) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut due = reading.from.max(reading.log_start);
        for (offset, entry) in &reading.records {
            let offset = *offset;
            violations.extend(self.missing(place, due.max(reading.log_start), offset.min(reading.end)));
            due = due.max(offset + 1);
            let Some(entry) = *entry else {
                violations.push(Violation::Foreign { place: place.clone(), offset });
                continue;
            };
            let held = [self.acknowledged.get(&offset), self.read.get(&offset)];
            if let Some(expected) = held.into_iter().flatten().find(|held| **held != entry) {
                let expected = *expected;
                violations.push(Violation::Differs { place: place.clone(), offset, expected, found: entry });
            }
            if self.read.insert(offset, entry).is_none() {
                violations.extend(self.order(place, offset, entry));
            }
        }
        violations.extend(self.missing(place, due, reading.end));
        violations
    }

    fn missing(&self, place: &TopicPartition, from: i64, to: i64) -> Vec<Violation> {
        let entry = |offset: &i64| self.acknowledged.get(offset).or_else(|| self.read.get(offset)).copied();
        (from..to).map(|offset| Violation::Missing { place: place.clone(), offset, entry: entry(&offset) }).collect()
    }

    fn order(&mut self, place: &TopicPartition, offset: i64, entry: Entry) -> Option<Violation> {
        let latest = self.latest.insert(entry.producer, entry.sequence)?;
        (latest >= entry.sequence).then(|| {
            self.latest.insert(entry.producer, latest);
            Violation::OutOfOrder { place: place.clone(), offset, entry, after: latest }
        })
    }

    fn forget_below(&mut self, log_start: i64) {
        self.log_start = self.log_start.max(log_start);
        self.acknowledged = self.acknowledged.split_off(&self.log_start);
        self.read = self.read.split_off(&self.log_start);
    }
}

#[cfg(test)]
mod tests;
