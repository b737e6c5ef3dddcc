//! FindCoordinator: which broker coordinates a group. Versions up to 3 ask for one key, later ones
//! for many.

use rustmq_broker_service::groups::GroupId;
use rustmq_kafka_codec_messages::find_coordinator_response::Coordinator;
use rustmq_kafka_codec_messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use rustmq_model::Endpoint;

use super::metadata;
use crate::call::{Call, CallError, Handling};
use crate::error_map::{self, Unsupported};

const BATCHED_FROM: i16 = 4;
/// The newest version that librdkafka asks in (as of 2.12). Java clients since 2.4 ask in later
/// ones.
const LIBRDKAFKA_MAX: i16 = 2;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// A coordinator's id and address, or a code and why.
type Found = Result<(i32, Endpoint), (i16, String)>;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: FindCoordinatorRequest = call.decode()?;
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
        Err((code, message)) => Coordinator {
            error_code: code,
            error_message: error_map::message(&message),
            node_id: -1,
            port: -1,
            ..Coordinator::default()
        },
    }
}

async fn find(call: &Call, key_type: i8, key: &str) -> Found {
    match key_type {
        GROUP => {}
        TRANSACTION => return Err(refused_transactions(call.version())),
        SHARE => return Err(unsupported("A coordinator of share groups")),
        _ => return Err((error_map::INVALID_REQUEST, format!("There is no coordinator of type {key_type}."))),
    }
    let id = call.session.find_coordinator(&GroupId::new(key)).await;
    let id = id.map_err(|error| (error_map::code(&error), error.to_string()))?;
    let mut endpoints = metadata::endpoints(&call.session.cluster(), call.shared.broker.id(), &call.peer);
    let (endpoint, _) = endpoints
        .remove(&id.0)
        .ok_or_else(|| (error_map::COORDINATOR_NOT_AVAILABLE, format!("Broker {id} is not known.")))?;
    Ok((id.0, endpoint))
}

/// Refuses for good: COORDINATOR_NOT_AVAILABLE would have clients ask for ever.
fn unsupported(what: &'static str) -> (i16, String) {
    let error = Unsupported { what };
    (error_map::code(&error), error.to_string())
}

/// Ends a transactional producer at its start. Any code that is not retriable does that with most
/// clients, and the Java client shows the text. librdkafka asks on, until the timeout of its
/// `init_transactions`, after all codes but those that deny authorization; with these it fails at
/// once and shows the text.
fn refused_transactions(version: i16) -> (i16, String) {
    let (code, text) = unsupported("A coordinator of transactions");
    if version <= LIBRDKAFKA_MAX { (error_map::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, text) } else { (code, text) }
}
