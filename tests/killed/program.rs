//! The binary on a repository in a folder, and the world that it works in.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::fixture::{PASSWORD, copy_folder};
use crate::support::mover::{self, Mover};
use crate::support::{listing, scratch, source};

/// A source in two states, a repository that holds the first, and the lists of both.
pub struct World {
    pub source: TempDir,
    pub repository: TempDir,
    pub lists: [String; 2],
}

impl World {
    /// The second state adds so many files of 1 MiB of random bytes.
    pub fn new(files: usize) -> Self {
        let (source, repository) = (scratch(), scratch());
        mover::create(repository.path(), 2);
        source::every_kind(source.path());
        let first = listing::list(source.path());
        Mover::open(repository.path()).unwrap().backup(source.path()).unwrap();
        source::files(&source.path().join("dir"), files, 1 << 20, 2);
        std::fs::write(source.path().join("short.txt"), "changed").unwrap();
        let second = listing::list(source.path());
        Self { source, repository, lists: [first, second] }
    }

    /// Every snapshot restores to the state it was made of; the first is there.
    #[track_caller]
    pub fn assert_whole(&self, repository: &Path, what: &str) {
        let mover = Mover::open(repository).unwrap();
        let ids = mover.snapshot_ids();
        assert!((1..=3).contains(&ids.len()), "{what}: {ids:?}");
        for (number, id) in ids.iter().enumerate() {
            let list = &self.lists[number.min(1)];
            listing::assert_same(list, &mover.restored(id), &format!("{what}, snapshot {number}"));
        }
    }

    /// A copy with a second snapshot that was removed: its data is what a prune removes.
    pub fn prunable(&self) -> TempDir {
        let copy = scratch();
        copy_folder(self.repository.path(), copy.path());
        assert!(self.backup(copy.path()).output().unwrap().status.success());
        let newest = Mover::open(copy.path()).unwrap().snapshot_ids().pop().unwrap();
        std::fs::remove_file(copy.path().join("snapshots").join(newest)).unwrap();
        copy
    }

    /// `volmover backup` of the source, with packs of 4 MiB.
    pub fn backup(&self, repository: &Path) -> Command {
        let mut command = call("backup", repository);
        command.env("DATA_DIR", self.source.path());
        command
    }

    /// `volmover restore` of the snapshot that `new` made.
    pub fn restore(&self, repository: &Path, target: &Path) -> Command {
        let mut command = call("restore", repository);
        command.env("DATA_DIR", target).env("MOVER_PATH", self.source.path());
        command
    }
}

/// `volmover prune` that leaves nothing unused.
pub fn prune(repository: &Path) -> Command {
    let mut command = call("prune", repository);
    command.env("MOVER_PRUNE_MAX_UNUSED", "0%");
    command
}

fn call(operation: &str, repository: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
    command
        .arg(operation)
        .env_clear()
        .env("RESTIC_REPOSITORY", repository)
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("RESTIC_PACK_SIZE", "4")
        .env("MOVER_THREADS", "2")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
