//! ApiVersions: what this gateway serves, from the table itself. From version 5 on a client says
//! which broker it means, and is told when it has reached another one (KIP-1242).

use rustmq_broker_service::ClusterMetadata;
use rustmq_kafka_codec_messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use rustmq_kafka_codec_messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::api::{APIS, Api};
use crate::call::{Call, CallError, Handling};
use crate::error_map;

/// The version that every client reads.
const VERSION_OF_REFUSALS: i16 = 0;
const SOFTWARE_NAMES_FROM: i16 = 3;
/// Before this version a client may refuse a feature whose least version is 0 (KAFKA-17011).
const FEATURES_FROM_ZERO_FROM: i16 = 4;
const CLUSTER_AND_NODE_FROM: i16 = 5;
/// A client that does not know which node it means.
const NO_NODE: i32 = -1;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    if !call.is_served {
        // With all that the client needs to ask again: the versions of this API alone (KIP-511).
        let own = APIS.iter().filter(|api| api.key == call.key).map(advertised);
        let refusal = ApiVersionsResponse {
            error_code: error_map::UNSUPPORTED_VERSION,
            api_keys: own.collect(),
            ..ApiVersionsResponse::default()
        };
        return call.answer_in(VERSION_OF_REFUSALS, &refusal);
    }
    let request: ApiVersionsRequest = call.decode()?;
    let error_code = verdict(&call, &request);
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
    let ClusterMetadata { features, features_epoch, .. } = call.session.cluster();
    let min_version = if call.version() >= FEATURES_FROM_ZERO_FROM { 0 } else { 1 };
    let supported = features.iter().map(|(name, level)| SupportedFeatureKey {
        name: name.clone(),
        min_version,
        max_version: *level,
    });
    let finalized = features.iter().map(|(name, level)| FinalizedFeatureKey {
        name: name.clone(),
        min_version_level: *level,
        max_version_level: *level,
    });
    call.answer(&ApiVersionsResponse {
        api_keys: APIS.iter().map(advertised).collect(),
        supported_features: supported.collect(),
        finalized_features: finalized.collect(),
        // Told with no features as well: by it a client forgets those that were taken out.
        finalized_features_epoch: features_epoch,
        ..ApiVersionsResponse::default()
    })
}

fn advertised(api: &Api) -> ApiVersion {
    ApiVersion { api_key: api.key as i16, min_version: api.version_min, max_version: api.version_max }
}

/// A code for a request that says what cannot be, or means another broker.
fn verdict(call: &Call, request: &ApiVersionsRequest) -> i16 {
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

/// Letters, digits, `-` and `.`, the first and the last a letter or digit (KIP-511).
fn is_software_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| is_plain(*first) && is_plain(*last))
        && bytes.iter().all(|byte| is_plain(*byte) || matches!(byte, b'-' | b'.'))
}
