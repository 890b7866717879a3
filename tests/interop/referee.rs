//! What one program wrote, the other finds whole and restores equal: content, modes, owners, times, links,
//! xattrs, special files.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::place::Place;
use crate::support::fixture::{self, WHOLE};
use crate::support::listing;
use crate::support::mover::{self, Mover};
use crate::support::restic::REFEREES;
use crate::support::{is_root, scratch, side_by_side, skipped, source};

/// Every kind of entry and a file of several chunks; and its list. The socket is in no backup.
fn make_source() -> (TempDir, String) {
    let folder = scratch();
    source::every_kind(folder.path());
    fs::write(folder.path().join("chunks"), source::random_bytes(3, 5 << 20)).unwrap();
    let list = listing::list(folder.path());
    source::socket(folder.path());
    (folder, list)
}

fn each_referee(make: impl Fn() -> Option<Place> + Sync) {
    side_by_side(&REFEREES, |version| both_ways(&make, version));
}

fn both_ways(make: impl Fn() -> Option<Place>, version: &str) {
    let (source, list) = make_source();
    let Some(place) = make() else { return };
    let Some(restic) = place.restic(version) else { return };
    let what = |direction: &str| format!("{direction}, {version} on {}", place.name);
    let backup = place.mover().backup(source.path()).unwrap();
    assert_eq!(backup.summary.errors, 0);
    restic.check();
    let target = scratch();
    restic.restore("latest", target.path());
    listing::assert_same(&list, &listing::list(target.path()), &what("ours by restic"));
    listing::assert_same(&list, &place.mover().restored("latest"), &what("ours by ours"));

    let place = make().unwrap();
    let restic = place.restic(version).unwrap();
    restic.backup(source.path(), &[]);
    listing::assert_same(&list, &place.mover().restored("latest"), &what("restic's by ours"));
}

#[test]
fn in_a_folder_version_2() {
    each_referee(|| Some(Place::folder(2)));
}

#[test]
fn in_a_folder_version_1() {
    each_referee(|| Some(Place::folder(1)));
}

#[test]
fn in_r2() {
    each_referee(|| Some(Place::r2(2)));
}

#[test]
fn in_minio() {
    each_referee(|| Place::minio(2));
}

/// Version 1 knows no compression: restic 0.14 must find nothing in it that it cannot read.
#[test]
fn the_oldest_restic_reads_ours() {
    for version in [1, 2] {
        let place = Place::folder(version);
        let Some(restic) = place.restic("restic-0.14") else { return };
        let folder = scratch();
        source::files(folder.path(), 7, 3000, 1);
        fs::write(folder.path().join("zeros"), vec![0; 2 << 20]).unwrap();
        place.mover().backup(folder.path()).unwrap();
        restic.check();
        let target = scratch();
        restic.restore("latest", target.path());
        listing::assert_same(&listing::list(folder.path()), &listing::list(target.path()), "by restic 0.14");
    }
}

#[test]
fn every_whole_fixture_restores_to_what_is_expected() {
    if !is_root() {
        return skipped("fixtures: only root can restore owners and devices");
    }
    for name in WHOLE {
        let copy = fixture::copy(name);
        let mover = Mover::open(copy.path()).unwrap();
        let ids = mover.snapshot_ids();
        assert_eq!(ids.len(), 2, "{name}");
        for (id, snapshot) in ids.iter().zip(["first", "second"]) {
            let what = format!("{name}, {snapshot}");
            listing::assert_same(&fixture::expected(name, snapshot), &mover.restored(id), &what);
        }
    }
}

/// And backups into them go on from what is there.
#[test]
fn every_whole_fixture_takes_another_backup() {
    for name in WHOLE {
        let copy = fixture::copy(name);
        let mover = Mover::open(copy.path()).unwrap();
        let folder = scratch();
        source::files(folder.path(), 3, 100, 1);
        mover.backup(folder.path()).unwrap();
        assert_eq!(mover.snapshot_ids().len(), 3);
        listing::assert_same(&listing::list(folder.path()), &mover.restored("latest"), name);
        let Some(restic) = crate::support::restic::Restic::on(REFEREES[0], copy.path()) else { continue };
        restic.check();
    }
}

fn tree_of(snapshot: &serde_json::Value) -> &str {
    snapshot["tree"].as_str().unwrap()
}

/// A repository that restic wrote raw holds the same blobs: nothing is added for being compressed now.
#[test]
fn a_backup_of_what_restic_stored_raw_adds_nothing() {
    let copy = scratch();
    mover::create(copy.path(), 2);
    let folder = scratch();
    source::files(folder.path(), 5, 5000, 1);
    let Some(restic) = crate::support::restic::Restic::on(REFEREES[0], copy.path()) else { return };
    restic.with("RESTIC_COMPRESSION", "off").backup(folder.path(), &[]);
    let summary = backup_all(&Mover::open(copy.path()).unwrap(), folder.path());
    assert_eq!((summary.data_blobs, summary.tree_blobs), (0, 0));
    let restic = crate::support::restic::Restic::on(REFEREES[0], copy.path()).unwrap();
    let snapshots = restic.snapshots();
    assert_eq!(tree_of(&snapshots[0]), tree_of(&snapshots[1]));
}

/// A backup that compares with nothing and so reads everything, as restic's with `--force`.
pub(crate) fn backup_all(mover: &Mover, source: &Path) -> volmover::report::BackupSummary {
    let options =
        volmover::ops::backup::BackupOptions { host: "another".to_owned(), ..mover::backup_options(source) };
    let summary = volmover::ops::backup::run(&mover.session(), options).unwrap().summary;
    assert_eq!((summary.parent.as_deref(), summary.files_unmodified), (None, 0));
    summary
}
