//! A thread that takes over for another one during a system call that may last. The owner leaves a
//! value here before the call and takes it back afterwards. Normally nobody touches the value in
//! between, and neither thread wakes the other, which makes this cheaper than handing the call to
//! another thread. Only if the call lasts does the standby take the value and serve it.
//!
//! ```text
//! with owner --left--> left --takeover delay--> serving --recalled--> returned
//! left, returned --taken back--> with owner
//! serving --panic, owner ended--> lost
//! ```
//! While its owner makes calls, the standby checks once per takeover delay whether a call lasts;
//! otherwise it sleeps until the next call.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How often the standby serves the value while a call lasts.
const SERVE_INTERVAL: Duration = Duration::from_millis(1);
/// After this many checks without a new call the standby sleeps until the next one.
const IDLE_CHECKS_MAX: u32 = 20;

enum Custody<T> {
    WithOwner,
    Left {
        what: Box<T>,
        since: Instant,
    },
    Serving {
        is_recalled: bool,
    },
    Returned(Box<T>),
    /// The value is dropped: the standby panicked while serving it, or its owner ended.
    Lost,
}

struct State<T> {
    custody: Custody<T>,
    /// The number of calls so far.
    calls: u64,
    is_asleep: bool,
    has_ended: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Wakes the standby: a call began, the owner recalls the value, or the standby must end.
    called: Condvar,
    /// Wakes the owner: the value is back.
    returned: Condvar,
}

/// The owner's end of a standby. The thread ends when this is dropped.
pub(crate) struct Standby<T> {
    shared: Arc<Shared<T>>,
    /// `None` only during the drop.
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Standby<T> {
    /// Starts the thread. It calls `serve` repeatedly while a call lasts longer than
    /// `takeover_delay`; `serve` must not wait for anything.
    pub(crate) fn start(
        name: String,
        takeover_delay: Duration,
        serve: impl Fn(&mut T) + Send + 'static,
    ) -> io::Result<Self> {
        let state = State { custody: Custody::WithOwner, calls: 0, is_asleep: false, has_ended: false };
        let (called, returned) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { state: Mutex::new(state), called, returned });
        let standby = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name(name).spawn(move || stand_by(&standby, takeover_delay, &serve))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Makes the call, which may last. Returns the value, unless the standby has panicked while
    /// serving it.
    pub(crate) fn serve_during<R>(&self, what: Box<T>, call: impl FnOnce() -> R) -> (Option<Box<T>>, R) {
        let mut state = self.shared.state.lock();
        state.custody = Custody::Left { what, since: Instant::now() };
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
            match std::mem::replace(&mut state.custody, Custody::WithOwner) {
                Custody::Left { what, .. } | Custody::Returned(what) => return Some(what),
                Custody::WithOwner | Custody::Lost => return None,
                Custody::Serving { .. } => {
                    state.custody = Custody::Serving { is_recalled: true };
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
        // A value is still here if the owner has panicked during its call.
        let custody = std::mem::replace(&mut state.custody, Custody::WithOwner);
        drop(state);
        self.shared.called.notify_one();
        drop(custody);
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of `serve`.
            let _ = thread.join();
        }
    }
}

fn stand_by<T>(shared: &Shared<T>, takeover_delay: Duration, serve: &dyn Fn(&mut T)) {
    let mut state = shared.state.lock();
    let (mut calls, mut idle_checks) = (0, 0);
    while !state.has_ended {
        let lasted = match &state.custody {
            Custody::Left { since, .. } => Some(since.elapsed()),
            _ => None,
        };
        if lasted.is_some_and(|lasted| lasted >= takeover_delay) {
            serve_left(shared, &mut state, serve);
            continue;
        }
        let is_called = state.calls != calls || lasted.is_some();
        idle_checks = if is_called { 0 } else { idle_checks + 1 };
        calls = state.calls;
        if idle_checks < IDLE_CHECKS_MAX {
            shared.called.wait_for(&mut state, takeover_delay.saturating_sub(lasted.unwrap_or_default()));
        } else {
            state.is_asleep = true;
            shared.called.wait(&mut state);
            state.is_asleep = false;
        }
    }
}

/// Serves the value until its owner recalls it.
fn serve_left<T>(shared: &Shared<T>, state: &mut MutexGuard<'_, State<T>>, serve: &dyn Fn(&mut T)) {
    let mut what = match std::mem::replace(&mut state.custody, Custody::Serving { is_recalled: false }) {
        Custody::Left { what, .. } => what,
        other => {
            state.custody = other;
            return;
        }
    };
    while matches!(state.custody, Custody::Serving { is_recalled: false }) {
        let served = MutexGuard::unlocked(state, || panic::catch_unwind(AssertUnwindSafe(|| serve(&mut what))));
        // A panic may have left the value inconsistent, so nobody may use it. An owner that ended
        // during its call never takes it back.
        if served.is_err() || state.has_ended {
            MutexGuard::unlocked(state, || drop(what));
            state.custody = Custody::Lost;
            shared.returned.notify_one();
            return;
        }
        if matches!(state.custody, Custody::Serving { is_recalled: false }) {
            shared.called.wait_for(state, SERVE_INTERVAL);
        }
    }
    state.custody = Custody::Returned(what);
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

    fn counting(takeover_delay: Duration) -> Standby<u32> {
        Standby::start("standby".to_owned(), takeover_delay, |served: &mut u32| *served += 1).unwrap()
    }

    #[test]
    fn a_value_is_not_touched_during_a_short_call() {
        let standby = counting(NEVER);
        let (back, result) = standby.serve_during(Box::new(0), || 7);
        assert_eq!((back, result), (Some(Box::new(0)), 7));
    }

    #[test]
    fn a_value_is_served_during_a_long_call_and_comes_back() {
        let (served, counts) = mpsc::channel();
        let serve = move |count: &mut u32| {
            *count += 1;
            // The call may be over by now.
            let _ = served.send(*count);
        };
        let standby = Standby::start("standby".to_owned(), Duration::from_millis(1), serve).unwrap();
        for call in 1..=50_u32 {
            let known = call * 1_000;
            let (back, ()) = standby.serve_during(Box::new(known), || while counts.recv().unwrap() < known + 3 {});
            assert!(*back.unwrap() >= known + 3);
            while counts.try_recv().is_ok() {}
        }
    }

    #[test]
    fn a_standby_that_sleeps_is_woken_by_the_next_call() {
        let standby = counting(Duration::from_millis(1));
        while !standby.shared.state.lock().is_asleep {
            std::thread::yield_now();
        }
        let is_served = || !matches!(standby.shared.state.lock().custody, super::Custody::Left { .. });
        let (back, ()) = standby.serve_during(Box::new(0), || while !is_served() {});
        assert!(back.is_some());
        assert!(!standby.shared.state.lock().is_asleep);
    }

    /// Counts its drops.
    struct Counted(Arc<AtomicU32>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_value_does_not_come_back_after_a_panic_of_its_standby() {
        let dropped = Arc::new(AtomicU32::new(0));
        let standby =
            Standby::start("standby".to_owned(), Duration::ZERO, |_: &mut Counted| panic!("on order")).unwrap();
        let call = || while dropped.load(Ordering::SeqCst) == 0 {};
        let (back, ()) = standby.serve_during(Box::new(Counted(Arc::clone(&dropped))), call);
        assert!(back.is_none());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_value_is_dropped_when_its_owner_panics() {
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
