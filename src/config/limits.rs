//! What this process may use: memory and CPUs, as its control groups (cgroup v1, v2 or both) allow.
//!
//! ```text
//! v2  0::/a/b               root[/unified]/a/b/{memory.max, memory.high, cpu.max, cpuset.cpus.effective}
//! v1  4:memory:/a/b         root/memory/a/b/{memory.limit_in_bytes, memory.stat: hierarchical_memory_limit}
//!     1:cpu,cpuacct:/a/b    root/cpu,cpuacct/a/b/{cpu.cfs_quota_us, cpu.cfs_period_us}
//!     3:cpuset:/a/b         root/cpuset/a/b/cpuset.effective_cpus
//! ```
//!
//! A group is bound by its ancestors too, so the least limit from the group up to the root counts. Inside a
//! container v1 names the path on the host while the mount begins at the container's own group: then no such
//! path exists below the root, and the root's own files are the ones that count.
//! What is missing or cannot be read is no limit: nothing here fails.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// What the whole machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPUs that this process may run on.
    pub cpus: usize,
}

/// What this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes: the least limit, at most the machine's.
    pub memory_bytes: u64,
    /// CPUs, a fraction counted as a whole one; at least 1.
    pub cpus: usize,
}

/// The most that a run takes without being told to.
const MEMORY_DEFAULT_MAX: u64 = 1 << 30;
/// The least that a run needs: one key derivation and the buffers of a pipeline.
pub const MEMORY_MIN: u64 = 96 << 20;

impl Limits {
    /// The limits of this process on this machine.
    #[must_use]
    pub fn of_this_process() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize);
        let machine = Machine { memory_bytes: memory_total(&memory).unwrap_or(u64::MAX), cpus };
        Self::read(Path::new("/sys/fs/cgroup"), &groups, machine)
    }

    /// The limits below `root` (`/sys/fs/cgroup`) of a process whose `/proc/self/cgroup` reads `groups`.
    #[must_use]
    pub fn read(root: &Path, groups: &str, machine: Machine) -> Self {
        let found = groups.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            Some(of_group(root, controllers, Path::new(path)))
        });
        let whole = Self { memory_bytes: machine.memory_bytes, cpus: machine.cpus.max(1) };
        found.flatten().fold(whole, |limits, limit| match limit {
            Limit::Memory(bytes) => Self { memory_bytes: limits.memory_bytes.min(bytes), ..limits },
            Limit::Cpus(cpus) => Self { cpus: limits.cpus.min(cpus.max(1)), ..limits },
        })
    }

    /// The memory budget of a run that names none: 75 % of what it may use, at most 1 GiB, at least 96 MiB.
    #[must_use]
    pub fn memory_default(&self) -> u64 {
        (self.memory_bytes / 4 * 3).clamp(MEMORY_MIN, MEMORY_DEFAULT_MAX)
    }
}

enum Limit {
    Memory(u64),
    Cpus(usize),
}

/// All limits of one line of `/proc/self/cgroup`.
fn of_group(root: &Path, controllers: &str, path: &Path) -> Vec<Limit> {
    if controllers.is_empty() {
        return [root.to_path_buf(), root.join("unified")]
            .iter()
            .filter(|mount| mount.join("cgroup.controllers").exists())
            .flat_map(|mount| up(mount, path))
            .flat_map(|group| unified(&group))
            .collect();
    }
    let mounts = std::iter::once(controllers).chain(controllers.split(','));
    let Some(mount) = mounts.map(|name| root.join(name)).find(|mount| mount.is_dir()) else {
        return Vec::new();
    };
    let has = |name: &str| controllers.split(',').any(|controller| controller == name);
    let mut limits = Vec::new();
    for group in up(&mount, path) {
        if has("memory") {
            let limit = number(&group, "memory.limit_in_bytes");
            limits.extend([limit, hierarchical(&group)].into_iter().flatten().map(Limit::Memory));
        }
        if has("cpu") {
            let quota = number(&group, "cpu.cfs_quota_us").zip(number(&group, "cpu.cfs_period_us"));
            limits.extend(quota.and_then(|(quota, period)| whole_cpus(quota, period)).map(Limit::Cpus));
        }
        if has("cpuset") {
            let set = text(&group, "cpuset.effective_cpus").or_else(|| text(&group, "cpuset.cpus"));
            limits.extend(set.and_then(|set| count_of_set(&set)).map(Limit::Cpus));
        }
    }
    limits
}

