//! A repository of which every blob is a pack of its own, so that any single blob can be lost; and what the
//! tests ask of restic and of volmover alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use volmover::check::Reading;
use volmover::error::{Error, ErrorKind};
use volmover::ops;
use volmover::report::CheckSummary;

use crate::support::clock::SleepClock;
use crate::support::dice::Dice;
use crate::support::mover::{Mover, backup_options, create, local};
use crate::support::restic::Restic;
use crate::support::scratch;

/// Bytes that neither compress nor repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(seed | 1);
    (0..length).map(|_| dice.below(256) as u8).collect()
}

/// Two snapshots of a few nested folders; the second differs in one file. One pack a blob.
pub fn one_blob_a_pack() -> (TempDir, TempDir) {
    let (source, repository) = (scratch(), scratch());
    create(repository.path(), 2);
    let root = source.path();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::create_dir_all(root.join("other")).unwrap();
    fs::write(root.join("a/large"), noise(7, 5 << 20)).unwrap();
    fs::write(root.join("a/b/small"), "small").unwrap();
    fs::write(root.join("a/b/c/deep"), "deep").unwrap();
    fs::write(root.join("other/same"), "small").unwrap();
    fs::write(root.join("other/empty"), "").unwrap();
    std::os::unix::fs::symlink("a", root.join("link")).unwrap();
    let clock = Arc::new(SleepClock::new());
    let mover = Mover::open_at(local(repository.path()), Arc::clone(&clock) as _).unwrap();
    let options = || ops::backup::BackupOptions { pack_bytes: 1, ..backup_options(root) };
    ops::backup::run(&mover.session(), options()).unwrap();
    fs::write(root.join("other/new"), "new").unwrap();
    clock.advance(Duration::from_secs(1));
    ops::backup::run(&mover.session(), options()).unwrap();
    (source, repository)
}

/// All files below `data/`, sorted.
pub fn packs(repository: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(repository.join("data")).unwrap();
    let mut all: Vec<PathBuf> = folders
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    all.sort();
    all
}

/// A mover that waits for nothing: taking a lock takes no time.
pub fn open(folder: &Path) -> Result<Mover, Error> {
    Mover::open_at(local(folder), Arc::new(SleepClock::new()))
}

/// Our check of a folder: what it came to, and what it said.
pub fn check(folder: &Path, reading: Reading) -> Result<(CheckSummary, Vec<String>), Error> {
    let mover = open(folder)?;
    let summary = ops::check::run(&mover.session(), reading)?;
    Ok((summary, mover.monitor.problems()))
}

/// The exit code of our check of everything.
pub fn exit_code(folder: &Path) -> u8 {
    match check(folder, Reading::All) {
        Ok((summary, _)) => ops::check::verdict(&summary, "here").map_or(0, |error| error.kind.exit_code()),
        Err(error) => error.kind.exit_code(),
    }
}

/// Panics unless both find nothing wrong in everything.
#[track_caller]
pub fn assert_clean(folder: &Path) {
    let (summary, problems) = check(folder, Reading::All).unwrap();
    assert_eq!((summary.errors, &problems[..]), (0, &[][..]));
    assert_eq!(ops::check::verdict(&summary, "here"), None);
    if let Some(restic) = Restic::on("restic-0.19", folder) {
        restic.ok(&["check", "--read-data", "--no-lock"]);
    }
}

/// What `restic check --read-data --json` sums up; an error for one that does not get so far.
pub fn restic_summary(restic: &Restic) -> (bool, Value) {
    let output = restic.run(&["check", "--read-data", "--no-lock", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let summary = lines.find(|line| line["message_type"] == "summary");
    (output.status.success(), summary.unwrap_or(Value::Null))
}

/// The kind of damage that a check ends in.
pub const DAMAGED: u8 = ErrorKind::Damaged as u8;
