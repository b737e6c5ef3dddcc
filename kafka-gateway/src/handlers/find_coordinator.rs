//! FindCoordinator: the broker that coordinates a group or a transactional id. Versions up to 3
//! have one key, later ones many.

use rustmq_broker_service::groups::GroupId;
use rustmq_kafka_codec_messages::find_coordinator_response::Coordinator;
use rustmq_kafka_codec_messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use rustmq_model::Endpoint;
use rustmq_model::TransactionalId;

use super::metadata;
use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map::{self, ApiError, Unsupported};
use crate::words;

/// The first version with many keys.
const BATCHED_FROM: i16 = 4;
/// Stands for no port.
const NO_PORT: i32 = -1;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// A coordinator's id and address.
type Found = Result<(i32, Endpoint), ApiError>;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: FindCoordinatorRequest = call.decode(body)?;
    if call.version() < BATCHED_FROM {
        let found = coordinator(find(&call, request.key_type, &request.key).await);
        let response = FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..FindCoordinatorResponse::default()
        };
        return call.answer(&response);
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        let found = find(&call, request.key_type, &key).await;
        coordinators.push(Coordinator { key, ..coordinator(found) });
    }
    call.answer(&FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() })
}

fn coordinator(found: Found) -> Coordinator {
    match found {
        Ok((node, endpoint)) => {
            Coordinator { node_id: node, host: endpoint.host, port: i32::from(endpoint.port), ..Coordinator::default() }
        }
        Err(error) => Coordinator {
            error_code: error.code,
            error_message: error.message,
            node_id: words::NO_BROKER,
            port: NO_PORT,
            ..Coordinator::default()
        },
    }
}

async fn find(call: &Call, key_type: i8, key: &str) -> Found {
    let found = match key_type {
        GROUP => call.session.find_coordinator(&GroupId::new(key)).await,
        TRANSACTION => {
            let id = TransactionalId::new(key).map_err(|error| ApiError::of(&error))?;
            call.session.find_transaction_coordinator(&id).await
        }
        // The refusal is permanent: after COORDINATOR_NOT_AVAILABLE clients would repeat the
        // request for ever.
        SHARE => return Err(ApiError::of(&Unsupported { what: "A coordinator of share groups" })),
        _ => {
            let text = format_args!("There is no coordinator of type {key_type}.");
            return Err(ApiError::invalid_request(&text));
        }
    };
    let id = found.map_err(|error| ApiError::of(&error))?;
    let mut endpoints = metadata::endpoints(&call.session.cluster(), call.shared.broker.id(), &call.peer);
    let (endpoint, _) = endpoints.remove(&id.0).ok_or_else(|| {
        ApiError::new(error_map::COORDINATOR_NOT_AVAILABLE, &format_args!("Broker {id} is not known."))
    })?;
    Ok((id.0, endpoint))
}
