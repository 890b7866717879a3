//! Who and where this process is: host, user, process, container; what it took of the machine; and the names
//! of users and groups.
//!
//! Names come from `/etc/passwd` and `/etc/group` as files, because a static binary has no name services.
//! The host name is the kernel's: what a user calls this host is configuration and not known here.

use std::collections::HashMap;
use std::path::Path;

/// The process ids of the machine itself live in the namespace with this number (`PROC_PID_INIT_INO`).
const MACHINES_OWN_PIDS: &str = "pid:[4026531836]";

/// This process, as a lock names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The kernel's host name.
    pub hostname: String,
    /// The user's name, empty without a passwd entry.
    pub username: String,
    /// The process.
    pub pid: i32,
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// Whether process ids mean nothing to others here: inside a container.
    pub contained: bool,
}

impl Holder {
    /// This process.
    #[must_use]
    pub fn this_process(names: &Names) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            username: names.user(uid).unwrap_or_default().to_owned(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            uid,
            gid: rustix::process::getgid().as_raw(),
            contained: namespace.as_os_str() != MACHINES_OWN_PIDS,
        }
    }
}

/// The namespace of the pod that this process runs in; empty outside of Kubernetes.
#[must_use]
pub fn pod_namespace() -> String {
    let file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    std::fs::read_to_string(file).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// What this process took of the machine so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// The most memory that it ever had in RAM, in bytes; 0 where the kernel does not say.
    pub peak_memory_bytes: u64,
    /// CPU time of all its threads, in seconds.
    pub cpu_seconds: f64,
}

impl Usage {
    /// Of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            peak_memory_bytes: peak_memory(&status).unwrap_or(0),
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        }
    }
}

/// `VmHWM` of `/proc/self/status`, in bytes.
fn peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Names of users and groups by id.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads `etc/passwd` and `etc/group` below `root`; a missing file names nobody.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let read = |file| std::fs::read_to_string(root.join(file)).unwrap_or_default();
        Self { users: by_id(&read("etc/passwd")), groups: by_id(&read("etc/group")) }
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }
}

/// Lines `name:password:id:…`; the first line of an id counts.
fn by_id(file: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in file.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(id))) =
            (fields.next(), fields.next(), fields.next().map(str::parse))
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_took() {
        assert_eq!(peak_memory("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS: 1 kB\n"), Some(2 << 20));
        assert_eq!(peak_memory("VmRSS: 1 kB\n"), None);
        let usage = Usage::of_this_process();
        assert!(usage.peak_memory_bytes > 1 << 20 && usage.cpu_seconds > 0.0, "{usage:?}");
    }

    #[test]
    fn names_come_from_files() {
        let users = by_id("root:x:0:0:root:/root:/bin/sh\nbad line\napp:x:1000:1000::/:\ntoor:x:0:0::/:\n");
        assert_eq!(users.get(&0).map(String::as_str), Some("root"));
        assert_eq!(users.get(&1000).map(String::as_str), Some("app"));
        assert_eq!(users.len(), 2);
    }
}
