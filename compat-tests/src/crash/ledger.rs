//! The reports of the load's threads to the auditor: acknowledgements in the order of their
//! arrival, and requests that were sent. Judges nothing.

use super::audit::{Audit, Entry, TopicPartition, Violation};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An answer of the broker.
#[derive(Clone, Debug)]
pub enum Report {
    Record {
        place: TopicPartition,
        offset: i64,
        entry: Entry,
    },
    Commit {
        group: String,
        place: TopicPartition,
        offset: i64,
    },
    Created {
        topic: String,
        partitions: usize,
    },
    Deleted {
        topic: String,
    },
    /// An error that no correct broker causes, whatever the moment of its crash.
    Failure(String),
}

#[derive(Debug, Default)]
pub struct Ledger {
    reports: Mutex<Vec<Report>>,
    /// The highest offset that a group has tried to commit.
    commits_sent: Mutex<BTreeMap<(String, TopicPartition), i64>>,
    deletions_sent: Mutex<BTreeSet<String>>,
}

/// A thread that panicked has already reported that; its entries here are complete.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub fn report(&self, report: Report) {
        lock(&self.reports).push(report);
    }

    /// Called before a commit is sent.
    pub fn send_commit(&self, group: &str, place: &TopicPartition, offset: i64) {
        let mut sent = lock(&self.commits_sent);
        let highest = sent.entry((group.into(), place.clone())).or_insert(offset);
        *highest = offset.max(*highest);
    }

    pub fn highest_sent(&self, group: &str, place: &TopicPartition) -> i64 {
        lock(&self.commits_sent).get(&(group.to_owned(), place.clone())).copied().unwrap_or(-1)
    }

    /// Called before a deletion is sent.
    pub fn send_deletion(&self, topic: &str) {
        lock(&self.deletions_sent).insert(topic.into());
    }

    pub fn deletions_sent(&self) -> BTreeSet<String> {
        lock(&self.deletions_sent).clone()
    }

    /// Moves all reports into the audit. Returns the errors among them, as text.
    pub fn settle(&self, audit: &mut Audit) -> (Vec<Violation>, Vec<String>) {
        let reports = std::mem::take(&mut *lock(&self.reports));
        let (mut violations, mut failures) = (Vec::new(), Vec::new());
        for report in reports {
            match report {
                Report::Record { place, offset, entry } => violations.extend(audit.acknowledge(&place, offset, entry)),
                Report::Commit { group, place, offset } => audit.acknowledge_commit(&group, &place, offset),
                Report::Created { topic, partitions } => audit.create(&topic, partitions),
                Report::Deleted { topic } => {
                    audit.unwatch(&topic);
                    audit.acknowledge_deletion(&topic);
                }
                Report::Failure(text) => failures.push(text),
            }
        }
        (violations, failures)
    }
}
