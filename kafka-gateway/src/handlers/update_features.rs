//! UpdateFeatures: changes finalized levels, all of a request or none (KIP-584, KIP-778). As on
//! Kafka, an error is the request's own in every version, and its timeout bounds nothing.

use std::collections::BTreeMap;

use rustmq_broker_service::{FeatureDirection, FeatureUpdate};
use rustmq_kafka_codec_messages::update_features_request::FeatureUpdateKey;
use rustmq_kafka_codec_messages::update_features_response::UpdatableFeatureResult;
use rustmq_kafka_codec_messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map::{self, ApiError};
use crate::words;

/// In version 0 an update only says whether a downgrade is allowed.
const UPGRADE_TYPE_FROM: i16 = 1;
/// Later versions answer for the request alone.
const RESULT_OF_EACH_UNTIL: i16 = 1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: UpdateFeaturesRequest = call.decode(body)?;
    let (error_code, error_message) = ApiError::code_and_message(update(&call, &request).await);
    let mut results = Vec::new();
    if error_code == error_map::NONE && call.version() <= RESULT_OF_EACH_UNTIL {
        let updated = request.feature_updates.into_iter();
        results.extend(updated.map(|update| UpdatableFeatureResult {
            feature: update.feature,
            error_code: error_map::NONE,
            ..UpdatableFeatureResult::default()
        }));
    }
    call.answer(&UpdateFeaturesResponse { error_code, error_message, results, ..UpdateFeaturesResponse::default() })
}

async fn update(call: &Call, request: &UpdateFeaturesRequest) -> Result<(), ApiError> {
    let judged = request.feature_updates.iter().map(|update| {
        let direction = direction(call.version(), update)?;
        Ok((update.feature.clone(), FeatureUpdate { level: update.max_version_level, direction }))
    });
    // The last update of a feature that is named twice counts, as on Kafka.
    let updates = judged.collect::<Result<BTreeMap<_, _>, _>>()?;
    let updated = call.session.update_features(updates, words::mode(request.validate_only)).await;
    updated.map_err(|error| ApiError::of(&error))
}

/// Upgrade types have the codes of Kafka's `FeatureUpdate.UpgradeType`. A safe downgrade (2) loses
/// no metadata and an unsafe one (3) may; no feature here has metadata to lose.
fn direction(version: i16, update: &FeatureUpdateKey) -> Result<FeatureDirection, ApiError> {
    match update.upgrade_type {
        _ if version < UPGRADE_TYPE_FROM && update.allow_downgrade => Ok(FeatureDirection::Downgrade),
        _ if version < UPGRADE_TYPE_FROM => Ok(FeatureDirection::Upgrade),
        1 => Ok(FeatureDirection::Upgrade),
        2 | 3 => Ok(FeatureDirection::Downgrade),
        code => {
            let text = format_args!("Feature '{}' cannot change: upgrade type {code} does not exist.", update.feature);
            Err(ApiError::new(error_map::INVALID_UPDATE_VERSION, &text))
        }
    }
}
