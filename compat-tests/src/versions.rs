//! Every API in every version, on the wire: one case per key, run once for each version that the
//! broker advertises. A case sends what a client would send, fails unless the answer decodes to its
//! last byte, and checks the content. The other scenarios test everything that does not differ
//! between versions.

/// Returns the typed answer to a request in a version.
macro_rules! ask {
    ($session:expr, $kind:ident, $version:expr, $request:expr) => {{
        let answer = $session.call(ApiKey::$kind, $version, &RequestKind::$kind($request));
        let ResponseKind::$kind(answer) = answer else { panic!("another answer than {}", stringify!($kind)) };
        answer
    }};
}

pub(crate) mod batch;
mod cluster;
mod commits;
mod configs;
mod consumer_groups;
pub mod crafted;
mod fetch;
mod groups;
mod log;
mod old_produce;
mod session;
mod topics;
mod transactional_offsets;
mod transactions;

pub use batch::{batch, batch_of, called_zstd, of_producer};
pub use log::produce_request;
pub use session::{Session, Topic};

use kafka_protocol::messages::ApiKey;

/// Runs the case of a key in a version. Panics with both if the answer is wrong.
pub type Case = fn(&mut Session, i16);

/// The case of a key; `None` if no case here supports it.
pub fn case(key: ApiKey) -> Option<Case> {
    let case: Case = match key {
        ApiKey::Produce => log::produce,
        ApiKey::ListOffsets => log::list_offsets,
        ApiKey::OffsetForLeaderEpoch => log::offset_for_leader_epoch,
        ApiKey::DeleteRecords => log::delete_records,
        ApiKey::Fetch => fetch::fetch,
        ApiKey::Metadata => topics::metadata,
        ApiKey::CreateTopics => topics::create_topics,
        ApiKey::DeleteTopics => topics::delete_topics,
        ApiKey::CreatePartitions => topics::create_partitions,
        ApiKey::DescribeTopicPartitions => topics::describe_topic_partitions,
        ApiKey::DescribeConfigs => configs::describe_configs,
        ApiKey::AlterConfigs => configs::alter_configs,
        ApiKey::IncrementalAlterConfigs => configs::incremental_alter_configs,
        ApiKey::ListConfigResources => configs::list_config_resources,
        ApiKey::DescribeLogDirs => configs::describe_log_dirs,
        ApiKey::JoinGroup => groups::join_group,
        ApiKey::SyncGroup => groups::sync_group,
        ApiKey::Heartbeat => groups::heartbeat,
        ApiKey::LeaveGroup => groups::leave_group,
        ApiKey::DescribeGroups => groups::describe_groups,
        ApiKey::ListGroups => groups::list_groups,
        ApiKey::DeleteGroups => groups::delete_groups,
        ApiKey::OffsetCommit => commits::offset_commit,
        ApiKey::OffsetFetch => commits::offset_fetch,
        ApiKey::OffsetDelete => commits::offset_delete,
        ApiKey::ApiVersions => cluster::api_versions,
        ApiKey::FindCoordinator => cluster::find_coordinator,
        ApiKey::InitProducerId => cluster::init_producer_id,
        ApiKey::DescribeCluster => cluster::describe_cluster,
        ApiKey::UpdateFeatures => cluster::update_features,
        ApiKey::AddPartitionsToTxn => transactions::add_partitions_to_txn,
        ApiKey::AddOffsetsToTxn => transactional_offsets::add_offsets_to_txn,
        ApiKey::TxnOffsetCommit => transactional_offsets::txn_offset_commit,
        ApiKey::EndTxn => transactions::end_txn,
        ApiKey::WriteTxnMarkers => transactions::write_txn_markers,
        ApiKey::DescribeProducers => transactions::describe_producers,
        ApiKey::DescribeTransactions => transactions::describe_transactions,
        ApiKey::ListTransactions => transactions::list_transactions,
        ApiKey::ConsumerGroupHeartbeat => consumer_groups::consumer_group_heartbeat,
        ApiKey::ConsumerGroupDescribe => consumer_groups::consumer_group_describe,
        _ => return None,
    };
    Some(case)
}
