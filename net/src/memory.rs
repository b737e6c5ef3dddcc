//! The memory that the requests and responses of all connections share. It is reserved before it is
//! allocated. Small buffers, whose number the connections bound, are not counted. Does not know
//! what the bytes mean.

use std::sync::Arc;

use rustmq_model::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The largest request that reserves no memory: each connection may hold this much beside the
/// budget.
pub const REQUEST_FREE_BYTES: usize = 16 << 10;
/// The largest request of ordinary size, for which a half of the budget is set aside: the largest
/// that Kafka's clients send by default (`max.request.size` is 1 MiB), and room for the fields
/// around its records.
pub const REQUEST_ORDINARY_BYTES: usize = (1 << 20) + (64 << 10);
/// The largest response that reserves no memory.
const RESPONSE_FREE_BYTES: usize = 64 << 10;

const _: () = assert!(REQUEST_FREE_BYTES < REQUEST_ORDINARY_BYTES, "most requests of ordinary size are counted");

/// There is no room, and waiting for it would take memory, too.
#[derive(Debug, thiserror::Error)]
#[error("the memory for responses is exhausted")]
pub struct Exhausted;

/// A shared budget of bytes, counted in KiB. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    kib_max: u32,
}

/// Reserved bytes of a budget, returned when this is dropped.
pub type Reservation = OwnedSemaphorePermit;

impl Budget {
    /// Creates a budget of `size`, at least 1 KiB and at most 512 GiB.
    #[must_use]
    pub fn new(size: ByteSize) -> Self {
        let kib_max = u32::try_from(size.0 / 1024).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 3);
        Self { free: Arc::new(Semaphore::new(kib_max as usize)), kib_max }
    }

    /// The KiB to reserve. A request for more than the whole budget reserves the whole budget.
    fn kib(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.kib_max)
    }

    /// Reserves the bytes if there is room now.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        Arc::clone(&self.free).try_acquire_many_owned(self.kib(bytes)).ok()
    }

    /// Reserves the bytes as soon as there is room, in the order of the requests.
    pub async fn reserve(&self, bytes: usize) -> Reservation {
        Arc::clone(&self.free).acquire_many_owned(self.kib(bytes)).await.expect("a budget is never closed")
    }

    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        (u64::from(self.kib_max) - self.free.available_permits() as u64) * 1024
    }
}

/// The memory for requests above [`REQUEST_FREE_BYTES`]. One half is for requests of ordinary size,
/// so that a few of the largest, which may arrive slowly, do not block them.
#[derive(Clone, Debug)]
pub struct RequestMemory {
    ordinary: Pool,
    large: Pool,
}

#[derive(Clone, Debug)]
struct Pool {
    budget: Budget,
    /// The permit of the one request that may exceed the budget. Requests reserve memory as they
    /// arrive: without this permit, requests that hold the whole budget and need more would wait
    /// for each other forever.
    overdraft: Arc<Semaphore>,
}

/// The memory that one request has reserved.
#[derive(Debug, Default)]
pub struct RequestReservation {
    reserved: Option<Reservation>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl RequestMemory {
    #[must_use]
    pub fn new(size: ByteSize) -> Self {
        let pool = || Pool { budget: Budget::new(ByteSize(size.0 / 2)), overdraft: Arc::new(Semaphore::new(1)) };
        Self { ordinary: pool(), large: pool() }
    }

    /// Grows the reservation of a request to `bytes`, as soon as there is room. `request_bytes` is
    /// the length that the request declares.
    pub async fn grow(&self, reservation: &mut RequestReservation, request_bytes: usize, bytes: usize) {
        let pool = if request_bytes <= REQUEST_ORDINARY_BYTES { &self.ordinary } else { &self.large };
        let held = reservation.reserved.as_ref().map_or(0, Reservation::num_permits);
        let missing = (pool.budget.kib(bytes) as usize).saturating_sub(held);
        if missing == 0 || reservation.overdraft.is_some() {
            return;
        }
        tokio::select! {
            biased;
            more = pool.budget.reserve(missing * 1024) => match &mut reservation.reserved {
                Some(held) => held.merge(more),
                none => *none = Some(more),
            },
            overdraft = Arc::clone(&pool.overdraft).acquire_owned() => reservation.overdraft = overdraft.ok(),
        }
    }

    /// The reserved bytes of requests of ordinary size.
    #[must_use]
    pub fn ordinary_bytes(&self) -> u64 {
        self.ordinary.budget.reserved_bytes()
    }

    /// The reserved bytes of larger requests.
    #[must_use]
    pub fn large_bytes(&self) -> u64 {
        self.large.budget.reserved_bytes()
    }
}

/// The memory for responses above 64 KiB that are encoded and not sent yet.
#[derive(Clone, Debug)]
pub struct ResponseMemory {
    unsent: Budget,
    /// As many bytes again may wait for room after they are encoded. Further responses are refused.
    waiting: Budget,
}

impl ResponseMemory {
    #[must_use]
    pub fn new(size: ByteSize) -> Self {
        Self { unsent: Budget::new(size), waiting: Budget::new(size) }
    }

