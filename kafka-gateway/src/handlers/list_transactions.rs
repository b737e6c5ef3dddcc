//! ListTransactions: the transactional ids that this broker coordinates (KIP-664). Newer versions
//! filter them by the duration of the transaction (KIP-994) and by a pattern (KIP-1152).

use rustmq_broker_service::TransactionQuery;
use rustmq_broker_service::transactions::TransactionState as State;
use rustmq_kafka_codec_messages::list_transactions_response::TransactionState;
use rustmq_kafka_codec_messages::{ListTransactionsRequest, ListTransactionsResponse};
use rustmq_model::ProducerId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// States of Kafka's that no transactional id has here between two requests: they are known, and
/// match nothing.
const PASSING_STATES: [&str; 2] = ["Dead", "PrepareEpochFence"];

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: ListTransactionsRequest = call.decode(body)?;
    let named = |name: &String| State::ALL.into_iter().find(|state| state.name() == name);
    let states = (!request.state_filters.is_empty()).then(|| request.state_filters.iter().filter_map(named).collect());
    let is_unknown = |name: &String| named(name).is_none() && !PASSING_STATES.contains(&name.as_str());
    let unknown_state_filters = request.state_filters.iter().filter(|name| is_unknown(name)).cloned().collect();
    let query = TransactionQuery {
        states,
        producer_ids: request.producer_id_filters.into_iter().map(ProducerId).collect(),
        running_longer_than: words::unless_negative(request.duration_filter),
        pattern: request.transactional_id_pattern.filter(|pattern| !pattern.is_empty()),
    };
    let response = match call.session.list_transactions(&query) {
        Ok(listed) => {
            let listed = listed.into_iter().map(|listing| TransactionState {
                transactional_id: listing.id.as_str().to_owned(),
                producer_id: listing.producer_id.0,
                transaction_state: listing.state.name().to_owned(),
            });
            ListTransactionsResponse {
                unknown_state_filters,
                transaction_states: listed.collect(),
                ..ListTransactionsResponse::default()
            }
        }
        Err(error) => {
            ListTransactionsResponse { error_code: error_map::code(&error), ..ListTransactionsResponse::default() }
        }
    };
    call.answer(&response)
}
