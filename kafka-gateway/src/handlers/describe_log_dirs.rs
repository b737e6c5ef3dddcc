//! DescribeLogDirs: the data folder and what each partition takes of it.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use rustmq_broker_service::{LogDir, LogDirSelection};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling};
use crate::words;

const SPACE_FROM: i16 = 4;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: DescribeLogDirsRequest = call.decode()?;
    let selection = request.topics.map_or(LogDirSelection::All, |topics| {
        let wanted = topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(PartitionId).collect();
            (topic.topic.to_string(), partitions)
        });
        LogDirSelection::These(wanted.collect())
    });
    let results = call.shared.broker.log_dirs(&selection).into_iter().map(|dir| describe(dir, call.version()));
    let response = DescribeLogDirsResponse::default().with_results(results.collect());
    call.answer(&response)
}

fn describe(dir: LogDir, version: i16) -> DescribeLogDirsResult {
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (partition, size) in dir.partitions {
        let entry = DescribeLogDirsPartition::default()
            .with_partition_index(partition.partition.0)
            .with_partition_size(signed(size));
        topics.entry(partition.topic.as_str().to_owned()).or_default().push(entry);
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default().with_name(words::text(name).into()).with_partitions(partitions)
    });
    let answer = DescribeLogDirsResult::default().with_log_dir(words::text(dir.path)).with_topics(topics.collect());
    if version < SPACE_FROM {
        return answer;
    }
    answer.with_total_bytes(dir.total_bytes.map_or(-1, signed)).with_usable_bytes(dir.usable_bytes.map_or(-1, signed))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
