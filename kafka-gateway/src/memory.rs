//! The memory that requests and answers of all connections share. It is counted before it is taken;
//! what is small, and bounded by the number of connections, is not counted. It does not know what
//! the bytes are.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::GatewayConfig;

/// The largest frame, length included, that takes no request memory: what a connection holds beside
/// the budget.
pub const FRAME_FREE_BYTES: usize = 16 << 10;
/// The largest frame whose memory large ones cannot take: a request as large as Kafka's clients
/// make them (`max.request.size` is 1 MiB), and room for what is around its records.
pub const FRAME_ORDINARY_BYTES: usize = (1 << 20) + (64 << 10);
/// The largest answer that takes no answer memory.
const ANSWER_FREE_BYTES: usize = 64 << 10;

/// There is no room, and waiting for it would take memory as well.
#[derive(Debug, thiserror::Error)]
#[error("the memory for answers is exhausted")]
pub struct Exhausted;

/// Bytes to be shared, in KiB.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    kib_max: u32,
}

/// Bytes of a budget, until it is dropped.
pub type Share = OwnedSemaphorePermit;

impl Budget {
    pub fn new(bytes_max: u64) -> Self {
        let kib_max = u32::try_from(bytes_max / 1024).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 3);
        Self { free: Arc::new(Semaphore::new(kib_max as usize)), kib_max }
    }

    /// What is larger than the whole budget takes the whole budget.
    fn kib(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.kib_max)
    }

    /// A share, if there is room now.
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        Arc::clone(&self.free).try_acquire_many_owned(self.kib(bytes)).ok()
    }

    /// A share, as soon as there is room.
    pub async fn take(&self, bytes: usize) -> Share {
        Arc::clone(&self.free).acquire_many_owned(self.kib(bytes)).await.expect("a budget is never closed")
    }

    pub fn taken_bytes(&self) -> u64 {
        (u64::from(self.kib_max) - self.free.available_permits() as u64) * 1024
    }
}

/// The memory for requests above [`FRAME_FREE_BYTES`]: one half for those of ordinary size, so that
/// a few of the largest, which may be slow to arrive, do not hold them up.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    ordinary: Pool,
    large: Pool,
}

#[derive(Clone, Debug)]
struct Pool {
    budget: Budget,
    /// One permit, for a frame that goes on beyond the budget. Frames take memory as they arrive:
    /// without it, frames that together hold all of it and need more would wait for each other.
    overdraft: Arc<Semaphore>,
}

/// What one frame holds of the request memory.
#[derive(Debug, Default)]
pub struct RequestShare {
    taken: Option<Share>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl RequestMemory {
    pub fn new(bytes_max: u64) -> Self {
        let pool = || Pool { budget: Budget::new(bytes_max / 2), overdraft: Arc::new(Semaphore::new(1)) };
        Self { ordinary: pool(), large: pool() }
    }

    /// Lets the share of a frame that says it is `frame_bytes` long grow to `bytes`, as soon as
    /// there is room.
    pub async fn grow(&self, share: &mut RequestShare, frame_bytes: usize, bytes: usize) {
        let pool = if frame_bytes <= FRAME_ORDINARY_BYTES { &self.ordinary } else { &self.large };
        let held = share.taken.as_ref().map_or(0, Share::num_permits);
        let missing = (pool.budget.kib(bytes) as usize).saturating_sub(held);
        if missing == 0 || share.overdraft.is_some() {
            return;
        }
        tokio::select! {
            biased;
            taken = pool.budget.take(missing * 1024) => match &mut share.taken {
                Some(held) => held.merge(taken),
                none => *none = Some(taken),
            },
            overdraft = Arc::clone(&pool.overdraft).acquire_owned() => share.overdraft = overdraft.ok(),
        }
    }
}

/// The memory for answers above [`ANSWER_FREE_BYTES`] that are encoded and not yet sent.
#[derive(Clone, Debug)]
pub struct AnswerMemory {
    unsent: Budget,
    /// As much again may wait for room, encoded; more is refused.
    waiting: Budget,
}

impl AnswerMemory {
    fn new(bytes_max: u64) -> Self {
        Self { unsent: Budget::new(bytes_max), waiting: Budget::new(bytes_max) }
    }

    /// A share, if there is room now; none for a small answer.
    pub fn try_take(&self, bytes: usize) -> Result<Option<Share>, Exhausted> {
        if bytes <= ANSWER_FREE_BYTES {
            return Ok(None);
        }
        self.unsent.try_take(bytes).map(Some).ok_or(Exhausted)
    }

    /// A share, as soon as there is room. Not for an answer that others, which hold shares, must
    /// follow.
    pub async fn take(&self, bytes: usize) -> Result<Option<Share>, Exhausted> {
        if let Ok(share) = self.try_take(bytes) {
            return Ok(share);
        }
        let _waiting = self.waiting.try_take(bytes).ok_or(Exhausted)?;
        Ok(Some(self.unsent.take(bytes).await))
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Memory {
    pub requests: RequestMemory,
    pub answers: AnswerMemory,
    /// Fetched bytes that slow clients have not taken.
    pub fetch_copies: Budget,
}

/// How much of it is in use, in bytes.
#[derive(Debug)]
pub struct MemoryInUse {
    pub ordinary_requests: u64,
    pub large_requests: u64,
    pub answers: u64,
    pub fetch_copies: u64,
}

impl Memory {
    pub fn new(config: &GatewayConfig) -> Self {
        Self {
            requests: RequestMemory::new(config.request_memory_max.0),
            answers: AnswerMemory::new(config.answer_memory_max.0),
            fetch_copies: Budget::new(config.fetch_copy_max.0),
        }
    }

    pub fn in_use(&self) -> MemoryInUse {
        MemoryInUse {
            ordinary_requests: self.requests.ordinary.budget.taken_bytes(),
            large_requests: self.requests.large.budget.taken_bytes(),
            answers: self.answers.unsent.taken_bytes() + self.answers.waiting.taken_bytes(),
            fetch_copies: self.fetch_copies.taken_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{ANSWER_FREE_BYTES, AnswerMemory};

    #[tokio::test]
    async fn answers_wait_for_room_as_many_as_there_is_room_for_and_no_more() {
        let memory = AnswerMemory::new(1 << 20);
        let first = memory.take(1 << 20).await.unwrap().unwrap();
        assert!(memory.take(ANSWER_FREE_BYTES).await.unwrap().is_none(), "a small one is free");
        assert!(memory.try_take(1 << 20).is_err());
        let waiting = tokio::spawn({
            let memory = memory.clone();
            async move { memory.take(1 << 20).await.unwrap().unwrap() }
        });
        tokio::task::yield_now().await;
        assert!(memory.take(1 << 20).await.is_err(), "one waits already");
        drop(first);
        drop(waiting.await.unwrap());
    }
}
