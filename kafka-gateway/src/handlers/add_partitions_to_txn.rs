//! AddPartitionsToTxn: adds partitions to a producer's transaction. Versions up to 3 come from
//! clients and have one transaction; later ones come from brokers, have many, and may only ask
//! whether the transaction has the partitions.

use futures_util::{StreamExt, stream};
use rustmq_broker_service::{PartitionsPurpose, Session, TransactionPartitionError, TransactionPartitions};
use rustmq_kafka_codec_messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use rustmq_kafka_codec_messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use rustmq_kafka_codec_messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey};
use rustmq_model::{PartitionId, ProducerEpoch, ProducerId};
use rustmq_model::{ProducerKey, TransactionVersion, TransactionalId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version with many transactions.
const BATCHED_FROM: i16 = 4;
const TRANSACTIONS_AT_ONCE: usize = 256;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: AddPartitionsToTxnRequest = call.decode(body)?;
    let version = call.version();
    if version < BATCHED_FROM {
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            verify_only: false,
            topics: request.v3_and_below_topics,
        };
        let results = results(&call.session, transaction, version).await;
        let response = AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: results.topic_results,
            ..AddPartitionsToTxnResponse::default()
        };
        return call.answer(&response);
    }
    // A transaction whose markers are on their way does not hold up the others.
    let results = request.transactions.into_iter().map(|transaction| results(&call.session, transaction, version));
    let results_by_transaction = stream::iter(results).buffered(TRANSACTIONS_AT_ONCE).collect().await;
    call.answer(&AddPartitionsToTxnResponse { results_by_transaction, ..AddPartitionsToTxnResponse::default() })
}

async fn results(
    session: &Session,
    transaction: AddPartitionsToTxnTransaction,
    version: i16,
) -> AddPartitionsToTxnResult {
    let AddPartitionsToTxnTransaction { transactional_id, producer_id, producer_epoch, verify_only, topics } =
        transaction;
    let code = |error: &TransactionPartitionError| error_map::code_in(ApiKey::AddPartitionsToTxn, version, error);
    let codes = match TransactionalId::new(&transactional_id) {
        Ok(id) => {
            let purpose = match verify_only {
                true => PartitionsPurpose::Verify,
                false if version < BATCHED_FROM => PartitionsPurpose::Add(TransactionVersion::V0),
                // A leader adds the partitions of clients of version 2.
                false => PartitionsPurpose::Add(TransactionVersion::V2),
            };
            let producer = ProducerKey { id: ProducerId(producer_id), epoch: ProducerEpoch(producer_epoch) };
            let partitions = topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|index| (words::topic_name(&topic.name), PartitionId(*index)))
            });
            let request = TransactionPartitions { id, producer, partitions: partitions.collect(), purpose };
            let results = session.partitions_of_transaction(request).await;
            results.into_iter().map(|result| result.err().map_or(error_map::NONE, |error| code(&error))).collect()
        }
        Err(error) => {
            let count = topics.iter().map(|topic| topic.partitions.len()).sum();
            vec![error_map::code(&error); count]
        }
    };
    AddPartitionsToTxnResult { transactional_id, topic_results: by_topic(topics, codes) }
}

/// The codes of the partitions, by topic. They have the order of the request.
fn by_topic(topics: Vec<AddPartitionsToTxnTopic>, codes: Vec<i16>) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut codes = codes.into_iter();
    let topics = topics.into_iter().map(|AddPartitionsToTxnTopic { name, partitions }| {
        let results = partitions.into_iter().zip(&mut codes).map(|(partition_index, partition_error_code)| {
            AddPartitionsToTxnPartitionResult { partition_index, partition_error_code }
        });
        AddPartitionsToTxnTopicResult { name, results_by_partition: results.collect() }
    });
    topics.collect()
}
