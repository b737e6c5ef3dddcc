//! The table of APIs: the only place that names a key, its versions and its handler. The handler of
//! ApiVersions and the dispatch of requests both use it, so that no API is advertised without a
//! handler. The table does not interpret requests: the handlers do.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustmq_broker_service::{Session, SupportedFeature};
use rustmq_kafka_codec_messages::{ApiKey, RequestHeader};

use crate::call::{Call, CallError, Handling, Peer, RequestBody};
use crate::handlers;
use crate::shared::Shared;

/// Makes a request take effect, and returns its response or the future of it.
///
/// # Errors
/// A [`CallError`] closes the connection: the request cannot be decoded, or its response cannot be
/// encoded. A request that is refused has a response with an error code.
pub type Handler = fn(Call, RequestBody) -> BoxFuture<'static, Result<Handling, CallError>>;

/// One API, as advertised.
pub struct Api {
    pub key: ApiKey,
    pub version_min: i16,
    pub version_max: i16,
    pub handler: Handler,
}

impl Api {
    /// Whether a request may take effect while earlier requests of its connection are unanswered.
    /// The requests of these APIs wait only for the log, and their responses are small. A request
    /// of any other API begins after all earlier ones are answered, as every request does in Kafka:
    /// so a connection holds one large response at a time, and none while a request waits for an
    /// event that may never come.
    pub fn is_pipelined(&self) -> bool {
        matches!(self.key, ApiKey::Produce | ApiKey::OffsetCommit)
    }
}

macro_rules! apis {
    ($($key:ident $min:literal - $max:literal $handler:ident,)*) => {
        &[$(Api {
            key: ApiKey::$key,
            version_min: $min,
            version_max: $max,
            handler: |call, body| handlers::$handler::handle(call, body).boxed(),
        },)*]
    };
}

/// Every API of this gateway, by key.
pub static APIS: &[Api] = apis! {
    Produce 0 - 13 produce,
    Fetch 4 - 18 fetch,
    ListOffsets 1 - 10 list_offsets,
    Metadata 0 - 13 metadata,
    OffsetCommit 2 - 10 offset_commit,
    OffsetFetch 1 - 10 offset_fetch,
    FindCoordinator 0 - 6 find_coordinator,
    JoinGroup 0 - 9 join_group,
    Heartbeat 0 - 4 heartbeat,
    LeaveGroup 0 - 5 leave_group,
    SyncGroup 0 - 5 sync_group,
    DescribeGroups 0 - 6 describe_groups,
    ListGroups 0 - 5 list_groups,
    ApiVersions 0 - 5 api_versions,
    CreateTopics 2 - 7 create_topics,
    DeleteTopics 1 - 6 delete_topics,
    DeleteRecords 0 - 2 delete_records,
    InitProducerId 0 - 5 init_producer_id,
    OffsetForLeaderEpoch 2 - 4 offset_for_leader_epoch,
    AddPartitionsToTxn 0 - 5 add_partitions_to_txn,
    AddOffsetsToTxn 0 - 4 add_offsets_to_txn,
    EndTxn 0 - 5 end_txn,
    WriteTxnMarkers 1 - 2 write_txn_markers,
    TxnOffsetCommit 0 - 6 txn_offset_commit,
    DescribeConfigs 1 - 4 describe_configs,
    AlterConfigs 0 - 2 alter_configs,
    DescribeLogDirs 1 - 5 describe_log_dirs,
    CreatePartitions 0 - 3 create_partitions,
    DeleteGroups 0 - 3 delete_groups,
    IncrementalAlterConfigs 0 - 1 incremental_alter_configs,
    OffsetDelete 0 - 0 offset_delete,
    UpdateFeatures 0 - 2 update_features,
    DescribeCluster 0 - 2 describe_cluster,
    DescribeProducers 0 - 0 describe_producers,
    DescribeTransactions 0 - 0 describe_transactions,
    ListTransactions 0 - 2 list_transactions,
    ConsumerGroupHeartbeat 0 - 1 consumer_group_heartbeat,
    ConsumerGroupDescribe 0 - 1 consumer_group_describe,
    ListConfigResources 0 - 1 list_config_resources,
    DescribeTopicPartitions 0 - 0 describe_topic_partitions,
};

/// The features of the cluster, by name. A level is here once each API that it concerns is served
/// in the versions that clients use on that level.
pub static FEATURES: &[SupportedFeature] = &[
    SupportedFeature { name: "group.version", levels: 0..=1 },
    SupportedFeature { name: "transaction.version", levels: 0..=2 },
];

/// Reads a frame's header and finds its API.
///
/// # Errors
/// If the header cannot be read, or this gateway does not serve the API or its version. ApiVersions
/// has no unsupported version: its response tells the client which versions to use (KIP-35).
pub fn read_call(
    frame: Bytes,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
) -> Result<(&'static Api, Call, RequestBody), CallError> {
    let (mut header, body) = RequestHeader::read(frame).map_err(CallError::Header)?;
    let (key, version) = (header.key, header.version);
    let known = ApiKey::try_from(key).map_err(|_| CallError::UnknownKey { key })?;
    let found = APIS.binary_search_by_key(&known, |api| api.key).map_err(|_| CallError::UnknownKey { key })?;
    let api = &APIS[found];
    let is_served = (api.version_min..=api.version_max).contains(&version);
    if !is_served && known != ApiKey::ApiVersions {
        // As in Kafka.
        return Err(CallError::UnsupportedVersion { api: known, version });
    }
    let session = Session::new(Arc::clone(&shared.broker), Arc::clone(&peer.caller), header.client_id.take());
    Ok((api, Call { header, session, key: known, is_served, peer, shared }, RequestBody(body)))
}

#[cfg(test)]
mod tests {
    use rustmq_kafka_codec_messages::ApiKey;

    use super::APIS;

    #[test]
    fn each_advertised_version_is_stable_in_kafka() {
        assert!(APIS.is_sorted_by_key(|api| api.key));
        for api in APIS {
            // Versions 0 to 2 of Produce are not served (`handlers/produce.rs`).
            let first = if api.key == ApiKey::Produce { 3 } else { api.version_min };
            assert!(api.key.versions().contains(&first), "{} {first}", api.key);
            assert!(api.version_max <= api.key.last_stable_version(), "{} {}", api.key, api.version_max);
        }
    }
}
