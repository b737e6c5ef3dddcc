//! One shard as the handle sees it: its queues, and what they are bounded by.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::request::Request;
use crate::status::ShardGauges;

#[derive(Clone, Debug)]
pub struct ShardHandle {
    pub inbox: mpsc::Sender<Request>,
    /// One for each read from disk that may be under way, over all shards.
    pub read_places: Arc<Semaphore>,
    pub gauges: Arc<ShardGauges>,
}
