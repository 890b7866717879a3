//! Damage to any file of a repository is told in one line that names the place, with the right exit code,
//! and nothing panics.
//!
//! Part × damage × operation: {config, key, snapshot, index, data pack, tree pack} × {truncated, a flipped
//! bit, empty, gone} × {snapshots, backup, restore}. Opening comes with each of them.
#![allow(clippy::match_same_arms, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::fixture::{self, Damage, Part, copy_folder, damage_file};
use support::mover::{self, Mover};
use support::{listing, scratch, source};
use tempfile::TempDir;
use volmover::backend::fault::{Fault, Rule};
use volmover::backend::memory::MemoryBackend;
use volmover::backend::record::Request;
use volmover::backend::{Backend, FileType};
use volmover::clock::SystemClock;
use volmover::error::{Error, ErrorKind, Result};
use volmover::ops::restore::Outcome;
use volmover::repository::blob::BlobType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Snapshots,
    Backup,
    Restore,
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It cannot be noticed, or does no harm.
    Fine,
    /// There is nothing to restore.
    Nothing,
    /// This exit code, and a line that names the damaged file.
    Named(u8),
    /// This exit code; what is named is another thing (the blob that is missing, the whole repository).
    Fails(u8),
}

use Expected::{Fails, Fine, Named, Nothing};

fn expected(part: Part, damage: Damage, operation: Operation) -> Expected {
    use Operation::{Backup, Restore, Snapshots};
    match (part, damage, operation) {
        (Part::Config, Damage::Absent, _) => Fails(10),
        (Part::Key, Damage::Absent, _) => Fails(21),
        (Part::Config | Part::Key, _, _) => Named(21),
        (Part::Snapshot, Damage::Absent, Restore) => Nothing,
        (Part::Snapshot, Damage::Absent, Snapshots | Backup) => Fine,
        (Part::Snapshot, _, _) => Named(21),
        (_, _, Snapshots) => Fine,
        (Part::Index, Damage::Absent, Restore) => Fails(21),
        // Everything is stored again, and what it named is found again.
        (Part::Index, Damage::Absent, Backup) => Fine,
        (Part::Index, _, _) => Named(21),
        // A backup reads no data pack: what restic's does not notice either.
        (Part::DataPack, _, Backup) => Fine,
        (Part::DataPack | Part::TreePack, _, Restore) => Named(21),
        // What it held would be missing from the new snapshot too.
        (Part::TreePack, _, Backup) => Named(21),
    }
}

/// A repository with one snapshot of a source, to be copied.
struct World {
    source: TempDir,
    repository: TempDir,
}

impl World {
    fn new() -> Self {
        let (source, repository) = (scratch(), scratch());
        mover::create(repository.path(), 2);
        source::files(source.path(), 4, 2000, 1);
        Mover::open(repository.path()).unwrap().backup(source.path()).unwrap();
        Self { source, repository }
    }

    fn copy(&self) -> TempDir {
        let copy = scratch();
        copy_folder(self.repository.path(), copy.path());
        copy
    }

    fn path_of(&self, copy: &Path, part: Part) -> PathBuf {
        let only = |folder: &str| fs::read_dir(copy.join(folder)).unwrap().next().unwrap().unwrap().path();
        match part {
            Part::Config => copy.join("config"),
            Part::Key => only("keys"),
            Part::Snapshot => only("snapshots"),
            Part::Index => only("index"),
            Part::DataPack => self.pack(copy, BlobType::Data),
            Part::TreePack => self.pack(copy, BlobType::Tree),
        }
    }

    /// The only pack of a kind.
    fn pack(&self, copy: &Path, kind: BlobType) -> PathBuf {
        let mover = Mover::open(self.repository.path()).unwrap();
        let (_, snapshot) = mover.repository.snapshots().unwrap().pop().unwrap();
        let index = mover.repository.load_index().unwrap();
        let root = index.lookup(BlobType::Tree, &snapshot.tree).unwrap().pack;
        let all = mover.repository.ids(volmover::backend::FileType::Pack).unwrap();
        assert_eq!(all.len(), 2);
        let pack = all.into_iter().find(|pack| (*pack == root) == (kind == BlobType::Tree)).unwrap();
        copy.join(format!("data/{}/{}", &pack.hex()[..2], pack.hex()))
    }
}

fn run(operation: Operation, repository: &Path, source: &Path) -> Result<bool> {
    let mover = Mover::open(repository)?;
    match operation {
        Operation::Snapshots => mover.repository.snapshots().map(|_| true),
        Operation::Backup => mover.backup(source).map(|_| true),
        Operation::Restore => {
            let target = scratch();
            let outcome = mover.restore("latest", target.path())?;
            Ok(matches!(outcome, Outcome::Restored(_)))
        }
    }
}

/// The operator's line: one, short, and with the exit code.
#[track_caller]
fn assert_line(error: &Error, exit_code: u8, what: &str) {
    let line = error.to_string();
    assert_eq!(error.kind.exit_code(), exit_code, "{what}: {line}");
    assert!(!line.contains(['\n', '\r']) && "Fatal: ".len() + line.len() < 512, "{what}: {line}");
    assert!(error.next.is_some(), "{what} says nothing of what to do next: {line}");
}

