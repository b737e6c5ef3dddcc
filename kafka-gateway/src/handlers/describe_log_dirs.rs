//! DescribeLogDirs: the data folder, and the size of each partition in it.

use std::collections::BTreeMap;

use rustmq_broker_service::{LogDir, LogDirSelection};
use rustmq_kafka_codec_messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use rustmq_kafka_codec_messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling, RequestBody};

/// Stands for an unknown size.
const UNKNOWN_SIZE: i64 = -1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DescribeLogDirsRequest = call.decode(body)?;
    let selection = request.topics.map_or(LogDirSelection::All, |topics| {
        let wanted = topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(PartitionId).collect();
            (topic.topic, partitions)
        });
        LogDirSelection::These(wanted.collect())
    });
    let results = call.session.log_dirs(&selection).into_iter().map(describe);
    let response = DescribeLogDirsResponse { results: results.collect(), ..DescribeLogDirsResponse::default() };
    call.answer(&response)
}

fn describe(dir: LogDir) -> DescribeLogDirsResult {
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (partition, size) in dir.partitions {
        let entry = DescribeLogDirsPartition {
            partition_index: partition.partition.0,
            partition_size: signed(size),
            ..DescribeLogDirsPartition::default()
        };
        topics.entry(partition.topic.as_str().to_owned()).or_default().push(entry);
    }
    let topics = topics.into_iter().map(|(name, partitions)| DescribeLogDirsTopic { name, partitions });
    DescribeLogDirsResult {
        log_dir: dir.path,
        topics: topics.collect(),
        total_bytes: dir.total_bytes.map_or(UNKNOWN_SIZE, signed),
        usable_bytes: dir.usable_bytes.map_or(UNKNOWN_SIZE, signed),
        // No folder is closed to new partitions.
        is_cordoned: false,
        ..DescribeLogDirsResult::default()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
