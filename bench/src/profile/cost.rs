//! Classifies the time of a sample, by the function that was running and by its callers.

use super::stacks::Frame;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Copying bytes, by the broker or by the kernel.
    Copy,
    Crc,
    /// Waking another thread, going to sleep, and being woken.
    Wakeup,
    /// The network stack, without copies and wake-ups.
    Network,
    /// Writes and syncs of files, without wake-ups.
    Disk,
    /// Entering and leaving the kernel, and its other work.
    Syscall,
    /// New pages.
    Fault,
    Allocator,
    /// tokio, monoio and futures.
    Runtime,
    /// The broker's own code, and the work of libraries for it.
    Code,
}

pub const ALL: [Cost; 10] = [
    Cost::Copy,
    Cost::Crc,
    Cost::Wakeup,
    Cost::Network,
    Cost::Disk,
    Cost::Syscall,
    Cost::Fault,
    Cost::Allocator,
    Cost::Runtime,
    Cost::Code,
];

const COPIES: [&str; 8] = [
    "rep_movs_alternative",
    "copy_user",
    "_copy_to_iter",
    "_copy_from_iter",
    "__memcpy",
    "__memmove",
    "memcpy",
    "memmove",
];
const FAULTS: [&str; 3] = ["asm_exc_page_fault", "clear_page", "exc_page_fault"];
const WAKEUPS: [&str; 12] = [
    "try_to_wake_up",
    "schedule",
    "__schedule",
    "futex_wake",
    "futex_wait",
    "__x64_sys_futex",
    "eventfd_write",
    "__x64_sys_epoll_wait",
    "do_epoll_wait",
    "sched_yield",
    "io_cqring_wait",
    "__x64_sys_timerfd_settime",
];
const NETWORK: [&str; 9] = [
    "__sys_recvfrom",
    "__sys_sendto",
    "sock_",
    "tcp_",
    "__sys_sendmsg",
    "___sys_sendmsg",
    "inet_",
    "net_rx_action",
    "__x64_sys_writev",
];
const DISK: [&str; 11] = [
    "io_submit_sqes",
    "blk_",
    "ext4_",
    "xfs_",
    "iomap_",
    "jbd2_",
    "io_wq_",
    "vfs_fsync",
    "__x64_sys_fdatasync",
    "__x64_sys_pwrite64",
    "__x64_sys_pwritev2",
];
const ALLOCATOR: [&str; 5] = ["_rjem_", "je_", "__rust_alloc", "__rust_dealloc", "sdallocx"];
const RUNTIMES: [&str; 7] =
    ["tokio::", "monoio::", "futures_util::", "io_uring::", "mio::", "<tokio::", "<futures_util::"];

impl Cost {
    pub fn title(self) -> &'static str {
        match self {
            Cost::Copy => "copy",
            Cost::Crc => "CRC",
            Cost::Wakeup => "wakeup",
            Cost::Network => "syscall: network stack",
            Cost::Disk => "syscall: disk",
            Cost::Syscall => "syscall: entry and others",
            Cost::Fault => "page fault",
            Cost::Allocator => "allocator",
            Cost::Runtime => "runtimes",
            Cost::Code => "code",
        }
    }

    /// `frames` begins with the innermost frame.
    pub fn of(frames: &[Frame]) -> Cost {
        let Some(leaf) = frames.first() else { return Cost::Code };
        let is = |names: &[&str]| starts(&leaf.symbol, names);
        if leaf.symbol.contains("crc32c") {
            return Cost::Crc;
        }
        if !leaf.is_kernel {
            return match () {
                () if is(&COPIES) => Cost::Copy,
                // Its copying functions have no names if the system's libraries are stripped.
                () if leaf.library.starts_with("libc.") && leaf.symbol == "[unknown]" => Cost::Copy,
                () if is(&ALLOCATOR) => Cost::Allocator,
                () if is(&RUNTIMES) => Cost::Runtime,
                () => Cost::Code,
            };
        }
        let within = |names: &[&str]| frames.iter().any(|frame| frame.is_kernel && starts(&frame.symbol, names));
        match () {
            () if within(&FAULTS) => Cost::Fault,
            () if is(&COPIES) => Cost::Copy,
            () if within(&WAKEUPS) => Cost::Wakeup,
            () if within(&NETWORK) => Cost::Network,
            () if within(&DISK) => Cost::Disk,
            () => Cost::Syscall,
        }
    }
}

fn starts(symbol: &str, names: &[&str]) -> bool {
    names.iter().any(|name| symbol.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(frames: &[(&str, bool)]) -> Cost {
        let frame = |(symbol, is_kernel): &(&str, bool)| Frame {
            symbol: (*symbol).to_owned(),
            is_kernel: *is_kernel,
            library: "rustmq".to_owned(),
        };
        Cost::of(&frames.iter().map(frame).collect::<Vec<_>>())
    }

    #[test]
    fn the_running_function_decides_first_then_its_callers() {
        assert_eq!(judge(&[("crc32c::hw_x86_64::crc32c", false), ("tokio::x", false)]), Cost::Crc);
        assert_eq!(judge(&[("memcpy", true), ("tcp_recvmsg", true)]), Cost::Copy);
        assert_eq!(judge(&[("_raw_spin_unlock", true), ("try_to_wake_up", true), ("tcp_x", true)]), Cost::Wakeup);
        assert_eq!(judge(&[("kfree", true), ("tcp_sendmsg", true)]), Cost::Network);
        assert_eq!(judge(&[("clear_page_erms", true), ("asm_exc_page_fault", true)]), Cost::Fault);
        assert_eq!(judge(&[("entry_SYSCALL_64", true)]), Cost::Syscall);
        assert_eq!(judge(&[("_rjem_malloc", false)]), Cost::Allocator);
        assert_eq!(judge(&[("rustmq_model::batch::parse", false)]), Cost::Code);
    }
}
