//! What the tests of restore share: repositories that open at once, sources, restores with default options.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;
use volmover::backend::Backend;
use volmover::backend::local::LocalBackend;
use volmover::clock::SystemClock;
use volmover::error::{Error, Result};
use volmover::random::{Random, SystemRandom};
use volmover::report::{RecordingMonitor, RestoreSummary};
use volmover::repository::Repository;
use volmover::repository::compression::Compression;
use volmover::repository::open::Access;
use volmover::repository::scrypt::ScryptCost;
use volmover::repository::snapshot::Snapshot;
use volmover::restore::select::{Filter, Selection, select};
use volmover::restore::{Overwrite, RestoreOptions, XattrFilter, restore};

use crate::support;
use crate::support::scratch;

pub const PASSWORD: &str = "volmover";

pub fn access() -> Access<'static> {
    Access {
        password: PASSWORD.as_bytes(),
        key_hint: None,
        compression: Compression::Auto,
        scrypt: ScryptCost::CHEAP,
        threads: 1,
        host_and_user: ("host", "user"),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
    }
}

/// A repository in a folder of its own, with a key that opens at once.
pub struct Repo {
    pub dir: TempDir,
}

impl Repo {
    pub fn create() -> Self {
        let dir = scratch();
        Repository::create(Self::backend_at(dir.path()), &access()).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn backend_at(path: &Path) -> Arc<dyn Backend> {
        Arc::new(LocalBackend::open(path, 4))
    }

    pub fn backend(&self) -> Arc<dyn Backend> {
        Self::backend_at(self.path())
    }

    pub fn open(&self) -> Arc<Repository> {
        open(self.backend())
    }

    /// Backs a source up with real restic, as `VolSync`'s mover calls it; false: restic is not there.
    #[must_use]
    pub fn backup(&self, source: &Path) -> bool {
        self.restic(source, &["backup", "--host", "volsync", "--quiet", "."])
    }

    #[must_use]
    pub fn restic(&self, directory: &Path, arguments: &[&str]) -> bool {
        let Some(restic) = support::peer("restic-0.19") else { return false };
        let output = Command::new(restic)
            .current_dir(directory)
            .env("RESTIC_REPOSITORY", self.path())
            .env("RESTIC_PASSWORD", PASSWORD)
            .args(["--no-cache"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        true
    }

    /// The packs, largest first.
    pub fn packs(&self) -> Vec<PathBuf> {
        let mut packs = Vec::new();
        for folder in fs::read_dir(self.path().join("data")).unwrap() {
            let files = fs::read_dir(folder.unwrap().path()).unwrap();
            packs.extend(files.map(|file| file.unwrap().path()));
        }
        packs.sort_by_key(|pack| std::cmp::Reverse(fs::metadata(pack).unwrap().len()));
        packs
    }
}

pub fn open(backend: Arc<dyn Backend>) -> Arc<Repository> {
    Arc::new(Repository::open(backend, &access()).unwrap())
}

/// What a restore came to.
#[derive(Debug)]
pub struct Run {
    pub outcome: Result<RestoreSummary>,
    pub monitor: RecordingMonitor,
}

impl Run {
    #[track_caller]
    pub fn summary(&self) -> &RestoreSummary {
        let failures = self.monitor.item_failures();
        assert!(self.outcome.is_ok(), "{:?} {failures:?}", self.outcome);
        self.outcome.as_ref().unwrap()
    }

    #[track_caller]
    pub fn error(&self) -> &Error {
        self.outcome.as_ref().unwrap_err()
    }

    pub fn failed_items(&self) -> Vec<String> {
        self.monitor.item_failures().into_iter().map(|failure| failure.item).collect()
    }
}

pub fn options(target: &Path) -> RestoreOptions {
    RestoreOptions {
        target: target.to_owned(),
        subfolder: None,
        delete: false,
        include: Vec::new(),
        overwrite: Overwrite::Always,
        sparse: true,
        space_check: true,
        xattrs: XattrFilter::All,
        threads: 3,
        connections: 4,
        memory_bytes: 256 << 20,
        dry_run: false,
    }
}

/// Restores the latest snapshot.
pub fn run(repository: &Arc<Repository>, options: &RestoreOptions) -> Run {
    run_until(repository, options, &AtomicBool::new(false))
}

pub fn run_until(repository: &Arc<Repository>, options: &RestoreOptions, stop: &AtomicBool) -> Run {
    let snapshots = repository.snapshots().unwrap();
    let latest = Selection::Latest { as_of: None, back: 0 };
    let (_, snapshot) = select(&snapshots, &latest, &Filter::default()).unwrap().unwrap();
    run_snapshot(repository, &snapshot, options, stop)
}

pub fn run_snapshot(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    stop: &AtomicBool,
) -> Run {
    let monitor = RecordingMonitor::default();
    let index = repository.load_index().unwrap();
    let outcome = restore(repository, &index, snapshot, options, &monitor, stop);
    Run { outcome, monitor }
}

pub fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SystemRandom.fill(&mut bytes).unwrap();
    bytes
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// A source with every kind of entry; what only root can make is there when root runs the tests.
pub fn rich_source() -> TempDir {
    use std::os::unix::ffi::OsStrExt;
    let source = scratch();
    let root = source.path();
    let at = |name: &str| root.join(name);
    for folder in ["a", "a/b", "a/b/c", "empty", "many", "closed", "closed/inner", "sticky"] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::write(at("a/nothing"), b"").unwrap();
    fs::write(at("a/one"), b"1").unwrap();
    fs::write(at("a/text"), b"text\n".repeat(10_000)).unwrap();
    let large = random_bytes(5 << 20);
    fs::write(at("a/b/large"), &large).unwrap();
    fs::write(at("a/b/c/large again"), &large).unwrap();
    let mut holes = vec![0; 20 << 20];
    holes[0] = 1;
    holes[12 << 20] = 2;
    fs::write(at("a/holes"), &holes).unwrap();
    fs::write(at("a/zeros"), vec![0; 200_000]).unwrap();
    for number in 0..300 {
        fs::write(at(&format!("many/{number}")), format!("file {}", number / 2)).unwrap();
    }
    fs::hard_link(at("a/text"), at("a/b/text's other name")).unwrap();
    fs::hard_link(at("a/nothing"), at("another nothing")).unwrap();
    symlink("../one", at("a/b/link")).unwrap();
    symlink("/nowhere/at all", at("dangling")).unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"not \xff utf-8 \\ \"quoted\"\n")), b"name").unwrap();
    fs::write(at("setuid"), b"#!/bin/false").unwrap();
    set_mode(&at("setuid"), 0o6755);
    fs::write(at("read only"), b"r").unwrap();
    set_xattr(&at("a/one"), "user.comment", b"one \0 two");
    set_xattr(&at("a/b"), "user.of a folder", b"");
    fs::write(at("closed/inner/file"), b"behind closed doors").unwrap();
    set_mtime(&at("a/one"), -86_400, 123_456_789);
    set_mtime(&at("a/text"), 5_000_000_000, 1);
    if support::is_root() {
        let rdev = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), rdev)
            .unwrap();
        let rdev = rustix::fs::makedev(7, 99);
        rustix::fs::mknodat(CWD, at("loop"), FileType::BlockDevice, Mode::from_raw_mode(0o660), rdev)
            .unwrap();
        set_xattr(&at("a/one"), "trusted.of root", b"secret");
        set_xattr(&at("dangling"), "trusted.on a link", b"x");
        std::os::unix::fs::lchown(at("dangling"), Some(77), Some(88)).unwrap();
        std::os::unix::fs::chown(at("setuid"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::chown(at("a/b/large"), Some(1234), Some(5678)).unwrap();
        std::os::unix::fs::chown(at("empty"), Some(1234), Some(0)).unwrap();
        set_mode(&at("setuid"), 0o6755);
    }
    set_mode(&at("read only"), 0o400);
    set_mode(&at("sticky"), 0o1777);
    set_mode(&at("empty"), 0o2750);
    set_mtime(&at("dangling"), 1_000_000_000, 5);
    set_mtime(&at("pipe"), 1_000_000_001, 6);
    for folder in ["a/b/c", "a/b", "a", "empty", "many", "sticky", "closed/inner", "closed"] {
        set_mtime(&at(folder), 1_111_111_111, 22);
    }
    if support::is_root() {
        set_mode(&at("closed/inner"), 0);
        set_mode(&at("closed"), 0);
    }
    source
}
