//! DescribeProducers: the producers that partitions remember, with their open transactions
//! (KIP-664).

use rustmq_broker_service::ProducerState as Described;
use rustmq_kafka_codec_messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use rustmq_kafka_codec_messages::{DescribeProducersRequest, DescribeProducersResponse};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map::ApiError;
use crate::words;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DescribeProducersRequest = call.decode(body)?;
    // Each partition is described once, so that a short request has no long answer.
    let requested = words::once(request.topics, |topic| topic.name.clone());
    let mut topics = Vec::with_capacity(requested.len());
    for topic in requested {
        let mut indexes = topic.partition_indexes;
        indexes.sort_unstable();
        indexes.dedup();
        let mut partitions = Vec::with_capacity(indexes.len());
        for partition_index in indexes {
            let described = call.session.describe_producers(&topic.name, PartitionId(partition_index)).await;
            partitions.push(match described {
                Ok(producers) => PartitionResponse {
                    partition_index,
                    active_producers: producers.into_iter().map(producer).collect(),
                    ..PartitionResponse::default()
                },
                Err(error) => {
                    let ApiError { code, message } = ApiError::of(&error);
                    PartitionResponse {
                        partition_index,
                        error_code: code,
                        error_message: message,
                        ..PartitionResponse::default()
                    }
                }
            });
        }
        topics.push(TopicResponse { name: topic.name, partitions });
    }
    call.answer(&DescribeProducersResponse { topics, ..DescribeProducersResponse::default() })
}

fn producer(producer: Described) -> ProducerState {
    ProducerState {
        producer_id: producer.id.0,
        producer_epoch: i32::from(producer.epoch.0),
        last_sequence: producer.last_sequence.0,
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.map_or(words::NO_OFFSET, |offset| offset.0),
    }
}