/// The limits of a group of the unified hierarchy; `max` is no number and so no limit.
fn unified(group: &Path) -> Vec<Limit> {
    let memory = ["memory.max", "memory.high"].into_iter().filter_map(|name| number(group, name));
    let quota = text(group, "cpu.max").and_then(|text| {
        let (quota, period) = text.split_once(' ')?;
        whole_cpus(quota.parse().ok()?, period.parse().ok()?)
    });
    let set = text(group, "cpuset.cpus.effective").and_then(|set| count_of_set(&set));
    memory.map(Limit::Memory).chain([quota, set].into_iter().flatten().map(Limit::Cpus)).collect()
}

/// The group's directory and those of its ancestors, up to the mount itself.
fn up(mount: &Path, path: &Path) -> Vec<PathBuf> {
    let normal: PathBuf = path
        .components()
        .filter(|part| *part != Component::RootDir)
        .take_while(|part| matches!(part, Component::Normal(_)))
        .collect();
    normal.ancestors().map(|part| mount.join(part)).collect()
}

/// `hierarchical_memory_limit`: it counts ancestors that a container does not see.
fn hierarchical(group: &Path) -> Option<u64> {
    let stat = text(group, "memory.stat")?;
    stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?.parse().ok()
}

fn whole_cpus(quota: u64, period: u64) -> Option<usize> {
    (period > 0).then(|| quota.div_ceil(period)).and_then(|cpus| usize::try_from(cpus).ok())
}

/// CPUs of a list such as `0-3,8`; none for an empty list.
fn count_of_set(set: &str) -> Option<usize> {
    let count = |part: &str| -> Option<usize> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let [first, last] = [first, last].map(|cpu| cpu.trim().parse::<usize>().ok());
        last?.checked_sub(first?)?.checked_add(1)
    };
    set.split(',').map(count).sum()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn text(group: &Path, name: &str) -> Option<String> {
    fs::read_to_string(group.join(name)).ok().map(|text| text.trim().to_owned())
}

