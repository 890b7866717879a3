//! Prune on object stores: what goes is deleted many at once, and restic finds what is left sound.

use std::fs;

use volmover::ops;
use volmover::ops::backup::BackupOptions;
use volmover::ops::forget::{Choice, ForgetRequest};

use crate::place::Place;
use crate::s3::Profile;
use crate::support::listing;
use crate::support::mover::{backup_options, prune_options};
use crate::support::restic::REFEREES;
use crate::support::scratch;
use crate::support::source;
use crate::world::{assert_clean, forget_and_prune};

/// Three snapshots of which the first goes; returns how many packs were deleted.
fn prune_in(place: &Place) -> u64 {
    let folder = scratch();
    let mover = place.mover();
    let mut lists = Vec::new();
    for round in 0..3 {
        for file in source::files(folder.path(), 30, 40 << 10, round) {
            if file.to_str().unwrap().ends_with(char::from(b'0' + round as u8)) {
                fs::write(file, "small").unwrap();
            }
        }
        let options = BackupOptions { pack_bytes: 64 << 10, ..backup_options(folder.path()) };
        ops::backup::run(&mover.session(), options).unwrap();
        lists.push(listing::list(folder.path()));
    }
    let ids = mover.snapshot_ids();
    let session = mover.session();
    let first = ForgetRequest {
        choice: Choice::Ids(vec![ids[0].clone()]),
        prune: None,
        ..forget_and_prune(1, prune_options(1))
    };
    assert_eq!(ops::forget::run(&session, &first).unwrap().removed, ids[..1]);
    let summary = ops::prune::run(&session, &prune_options(64 << 10)).unwrap();
    assert_clean(&mover, place.name);
    for (id, list) in ids.iter().zip(&lists).skip(1) {
        listing::assert_same(list, &mover.restored(id), place.name);
    }
    if let Some(restic) = place.restic(REFEREES[0]) {
        restic.check();
    }
    summary.packs_deleted
}

#[test]
fn in_plain_s3() {
    let place = Place::server("S3", Profile::plain()).with_repository(2);
    let deleted = prune_in(&place);
    assert!(deleted > 10, "{deleted} packs");
    for folder in ["/data/", "/index/", "/snapshots/"] {
        assert_eq!(place.s3().count("DELETE", folder), 0, "{folder} is deleted in bulk");
    }
    // One request for the snapshot, one for the index files, one for every fifty packs.
    assert_eq!(place.s3().count("POST", "delete") as u64, 2 + deleted.div_ceil(50));
}

#[test]
fn in_r2() {
    prune_in(&Place::r2(2));
}

#[test]
fn in_minio() {
    for version in [1, 2] {
        let Some(place) = Place::minio(version) else { return };
        prune_in(&place);
    }
}
