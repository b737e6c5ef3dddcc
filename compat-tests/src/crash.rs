//! The crash proof: kills a broker again and again under load, and then audits for everything that
//! it acknowledged. `campaign` runs the rounds; `audit` judges, and knows no clients, processes or
//! time. `transactions` is the same for transactions.

pub mod admin;
pub mod audit;
pub mod campaign;
pub mod committer;
pub mod ledger;
pub mod lying_proxy;
pub mod payload;
pub mod reader;
pub mod single;
pub mod topics;
pub mod transactions;
pub mod wal_damage;
pub mod writer;
