//! One shard as the engine's handle sees it: its queues and their bounds.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::request::Request;
use crate::status::ShardFigures;

#[derive(Clone, Debug)]
pub struct ShardHandle {
    pub inbox: mpsc::Sender<Request>,
    /// One permit for each read from disk that may be under way, shared by all shards.
    pub read_permits: Arc<Semaphore>,
    pub figures: Arc<dyn ShardFigures>,
}
