//! InitProducerId: an id for an idempotent producer.

use rustmq_broker_service::ProducerIdRequest;
use rustmq_kafka_codec_messages::{InitProducerIdRequest, InitProducerIdResponse};
use rustmq_model::{ProducerEpoch, ProducerId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

/// Stand for no producer.
const NO_PRODUCER_ID: i64 = -1;
const NO_PRODUCER_EPOCH: i16 = -1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: InitProducerIdRequest = call.decode(body)?;
    let current =
        (request.producer_id >= 0).then_some((ProducerId(request.producer_id), ProducerEpoch(request.producer_epoch)));
    let transactional_id = request.transactional_id;
    let result = call.session.init_producer_id(ProducerIdRequest { transactional_id, current }).await;
    let response = match result {
        Ok((id, epoch)) => {
            InitProducerIdResponse { producer_id: id.0, producer_epoch: epoch.0, ..InitProducerIdResponse::default() }
        }
        Err(error) => InitProducerIdResponse {
            error_code: error_map::code(&error),
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            ..InitProducerIdResponse::default()
        },
    };
    call.answer(&response)
}
