//! DescribeCluster: the brokers, with the addresses that this client can dial.

use rustmq_kafka_codec_messages::describe_cluster_response::DescribeClusterBroker;
use rustmq_kafka_codec_messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::metadata;
use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The type of endpoint that a Kafka listener describes.
const BROKERS: i8 = 1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DescribeClusterRequest = call.decode(body)?;
    let broker = &call.shared.broker;
    if call.version() >= 1 && request.endpoint_type != BROKERS {
        let message = "Controllers are described by the admin interface, not on this listener.";
        let refusal = DescribeClusterResponse {
            error_code: error_map::MISMATCHED_ENDPOINT_TYPE,
            error_message: Some(message.to_owned()),
            ..DescribeClusterResponse::default()
        };
        return call.answer(&refusal);
    }
    let cluster = call.session.cluster();
    let brokers = metadata::endpoints(&cluster, broker.id(), &call.peer).into_iter().map(|(id, (endpoint, rack))| {
        DescribeClusterBroker {
            broker_id: id,
            host: endpoint.host,
            port: i32::from(endpoint.port),
            rack,
            ..DescribeClusterBroker::default()
        }
    });
    let asked = request.include_cluster_authorized_operations;
    let response = DescribeClusterResponse {
        error_message: None,
        cluster_id: cluster.cluster_id,
        controller_id: cluster.controller.0,
        brokers: brokers.collect(),
        cluster_authorized_operations: words::operations_if(asked, words::CLUSTER_OPERATIONS),
        ..DescribeClusterResponse::default()
    };
    call.answer(&response)
}
