//! One shard as the handle sees it: its queues, and what they are bounded by.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use crate::request::{DiskRead, Request, TimeSearch};
use crate::status::ShardGauges;

#[derive(Clone, Debug)]
pub struct ShardHandle {
    pub inbox: mpsc::Sender<Request>,
    pub disk_reads: mpsc::Sender<DiskRead>,
    pub time_searches: mpsc::Sender<TimeSearch>,
    /// One for each read from disk that may be under way, over all shards.
    pub read_places: Arc<Semaphore>,
    pub gauges: Arc<ShardGauges>,
}
