//! Decides who may connect: the number of connections in all and from one address, and which of
//! them gives way to a new one. Time is an argument. An eviction aborts the connection's task; a
//! permit that moves to another kind of connections (`move_to`) counts there as new.
//! [`crate::Server`] accepts and ends connections.
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

/// The most connections at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub in_all: usize,
    pub per_address: usize,
    /// How long a connection cannot be evicted; `None` protects it for its whole life.
    pub evictable_after: Option<Duration>,
}

/// The limit that a connection was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("there are as many connections as there may be")]
    InAll,
    #[error("its address has as many connections as one may have")]
    PerAddress,
}

/// The connections of one kind. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Admission(Arc<Mutex<Register>>);

impl Admission {
    /// Admits a connection. Without room, it takes the place of the oldest connection, unless that
    /// one is still safe. A connection that meets the limit of its address can take only the place
    /// of another connection of that address.
    pub(crate) fn admit(
        &self,
        now: Instant,
        address: IpAddr,
        limits: ConnectionLimits,
        eviction: Eviction,
    ) -> Result<Permit, NotAdmitted> {
        let address = address.to_canonical();
        let (number, evicted) = self.0.lock().admit(now, address, limits, &eviction)?;
        // Without the lock: a task that ends returns its permit, which takes the lock.
        if let Some(evicted) = evicted {
            evicted.evict();
        }
        Ok(Permit { register: Arc::clone(&self.0), number, address, eviction })
    }

    /// Evicts the oldest connection, unless it is safe. Returns whether it did. For resources other
    /// than connections that have run short.
    pub fn evict_oldest(&self, now: Instant, limits: ConnectionLimits) -> bool {
        let evicted = self.0.lock().take_oldest(now, limits.evictable_after, |_| true);
        evicted.inspect(Eviction::evict).is_some()
    }

    /// The number of connections with a permit.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.lock().by_number.len()
    }
}

/// A connection's right to exist. It ends when it is dropped, or when the connection is evicted.
#[must_use = "a connection without its permit is not counted"]
#[derive(Debug)]
pub struct Permit {
    register: Arc<Mutex<Register>>,
    number: u64,
    address: IpAddr,
    eviction: Eviction,
}

impl Permit {
    /// Moves the connection to another kind, where it counts as new, and frees its place in the old
    /// kind.
    ///
    /// # Errors
    /// [`NotAdmitted`] if the connection meets a limit there. It keeps its old place then.
    pub fn move_to(&mut self, kind: &Admission, now: Instant, limits: ConnectionLimits) -> Result<(), NotAdmitted> {
        *self = kind.admit(now, self.address, limits, self.eviction.clone())?;
        Ok(())
    }

    /// The handle that ends the connection when it must give way.
    pub(crate) const fn eviction(&self) -> &Eviction {
        &self.eviction
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.register.lock().leave(self.number);
    }
}

/// Ends a connection that gives way to another one, by aborting its task. It stays with the
/// connection when that moves to another [`Admission`].
#[derive(Clone, Debug)]
pub(crate) struct Eviction(Arc<EvictionState>);

#[derive(Debug)]
struct EvictionState {
    stage: Mutex<Stage>,
    evicted: Counter,
}

#[derive(Debug)]
enum Stage {
    /// The connection's task is not spawned yet.
    New,
    Running(AbortHandle),
    Evicted,
}

impl Eviction {
    /// Each eviction increments `evicted`.
    pub(crate) fn new(evicted: Counter) -> Self {
        Self(Arc::new(EvictionState { stage: Mutex::new(Stage::New), evicted }))
    }

    /// Sets the task to abort. Aborts it at once if the connection is evicted already.
    pub(crate) fn ends(&self, task: AbortHandle) {
        let mut stage = self.0.stage.lock();
        if matches!(*stage, Stage::Evicted) {
            task.abort();
        } else {
            *stage = Stage::Running(task);
        }
    }

    /// Counts once, even if two new connections evict this one: one in the kind where it arrived,
    /// and one in the kind that it moved to before its task ended.
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
    /// The number of connections ever admitted.
    admitted: u64,
    /// In the order of their admission.
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
    ) -> Result<(u64, Option<Eviction>), NotAdmitted> {
        let ConnectionLimits { in_all, per_address, evictable_after } = limits;
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        let evicted = if of_address >= per_address {
            let oldest = self.take_oldest(now, evictable_after, |one| one.address == address);
            Some(oldest.ok_or(NotAdmitted::PerAddress)?)
        } else if self.by_number.len() >= in_all {
            Some(self.take_oldest(now, evictable_after, |_| true).ok_or(NotAdmitted::InAll)?)
        } else {
            None
        };
        let number = self.admitted;
        self.admitted += 1;
        self.by_number.insert(number, Admitted { address, since: now, eviction: eviction.clone() });
        *self.by_address.entry(address).or_default() += 1;
        Ok((number, evicted))
    }

    /// Removes the oldest connection that `may_go` accepts, unless it is safe.
    fn take_oldest(
        &mut self,
        now: Instant,
        evictable_after: Option<Duration>,
        may_go: impl Fn(&Admitted) -> bool,
    ) -> Option<Eviction> {
        // Checked before the search, which passes all connections of other addresses.
        let evictable_after = evictable_after?;
        let (&number, oldest) = self.by_number.iter().find(|(_, admitted)| may_go(admitted))?;
        if now.saturating_duration_since(oldest.since) < evictable_after {
            return None;
        }
        let eviction = oldest.eviction.clone();
        self.leave(number);
        Some(eviction)
    }

    /// Does nothing if the connection was evicted before.
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
