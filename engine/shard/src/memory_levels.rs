//! The total and available memory of the machine and of the cgroups that contain the process. Reads
//! files of `/proc` and `/sys`; `engine/core` decides about the budget.
//!
//! Sources: proc(5) for `meminfo`; the kernel's `admin-guide/cgroup-v2.rst` and
//! `cgroup-v1/memory.rst` for the others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustmq_engine_core::tail_budget::MemoryLevel;

/// The mount points of cgroups with a memory controller, and the names of their files.
const HIERARCHIES: [Hierarchy; 3] = [
    Hierarchy { mount: "sys/fs/cgroup", ..Hierarchy::V2 },
    Hierarchy { mount: "sys/fs/cgroup/unified", ..Hierarchy::V2 },
    Hierarchy {
        mount: "sys/fs/cgroup/memory",
        is_version_1: true,
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        file_pages: ["total_inactive_file", "total_active_file"],
    },
];

struct Hierarchy {
    mount: &'static str,
    is_version_1: bool,
    limit: &'static str,
    usage: &'static str,
    /// Lines of `memory.stat` that count pages of files. The kernel can drop these pages, although
    /// they count as used.
    file_pages: [&'static str; 2],
}

impl Hierarchy {
    const V2: Self = Self {
        mount: "",
        is_version_1: false,
        limit: "memory.max",
        usage: "memory.current",
        file_pages: ["inactive_file", "active_file"],
    };
}

/// Reports the system's memory.
pub trait MemorySource: Send + Sync + std::fmt::Debug {
    /// The level of each memory that limits the process.
    ///
    /// # Errors
    /// If the machine's own memory cannot be read.
    fn levels(&self) -> io::Result<Vec<MemoryLevel>>;
}

/// The memory of the system that the process runs on.
#[derive(Clone, Debug)]
pub struct SystemMemory {
    root: PathBuf,
}

impl Default for SystemMemory {
    fn default() -> Self {
        Self { root: PathBuf::from("/") }
    }
}

impl MemorySource for SystemMemory {
    fn levels(&self) -> io::Result<Vec<MemoryLevel>> {
        let text = fs::read_to_string(self.root.join("proc/meminfo"))?;
        let unknown = || io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has an unknown form");
        let mut levels = vec![machine(&text).ok_or_else(unknown)?];
        // The file does not exist without cgroups.
        let groups = fs::read_to_string(self.root.join("proc/self/cgroup")).unwrap_or_default();
        for hierarchy in &HIERARCHIES {
            let Some(path) = own_group(&groups, hierarchy.is_version_1) else { continue };
            let mount = self.root.join(hierarchy.mount);
            // The limit of any group above applies as well. In a container the path may be the
            // host's: groups that do not exist here are skipped.
            let above = Path::new(path.trim_start_matches('/')).ancestors();
            levels.extend(above.filter_map(|group| limited(&mount.join(group), hierarchy)));
        }
        Ok(levels)
    }
}

/// The level of one cgroup; `None` if it has no limit or does not exist.
fn limited(group: &Path, hierarchy: &Hierarchy) -> Option<MemoryLevel> {
    let read = |name| fs::read_to_string(group.join(name)).ok();
    let total = limit(&read(hierarchy.limit)?)?;
    let used = read(hierarchy.usage)?.trim().parse::<u64>().ok()?;
    let stat = read("memory.stat")?;
    let droppable: u64 = hierarchy.file_pages.iter().filter_map(|name| stat_line(&stat, name)).sum();
    Some(MemoryLevel { total, available: total.saturating_sub(used.saturating_sub(droppable)).min(total) })
}

/// Parses `meminfo`, whose lines are `Name:  number kB`.
fn machine(meminfo: &str) -> Option<MemoryLevel> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(MemoryLevel { total: bytes("MemTotal")?, available: bytes("MemAvailable")? })
}

/// The process's own group in `/proc/self/cgroup`. Its lines are `number:controllers:path`, without
/// controllers in version 2.
fn own_group(groups: &str, is_version_1: bool) -> Option<&str> {
    groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_ours =
            if is_version_1 { controllers.split(',').any(|name| name == "memory") } else { controllers.is_empty() };
        is_ours.then_some(path)
    })
}

/// Without a limit, the text is `max` in version 2, and the largest number of pages in version 1.
fn limit(text: &str) -> Option<u64> {
    const UNLIMITED: u64 = 1 << 60;
    text.trim().parse().ok().filter(|limit| (1..UNLIMITED).contains(limit))
}

fn stat_line(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustmq_engine_core::tail_budget::MemoryLevel;

    use super::{MemorySource, SystemMemory, limit, machine, own_group, stat_line};

    const MEMINFO: &str =
        "MemTotal:       24684580 kB\nMemFree:        21095000 kB\nMemAvailable:   22907000 kB\nCached: 1 kB\n";
    const MACHINE: MemoryLevel = MemoryLevel { total: 24_684_580 << 10, available: 22_907_000 << 10 };

    /// The levels of a system with these files.
    fn levels(files: &[(&str, &str)]) -> Option<Vec<MemoryLevel>> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        SystemMemory { root: folder.path().to_owned() }.levels().ok()
    }

    #[test]
    fn a_machine_without_cgroups_is_its_only_memory() {
        assert_eq!(levels(&[("proc/meminfo", MEMINFO)]), Some(vec![MACHINE]));
        assert_eq!(levels(&[]), None);
        assert_eq!(levels(&[("proc/meminfo", "MemTotal: 5 kB\n")]), None);
    }

    #[test]
    fn limits_of_version_2_count_with_those_of_the_groups_above() {
        let found = levels(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/system.slice/broker.service\n"),
            ("sys/fs/cgroup/system.slice/broker.service/memory.max", "max\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "1000000\n"),
            ("sys/fs/cgroup/system.slice/memory.current", "900000\n"),
            ("sys/fs/cgroup/system.slice/memory.stat", "anon 100\nfile 9\nactive_file 100000\ninactive_file 200000\n"),
        ]);
        let slice = MemoryLevel { total: 1_000_000, available: 400_000 };
        assert_eq!(found, Some(vec![MACHINE, slice]));
    }

    #[test]
    fn in_a_container_the_limit_is_at_the_mount_whatever_the_path_says() {
        let stat = "cache 7\ninactive_file 1\ntotal_inactive_file 50\ntotal_active_file 20\n";
        let found = levels(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/0a\n4:memory:/docker/0a\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "990\n"),
            ("sys/fs/cgroup/memory/memory.stat", stat),
        ]);
        assert_eq!(found, Some(vec![MACHINE, MemoryLevel { total: 1_000, available: 80 }]));
    }

    #[test]
    fn text_without_a_number_or_a_limit_is_none() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("0\n"), None);
        assert_eq!(limit("4096\n"), Some(4096));
        assert_eq!(machine("MemTotal: x kB\nMemAvailable: 1 kB\n"), None);
        assert_eq!(machine("MemTotal: 99999999999999999999 kB\nMemAvailable: 1 kB\n"), None);
        assert_eq!(own_group("nonsense\n1:name=systemd:/a\n", true), None);
        assert_eq!(stat_line("active_file_x 3\nactive_file 4\n", "active_file"), Some(4));
    }

    #[test]
    fn this_machine_reports_its_memory() {
        let levels = SystemMemory::default().levels().unwrap();
        assert!(levels.iter().all(|level| level.total > 1 << 20 && level.available <= level.total), "{levels:?}");
    }
}
