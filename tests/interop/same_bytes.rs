//! The same tree gives the same blobs, whoever saves it: a backup by one adds nothing after one by the other.
//!
//! So chunks are cut at the same places, and trees are the same bytes: key order, escaping, names, times.

use jiff::tz::TimeZone;
use serde_json::Value;
use tempfile::TempDir;
use volmover::ops;
use volmover::ops::backup::BackupOptions;

use crate::place::Place;
use crate::referee::backup_all;
use crate::support::mover::backup_options;
use crate::support::restic::REFEREES;
use crate::support::scratch;
use crate::support::source;

#[track_caller]
fn assert_adds_nothing(summary: &Value, what: &str) {
    for figure in ["data_blobs", "tree_blobs", "data_added"] {
        assert_eq!(summary[figure], 0, "{what}: {summary:#}");
    }
    assert!(summary["total_files_processed"].as_u64().unwrap() > 10);
}

/// Both orders, each in a repository of its own, so that each cuts by another polynomial.
fn nothing_is_added(folder: &TempDir, version: &str, repository_version: u32) {
    let what = format!("{version}, repository version {repository_version}");
    let place = Place::folder(repository_version);
    let Some(restic) = place.restic(version) else { return };
    let ours = place.mover().backup(folder.path()).unwrap().summary;
    assert!(ours.data_blobs > 0 && ours.tree_blobs > 0);
    let theirs = restic.backup(folder.path(), &["--force"]);
    assert_adds_nothing(&theirs, &format!("restic after ours, {what}"));
    let snapshots = restic.snapshots();
    assert_eq!(snapshots[0]["tree"], snapshots[1]["tree"]);

    let place = Place::folder(repository_version);
    let theirs = place.restic(version).unwrap().backup(folder.path(), &[]);
    let ours = backup_all(&place.mover(), folder.path());
    let added = (ours.data_blobs, ours.tree_blobs, ours.data_added);
    assert_eq!(added, (0, 0, 0), "ours after restic, {what}");
    assert_eq!(theirs["total_files_processed"], ours.total_files_processed);
    assert_eq!(theirs["total_bytes_processed"], ours.total_bytes_processed);
    assert_eq!((&theirs["files_new"], &theirs["dirs_new"]), (&ours.files_new.into(), &ours.dirs_new.into()));
}

#[test]
fn of_every_kind_of_entry() {
    let folder = scratch();
    source::every_kind(folder.path());
    source::socket(folder.path());
    for version in REFEREES {
        for repository_version in [1, 2] {
            nothing_is_added(&folder, version, repository_version);
        }
    }
}

#[test]
fn of_files_of_every_size() {
    let folder = scratch();
    source::every_size(folder.path());
    nothing_is_added(&folder, REFEREES[0], 2);
}

/// Times inside trees are written in the process's zone; the hour of its changes is in it too.
#[test]
fn in_another_time_zone() {
    let folder = scratch();
    source::every_kind(folder.path());
    for zone in ["Asia/Kolkata", "America/St_Johns"] {
        let place = Place::folder(2);
        let Some(restic) = place.restic(REFEREES[0]) else { return };
        let zones = TimeZone::get(zone).unwrap();
        let options =
            BackupOptions { tree_zone: zones.clone(), zone: zones, ..backup_options(folder.path()) };
        ops::backup::run(&place.mover().session(), options).unwrap();
        let theirs = restic.in_zone(zone).backup(folder.path(), &["--force"]);
        assert_adds_nothing(&theirs, zone);
    }
}

/// Each takes the other's snapshot for its parent, and finds everything unmodified in it.
#[test]
fn the_parent_is_found_across_programs() {
    for version in REFEREES {
        let folder = scratch();
        source::every_kind(folder.path());
        let place = Place::folder(2);
        let Some(restic) = place.restic(version) else { return };
        let ours = place.mover().backup(folder.path()).unwrap().summary;
        let theirs = restic.backup(folder.path(), &[]);
        assert_eq!(theirs["files_unmodified"], ours.files_new, "{theirs:#}");
        assert_eq!(theirs["dirs_unmodified"], ours.dirs_new, "{theirs:#}");
        assert_eq!((&theirs["files_changed"], &theirs["dirs_changed"]), (&0.into(), &0.into()));
        let snapshots = restic.snapshots();
        assert_eq!(snapshots[1]["parent"], snapshots[0]["id"]);

        let place = Place::folder(2);
        let restic = place.restic(version).unwrap();
        restic.backup(folder.path(), &[]);
        std::fs::write(folder.path().join("new"), "new").unwrap();
        let ours = place.mover().backup(folder.path()).unwrap().summary;
        let theirs = &restic.snapshots()[0];
        assert_eq!(ours.parent.as_deref(), theirs["short_id"].as_str());
        assert_eq!(ours.files_unmodified, theirs["summary"]["files_new"].as_u64().unwrap());
        assert_eq!(ours.dirs_unmodified, theirs["summary"]["dirs_new"].as_u64().unwrap());
        assert_eq!((ours.files_new, ours.files_changed, ours.data_blobs), (1, 0, 1));
    }
}

/// A file that is there and whose size, times and inode are as before may have lost its blobs: it is read.
#[test]
fn what_restic_pruned_is_stored_again() {
    let folder = scratch();
    source::files(folder.path(), 4, 5000, 1);
    let place = Place::folder(2);
    let Some(restic) = place.restic(REFEREES[0]) else { return };
    let first = place.mover().backup(folder.path()).unwrap().summary;
    restic.ok(&["forget", "--prune", first.snapshot_id.as_deref().unwrap()]);
    let again = place.mover().backup(folder.path()).unwrap().summary;
    assert_eq!((again.data_blobs, again.tree_blobs), (first.data_blobs, first.tree_blobs));
    restic.check();
}
