//! A thread that looks at memory twice a second: it sets the budget of recent batches by what the system has left, and gives back what no
//! shard has needed lately. The files are read here, never on a shard's thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_core::tail_budget::TailBudget;
use rustmq_model::{ByteSize, Instant};

use crate::event::{Event, EventSender};
use crate::memory_levels::MemorySource;

/// Half of what "within a second" leaves.
const EVERY: Duration = Duration::from_millis(500);

/// The recent batches of one shard.
#[derive(Debug)]
pub(crate) struct WatchedShard {
    pub chunks: ChunkPool,
    pub events: EventSender,
}

/// What is watched.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    pub shards: Vec<WatchedShard>,
    /// For all shards together.
    pub budget: ByteSize,
    /// `None` where the budget is fixed.
    pub source: Option<Arc<dyn MemorySource>>,
}

impl MemoryWatch {
    /// The thread ends soon after the last shard.
    pub(crate) fn start(self) -> io::Result<()> {
        std::thread::Builder::new().name("rustmq-memory".to_owned()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(&self) {
        let begun = std::time::Instant::now();
        let mut budget = TailBudget::new(self.budget);
        let mut is_blind = false;
        while self.shards.iter().any(|shard| !shard.events.has_ended()) {
            std::thread::sleep(EVERY);
            let now = Instant::default().plus(begun.elapsed());
            if let Some(source) = &self.source {
                match source.levels() {
                    Ok(levels) => {
                        is_blind = false;
                        let used = self.shards.iter().map(|shard| shard.chunks.usage().live).sum();
                        if let Some(next) = budget.handle_levels(now, &levels, used) {
                            tracing::info!(tail_memory = %next, "the memory for recent batches follows what the system has left");
                            self.divide(next);
                        }
                    }
                    Err(error) if !is_blind => {
                        is_blind = true;
                        tracing::warn!(%error, "what memory is left is not known: recent batches keep what they may take");
                    }
                    Err(_) => {}
                }
            }
            self.shards.iter().for_each(|shard| shard.chunks.trim());
        }
    }

    fn divide(&self, budget: ByteSize) {
        let each = budget.0 / self.shards.len().max(1) as u64;
        for shard in &self.shards {
            shard.chunks.set_budget(each);
            // One that is idle would not look.
            shard.events.send(Event::TailBudgetSet);
        }
    }
}
