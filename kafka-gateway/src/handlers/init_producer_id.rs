//! InitProducerId: an id for an idempotent producer.

use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use rustmq_broker_service::ProducerIdRequest;
use rustmq_model::{ProducerEpoch, ProducerId};

use crate::call::{Call, CallError, Handling};
use crate::error_map;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: InitProducerIdRequest = call.decode()?;
    let current = (request.producer_id.0 >= 0)
        .then_some((ProducerId(request.producer_id.0), ProducerEpoch(request.producer_epoch)));
    let transactional_id = request.transactional_id.map(|id| id.to_string());
    let result = call.shared.broker.init_producer_id(ProducerIdRequest { transactional_id, current }).await;
    let response = match result {
        Ok((id, epoch)) => InitProducerIdResponse::default().with_producer_id(id.0.into()).with_producer_epoch(epoch.0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error_map::code(&error))
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    };
    call.answer(&response)
}
