//! Who may connect: how many connections there may be, in all and from one address, and which of
//! them gives way to a newcomer. Time is an argument; accepting connections and ending them is the
//! business of [`crate::Server`].
//!
//! ```text
//!            admit           evictable_after passes            a newcomer needs its place
//! newcomer --------> safe ---------------------------> evictable ---------> ended
//!     |                '----- ends by itself -----------------'--------------^
//!     '--- a limit is reached, and nobody is evictable: refused
//! ```

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::task::AbortHandle;

/// How many connections there may be at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub in_all: usize,
    pub per_address: usize,
    /// How long a connection is safe from newcomers; `None`: for as long as it lives.
    pub evictable_after: Option<Duration>,
}

/// Which limit a connection was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there are as many connections as there may be")]
    InAll,
    #[error("its address has as many connections as one may have")]
    PerAddress,
}

/// The connections of one kind; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<Mutex<Register>>);

impl Admission {
    /// Lets a connection in, in the place of the one that came first if there is no room and that
    /// one is not safe any more. A connection that meets the limit of its address can only take the
    /// place of another of that address.
    pub(crate) fn admit(
        &self,
        now: Instant,
        address: IpAddr,
        limits: ConnectionLimits,
        eviction: Eviction,
    ) -> Result<Permit, Refusal> {
        let address = address.to_canonical();
        let (number, evicted) = self.0.lock().admit(now, address, limits, &eviction)?;
        // Without the lock: a task that ends gives its permit back.
        if let Some(evicted) = evicted {
            evicted.evict();
        }
        Ok(Permit { register: Arc::clone(&self.0), number, address, eviction })
    }

    /// Ends the connection that came first, unless it is safe; whether one was ended. For what is
    /// short beside connections themselves.
    pub fn evict_oldest(&self, now: Instant, limits: ConnectionLimits) -> bool {
        let evicted = self.0.lock().take_oldest(now, limits.evictable_after, |_| true);
        evicted.inspect(Eviction::evict).is_some()
    }

    /// Connections that have a permit.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.lock().by_number.len()
    }
}

/// A connection's right to be there. It ends when it is dropped, or with the connection's eviction.
#[must_use = "a connection without its permit is not counted"]
#[derive(Debug)]
pub struct Permit {
    register: Arc<Mutex<Register>>,
    number: u64,
    address: IpAddr,
    eviction: Eviction,
}

impl Permit {
    /// Moves the connection to another kind, for which it is a newcomer: its place among the kind
    /// that it leaves is free then.
    ///
    /// # Errors
    /// The limit that it meets there. It keeps the place that it has.
    pub fn move_to(&mut self, kind: &Admission, now: Instant, limits: ConnectionLimits) -> Result<(), Refusal> {
        *self = kind.admit(now, self.address, limits, self.eviction.clone())?;
        Ok(())
    }

    /// How it is ended when it has to give way.
    pub(crate) const fn eviction(&self) -> &Eviction {
        &self.eviction
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.register.lock().leave(self.number);
    }
}

/// How a connection is ended for another one's sake: its task is aborted. It goes with the
/// connection from one [`Admission`] to another.
#[derive(Clone, Debug)]
pub(crate) struct Eviction(Arc<EvictionState>);

#[derive(Debug)]
struct EvictionState {
    stage: Mutex<Stage>,
    evicted: Counter,
}

#[derive(Debug)]
enum Stage {
    /// Its task is not spawned yet.
    New,
    Running(AbortHandle),
    Evicted,
}

impl Eviction {
    /// `evicted` counts it.
    pub(crate) fn new(evicted: Counter) -> Self {
        Self(Arc::new(EvictionState { stage: Mutex::new(Stage::New), evicted }))
    }

    /// The task to be aborted: at once, if it is evicted already.
    pub(crate) fn ends(&self, task: AbortHandle) {
        let mut stage = self.0.stage.lock();
        if matches!(*stage, Stage::Evicted) {
            task.abort();
        } else {
            *stage = Stage::Running(task);
        }
    }

    /// Counts once, also for a connection that two newcomers end: one where it arrived, and one
    /// where it has moved before its task ends.
    fn evict(&self) {
        let before = std::mem::replace(&mut *self.0.stage.lock(), Stage::Evicted);
        if !matches!(before, Stage::Evicted) {
            self.0.evicted.inc();
        }
        if let Stage::Running(task) = before {
            task.abort();
        }
    }
}

#[derive(Debug, Default)]
struct Register {
    /// How many were ever admitted.
    admitted: u64,
    /// By the order of their admission.
    by_number: BTreeMap<u64, Admitted>,
    by_address: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Admitted {
    address: IpAddr,
    since: Instant,
    eviction: Eviction,
}

impl Register {
    fn admit(
        &mut self,
        now: Instant,
        address: IpAddr,
        limits: ConnectionLimits,
        eviction: &Eviction,
    ) -> Result<(u64, Option<Eviction>), Refusal> {
        let ConnectionLimits { in_all, per_address, evictable_after } = limits;
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        let evicted = if of_address >= per_address {
            let oldest = self.take_oldest(now, evictable_after, |one| one.address == address);
            Some(oldest.ok_or(Refusal::PerAddress)?)
        } else if self.by_number.len() >= in_all {
            Some(self.take_oldest(now, evictable_after, |_| true).ok_or(Refusal::InAll)?)
        } else {
            None
        };
        let number = self.admitted;
        self.admitted += 1;
        self.by_number.insert(number, Admitted { address, since: now, eviction: eviction.clone() });
        *self.by_address.entry(address).or_default() += 1;
        Ok((number, evicted))
    }

    /// Forgets the first of those that `may_go`, unless it is safe.
    fn take_oldest(
        &mut self,
        now: Instant,
        evictable_after: Option<Duration>,
        may_go: impl Fn(&Admitted) -> bool,
    ) -> Option<Eviction> {
        // Before the search, which passes every connection of other addresses.
        let evictable_after = evictable_after?;
        let (&number, oldest) = self.by_number.iter().find(|(_, admitted)| may_go(admitted))?;
        if now.saturating_duration_since(oldest.since) < evictable_after {
            return None;
        }
        let eviction = oldest.eviction.clone();
        self.leave(number);
        Some(eviction)
    }

    /// Nothing, if it was evicted before.
    fn leave(&mut self, number: u64) {
        let Some(Admitted { address, .. }) = self.by_number.remove(&number) else { return };
        let of_address = self.by_address.get_mut(&address).expect("each connection is counted for its address");
        *of_address -= 1;
        if *of_address == 0 {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests;
