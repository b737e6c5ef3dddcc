#![allow(clippy::unwrap_used)]
use std::net::IpAddr;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::{Admission, ConnectionLimits, Eviction, NotAdmitted, Permit};

const SAFE: Duration = Duration::from_secs(1);
/// The longest wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);
const LIMITS: ConnectionLimits = ConnectionLimits { in_all: 4, per_address: 2, evictable_after: Some(SAFE) };

/// New connections to one admission, at chosen times.
struct Fixture {
    admission: Admission,
    begun: Instant,
    evicted: Counter,
}

impl Fixture {
    fn new() -> Self {
        Self { admission: Admission::default(), begun: Instant::now(), evicted: Counter::default() }
    }

    fn eviction(&self) -> Eviction {
        Eviction::new(self.evicted.clone())
    }

    fn at(&self, ms: u64) -> Instant {
        self.begun + Duration::from_millis(ms)
    }

    fn admit(&self, ms: u64, address: &str, limits: ConnectionLimits) -> Result<Permit, NotAdmitted> {
        self.admission.admit(self.at(ms), address.parse::<IpAddr>().unwrap(), limits, self.eviction())
    }

    /// The numbers of open and of evicted connections.
    fn counts(&self) -> (usize, u64) {
        (self.admission.open(), self.evicted.get())
    }
}

#[test]
fn a_place_is_free_again_when_its_connection_ends() {
    let fixture = Fixture::new();
    let limits = ConnectionLimits { in_all: 2, per_address: 2, evictable_after: None };
    let first = fixture.admit(0, "10.0.0.1", limits).unwrap();
    let _second = fixture.admit(0, "10.0.0.2", limits).unwrap();
    assert_eq!(fixture.admit(1_000_000, "10.0.0.3", limits).unwrap_err(), NotAdmitted::InAll);
    drop(first);
    let _third = fixture.admit(1_000_000, "10.0.0.3", limits).unwrap();
    assert_eq!(fixture.counts(), (2, 0));
}

#[test]
fn an_address_has_its_share_however_it_is_written() {
    let fixture = Fixture::new();
    let limits = ConnectionLimits { evictable_after: None, ..LIMITS };
    let first = fixture.admit(0, "10.0.0.1", limits).unwrap();
    let _second = fixture.admit(0, "::ffff:10.0.0.1", limits).unwrap();
    assert_eq!(fixture.admit(0, "10.0.0.1", limits).unwrap_err(), NotAdmitted::PerAddress);
    let _other = fixture.admit(0, "10.0.0.2", limits).unwrap();
    drop(first);
    let _third = fixture.admit(0, "10.0.0.1", limits).unwrap();
    assert_eq!(fixture.counts(), (3, 0));
}

#[test]
fn the_oldest_gives_way_once_it_is_not_safe_any_more() {
    let fixture = Fixture::new();
    let mut permits = Vec::new();
    for (ms, address) in [(0, "10.0.0.1"), (10, "10.0.0.2"), (20, "10.0.0.3"), (30, "10.0.0.4")] {
        permits.push(fixture.admit(ms, address, LIMITS).unwrap());
    }
    assert_eq!(fixture.admit(999, "10.0.0.5", LIMITS).unwrap_err(), NotAdmitted::InAll, "all are safe");
    let _fifth = fixture.admit(1_000, "10.0.0.5", LIMITS).unwrap();
    assert_eq!(fixture.counts(), (4, 1));
    assert_eq!(
        fixture.admit(1_009, "10.0.0.6", LIMITS).unwrap_err(),
        NotAdmitted::InAll,
        "the second is safe for 1 ms more"
    );
    let _sixth = fixture.admit(1_010, "10.0.0.6", LIMITS).unwrap();
    assert_eq!(fixture.counts(), (4, 2));
    // The permits of evicted connections hold no place: dropping them frees none.
    permits.truncate(2);
    drop(permits);
    assert_eq!(fixture.counts(), (2, 2));
}

#[test]
fn an_address_at_its_limit_takes_a_place_only_from_itself() {
    let fixture = Fixture::new();
    let _oldest = fixture.admit(0, "10.0.0.1", LIMITS).unwrap();
    let _own = fixture.admit(10, "10.0.0.2", LIMITS).unwrap();
    let _another = fixture.admit(500, "10.0.0.2", LIMITS).unwrap();
    assert_eq!(fixture.admit(1_005, "10.0.0.2", LIMITS).unwrap_err(), NotAdmitted::PerAddress, "its own are safe");
    let _newcomer = fixture.admit(1_010, "10.0.0.2", LIMITS).unwrap();
    assert_eq!(fixture.admit(1_010, "10.0.0.2", LIMITS).unwrap_err(), NotAdmitted::PerAddress);
    assert_eq!(fixture.counts(), (3, 1), "the oldest of all is still there");
    let _again = fixture.admit(1_010, "10.0.0.1", LIMITS).unwrap();
    assert_eq!(fixture.counts(), (4, 1));
}

#[test]
fn a_connection_that_moves_leaves_its_place_and_can_be_evicted_where_it_is() {
    let fixture = Fixture::new();
    let other = Admission::default();
    let one = ConnectionLimits { in_all: 1, ..LIMITS };
    let mut first = fixture.admit(0, "10.0.0.1", one).unwrap();
    first.move_to(&other, fixture.at(100), one).unwrap();
    let mut second = fixture.admit(100, "10.0.0.1", one).unwrap();
    assert_eq!((fixture.admission.open(), other.open()), (1, 1));
    assert_eq!(second.move_to(&other, fixture.at(1_099), one), Err(NotAdmitted::InAll), "the first is safe there");
    assert_eq!((fixture.counts(), other.open()), ((1, 0), 1), "who is refused stays where it is");
    second.move_to(&other, fixture.at(1_100), one).unwrap();
    assert_eq!((fixture.counts(), other.open()), ((0, 1), 1));
    drop((first, second));
    assert_eq!(other.open(), 0);
}

#[test]
fn what_is_short_beside_connections_is_given_up_by_the_oldest() {
    let fixture = Fixture::new();
    assert!(!fixture.admission.evict_oldest(fixture.at(0), LIMITS), "there is none");
    let _first = fixture.admit(0, "10.0.0.1", LIMITS).unwrap();
    let _second = fixture.admit(500, "10.0.0.2", LIMITS).unwrap();
    assert!(!fixture.admission.evict_oldest(fixture.at(999), LIMITS), "it is safe");
    assert!(fixture.admission.evict_oldest(fixture.at(1_000), LIMITS));
    assert!(!fixture.admission.evict_oldest(fixture.at(1_000), LIMITS), "the second is safe");
    assert_eq!(fixture.counts(), (1, 1));
}

#[tokio::test]
async fn an_eviction_ends_its_task_also_if_it_comes_before_the_task() {
    let fixture = Fixture::new();
    for is_early in [true, false] {
        let eviction = fixture.eviction();
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
    assert_eq!(fixture.evicted.get(), 2, "each counts once");
}
