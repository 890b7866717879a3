//! The lines of a whole run, in the order in which the original prints them.

use std::fs;

use crate::job::{Job, Mounted, Security, volume_of};
use crate::log::kept;
use crate::scenarios::{KEEP, volume, volumes_can_be_given};

/// Each of these begins one line of the log, in this order, and nothing that the operator shows comes after them.
/// What comes by the other stream may stand anywhere.
#[track_caller]
fn assert_in_order(log: &str, begins: &[&str]) {
    let mut lines = log.lines();
    for begin in begins {
        assert!(lines.any(|line| line.starts_with(begin)), "{begin} is missing, or not in its place:\n{log}");
    }
    assert!(!lines.any(kept), "{log}");
}

#[test]
fn stand_in_their_order() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::empty(), volume(Security::Default.user()));
    let source = Job::source("backup", volume.path()).on(&place).with("FORGET_OPTIONS", KEEP);
    let saved = ["Added to the repository: ", "processed ", "snapshot "];
    let end = ["Restic completed in ", "=== Done ==="];
    let first = [
        "=== Initialize Dir ===",
        "created restic repository ",
        "no parent snapshot found, will read all files",
    ];
    assert_in_order(&source.run().log, &[&first[..], &saved, &end].concat());
    fs::write(volume.path().join("text"), "changed").unwrap();
    assert_in_order(&source.run().log, &[&["using parent snapshot "][..], &saved, &end].concat());
    let target = volume_of(Security::Default.user());
    let restore = Job::destination(target.path()).on(&place);
    assert_in_order(&restore.run().log, &[&["RESTORE_OPTIONS: ", "restoring snapshot "][..], &end].concat());
    let nothing = ["RESTORE_OPTIONS: ", "No eligible snapshots found", "=== No data will be restored ==="];
    assert_in_order(&restore.with("SELECT_PREVIOUS", "9").run().log, &[&nothing[..], &end].concat());
    let empty = volume_of(Security::Default.user());
    let job = Job::source("unlock backup prune", empty.path()).on(&place);
    assert_in_order(&job.run().log, &[&["== Directory is empty skipping backup ==="][..], &end].concat());
}
