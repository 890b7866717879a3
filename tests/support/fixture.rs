//! Fixtures: copies of frozen repositories to work on, and damage done to them.
//!
//! `fixtures/README.md` says how each was made. Nothing here writes into `fixtures/`.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::scratch;

/// The password of every fixture.
pub const PASSWORD: &str = "volmover";

/// The fixtures that are whole and hold two snapshots each, of the sources `first` and `second`.
pub const WHOLE: [&str; 6] =
    ["restic-0.14-v1", "restic-0.14-v2", "restic-0.18", "restic-0.19", "restic-0.19-raw", "rustic"];

/// What is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Config,
    Key,
    Snapshot,
    Index,
    DataPack,
    TreePack,
}

impl Part {
    pub const ALL: [Self; 6] =
        [Self::Config, Self::Key, Self::Snapshot, Self::Index, Self::DataPack, Self::TreePack];
}

/// How it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The second half is missing.
    Truncated,
    /// One bit in the middle is another.
    Flipped,
    /// The file is there and empty.
    Empty,
    /// The file is missing.
    Absent,
}

impl Damage {
    pub const ALL: [Self; 4] = [Self::Truncated, Self::Flipped, Self::Empty, Self::Absent];
}

/// The folder `fixtures/`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A copy of a fixture, with all the folders that restic makes.
pub fn copy(name: &str) -> TempDir {
    let copy = scratch();
    copy_folder(&root().join(name), copy.path());
    for folder in ["keys", "locks", "snapshots", "index", "data"] {
        fs::create_dir_all(copy.path().join(folder)).unwrap();
    }
    for byte in 0..=255_u8 {
        fs::create_dir_all(copy.path().join(format!("data/{byte:02x}"))).unwrap();
    }
    copy
}

/// Copies the files of a folder, and the folders that hold any: an empty repository has 256 that do not.
pub fn copy_folder(from: &Path, to: &Path) {
    lay_folder(from, to, |from, to| {
        fs::copy(from, to).unwrap();
    });
}

/// The same files by other names: those of a repository are never written over.
pub fn link_folder(from: &Path, to: &Path) {
    lay_folder(from, to, |from, to| fs::hard_link(from, to).unwrap());
}

fn lay_folder(from: &Path, to: &Path, lay: fn(&Path, &Path)) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            lay_folder(&entry.path(), &target, lay);
        } else {
            fs::create_dir_all(to).unwrap();
            lay(&entry.path(), &target);
        }
    }
}

/// What a restore of a snapshot (`first`, `second`) of a whole fixture gives, in the form of `listing::list`.
pub fn expected(fixture: &str, snapshot: &str) -> String {
    let suffix = if fixture.starts_with("restic-0.14") { "-0.14" } else { "" };
    fs::read_to_string(root().join(format!("expected/{snapshot}{suffix}.list"))).unwrap()
}

/// The path of one file of that kind inside a copy of a fixture: of several, the newest snapshot and the
/// first pack written.
pub fn path_of(copy: &Path, fixture: &str, part: Part) -> PathBuf {
    let files = fs::read_to_string(root().join("expected/files.list")).unwrap();
    let listed = |kind: &str| {
        let mut lines = files.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        lines.find(|line| line[0] == fixture && line[1] == kind).map(|line| copy.join(line[2]))
    };
    let only = |folder: &str| {
        let mut paths: Vec<_> =
            fs::read_dir(copy.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.into_iter().next()
    };
    match part {
        Part::Config => Some(copy.join("config")),
        Part::Key => only("keys"),
        Part::Snapshot => listed("snapshot-2").or_else(|| listed("snapshot-1")),
        Part::Index => only("index"),
        Part::DataPack => listed("data"),
        Part::TreePack => listed("tree"),
    }
    .unwrap_or_else(|| panic!("{fixture} has no {part:?}"))
}

/// Damages one file of a copy of a fixture, and returns its path.
pub fn damage(copy: &Path, fixture: &str, part: Part, damage: Damage) -> PathBuf {
    let path = path_of(copy, fixture, part);
    damage_file(&path, damage);
    path
}

/// Damages a file.
pub fn damage_file(path: &Path, damage: Damage) {
    let mut content = fs::read(path).unwrap();
    let middle = content.len() / 2;
    fs::remove_file(path).unwrap();
    match damage {
        Damage::Truncated => content.truncate(middle),
        Damage::Flipped => content[middle] ^= 1,
        Damage::Empty => content.clear(),
        Damage::Absent => return,
    }
    fs::write(path, content).unwrap();
}
