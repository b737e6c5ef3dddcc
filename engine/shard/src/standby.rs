//! A thread that stands in for another while that one is in a system call that may take long. What the other thread owns it leaves here
//! before the call and takes back after it. Normally nobody touches it in between, and neither thread wakes the other: that is what makes
//! it cheaper than handing over the call. Only when the call lasts does the standby take what was left and serve it.
//!
//! ```text
//! at home --left--> left --for longer than the patience--> serving --wanted--> returned --taken back--> at home
//!                   left --taken back--> at home
//! ```
//! While its owner is busy the standby looks once per patience whether a call lasts; then it sleeps until the next call.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How often what was left is served, while a call lasts.
const SERVE_EVERY: Duration = Duration::from_millis(1);
/// After so many looks without a new call the standby sleeps until there is one.
const QUIET_LOOKS: u32 = 20;

enum Place<T> {
    AtHome,
    Left {
        what: Box<T>,
        since: Instant,
    },
    Serving {
        is_wanted: bool,
    },
    Returned(Box<T>),
    /// The standby has panicked with it, or its owner.
    Lost,
}

struct State<T> {
    place: Place<T>,
    /// How many times it was left, ever.
    calls: u64,
    is_asleep: bool,
    has_ended: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// For the standby: there is a call again, it is over, or it is the end.
    called: Condvar,
    /// For the owner: what it left is back.
    returned: Condvar,
}

/// The owner's end. The thread ends with it.
pub(crate) struct Standby<T> {
    shared: Arc<Shared<T>>,
    /// `None` only while this is dropped.
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Standby<T> {
    /// `serve` is called again and again while a call lasts longer than `patience`; it must not wait for anything.
    pub(crate) fn start(name: String, patience: Duration, serve: impl Fn(&mut T) + Send + 'static) -> io::Result<Self> {
        let state = State { place: Place::AtHome, calls: 0, is_asleep: false, has_ended: false };
        let (called, returned) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { state: Mutex::new(state), called, returned });
        let standby = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(name).spawn(move || stand_by(&standby, patience, &serve))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Makes the call, which may last. Gives back what was left, unless the standby has panicked with it.
    pub(crate) fn serve_during<R>(&self, what: Box<T>, call: impl FnOnce() -> R) -> (Option<Box<T>>, R) {
        let mut state = self.shared.state.lock();
        state.place = Place::Left { what, since: Instant::now() };
        state.calls += 1;
        let wake = std::mem::take(&mut state.is_asleep);
        drop(state);
        if wake {
            self.shared.called.notify_one();
        }
        let result = call();
        (self.take_back(), result)
    }

    fn take_back(&self) -> Option<Box<T>> {
        let mut state = self.shared.state.lock();
        loop {
            match std::mem::replace(&mut state.place, Place::AtHome) {
                Place::Left { what, .. } | Place::Returned(what) => return Some(what),
                Place::AtHome | Place::Lost => return None,
                Place::Serving { .. } => {
                    state.place = Place::Serving { is_wanted: true };
                    self.shared.called.notify_one();
                    self.shared.returned.wait(&mut state);
                }
            }
        }
    }
}

impl<T> Drop for Standby<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.has_ended = true;
        // The owner has panicked in the call if there is something.
        let place = std::mem::replace(&mut state.place, Place::AtHome);
        drop(state);
        self.shared.called.notify_one();
        drop(place);
        if let Some(thread) = self.thread.take() {
            // What it served it has caught the panics of.
            let _ = thread.join();
        }
    }
}

fn stand_by<T>(shared: &Shared<T>, patience: Duration, serve: &dyn Fn(&mut T)) {
    let mut state = shared.state.lock();
    let (mut calls, mut quiet) = (0, 0);
    while !state.has_ended {
        let lasted = match &state.place {
            Place::Left { since, .. } => Some(since.elapsed()),
            _ => None,
        };
        if lasted.is_some_and(|lasted| lasted >= patience) {
            serve_left(shared, &mut state, serve);
            continue;
        }
        let is_called = state.calls != calls || lasted.is_some();
        quiet = if is_called { 0 } else { quiet + 1 };
        calls = state.calls;
        if quiet < QUIET_LOOKS {
            shared.called.wait_for(&mut state, patience.saturating_sub(lasted.unwrap_or_default()));
        } else {
            state.is_asleep = true;
            shared.called.wait(&mut state);
            state.is_asleep = false;
        }
    }
}

