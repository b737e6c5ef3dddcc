//! Features: how ApiVersions tells them, and how UpdateFeatures changes their levels.

use rustmq_kafka_codec_messages::update_features_request::FeatureUpdateKey;
use rustmq_kafka_codec_messages::{ApiVersionsResponse, UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::fixture::{Client, GatewayFixture};
use crate::samples;

const NONE: i16 = 0;
const INVALID_UPDATE_VERSION: i16 = 95;
const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;
const GROUPS: &str = "group.version";
const TRANSACTIONS: &str = "transaction.version";

/// A feature, its new level and the upgrade type.
type Update<'a> = (&'a str, i16, i8);

async fn api_versions(client: &mut Client, version: i16) -> ApiVersionsResponse {
    client.send(&samples::frame(18, version, 9)).await;
    client.answer(version, 9).await
}

/// The finalized features with their levels, and the epoch.
async fn finalized(client: &mut Client) -> (Vec<(String, i16)>, i64) {
    let answer = api_versions(client, 4).await;
    let features = answer.finalized_features.into_iter().map(|feature| {
        assert_eq!(feature.min_version_level, feature.max_version_level);
        (feature.name, feature.max_version_level)
    });
    (features.collect(), answer.finalized_features_epoch)
}

fn own(levels: &[(&str, i16)]) -> Vec<(String, i16)> {
    levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect()
}

fn request(updates: &[Update<'_>], validate_only: bool) -> UpdateFeaturesRequest {
    let update = |(name, level, upgrade_type): &Update<'_>| FeatureUpdateKey {
        feature: (*name).to_owned(),
        max_version_level: *level,
        upgrade_type: *upgrade_type,
        ..FeatureUpdateKey::default()
    };
    let feature_updates = updates.iter().map(update).collect();
    UpdateFeaturesRequest { feature_updates, validate_only, ..UpdateFeaturesRequest::default() }
}

async fn update(client: &mut Client, updates: &[Update<'_>]) -> UpdateFeaturesResponse {
    client.ask(2, request(updates, false)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_begins_at_the_highest_supported_levels() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    assert_eq!(finalized(&mut client).await, (own(&[(GROUPS, 1), (TRANSACTIONS, 2)]), 0));
    for (version, min) in [(3, 1), (4, 0), (5, 0)] {
        let answer = api_versions(&mut client, version).await;
        let supported = answer.supported_features.into_iter().map(|one| (one.name, one.min_version, one.max_version));
        let expected = [(GROUPS, 1), (TRANSACTIONS, 2)].map(|(name, max)| (name.to_owned(), min, max));
        assert_eq!(supported.collect::<Vec<_>>(), expected, "version {version}");
    }
    let answer = api_versions(&mut client, 2).await;
    let told = (answer.supported_features.len(), answer.finalized_features.len(), answer.finalized_features_epoch);
    assert_eq!(told, (0, 0, -1), "version 2 has no features");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_epoch_rises_with_every_change_of_a_level() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let steps: [(&[Update<'_>], _, _); 5] = [
        (&[(TRANSACTIONS, 2, UPGRADE)], own(&[(GROUPS, 1), (TRANSACTIONS, 2)]), 0),
        (&[(TRANSACTIONS, 1, SAFE_DOWNGRADE)], own(&[(GROUPS, 1), (TRANSACTIONS, 1)]), 1),
        (&[(TRANSACTIONS, 0, UNSAFE_DOWNGRADE), (GROUPS, 0, SAFE_DOWNGRADE)], vec![], 2),
        (&[(TRANSACTIONS, 1, UPGRADE), (TRANSACTIONS, 2, UPGRADE)], own(&[(TRANSACTIONS, 2)]), 3),
        // Without the epoch a client would keep the feature that is gone.
        (&[(TRANSACTIONS, 0, SAFE_DOWNGRADE)], vec![], 4),
    ];
    for (updates, levels, epoch) in steps {
        let answer = update(&mut client, updates).await;
        assert_eq!((answer.error_code, answer.error_message), (NONE, None), "{updates:?}");
        // The level is in force once its change is answered.
        assert_eq!(finalized(&mut client).await, (levels, epoch), "{updates:?}");
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_refused_or_only_validated_changes_nothing() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let before = finalized(&mut client).await;
    let refused: [&[Update<'_>]; 9] = [
        &[(TRANSACTIONS, 1, UPGRADE)],
        &[(TRANSACTIONS, 3, UPGRADE)],
        &[(TRANSACTIONS, -1, SAFE_DOWNGRADE)],
        &[(TRANSACTIONS, 1, 0)],
        &[(TRANSACTIONS, 1, 4)],
        &[("metadata.version", 30, UPGRADE)],
        &[("", 1, UPGRADE)],
        &[("nothing.version", 0, SAFE_DOWNGRADE)],
        &[(TRANSACTIONS, 1, SAFE_DOWNGRADE), (GROUPS, 2, UPGRADE)],
    ];
    for updates in refused {
        for version in [1, 2] {
            let answer = client.ask(version, request(updates, false)).await;
            assert_eq!((answer.error_code, answer.results), (INVALID_UPDATE_VERSION, vec![]), "{updates:?}");
            assert!(answer.error_message.is_some(), "{updates:?}");
        }
    }
    for version in [1, 2] {
        let answer = client.ask(version, request(&[(TRANSACTIONS, 1, SAFE_DOWNGRADE)], true)).await;
        assert_eq!(answer.error_code, NONE);
    }
    assert_eq!(update(&mut client, &[]).await.error_code, NONE);
    assert_eq!(finalized(&mut client).await, before);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_versions_answer_for_each_feature_and_the_oldest_only_allows_a_downgrade() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let answer = client.ask(1, request(&[(TRANSACTIONS, 1, SAFE_DOWNGRADE), (GROUPS, 1, UPGRADE)], false)).await;
    let results: Vec<_> = answer.results.iter().map(|one| (one.feature.as_str(), one.error_code)).collect();
    assert_eq!((answer.error_code, results), (NONE, vec![(TRANSACTIONS, NONE), (GROUPS, NONE)]));
    assert!(update(&mut client, &[(TRANSACTIONS, 2, UPGRADE)]).await.results.is_empty());
    for (allow_downgrade, code) in [(false, INVALID_UPDATE_VERSION), (true, NONE)] {
        let mut request = request(&[(TRANSACTIONS, 0, UPGRADE)], false);
        request.feature_updates[0].allow_downgrade = allow_downgrade;
        assert_eq!(client.ask(0, request).await.error_code, code, "{allow_downgrade}");
    }
    assert_eq!(finalized(&mut client).await, (own(&[(GROUPS, 1)]), 3));
    fixture.close().await;
}
