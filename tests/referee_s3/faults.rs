//! A store that throttles, loses answers and cuts them short costs time, and nothing else.

use crate::place::Place;
use crate::program;
use crate::s3::{Fault, Profile};
use crate::support::listing;
use crate::support::restic::REFEREES;
use crate::support::scratch;
use crate::support::source;
use volmover::backend::FileType;

#[test]
fn a_backup_outlives_throttling_and_lost_answers() {
    let folder = scratch();
    source::every_kind(folder.path());
    std::fs::write(folder.path().join("chunks"), source::random_bytes(3, 18 << 20)).unwrap();
    let place = Place::server("S3", Profile::plain()).with_repository(2);
    let server = place.s3();
    server.script("PUT", "/data/", 0, 3, Fault::Answer(429, "TooManyRequests"));
    for part in ["/data/", "/index/", "/snapshots/"] {
        server.script("PUT", part, 0, 1, Fault::Lose);
    }
    server.script("DELETE", "/locks/", 0, 1, Fault::Lose);
    let summary = program::backup(&place, folder.path());
    assert!(server.count("PUT", "/data/") >= 3 + 3, "the burst and a lost answer come on top of the packs");
    assert_eq!((server.count("PUT", "/index/"), server.count("PUT", "/snapshots/")), (2, 2));
    assert!(summary["snapshot_id"].is_string(), "{summary:#}");
    for (kind, count) in [(FileType::Snapshot, 1), (FileType::Lock, 0)] {
        assert_eq!(place.backend.list(kind).unwrap().len(), count, "{kind:?}");
    }
    let Some(restic) = place.restic(REFEREES[0]) else { return };
    restic.check();
    server.script("GET", "/data/", 1, 1, Fault::Cut(1000));
    let list = listing::list(folder.path());
    listing::assert_same(&list, &program::restored(&place, folder.path()), "after faults");
}
