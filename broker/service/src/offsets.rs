//! Where a partition's log begins, ends, and what its offsets were at a time or in a leader epoch.

use rustmq_engine_api::{EpochEnd, FoundOffset, Frontiers, Isolation, PartitionReader};
use rustmq_model::{LeaderEpoch, Offset, PartitionId, Timestamp};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::view::TopicRef;

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// One past the last record that the isolation shows.
    Latest,
    /// The first record.
    Earliest,
    /// The first record with the largest timestamp (KIP-734).
    LargestTimestamp,
    /// The first record that is not only in the object tier (KIP-405).
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
    /// The epoch of the last record that the reader has; none while it has no record. That has no
    /// end: an offset, even 0, would tell the reader to truncate its log.
    pub epoch: Option<LeaderEpoch>,
}

impl Broker {
    /// Offsets by place or time, in the order of the queries; `None` where no record is as asked.
    pub async fn list_offsets(
        &self,
        isolation: Isolation,
        queries: Vec<OffsetQuery>,
    ) -> Vec<Result<Option<FoundOffset>, BrokerError>> {
        let mut results = Vec::with_capacity(queries.len());
        for query in queries {
            results.push(self.list_offset(isolation, &query).await);
        }
        results
    }

    async fn list_offset(&self, isolation: Isolation, query: &OffsetQuery) -> Result<Option<FoundOffset>, BrokerError> {
        let reader = self.locate(&query.topic, query.partition, query.current_leader_epoch)?.reader;
        let (frontiers, leader_epoch) = reader.frontiers_and_epoch();
        let limit = |frontiers: Frontiers| isolation.frontier().of(&frontiers);
        let timestamp = Timestamp::NONE;
        // Asked after the search, which sees what was committed meanwhile.
        let below_limit = |found: Option<FoundOffset>| found.filter(|found| found.offset < limit(reader.frontiers()));
        match query.at {
            OffsetAt::Latest => Ok(Some(FoundOffset { offset: limit(frontiers), timestamp, leader_epoch })),
            // Without an object tier everything is local.
            OffsetAt::Earliest | OffsetAt::EarliestLocal => {
                let leader_epoch = epoch_at(&reader, frontiers.log_start, leader_epoch);
                Ok(Some(FoundOffset { offset: frontiers.log_start, timestamp, leader_epoch }))
            }
            OffsetAt::LatestTiered => Ok(None),
            OffsetAt::LargestTimestamp => Ok(below_limit(reader.max_timestamp().await?)),
            OffsetAt::Timestamp(at) => Ok(below_limit(reader.offset_for_timestamp(at).await?)),
        }
    }

    /// Where leader epochs ended, for readers that check whether their log is still a prefix of
    /// this one (KIP-320). `None` where the log knows no epoch at or below the one asked for, and
    /// where none is asked for.
    #[must_use]
    pub fn epoch_ends(&self, queries: &[EpochQuery]) -> Vec<Result<Option<EpochEnd>, BrokerError>> {
        let end = |query: &EpochQuery| {
            let reader = self.locate(&query.topic, query.partition, query.current_leader_epoch)?.reader;
            Ok(query.epoch.and_then(|epoch| reader.end_offset_for_epoch(epoch)))
        };
        queries.iter().map(end).collect()
    }
}

/// The epoch in which the record at `offset` was written: the earliest that ended above it.
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
