//! One shard, without I/O: the words in which it is asked and answers.
//!
//! Reading order: [`request`] is what is asked of it, [`error`] why it refuses.
//! Queues, threads and files are the driver's, and so is who waits for an answer.

pub mod error;
pub mod request;
