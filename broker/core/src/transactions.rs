//! The transaction coordinator: the transactions of the transactional ids in one partition of
//! `__transaction_state` (`docs/adr/0027-transaction-coordinator.md`).
//!
//! Reading order: [`request`] (requests and answers), [`task`] (the work outside of the log),
//! [`state`] and [`transaction`] (one id), `decision` (what a request changes), [`machine`] (all
//! ids of one partition, as a machine for the contract in [`crate::coordinator`]), [`records`] (the
//! records of the log).

pub mod config;
mod decision;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
pub mod machine;
pub mod records;
pub mod request;
#[cfg(test)]
mod scenario;
pub mod state;
pub mod task;
pub mod transaction;

pub use config::TransactionConfig;
pub use error::TransactionError;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use fuzzing::{fuzz_transaction_machine, fuzz_transaction_records};
pub use machine::{TransactionCoordinator, Transactions};
pub use request::{TransactionOutcome, TransactionRequest};
pub use state::TransactionState;
pub use task::{MarkerOutcome, TransactionTask, TransactionTaskResult};
