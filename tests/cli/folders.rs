//! `DATA_DIR`: missing, a file, not readable, not writable, too small; and snapshots that are not meant.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::call::{NOBODY, Repo, open_folder, source};
use super::support::source::random_bytes;
use super::support::{is_root, scratch, skipped};

/// Gives a folder and all in it to the user whom `by_nobody` makes of a call.
fn give_away(folder: &Path) {
    if is_root() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                give_away(&entry.path());
            }
            std::os::unix::fs::lchown(entry.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

#[test]
fn a_source_must_be_a_folder() {
    let (repo, folder) = (Repo::new(), source());
    let missing = folder.path().join("missing");
    let line = format!("Fatal: cannot read the source: {}: No such file or directory", missing.display());
    let ran = repo.call("backup").with("DATA_DIR", &missing).fails(1, &line);
    assert!(ran.last().ends_with("Mount the volume there, or set DATA_DIR"), "{}", ran.last());
    let file = folder.path().join("short");
    let line = format!("Fatal: cannot read the source: {}: Not a directory", file.display());
    repo.call("backup").with("DATA_DIR", &file).fails(1, &line);
    assert_eq!(repo.count("snapshots"), 0);
}

#[test]
fn a_source_that_cannot_be_read_at_all_is_an_error() {
    let (repo, folder) = (Repo::new(), source());
    give_away(repo.path());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o0)).unwrap();
    let line = format!("Fatal: cannot read the source: {}: Permission denied", folder.path().display());
    repo.call("backup").with("DATA_DIR", folder.path()).by_nobody().fails(1, &line);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(repo.count("snapshots"), 0);
}

#[test]
fn a_target_must_be_a_folder_that_can_be_written() {
    let (repo, source) = (Repo::new(), source());
    let restore =
        |target: &Path| repo.call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", target);
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let target = open_folder();
    let file = target.path().join("file");
    fs::write(&file, "untouched").unwrap();
    let line = format!("Fatal: cannot restore into the target: {}: Not a directory", file.display());
    restore(&file).fails(1, &line);
    assert_eq!(fs::read_to_string(&file).unwrap(), "untouched");

    // As restic, a restore makes the folder.
    let made = target.path().join("made/here");
    restore(&made).ok();
    assert_eq!(fs::read_to_string(made.join("short")).unwrap(), "short");

    give_away(repo.path());
    let closed = open_folder();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let ran = restore(closed.path()).by_nobody().fails(1, "Fatal: ");
    let first = format!(
        "items could not be restored, the first: {}/d: cannot make the directory: permission denied",
        closed.path().display()
    );
    assert!(ran.last().contains(&first), "{}", ran.last());
    assert_eq!(fs::read_dir(closed.path()).unwrap().count(), 0);
}

/// A tiny file system.
struct Mount(TempDir);

