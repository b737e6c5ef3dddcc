//! ApiVersions: the APIs that this gateway serves, from the table in [`crate::api`]. From version 5
//! on a request may name its broker, and has an error at any other broker (KIP-1242).

use rustmq_broker_service::ClusterFeatures;
use rustmq_kafka_codec_messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use rustmq_kafka_codec_messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::api::{APIS, Api};
use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

/// The version that every client can read.
const VERSION_OF_REFUSALS: i16 = 0;
const SOFTWARE_NAMES_FROM: i16 = 3;
/// In earlier versions a client may reject a feature whose least version is 0 (KAFKA-17011).
const FEATURES_FROM_ZERO_FROM: i16 = 4;
const CLUSTER_AND_NODE_FROM: i16 = 5;
/// Stands for no node: the client does not know the id of the broker.
const NO_NODE: i32 = -1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    if !call.is_served {
        // The versions of this API alone, with which the client can ask again (KIP-511).
        let own = APIS.iter().filter(|api| api.key == call.key).map(advertised);
        let refusal = ApiVersionsResponse {
            error_code: error_map::UNSUPPORTED_VERSION,
            api_keys: own.collect(),
            ..ApiVersionsResponse::default()
        };
        return call.answer_in(VERSION_OF_REFUSALS, &refusal);
    }
    let request: ApiVersionsRequest = call.decode(body)?;
    let error_code = error_code(&call, &request);
    if error_code != error_map::NONE {
        return call.answer(&ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() });
    }
    if call.version() >= SOFTWARE_NAMES_FROM {
        tracing::debug!(
            conn = %call.session.caller().address,
            software = %request.client_software_name,
            version = %request.client_software_version,
            "client introduced itself"
        );
    }
    let ClusterFeatures { supported, finalized, epoch } = call.session.features();
    let min_version = if call.version() >= FEATURES_FROM_ZERO_FROM { 0 } else { 1 };
    let supported = supported.iter().map(|feature| SupportedFeatureKey {
        name: feature.name.to_owned(),
        min_version: min_version.max(*feature.levels.start()),
        max_version: *feature.levels.end(),
    });
    let finalized = finalized.into_iter().map(|(name, level)| FinalizedFeatureKey {
        name,
        min_version_level: level,
        max_version_level: level,
    });
    call.answer(&ApiVersionsResponse {
        api_keys: APIS.iter().map(advertised).collect(),
        supported_features: supported.collect(),
        finalized_features: finalized.collect(),
        // Present without features, too: it makes a client forget removed ones.
        finalized_features_epoch: epoch,
        ..ApiVersionsResponse::default()
    })
}

fn advertised(api: &Api) -> ApiVersion {
    ApiVersion { api_key: api.key as i16, min_version: api.version_min, max_version: api.version_max }
}

/// The error of a request that is invalid, or that names another broker.
fn error_code(call: &Call, request: &ApiVersionsRequest) -> i16 {
    let version = call.version();
    let names = [request.client_software_name.as_str(), request.client_software_version.as_str()];
    if version >= SOFTWARE_NAMES_FROM && !names.into_iter().all(is_software_name) {
        return error_map::INVALID_REQUEST;
    }
    match (&request.cluster_id, request.node_id) {
        _ if version < CLUSTER_AND_NODE_FROM => error_map::NONE,
        (None, NO_NODE) => error_map::NONE,
        (None, _) | (Some(_), NO_NODE) => error_map::INVALID_REQUEST,
        (Some(cluster), node) => {
            let is_this_broker = *cluster == call.session.cluster().cluster_id && node == call.shared.broker.id().0;
            if is_this_broker { error_map::NONE } else { error_map::REBOOTSTRAP_REQUIRED }
        }
    }
}

/// Whether the name consists of letters, digits, `-` and `.`, and begins and ends with a letter or
/// digit (KIP-511).
fn is_software_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| is_plain(*first) && is_plain(*last))
        && bytes.iter().all(|byte| is_plain(*byte) || matches!(byte, b'-' | b'.'))
}