#[test]
fn every_part_every_damage_every_operation() {
    let world = World::new();
    for part in Part::ALL {
        for damage in Damage::ALL {
            for operation in [Operation::Snapshots, Operation::Backup, Operation::Restore] {
                let what = format!("{part:?}, {damage:?}, {operation:?}");
                let copy = world.copy();
                let path = world.path_of(copy.path(), part);
                damage_file(&path, damage);
                let done = run(operation, copy.path(), world.source.path());
                let name = path.file_name().unwrap().to_str().unwrap();
                match (expected(part, damage, operation), done) {
                    (Fine, Ok(true)) | (Nothing, Ok(false)) => {}
                    (Fails(exit_code), Err(error)) => assert_line(&error, exit_code, &what),
                    (Named(exit_code), Err(error)) => {
                        assert_line(&error, exit_code, &what);
                        // A pack may be named by the beginning of its id.
                        let short = &name[..name.len().min(8)];
                        assert!(error.to_string().contains(short), "{what}: {error}, not {name}");
                    }
                    (expected, done) => panic!("{what}: {done:?}, expected {expected:?}"),
                }
                let locks = fs::read_dir(copy.path().join("locks")).map_or(0, Iterator::count);
                assert_eq!(locks, 0, "{what}");
            }
        }
    }
}

/// The damage that the frozen fixtures carry, seen by a restore.
#[test]
fn damaged_fixtures() {
    for (name, exit_code, named) in [
        ("config-absent", 10, ""),
        ("key-truncated", 21, "keys/"),
        ("snapshot-flipped", 21, "snapshots/"),
        ("index-truncated", 21, "index/"),
        ("unindexed-pack", 21, "no index lists it"),
        ("tree-pack-absent", 21, ""),
    ] {
        let copy = fixture::copy(name);
        let done = run(Operation::Restore, copy.path(), copy.path());
        let error = done.expect_err(name);
        assert_line(&error, exit_code, name);
        assert!(error.to_string().contains(named), "{name}: {error}");
    }
    // The bit that is flipped lies in the pack's header, which a restore does not need.
    for name in ["unreferenced-pack", "data-pack-flipped"] {
        let copy = fixture::copy(name);
        assert!(run(Operation::Restore, copy.path(), copy.path()).unwrap(), "{name}");
    }
}

/// A lost index, or a lost pack that an index still names, costs what it held and no later backup.
#[test]
fn a_backup_after_a_lost_index_restores() {
    let world = World::new();
    let copy = world.copy();
    damage_file(&world.path_of(copy.path(), Part::Index), Damage::Absent);
    let mover = Mover::open(copy.path()).unwrap();
    let summary = mover.backup(world.source.path()).unwrap().summary;
    assert!(summary.data_blobs > 0 && summary.tree_blobs > 0);
    let list = listing::list(world.source.path());
    listing::assert_same(&list, &mover.restored("latest"), "after a lost index");
}

/// A tree that the index names and no pack holds must not become part of a new snapshot: that would be a
/// snapshot that lacks data, made by a run that says all is well.
#[test]
fn a_backup_after_a_lost_tree_pack_is_whole_or_fails() {
    for damage in Damage::ALL {
        let world = World::new();
        let copy = world.copy();
        damage_file(&world.path_of(copy.path(), Part::TreePack), damage);
        let mover = Mover::open(copy.path()).unwrap();
        fs::write(world.source.path().join("new"), "new").unwrap();
        match mover.backup(world.source.path()) {
            Ok(_) => {
                let list = listing::list(world.source.path());
                listing::assert_same(&list, &mover.restored("latest"), &format!("tree pack {damage:?}"));
            }
            Err(error) => assert_eq!(error.kind, ErrorKind::Damaged, "{error}"),
        }
    }
}

/// Forget shares its lock with readers. What it removed after the list is left out; what a store goes on to list
/// and does not have is lost.
#[test]
fn a_snapshot_that_goes_after_it_was_listed() {
    let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    mover::create_in(&*memory, 2);
    let source = scratch();
    let first = Mover::open_backend(Arc::clone(&memory)).unwrap();
    for content in ["one", "two"] {
        fs::write(source.path().join("file"), content).unwrap();
        first.backup(source.path()).unwrap();
    }
    let lists = || Rule::on(&[Request::List]).kind(FileType::Snapshot).stale_list();
    let fault = Arc::new(Fault::new(Arc::clone(&memory), Arc::new(SystemClock::default())));
    let mover = Mover::open_backend(Arc::clone(&fault) as Arc<dyn Backend>).unwrap();
    fault.add(lists().times(2));
    let ids = mover.snapshot_ids();
    memory.delete(FileType::Snapshot, &ids[0]).unwrap();
    let left = mover.repository.snapshots().unwrap();
    assert_eq!(left.iter().map(|(id, _)| id.hex()).collect::<Vec<_>>(), ids[1..]);

    fault.clear();
    fault.add(lists().forever());
    mover.snapshot_ids();
    memory.delete(FileType::Snapshot, &ids[1]).unwrap();
    let error = mover.repository.snapshots().unwrap_err();
    assert!(error.kind == ErrorKind::Damaged && error.to_string().contains(&ids[1]), "{error}");
}
