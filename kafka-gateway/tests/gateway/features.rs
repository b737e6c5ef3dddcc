//! Finalized features, as ApiVersions tells them.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_kafka_codec_messages::ApiVersionsResponse;

use crate::fixture::{Client, GatewayFixture};
use crate::samples;

async fn api_versions(client: &mut Client, version: i16) -> ApiVersionsResponse {
    client.send(&samples::frame(18, version, 9)).await;
    client.answer(version, 9).await
}

/// The features with their levels, and the epoch.
fn told(answer: &ApiVersionsResponse) -> (Vec<(String, i16)>, i64) {
    let features = answer.finalized_features.iter();
    let features = features.map(|feature| (feature.name.to_string(), feature.max_version_level));
    (features.collect(), answer.finalized_features_epoch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_epoch_rises_with_every_change_of_the_features() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    assert_eq!(told(&api_versions(&mut client, 3).await), (vec![], 0));
    let steps: [(&[(&str, i16)], _, _); 3] = [
        (&[("a", 1), ("b", 2)], vec![("a".to_owned(), 1), ("b".to_owned(), 2)], 1),
        (&[("a", 0), ("b", 3)], vec![("b".to_owned(), 3)], 2),
        // Without the epoch a client would keep the feature that is gone.
        (&[("b", 0)], vec![], 3),
    ];
    for (levels, features, epoch) in steps {
        let levels: BTreeMap<_, _> = levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
        fixture.finalize_features(levels).await;
        let answer = async {
            loop {
                let answer = api_versions(&mut client, 4).await;
                if told(&answer).1 == epoch {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("the broker follows");
        assert_eq!(told(&answer), (features, epoch));
        assert_eq!(answer.supported_features.len(), answer.finalized_features.len());
    }
    assert_eq!(told(&api_versions(&mut client, 2).await), (vec![], -1), "version 2 has no features");
    fixture.close().await;
}
