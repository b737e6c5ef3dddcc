//! Reads the counts of `perf stat` for each thread, and which thread wakes which.

use super::threads::{Kind, Threads};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const TRACING: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];

/// All system calls, including those below.
pub const ALL_SYSCALLS: &str = "raw_syscalls:sys_enter";
/// The requests that the kernel took from the rings: writes, syncs, timers, wake-ups.
pub const URING_REQUESTS: &str = "io_uring:io_uring_submit_req";
/// The requests among them that a kernel worker had to execute.
pub const URING_PUNTED: &str = "io_uring:io_uring_queue_async_work";
/// The requests to the disk that the broker's own threads made.
pub const DISK_REQUESTS: &str = "block:block_rq_issue";
const OTHERS: [&str; 4] = [ALL_SYSCALLS, URING_REQUESTS, URING_PUNTED, DISK_REQUESTS];

const SYSCALLS: [&str; 28] = [
    "read",
    "write",
    "readv",
    "writev",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_ctl",
    "futex",
    "io_uring_enter",
    "fsync",
    "fdatasync",
    "pwrite64",
    "pwritev2",
    "pread64",
    "madvise",
    "mmap",
    "munmap",
    "mprotect",
    "sched_yield",
    "clock_nanosleep",
    "timerfd_settime",
    "ioctl",
    "shutdown",
];

/// The wanted events that this kernel has, by perf's names. Empty if it has none.
pub fn wanted() -> Vec<String> {
    let Some(folder) = TRACING.iter().map(Path::new).find(|folder| folder.join("syscalls").exists()) else {
        return Vec::new();
    };
    let syscalls = SYSCALLS.iter().map(|name| format!("syscalls:sys_enter_{name}"));
    let all = OTHERS.iter().map(|name| (*name).to_owned()).chain(syscalls);
    all.filter(|event| folder.join(event.replace(':', "/")).exists()).collect()
}

/// Counts by the kind of thread and the event.
pub type Counts = BTreeMap<(Kind, String), f64>;

/// Parses the output of `perf stat -x, --per-thread`.
pub fn counts(text: &str, kinds: &BTreeMap<u32, Kind>) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let [thread, value, _, event, ..] = fields[..] else { continue };
        let thread = thread.rsplit_once('-').and_then(|(_, id)| id.trim().parse::<u32>().ok());
        let (Some(thread), Ok(value)) = (thread, value.parse::<f64>()) else { continue };
        let kind = kinds.get(&thread).copied().unwrap_or(Kind::Elsewhere);
        let event = event.trim_start_matches("syscalls:sys_enter_").to_owned();
        *counts.entry((kind, event)).or_default() += value;
    }
    counts.retain(|_, count| *count > 0.0);
    counts
}

/// How often each kind of thread wakes each other kind.
pub type Wakeups = BTreeMap<(Kind, Kind), f64>;

/// Parses the output of `perf script -F tid,event,trace` for `sched:sched_waking`.
pub fn wakeups(text: &str, kinds: &BTreeMap<u32, Kind>) -> Wakeups {
    let mut wakeups = Wakeups::new();
    let kind = |id: &str| id.parse::<u32>().ok().and_then(|id| kinds.get(&id)).copied().unwrap_or(Kind::Elsewhere);
    for line in text.lines() {
        let Some((waker, woken)) = line.split_once("sched:sched_waking:") else { continue };
        let Some((_, woken)) = woken.rsplit_once(" pid=") else { continue };
        let woken = kind(woken.split_whitespace().next().unwrap_or_default());
        let waker = kind(waker.trim());
        let concerns_broker = |kind: Kind| !matches!(kind, Kind::Generator | Kind::Elsewhere);
        if concerns_broker(waker) || concerns_broker(woken) {
            *wakeups.entry((waker, woken)).or_default() += 1.0;
        }
    }
    wakeups
}

/// The purpose of each thread of the broker and of this process.
pub fn kinds(threads: &[&Threads]) -> BTreeMap<u32, Kind> {
    let mut kinds: BTreeMap<u32, Kind> = threads.iter().flat_map(|threads| threads.kinds()).collect();
    let own = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let own = own.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    kinds.extend(own.map(|id: u32| (id, Kind::Generator)));
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> BTreeMap<u32, Kind> {
        BTreeMap::from([(7, Kind::Connection), (8, Kind::Connection), (9, Kind::Shard), (20, Kind::Generator)])
    }

    #[test]
    fn threads_of_a_kind_are_counted_together() {
        let text = "# started on today\n\ntokio-rt-worker-7,5,,syscalls:sys_enter_futex,1,100.00,,\n\
            tokio-rt-worker-8,6,,syscalls:sys_enter_futex,1,100.00,,\n\
            rustmq-shard-0-9,<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n";
        let counts = counts(text, &known());
        assert_eq!(counts, Counts::from([((Kind::Connection, "futex".to_owned()), 11.0)]));
    }

    #[test]
    fn wakeups_are_counted_where_the_broker_is_one_side() {
        let text = "    7 sched:sched_waking: comm=rustmq-shard-0 pid=9 prio=120 target_cpu=001\n\
            9 sched:sched_waking: comm=x pid=y pid=20 prio=120 target_cpu=000\n\
            20 sched:sched_waking: comm=rdk pid=20 prio=120 target_cpu=000\n\
            0 sched:sched_waking: comm=rustmq-shard-0 pid=9 prio=120 target_cpu=001\n";
        let expected = Wakeups::from([
            ((Kind::Connection, Kind::Shard), 1.0),
            ((Kind::Shard, Kind::Generator), 1.0),
            ((Kind::Elsewhere, Kind::Shard), 1.0),
        ]);
        assert_eq!(wakeups(text, &known()), expected);
    }
}
