//! Folders in memory, where what is written is on its medium at once.
//!
//! A repository's files are flushed one by one, and a restore ends when all of its file system is: on a disk that is
//! what tests wait for. A test that is about a file system takes a folder of `tempfile`. Where `TMPDIR` is set all lie
//! there, and on the long scale, with its large files, on the disk.

use std::path::Path;
use std::sync::LazyLock;

use rustix::fs::{StatVfsMountFlags, XattrFlags, setxattr, statfs, statvfs};
use tempfile::TempDir;

/// Where Linux keeps a file system in memory.
const MEMORY: &str = "/dev/shm";
/// The magic number of one, `statfs(2)`.
const TMPFS: u64 = 0x0102_1994;
/// What must be free in it.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// A folder that goes when it is dropped: in memory where there is room, else where temporary folders are.
pub fn scratch() -> TempDir {
    let folder = if *MEMORY_SERVES && has_room() { TempDir::new_in(MEMORY) } else { TempDir::new() };
    folder.unwrap()
}

/// Whether files there may be run, and may have the attributes that tests give them (Linux 6.6).
static MEMORY_SERVES: LazyLock<bool> = LazyLock::new(|| {
    let is_tmpfs = || statfs(MEMORY).is_ok_and(|found| found.f_type as u64 == TMPFS);
    let runs = || statvfs(MEMORY).is_ok_and(|found| !found.f_flag.contains(StatVfsMountFlags::NOEXEC));
    let has_attributes = |path: &Path| setxattr(path, "user.probe", b"", XattrFlags::empty()).is_ok();
    std::env::var_os("TMPDIR").is_none()
        && super::scaled(1) == 1
        && is_tmpfs()
        && runs()
        && TempDir::new_in(MEMORY).is_ok_and(|probe| has_attributes(probe.path()))
});

fn has_room() -> bool {
    statvfs(MEMORY).is_ok_and(|found| found.f_bavail * found.f_frsize >= FREE_BYTES_MIN)
}
