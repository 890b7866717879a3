//! The matrix of damage: every kind of file, damaged in every way, against the exit code of a check of all
//! data. Where restic finds something, so must we.
//!
//! Cells that cannot be known: a snapshot that is gone leaves no trace, nor does a lock. Without a
//! config there is no repository (10). With the only key gone or damaged nothing can be opened and so nothing
//! be checked: that is told as damage too (21), as a key file has the hash that it is named by; a key that
//! opens with another password alone would be a wrong password (12).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volmover::check::Reading;
use volmover::ops;
use volmover::repository::lock::{Lock, LockMode};

use crate::made::restic_summary;
use crate::support::clock::SleepClock;
use crate::support::fixture::{self, Damage, Part, damage_file, path_of};
use crate::support::mover::{Mover, local};
use crate::support::restic::Restic;

const FIXTURE: &str = "restic-0.19";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Gone,
    Truncated,
    Flipped,
    Swapped,
    Empty,
}

const WAYS: [Way; 5] = [Way::Gone, Way::Truncated, Way::Flipped, Way::Swapped, Way::Empty];

/// Gone, truncated, flipped, swapped, empty.
const EXPECTED: [(Option<Part>, [u8; 5]); 7] = [
    (Some(Part::Config), [10, 21, 21, 21, 21]),
    (Some(Part::Key), [21, 21, 21, 21, 21]),
    (Some(Part::Snapshot), [0, 21, 21, 21, 21]),
    (Some(Part::Index), [21, 21, 21, 21, 21]),
    (Some(Part::TreePack), [21, 21, 21, 21, 21]),
    (Some(Part::DataPack), [21, 21, 21, 21, 21]),
    (None, [0, 21, 21, 21, 0]),
];

/// Our exit code, on a clock that does not wait.
fn code(folder: &Path) -> u8 {
    let checked = Mover::open_at(local(folder), Arc::new(SleepClock::new()))
        .and_then(|mover| ops::check::run(&mover.session(), Reading::All));
    match checked {
        Ok(summary) => ops::check::verdict(&summary, "here").map_or(0, |error| error.kind.exit_code()),
        Err(error) => error.kind.exit_code(),
    }
}

/// Another file of the same kind; for those that there is one of, one of another repository.
fn other(copy: &Path, path: &Path) -> PathBuf {
    let relative = path.strip_prefix(copy).unwrap();
    let kind = relative.components().next().unwrap().as_os_str().to_str().unwrap();
    if kind == "config" {
        return fixture::root().join("restic-0.18/config");
    }
    let folder = if kind == "keys" { fixture::root().join("restic-0.18/keys") } else { copy.join(kind) };
    let mut all = Vec::new();
    let mut rest = vec![folder];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() { rest.push(entry) } else { all.push(entry) }
        }
    }
    all.sort();
    all.into_iter().find(|entry| entry != path).unwrap()
}

fn harm(copy: &Path, path: &Path, way: Way) {
    match way {
        Way::Gone => damage_file(path, Damage::Absent),
        Way::Truncated => damage_file(path, Damage::Truncated),
        Way::Flipped => damage_file(path, Damage::Flipped),
        Way::Empty => damage_file(path, Damage::Empty),
        Way::Swapped => {
            let content = fs::read(other(copy, path)).unwrap();
            fs::remove_file(path).unwrap();
            fs::write(path, content).unwrap();
        }
    }
}

#[test]
fn every_cell_has_its_code_and_none_that_restic_finds_is_missed() {
    let mut found = Vec::new();
    for (part, codes) in EXPECTED {
        for (way, expected) in WAYS.into_iter().zip(codes) {
            let copy = fixture::copy(FIXTURE);
            let holder = part.is_none().then(|| {
                let mover = Mover::open(copy.path()).unwrap();
                let stop = std::sync::atomic::AtomicBool::new(false);
                let take = || {
                    Lock::acquire(&mover.repository, LockMode::Shared, &mover.locks, &mover.monitor, &stop)
                };
                [take().unwrap(), take().unwrap()]
            });
            let path = match part {
                Some(part) => path_of(copy.path(), FIXTURE, part),
                None => fs::read_dir(copy.path().join("locks")).unwrap().next().unwrap().unwrap().path(),
            };
            harm(copy.path(), &path, way);
            found.push((part, way, code(copy.path()), expected));
            drop(holder);
            // restic waits 35 s for a lock that cannot be read, and refuses any other one.
            if part.is_none() {
                continue;
            }
            let Some(restic) = Restic::on("restic-0.19", copy.path()) else { continue };
            let (clean, _) = restic_summary(&restic);
            assert!(clean || expected != 0, "{part:?} {way:?}: restic finds what we do not");
        }
    }
    let wrong: Vec<_> = found.iter().filter(|(_, _, code, expected)| code != expected).collect();
    assert!(wrong.is_empty(), "cell, our code, expected: {wrong:#?}");
}
