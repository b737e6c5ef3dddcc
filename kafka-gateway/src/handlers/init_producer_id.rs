//! InitProducerId: an id for an idempotent producer.

use rustmq_broker_service::ProducerIdRequest;
use rustmq_kafka_codec_messages::{InitProducerIdRequest, InitProducerIdResponse};
use rustmq_model::{ProducerEpoch, ProducerId};

use crate::call::{Call, CallError, Handling};
use crate::error_map;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: InitProducerIdRequest = call.decode()?;
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
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    };
    call.answer(&response)
}
