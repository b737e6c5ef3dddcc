//! A thread that checks memory twice a second: it adapts the budget of recent batches to the memory
//! that the system has left, and returns spare memory that no shard has needed lately. Reading the
//! system's figures may block, so no shard's thread does it.

use std::io;
use std::time::Duration;

use rustmq_engine_core::tail_budget::TailBudget;
use rustmq_engine_memory::ChunkPool;
use rustmq_model::{ByteSize, Instant};

use crate::event::{Event, EventSender};
use crate::memory_levels::MemorySource;
use crate::tail_memory::{TailLimit, TailMemory};

/// Memory is returned within a second of a shortage; half of that is left for the shards.
const INTERVAL: Duration = Duration::from_millis(500);

/// The chunks of one shard's recent batches.
#[derive(Debug)]
pub(crate) struct WatchedShard {
    pub chunks: ChunkPool,
    pub events: EventSender,
}

/// The state of the watch.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    pub shards: Vec<WatchedShard>,
    /// The limit that the shards began with.
    pub limit: TailLimit,
    pub tail_memory: TailMemory,
}

impl MemoryWatch {
    /// Starts the thread, which ends soon after the last shard.
    pub(crate) fn start(self) -> io::Result<()> {
        std::thread::Builder::new().name("rustmq-memory".to_owned()).spawn(move || self.run())?;
        Ok(())
    }

    fn run(&self) {
        let begun = std::time::Instant::now();
        let mut limit = self.limit.clone();
        let mut budget = TailBudget::new(limit.full);
        let mut is_blind = false;
        while self.shards.iter().any(|shard| !shard.events.has_ended()) {
            std::thread::sleep(INTERVAL);
            if let Some(next) = self.tail_memory.changed_since(&limit) {
                limit = next;
                budget = TailBudget::new(limit.full);
                tracing::info!(tail_memory = %limit.full, "the memory for recent batches is another now");
                self.divide(limit.full);
            }
            if let Some(source) = &limit.source {
                let now = Instant::default().plus(begun.elapsed());
                self.follow(&mut budget, &**source, now, &mut is_blind);
            }
            self.shards.iter().for_each(|shard| shard.chunks.trim());
        }
    }

    /// Adapts the budget to the memory that the system has left.
    fn follow(&self, budget: &mut TailBudget, source: &dyn MemorySource, now: Instant, is_blind: &mut bool) {
        match source.levels() {
            Ok(levels) => {
                *is_blind = false;
                let used = self.shards.iter().map(|shard| shard.chunks.usage().live).sum();
                if let Some(next) = budget.handle_levels(now, &levels, used) {
                    tracing::info!(tail_memory = %next, "the memory for recent batches follows the memory that the system has left");
                    self.divide(next);
                }
            }
            Err(error) if !*is_blind => {
                *is_blind = true;
                tracing::warn!(%error, "the system's free memory cannot be read: the budget for recent batches stays as it is");
            }
            Err(_) => {}
        }
    }

    fn divide(&self, budget: ByteSize) {
        let each = budget.0 / self.shards.len().max(1) as u64;
        for shard in &self.shards {
            shard.chunks.set_budget(each);
            // An idle shard would not notice the new budget by itself.
            shard.events.send(Event::TailBudgetSet);
        }
    }
}
