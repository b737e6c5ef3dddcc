//! The transaction coordinator's types that requests and answers contain.

pub use rustmq_broker_core::transactions::machine::{TransactionDescription, TransactionListing};
pub use rustmq_broker_core::transactions::request::{EndTxnRequest, InitProducerIdRequest};
pub use rustmq_broker_core::transactions::{TransactionError, TransactionState};