    /// Reserves the bytes of a response if there is room now. A small response reserves none.
    ///
    /// # Errors
    /// [`Exhausted`] if there is no room.
    pub fn try_reserve(&self, bytes: usize) -> Result<Option<Reservation>, Exhausted> {
        if bytes <= RESPONSE_FREE_BYTES {
            return Ok(None);
        }
        self.unsent.try_reserve(bytes).map(Some).ok_or(Exhausted)
    }

    /// Reserves the bytes of a response as soon as there is room. Must not be used for a response
    /// that other responses with reservations must follow.
    ///
    /// # Errors
    /// [`Exhausted`] if as many bytes as the whole budget wait for room already.
    pub async fn reserve(&self, bytes: usize) -> Result<Option<Reservation>, Exhausted> {
        if let Ok(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let _waiting = self.waiting.try_reserve(bytes).ok_or(Exhausted)?;
        Ok(Some(self.unsent.reserve(bytes).await))
    }

    /// The bytes of responses that are not sent, or that wait for room.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.unsent.reserved_bytes() + self.waiting.reserved_bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustmq_model::ByteSize;

    use super::{RESPONSE_FREE_BYTES, RequestMemory, RequestReservation, ResponseMemory};

    #[tokio::test]
    async fn responses_wait_for_room_as_many_as_there_is_room_for_and_no_more() {
        let memory = ResponseMemory::new(ByteSize::mib(1));
        let first = memory.reserve(1 << 20).await.unwrap().unwrap();
        let small = at_once(std::pin::pin!(memory.reserve(RESPONSE_FREE_BYTES))).await;
        assert!(small.expect("it does not wait").unwrap().is_none(), "a small one is free");
        assert!(memory.try_reserve(1 << 20).is_err());
        let waiting = tokio::spawn({
            let memory = memory.clone();
            async move { memory.reserve(1 << 20).await.unwrap().unwrap() }
        });
        tokio::task::yield_now().await;
        let refused = at_once(std::pin::pin!(memory.reserve(1 << 20))).await.expect("it does not wait as well");
        assert!(refused.is_err(), "one waits already");
        drop(first);
        drop(waiting.await.unwrap());
        assert_eq!(memory.reserved_bytes(), 0);
    }

    #[tokio::test]
    async fn requests_of_each_size_have_a_half_and_one_goes_beyond_it() {
        let memory = RequestMemory::new(ByteSize::mib(4));
        let mut large = [RequestReservation::default(), RequestReservation::default(), RequestReservation::default()];
        memory.grow(&mut large[0], 3 << 20, 2 << 20).await;
        assert_eq!((memory.ordinary_bytes(), memory.large_bytes()), (0, 2 << 20));
        memory.grow(&mut large[1], 3 << 20, 1 << 20).await;
        let [first, second, third] = &mut large;
        let growing = memory.grow(third, 3 << 20, 1 << 20);
        tokio::pin!(growing);
        assert!(at_once(growing.as_mut()).await.is_none(), "one goes beyond the budget, no more");
        let mut ordinary = RequestReservation::default();
        memory.grow(&mut ordinary, 1 << 20, 1 << 20).await;
        assert_eq!(memory.ordinary_bytes(), 1 << 20, "large ones do not hold up the others");
        *second = RequestReservation::default();
        growing.await;
        *first = RequestReservation::default();
        assert_eq!(memory.large_bytes(), 0, "the third is the one beyond");
    }

    /// The output of the future, if it is ready at once.
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
