//! A cache volume that is missing, full, read-only, a file or somebody else's does no harm.
//!
//! What restic left there is not read, and is the first to go when the volume is full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::job::{Job, Mounted, Security, volume_of};
use crate::scenarios::{KEEP, saved_listing, users, volume, volumes_can_be_given};
use crate::support::listing::{assert_same, list};
use crate::support::{is_root, skipped};

/// A whole week with this cache volume: the sequence of a source, and a restore.
fn goes_through(place: &Mounted, security: Security, cache: &Path, what: &str) {
    let volume = volume(security.user());
    let at_cache = |job: Job| job.on(place).with("FORGET_OPTIONS", KEEP).mount(cache, "/volumes/cache");
    let with_cache = |job: Job| at_cache(job).security(security).with("RESTIC_CACHE_DIR", "/volumes/cache");
    let ran = with_cache(Job::source("unlock backup prune", volume.path())).run();
    assert!(ran.code == 0 && !ran.log.to_lowercase().contains("cache"), "{what}: {}", ran.log);
    let target = volume_of(security.user());
    let ran = with_cache(Job::destination(target.path())).run();
    assert!(ran.code == 0 && !ran.log.to_lowercase().contains("cache"), "{what}: {}", ran.log);
    assert_same(&saved_listing(volume.path()), &list(target.path()), what);
}

/// The same, and nothing of it is touched.
fn goes_by(place: &Mounted, security: Security, cache: &Path, what: &str) {
    let before = fs::read_dir(cache).is_ok().then(|| list(cache));
    goes_through(place, security, cache, what);
    assert_eq!(fs::read_dir(cache).is_ok().then(|| list(cache)), before, "{what}");
}

/// What restic leaves in a cache volume.
fn restics(cache: &Path) -> PathBuf {
    let old = cache.join("0123456789abcdef".repeat(4));
    fs::create_dir_all(old.join("index/00")).unwrap();
    fs::write(old.join("version"), "no number").unwrap();
    fs::write(old.join("index/00").join("00".repeat(32)), "no index").unwrap();
    old
}

/// A small file system in memory.
pub struct Full(TempDir);

impl Full {
    /// Without a byte or an inode to spare; `None` where none can be mounted.
    pub fn new() -> Option<Self> {
        let full = Self::of("64k", 3)?;
        assert!(fs::write(full.0.path().join("filler"), vec![7; 128 << 10]).is_err());
        assert!(fs::write(full.0.path().join("one"), "").is_ok());
        assert!(fs::write(full.0.path().join("one more"), "").is_err());
        Some(full)
    }

    fn of(size: &str, inodes: u32) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        let options = format!("size={size},nr_inodes={inodes},mode=1777");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path());
        (is_root() && mount.status().is_ok_and(|status| status.success())).then_some(Self(folder))
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
        goes_by(&Mounted::of(security), security, full.path(), "a full volume");
    }
}

#[test]
fn what_restic_left_goes_first_when_the_volume_is_full() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(volume) = Full::of("512k", 100) else {
        return skipped("a full cache volume: that needs root, and the right to mount");
    };
    let old = restics(volume.path());
    assert!(fs::write(old.join("index/filler"), vec![7; 1 << 20]).is_err());
    let (uid, gid) = Security::Default.user();
    let everything = format!("chown -R {uid}:{gid} {}", old.display());
    assert!(Command::new("sh").args(["-c", &everything]).status().unwrap().success());
    goes_through(&Mounted::new(), Security::Default, volume.path(), "full of what restic left");
    assert!(!old.exists() && volume.path().join("volmover").is_dir());
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
    goes_by(&place, Security::Default, &made("read-only", 0o555), "a volume that may not be written");
    goes_by(&place, Security::Default, &made("closed", 0o700), "a volume of somebody else");
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    goes_by(&place, Security::Default, &file, "a file");
    let left = made("left", 0o777);
    let old = restics(&left);
    fs::write(left.join("CACHEDIR.TAG"), "no tag").unwrap();
    let before = list(&old);
    goes_through(&place, Security::Default, &left, "what restic left there, damaged");
    assert_eq!(list(&old), before);
    assert_eq!(fs::read_to_string(left.join("CACHEDIR.TAG")).unwrap(), "no tag");
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
