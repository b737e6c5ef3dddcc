#![allow(clippy::unwrap_used)]
use std::net::IpAddr;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::{Admission, ConnectionLimits, Eviction, Permit, Refusal};

const SAFE: Duration = Duration::from_secs(1);
/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(20);
const LIMITS: ConnectionLimits = ConnectionLimits { in_all: 4, per_address: 2, evictable_after: Some(SAFE) };

/// Newcomers to one admission, at times of the test's choice.
struct Door {
    admission: Admission,
    begun: Instant,
    evicted: Counter,
}

impl Door {
    fn new() -> Self {
        Self { admission: Admission::default(), begun: Instant::now(), evicted: Counter::default() }
    }

    fn eviction(&self) -> Eviction {
        Eviction::new(self.evicted.clone())
    }

    fn at(&self, ms: u64) -> Instant {
        self.begun + Duration::from_millis(ms)
    }

    fn admit(&self, ms: u64, address: &str, limits: ConnectionLimits) -> Result<Permit, Refusal> {
        self.admission.admit(self.at(ms), address.parse::<IpAddr>().unwrap(), limits, self.eviction())
    }

    /// Open, and evicted so far.
    fn counts(&self) -> (usize, u64) {
        (self.admission.open(), self.evicted.get())
    }
}

#[test]
fn a_place_is_free_again_when_its_connection_ends() {
    let door = Door::new();
    let limits = ConnectionLimits { in_all: 2, per_address: 2, evictable_after: None };
    let first = door.admit(0, "10.0.0.1", limits).unwrap();
    let _second = door.admit(0, "10.0.0.2", limits).unwrap();
    assert_eq!(door.admit(1_000_000, "10.0.0.3", limits).unwrap_err(), Refusal::InAll);
    drop(first);
    let _third = door.admit(1_000_000, "10.0.0.3", limits).unwrap();
    assert_eq!(door.counts(), (2, 0));
}

#[test]
fn an_address_has_its_share_however_it_is_written() {
    let door = Door::new();
    let limits = ConnectionLimits { evictable_after: None, ..LIMITS };
    let first = door.admit(0, "10.0.0.1", limits).unwrap();
    let _second = door.admit(0, "::ffff:10.0.0.1", limits).unwrap();
    assert_eq!(door.admit(0, "10.0.0.1", limits).unwrap_err(), Refusal::PerAddress);
    let _other = door.admit(0, "10.0.0.2", limits).unwrap();
    drop(first);
    let _third = door.admit(0, "10.0.0.1", limits).unwrap();
    assert_eq!(door.counts(), (3, 0));
}

#[test]
fn the_oldest_gives_way_once_it_is_not_safe_any_more() {
    let door = Door::new();
    let mut permits = Vec::new();
    for (ms, address) in [(0, "10.0.0.1"), (10, "10.0.0.2"), (20, "10.0.0.3"), (30, "10.0.0.4")] {
        permits.push(door.admit(ms, address, LIMITS).unwrap());
    }
    assert_eq!(door.admit(999, "10.0.0.5", LIMITS).unwrap_err(), Refusal::InAll, "all are safe");
    let _fifth = door.admit(1_000, "10.0.0.5", LIMITS).unwrap();
    assert_eq!(door.counts(), (4, 1));
    assert_eq!(door.admit(1_009, "10.0.0.6", LIMITS).unwrap_err(), Refusal::InAll, "the second is safe for 1 ms more");
    let _sixth = door.admit(1_010, "10.0.0.6", LIMITS).unwrap();
    assert_eq!(door.counts(), (4, 2));
    // The permits of those that were evicted are nobody's: dropping them frees no place twice.
    permits.truncate(2);
    drop(permits);
    assert_eq!(door.counts(), (2, 2));
}

#[test]
fn an_address_at_its_limit_takes_a_place_only_from_itself() {
    let door = Door::new();
    let _oldest = door.admit(0, "10.0.0.1", LIMITS).unwrap();
    let _own = door.admit(10, "10.0.0.2", LIMITS).unwrap();
    let _another = door.admit(500, "10.0.0.2", LIMITS).unwrap();
    assert_eq!(door.admit(1_005, "10.0.0.2", LIMITS).unwrap_err(), Refusal::PerAddress, "its own are safe");
    let _newcomer = door.admit(1_010, "10.0.0.2", LIMITS).unwrap();
    assert_eq!(door.admit(1_010, "10.0.0.2", LIMITS).unwrap_err(), Refusal::PerAddress);
    assert_eq!(door.counts(), (3, 1), "the oldest of all is still there");
    let _again = door.admit(1_010, "10.0.0.1", LIMITS).unwrap();
    assert_eq!(door.counts(), (4, 1));
}

#[test]
fn a_connection_that_moves_leaves_its_place_and_can_be_evicted_where_it_is() {
    let door = Door::new();
    let other = Admission::default();
    let one = ConnectionLimits { in_all: 1, ..LIMITS };
    let mut first = door.admit(0, "10.0.0.1", one).unwrap();
    first.move_to(&other, door.at(100), one).unwrap();
    let mut second = door.admit(100, "10.0.0.1", one).unwrap();
    assert_eq!((door.admission.open(), other.open()), (1, 1));
    assert_eq!(second.move_to(&other, door.at(1_099), one), Err(Refusal::InAll), "the first is safe there");
    assert_eq!((door.counts(), other.open()), ((1, 0), 1), "who is refused stays where it is");
    second.move_to(&other, door.at(1_100), one).unwrap();
    assert_eq!((door.counts(), other.open()), ((0, 1), 1));
    drop((first, second));
    assert_eq!(other.open(), 0);
}

#[test]
fn what_is_short_beside_connections_is_given_up_by_the_oldest() {
    let door = Door::new();
    assert!(!door.admission.evict_oldest(door.at(0), LIMITS), "there is none");
    let _first = door.admit(0, "10.0.0.1", LIMITS).unwrap();
    let _second = door.admit(500, "10.0.0.2", LIMITS).unwrap();
    assert!(!door.admission.evict_oldest(door.at(999), LIMITS), "it is safe");
    assert!(door.admission.evict_oldest(door.at(1_000), LIMITS));
    assert!(!door.admission.evict_oldest(door.at(1_000), LIMITS), "the second is safe");
    assert_eq!(door.counts(), (1, 1));
}

#[tokio::test]
async fn an_eviction_ends_its_task_also_if_it_comes_before_the_task() {
    let door = Door::new();
    for is_early in [true, false] {
        let eviction = door.eviction();
        let task = tokio::spawn(std::future::pending::<()>());
        if is_early {
            eviction.evict();
            eviction.ends(task.abort_handle());
        } else {
            eviction.ends(task.abort_handle());
            assert!(!task.is_finished());
            eviction.evict();
        }
        eviction.evict();
        let ended = tokio::time::timeout(PATIENCE, task).await.expect("it ends in time");
        assert!(ended.unwrap_err().is_cancelled());
    }
    assert_eq!(door.evicted.get(), 2, "each counts once");
}
