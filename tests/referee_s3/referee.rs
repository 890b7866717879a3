//! What the binary wrote, restic finds sound and restores equal, and the reverse, on every store.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::place::Place;
use crate::program;
use crate::s3::{Profile, S3Server};
use crate::support::listing;
use crate::support::restic::REFEREES;
use crate::support::source;
use crate::support::{scratch, side_by_side};

/// Every kind of entry, and what fills more than one pack; and its list. The socket is in no backup.
fn make_source() -> (TempDir, String) {
    let folder = scratch();
    source::every_kind(folder.path());
    fs::write(folder.path().join("chunks"), source::random_bytes(3, 18 << 20)).unwrap();
    let list = listing::list(folder.path());
    source::socket(folder.path());
    (folder, list)
}

#[track_caller]
fn assert_adds_nothing(summary: &serde_json::Value, what: &str) {
    for figure in ["data_blobs", "tree_blobs", "data_added"] {
        assert_eq!(summary[figure], 0, "{what}: {summary:#}");
    }
    assert!(summary["total_files_processed"].as_u64().unwrap() > 10);
}

/// Both places hold a repository without snapshots.
fn both_ways(source: &Path, list: &str, version: &str, ours: &Place, theirs: &Place) {
    let what = |direction: &str| format!("{direction}, {version} on {}", ours.name);
    let Some(restic) = ours.restic(version) else { return };
    let first = program::backup(ours, source);
    assert!(first["data_blobs"].as_u64().unwrap() > 10, "{first:#}");
    assert_adds_nothing(&program::backup(ours, source), &what("ours after ours"));
    assert_adds_nothing(&restic.backup(source, &["--force"]), &what("restic after ours"));
    restic.check();
    let target = scratch();
    restic.restore("latest", target.path());
    listing::assert_same(list, &listing::list(target.path()), &what("ours by restic"));

    let restic = theirs.restic(version).unwrap();
    restic.backup(source, &[]);
    listing::assert_same(list, &program::restored(theirs, source), &what("restic's by ours"));
    assert_adds_nothing(&program::backup(theirs, source), &what("ours after restic"));
    restic.check();
}

fn in_server(name: &'static str, profile: &Profile) {
    let (source, list) = make_source();
    side_by_side(&REFEREES, |version| {
        let ours = Place::server(name, profile.clone()).with_repository(2);
        let theirs = ours.beside("another").with_repository(2);
        both_ways(source.path(), &list, version, &ours, &theirs);
        assert_eq!(open_uploads(ours.s3()), 0, "uploads that nobody ended cost money");
    });
}

fn open_uploads(server: &S3Server) -> usize {
    server.contents(|contents| contents.open_uploads())
}

#[test]
fn in_plain_s3() {
    in_server("S3", &Profile::plain());
}

#[test]
fn in_r2() {
    // A burst costs our retries, which are real here, 5 s.
    let profile = Profile { bursts: 67, ..Profile::r2() };
    in_server("R2", &profile);
}

#[test]
fn in_minio() {
    let Some(minio) = Place::empty_minio() else { return };
    let (source, list) = make_source();
    side_by_side(&REFEREES, |version| {
        for format in [1, 2] {
            let [ours, theirs] = ["ours", "theirs"]
                .map(|whose| minio.beside(&format!("{version}/{format}/{whose}")).with_repository(format));
            both_ways(source.path(), &list, version, &ours, &theirs);
        }
    });
}

/// With the keys that each makes by itself: the first backup creates the repository, and restic opens it;
/// restic creates one of version 1, and the binary goes on in version 1.
#[test]
fn each_goes_on_in_what_the_other_created() {
    let Some(minio) = Place::empty_minio() else { return };
    let Some(restic) = minio.restic(REFEREES[0]) else { return };
    let folder = scratch();
    source::files(folder.path(), 5, 5000, 1);
    let list = listing::list(folder.path());
    program::backup(&minio, folder.path());
    restic.check();
    let config = |restic: &crate::support::restic::Restic| -> serde_json::Value {
        serde_json::from_str(&restic.ok(&["cat", "config"])).unwrap()
    };
    assert_eq!(config(&restic)["version"], 2);

    let theirs = minio.beside("version-1");
    let restic = theirs.restic(REFEREES[0]).unwrap();
    restic.ok(&["init", "--repository-version", "1"]);
    program::backup(&theirs, folder.path());
    assert_eq!(config(&restic)["version"], 1);
    restic.check();
    let target = scratch();
    restic.restore("latest", target.path());
    listing::assert_same(&list, &listing::list(target.path()), "version 1");
}
