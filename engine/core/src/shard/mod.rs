//! One shard, without I/O: the words in which it is asked and answers, and the time that it is told.
//!
//! Reading order: [`request`] is what is asked of it, [`error`] why it refuses, [`now`] the time of a turn.
//! Queues, threads and files are the driver's, and so is who waits for an answer.

pub mod error;
pub mod now;
pub mod request;

pub use now::Now;
