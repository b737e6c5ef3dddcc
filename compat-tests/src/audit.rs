//! The judge of the crash proof: compares what was acknowledged with what the log holds. Pure, so that its own tests can show that
//! it finds what it must. A record's body tells who wrote it and as which of its records, and follows from that to the last byte.

use crate::noise::Noise;
use std::collections::{BTreeMap, BTreeSet};

/// A record as its writer numbers it: per writer and partition, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub writer: u32,
    pub partition: i32,
    pub number: u64,
}

impl Mark {
    /// The body of the record: the mark in text, a line end, and noise of a length that follows from the mark.
    pub fn body(self) -> Vec<u8> {
        let Mark { writer, partition, number } = self;
        let seed = number << 20 ^ u64::from(writer) << 10 ^ u64::from(partition.unsigned_abs());
        let mut noise = Noise::new(seed);
        let length = usize::try_from(noise.between(0, 700)).unwrap_or(0);
        let mut body = format!("{writer} {partition} {number}\n").into_bytes();
        body.extend(noise.bytes(length));
        body
    }

    /// The mark of a body, when the body is exactly what the mark demands.
    pub fn of(body: &[u8]) -> Option<Mark> {
        let end = body.iter().position(|byte| *byte == b'\n')?;
        let mut fields = std::str::from_utf8(&body[..end]).ok()?.split(' ');
        let mut next = || fields.next()?.parse::<u64>().ok();
        let (writer, partition, number) = (next()?, next()?, next()?);
        let mark = Mark { writer: u32::try_from(writer).ok()?, partition: i32::try_from(partition).ok()?, number };
        (mark.body() == body).then_some(mark)
    }
}

/// What the broker promised.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// Where each acknowledged record went.
    pub acknowledged: Vec<(Mark, i64)>,
    /// Records whose delivery failed for good: they may be missing.
    pub refused: BTreeSet<Mark>,
}

/// A record of the log.
#[derive(Clone, Debug)]
pub struct Logged {
    pub partition: i32,
    pub offset: i64,
    pub body: Vec<u8>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An acknowledged record is not at its offset.
    Lost { mark: Mark, offset: i64 },
    /// Something else is there.
    Replaced { mark: Mark, offset: i64, found: Option<Mark> },
    /// A body that no writer wrote.
    Corrupt { partition: i32, offset: i64 },
    /// A record is there twice.
    Doubled { mark: Mark, offset: i64 },
    /// A record stands before one that was written earlier, or one in between is missing.
    OutOfOrder { mark: Mark, offset: i64, expected: u64 },
    /// Offsets do not follow each other.
    Gap { partition: i32, offset: i64, expected: i64 },
}

/// Every broken promise. `log` has each partition's records in the order read, from its first offset on.
pub fn audit(promises: &Promises, log: &[Logged]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut next_offset: BTreeMap<i32, i64> = BTreeMap::new();
    let mut next_number: BTreeMap<(u32, i32), u64> = BTreeMap::new();
    let mut found: BTreeMap<(i32, i64), Option<Mark>> = BTreeMap::new();
    for Logged { partition, offset, body } in log {
        let (partition, offset) = (*partition, *offset);
        let expected = next_offset.insert(partition, offset + 1).unwrap_or(0);
        if offset != expected {
            findings.push(Finding::Gap { partition, offset, expected });
        }
        let mark = Mark::of(body).filter(|mark| mark.partition == partition);
        found.insert((partition, offset), mark);
        let Some(mark) = mark else {
            findings.push(Finding::Corrupt { partition, offset });
            continue;
        };
        let next = next_number.entry((mark.writer, partition)).or_insert(0);
        while *next < mark.number && promises.refused.contains(&Mark { number: *next, ..mark }) {
            *next += 1;
        }
        if mark.number < *next {
            findings.push(Finding::Doubled { mark, offset });
        } else {
            if mark.number > *next {
                findings.push(Finding::OutOfOrder { mark, offset, expected: *next });
            }
            *next = mark.number + 1;
        }
    }
    for (mark, offset) in &promises.acknowledged {
        let (mark, offset) = (*mark, *offset);
        match found.get(&(mark.partition, offset)) {
            Some(Some(there)) if *there == mark => {}
            Some(there) => findings.push(Finding::Replaced { mark, offset, found: *there }),
            None => findings.push(Finding::Lost { mark, offset }),
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> Mark {
        Mark { writer: 2, partition: 5, number }
    }

    /// A log of one partition with these records, and the promises that it keeps.
    fn kept(numbers: &[u64]) -> (Promises, Vec<Logged>) {
        let log =
            (0..).zip(numbers).map(|(offset, n)| Logged { partition: 5, offset, body: mark(*n).body() }).collect();
        let acknowledged = (0..).zip(numbers).map(|(offset, n)| (mark(*n), offset)).collect();
        (Promises { acknowledged, refused: BTreeSet::new() }, log)
    }

    #[test]
    fn a_log_that_keeps_its_promises_has_no_findings() {
        let (promises, log) = kept(&[0, 1, 2, 3]);
        assert_eq!(audit(&promises, &log), []);
    }

    #[test]
    fn a_lost_tail_is_found() {
        let (promises, mut log) = kept(&[0, 1, 2, 3]);
        log.pop();
        assert_eq!(audit(&promises, &log), [Finding::Lost { mark: mark(3), offset: 3 }]);
    }

    #[test]
    fn a_batch_that_is_dropped_from_the_middle_is_found() {
        let (promises, mut log) = kept(&[0, 1, 2, 3]);
        log.remove(1);
        let findings = audit(&promises, &log);
        assert!(findings.contains(&Finding::Lost { mark: mark(1), offset: 1 }), "{findings:?}");
        assert!(findings.contains(&Finding::Gap { partition: 5, offset: 2, expected: 1 }), "{findings:?}");
    }

    #[test]
    fn a_record_appended_twice_is_found() {
        let (mut promises, log) = kept(&[0, 1, 1, 2]);
        promises.acknowledged.remove(2);
        assert_eq!(audit(&promises, &log), [Finding::Doubled { mark: mark(1), offset: 2 }]);
    }

    #[test]
    fn records_that_change_places_are_found() {
        let (_, log) = kept(&[0, 2, 1, 3]);
        let findings = audit(&Promises::default(), &log);
        assert_eq!(findings[0], Finding::OutOfOrder { mark: mark(2), offset: 1, expected: 1 });
    }

    #[test]
    fn one_changed_bit_is_found() {
        let (promises, mut log) = kept(&[0, 1, 2]);
        *log[1].body.last_mut().expect("a body is never empty") ^= 1;
        let findings = audit(&promises, &log);
        assert!(findings.contains(&Finding::Corrupt { partition: 5, offset: 1 }), "{findings:?}");
    }

    #[test]
    fn what_was_refused_may_be_missing_and_only_that() {
        let (mut promises, log) = kept(&[0, 3]);
        promises.refused = [mark(1), mark(2)].into();
        assert_eq!(audit(&promises, &log), []);
        promises.refused = [mark(1)].into();
        assert_eq!(audit(&promises, &log), [Finding::OutOfOrder { mark: mark(3), offset: 1, expected: 2 }]);
    }
}
