//! Offsets of a partition's log: its start and end, the offset at a timestamp, and the end of a
//! leader epoch.

use rustmq_broker_core::ErrorKind;
use rustmq_engine_api::{EpochEnd, FoundOffset, Frontiers, Isolation, PartitionReader, ReadError};
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp};

use crate::session::Session;
use crate::storage::{OffsetOutOfRange, UnreadableError};
use crate::view::{LocateError, TopicRef};

/// The offset that a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// One past the last record that the isolation level shows.
    Latest,
    /// The first record.
    Earliest,
    /// The first record with the largest timestamp (KIP-734).
    LargestTimestamp,
    /// The first record on local disks (KIP-405): earlier ones are in the object tier alone.
    EarliestLocal,
    /// The last record in the object tier (KIP-1005).
    LatestTiered,
    /// The first record with at least this timestamp.
    Timestamp(Timestamp),
}

#[derive(Clone, Debug)]
pub struct OffsetQuery {
    pub topic: TopicRef,
    pub partition: PartitionId,
    pub current_leader_epoch: Option<LeaderEpoch>,
    pub at: OffsetAt,
}

#[derive(Clone, Debug)]
pub struct EpochQuery {
    pub topic: TopicRef,
    pub partition: PartitionId,
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the reader's last record; none if it has no record. Then the answer has no end
    /// offset: any offset, even 0, would make the reader truncate its log.
    pub epoch: Option<LeaderEpoch>,
}

/// Why a query has no offset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListOffsetsError {
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The log was cut back during the search.
    #[error(transparent)]
    OffsetOutOfRange(#[from] OffsetOutOfRange),
    #[error("The queue of reads from disk is at its limit: try again.")]
    Busy,
    #[error(transparent)]
    Unreadable(#[from] UnreadableError),
}

impl ListOffsetsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Locate(error) => error.kind(),
            Self::OffsetOutOfRange(_) => ErrorKind::Invalid,
            Self::Busy => ErrorKind::Retry,
            Self::Unreadable(error) => error.kind(),
        }
    }
}

impl Session {
    /// Offsets by position or time, in the order of the queries; `None` if no record matches the
    /// query.
    pub async fn list_offsets(
        &self,
        isolation: Isolation,
        queries: Vec<OffsetQuery>,
    ) -> Vec<Result<Option<FoundOffset>, ListOffsetsError>> {
        let mut results = Vec::with_capacity(queries.len());
        for query in queries {
            results.push(self.list_offset(isolation, &query).await);
        }
        results
    }

    async fn list_offset(
        &self,
        isolation: Isolation,
        query: &OffsetQuery,
    ) -> Result<Option<FoundOffset>, ListOffsetsError> {
        let located = self.broker.locate(&query.topic, query.partition, query.current_leader_epoch)?;
        let (reader, refused) = (&located.reader, |error| refusal(error, || located.gone()));
        let (frontiers, leader_epoch) = reader.frontiers_and_epoch();
        let limit = |frontiers: Frontiers| isolation.frontier().of(&frontiers);
        let timestamp = Timestamp::NONE;
        // Read after the search, which may find a record that was committed meanwhile.
        let below_limit = |found: Option<FoundOffset>| found.filter(|found| found.offset < limit(reader.frontiers()));
        match query.at {
            OffsetAt::Latest => Ok(Some(FoundOffset { offset: limit(frontiers), timestamp, leader_epoch })),
            // Without an object tier everything is local.
            OffsetAt::Earliest | OffsetAt::EarliestLocal => {
                let leader_epoch = epoch_at(reader, frontiers.log_start, leader_epoch);
                Ok(Some(FoundOffset { offset: frontiers.log_start, timestamp, leader_epoch }))
            }
            OffsetAt::LatestTiered => Ok(None),
            OffsetAt::LargestTimestamp => Ok(below_limit(reader.max_timestamp().await.map_err(refused)?)),
            OffsetAt::Timestamp(at) => Ok(below_limit(reader.offset_for_timestamp(at).await.map_err(refused)?)),
        }
    }

    /// The end offsets of leader epochs, for readers that check whether their log is a prefix of
    /// this one (KIP-320). `None` if the log knows no epoch at or below the queried one, or if the
    /// query has no epoch.
    #[must_use]
    pub fn epoch_ends(&self, queries: &[EpochQuery]) -> Vec<Result<Option<EpochEnd>, LocateError>> {
        let end = |query: &EpochQuery| {
            let reader = self.broker.locate(&query.topic, query.partition, query.current_leader_epoch)?.reader;
            Ok(query.epoch.and_then(|epoch| reader.end_offset_for_epoch(epoch)))
        };
        queries.iter().map(end).collect()
    }
}

fn refusal(error: ReadError, gone: impl FnOnce() -> LocateError) -> ListOffsetsError {
    match error {
        ReadError::OutOfRange { requested, frontiers } => OffsetOutOfRange::new(requested, frontiers).into(),
        ReadError::Closed => gone().into(),
        ReadError::Busy => ListOffsetsError::Busy,
        ReadError::Damaged { first, end } => UnreadableError::Damaged { first, end }.into(),
        ReadError::Storage(failure) => UnreadableError::Failed(failure).into(),
    }
}

/// The leader epoch of the record at `offset`: the earliest epoch that ends above it.
fn epoch_at(reader: &PartitionReader, offset: Offset, current: LeaderEpoch) -> LeaderEpoch {
    let mut epoch = current;
    while let Some(before) = reader.end_offset_for_epoch(LeaderEpoch(epoch.0 - 1)) {
        if before.end_offset <= offset {
            break;
        }
        epoch = before.epoch;
    }
    epoch
}

#[cfg(test)]
mod tests {
    use rustmq_engine_api::{Frontiers, ReadError, ReadFailure, ReadFailureCause};
    use rustmq_model::Offset;

    use super::{ListOffsetsError, refusal};
    use crate::storage::{OffsetOutOfRange, UnreadableError};
    use crate::view::{LocateError, UnknownTopic};

    #[test]
    fn what_the_engine_refuses_keeps_its_facts() {
        // An error that differs from all others.
        let gone = || LocateError::from(UnknownTopic::Name("orders".to_owned()));
        let check = |error: ReadError, expected: ListOffsetsError| assert_eq!(refusal(error, gone), expected);
        let (requested, log_start, end) = (Offset(9), Offset(3), Offset(6));
        let high_watermark = Offset(5);
        let frontiers = Frontiers { log_start, durable_end: end, high_watermark, ..Frontiers::default() };
        let outside = OffsetOutOfRange { requested, log_start, end, high_watermark };
        check(ReadError::OutOfRange { requested, frontiers }, outside.into());
        check(ReadError::Closed, gone().into());
        check(ReadError::Busy, ListOffsetsError::Busy);
        let damaged = UnreadableError::Damaged { first: log_start, end };
        check(ReadError::Damaged { first: log_start, end }, damaged.into());
        let failure = ReadFailure { cause: ReadFailureCause::Damage, detail: "checksum".to_owned() };
        check(ReadError::Storage(failure.clone()), UnreadableError::Failed(failure).into());
    }
}