impl Mount {
    fn new() -> Option<Self> {
        let folder = scratch();
        let mount = || {
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output()
        };
        let mounted = is_root() && mount().is_ok_and(|output| output.status.success());
        if !mounted {
            skipped("a target that is too small: no tmpfs can be mounted here");
        }
        mounted.then_some(Self(folder))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_target_that_is_too_small_is_20() {
    let Some(mount) = Mount::new() else { return };
    let (repo, source) = (Repo::new(), open_folder());
    fs::write(source.path().join("large"), random_bytes(1, 3 << 20)).unwrap();
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let target: PathBuf = mount.0.path().to_owned();
    let restore = repo.call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", &target);
    let line =
        format!("Fatal: the target is too small, nothing was written: {}: it needs ", target.display());
    restore.clone().fails(20, &line);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    let full = format!(
        "Fatal: the target is full: {}/large: cannot write: no space left on device. Make room and run",
        target.display()
    );
    restore.clone().with("MOVER_SPACE_CHECK", "off").fails(20, &full);
    // What stays as it is needs no room.
    fs::write(target.join("large"), "small").unwrap();
    for overwrite in ["never", "if-newer"] {
        restore.clone().with("MOVER_OVERWRITE", overwrite).ok();
        assert_eq!(fs::read_to_string(target.join("large")).unwrap(), "small");
    }
    restore.fails(20, &line);
}

#[test]
fn a_snapshot_must_be_meant() {
    let (repo, source, target) = (Repo::new(), source(), scratch());
    // Of seventeen ids, two begin with the same digit.
    for n in 0..17 {
        fs::write(source.path().join("short"), format!("content {n}")).unwrap();
        repo.mover().backup(source.path()).unwrap();
    }
    let mut ids = repo.mover().snapshot_ids();
    ids.sort();
    let digit = &ids.windows(2).find(|pair| pair[0][..1] == pair[1][..1]).unwrap()[0][..1];
    let restore = |id: &str| repo.call("restore").with("DATA_DIR", target.path()).with("MOVER_SNAPSHOT", id);
    let line = format!("Fatal: failed to find snapshot: {digit}: it is the beginning of several: ");
    let ran = restore(digit).fails(1, &line);
    assert!(ran.last().ends_with("Give more digits of the id"), "{}", ran.last());
    let unknown = "0123456789";
    restore(unknown).fails(1, &format!("Fatal: failed to find snapshot: {unknown}: no matching ID found. "));
    // However little is eligible, an id that does not exist is no empty selection.
    restore(unknown).with("MOVER_HOST", "nobody").fails(1, "Fatal: failed to find snapshot: ");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    // An explicit id is never filtered.
    restore(&ids[0]).with("MOVER_HOST", "nobody").with("MOVER_PATH", "/nowhere").ok();
    assert!(fs::read_to_string(target.path().join("short")).unwrap().starts_with("content "));
}

#[test]
fn what_cannot_be_read_is_3_and_the_rest_is_saved() {
    let (repo, source) = (Repo::new(), source());
    give_away(repo.path());
    let closed = source.path().join("d/text");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    let backup = repo.call("backup").with("DATA_DIR", source.path()).by_nobody();
    let ran = backup.run();
    let line = format!("Fatal: the snapshot is partial: {}: 1 items of the source", source.path().display());
    ran.assert_failed(3, &line);
    assert!(ran.err.contains(&format!("error: {}: ", closed.display())), "{}", ran.err);
    assert!(
        ran.out.lines().any(|line| line.starts_with("snapshot ") && line.ends_with(" saved")),
        "{}",
        ran.out
    );

    let accepted = backup.with("MOVER_PARTIAL", "accept").run();
    assert_eq!(accepted.code, 0, "{}", accepted.err);
    let warning = "Warning: 1 items of the source could not be read";
    assert!(accepted.err.contains(warning), "{}", accepted.err);
    let snapshots = repo.mover().repository.snapshots().unwrap();
    assert!(!snapshots.is_empty());
    for (_, snapshot) in snapshots {
        assert_eq!(snapshot.tags, ["partial"]);
    }
    let target = scratch();
    repo.call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", target.path()).ok();
    assert!(target.path().join("short").exists() && !target.path().join("d/text").exists());
}

/// restic's `ID:folder`: the folder's content alone, without its name.
#[test]
fn a_folder_of_a_snapshot_can_be_meant() {
    let (repo, source) = (Repo::new(), source());
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let restore = |snapshot: &str, target: &Path| {
        let call = repo.call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", target);
        call.with("MOVER_SNAPSHOT", snapshot)
    };
    let id = repo.mover().snapshot_ids().remove(0);
    for part in ["latest:d".to_owned(), format!("{}:/d/", &id[..8]), "latest~0:/d".to_owned()] {
        let target = scratch();
        restore(&part, target.path()).ok();
        let names: Vec<_> =
            fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["text"], "{part}");
    }
    let target = scratch();
    restore("latest:short", target.path())
        .fails(1, "Fatal: cannot restore the folder: short: it is not a folder");
    restore("latest:none", target.path())
        .fails(1, "Fatal: cannot restore the folder: none: the snapshot has no");
    restore("latest:", target.path())
        .fails(2, "Fatal: invalid value: MOVER_SNAPSHOT=latest:. Accepted: an id");
}
