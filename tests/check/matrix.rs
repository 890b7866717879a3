//! The matrix of damage: every kind of file, damaged in every way, against the exit code of a check of all
//! data. We find what restic finds, and say where.
//!
//! Cells that cannot be known (0): a snapshot or a lock that is gone leaves no trace, and an empty lock is
//! nobody's. Without a config there is no repository (10). With the only key gone or damaged nothing can be
//! opened and so nothing be checked: that is told as damage too (21), as a key file has the hash that it is
//! named by; a key that opens with another password alone would be a wrong password (12).

use std::fs;
use std::path::{Path, PathBuf};

use volmover::check::Reading;
use volmover::ops;
use volmover::repository::lock::{Lock, LockMode};

use crate::made::{check, open, restic_summary};
use crate::support::fixture::{self, Damage, Part, damage_file, path_of};
use crate::support::restic::Restic;
use crate::support::scaled;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Gone,
    Truncated,
    Flipped,
    Swapped,
    Empty,
}

const WAYS: [Way; 5] = [Way::Gone, Way::Truncated, Way::Flipped, Way::Swapped, Way::Empty];

/// Gone, truncated, flipped, swapped, empty. `None` is a lock.
const EXPECTED: [(Option<Part>, [u8; 5]); 7] = [
    (Some(Part::Config), [10, 21, 21, 21, 21]),
    (Some(Part::Key), [21, 21, 21, 21, 21]),
    (Some(Part::Snapshot), [0, 21, 21, 21, 21]),
    (Some(Part::Index), [21, 21, 21, 21, 21]),
    (Some(Part::TreePack), [21, 21, 21, 21, 21]),
    (Some(Part::DataPack), [21, 21, 21, 21, 21]),
    (None, [0, 21, 21, 21, 0]),
];

/// Our exit code for a check of everything, and all that was said.
fn ours(folder: &Path) -> (u8, String) {
    match check(folder, Reading::All) {
        Ok((summary, problems)) => {
            let code = ops::check::verdict(&summary, "here").map_or(0, |error| error.kind.exit_code());
            (code, problems.join("\n"))
        }
        Err(error) => (error.kind.exit_code(), error.to_string()),
    }
}

/// Whether restic finds something. In the lock's row it takes a lock itself: where it cannot read one that is
/// there it waits 35 s and fails, which is not waited for here.
fn restic_finds(folder: &Path, part: Option<Part>) -> Option<bool> {
    let restic = Restic::on("restic-0.19", folder)?;
    Some(match part {
        Some(_) => !restic_summary(&restic).0,
        None => !restic.run(&["check", "--read-data"]).status.success(),
    })
}

/// Another file of the same kind; for those that there is one of, one of another repository.
fn other(copy: &Path, path: &Path) -> PathBuf {
    let relative = path.strip_prefix(copy).unwrap();
    let kind = relative.components().next().unwrap().as_os_str().to_str().unwrap();
    let folder = match kind {
        "config" => return fixture::root().join("small/config"),
        "keys" => fixture::root().join("two-keys/keys"),
        "locks" => fixture::root().join("stale-lock/locks"),
        _ => copy.join(kind),
    };
    let mut all = Vec::new();
    let mut rest = vec![folder];
    while let Some(folder) = rest.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() { rest.push(entry) } else { all.push(entry) }
        }
    }
    all.sort();
    // One index alone: then another repository's.
    let found = all.into_iter().find(|entry| entry != path);
    found.unwrap_or_else(|| only_file(&fixture::root().join("small").join(kind)))
}

fn only_file(folder: &Path) -> PathBuf {
    fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
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

/// The path of a shared lock that nobody holds any more.
fn lock(copy: &Path) -> PathBuf {
    let mover = open(copy).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let held =
        Lock::acquire(&mover.repository, LockMode::Shared, &mover.locks, &mover.monitor, &stop).unwrap();
    let path = only_file(&copy.join("locks"));
    let content = fs::read(&path).unwrap();
    held.release().unwrap();
    fs::write(&path, content).unwrap();
    path
}

/// What must be named: the file, and for one that is gone without a trace of its name its folder or what it
/// held.
fn place(copy: &Path, path: &Path, part: Option<Part>, way: Way) -> String {
    match (part, way) {
        (Some(Part::Key), Way::Gone) => "key".to_owned(),
        (Some(Part::Index), Way::Gone) => "no index lists".to_owned(),
        (Some(Part::Config), _) => "config".to_owned(),
        _ => path.file_name().unwrap().to_str().unwrap_or_else(|| panic!("{}", copy.display())).to_owned(),
    }
}

#[test]
fn every_cell_has_its_code_and_none_that_restic_finds_is_missed() {
    let mut wrong = Vec::new();
    let fixtures: &[&str] = if scaled(1) > 1 { &fixture::WHOLE } else { &["restic-0.19"] };
    for (name, (part, codes)) in fixtures.iter().flat_map(|name| EXPECTED.iter().map(move |row| (name, row)))
    {
        for (way, expected) in WAYS.into_iter().zip(*codes) {
            let copy = fixture::copy(name);
            let path = part.map_or_else(|| lock(copy.path()), |part| path_of(copy.path(), name, part));
            harm(copy.path(), &path, way);
            let (code, said) = ours(copy.path());
            let cell = format!("{name} {part:?} {way:?}: {code} for {expected}: {said}");
            let place = place(copy.path(), &path, *part, way);
            if code != expected || (code != 0 && !said.contains(&place)) {
                wrong.push(cell.clone());
            }
            if part.is_none() && expected != 0 {
                continue;
            }
            match restic_finds(copy.path(), *part) {
                Some(finds) if finds != (expected != 0) => wrong.push(format!("{cell}: restic: {finds}")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
