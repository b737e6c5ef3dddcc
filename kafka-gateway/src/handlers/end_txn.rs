//! EndTxn: commits or aborts a transaction. From version 5 on (KIP-890) the producer's epoch rises
//! at each end, and the answer has the new one.

use rustmq_broker_service::transactions::EndTxnRequest as EndTransaction;
use rustmq_kafka_codec_messages::{ApiKey, EndTxnRequest, EndTxnResponse};
use rustmq_model::{ProducerEpoch, ProducerId};
use rustmq_model::{ProducerKey, TransactionEnd, TransactionVersion, TransactionalId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

/// The first version whose clients speak transaction version 2.
const BUMPS_EPOCHS_FROM: i16 = 5;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: EndTxnRequest = call.decode(body)?;
    let version = call.version();
    let id = match TransactionalId::new(&request.transactional_id) {
        Ok(id) => id,
        Err(error) => return call.answer(&refused(error_map::code(&error))),
    };
    let wait = call.session.end_transaction(EndTransaction {
        id,
        producer: ProducerKey { id: ProducerId(request.producer_id), epoch: ProducerEpoch(request.producer_epoch) },
        end: if request.committed { TransactionEnd::Commit } else { TransactionEnd::Abort },
        version: if version >= BUMPS_EPOCHS_FROM { TransactionVersion::V2 } else { TransactionVersion::V0 },
    });
    Ok(call.answer_later(async move {
        match wait.await {
            Ok(producer) => EndTxnResponse {
                producer_id: producer.id.0,
                producer_epoch: producer.epoch.0,
                ..EndTxnResponse::default()
            },
            Err(error) => refused(error_map::code_in(ApiKey::EndTxn, version, &error)),
        }
    }))
}

fn refused(error_code: i16) -> EndTxnResponse {
    EndTxnResponse { error_code, ..EndTxnResponse::default() }
}
