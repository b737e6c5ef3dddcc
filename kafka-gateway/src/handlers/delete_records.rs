//! DeleteRecords: raises the log starts of partitions.

use rustmq_broker_service::{DeleteBefore, RecordDeletion};
use rustmq_kafka_codec_messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use rustmq_kafka_codec_messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use rustmq_model::{Offset, PartitionId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// Stands for the high watermark in a request.
const HIGH_WATERMARK: i64 = -1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DeleteRecordsRequest = call.decode(body)?;
    let mut deletions = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            deletions.push(RecordDeletion {
                topic: words::named(topic.name.as_str()),
                partition: PartitionId(partition.partition_index),
                before: match partition.offset {
                    HIGH_WATERMARK => DeleteBefore::HighWatermark,
                    offset => DeleteBefore::Offset(Offset(offset)),
                },
            });
        }
    }
    let mut results = call.session.delete_records(deletions).await.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: words::NO_OFFSET,
                ..DeleteRecordsPartitionResult::default()
            };
            match results.next().expect("each partition of the request has a result") {
                Ok(log_start) => DeleteRecordsPartitionResult { low_watermark: log_start.0, ..answer },
                Err(error) => DeleteRecordsPartitionResult { error_code: error_map::code(&error), ..answer },
            }
        });
        DeleteRecordsTopicResult { partitions: partitions.collect(), name: topic.name }
    });
    let response = DeleteRecordsResponse { topics: topics.collect(), ..DeleteRecordsResponse::default() };
    call.answer(&response)
}