/// Serves what was left until its owner wants it back.
fn serve_left<T>(shared: &Shared<T>, state: &mut MutexGuard<'_, State<T>>, serve: &dyn Fn(&mut T)) {
    let mut what = match std::mem::replace(&mut state.place, Place::Serving { is_wanted: false }) {
        Place::Left { what, .. } => what,
        other => {
            state.place = other;
            return;
        }
    };
    while matches!(state.place, Place::Serving { is_wanted: false }) {
        let served = MutexGuard::unlocked(state, || panic::catch_unwind(AssertUnwindSafe(|| serve(&mut what))));
        // What the panic left half done nobody may use; and an owner that has ended in its call does not come for it.
        if served.is_err() || state.has_ended {
            MutexGuard::unlocked(state, || drop(what));
            state.place = Place::Lost;
            shared.returned.notify_one();
            return;
        }
        if matches!(state.place, Place::Serving { is_wanted: false }) {
            shared.called.wait_for(state, SERVE_EVERY);
        }
    }
    state.place = Place::Returned(what);
    shared.returned.notify_one();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use super::Standby;

    const NEVER: Duration = Duration::from_secs(3_600);

    fn counting(patience: Duration) -> Standby<u32> {
        Standby::start("standby".to_owned(), patience, |served: &mut u32| *served += 1).unwrap()
    }

    #[test]
    fn what_is_left_for_a_call_that_is_over_soon_is_not_touched() {
        let standby = counting(NEVER);
        let (back, result) = standby.serve_during(Box::new(0), || 7);
        assert_eq!((back, result), (Some(Box::new(0)), 7));
    }

    #[test]
    fn what_is_left_for_a_call_that_lasts_is_served_and_comes_back() {
        let (served, told) = mpsc::channel();
        let serve = move |count: &mut u32| {
            *count += 1;
            // The call is over by then, perhaps.
            let _ = served.send(*count);
        };
        let standby = Standby::start("standby".to_owned(), Duration::from_millis(1), serve).unwrap();
        for call in 1..=50_u32 {
            let known = call * 1_000;
            let (back, ()) = standby.serve_during(Box::new(known), || while told.recv().unwrap() < known + 3 {});
            assert!(*back.unwrap() >= known + 3);
            while told.try_recv().is_ok() {}
        }
    }

    #[test]
    fn a_standby_that_sleeps_is_woken_by_the_next_call() {
        let standby = counting(Duration::from_millis(1));
        while !standby.shared.state.lock().is_asleep {
            std::thread::yield_now();
        }
        let is_served = || !matches!(standby.shared.state.lock().place, super::Place::Left { .. });
        let (back, ()) = standby.serve_during(Box::new(0), || while !is_served() {});
        assert!(back.is_some());
        assert!(!standby.shared.state.lock().is_asleep);
    }

    /// Counts how often it is dropped.
    struct Counted(Arc<AtomicU32>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn what_a_panic_left_half_done_does_not_come_back() {
        let dropped = Arc::new(AtomicU32::new(0));
        let standby =
            Standby::start("standby".to_owned(), Duration::ZERO, |_: &mut Counted| panic!("on order")).unwrap();
        let call = || while dropped.load(Ordering::SeqCst) == 0 {};
        let (back, ()) = standby.serve_during(Box::new(Counted(Arc::clone(&dropped))), call);
        assert!(back.is_none());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_an_owner_left_that_panics_is_dropped() {
        let dropped = Arc::new(AtomicU32::new(0));
        let what = Box::new(Counted(Arc::clone(&dropped)));
        let owner = std::thread::spawn(move || {
            let standby = Standby::start("standby".to_owned(), Duration::ZERO, |_: &mut Counted| {}).unwrap();
            let _ = standby.serve_during(what, || panic!("on order"));
        });
        assert!(owner.join().is_err());
        while dropped.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }
}
