//! The mover as process 1: it ends in order when it is told to, and leaves no zombies.

use std::fs;

use rustix::process::Signal;

use crate::job::{Job, Mounted, Security, give};
use crate::scenarios::{KEEP, saved_listing, volume, volumes_can_be_given};
use crate::support::children::wait_until;
use crate::support::listing::{assert_same, list};
use crate::support::source::random_bytes;
use crate::way::Mover;

#[test]
fn a_terminated_backup_leaves_no_lock_and_its_retry_is_whole() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    fs::write(volume.path().join("large"), random_bytes(5, 8 << 20)).unwrap();
    give(volume.path(), Security::Default.user());
    let job = Job::source("backup", volume.path()).on(&place).with("FORGET_OPTIONS", KEEP);
    let mover = Mover::start(&job.clone().with("MOVER_LIMIT_UPLOAD", "1"));
    wait_until("its lock", || place.count("locks") == 1);
    mover.signal(Signal::TERM);
    let ran = mover.finish();
    assert_eq!(ran.code, 143, "{}", ran.log);
    assert!(ran.log.lines().last().unwrap().starts_with("Fatal: "), "{}", ran.log);
    assert_eq!((place.count("locks"), place.count("snapshots")), (0, 0));
    let expected = saved_listing(volume.path());
    job.succeeds();
    let target = crate::job::volume_of(Security::Default.user());
    Job::destination(target.path()).on(&place).succeeds();
    assert_same(&expected, &list(target.path()), "the restored volume");
}
