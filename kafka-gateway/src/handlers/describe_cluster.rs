//! DescribeCluster: the brokers, as this client reaches them.

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::metadata;
use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

/// The one type of endpoint that clients reach.
const BROKERS: i8 = 1;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: DescribeClusterRequest = call.decode()?;
    let broker = &call.shared.broker;
    if call.version() >= 1 && request.endpoint_type != BROKERS {
        let message = "Controllers are described by the admin interface, not on this listener.";
        let refusal = DescribeClusterResponse::default()
            .with_error_code(error_map::MISMATCHED_ENDPOINT_TYPE)
            .with_error_message(Some(words::text(message)));
        return call.answer(&refusal);
    }
    let cluster = broker.cluster();
    let brokers = metadata::endpoints(&cluster, broker.id(), &call.peer).into_iter().map(|(id, (endpoint, rack))| {
        DescribeClusterBroker::default()
            .with_broker_id(id.into())
            .with_host(words::text(endpoint.host))
            .with_port(i32::from(endpoint.port))
            .with_rack(rack.map(words::text))
    });
    let asked = request.include_cluster_authorized_operations;
    let response = DescribeClusterResponse::default()
        .with_error_message(None)
        .with_cluster_id(words::text(cluster.cluster_id.as_str()))
        .with_controller_id(cluster.controller.0.into())
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(words::operations_if(asked, words::CLUSTER_OPERATIONS));
    call.answer(&response)
}
