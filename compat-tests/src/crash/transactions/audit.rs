//! Compares what producers know of their transactions with what readers of committed records see: a
//! pure function over both. A transaction that was committed is whole, one that was aborted is
//! invisible, one whose commit got no answer is either, and the offsets that it sent agree with its
//! records. Does no I/O.

use super::payload::Piece;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A transaction: its producer, and its number among that producer's transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transaction {
    pub producer: u32,
    pub number: u64,
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {} of producer {}", self.number, self.producer)
    }
}

/// What the producer knows at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has acknowledged the commit.
    Committed,
    /// No commit was ever requested.
    Aborted,
    /// A commit was requested, and got no answer.
    Unknown,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A part of the records is visible.
    Torn { transaction: Transaction, found: usize, count: u16 },
    /// An acknowledged commit is invisible.
    Lost { transaction: Transaction },
    /// An aborted transaction is visible.
    Dirty { transaction: Transaction },
    /// A record is visible twice.
    Repeated { transaction: Transaction, index: u16 },
    /// A record belongs to no transaction that was begun, or is no record of ours.
    Foreign { partition: i32, offset: i64 },
    /// A group's offset is not the one of its producer's last visible transaction.
    Offset { producer: u32, expected: Option<u64>, found: Option<u64> },
    /// The last stable offset stays below the end, although no transaction is open.
    Hung { partition: i32, stable: i64, end: i64 },
    /// A later reading from the beginning saw other records.
    Changed { before: usize, after: usize },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Torn { transaction, found, count } => {
                write!(f, "{transaction} is torn: {found} of its {count} records are visible")
            }
            Violation::Lost { transaction } => write!(f, "{transaction} was committed and is invisible"),
            Violation::Dirty { transaction } => write!(f, "{transaction} was aborted and is visible"),
            Violation::Repeated { transaction, index } => write!(f, "record {index} of {transaction} is there twice"),
            Violation::Foreign { partition, offset } => write!(f, "{partition}: offset {offset} holds foreign bytes"),
            Violation::Offset { producer, expected, found } => write!(
                f,
                "the offsets of producer {producer} are those of transaction {found:?}, its records of {expected:?}"
            ),
            Violation::Hung { partition, stable, end } => {
                write!(f, "{partition}: the last stable offset stays at {stable} below {end}")
            }
            Violation::Changed { before, after } => {
                write!(f, "{after} visible records, read again from the beginning, and not the {before} of before")
            }
        }
    }
}

/// A visible record, and its place.
#[derive(Clone, Copy, Debug)]
pub struct Visible {
    pub partition: i32,
    pub offset: i64,
    /// `None` for bytes that are no record of ours.
    pub piece: Option<Piece>,
}

/// All transactions so far.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    outcomes: BTreeMap<Transaction, Outcome>,
    /// The indexes of the visible records, and how many there should be.
    visible: BTreeMap<Transaction, (BTreeSet<u16>, u16)>,
    records: usize,
}

impl Audit {
    pub fn note(&mut self, transaction: Transaction, outcome: Outcome) {
        self.outcomes.insert(transaction, outcome);
    }

    pub fn count(&self, outcome: Outcome) -> usize {
        self.outcomes.values().filter(|one| **one == outcome).count()
    }

    /// The number of visible records.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Forgets what was visible, before everything is read again.
    pub fn forget_visible(&mut self) {
        self.visible.clear();
        self.records = 0;
    }

    /// Takes what a reader of committed records found. Nothing may be open, or be read twice.
    pub fn read(&mut self, found: &[Visible]) -> Vec<Violation> {
        let mut violations = Vec::new();
        for Visible { partition, offset, piece } in found {
            let Some(piece) = piece.filter(|piece| self.outcomes.contains_key(&piece.transaction)) else {
                violations.push(Violation::Foreign { partition: *partition, offset: *offset });
                continue;
            };
            self.records += 1;
            let (indexes, _) = self.visible.entry(piece.transaction).or_insert((BTreeSet::new(), piece.count));
            if !indexes.insert(piece.index) {
                violations.push(Violation::Repeated { transaction: piece.transaction, index: piece.index });
            }
        }
        violations
    }

    /// Judges all transactions. Every record must have been read.
    pub fn judge(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (transaction, (indexes, count)) in &self.visible {
            let transaction = *transaction;
            if indexes.len() != usize::from(*count) {
                violations.push(Violation::Torn { transaction, found: indexes.len(), count: *count });
            }
            if self.outcomes.get(&transaction) == Some(&Outcome::Aborted) {
                violations.push(Violation::Dirty { transaction });
            }
        }
        for (transaction, outcome) in &self.outcomes {
            if *outcome == Outcome::Committed && !self.visible.contains_key(transaction) {
                violations.push(Violation::Lost { transaction: *transaction });
            }
        }
        violations
    }

    /// The number of the producer's last visible transaction.
    pub fn last_visible(&self, producer: u32) -> Option<u64> {
        let all = Transaction { producer, number: 0 }..=Transaction { producer, number: u64::MAX };
        self.visible.range(all).next_back().map(|(transaction, _)| transaction.number)
    }
}

#[cfg(test)]
mod tests;
