//! Asks the kernel to run the broker's threads early, although other programs use the processors.
//!
//! Each request needs a few threads in turn, for about ten microseconds each. A thread that waits
//! for the end of another program's time slice (3 ms, and more on kernels with a slow timer) delays
//! its request by as much. Linux's fair scheduler runs the thread with the earliest deadline, and a
//! thread with a short slice has an early one. Its share of the processor stays the same.

// There is no safe wrapper of these two system calls.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

/// The shortest slice that Linux grants (since 6.12; earlier kernels ignore the request).
const SLICE: Duration = Duration::from_micros(100);

/// Requests short slices for this thread and for all threads that descend from it: to be called
/// before there are others. The niceness stays.
pub fn ask_for_short_slices() {
    if let Err(error) = try_ask() {
        // A sandbox may forbid the call. Only the latency beside busy programs depends on it.
        tracing::info!(%error, "the scheduler takes no wishes: requests may be late where other programs keep the processors busy");
    }
}

fn try_ask() -> io::Result<()> {
    let mut wishes = scheduling()?;
    // Any other policy (real-time, batch) was chosen on purpose, and stays.
    if wishes.sched_policy == libc::SCHED_OTHER.cast_unsigned() {
        wishes.sched_runtime = u64::try_from(SLICE.as_nanos()).expect("microseconds");
        // SAFETY: the kernel reads a `sched_attr` of the size in its first field, and keeps no
        // pointer. 0 is the calling thread.
        done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wishes, 0) })?;
    }
    Ok(())
}

/// The scheduling of the calling thread.
fn scheduling() -> io::Result<libc::sched_attr> {
    // SAFETY: a C structure of integers alone, of which zeros are values.
    let mut found: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of_val(&found);
    // SAFETY: the kernel writes at most `size` bytes to it, integers, and keeps no pointer. 0 is
    // the calling thread.
    done(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size, 0) })?;
    Ok(found)
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{SLICE, scheduling, try_ask};

    #[test]
    fn a_wish_changes_the_slice_alone_and_is_inherited() {
        // On a thread of its own: the wish is for the thread and its children.
        let asked = std::thread::spawn(|| {
            let before = scheduling().unwrap();
            try_ask().unwrap();
            let after = std::thread::spawn(|| scheduling().unwrap()).join().unwrap();
            (before, after)
        });
        let (before, after) = asked.join().unwrap();
        assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
        // Kernels before 6.12 take no wish, and say 0.
        let granted = u128::from(after.sched_runtime);
        assert!(granted == SLICE.as_nanos() || granted == 0, "{granted} ns");
    }
}
