//! What a restore may not do, and what there is no room for. Capabilities are dropped from single threads.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use tempfile::TempDir;
use volmover::error::ErrorKind;
use volmover::restore::{Overwrite, RestoreOptions, XattrFilter};

use crate::made::{file, folder, store, tree};
use crate::support::{is_root, listing, scratch};
use crate::world::{Repo, options, random_bytes, rich_source, run};

/// Runs `work` in a thread (and those it starts) that has none of these capabilities.
fn without<R: Send>(gone: CapabilitySet, work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(gone);
            sets.permitted.remove(gone);
            set_capabilities(None, sets).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn without_capabilities_owners_and_devices_are_one_warning_each() {
    if !can_drop_rights() {
        return;
    }
    let (repo, source) = (Repo::create(), rich_source());
    if !repo.backup(source.path()) {
        return;
    }
    let repository = repo.open();
    let target = scratch();
    let user = volmover::pattern::Patterns::parse(&["user.*"], false).unwrap();
    let options = RestoreOptions { xattrs: XattrFilter::Matching(user), ..options(target.path()) };
    let done = without(CapabilitySet::all(), || run(&repository, &options));
    done.summary();
    let warnings = done.monitor.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("CAP_CHOWN")), "{warnings:?}");
    assert!(warnings.iter().any(|text| text.contains("CAP_MKNOD")), "{warnings:?}");
    // Owners and attributes of others apart, all of it is there: also what lies behind closed doors.
    let strip = |text: String| {
        let lines = text.lines().filter(|line| !line.starts_with(['c', 'b'])).map(|line| {
            let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
            fields[2] = String::new();
            let user = |text: &&str| !text.starts_with("trusted.");
            fields[7] = fields[7].split(',').filter(user).collect::<Vec<_>>().join(",");
            fields.join("\t")
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let expected = strip(listing::list(source.path()));
    listing::assert_same(&expected, &strip(listing::list(target.path())), "the tree restored without rights");
    // And once more, over what is closed now.
    let again = without(CapabilitySet::all(), || run(&repository, &options));
    again.summary();
    listing::assert_same(&expected, &strip(listing::list(target.path())), "the tree restored again");
    let changed = RestoreOptions { overwrite: Overwrite::IfChanged, ..options };
    without(CapabilitySet::all(), || run(&repository, &changed)).summary();
}

#[test]
fn attributes_of_others_are_one_warning() {
    if !can_drop_rights() {
        return;
    }
    let (repo, source) = (Repo::create(), rich_source());
    if !repo.backup(source.path()) {
        return;
    }
    let repository = repo.open();
    let target = scratch();
    let done = without(CapabilitySet::SYS_ADMIN, || run(&repository, &options(target.path())));
    done.summary();
    assert_eq!(done.monitor.warnings().len(), 1, "{:?}", done.monitor.warnings());
}

#[test]
fn a_target_that_may_not_be_written_fails_item_by_item() {
    if !can_drop_rights() {
        return;
    }
    let repo = Repo::create();
    let repository = repo.open();
    store(&repository, &[b"text"], &[&tree(vec![file(b"f", &[b"text"]), file(b"g", &[])])]);
    let target = scratch();
    std::os::unix::fs::chown(target.path(), Some(1234), None).unwrap();
    let done = without(CapabilitySet::all(), || run(&repository, &options(target.path())));
    // A directory of mode 0700 of another user cannot even be looked into.
    assert_eq!(done.error().kind, ErrorKind::Other);
    crate::world::set_mode(target.path(), 0o755);
    let done = without(CapabilitySet::all(), || run(&repository, &options(target.path())));
    assert_eq!(done.failed_items().len(), 2, "{:?}", done.outcome);
    assert!(done.error().to_string().contains("permission denied"), "{}", done.error());
}

fn can_drop_rights() -> bool {
    if !is_root() {
        say("skipped: only root has capabilities to drop");
    }
    is_root()
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn say(text: &str) {
    eprintln!("{text}");
}

struct Mount(TempDir);

impl Mount {
    /// A file system of that size; `None` where none can be mounted.
    fn of(options: &str) -> Option<Self> {
        let dir = scratch();
        let mounted = is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(dir.path())
                .status()
                .is_ok_and(|status| status.success());
        if !mounted {
            say("skipped: no tmpfs can be mounted here");
        }
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_target_that_is_too_small_is_told_before_anything_is_written() {
    let Some(mount) = Mount::of("size=1m") else { return };
    let repo = Repo::create();
    let repository = repo.open();
    let chunks: Vec<Vec<u8>> = (0..4).map(|_| random_bytes(500_000)).collect();
    let all: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let inner = tree(vec![file(b"small", &[b"text"])]);
    let mut stored = all.clone();
    stored.push(b"text");
    store(&repository, &stored, &[&tree(vec![file(b"large", &all), folder(b"d", &inner)]), &inner]);
    for sparse in [true, false] {
        let options = RestoreOptions { sparse, ..options(mount.path()) };
        let done = run(&repository, &options);
        assert_eq!(done.error().kind, ErrorKind::NoSpace);
        assert!(
            done.error().to_string().contains("it needs 1.914 MiB more, 1.000 MiB are available"),
            "{}",
            done.error()
        );
        assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
        // Without the check, the target runs full; that is the same kind.
        let unchecked = RestoreOptions { space_check: false, ..options };
        let done = run(&repository, &unchecked);
        assert_eq!(done.error().kind, ErrorKind::NoSpace, "{}", done.error());
        assert!(done.error().to_string().starts_with("the target is full"), "{}", done.error());
        fs::remove_file(mount.path().join("large")).unwrap();
        fs::remove_dir_all(mount.path().join("d")).unwrap();
    }
}

#[test]
fn what_is_there_already_needs_no_room() {
    let Some(mount) = Mount::of("size=3m") else { return };
    let repo = Repo::create();
    let repository = repo.open();
    let chunks: Vec<Vec<u8>> = (0..4).map(|_| random_bytes(500_000)).collect();
    let all: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    store(&repository, &all, &[&tree(vec![file(b"large", &all)])]);
    run(&repository, &options(mount.path())).summary();
    run(&repository, &options(mount.path())).summary();
}

#[test]
fn too_few_inodes_are_told_as_well() {
    let Some(mount) = Mount::of("size=10m,nr_inodes=20") else { return };
    let repo = Repo::create();
    let repository = repo.open();
    let files = (0..30).map(|n| file(format!("{n}").as_bytes(), &[])).collect();
    store(&repository, &[], &[&tree(files)]);
    let done = run(&repository, &options(mount.path()));
    assert_eq!(done.error().kind, ErrorKind::NoSpace);
    assert!(done.error().to_string().contains("30 inodes"), "{}", done.error());
}
