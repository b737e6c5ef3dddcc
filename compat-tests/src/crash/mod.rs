//! The crash proof: a broker is killed again and again under load, and everything that it
//! acknowledged is looked for afterwards. `campaign` runs the rounds; `audit` judges, and knows
//! nothing of clients, processes or time.

pub mod admin;
pub mod audit;
pub mod campaign;
pub mod committer;
pub mod ledger;
pub mod liar;
pub mod payload;
pub mod reader;
pub mod single;
pub mod topics;
pub mod wal_damage;
pub mod writer;
