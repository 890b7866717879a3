//! A store that throttles, loses answers and cuts them short costs time, and nothing else.

use tempfile::TempDir;

use crate::place::Place;
use crate::program;
use crate::s3::{Fault, Profile};
use crate::support::listing;
use crate::support::restic::REFEREES;
use crate::support::source;
use volmover::backend::FileType;

#[test]
fn a_backup_outlives_throttling_and_lost_answers() {
    let folder = TempDir::new().unwrap();
    source::every_kind(folder.path());
    std::fs::write(folder.path().join("chunks"), source::random_bytes(3, 18 << 20)).unwrap();
    let place = Place::server("S3", Profile { bursts: 17, ..Profile::plain() }).with_repository(2);
    let server = place.s3();
    for part in ["/data/", "/index/", "/snapshots/", "/locks/"] {
        server.script("PUT", part, 0, 1, Fault::Lose);
    }
    server.script("GET", "/config", 0, 1, Fault::Cut(20));
    server.script("DELETE", "/locks/", 0, 1, Fault::Lose);
    let before = server.log().len();
    let summary = program::backup(&place, folder.path());
    assert!(server.log().len() - before > 17, "no burst was met");
    assert!(summary["snapshot_id"].is_string(), "{summary:#}");
    for (kind, count) in [(FileType::Snapshot, 1), (FileType::Lock, 0)] {
        assert_eq!(place.backend.list(kind).unwrap().len(), count, "{kind:?}");
    }
    let Some(restic) = place.restic(REFEREES[0]) else { return };
    restic.check();
    server.script("GET", "/data/", 1, 1, Fault::Cut(1000));
    server.script("GET", "/index/", 0, 1, Fault::Cut(10));
    let list = listing::list(folder.path());
    listing::assert_same(&list, &program::restored(&place, folder.path()), "after faults");
}