/// A number; `-1` and `max` are none.
fn number(group: &Path, name: &str) -> Option<u64> {
    text(group, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const MIB: u64 = 1 << 20;
    const MACHINE: Machine = Machine { memory_bytes: 24_684_084 << 10, cpus: 8 };
    /// What v1 says for no limit, on machines with pages of 4 KiB.
    const V1_NONE: &str = "9223372036854771712\n";

    /// A tree of files below a root of its own.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn read(files: &[(&str, &str)], groups: &str) -> Limits {
        Limits::read(tree(files).path(), groups, MACHINE)
    }

    const WHOLE: Limits = Limits { memory_bytes: MACHINE.memory_bytes, cpus: MACHINE.cpus };

    #[test]
    fn v1_with_a_hybrid_unified_mount_and_no_limits() {
        let groups =
            "9:name=systemd:/\n4:memory:/process_api/18fba86c\n3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/\n";
        let files = [
            ("memory/memory.limit_in_bytes", V1_NONE),
            ("memory/process_api/memory.limit_in_bytes", V1_NONE),
            ("memory/process_api/18fba86c/memory.limit_in_bytes", V1_NONE),
            (
                "memory/process_api/18fba86c/memory.stat",
                "cache 1802240\nhierarchical_memory_limit 9223372036854771712\nhierarchical_memsw_limit 9223372036854771712\n",
            ),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpuset/cpuset.cpus", "0-1\n"),
            ("cpuset/cpuset.effective_cpus", "0-1\n"),
            ("unified/cgroup.controllers", "hugetlb\n"),
            ("unified/cpu.stat", "usage_usec 1\n"),
        ];
        assert_eq!(read(&files, groups), Limits { cpus: 2, ..WHOLE });
    }

    #[test]
    fn v1_the_least_of_the_ancestors_counts() {
        let groups = "11:memory:/kubepods/burstable/pod1/app\n4:cpu,cpuacct:/kubepods/burstable/pod1/app\n";
        let files = [
            ("memory/memory.limit_in_bytes", V1_NONE),
            ("memory/kubepods/memory.limit_in_bytes", "8589934592\n"),
            ("memory/kubepods/burstable/memory.limit_in_bytes", V1_NONE),
            ("memory/kubepods/burstable/pod1/memory.limit_in_bytes", "536870912\n"),
            ("memory/kubepods/burstable/pod1/app/memory.limit_in_bytes", "1073741824\n"),
            ("cpu,cpuacct/kubepods/burstable/pod1/cpu.cfs_quota_us", "250000\n"),
            ("cpu,cpuacct/kubepods/burstable/pod1/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/kubepods/burstable/pod1/app/cpu.cfs_quota_us", "400000\n"),
            ("cpu,cpuacct/kubepods/burstable/pod1/app/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(read(&files, groups), Limits { memory_bytes: 512 * MIB, cpus: 3 });
    }

    #[test]
    fn v1_in_a_container_the_mount_is_its_own_group() {
        let groups = "11:memory:/kubepods/burstable/pod1/app\n4:cpu,cpuacct:/kubepods/burstable/pod1/app\n";
        let files = [
            ("memory/memory.limit_in_bytes", "1073741824\n"),
            ("memory/memory.stat", "hierarchical_memory_limit 268435456\n"),
            ("cpu/cpu.cfs_quota_us", "50000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(read(&files, groups), Limits { memory_bytes: 256 * MIB, cpus: 1 });
    }

    #[test]
    fn v2_nested_and_in_a_namespace() {
        let nested = [
            ("cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("cpuset.cpus.effective", "0-7\n"),
            ("kubepods.slice/memory.max", "8589934592\n"),
            ("kubepods.slice/cpu.max", "150000 100000\n"),
            ("kubepods.slice/pod1.slice/memory.max", "max\n"),
            ("kubepods.slice/pod1.slice/cpu.max", "max 100000\n"),
            ("kubepods.slice/pod1.slice/cri.scope/memory.max", "9663676416\n"),
            ("kubepods.slice/pod1.slice/cri.scope/memory.high", "max\n"),
            ("kubepods.slice/pod1.slice/cri.scope/cpu.max", "400000 100000\n"),
            ("kubepods.slice/pod1.slice/cri.scope/cpuset.cpus.effective", "0,2-3,5\n"),
        ];
        let limits = read(&nested, "0::/kubepods.slice/pod1.slice/cri.scope\n");
        assert_eq!(limits, Limits { memory_bytes: 8 << 30, cpus: 2 });
        let own = [
            ("cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("memory.max", "268435456\n"),
            ("memory.high", "201326592\n"),
            ("cpu.max", "max 100000\n"),
            ("cpuset.cpus.effective", "1-4\n"),
        ];
        for groups in ["0::/\n", "0::/../../other\n"] {
            assert_eq!(read(&own, groups), Limits { memory_bytes: 192 * MIB, cpus: 4 });
        }
    }

    #[test]
    fn v2_unlimited() {
        let files = [
            ("cgroup.controllers", "cpu memory\n"),
            ("memory.max", "max\n"),
            ("memory.high", "max\n"),
            ("cpu.max", "max 100000\n"),
            ("cpuset.cpus.effective", "\n"),
        ];
        assert_eq!(read(&files, "0::/\n"), WHOLE);
    }

    #[test]
    fn nothing_there_is_no_limit() {
        assert_eq!(Limits::read(Path::new("/nonexistent"), "0::/\n4:memory:/x\n", MACHINE), WHOLE);
        assert_eq!(read(&[], "nonsense\n\n:::\n"), WHOLE);
        let broken = [
            ("cpu/cpu.cfs_quota_us", "5000\n"),
            ("cpu/cpu.cfs_period_us", "0\n"),
            ("cpuset/cpuset.cpus", "3-1\n"),
        ];
        assert_eq!(read(&broken, "1:cpu:/\n2:cpuset:/\n"), WHOLE);
    }

    #[test]
    fn the_default_budget() {
        let budget = |mib: u64| Limits { memory_bytes: mib * MIB, cpus: 1 }.memory_default() / MIB;
        let cases = [(64, 96), (128, 96), (256, 192), (512, 384), (1024, 768), (2048, 1024), (65536, 1024)];
        for (limit, expected) in cases {
            assert_eq!(budget(limit), expected, "{limit}");
        }
    }

    #[test]
    fn this_machine() {
        assert_eq!(memory_total("MemTotal:       24684084 kB\nMemFree: 1 kB\n"), Some(24_684_084 << 10));
        let limits = Limits::of_this_process();
        assert!(
            limits.cpus >= 1 && limits.memory_bytes > 64 * MIB && limits.memory_bytes < u64::MAX,
            "{limits:?}"
        );
    }
}
