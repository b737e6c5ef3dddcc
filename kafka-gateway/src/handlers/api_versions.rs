//! ApiVersions: what this gateway serves, from the table itself.

use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use rustmq_broker_service::ClusterMetadata;

use crate::api::{APIS, Api};
use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::response::Response;
use crate::words::text;

/// The last version whose request this gateway reads.
const VERSION_MAX: i16 = 4;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    if !(0..=VERSION_MAX).contains(&call.version()) {
        // In the one version that every client reads, with all that the client needs to ask again:
        // the versions of this API alone (KIP-511).
        let own = APIS.iter().filter(|api| api.key == call.header.key).map(advertised);
        let response = ApiVersionsResponse::default().with_api_keys(own.collect());
        let response = response.with_error_code(error_map::UNSUPPORTED_VERSION);
        return Ok(Handling::Ready(Response::encode(call.header.correlation_id, 0, &response)?));
    }
    let response = ApiVersionsResponse::default().with_api_keys(APIS.iter().map(advertised).collect());
    let request: kafka_protocol::messages::ApiVersionsRequest = call.decode()?;
    if call.version() >= 3 {
        let names = [request.client_software_name.as_str(), request.client_software_version.as_str()];
        if !names.into_iter().all(is_software_name) {
            return call.answer(&ApiVersionsResponse::default().with_error_code(error_map::INVALID_REQUEST));
        }
        tracing::debug!(
            conn = %call.peer.address,
            software = %request.client_software_name,
            version = %request.client_software_version,
            "client introduced itself"
        );
    }
    let ClusterMetadata { features, features_epoch, .. } = call.shared.broker.cluster();
    let supported = features.iter().map(|(name, level)| {
        SupportedFeatureKey::default().with_name(text(name)).with_min_version(0).with_max_version(*level)
    });
    let finalized = features.iter().map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_min_version_level(*level)
            .with_max_version_level(*level)
    });
    // Before version 4 a client may refuse a feature whose least version is 0 (KAFKA-17011).
    let least = if call.version() >= 4 { 0 } else { 1 };
    let supported = supported.map(|feature| feature.with_min_version(least)).collect();
    call.answer(&with_features(response, call.version(), supported, finalized.collect(), features_epoch))
}

fn advertised(api: &Api) -> ApiVersion {
    ApiVersion::default().with_api_key(api.key).with_min_version(api.version_min).with_max_version(api.version_max)
}

/// Letters, digits, `-` and `.`, the first and the last a letter or digit (KIP-511).
fn is_software_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    ends.is_some_and(|(first, last)| is_plain(*first) && is_plain(*last))
        && bytes.iter().all(|byte| is_plain(*byte) || matches!(byte, b'-' | b'.'))
}

fn with_features(
    response: ApiVersionsResponse,
    version: i16,
    supported: Vec<SupportedFeatureKey>,
    finalized: Vec<FinalizedFeatureKey>,
    epoch: i64,
) -> ApiVersionsResponse {
    if version < 3 {
        return response;
    }
    // The epoch is told with no features as well: those that were taken out are forgotten by it.
    response.with_supported_features(supported).with_finalized_features(finalized).with_finalized_features_epoch(epoch)
}
