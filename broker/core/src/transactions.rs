//! The transaction coordinator: the transactions of the transactional ids in one partition of
//! `__transaction_state`.
//!
//! Reading order: [`request`] (requests and answers), [`task`] (the work outside of the log).

pub mod config;
pub mod error;
pub mod request;
pub mod task;

pub use config::TransactionConfig;
pub use error::TransactionError;
pub use request::{TransactionOutcome, TransactionRequest};
pub use task::{MarkerOutcome, TransactionTask, TransactionTaskResult};
