//! InitProducerId: an id for an idempotent producer, or the id and epoch of a transactional one.

use rustmq_broker_service::transactions::InitProducerIdRequest as InitTransactions;
use rustmq_kafka_codec_messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse};
use rustmq_model::{ProducerEpoch, ProducerId};
use rustmq_model::{ProducerKey, TransactionalId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

/// Stand for no producer.
const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: InitProducerIdRequest = call.decode(body)?;
    let version = call.version();
    let expected = match (request.producer_id, request.producer_epoch) {
        (NO_PRODUCER_ID, NO_PRODUCER_EPOCH) => None,
        (NO_PRODUCER_ID, _) | (_, NO_PRODUCER_EPOCH) => return call.answer(&refused(error_map::INVALID_REQUEST)),
        (id, epoch) => Some(ProducerKey { id: ProducerId(id), epoch: ProducerEpoch(epoch) }),
    };
    let Some(id) = request.transactional_id else {
        let response = match call.session.init_producer_id().await {
            Ok(producer) => given(producer),
            Err(error) => refused(error_map::code(&error)),
        };
        return call.answer(&response);
    };
    let id = match TransactionalId::new(&id) {
        Ok(id) => id,
        Err(error) => return call.answer(&refused(error_map::code(&error))),
    };
    let timeout_ms = request.transaction_timeout_ms;
    let wait = call.session.init_transactions(InitTransactions { id, timeout_ms, expected });
    Ok(call.answer_later(async move {
        match wait.await {
            Ok(producer) => given(producer),
            Err(error) => refused(error_map::code_in(ApiKey::InitProducerId, version, &error)),
        }
    }))
}

fn given(producer: ProducerKey) -> InitProducerIdResponse {
    InitProducerIdResponse {
        producer_id: producer.id.0,
        producer_epoch: producer.epoch.0,
        ..InitProducerIdResponse::default()
    }
}

fn refused(error_code: i16) -> InitProducerIdResponse {
    InitProducerIdResponse {
        error_code,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        ..InitProducerIdResponse::default()
    }
}
