//! How often a backup asks the store, next to restic without a cache: requests cost money and round trips.

use std::io::Write;

use crate::place::Place;
use crate::program;
use crate::s3::Profile;
use crate::support::restic::REFEREES;
use crate::support::scratch;
use crate::support::source;

#[test]
fn a_backup_asks_no_more_often_than_restic() {
    let folder = scratch();
    source::files(folder.path(), 30, 20_000, 1);
    let place = Place::server("S3", Profile::plain());
    let (ours, theirs) = (place.beside("ours").with_repository(2), place.beside("theirs").with_repository(2));
    let Some(restic) = theirs.restic(REFEREES[0]) else { return };
    let server = place.s3();
    let count = |work: &dyn Fn()| {
        let before = server.log().len();
        work();
        server.log().split_off(before)
    };
    let our_backup = || drop(program::backup(&ours, folder.path()));
    let their_backup = || drop(restic.backup(folder.path(), &[]));
    let first = (count(&our_backup), count(&their_backup));
    let unchanged = (count(&our_backup), count(&their_backup));
    for (what, (ours, theirs)) in [("first", &first), ("unchanged", &unchanged)] {
        writeln!(std::io::stderr(), "{what} backup: {} requests, restic {}", ours.len(), theirs.len())
            .unwrap();
        assert!(ours.len() <= theirs.len(), "{what}: ours {ours:#?}\nrestic's {theirs:#?}");
    }
}
