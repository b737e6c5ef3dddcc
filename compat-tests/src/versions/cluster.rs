//! Requests about the broker itself: ApiVersions, FindCoordinator, InitProducerId, DescribeCluster,
//! UpdateFeatures.

use super::session::{Session, text};
use crate::server::{shared, unique};
use kafka_protocol::messages::{
    ApiKey, DescribeClusterRequest, FindCoordinatorRequest, InitProducerIdRequest, ProducerId, RequestKind,
    ResponseKind, TransactionalId, UpdateFeaturesRequest, UpdateFeaturesResponse, update_features_request,
};
use rustmq_kafka_codec_messages::ApiVersionsRequest;
use std::collections::BTreeMap;

const INVALID_REQUEST: i16 = 42;
const INVALID_UPDATE_VERSION: i16 = 95;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const REBOOTSTRAP_REQUIRED: i16 = 129;
/// The operations create, cluster action, describe configs, alter configs, idempotent write, alter,
/// describe.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

pub fn api_versions(session: &mut Session, version: i16) {
    let introduced = |name: &str, version: &str| ApiVersionsRequest {
        client_software_name: name.to_owned(),
        client_software_version: version.to_owned(),
        ..ApiVersionsRequest::default()
    };
    let answer = session.ask(version, &introduced("compat", "1.0"));
    assert_eq!((answer.error_code, answer.throttle_time_ms), (0, 0), "ApiVersions v{version}");
    let listed: BTreeMap<i16, (i16, i16)> =
        answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
    assert_eq!(&listed, session.advertised(), "ApiVersions v{version} says what version 0 said");
    assert!(listed.values().all(|(least, greatest)| 0 <= *least && least <= greatest), "ApiVersions v{version}");
    if version >= 3 {
        let answer = session.ask(version, &introduced("not a name!", ""));
        assert_eq!(answer.error_code, INVALID_REQUEST, "ApiVersions v{version}");
    }
    if version >= 5 {
        let cluster = ask!(session, DescribeCluster, 1, DescribeClusterRequest::default()).cluster_id.to_string();
        for (cluster_id, node_id, expected) in [
            (Some(&cluster), 0, 0),
            (Some(&"another".to_owned()), 0, REBOOTSTRAP_REQUIRED),
            (Some(&cluster), 1, REBOOTSTRAP_REQUIRED),
            (Some(&cluster), -1, INVALID_REQUEST),
            (None, 0, INVALID_REQUEST),
        ] {
            let request =
                ApiVersionsRequest { cluster_id: cluster_id.cloned(), node_id, ..introduced("compat", "1.0") };
            let answer = session.ask(version, &request);
            assert_eq!(answer.error_code, expected, "ApiVersions v{version} of {cluster_id:?} {node_id}");
            assert_eq!(answer.api_keys.is_empty(), expected != 0, "ApiVersions v{version}");
        }
    }
}

pub fn find_coordinator(session: &mut Session, version: i16) {
    let port = i32::from(shared().port());
    let keys = [unique("versions-group"), unique("versions-group")];
    if version >= 4 {
        let request =
            FindCoordinatorRequest::default().with_coordinator_keys(keys.iter().map(|key| text(key)).collect());
        let answer = ask!(session, FindCoordinator, version, request);
        assert_eq!(answer.coordinators.len(), keys.len(), "FindCoordinator v{version}");
        for key in &keys {
            let found = answer.coordinators.iter().find(|found| &found.key[..] == key).expect("each is answered");
            assert_eq!((found.error_code, found.port), (0, port), "FindCoordinator v{version}");
            assert_eq!(&found.host[..], "127.0.0.1", "FindCoordinator v{version}");
        }
        return;
    }
    let answer = ask!(session, FindCoordinator, version, FindCoordinatorRequest::default().with_key(text(&keys[0])));
    assert_eq!((answer.error_code, answer.port), (0, port), "FindCoordinator v{version}");
    assert_eq!(&answer.host[..], "127.0.0.1", "FindCoordinator v{version}");
}

