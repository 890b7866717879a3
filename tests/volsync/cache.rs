//! A cache volume that is missing, full, read-only, a file or somebody else's does no harm.
//!
//! Nothing is cached yet, and nothing is read from a cache that restic left: what lies there is not touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::job::{Job, Mounted, Security, volume_of};
use crate::scenarios::{KEEP, saved_listing, users, volume, volumes_can_be_given};
use crate::support::listing::{assert_same, list};
use crate::support::{is_root, skipped};

/// A whole week with this cache volume: the sequence of a source, and a restore.
fn goes_through(place: &Mounted, security: Security, cache: &Path, what: &str) {
    let before = fs::read_dir(cache).is_ok().then(|| list(cache));
    let volume = volume(security.user());
    let at_cache = |job: Job| job.on(place).with("FORGET_OPTIONS", KEEP).mount(cache, "/volumes/cache");
    let with_cache = |job: Job| at_cache(job).security(security).with("RESTIC_CACHE_DIR", "/volumes/cache");
    let ran = with_cache(Job::source("unlock backup prune", volume.path())).run();
    assert!(ran.code == 0 && !ran.log.to_lowercase().contains("cache"), "{what}: {}", ran.log);
    let target = volume_of(security.user());
    let ran = with_cache(Job::destination(target.path())).run();
    assert!(ran.code == 0 && !ran.log.to_lowercase().contains("cache"), "{what}: {}", ran.log);
    assert_same(&saved_listing(volume.path()), &list(target.path()), what);
    assert_eq!(fs::read_dir(cache).is_ok().then(|| list(cache)), before, "{what}");
}

/// A small file system in memory, without a byte or an inode to spare.
pub struct Full(TempDir);

impl Full {
    /// `None` where none can be mounted.
    pub fn new() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,nr_inodes=3,mode=1777", "tmpfs"]).arg(folder.path());
        if !is_root() || !mount.status().is_ok_and(|status| status.success()) {
            return None;
        }
        let full = Self(folder);
        assert!(fs::write(full.0.path().join("filler"), vec![7; 128 << 10]).is_err());
        assert!(fs::write(full.0.path().join("one"), "").is_ok());
        assert!(fs::write(full.0.path().join("one more"), "").is_err());
        Some(full)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_cache_volume_is_never_an_error() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(full) = Full::new() else {
        return skipped("a full cache volume: that needs root, and the right to mount");
    };
    for security in users() {
        goes_through(&Mounted::new(), security, full.path(), "a full volume");
    }
}

#[test]
fn a_cache_that_cannot_be_used_does_no_harm() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, folder) = (Mounted::new(), TempDir::new().unwrap());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let made = |name: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    goes_through(&place, Security::Default, &made("read-only", 0o555), "a volume that may not be written");
    goes_through(&place, Security::Default, &made("closed", 0o700), "a volume of somebody else");
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    goes_through(&place, Security::Default, &file, "a file");
    let left = made("left", 0o777);
    let old = left.join("0123456789abcdef".repeat(4));
    fs::create_dir_all(old.join("index/00")).unwrap();
    fs::write(old.join("version"), "no number").unwrap();
    fs::write(old.join("index/00").join("00".repeat(32)), "no index").unwrap();
    fs::write(left.join("CACHEDIR.TAG"), "no tag").unwrap();
    goes_through(&place, Security::Default, &left, "what restic left there, damaged");
}

#[test]
fn a_missing_cache_is_not_made() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    let job = Job::source("backup prune", volume.path()).on(&place);
    for job in [job.clone().without("RESTIC_CACHE_DIR"), job.with("RESTIC_CACHE_DIR", "/nonexistent/cache")] {
        let ran = job.run();
        assert!(ran.code == 0 && !ran.log.to_lowercase().contains("cache"), "{}", ran.log);
    }
    assert!(!Path::new("/nonexistent").exists());
}
