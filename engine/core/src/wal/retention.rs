//! The log start that retention by age and size asks for. The leader decides it and writes a trim
//! frame.

use std::time::Duration;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp};

/// The header of a batch for the WAL's indexes: a batch whose records have no timestamp ages from
/// `appended_at` on. Kafka uses the time of the segment's file in that case.
#[must_use]
pub fn dated(header: &BatchHeader, appended_at: Timestamp) -> BatchHeader {
    if is_dated(header.max_timestamp) { *header } else { BatchHeader { max_timestamp: appended_at, ..*header } }
}

/// Whether the records have a timestamp to age by.
pub(super) const fn is_dated(max_timestamp: Timestamp) -> bool {
    max_timestamp.0 >= 0
}

/// A part of a log, as fine as is known without a read: the batches of a group, or of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub end: Offset,
    pub bytes: u64,
    pub max_timestamp: Timestamp,
}

/// `retention.ms` and `retention.bytes`; `None` sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    pub time: Option<Duration>,
    pub bytes: Option<u64>,
}

/// The log start that retention asks for, if it asks for a change: the end of the longest prefix of
/// `parts` that is too old, or that leaves at least `limits.bytes` after it. `parts` come oldest
/// first, with `bytes` in all. Stops at the first part that stays, and reads no part after it; so
/// one record from the future keeps all that follow, as in Kafka.
#[must_use]
pub fn log_start_after(
    parts: impl Iterator<Item = Part>,
    bytes: u64,
    limits: RetentionLimits,
    now: Timestamp,
) -> Option<Offset> {
    let too_old = |part: &Part| {
        limits.time.is_some_and(|time| {
            let age = i128::from(now.0) - i128::from(part.max_timestamp.0);
            is_dated(part.max_timestamp) && age > i128::try_from(time.as_millis()).unwrap_or(i128::MAX)
        })
    };
    let mut left = bytes;
    let mut start = None;
    for part in parts {
        let after = left.saturating_sub(part.bytes);
        if !too_old(&part) && limits.bytes.is_none_or(|bytes| after < bytes) {
            break;
        }
        left = after;
        start = Some(part.end);
    }
    start
}

#[cfg(test)]
mod tests {
    use super::{Part, RetentionLimits, dated, log_start_after};
    use rustmq_model::batch::{BatchHeader, Codec};
    use rustmq_model::record::BatchBuilder;
    use rustmq_model::{Offset, Timestamp};
    use std::time::Duration;

    #[test]
    fn retention_cuts_a_prefix_and_stops_at_the_first_part_that_stays() {
        let part = |end, bytes, at| Part { end: Offset(end), bytes, max_timestamp: Timestamp(at) };
        let parts = [part(10, 100, 1_000), part(20, 100, 9_000), part(30, 100, 2_000)];
        let check = |ms: Option<u64>, bytes, expected: Option<i64>| {
            let limits = RetentionLimits { time: ms.map(Duration::from_millis), bytes };
            assert_eq!(
                log_start_after(parts.into_iter(), 300, limits, Timestamp(10_000)),
                expected.map(Offset),
                "{limits:?}"
            );
        };
        check(None, None, None);
        check(Some(9_000), None, None);
        check(Some(8_999), None, Some(10));
        check(Some(5_000), None, Some(10));
        check(Some(500), None, Some(30));
        check(None, Some(300), None);
        check(None, Some(201), None);
        check(None, Some(200), Some(10));
        check(None, Some(0), Some(30));
        check(Some(8_000), Some(150), Some(10));
    }

    #[test]
    fn only_a_batch_without_a_timestamp_ages_from_its_append() {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(Timestamp(5), None, None, &[]);
        let header = BatchHeader::parse(&builder.build()).expect("it was built just now");
        let check = |max_timestamp, expected| {
            let header = BatchHeader { max_timestamp: Timestamp(max_timestamp), ..header };
            assert_eq!(dated(&header, Timestamp(900)).max_timestamp, Timestamp(expected));
        };
        check(-1, 900);
        check(0, 0);
        check(5_000, 5_000);
    }
}
