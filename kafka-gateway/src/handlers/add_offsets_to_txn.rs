//! AddOffsetsToTxn: adds the offsets of a group to a producer's transaction. Clients of transaction
//! version 2 do not send it: their TxnOffsetCommit adds them.

use rustmq_broker_service::groups::GroupId;
use rustmq_kafka_codec_messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, ApiKey};
use rustmq_model::{ProducerEpoch, ProducerId, ProducerKey, TransactionalId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: AddOffsetsToTxnRequest = call.decode(body)?;
    let producer = ProducerKey { id: ProducerId(request.producer_id), epoch: ProducerEpoch(request.producer_epoch) };
    let error_code = match TransactionalId::new(&request.transactional_id) {
        Ok(id) => {
            let group = GroupId::new(&request.group_id);
            let added = call.session.add_offsets_to_transaction(id, producer, &group).await;
            let code = |error| error_map::code_in(ApiKey::AddOffsetsToTxn, call.version(), &error);
            added.err().map_or(error_map::NONE, code)
        }
        Err(error) => error_map::code(&error),
    };
    call.answer(&AddOffsetsToTxnResponse { error_code, ..AddOffsetsToTxnResponse::default() })
}