pub fn init_producer_id(session: &mut Session, version: i16) {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let mut ids = Vec::new();
    for _ in 0..2 {
        // Kafka fetches a block of ids first.
        let answer = session
            .settled(|session| ask!(session, InitProducerId, version, request.clone()), |answer| answer.error_code);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "InitProducerId v{version}");
        assert!(answer.producer_id.0 >= 0, "InitProducerId v{version}");
        ids.push(answer.producer_id.0);
    }
    assert_ne!(ids[0], ids[1], "InitProducerId v{version}");
    let nameless = request.with_transactional_id(Some(TransactionalId(text(""))));
    let answer = ask!(session, InitProducerId, version, nameless);
    assert_eq!(answer.error_code, INVALID_REQUEST, "InitProducerId v{version} of a nameless transaction");
    assert_eq!((answer.producer_id.0, answer.producer_epoch), (-1, -1), "InitProducerId v{version}");
}

pub fn describe_cluster(session: &mut Session, version: i16) {
    for (asked, operations) in [(false, i32::MIN), (true, CLUSTER_OPERATIONS)] {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(asked);
        let answer = ask!(session, DescribeCluster, version, request);
        assert_eq!((answer.error_code, answer.brokers.len()), (0, 1), "DescribeCluster v{version}");
        assert!(!answer.cluster_id.is_empty(), "DescribeCluster v{version}");
        let broker = &answer.brokers[0];
        assert_eq!(broker.port, i32::from(shared().port()), "DescribeCluster v{version}");
        assert_eq!(answer.controller_id, broker.broker_id, "DescribeCluster v{version}");
        assert_eq!(answer.cluster_authorized_operations, operations, "DescribeCluster v{version}");
    }
    if version >= 1 {
        let request = DescribeClusterRequest::default().with_endpoint_type(2);
        let answer = ask!(session, DescribeCluster, version, request);
        assert_eq!(answer.error_code, MISMATCHED_ENDPOINT_TYPE, "DescribeCluster v{version} of controllers");
    }
}

/// Each feature keeps its level: the scenarios share the broker.
pub fn update_features(session: &mut Session, version: i16) {
    let introduced = ApiVersionsRequest {
        client_software_name: "compat".to_owned(),
        client_software_version: "1.0".to_owned(),
        ..ApiVersionsRequest::default()
    };
    let finalized = session.ask(4, &introduced).finalized_features;
    let levels: Vec<(&str, i16)> = finalized.iter().map(|one| (one.name.as_str(), one.max_version_level)).collect();
    let answer = ask_to_update(session, version, &levels);
    assert_eq!((answer.error_code, answer.error_message), (0, None), "UpdateFeatures v{version}");
    let results = if version <= 1 { levels.len() } else { 0 };
    assert_eq!(answer.results.len(), results, "UpdateFeatures v{version}");
    assert!(answer.results.iter().all(|result| result.error_code == 0), "UpdateFeatures v{version}");
    let refused = ask_to_update(session, version, &[&levels[..], &[("nothing.version", 1)]].concat());
    assert_eq!(refused.error_code, INVALID_UPDATE_VERSION, "UpdateFeatures v{version} of an unknown feature");
    assert!(refused.error_message.is_some() && refused.results.is_empty(), "UpdateFeatures v{version}");
    assert_eq!(session.ask(4, &introduced).finalized_features, finalized, "UpdateFeatures v{version}");
}

fn ask_to_update(session: &mut Session, version: i16, levels: &[(&str, i16)]) -> UpdateFeaturesResponse {
    let update = |(name, level): &(&str, i16)| {
        update_features_request::FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(*level)
            .with_upgrade_type(1)
    };
    let request = UpdateFeaturesRequest::default().with_feature_updates(levels.iter().map(update).collect());
    ask!(session, UpdateFeatures, version, request)
}
